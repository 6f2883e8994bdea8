"""The metrics of findings and detectors, made from a snapshot of the store. All are listed in docs/metrics.md."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector as PrometheusCollector

from dnsvigil.detectors.runner import SCORE_BOUNDS, DetectorHealth
from dnsvigil.exporter.dns import counter, gauge, unix_time
from dnsvigil.ingest.detection import DetectionSnapshot
from dnsvigil.ingest.findings import FindingsSnapshot
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.ingest.novelty import NoveltySnapshot
from dnsvigil.records import OTHER
from dnsvigil.sources.blocklists.list_file import ListFile
from dnsvigil.store.findings import DROPPED, STATES, SUPPRESSED, Finding
from dnsvigil.store.novelty import DROPPED as NOVEL_DROPPED

SHOWN_LISTS = 100
"""Lists that have a label of their own; the rest together are ``other``."""

_MAX_PROBLEMS = 10  # of a detector
_LONGEST_LABEL = 255  # characters


class DetectionMetrics(PrometheusCollector):
    """The metrics of one snapshot; there are none of detectors where none is in use, and others bring findings too."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._findings = snapshot.of(FindingsSnapshot)
        self._detection = snapshot.of(DetectionSnapshot)
        self._novelty = snapshot.of(NoveltySnapshot)
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        yield from self._open_findings()
        if self._detection.detectors:
            yield from self._scores()
            yield from self._detectors()
            yield from self._novel()
        if self._novelty.lists:
            yield from self._lists()

    def _open_findings(self) -> Iterator[Metric]:
        found = self._findings.open
        if found:
            yield gauge(
                "dnsvigil_findings",
                "Open findings.",
                ["detector", "severity"],
                (([detector, severity], count) for (detector, severity), count in sorted(found.items())),
            )
        if self._findings.worst:
            yield gauge(
                "dnsvigil_finding_score",
                "Scores of the worst open findings, each with its most significant domain.",
                ["detector", "severity", "subject_type", "subject", "domain"],
                (
                    ([each.detector, each.severity, each.subject_type, each.subject, _domain(each)], each.score)
                    for each in self._findings.worst
                ),
            )
        dropped = dict(self._snapshot.counters.get(DROPPED, ()))
        yield counter(
            "dnsvigil_findings_dropped",
            "Findings that the store has dropped, to stay within its bound.",
            ["state"],
            (([state], dropped.get(state, 0)) for state in STATES),
        )
        detectors = [each.name for each in self._detection.detectors]
        if suppressed := dict.fromkeys(detectors, 0) | dict(self._snapshot.counters.get(SUPPRESSED, ())):
            yield counter(
                "dnsvigil_findings_suppressed",
                "Findings that were suppressed because a similar one was dismissed.",
                ["detector"],
                (([detector], value) for detector, value in suppressed.items()),
            )

    def _scores(self) -> Iterator[Metric]:
        detection = self._detection
        if detection.scores:
            yield gauge(
                "dnsvigil_anomaly_score",
                "The highest scores of each detector's last run.",
                ["detector", "subject_type", "subject"],
                (([detector, kind, subject], score) for detector, kind, subject, score in detection.scores),
            )
        family = HistogramMetricFamily(
            "dnsvigil_anomaly_scores", "Scores of all detector runs; a subject counts in each run.", labels=["detector"]
        )
        for detector in detection.detectors:
            buckets, total = [], 0
            for bound, count in zip([*map(str, SCORE_BOUNDS), "+Inf"], detector.histogram, strict=True):
                total += count
                buckets.append((bound, total))
            family.add_metric([detector.name], buckets, detector.score_sum)
        yield family

    def _detectors(self) -> Iterator[Metric]:
        detectors = self._detection.detectors
        yield gauge(
            "dnsvigil_detector_up",
            "1 if the detector works without problems.",
            ["detector"],
            (([each.name], float(each.healthy)) for each in detectors),
        )
        problems = [(each.name, problem) for each in detectors for problem in _problems(each)]
        if problems:
            yield gauge(
                "dnsvigil_detector_problem",
                "Always 1; the label describes a problem of the detector.",
                ["detector", "problem"],
                (([*labels], 1) for labels in problems),
            )
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

    def _novel(self) -> Iterator[Metric]:
        rows = self._novelty.rows
        yield GaugeMetricFamily("dnsvigil_novel_rows", "Rows of novel traffic in the store.", rows)
        dropped = {"domains": 0, "rows": 0} | dict(self._snapshot.counters.get(NOVEL_DROPPED, ()))
        yield counter(
            "dnsvigil_novel_dropped",
            "Novel traffic dropped for lack of room.",
            ["reason"],
            (([reason], value) for reason, value in dropped.items()),
        )

    def _lists(self) -> Iterator[Metric]:
        lists = self._novelty.lists
        names: Counter[str] = Counter()
        skipped: Counter[tuple[str, str]] = Counter()
        readable: dict[str, bool] = {}
        for number, file in enumerate(lists):
            label = _label(file, number)
            names[label] += file.names
            readable[label] = readable.get(label, True) and not file.error
            for reason, count in file.skipped.items():
                skipped[label, reason] += count
        yield gauge("dnsvigil_list_up", "1 if the list could be read.", ["list"], _rows(readable))
        yield gauge("dnsvigil_list_names", "Names of the list that are in use.", ["list"], _rows(names))
        yield gauge(
            "dnsvigil_list_skipped_lines",
            "Lines of the list, as it was last read, that could not be used.",
            ["list", "reason"],
            (([*labels], count) for labels, count in skipped.items()),
        )


def _rows(values: Counter[str] | dict[str, bool]) -> Iterator[tuple[list[str], float]]:
    return (([label], float(value)) for label, value in values.items())


def _label(file: ListFile, number: int) -> str:
    return file.name if number < SHOWN_LISTS else OTHER


def _problems(detector: DetectorHealth) -> list[str]:
    return list(dict.fromkeys(problem[:_LONGEST_LABEL] for problem in detector.problems))[:_MAX_PROBLEMS]


def _domain(finding: Finding) -> str:
    return next(iter(finding.domains), "")[:_LONGEST_LABEL]
