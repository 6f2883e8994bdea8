"""Reads one log file in batches, from its cursor to its end."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from dnsvigil.records import Cursor
from dnsvigil.sources.logfile import BrokenFileError, LogFile
from dnsvigil.sources.zeek import Header, Piece, count_lines, sieve, split

BATCH_BYTES: Final = 32 * 2**20
"""Bytes of log, uncompressed, in one batch: some 170,000 records."""

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Whole lines of one file, with the cursor that stands behind them."""

    pieces: list[Piece]
    read: int  # records in the batch, the skipped ones included
    skipped: Counter[str]  # by reason, those that nothing can be parsed of
    cursor: Cursor
    stored_offset: int  # bytes on disk read so far


def read_batches(path: Path, cursor: Cursor, finished: bool) -> Iterator[Batch]:
    """Yield what the file has behind the cursor.

    ``finished`` says that nobody writes the file any more: an unfinished last line is then read or counted,
    and else left for the next time. So is a compressed file that breaks off. Raises ``OSError``.
    """
    with LogFile(path) as file:
        header = Header.parse(cursor.header) if cursor.header else None
        rest = b""
        at_end = broken = False
        try:
            if cursor.offset:
                file.seek(cursor.offset)
            else:
                file.skip_hole()
        except BrokenFileError:
            return
        while not at_end:
            try:
                data = file.read(BATCH_BYTES)
            except BrokenFileError:
                if not finished:
                    return
                data, broken = b"", True
            at_end = len(data) < BATCH_BYTES
            data = rest + data if rest else data
            if file.compressed and not cursor.offset:
                data = data.lstrip(b"\0")
            cut = data.rfind(b"\n") + 1
            lines, rest = data[:cut], data[cut:]
            overlong = not at_end and len(rest) >= BATCH_BYTES
            pieces, header, skipped = split(lines, header)
            if overlong:
                skipped["too_long"] += 1
                rest = b""
            elif at_end and (rest or broken) and (finished or file.compressed):
                last = Piece(rest, None if rest.startswith(b"{") else header)
                if rest and not broken and (header or last.header is None) and not sieve(last)[1]:
                    pieces.append(last)
                else:
                    skipped["truncated"] += 1
                rest = b""
            read = sum(count_lines(piece.body) for piece in pieces) + skipped.total()
            offset = file.offset - len(rest)
            if offset == cursor.offset and not read:
                return
            cursor = replace(cursor, offset=offset, header=header.text if header else b"")
            yield Batch(pieces, read, skipped, cursor, file.stored_offset - (0 if file.compressed else len(rest)))


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield what ``items`` yields, the next being read in a thread while the last is worked on."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = reader.submit(next, items, None)
            yield item
