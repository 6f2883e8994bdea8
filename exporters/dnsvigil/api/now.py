"""The last five minutes in one picture: what fails, what was found, and what does not run."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from dnsvigil import __version__
from dnsvigil.api.finding_text import sentence, verdict_text
from dnsvigil.api.interface import Answer, Condition, Parameters, Reader
from dnsvigil.api.parameters import only
from dnsvigil.api.zones import zones
from dnsvigil.config.collector import Config
from dnsvigil.detectors.runner import DetectorHealth
from dnsvigil.ingest.detection import DetectionSnapshot
from dnsvigil.ingest.findings import FindingsSnapshot
from dnsvigil.ingest.flows import SOURCE as FLOWS
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.records import SEVERITIES, utc_now
from dnsvigil.sources.availability import no_sources
from dnsvigil.sources.honeypots.logs import HONEYPOT_LOGS
from dnsvigil.sources.zeek.log_types import CAPTURES, DNS, LOG_TYPES
from dnsvigil.store.flow_series import iso, verdicts
from dnsvigil.store.package_logs import capture_since
from dnsvigil.store.zones import WINDOW
from dnsvigil.system.terminal import counted

MAX_ZONES: Final = 100
"""How many pairs of server and zone there are, beside all that are failing."""

MAX_FINDINGS: Final = 50

# The bounds are those of the alerts.
_SILENT: Final = timedelta(minutes=15)
_BEHIND: Final = 600  # seconds
_IDLE: Final = timedelta(hours=2)
_LOST: Final = 0.01  # of a sensor's packets
_UNMATCHED: Final = 0.05  # of a sensor's responses
_MIN_PACKETS: Final = 3000
_MIN_RESPONSES: Final = 300
_SPARSE: Final = {log.source for log in (*LOG_TYPES, *HONEYPOT_LOGS)} - {DNS.source}  # silent where all is well

Row = dict[str, Any]


class Watched(Reader, Protocol):
    """A running collector."""

    @property
    def snapshot(self) -> Snapshot:
        """What the newest round left."""

    @property
    def condition(self) -> Condition:
        """How the process is."""


def now(collector: Watched, config: Config, asked: Parameters) -> Answer:
    """Return the picture. ``problems`` has a sentence for all that does not run, so that an empty list is good news."""
    only(asked)
    time = utc_now().replace(microsecond=0)
    snapshot, condition = collector.snapshot, collector.condition
    found = zones(collector, config, {}).content
    states = Counter(row["state"] for row in found["zones"])
    sensors = _sensors(snapshot, condition, time)
    detectors = _detectors(snapshot)
    capture = _capture(collector, snapshot)
    problems = [
        *_process(config, condition, snapshot),
        *_silent_dns(found),
        *_of_sensors(sensors),
        *_of_detectors(detectors),
        *_of_capture(capture),
    ]
    return Answer(
        {
            "time": iso(time),
            "version": __version__,
            "from": found["from"],
            "to": found["to"],
            "current": found["current"],
            "problems": sorted(problems, key=lambda each: -SEVERITIES.index(each["severity"])),
            "servers": _servers(found["zones"]),
            "zone_states": {state: states[state] for state in ("failing", "ok", "few_queries")},
            "zones": found["zones"][: max(states["failing"], MAX_ZONES)],
            "sensors": sensors,
            "capture": capture,
            "folders": [
                {"source": place.source, "path": str(place.path), "problem": problem or None}
                for place, problem in condition.folders.items()
            ],
            "detectors": detectors,
            "findings": _findings(snapshot.of(FindingsSnapshot)),
            "flows": _flows(collector, snapshot),
        }
    )


def _servers(rows: Sequence[Row]) -> list[Row]:
    """Return the sums of each server's zones, the one with the highest failure ratio first."""
    found: dict[str, Row] = {}
    for row in rows:
        empty = {"server": row["server"], "queries": 0, "failures": 0, "failing_zones": 0}
        sums = found.setdefault(row["server"], empty)
        sums["queries"] += row["queries"]
        sums["failures"] += row["failures"]
        sums["failing_zones"] += row["state"] == "failing"
    for sums in found.values():
        sums["failure_ratio"] = sums["failures"] / sums["queries"] if sums["queries"] else 0.0
    return sorted(found.values(), key=lambda sums: (-sums["failure_ratio"], sums["server"]))


def _sensors(snapshot: Snapshot, condition: Condition, time: datetime) -> list[Row]:
    found = []
    for source, sensor, event, read in snapshot.sensors:
        size, seconds = condition.lag.get(sensor, (0, 0.0)) if source == DNS.source else (0, 0.0)
        if source in _SPARSE:
            state = "ok"
        elif seconds > _BEHIND:
            state = "behind"
        else:
            state = "silent" if time - read > _SILENT else "ok"
        found.append(
            {
                "source": source,
                "sensor": sensor,
                "newest_event": iso(event) if event else None,
                "last_read": iso(read),
                "lag_bytes": size,
                "lag_seconds": round(seconds, 1),
                "state": state,
            }
        )
    return found


def _newest(snapshot: Snapshot, wanted: str) -> datetime | None:
    return max((event for source, _, event, _ in snapshot.sensors if source == wanted and event), default=None)


def _detectors(snapshot: Snapshot) -> list[Row]:
    newest = _newest(snapshot, DNS.source)
    return [
        {
            "detector": each.name,
            "state": _state(each, newest),
            "evaluated": iso(each.evaluated) if each.evaluated else None,
            "runs": each.runs,
            "failures": each.failures,
            "problems": list(each.problems),
            "lacks": list(each.lacks),
            "learning": each.learning or None,
            "limits": list(each.limits),
        }
        for each in snapshot.of(DetectionSnapshot).detectors
    ]


def _state(health: DetectorHealth, newest: datetime | None) -> str:
    """Return the worst that is true of a detector."""
    if health.problems:
        return "failing"
    if health.evaluated is None:
        return "not_running"
    if newest and newest - health.evaluated > _IDLE:
        return "not_running"
    if health.lacks:
        return "lacking"
    return "learning" if health.learning else "running"


def _capture(reader: Reader, snapshot: Snapshot) -> list[Row]:
    """Return what each sensor of the Zeek package lost in the last five minutes of its records."""
    newest = _newest(snapshot, CAPTURES.source)
    found = []
    for sensor, packets, dropped, responses, unmatched in capture_since(reader.read, newest - WINDOW) if newest else ():
        # None: there was too little to tell.
        lost = dropped / (packets + dropped) if packets + dropped >= _MIN_PACKETS else None
        missed = unmatched / responses if responses >= _MIN_RESPONSES else None
        found.append(
            {
                "sensor": sensor,
                "packets": packets,
                "packets_dropped": dropped,
                "loss_ratio": lost,
                "responses": responses,
                "unmatched_responses": unmatched,
                "unmatched_ratio": missed,
                "state": "losing" if (lost or 0) > _LOST or (missed or 0) > _UNMATCHED else "ok",
            }
        )
    return found


def _findings(found: FindingsSnapshot) -> Row:
    by_severity: Counter[str] = Counter()
    for (_, severity), count in found.open.items():
        by_severity[severity] += count
    worst = []
    for finding in found.worst[:MAX_FINDINGS]:
        record = finding.record()
        worst.append({name: value for name, value in record.items() if name != "evidence"} | {"what": sentence(record)})
    counts = {severity: by_severity[severity] for severity in reversed(SEVERITIES)}
    return {"total": by_severity.total(), "by_severity": counts, "worst": worst}


def _flows(reader: Reader, snapshot: Snapshot) -> Row:
    """Return what stands out in the newest slot; ``learning`` is the number of series without a baseline yet."""
    if _newest(snapshot, FLOWS) is None:
        return {"slot": None, "series": 0, "learning": 0, "unusual": []}
    found = verdicts(reader.read)
    rows = found["verdicts"]
    unusual = [row | {"what": verdict_text(row)} for row in rows if row["anomalies"]]
    unusual.sort(key=lambda row: -abs(row["deviation"] or 0))
    learning = sum(row["deviation"] is None for row in rows)
    return {"slot": found["slot"], "series": len(rows), "learning": learning, "unusual": unusual}


# What does not run, each with its runbook


def _problem(severity: str, what: str, runbook: str) -> Row:
    return {"severity": severity, "what": what, "runbook": runbook}


def _process(config: Config, condition: Condition, snapshot: Snapshot) -> Iterator[Row]:
    if condition.failure:
        what = f"The collector cannot write to its store, and tries again: {condition.failure}"
        yield _problem("critical", what, "DnsvigilBatchesFailing")
    if condition.displaced:
        what = "The file of the store was replaced or removed while the collector runs; restart it, or data is lost."
        yield _problem("critical", what, "DnsvigilBatchesFailing")
    if reason := no_sources(config):
        yield _problem("critical", f"{reason[:1].upper()}{reason[1:]}.", "DnsvigilNoLogs")
    for place, problem in condition.folders.items():
        if problem:
            what = f"Nothing is read from {place.path} ({place.key}), which {problem}."
            yield _problem("critical", what, "DnsvigilSourceUnavailable")
    if condition.config_mistakes:
        mistakes = counted(condition.config_mistakes, "mistake")
        what = f"The new configuration has {mistakes}, and the old one is in force."
        yield _problem("warning", what, "DnsvigilBadConfiguration")
    if aside := sum(snapshot.set_aside.values()):
        what = f"{counted(aside, 'input')} failed unexpectedly, and {'is' if aside == 1 else 'are'} set aside."
        yield _problem("warning", what, "DnsvigilSetAside")


def _silent_dns(found: Mapping[str, Any]) -> Iterator[Row]:
    if found["to"] is None:
        yield _problem("critical", "No DNS query was ever read, so nothing is known about any zone.", "DnsvigilNoLogs")
    elif not found["current"]:
        what = f"No DNS query arrived in the last five minutes; the zones are those of {found['to']}."
        yield _problem("critical", what, "DnsvigilNoLogs")


def _of_sensors(sensors: Sequence[Row]) -> Iterator[Row]:
    for row in sensors:
        who = f"{row['sensor']} ({row['source']})"
        if row["state"] == "silent":
            runbook = "DnsvigilFlowsMissing" if row["source"] == FLOWS else "DnsvigilNoLogs"
            yield _problem("critical", f"Nothing new was read from {who} since {row['last_read']}.", runbook)
        elif row["state"] == "behind":
            what = f"The logs of {who} were not read to their end for {row['lag_seconds']:.0f} s; figures are late."
            yield _problem("warning", what, "DnsvigilIngestionBehind")


def _of_detectors(detectors: Sequence[Row]) -> Iterator[Row]:
    if not detectors:
        yield _problem("warning", "All detectors are disabled, so nothing is looked for.", "DnsvigilDetectorSilent")
    for row in detectors:
        name = row["detector"]
        if row["state"] == "failing":
            what = f"Detector {name} does not work: {'; '.join(row['problems'])}"
            yield _problem("critical", what, "DnsvigilDetectorFailing")
        elif row["state"] == "not_running":
            since = f"since {row['evaluated']}" if row["evaluated"] else "since the collector started"
            yield _problem("warning", f"Detector {name} has evaluated nothing {since}.", "DnsvigilDetectorSilent")
        elif row["state"] == "lacking":
            what = f"Detector {name} lacks {', '.join(row['lacks'])}: that it finds nothing proves nothing."
            yield _problem("warning", what, "DnsvigilDetectorLacking")


def _of_capture(capture: Sequence[Row]) -> Iterator[Row]:
    for row in capture:
        if row["state"] == "losing":
            lost, missed = row["loss_ratio"] or 0, row["unmatched_ratio"] or 0
            parts = [f"{lost:.1%} of the packets"] if lost > _LOST else []
            parts += [f"the queries of {missed:.1%} of the responses"] if missed > _UNMATCHED else []
            what = f"Sensor {row['sensor']} does not see {' and '.join(parts)}."
            yield _problem("warning", what, "DnsvigilCaptureLoss")
