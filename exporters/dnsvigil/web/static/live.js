// Follows the stream of records. The button "Pause" closes it, so that the collector has nothing to send.
"use strict";
(() => {
  const tail = document.querySelector("#tail");
  const state = document.querySelector("#state");
  const button = document.querySelector("#pause");
  const most = Number(tail.dataset.shown);
  let source = null;

  function show(event) {
    const page = new DOMParser().parseFromString(`<table><tbody>${event.data}</tbody></table>`, "text/html");
    tail.prepend(...page.querySelectorAll("tr"));
    while (tail.rows.length > most) tail.lastElementChild.remove();
    document.querySelector("#none")?.remove();
    state.textContent = "Following the records that match.";
  }

  function follow() {
    source = new EventSource(tail.dataset.stream);
    source.addEventListener("rows", show);
    source.addEventListener("more", (event) => { state.textContent = `${event.data} more came than are shown.`; });
    source.addEventListener("open", () => { state.textContent = "Following the records that match."; });
    source.addEventListener("error", () => {
      state.textContent = source.readyState === EventSource.CLOSED
        ? "The collector sends no records: too many follow them, or you may not. Reload the page to try again."
        : "The collector does not answer. Trying again.";
    });
    button.textContent = "Pause";
  }

  button.hidden = false;
  button.addEventListener("click", () => {
    if (source.readyState === EventSource.CLOSED) return follow();
    source.close();
    button.textContent = "Resume";
    state.textContent = "Paused.";
  });
  follow();
})();
