"""Reads one log file in batches, from its cursor to its end."""

import errno
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from dnsvigil.records import Cursor
from dnsvigil.sources.decompressed import BrokenFileError, DecompressedFile
from dnsvigil.sources.zeek.head import Head
from dnsvigil.sources.zeek.header import Header
from dnsvigil.sources.zeek.lines import Chunk, is_whole, split
from dnsvigil.sources.zeek.log_types import DNS, LogType
from dnsvigil.sources.zeek.options import STOCK, LogOptions
from dnsvigil.sources.zeek.unwrap import is_complete

BATCH_BYTES: Final = 48 * 2**20
"""Bytes of log, uncompressed, in one batch: some 270,000 records. More would take 900 MB where detectors work hard."""


@dataclass(frozen=True)
class Batch:
    """Whole lines of one file, with the cursor behind them."""

    chunks: list[Chunk]
    read: int  # records in the batch, the skipped ones included
    skipped: Counter[str]  # by reason, those that nothing can be parsed of
    cursor: Cursor
    stored_offset: int  # bytes on disk read so far
    log_type: LogType = DNS
    options: LogOptions = STOCK

    @property
    def size(self) -> int:
        """Bytes of log, uncompressed."""
        return sum(len(chunk.body) for chunk in self.chunks)


def read_batches(
    path: Path, cursor: Cursor, finished: bool, log_type: LogType = DNS, options: LogOptions = STOCK
) -> Iterator[Batch]:
    """Yield what the file, a log of this type, has behind the cursor.

    ``finished`` is whether nobody writes the file any more: a last line without a line end is then read if it is whole,
    and else counted as skipped. Before that it is left for later, and so is the end of a compressed file that breaks
    off. Times that count from the start of a capture, as that of the first record shows, are moved to when it began.
    Raises ``OSError``, and ``FileNotFoundError`` also where another file has taken the place of the cursor's.
    """
    with DecompressedFile(path) as file:
        head = Head.read(file, options)
        if head.hash(cursor.head_size) != cursor.head_hash:
            raise FileNotFoundError(errno.ENOENT, "another file has taken its place", str(path))
        header = Header.parse(cursor.header, options) if cursor.header else None
        if not head.moved:
            options = replace(options, start=None)
        start = cursor.offset
        at_end = False
        while not at_end:
            lines, rest = _read_on(file, start)
            at_end = len(lines) + len(rest) < BATCH_BYTES
            if not at_end:
                cut = _end_of_records(lines)
                lines, rest = lines[:cut], lines[cut:] + rest
            chunks, header, skipped = split(lines, header, log_type, options)
            if not at_end and len(rest) >= BATCH_BYTES:
                skipped["too_long"] += 1
                rest = b""
            offset = file.offset - len(rest)
            if not at_end:
                file.unread(rest)
            complete = finished or (file.compressed and not file.broken)
            complete = complete or (header is None and not file.broken and is_complete(rest))
            if at_end and complete and (rest or file.broken):
                if not file.broken and is_whole(rest, header):
                    last, header, reasons = split(rest, header, log_type, options)
                    chunks += last
                    skipped += reasons
                    offset = file.offset
                elif rest or offset > start or not start:
                    skipped["truncated"] += 1
                    offset = max(file.offset, 1)  # above 0, so that it is counted once
            read = sum(chunk.lines for chunk in chunks) + skipped.total()
            # Kept, so that a compressed file is not read once more to find nothing new in it.
            whole_size = file.size if at_end and complete and file.compressed else 0
            if offset <= cursor.offset and not read and whole_size in (0, cursor.whole_size):
                return
            cursor = replace(
                cursor,
                offset=max(offset, cursor.offset),
                header=header.text if header else b"",
                whole_size=whole_size,
            )
            yield Batch(
                chunks, read, skipped, cursor, file.stored_offset if file.compressed else offset, log_type, options
            )


def _read_on(file: DecompressedFile, start: int) -> tuple[bytes, bytes]:
    """Return the lines that come next in the file, and what is behind the last line end.

    The first are from ``start`` on. There are none where compressed data is broken.
    """
    try:
        if not file.offset:
            _go_to(file, start) if start else file.skip_hole()
        return file.read_lines(BATCH_BYTES)
    except BrokenFileError:
        return b"", b""


def _go_to(file: DecompressedFile, offset: int) -> None:
    """Go to a cursor's offset, and past the end of a line that was read before it had one."""
    file.seek(offset - (not file.compressed))
    if not file.compressed and file.read(1) != b"\n" and (end := file.read(2)) != b"\r\n":
        file.unread(end.removeprefix(b"\n"))


def _end_of_records(lines: bytes) -> int:
    """Return where the last line ends that is no header line: header lines are read with what follows them.

    Where there are header lines only, it is the end of the last.
    """
    end = len(lines)
    while end and lines.startswith(b"#", line := lines.rfind(b"\n", 0, end - 1) + 1):
        end = line
    return end or len(lines)
