"""The page of what is going on now: what fails, what was found, and what does not run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from dnsvigil.api.parameters import only
from dnsvigil.api.zones import zones
from dnsvigil.detectors.runner import DetectorHealth
from dnsvigil.ingest.detection import DetectionSnapshot
from dnsvigil.records import SEVERITIES, utc_now
from dnsvigil.sources.availability import no_sources
from dnsvigil.store import flow_series
from dnsvigil.store.findings import Wanted, count_open, list_findings
from dnsvigil.store.package_logs import capture_counts
from dnsvigil.system.terminal import counted
from dnsvigil.web.page import Asked, View
from dnsvigil.web.records import shown_record
from dnsvigil.web.text import percent, span

REFRESH_SECONDS: Final = 10
"""The time between two looks at the page, unless they are paused."""

_FAILING: Final = 20  # zones that are listed, as the next two
_WORST: Final = 8
_ANOMALIES: Final = 10
_LATE: Final = timedelta(minutes=5)  # a sensor whose newest record is older is late
_BEHIND: Final = 60.0  # seconds for which not all is read of a sensor's log
_LOSS: Final = 0.01  # of packets; from there on, numbers are not to be trusted

_FAILS, _WAITS, _LACKS, _LIMITED, _RUNS = "failing", "not run yet", "lacking input", "limited", "running"


@dataclass(frozen=True)
class Detector:
    """How a detector does, in a word and in its own texts."""

    name: str
    state: str
    texts: Sequence[str]
    evaluated: datetime | None


@dataclass(frozen=True)
class Sensor:
    """How a sensor does."""

    name: str
    source: str
    newest: datetime | None
    late: bool
    lag_bytes: float | None
    lag_seconds: float | None
    packets: int | None  # in five minutes, of which those that are lost
    lost: int | None

    @property
    def loss(self) -> float | None:
        """The ratio of packets that were lost; None where it is not known."""
        if self.packets is None or self.lost is None:
            return None
        return self.lost / ((self.packets + self.lost) or 1)


def now(asked: Asked) -> View:
    """Return the page."""
    paused = only(asked.given, "refresh").get("refresh") == "off"
    kept = asked.recent.of("now", lambda: _looked_up(asked))
    sensors = _sensors(asked, kept["capture"])
    detectors = [_detector(each) for each in asked.snapshot.of(DetectionSnapshot).detectors]
    values = kept | {
        "worst": [shown_record(finding.record(), asked) for finding in kept["worst"]],
        "sensors": sensors,
        "detectors": detectors,
        "problems": list(_problems(asked, kept, sensors, detectors)),
        "severities": [*reversed(SEVERITIES)],
        "now": utc_now(),
        "paused": paused,
        "refresh_seconds": REFRESH_SECONDS,
    }
    return View("now.html", values)


def _looked_up(asked: Asked) -> dict[str, Any]:
    """Return what stands in the store."""
    read = asked.backend.read
    found = zones(asked.backend, asked.config, {}).content
    by_severity = dict.fromkeys(SEVERITIES, 0)
    for (_, severity), findings in count_open(read).items():
        by_severity[severity] += findings
    verdicts = flow_series.verdicts(read)
    return {
        "zones": found,
        "failing": [zone for zone in found["zones"] if zone["state"] == "failing"][:_FAILING],
        "states": {state: sum(zone["state"] == state for zone in found["zones"]) for state in ("failing", "ok")},
        "open": by_severity,
        "worst": list_findings(read, Wanted(), _WORST),
        "flow_slot": verdicts["slot"],
        "flow_series": len(verdicts["verdicts"]),
        "learning": sum(each["baseline"] is None for each in verdicts["verdicts"]),
        "anomalies": [each for each in verdicts["verdicts"] if each["anomalies"]][:_ANOMALIES],
        "capture": capture_counts(read),
    }


def _sensors(asked: Asked, capture: Mapping[str, tuple[int, int]]) -> list[Sensor]:
    lag_bytes = _gauge(asked, "dnsvigil_source_lag_bytes", "sensor")
    lag_seconds = _gauge(asked, "dnsvigil_source_lag_seconds", "sensor")
    early = utc_now() - _LATE
    found = []
    for source, name, newest, _ in asked.snapshot.sensors:
        packets, lost = capture.get(name, (None, None)) if source == "zeek" else (None, None)
        late = newest is None or newest < early
        of_logs = source == "zeek"
        found.append(
            Sensor(
                name,
                source,
                newest,
                late,
                lag_bytes.get(name) if of_logs else None,
                lag_seconds.get(name) if of_logs else None,
                packets,
                lost,
            )
        )
    return found


def _gauge(asked: Asked, metric: str, label: str) -> dict[str, float]:
    """Return the values of a gauge of the process by one of its labels."""
    families = asked.process.restricted_registry([metric]).collect()
    return {sample.labels[label]: sample.value for family in families for sample in family.samples}


def _detector(health: DetectorHealth) -> Detector:
    if not health.healthy:
        state, texts = _FAILS, health.problems
    elif not health.runs:
        state, texts = _WAITS, ()
    elif health.lacks:
        state, texts = _LACKS, tuple(f"lacks {each}" for each in health.lacks)
    else:
        state, texts = (_LIMITED, health.limits) if health.limits else (_RUNS, ())
    return Detector(health.name, state, texts, health.evaluated)


def _problems(
    asked: Asked, kept: Mapping[str, Any], sensors: Sequence[Sensor], detectors: Sequence[Detector]
) -> Iterator[tuple[str, str]]:
    """Yield what does not run, so that nobody takes silence for peace: the subject, and what is the matter."""
    if problem := no_sources(asked.config):
        yield "Sources", f"{problem[:1].upper()}{problem[1:]}."
    for path, there in _gauge(asked, "dnsvigil_source_available", "path").items():
        if not there:
            yield "Sources", f"{path} cannot be read."
    if kept["zones"]["to"] is None:
        yield "DNS", "No record has been read yet: nothing below says that all is well."
    elif not kept["zones"]["current"]:
        yield "DNS", f"No record is of the last five minutes: zones are shown as of {kept['zones']['to']}."
    for sensor in sensors:
        if (sensor.lag_seconds or 0) > _BEHIND:
            yield (
                "Sensors",
                f"{sensor.name}: {sensor.lag_bytes:,.0f} bytes of log wait, for {span(sensor.lag_seconds)}.",
            )
        if sensor.loss is not None and sensor.loss > _LOSS:
            yield "Capture", f"{sensor.name} loses {percent(sensor.loss)} of its packets: what it shows is too little."
    if not detectors:
        yield "Detectors", "No detector is enabled: there are no findings because nobody looks."
    for detector in detectors:
        if detector.state == _FAILS:
            yield "Detectors", f"{detector.name} does not work: {'; '.join(detector.texts)}"
    waiting = [detector.name for detector in detectors if detector.state == _WAITS]
    if waiting:
        yield "Detectors", f"Not run since the start: {', '.join(waiting)}."
    for detector in detectors:
        if detector.state == _LACKS:
            yield "Detectors", f"{detector.name} {'; '.join(detector.texts)}, and cannot find all that it could."
    if left := sum(asked.snapshot.set_aside.values()):
        yield "Set aside", f"{counted(left, 'input')} failed unexpectedly: see dnsvigil set-aside."
