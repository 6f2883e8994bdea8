// Replaces the content of the page every few seconds; the link "Pause" stops it. Without JavaScript the page reloads itself.
"use strict";
(() => {
  let seconds = Number(document.querySelector("[data-refresh]").dataset.refresh);
  let failed = false;

  async function refresh() {
    const main = document.querySelector("main");
    if (document.hidden || main.contains(document.activeElement) && document.activeElement !== main) return;
    try {
      const response = await fetch(location.href, { cache: "no-store", credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      main.replaceChildren(...page.querySelector("main").childNodes);
      failed = false;
    } catch {
      if (failed) return;
      failed = true;
      const banner = document.createElement("p");
      banner.className = "banner";
      banner.setAttribute("role", "alert");
      banner.textContent = "The collector does not answer. What stands below is old.";
      main.prepend(banner);
    }
  }

  setInterval(refresh, seconds * 1000);
})();
