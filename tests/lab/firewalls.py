"""Flow files record by record, of any elements: both directions in one record, events, and counters that are missing.

What Cisco's ASA exports as NSEL, gateways as NAT events (NEL), and softflowd, yaf or nprobe as bidirectional flows, in
the form that nfcapd of nfdump 1.7 leaves.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import numpy as np

from .flows import _BLOCK, _BLOCK_TYPE, _HEADER, _IDENT, _LARGEST_BLOCK, _LAYOUT, _MAGIC, _RECORD_TYPE, _SUMS
from .flows import _WRITTEN_BY as WRITTEN_BY

CREATE, DELETE, DENIED, ALERT, UPDATE = 1, 2, 3, 4, 5
"""Events of NSEL."""

_GENERIC, _IPV4, _IPV6, _COUNTERS, _RECEIVED, _NSEL, _NEL = 1, 2, 3, 5, 12, 19, 25
_EVENT_FLAG: Final = 1
_PER_BLOCK: Final = 500


@dataclass(frozen=True)
class Record:
    """One record; ``out_packets`` and ``out_bytes`` are None where it has no counters of the way back."""

    src: str
    src_port: int
    dst: str
    dst_port: int
    proto: int = 17
    packets: int = 0
    bytes: int = 0
    out_packets: int | None = None
    out_bytes: int | None = None
    flows: int = 1
    event: int | None = None  # of NSEL
    nat_event: int | None = None  # of NEL
    late: float = 1  # seconds after the begin of the file


def write(path: Path, begin: float, records: Iterable[Record], ident: str = "asa") -> Path:
    """Write a flow file that begins at a Unix time."""
    rows = list(records)
    blocks = []
    for first in range(0, len(rows), _PER_BLOCK):
        some = [_record(row, begin) for row in rows[first : first + _PER_BLOCK]]
        content = b"".join(some)
        blocks.append(_BLOCK.pack(len(some), len(content), _BLOCK_TYPE, 0) + content)
    sums = np.zeros(18, "u8")
    sums[:3] = (
        len(rows),
        sum(row.bytes + (row.out_bytes or 0) for row in rows),
        sum(row.packets + (row.out_packets or 0) for row in rows),
    )
    sums[15:17] = 1000 * int(begin), 1000 * int(begin) + 299_000
    name = ident.encode() + b"\0"
    appendix = struct.pack("<HH", _IDENT, 4 + len(name)) + name
    appendix += struct.pack("<HH", _SUMS, 4 + sums.nbytes) + sums.tobytes()
    body = b"".join(blocks)
    at = _HEADER.size + len(body)
    head = _HEADER.pack(_MAGIC, _LAYOUT, WRITTEN_BY, int(begin), 0, 0, 1, 0, at, _LARGEST_BLOCK, len(blocks))
    path.write_bytes(head + body + _BLOCK.pack(2, len(appendix), _BLOCK_TYPE, 0) + appendix)
    return path


def _record(row: Record, begin: float) -> bytes:
    when = int(1000 * (begin + row.late))
    generic = struct.pack(
        "<QQQQQHHBBBB", when, 0 if row.event else when, when, row.packets, row.bytes, row.src_port, row.dst_port,
        row.proto, 0, 0, 0,
    )  # fmt: skip
    source, target = ip_address(row.src), ip_address(row.dst)
    elements = [(_GENERIC, generic)]
    if source.version == 4:
        elements.append((_IPV4, struct.pack("<II", int(source), int(target))))
    else:
        halves = (half for ip in (source, target) for half in divmod(int(ip), 2**64))
        elements.append((_IPV6, struct.pack("<QQQQ", *halves)))
    if row.out_packets is not None or row.out_bytes is not None:
        elements.append((_COUNTERS, struct.pack("<QQQ", row.flows, row.out_packets or 0, row.out_bytes or 0)))
    elements.append((_RECEIVED, struct.pack("<I", 0x7F000001)))
    if row.event is not None:
        elements.append((_NSEL, struct.pack("<QIHBB", when, 4711, 0, row.event, 0)))
    if row.nat_event is not None:
        elements.append((_NEL, struct.pack("<QIBBH", when, 1, row.nat_event, 0, 0)))
    content = b"".join(struct.pack("<HH", kind, 4 + len(body)) + body for kind, body in elements)
    flags = _EVENT_FLAG if row.event is not None or row.nat_event is not None else 0
    return struct.pack("<HHHHHBB", _RECORD_TYPE, 12 + len(content), len(elements), 0, 1, flags, 9) + content
