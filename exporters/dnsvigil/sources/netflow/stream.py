"""The flows in what ``nfdump -w`` writes, as columns: records of one layout become arrays without a look at each.

The format is that of nfdump 1.7 (its nffileV2.h and nfxV3.h): a header, then blocks of records; a record has a header
and some elements, which may differ from record to record.
"""

from collections.abc import Iterator, Mapping
from functools import reduce
from operator import or_
from struct import Struct
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from dnsvigil.sources.netflow.flow_file import HEADER, MAGIC

Columns = Mapping[str, NDArray[Any]]
"""Flows by column: ``first`` and ``last`` in milliseconds since the epoch, 0 where unknown; ``flows``, ``packets`` and
``bytes``; ``src_port``, ``dst_port`` and ``proto``; ``src_high``, ``src_low``, ``dst_high`` and ``dst_low``, the
addresses in 64 bits each, IPv4 as :data:`MAPPED`. ``out_packets`` and ``out_bytes`` are there where records count the
way back, and ``unsplit`` where the counts of some flows are those of both directions together."""

MAPPED: Final = np.uint64(0xFFFF << 32)
"""What stands before an IPv4 address, as in RFC 4291."""

_BUFFER: Final = 4 << 20  # bytes of records
_MAX_BLOCK: Final = 64 << 20  # bytes; nfdump makes none of more than five MiB
_MAX_SIZES: Final = 16  # of records, for which :func:`_starts` looks at once
_BLOCK: Final = Struct("<IIHH")
_DATA, _ARRAYS = 3, 4  # types of block
_NOTHING: Final = b"No matching flows\n"  # printed by nfdump wherever the records go
_RECORD: Final = 11  # type of record
_RECORD_HEADER: Final = 12
_HEAD: Final = 4  # type and size, with which a record and an element begin
_GENERIC, _IPV4, _IPV6, _COUNTERS, _NSEL = 1, 2, 3, 5, 19  # types of element
_LENGTHS: Final = {_GENERIC: 52, _IPV4: 12, _IPV6: 36, _COUNTERS: 28}  # bytes at least, of an element with its head
_FIELDS: Final = {
    "first": (_GENERIC, 0, "<u8"),
    "last": (_GENERIC, 8, "<u8"),
    "packets": (_GENERIC, 24, "<u8"),
    "bytes": (_GENERIC, 32, "<u8"),
    "src_port": (_GENERIC, 40, "<u2"),
    "dst_port": (_GENERIC, 42, "<u2"),
    "proto": (_GENERIC, 44, "u1"),
    "src_high": (_IPV6, 0, "<u8"),
    "src_low": (_IPV6, 8, "<u8"),
    "dst_high": (_IPV6, 16, "<u8"),
    "dst_low": (_IPV6, 24, "<u8"),
    "flows": (_COUNTERS, 0, "<u8"),
}
"""By column: its element, its offset in that, and its type; the column is 0 where records lack the element."""
_FIELDS_IPV4: Final = {"src_low": (_IPV4, 0, "<u4"), "dst_low": (_IPV4, 4, "<u4")}
_FIELDS_BACK: Final = {"out_packets": (_COUNTERS, 8, "<u8"), "out_bytes": (_COUNTERS, 16, "<u8")}


class UnknownFormError(Exception):
    """nfdump writes a form that is not known here; the message says which."""


def read_stream(stream: IO[bytes]) -> Iterator[Columns]:
    """Yield the flows of what ``nfdump -w`` writes, many of the same layout at a time. Raises ``UnknownFormError``."""
    header = stream.read(HEADER.size)
    if not header:
        return  # nfdump's message says why
    if len(header) < HEADER.size:
        raise UnknownFormError("a short header")
    magic, layout, _, _, compression, encryption, *_ = HEADER.unpack(header)
    if (magic, layout, compression, encryption) != (MAGIC, 2, 0, 0):
        raise UnknownFormError(f"layout {layout}, compression {compression}")
    sizes: set[int] = set()
    for records, count in _blocks(stream):
        yield from _records(records, count, sizes)


def _blocks(stream: IO[bytes]) -> Iterator[tuple[memoryview, int]]:
    """Yield the records of some blocks at a time, to be used before the next, with their number."""
    buffer = bytearray(_BUFFER)
    filled = records = 0
    while head := stream.read(_BLOCK.size):
        if _NOTHING.startswith(head):
            break
        if len(head) < _BLOCK.size:
            raise UnknownFormError("half a block")
        count, size, block_type, _ = _BLOCK.unpack(head)
        if block_type not in (_DATA, _ARRAYS) or size > _MAX_BLOCK:
            raise UnknownFormError(f"a block of type {block_type} and of {size} bytes")
        if filled + size > len(buffer):
            if filled:
                yield memoryview(buffer)[:filled], records
                filled = records = 0
            if size > len(buffer):
                buffer = bytearray(size)
        if stream.readinto(memoryview(buffer)[filled : filled + size]) < size:  # type: ignore[attr-defined]
            raise UnknownFormError("half a block")
        if block_type == _DATA:
            filled += size
            records += count
    if filled:
        yield memoryview(buffer)[:filled], records


def _records(block: memoryview, count: int, sizes: set[int]) -> Iterator[Columns]:
    """Yield the records of blocks; records with the same elements in the same places come together."""
    starts = _starts(block, count, sizes)
    lengths = np.diff(starts, append=len(block))
    if (lengths < _HEAD).any():
        raise UnknownFormError("a record shorter than its head")
    for size in np.flatnonzero(np.bincount(lengths)).tolist():
        # Half as fast again as rows of sliding_window_view.
        records = np.ndarray(len(block) - size + 1, f"V{size}", block, 0, 1)[starts[lengths == size]]
        while len(records):
            first = records[0].tobytes()
            known = int.from_bytes(first[:2], "little") == _RECORD
            elements = _elements(first) if known else {}
            places = (0, *(at - _HEAD for at in elements.values()))
            heads = records.view(_layout(size, {str(at): (at, "<u4") for at in places}))
            alike = heads == heads[0]
            flows, records = (records, records[:0]) if alike.all() else (records[alike], records[~alike])
            if known:
                yield _columns(flows, elements)


def _starts(block: memoryview, count: int, sizes: set[int]) -> NDArray[Any]:
    """Return where the records begin. ``sizes`` are the sizes of records so far; new ones are added."""
    # What looks like the head of a record mostly is one, and surely if each begins where the one before it ends.
    heads = np.frombuffer(block, "<u4", len(block) // 4)
    likely = np.flatnonzero(
        reduce(or_, (heads == (size << 16 | _RECORD) for size in sizes), np.zeros(len(heads), bool))
    )
    starts = 4 * likely
    if len(starts) == count and np.array_equal(
        np.append(starts, len(block)), np.append(0, starts + (heads[likely] >> 16))
    ):
        return starts
    found = []
    at = 0
    try:
        for _ in range(count):
            found.append(at)
            at += block[at + 2] | block[at + 3] << 8
    except IndexError:
        at = -1
    if at != len(block):
        raise UnknownFormError("a block whose records are not as long as it")
    starts = np.array(found, int)
    if len(sizes) < _MAX_SIZES:
        sizes.update(np.diff(starts, append=at).tolist())
    return starts


def _elements(record: bytes) -> dict[int, int]:
    """Return, by type of element, where in the record its content begins."""
    found = {}
    at = _RECORD_HEADER
    for _ in range(int.from_bytes(record[4:6], "little")):
        element, length = (int.from_bytes(record[at + i : at + i + 2], "little") for i in (0, 2))
        found[element] = at + _HEAD
        at += length
        if length < _LENGTHS.get(element, _HEAD) or at > len(record):
            raise UnknownFormError("a record whose elements are not as long as it")
    return found


def _columns(records: NDArray[Any], elements: Mapping[int, int]) -> Columns:
    """Return the columns of records that have these elements in these places."""
    fields = _FIELDS | (_FIELDS_BACK if _COUNTERS in elements else {})
    if _IPV6 not in elements:
        fields |= _FIELDS_IPV4
    places = {
        name: (elements[element] + at, form) for name, (element, at, form) in fields.items() if element in elements
    }
    found = records.view(_layout(records.itemsize, places))
    flows = {
        name: found[name].copy() if name in places else np.zeros(len(records), form)
        for name, (_, _, form) in fields.items()
    }
    if _IPV6 not in elements:
        flows |= {name: flows[name] | MAPPED for name in _FIELDS_IPV4}
    if _NSEL in elements and _COUNTERS not in elements:
        flows["unsplit"] = flows["packets"] == 0
    return flows


def _layout(size: int, fields: Mapping[str, tuple[int, str]]) -> np.dtype[Any]:
    """Return the type of records of this size, with fields at these offsets and of these types."""
    offsets, forms = [at for at, _ in fields.values()], [form for _, form in fields.values()]
    return np.dtype({"names": list(fields), "formats": forms, "offsets": offsets, "itemsize": size})
