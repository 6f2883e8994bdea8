"""Reads a report of Shadowserver; rows that cannot be used are skipped, and reported with file and line."""

import csv
import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any, Final

from dnsvigil.sources.decompressed import BrokenFileError, DecompressedFile
from dnsvigil.sources.shadowserver.columns import KNOWN, REQUIRED, BadRowError, check_report, scanned_host
from dnsvigil.system.terminal import counted, printable

log = logging.getLogger(__name__)

MAX_BYTES: Final = 64 << 20
"""The size of a report, uncompressed, up to which it is read."""

_REPORTED: Final = 10  # rows of a file that have a line of the log each
_PIECE: Final = 1 << 20


@dataclass
class Report:
    """What is in a file."""

    path: Path
    digest: str
    hosts: dict[tuple[str, str, int], dict[str, Any]] = field(default_factory=dict)  # by host, protocol and port
    rows: int = 0  # that could be used
    skipped: Counter[str] = field(default_factory=Counter)  # by reason
    problem: str = ""  # why there is nothing in it, or why it ends early

    def skip(self, line: int, reason: str, text: str) -> None:
        """Count a row that cannot be used; the log has the first ones with their lines."""
        self.skipped[reason] += 1
        if self.skipped.total() <= _REPORTED:
            log.warning("%s:%d: the row is skipped: %s", self.path, line, printable(text))

    def take(self, host: dict[str, Any]) -> None:
        """Add a row: of those about one host the newest counts, with the time of the first."""
        self.rows += 1
        key = host["host"], host["protocol"], host["port"]
        before = self.hosts.get(key, host)
        newest = max(host, before, key=lambda each: each["last_seen"])
        self.hosts[key] = newest | {"first_seen": min(host["first_seen"], before["first_seen"])}


def is_report(path: Path) -> bool:
    """Return whether a file begins as a report does. Raises ``OSError``."""
    with DecompressedFile(path) as file:
        try:
            head = file.read(4096)
        except BrokenFileError:
            return False
    first = next(csv.reader(head.decode("utf-8-sig", "replace").splitlines()), [])
    return set(REQUIRED).issubset(_names(first))


def read_report(path: Path, latest: datetime) -> Report:
    """Return what a report has. Times after ``latest`` (UTC) are wrong.

    Raises ``OSError`` for a file that cannot be read.
    """
    content, problem = _content(path)
    report = Report(path, hashlib.sha256(content).hexdigest(), problem=problem)
    header: Sequence[str] = ()
    for line, row in _rows(content, report):
        names = _names(row)
        if set(REQUIRED).issubset(names):
            header = names  # reports may stand one behind the other
            _report_unknown(path, line, header)
            continue
        if not header:
            missing = ", ".join(name for name in REQUIRED if name not in names)
            report.skipped["no_header"] += 1
            report.problem = f"line {line} is no header of a report of Shadowserver: it has no column {missing}"
            break
        if len(row) != len(header):
            report.skip(line, "columns", f"it has {len(row)} columns, and the header {len(header)}")
            continue
        values = dict(zip(header, row, strict=True))
        try:
            check_report(values)
            report.take(scanned_host(values, latest))
        except BadRowError as error:
            report.skip(line, error.reason, str(error))
    if not header and not report.problem:
        report.problem = "it is empty"
    if report.skipped.total() > _REPORTED:
        log.warning("%s: %s skipped in all", path, counted(report.skipped.total(), "row"))
    return report


def _content(path: Path) -> tuple[bytes, str]:
    """Return the content of a file, and what is wrong with its end."""
    content, problem = b"", ""
    with DecompressedFile(path) as file:
        try:
            while (piece := file.read(_PIECE)) and len(content) <= MAX_BYTES:
                content += piece
        except BrokenFileError as error:
            problem = str(error)
    if len(content) > MAX_BYTES:
        content, problem = content[:MAX_BYTES], f"only its first {MAX_BYTES >> 20} MiB are read"
    return content, problem


def _rows(content: bytes, report: Report) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows with their lines; a byte order mark is no part of the first."""
    reader = csv.reader(StringIO(content.decode("utf-8-sig", "replace"), newline=""))
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            report.skip(reader.line_num, "columns", f"it is no row of a CSV file: {error}")
            continue
        if row:
            yield reader.line_num, row


def _names(row: Sequence[str]) -> list[str]:
    return [name.strip().lower() for name in row]


def _report_unknown(path: Path, line: int, header: Sequence[str]) -> None:
    unknown = [name for name in header if name not in KNOWN]
    if unknown:
        log.info("%s:%d: columns that are not known are left out: %s", path, line, printable(", ".join(unknown)))
