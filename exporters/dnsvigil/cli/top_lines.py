"""The lines of ``dnsvigil top``: an answer of ``/api/now`` as text, for the screen and for a pipe."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from dnsvigil.api.coverage import Coverage, Picture, of_findings, of_flows
from dnsvigil.cli.output import Cell, age, table, wrapped
from dnsvigil.system.terminal import counted, printable

Line = tuple[str, str]
"""A style, one of :data:`STYLES`, and the text."""

STYLES: Final = ("plain", "title", "head", "good", "warning", "critical")

SORTS: Final = {
    "failure ratio": lambda row: -row["failure_ratio"],
    "failures": lambda row: -row["failures"],
    "queries": lambda row: -row["queries"],
    "zone": lambda row: row["dns_zone"],
    "server": lambda row: row["server"],
}
"""By what zones can be sorted, beside their states."""

_STATES: Final = {"failing": "FAILING", "ok": "ok", "few_queries": "too few queries"}
_DETECTORS: Final = {
    "failing": ("critical", "FAILING"),
    "not_running": ("critical", "NOT RUNNING"),
    "lacking": ("warning", "lacks input"),
    "learning": ("warning", "learning"),
    "running": ("plain", "running"),
}
_SEVERITIES: Final = {"critical": "critical", "warning": "warning"}


@dataclass(frozen=True)
class View:
    """How a picture is shown."""

    sort: str = "failure ratio"  # one of SORTS
    wanted: str = ""  # only rows with this text, in whichever case
    width: int | None = None  # characters of a line; None does not cut

    def has(self, *texts: Any) -> bool:
        """Return whether one of these has what is wanted."""
        return any(self.wanted.lower() in str(text).lower() for text in texts)


def lines(picture: Picture, view: View) -> list[Line]:
    """Return the whole page: first what does not run, then what fails, then what was found."""
    sections = (_problems, _zones, _servers, _sensors, _capture, _detectors, _findings, _flows)
    return [line for section in sections for line in section(picture, view)]


def heading(picture: Picture) -> str:
    """Return when the picture was made, and of which minutes it is."""
    span = f"{picture['from'][11:16]} to {picture['to'][11:16]}" if picture["to"] else "no data"
    return printable(f"dnsvigil {picture['version']}  {picture['time'][11:19]} UTC  {span}")


def _problems(picture: Picture, view: View) -> Iterator[Line]:
    problems = picture["problems"]
    if not problems:
        yield "good", "Everything runs: what is not listed below was looked for, and not found."
    for each in problems:
        yield from _text(each["severity"], f"{each['severity'].upper()} {each['what']} ({each['runbook']})", view)


def _zones(picture: Picture, view: View) -> Iterator[Line]:
    states, rows = picture["zone_states"], picture["zones"]
    summary = ", ".join(f"{states[name]:,} {text.lower()}" for name, text in _STATES.items())
    yield from _title("Zones" if picture["current"] or not rows else "Zones, NOT CURRENT", summary)
    rows = [row for row in rows if view.has(row["server"], row["dns_zone"], *row["reasons"])]
    rows.sort(key=lambda row: (row["state"] != "failing", row["state"] == "few_queries", SORTS[view.sort](row)))
    cells = [
        [
            row["server"],
            row["dns_zone"],
            row["queries"],
            *(f"{row[name]:.1%}" for name in ("failure_ratio", "failure_ratio_threshold")),
            _STATES[row["state"]],
            ", ".join(f"{name} {count:,}" for name, count in row["reasons"].items()),
        ]
        for row in rows
    ]
    head = ("server", "zone", "queries", "failed", "threshold", "state", "reasons")
    styles = ["critical" if row["state"] == "failing" else "plain" for row in rows]
    yield from _table(head, cells, styles, view, "No zone was asked for.")


def _servers(picture: Picture, view: View) -> Iterator[Line]:
    rows = [row for row in picture["servers"] if view.has(row["server"])]
    yield from _title("Servers")
    cells = [
        [row["server"], row["queries"], row["failures"], f"{row['failure_ratio']:.1%}", row["failing_zones"]]
        for row in rows
    ]
    styles = ["critical" if row["failing_zones"] else "plain" for row in rows]
    head = ("server", "queries", "failures", "failed", "failing zones")
    yield from _table(head, cells, styles, view, "No server was asked.")


def _sensors(picture: Picture, view: View) -> Iterator[Line]:
    rows = [row for row in picture["sensors"] if view.has(row["sensor"], row["source"], row["state"])]
    yield from _title("Sensors")
    cells = [
        [
            row["sensor"],
            row["source"],
            row["state"] if row["state"] == "ok" else row["state"].upper(),
            _ago(picture, row["newest_event"]),
            _ago(picture, row["last_read"]),
            row["lag_bytes"],
            row["lag_seconds"],
        ]
        for row in rows
    ]
    styles = [{"ok": "plain", "behind": "warning"}.get(row["state"], "critical") for row in rows]
    head = ("sensor", "source", "state", "newest record", "last read", "bytes unread", "seconds behind")
    yield from _table(head, cells, styles, view, "Nothing was ever read from any sensor.")


def _capture(picture: Picture, view: View) -> Iterator[Line]:
    rows = [row for row in picture["capture"] if view.has(row["sensor"])]
    yield from _title("Capture loss")
    cells = [
        [row["sensor"], row["packets"], _ratio(row["loss_ratio"]), row["responses"], _ratio(row["unmatched_ratio"])]
        for row in rows
    ]
    styles = ["plain" if row["state"] == "ok" else "critical" for row in rows]
    head = ("sensor", "packets", "dropped", "responses", "without a query")
    yield from _table(head, cells, styles, view, "Not known: no sensor has the Zeek package.")


def _detectors(picture: Picture, view: View) -> Iterator[Line]:
    states = Counter(row["state"] for row in picture["detectors"])
    summary = ", ".join(f"{states[state]} {text.lower()}" for state, (_, text) in _DETECTORS.items() if states[state])
    yield from _title("Detectors", summary)
    rows = [row for row in picture["detectors"] if view.has(row["detector"], row["state"])]
    cells = [
        [
            row["detector"],
            _DETECTORS[row["state"]][1],
            _ago(picture, row["evaluated"]),
            "; ".join([*row["problems"], *row["lacks"], *filter(None, [row["learning"]]), *row["limits"]]),
        ]
        for row in rows
    ]
    styles = [_DETECTORS[row["state"]][0] for row in rows]
    head = ("detector", "state", "evaluated up to", "remarks")
    yield from _table(head, cells, styles, view, "All detectors are disabled: nothing is looked for.")


def _findings(picture: Picture, view: View) -> Iterator[Line]:
    found = picture["findings"]
    summary = ", ".join(f"{count:,} {severity}" for severity, count in found["by_severity"].items())
    yield from _title("Open findings", summary)
    rows = [row for row in found["worst"] if view.has(row["detector"], row["subject"], row["severity"], row["what"])]
    for row in rows:
        text = f"#{row['id']} {row['severity']}, {_ago(picture, row['last_seen'])}: {row['what']}"
        yield from _text(_SEVERITIES.get(row["severity"], "plain"), text, view)
    if not found["total"]:
        yield from _nothing(of_findings(picture))
    elif rest := found["total"] - len(rows):
        yield "plain", f"{counted(rest, 'other finding')}: dnsvigil findings"


def _nothing(found: Coverage) -> Iterator[Line]:
    """Yield that there is nothing, and why that proves nothing."""
    if not found.doubt:
        yield "good", "None."
    elif found.learning:
        yield "plain", printable(f"None; {found.doubt}.")
    else:
        yield "warning", printable(f"None, but this proves nothing: {found.doubt}.")


def _flows(picture: Picture, view: View) -> Iterator[Line]:
    flows = picture["flows"]
    if flows["slot"] is None:
        configured = any(folder["source"] == "netflow" for folder in picture["folders"])
        yield from _title("Flows")
        yield (
            "plain",
            "Not known: no flow was evaluated yet." if configured else "Not known: no source of flows is configured.",
        )
        return
    yield from _title("Flows that stand out", f"{flows['series']:,} series at {flows['slot'][11:16]}")
    rows = [row for row in flows["unusual"] if view.has(row["what"])]
    for row in rows:
        far = f"{row['deviation']:+.1f} spreads: " if row["deviation"] is not None else ""
        yield from _text("warning", f"{far}{row['what']}", view)
    coverage = of_flows(picture)
    if not flows["unusual"]:
        yield from _nothing(coverage)
    elif not rows:
        yield "plain", "Nothing here matches the filter."
    elif coverage.doubt:
        yield "plain", f"{coverage.doubt[:1].upper()}{coverage.doubt[1:]}."


def _title(name: str, summary: str = "") -> Iterator[Line]:
    yield "plain", ""
    yield "title", f"{name}: {summary}" if summary else name


def _text(style: str, text: str, view: View) -> Iterator[Line]:
    shown = wrapped(text, view.width) if view.width else printable(text)
    for line in shown.split("\n"):
        yield style if style in STYLES else "plain", line


def _table(
    head: Sequence[str], rows: Sequence[Sequence[Cell]], styles: Sequence[str], view: View, nothing: str
) -> Iterator[Line]:
    if rows:
        yield from zip(["head", *styles], table(head, rows, view.width), strict=True)
    else:
        yield "plain", "Nothing here matches the filter." if view.wanted else nothing


def _ago(picture: Picture, time: str | None) -> str:
    if time is None:
        return "never"
    seconds = (datetime.fromisoformat(picture["time"]) - datetime.fromisoformat(time)).total_seconds()
    return f"{age(seconds)} ago"


def _ratio(ratio: float | None) -> str:
    return "too few" if ratio is None else f"{ratio:.2%}"
