"""The metrics of the archive."""

from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import alone, by_label, counter, gauge
from dnsvigil.ingest.archive import ArchiveSnapshot
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.store.archive import ARCHIVED, DROPPED

_REASONS = ("age", "size", "unreadable", "unwritable")


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the metrics of the archive; none where there is none."""
    if ArchiveSnapshot not in snapshot.parts:
        return
    found = snapshot.of(ArchiveSnapshot)
    yield gauge("dnsvigil_archive_files", "Files of the archive.", ["table"], by_label(found.files))
    yield gauge("dnsvigil_archive_size_bytes", "Size of the files of the archive.", ["table"], by_label(found.size))
    yield gauge(
        "dnsvigil_archive_waiting_rows", "Rows that are to be written into files.", ["table"], by_label(found.waiting)
    )
    yield counter(
        "dnsvigil_archive_rows",
        "Rows that were written into the archive.",
        ["table"],
        by_label(dict.fromkeys(found.files, 0) | dict(snapshot.rows(ARCHIVED))),
    )
    dropped: Mapping[tuple[str, str], int] = {(table, reason): rows for table, reason, rows in snapshot.rows(DROPPED)}
    yield counter(
        "dnsvigil_archive_dropped",
        "Rows that are not in the archive: too old, the oldest when there was too much, in a file that cannot be read,"
        " or never written because the disk was full for too long.",
        ["table", "reason"],
        (([table, reason], dropped.get((table, reason), 0)) for table in found.files for reason in _REASONS),
    )
    yield counter(
        "dnsvigil_archive_failures",
        "Times that files of the archive could not be written or merged since the collector started.",
        [],
        alone(found.failures),
    )
