"""The metrics of detectors."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from prometheus_client.metrics_core import Metric

from dnsvigil.detectors.runner import SCORE_BOUNDS, DetectorHealth
from dnsvigil.exporter.families import counter, gauge, histogram, unix_time
from dnsvigil.ingest.detection import DetectionSnapshot
from dnsvigil.ingest.intake import Snapshot

_MAX_PROBLEMS: Final = 10  # of a detector
_MAX_PROBLEM: Final = 255  # characters


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the metrics of detectors; there are none where none is in use."""
    detection = snapshot.of(DetectionSnapshot)
    if detection.detectors:
        yield from _scores(detection)
        yield from _health(detection.detectors)
        yield from _runs(detection.detectors)
        yield from _inputs(detection.detectors)
        yield from _learning(detection.detectors)
        yield from _models(detection.detectors)


def _scores(detection: DetectionSnapshot) -> Iterator[Metric]:
    if detection.scores:
        yield gauge(
            "dnsvigil_anomaly_score",
            "The highest scores of each detector's last run.",
            ["detector", "subject_type", "subject"],
            (([detector, kind, subject], score) for detector, kind, subject, score in detection.scores),
        )
    yield histogram(
        "dnsvigil_anomaly_scores",
        "Scores of all detector runs; a subject counts in each run.",
        "detector",
        SCORE_BOUNDS,
        ((each.name, each.histogram, each.score_sum) for each in detection.detectors),
    )


def _health(detectors: Sequence[DetectorHealth]) -> Iterator[Metric]:
    yield gauge(
        "dnsvigil_detector_up",
        "1 if the detector works without problems.",
        ["detector"],
        (([each.name], float(each.healthy)) for each in detectors),
    )
    yield from _labelled(
        "dnsvigil_detector_problem",
        "Always 1; the label describes a problem of the detector.",
        "problem",
        ((each.name, each.problems) for each in detectors),
    )
    yield from _labelled(
        "dnsvigil_detector_limit",
        "Always 1; the label describes what the detector works without.",
        "limit",
        ((each.name, each.limits) for each in detectors),
    )


def _labelled(name: str, text: str, label: str, found: Iterable[tuple[str, Sequence[str]]]) -> Iterator[Metric]:
    """Yield a gauge that is 1 for each text of a detector, none where there is no text."""
    rows = [([detector, each], 1.0) for detector, texts in found for each in _some(texts)]
    if rows:
        yield gauge(name, text, ["detector", label], rows)


def _runs(detectors: Sequence[DetectorHealth]) -> Iterator[Metric]:
    for name, text, value in (
        ("runs", "Detector runs, including failed ones.", "runs"),
        ("failures", "Detector runs that failed.", "failures"),
        ("run_seconds", "Time that detector runs took.", "seconds"),
    ):
        rows = (([each.name], float(getattr(each, value))) for each in detectors)
        yield counter(f"dnsvigil_detector_{name}", text, ["detector"], rows)
    yield gauge(
        "dnsvigil_detector_last_run_timestamp_seconds",
        "The event time of the last successful detector run.",
        ["detector"],
        (([each.name], unix_time(each.evaluated)) for each in detectors if each.evaluated),
    )


def _inputs(detectors: Sequence[DetectorHealth]) -> Iterator[Metric]:
    rows = [([each.name, table], float(count)) for each in detectors for table, count in each.inputs.items()]
    if rows:
        yield gauge(
            "dnsvigil_detector_input_rows",
            "Rows of each table that the detector reads, at its last successful run.",
            ["detector", "input"],
            rows,
        )
    yield from _labelled(
        "dnsvigil_detector_lacking",
        "Always 1; the label names input that the detector lacks, so that it cannot find all that it could.",
        "input",
        ((each.name, each.lacks) for each in detectors),
    )


def _learning(detectors: Sequence[DetectorHealth]) -> Iterator[Metric]:
    yield gauge(
        "dnsvigil_detector_learning",
        "1 while the detector still learns what is usual, so that its scores mean less.",
        ["detector"],
        (([each.name], float(bool(each.learning))) for each in detectors),
    )


def _models(detectors: Sequence[DetectorHealth]) -> Iterator[Metric]:
    yield gauge(
        "dnsvigil_model_timestamp_seconds",
        "When the model in use was made.",
        ["detector"],
        (([each.name], unix_time(each.model_time)) for each in detectors if each.model_time),
    )
    yield counter(
        "dnsvigil_names_scored",
        "Names scored by a model.",
        ["detector"],
        (([each.name], each.counts["names_scored"]) for each in detectors if "names_scored" in each.counts),
    )


def _some(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(text[:_MAX_PROBLEM] for text in texts))[:_MAX_PROBLEMS]
