"""The metrics of detectors and findings: a snapshot with something of everything, held against a golden file.

``RENEW=1 pytest tests/exporters/exporter/test_detection_metrics.py`` writes it anew; look at ``git diff`` then.
"""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dnsvigil.detectors.runner import SCORE_BOUNDS, DetectorHealth
from dnsvigil.exporter import detection, findings, novelty
from dnsvigil.exporter.novelty import SHOWN_LISTS
from dnsvigil.ingest.detection import DetectionSnapshot
from dnsvigil.ingest.dns import QUERIES
from dnsvigil.ingest.findings import FindingsSnapshot
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.ingest.novelty import NoveltySnapshot
from dnsvigil.sources.blocklists.list_file import ListFile
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.findings import DROPPED, STATES, SUPPRESSED, Finding
from dnsvigil.store.novelty import DROPPED as NOVEL_DROPPED

NOON = datetime(2026, 3, 1, 12)  # 1772366400
HISTOGRAM = tuple(range(len(SCORE_BOUNDS) + 1))


def snapshot(*parts: object, counters: dict[CounterTable, list[tuple[object, ...]]] | None = None) -> Snapshot:
    return Snapshot(counters or {}, [], 0, None, {}, {type(part): part for part in parts})


class Subjects(Collector):
    def __init__(self, taken: Snapshot) -> None:
        self._taken = taken

    def collect(self) -> Iterator[Metric]:
        for subject in (findings, detection, novelty):
            yield from subject.families(self._taken)


def text(taken: Snapshot) -> str:
    registry = CollectorRegistry()
    registry.register(Subjects(taken))
    return generate_latest(registry).decode()


def finding(subject: str, evidence: dict[str, object], **parts: str) -> Finding:
    given = {"detector": "malware", "subject_type": "client", "severity": "critical"} | parts
    return Finding(subject=subject, score=0.75, first_seen=NOON, last_seen=NOON, evidence=evidence, **given)


EVERYTHING = snapshot(
    DetectionSnapshot(
        detectors=(
            DetectorHealth(
                "malware",
                runs=10,
                failures=1,
                seconds=0.5,
                evaluated=NOON,
                inputs={"novel": 123, "listed": 0},
                lacks=("failures",),
                counts={"names_scored": 7, "more": 1},
                model_time=datetime(2026, 1, 1),
                histogram=HISTOGRAM,
                score_sum=30.5,
            ),
            DetectorHealth("strange", ('no "model"\n', 'no "model"\n', "x" * 1000)),
        ),
        scores=(("malware", "client", "192.0.2.7", 0.75), ("strange", "domain", '"\\x07"', 0.25)),
    ),
    NoveltySnapshot(
        rows=123,
        lists=(
            ListFile("a/hosts", (7, 1_700_000_000_500_000_000, 9), 3, Counter(url=2, address=1)),
            ListFile("b.txt", (), 5, error="Permission denied"),
        ),
    ),
    FindingsSnapshot(
        open={("malware", "critical"): 2, ("nfsen", "warning"): 1},
        worst=[
            finding("192.0.2.7", {"domains": ["bad.example", "worse.example"]}),
            finding("192.0.2.8", {"domains": "none"}),
            finding("dns", {}, detector="nfsen", subject_type="series", severity="warning"),
        ],
    ),
    counters={
        DROPPED: [("closed", 3)],
        SUPPRESSED: [("malware", 4)],
        NOVEL_DROPPED: [("rows", 5)],
        QUERIES: [("192.0.2.53", "A", 6)],
    },
)


def test_everything_is_as_it_was(request: pytest.FixtureRequest) -> None:
    golden = request.path.with_name("fixtures") / "detection.metrics"
    if "RENEW" in os.environ:
        golden.write_text(text(EVERYTHING))
    assert text(EVERYTHING) == golden.read_text()


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool, of Debian's package prometheus")
def test_promtool_finds_nothing_to_say() -> None:
    result = subprocess.run(
        ["promtool", "check", "metrics"], input=text(EVERYTHING), capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_without_detectors_there_are_only_the_findings_that_others_may_bring() -> None:
    lines = [line for line in text(snapshot(DetectionSnapshot())).splitlines() if line[:1] != "#"]
    assert lines == [f'dnsvigil_findings_dropped_total{{state="{state}"}} 0.0' for state in STATES]


def test_lists_are_few_series() -> None:
    files = [ListFile(f"{n:04}", (), 1, Counter(url=1), "gone" if n == 999 else "") for n in range(1000)]
    lines = [line for line in text(snapshot(NoveltySnapshot(lists=tuple(files)))).splitlines() if line[:1] != "#"]
    assert len(lines) == len(STATES) + 3 * (SHOWN_LISTS + 1)
    assert {
        'dnsvigil_list_names{list="other"} 900.0',
        'dnsvigil_list_up{list="other"} 0.0',
        'dnsvigil_list_skipped_lines{list="other",reason="url"} 900.0',
    } <= set(lines)
