"""A Parquet file of passive DNS tuples in one order, of which a look-up reads a few kilobytes.

The tuples lie in row groups of some thousands, each with a Bloom filter of the key that the file is sorted by. Where
the row groups begin is known from the file's footer, so a look-up reads one of them, or none.
"""

import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from dnsvigil.records import TUPLE
from dnsvigil.store.tuple_keys import Range

Order = Literal["names", "rdata"]
"""What a file is sorted by: the owners' names, or the data."""

SORTED_BY: Final[dict[Order, tuple[str, str, str]]] = {
    "names": ("nkey", "rrtype", "rkey"),
    "rdata": ("rkey", "rrtype", "nkey"),
}

ROWS: Final = 16_384
"""The rows of a row group. A look-up reads one whole; with fewer, the footer grows and compression is worse."""

_ARROW: Final = {
    "VARCHAR": pa.string(),
    "UTINYINT": pa.uint8(),
    "UINTEGER": pa.uint32(),
    "BIGINT": pa.int64(),
    "UBIGINT": pa.uint64(),
}
SCHEMA: Final = pa.schema([(name, _ARROW[kind]) for name, kind in TUPLE.items()])

_DICTIONARIES: Final = ("rrtype", "bailiwick", "ttl_min", "ttl_max", "sensors", "seen_in")
# Keys that follow each other begin alike.
_ENCODINGS: Final = {
    "nkey": "DELTA_BYTE_ARRAY",
    "rkey": "DELTA_BYTE_ARRAY",
    "time_first": "DELTA_BINARY_PACKED",
    "time_last": "DELTA_BINARY_PACKED",
    "count": "PLAIN",
}
_DISTINCT: Final = ROWS // 2  # keys of a row group: a name has several tuples
_FALSE_POSITIVES: Final = 0.02
# Of the split-block Bloom filter, as the format of Parquet has it.
_BLOCK: Final = 32  # bytes
_SALTS: Final = (0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31)


def path_of(stem: str | Path, order: Order) -> Path:
    """Return the path of the file in one order, of the two that share a stem."""
    return Path(f"{stem}.{order}.parquet")


class TupleFileError(Exception):
    """A file of tuples cannot be read."""

    def __init__(self, path: Path, reason: Exception) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = str(reason)


@dataclass(frozen=True)
class Written:
    """What a file holds."""

    rows: int
    size: int  # bytes
    time_first: int  # of all tuples, in seconds since 1970, as the next
    time_last: int
    types: Sequence[str]


class TupleWriter:
    """Writes tuples, which come sorted, to a file that is complete once it has its name."""

    def __init__(self, path: Path, order: Order) -> None:
        """Raises ``OSError``."""
        self._path = path
        self._new = path.with_suffix(".new")
        self._waiting: list[pa.Table] = []
        self._rows = self._total = 0
        self._first, self._last = 2**32, 0
        self._types: set[str] = set()
        try:
            self._writer = pq.ParquetWriter(
                self._new,
                SCHEMA,
                compression="zstd",
                compression_level=3,
                use_dictionary=[*_DICTIONARIES],
                column_encoding=_ENCODINGS,
                bloom_filter_options={SORTED_BY[order][0]: {"ndv": _DISTINCT, "fpp": _FALSE_POSITIVES}},
                store_schema=False,
            )
        except OSError:
            self._new.unlink(missing_ok=True)
            raise

    def write(self, tuples: pa.Table) -> None:
        """Take more tuples. Raises ``OSError``."""
        if not tuples.num_rows:
            return
        self._first = min(self._first, pc.min(tuples["time_first"]).as_py())
        self._last = max(self._last, pc.max(tuples["time_last"]).as_py())
        self._types.update(pc.unique(tuples["rrtype"]).to_pylist())
        self._waiting.append(tuples.cast(SCHEMA))
        self._rows += tuples.num_rows
        if self._rows >= ROWS:
            self._write(self._rows - self._rows % ROWS)

    def close(self) -> Written:
        """Write what is left, and have the file on the disk under its name. Raises ``OSError``."""
        self._write(self._rows)
        self._writer.close()
        with self._new.open("rb+") as file:
            os.fsync(file.fileno())
        self._new.replace(self._path)
        return Written(self._total, self._path.stat().st_size, self._first, self._last, tuple(sorted(self._types)))

    def abandon(self) -> None:
        """Leave no file."""
        with suppress(OSError):  # where there is no space left
            self._writer.close()
        self._new.unlink(missing_ok=True)

    def _write(self, rows: int) -> None:
        if rows:
            waiting = pa.concat_tables(self._waiting)
            self._writer.write_table(waiting.slice(0, rows), row_group_size=ROWS)
            self._waiting = [waiting.slice(rows)]
            self._rows -= rows
            self._total += rows


class TupleFile:
    """One file, open for look-ups by any thread."""

    def __init__(self, path: Path, order: Order) -> None:
        """Read the footer. Raises :class:`TupleFileError`."""
        self.path = path
        self._key = SORTED_BY[order][0]
        try:
            # Not mapped into memory: a file that is cut off while it is open would kill the process (SIGBUS).
            self._bytes = pa.OSFile(str(path))
            self._metadata = pq.read_metadata(self._bytes)
            groups = [self._metadata.row_group(number) for number in range(self._metadata.num_row_groups)]
            place = SCHEMA.get_field_index(self._key)
            columns = [group.column(place) for group in groups]
            self._starts = [column.statistics.min for column in columns]
            self._ends = [column.statistics.max for column in columns]
            self._filters = [(column.bloom_filter_offset, column.bloom_filter_length) for column in columns]
        except (OSError, pa.ArrowException, AttributeError) as error:
            raise TupleFileError(path, error) from error

    def all(self) -> Iterator[pa.Table]:
        """Yield all tuples, as :meth:`tables` does."""
        for number in range(len(self._starts)):
            yield self._read(number)

    def tables(self, low: str, high: str) -> Iterator[pa.Table]:
        """Yield the tuples whose key lies from ``low`` to below ``high``, in tables of a row group at most.

        Raises :class:`TupleFileError`.
        """
        begin = bisect_left(self._ends, low)
        for number in range(begin, len(self._starts)):
            if self._starts[number] >= high:
                return
            yield self._cut(self._read(number), low, high)

    def with_keys(self, keys: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the tuples that have one of the keys, which are ascending, as :meth:`tables` does."""
        for number, (start, end) in enumerate(zip(self._starts, self._ends, strict=True)):
            inside = keys[bisect_left(keys, start) : bisect_right(keys, end)]
            held = self._candidates(number, inside)
            if held:
                table = self._read(number)
                yield table.filter(pc.is_in(table[self._key], pa.array(held)))

    def inside(self, ranges: Sequence[Range]) -> Iterator[pa.Table]:
        """Yield the tuples whose keys lie in ranges, which are ascending and apart, as :meth:`tables` does.

        There is a table for each row group that may have some, be it empty. Of the others, nothing is read.
        """
        lows, highs = [low for low, _ in ranges], [high for _, high in ranges]
        for number, (start, end) in enumerate(zip(self._starts, self._ends, strict=True)):
            near = ranges[bisect_right(highs, start) : bisect_right(lows, end)]
            if near:
                found = rows_inside(self._read(number, [self._key])[self._key].to_pylist(), near)
                yield self._read(number).take(found) if len(found) else SCHEMA.empty_table()

    def _cut(self, table: pa.Table, low: str, high: str) -> pa.Table:
        column = table[self._key]
        begin = pc.sum(pc.less(column, low)).as_py() or 0
        end = pc.sum(pc.less(column, high)).as_py() or 0
        return table.slice(begin, end - begin)

    def _read(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        try:
            file = pq.ParquetFile(self._bytes, metadata=self._metadata)
            return file.read_row_group(number, columns, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise TupleFileError(self.path, error) from error

    def _candidates(self, number: int, keys: Sequence[str]) -> list[str]:
        """Return the keys that the Bloom filter of a row group has."""
        offset, length = self._filters[number]
        if not length or not keys:
            return [*keys]
        try:
            header = self._bytes.read_at(6, offset)
            # Its first field is the size; the other bytes are of no use here.
            size = min(_zigzag(header[1:]), length)
            blocks = self._bytes.read_at(size, offset + length - size)
            return [key for key in keys if _filter_has(blocks, key)]
        except (OSError, struct.error) as error:
            raise TupleFileError(self.path, error) from error


def _filter_has(blocks: bytes, key: str) -> bool:
    hashed = xxhash.xxh64_intdigest(key.encode())
    block = (hashed >> 32) * (len(blocks) // _BLOCK) >> 32
    words = struct.unpack_from("<8I", blocks, block * _BLOCK)
    return all(word >> ((hashed * salt & 0xFFFFFFFF) >> 27) & 1 for word, salt in zip(words, _SALTS, strict=True))


def rows_inside(keys: Sequence[str], ranges: Sequence[Range]) -> pa.Array:
    """Return which of the keys, which are ascending, lie in ranges, which are ascending and apart."""
    found: list[int] = []
    end = 0
    for low, high in ranges:
        begin = bisect_left(keys, low, end)
        end = bisect_left(keys, high, begin)
        found += range(begin, end)
    return pa.array(found, pa.int64())


def _zigzag(encoded: bytes) -> int:
    """Return the number at the begin of Thrift's compact protocol, which is not negative."""
    number = shift = 0
    for byte in encoded:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    return number >> 1
