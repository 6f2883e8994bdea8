"""The metrics of findings, whoever made them."""

from collections.abc import Iterator
from typing import Final

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import by_label, counter, gauge
from dnsvigil.ingest.detection import DetectionSnapshot
from dnsvigil.ingest.findings import FindingsSnapshot
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.store.findings import DROPPED, STATES, SUPPRESSED, Finding

_MAX_DOMAIN: Final = 255  # characters


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the metrics of findings."""
    findings = snapshot.of(FindingsSnapshot)
    if findings.open:
        yield gauge("dnsvigil_findings", "Open findings.", ["detector", "severity"], sorted(findings.open.items()))
    if findings.worst:
        yield gauge(
            "dnsvigil_finding_score",
            "Scores of the worst open findings, each with its most significant domain.",
            ["detector", "severity", "subject_type", "subject", "domain"],
            (
                ([each.detector, each.severity, each.subject_type, each.subject, _domain(each)], each.score)
                for each in findings.worst
            ),
        )
    dropped = dict(snapshot.rows(DROPPED))
    yield counter(
        "dnsvigil_findings_dropped",
        "Findings that the store has dropped, to stay within its bound.",
        ["state"],
        (([state], dropped.get(state, 0)) for state in STATES),
    )
    detectors = [each.name for each in snapshot.of(DetectionSnapshot).detectors]
    if suppressed := dict.fromkeys(detectors, 0) | dict(snapshot.rows(SUPPRESSED)):
        yield counter(
            "dnsvigil_findings_suppressed",
            "Findings that were suppressed because a similar one was dismissed.",
            ["detector"],
            by_label(suppressed),
        )


def _domain(finding: Finding) -> str:
    return next(iter(finding.domains), "")[:_MAX_DOMAIN]
