"""Series of flows, verdicts on them, top talkers, and flow files to read."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from dnsvigil.api.changes import result
from dnsvigil.api.interface import Answer, FlowReader, Parameters, Reader
from dnsvigil.api.parameters import number, one_of, only, refuse
from dnsvigil.config.collector import Config
from dnsvigil.records import FLOW_MEASURES, FLOW_SLOT_SECONDS, RESOLVER_MEASURES, TALKER_ELEMENTS
from dnsvigil.store import flow_series
from dnsvigil.store.findings import is_text

MAX_HOURS: Final = 35 * 24
MAX_FILES: Final = 1000


def series(reader: Reader, config: Config, asked: Parameters) -> Answer:
    """Return the series of the last hours of event time, with their baselines."""
    given = only(asked, "exporter", "protocol", "service", "resolver", "measure", "hours")
    hours = number(given.pop("hours", "24"), "hours", MAX_HOURS)
    one_of(given, "measure", RESOLVER_MEASURES if "resolver" in given else FLOW_MEASURES)
    if "resolver" in given:
        if given.keys() & {"protocol", "service"}:
            refuse("resolver: not together with protocol or service")
        given["resolver"] = config.servers.label_of(given["resolver"])
    try:
        found = flow_series.series(reader.read, timedelta(hours=hours), **given)
    except ValueError as error:
        refuse(str(error))
    return Answer({"slot_seconds": FLOW_SLOT_SECONDS, "series": found})


def verdicts(reader: Reader, _: Config, asked: Parameters) -> Answer:
    """Return the verdicts of a slot, by default the newest; its status is 404 while the slot is not complete."""
    given = only(asked, "exporter", "slot")
    slot = None
    if "slot" in given:
        seconds = number(given["slot"], "slot", 2**32)
        slot = datetime.fromtimestamp(seconds // FLOW_SLOT_SECONDS * FLOW_SLOT_SECONDS, UTC).replace(tzinfo=None)
    found = flow_series.verdicts(reader.read, given.get("exporter"), slot)
    if found["complete"]:
        return Answer(found)
    return Answer({"error": "no series has been evaluated up to that slot yet", **found}, 404)


def talkers(reader: Reader, _: Config, asked: Parameters) -> Answer:
    """Return the top talkers of each exporter's newest slot."""
    given = only(asked, "exporter", "element")
    one_of(given, "element", TALKER_ELEMENTS)
    return Answer(flow_series.talkers(reader.read, **given))


def submit_files(flow_reader: FlowReader, _: Config, content: Parameters) -> Answer:
    """Have flow files read."""
    given = content.get("files")
    if not isinstance(given, list) or len(given) > MAX_FILES:
        refuse(f"files: expected a list of at most {MAX_FILES:,}")
    files = [_file(each) for each in given]
    try:
        future = flow_reader.submit_files(files)
    except OSError as error:
        refuse(f"files: {error}")
    result(future, None)
    return Answer({"accepted": len(files)}, 202)


def _file(given: Any) -> tuple[Path, str | None]:
    path, exporter = (given.get(name) if isinstance(given, dict) else None for name in ("path", "exporter"))
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path or not is_text(path):
        refuse("files: expected the absolute path of each")
    if not (exporter is None or (isinstance(exporter, str) and exporter and is_text(exporter))):
        refuse("files: an exporter is a name, or null")
    return Path(path), exporter
