"""The flows that nfdump prints, as columns: where what ``nfdump -w`` writes cannot be used."""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Final

import numpy as np

from dnsvigil.sources.netflow.dumper import Dumper
from dnsvigil.sources.netflow.process import DamagedFileError, NFDumpError
from dnsvigil.sources.netflow.stream import Columns
from dnsvigil.sources.netflow.text import PROTOCOLS, Flow

_ROWS_AT_ONCE: Final = 1 << 15
_MAPPED: Final = bytes(10) + b"\xff\xff"  # before an IPv4 address, as in RFC 4291
_NUMBERS: Final = {name: number for number, name in PROTOCOLS.items()}


class PrintedFlows:
    """The flows that nfdump prints, and ``damage``: its message against the file, once all have been read."""

    def __init__(self, dumper: Dumper) -> None:
        self.damage: str | None = None
        """Prepare to read what ``dumper`` finds. Raises :class:`NFDumpError` where nfdump is missing."""
        self._rows = dumper.search()
        # Text does not show which counters a record lacks. A firewall that counts the way back does so somewhere.
        self._unsplit = _has(dumper, "asa event > 0") and not _has(dumper, "out bytes > 0")

    def batches(self) -> Iterator[Columns]:
        """Yield the flows, many at a time."""
        rows = self._read()
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            flows = {
                "flows": np.array([row["flows"] for row in some], "u8"),
                "first": np.array([_time(row["first"]) for row in some], "u8"),
                "last": np.array([_time(row["last"]) for row in some], "u8"),
                "packets": np.array([row["packets"] for row in some], "u8"),
                "bytes": np.array([row["bytes"] for row in some], "u8"),
                "out_packets": np.array([row["out_packets"] for row in some], "u8"),
                "out_bytes": np.array([row["out_bytes"] for row in some], "u8"),
                "src_port": np.array([row["srcport"] for row in some], "u2"),
                "dst_port": np.array([row["dstport"] for row in some], "u2"),
                "proto": np.array([_number(row["prot"]) for row in some], "u1"),
            }
            if self._unsplit:
                flows["unsplit"] = flows["packets"] == 0
            for end in ("src", "dst"):
                addresses = [row["srcip"] if end == "src" else row["dstip"] for row in some]
                packed = b"".join(_MAPPED[: 16 - len(ip.packed)] + ip.packed for ip in addresses)
                halves = np.frombuffer(packed, ">u8").reshape(-1, 2).astype("u8")
                flows |= {f"{end}_high": halves[:, 0], f"{end}_low": halves[:, 1]}
            yield flows

    def _read(self) -> Iterator[Flow]:
        try:
            yield from self._rows
        except DamagedFileError as error:
            self.damage = str(error)


def _has(dumper: Dumper, query: str) -> bool:
    """Return whether a filter finds any flow; one that nfdump does not know finds none."""
    try:
        return any(True for _ in dumper.search(query, limit=1))
    except NFDumpError:
        return False


def _time(when: datetime) -> int:
    """Return a local time in milliseconds since the epoch; 0 for a time before."""
    try:
        return max(round(1000 * when.timestamp()), 0)
    except (OverflowError, ValueError):
        return 0


def _number(protocol: str | int) -> int:
    return protocol if isinstance(protocol, int) else _NUMBERS[protocol]
