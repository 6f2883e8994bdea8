"""The metrics of novel traffic, and of the lists that names are looked up in."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import alone, by_label, counter, gauge
from dnsvigil.ingest.detection import DetectionSnapshot
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.ingest.novelty import NoveltySnapshot
from dnsvigil.records import OTHER
from dnsvigil.sources.blocklists.list_file import ListFile
from dnsvigil.store.novelty import DROPPED

SHOWN_LISTS: Final = 100
"""Lists that have a label of their own; the rest together are ``other``."""


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the metrics of novel traffic where a detector is in use, and those of lists where there are any."""
    novelty = snapshot.of(NoveltySnapshot)
    if snapshot.of(DetectionSnapshot).detectors:
        yield gauge("dnsvigil_novel_rows", "Rows of novel traffic in the store.", [], alone(novelty.rows))
        yield counter(
            "dnsvigil_novel_dropped",
            "Novel traffic dropped for lack of room.",
            ["reason"],
            by_label({"domains": 0, "flood": 0, "rows": 0} | dict(snapshot.rows(DROPPED))),
        )
    if novelty.lists:
        yield from _lists(novelty.lists)


def _lists(lists: Sequence[ListFile]) -> Iterator[Metric]:
    names: Counter[str] = Counter()
    skipped: Counter[tuple[str, str]] = Counter()
    readable: dict[str, bool] = {}
    changed: dict[str, float] = {}
    for number, file in enumerate(lists):
        label = file.name if number < SHOWN_LISTS else OTHER
        names[label] += file.names
        if file.changed is not None:
            changed[label] = min(changed.get(label, file.changed), file.changed)
        readable[label] = readable.get(label, True) and not file.error
        for reason, count in file.skipped.items():
            skipped[label, reason] += count
    yield gauge("dnsvigil_list_up", "1 if the list could be read.", ["list"], by_label(readable))
    yield gauge("dnsvigil_list_timestamp_seconds", "When the list was last changed.", ["list"], by_label(changed))
    yield gauge("dnsvigil_list_names", "Names of the list that are in use.", ["list"], by_label(names))
    yield gauge(
        "dnsvigil_list_skipped_lines",
        "Lines of the list, as it was last read, that could not be used.",
        ["list", "reason"],
        skipped.items(),
    )
