"""The fast way for much of dns.log at once: records as Zeek writes them, as columns of Arrow.

Arrow reads the columns that are wanted in two thirds of DuckDB's time, and one look at all addresses together takes a
tenth of a look at each. Where a value is not in the form of Zeek's default there are no columns, and the parser's query
reads the text: so the verdict on a record is the same on both ways.
"""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dnsvigil.sources.zeek import times
from dnsvigil.sources.zeek.header import Header
from dnsvigil.sources.zeek.lines import Chunk, is_text
from dnsvigil.sources.zeek.log_types import DNS

if TYPE_CHECKING:
    import pyarrow as pa

_TYPES: Final = {
    "TIMESTAMP": "double", "DOUBLE": "double", "USMALLINT": "uint16", "VARCHAR": "string", "VARCHAR[]": "string",
}  # fmt: skip
_ADDRESS: Final = b"0123456789abcdefABCDEF:."
_CONTROLS: Final = bytes([*range(0x20), 0x7F])
_MAX_AHEAD: Final = 3_000  # seconds that a time is surely not too far ahead


class Plain:
    """Columns of records in Arrow's PyCapsule interface; each has the text or number of its field.

    ``lower`` has what is in ``qname`` in lower case.
    """

    def __init__(self, table: "pa.Table", good: bool) -> None:
        """Take the table; ``good`` is whether it is certain that none of the records is to be skipped."""
        self.good = good
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the rows as a stream."""
        return self._table.__arrow_c_stream__(requested_schema)


def plain(chunk: Chunk, columns: Sequence[str]) -> Plain | None:
    """Return these columns of a chunk of dns.log; None where not all of it is as Zeek writes it."""
    header = chunk.header
    if header is None or not _is_stock(header, columns) or not is_text(chunk.body):
        return None
    import pyarrow as pa  # 40 MB that a collector of small logs does not need
    from pyarrow import compute, csv

    names = [f"c{place}" for place in range(len(header.fields))]
    wanted = {names[header.fields.index(DNS.field_of(column))]: column for column in columns}
    try:
        table = csv.read_csv(
            pa.BufferReader(chunk.body),
            # With threads it takes 80 MB more.
            read_options=csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=csv.ParseOptions(
                delimiter="\t", quote_char=False, double_quote=False, escape_char=False, ignore_empty_lines=False
            ),
            convert_options=csv.ConvertOptions(
                check_utf8=False,  # is_text() has
                column_types={name: _TYPES[DNS.record[column]] for name, column in wanted.items()},
                null_values=[header.unset],
                strings_can_be_null=True,
                include_columns=list(wanted),
            ),
        ).rename_columns(columns)
    except pa.ArrowInvalid:
        return None
    if table.num_rows != chunk.lines or not _is_readable(table):
        return None
    return Plain(table.append_column("lower", compute.ascii_lower(table["qname"])), _is_good(table))


def _is_stock(header: Header, columns: Sequence[str]) -> bool:
    """Return whether the columns are there, and written as Zeek does by default."""
    form = (header.separator, header.set_separator, header.empty, header.unset)
    return (
        header.log_type is DNS
        and form == ("\t", ",", "(empty)", "-")
        and all(DNS.field_of(column) in header.fields and DNS.record[column] in _TYPES for column in columns)
    )


def _is_readable(table: "pa.Table") -> bool:
    """Return whether times are in seconds, and texts without control characters, which Zeek escapes."""
    return _is_within(table["ts"], times.FIRST, times.LAST) and all(
        len(text) == len(text.translate(None, _CONTROLS))
        for name in {"qname", "answers"}.intersection(table.column_names)
        for text, _ in _texts(table[name])
    )


def _is_good(table: "pa.Table") -> bool:
    """Return whether there is certainly no reason to skip any of the records."""
    return (
        not any(table[name].null_count for name in ("ts", "client", "server"))
        and _is_within(table["ts"], times.FIRST, time.time() + _MAX_AHEAD)
        and _is_within(table["rtt_seconds"], 0, 86_400)
        and all(lengths.max() <= 255 for _, lengths in _texts(table["qname"]))
        and all(
            not text.translate(None, _ADDRESS) and lengths.min() >= 2 and lengths.max() <= 45
            for name in ("client", "server")
            for text, lengths in _texts(table[name])
        )
    )


def _is_within(column: "pa.ChunkedArray", least: float, most: float) -> bool:
    # By its buffers, as Arrow looks for pandas where it makes an array or a number of Python.
    parts = (
        np.frombuffer(part.buffers()[1])[part.offset : part.offset + len(part)]
        for part in column.drop_null().chunks
        if len(part)
    )
    return all(((part >= least) & (part <= most)).all() for part in parts)


def _texts(column: "pa.ChunkedArray") -> Iterator[tuple[bytes, NDArray[Any]]]:
    """Yield the values of each part of a column, joined, and their lengths."""
    for part in column.chunks:
        if len(part):
            _, offsets, values = part.buffers()
            ends = np.frombuffer(offsets, np.int32)[part.offset : part.offset + len(part) + 1]
            yield bytes(memoryview(values or b"")[ends[0] : ends[-1]]), np.diff(ends)
