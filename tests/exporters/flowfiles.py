"""Small flow files for tests, named as nfcapd does, and what they hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import numpy as np

from dnsvigil.store.store import Store
from lab.flows import FLOW, write

SLOT = 300
HEADER_BYTES, BLOCK_HEADER_BYTES = 40, 12
RESOLVER, OTHER_RESOLVER = "192.0.2.53", "2001:db8::53"


@dataclass(frozen=True)
class OneWay:
    """Flows that are all alike."""

    src: str
    src_port: int
    dst: str
    dst_port: int
    proto: int = 17
    packets: int = 1
    bytes: int = 60
    count: int = 1
    late: float = 1  # seconds after the begin of the file

    @property
    def back(self) -> OneWay:
        """The other direction, with twice the bytes."""
        return replace(
            self, src=self.dst, src_port=self.dst_port, dst=self.src, dst_port=self.src_port, bytes=2 * self.bytes
        )


def asking(client: str, server: str = RESOLVER, **values: float) -> OneWay:
    """A question."""
    return OneWay(client, 40_000, server, 53, **values)


MANY = 40_000
"""Flows that take several blocks of a file."""


def many() -> list[OneWay]:
    """So many questions."""
    return [asking("198.51.100.1", count=MANY // 2), asking("198.51.100.2", count=MANY // 2)]


def dialogues(clients: int, server: str = RESOLVER) -> list[OneWay]:
    """A question and an answer of so many clients each."""
    network = "2001:db8::1:{}:{}" if ":" in server else "198.51.{}.{}"
    questions = [asking(network.format(i // 250, i % 250 + 1), server) for i in range(clients)]
    return [flow for question in questions for flow in (question, question.back)]


def name_at(begin: float, seconds: bool = False) -> str:
    """The name of the file that begins at a Unix time, on a machine that has UTC or any other time zone."""
    return f"nfcapd.{datetime.fromtimestamp(begin, UTC):%Y%m%d%H%M}{'00' if seconds else ''}+0000"


def write_flows(
    folder: Path, begin: float, flows: Iterable[OneWay], *, ident: str = "edge", name: str | None = None, lost: int = 0
) -> Path:
    """Write the file that begins at a Unix time."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(flows)
    array = np.zeros(len(rows), FLOW)
    for i, flow in enumerate(rows):
        array[i]["first"] = array[i]["last"] = int(1000 * (begin + flow.late))
        for name_, value in (("packets", flow.packets), ("bytes", flow.bytes), ("proto", flow.proto)):
            array[i][name_] = value
        array[i]["src_port"], array[i]["dst_port"] = flow.src_port, flow.dst_port
        for end in ("src", "dst"):
            number = int(ip_address(getattr(flow, end)))
            array[i][end] = number >> 64, number & (2**64 - 1)
    path = folder / (name or name_at(begin))
    new = folder / "nfcapd.current.1"
    array = np.repeat(array, [flow.count for flow in rows])
    write(new, [array] if rows else [], ident, lost)
    return new.rename(path)


def damage(path: Path) -> bytes:
    """Spoil a block in the middle of a file; return what the file was."""
    whole = path.read_bytes()
    places = [HEADER_BYTES]
    while (size := int.from_bytes(whole[places[-1] + 4 : places[-1] + 8], "little")) and places[-1] < len(whole):
        places.append(places[-1] + BLOCK_HEADER_BYTES + size)
    middle = places[len(places) // 2]
    path.write_bytes(whole[:middle] + b"\xff" * 64 + whole[middle + 64 :])
    return whole


def write_past(store: Store, before: float, exporter: str = "edge", days: int = 28) -> None:
    """Put a past of steady questions to the resolver into a store, up to a Unix time; a FlowsPart has seen it."""
    resolver = f"'{exporter}', '{RESOLVER}'"
    level = "(7919 * i) % 50"
    columns = {
        "slot_services": f"'{exporter}', 'udp', 'dns', 1000 + {level}, 1000 + {level}, 60000 + 60 * ({level}), 0",
        "slot_resolvers": f"{resolver}, 'udp', 500 + {level}, 500 + {level}, 30000, 500, 500, 60000 + {level}, 0, 0",
        "slot_clients": f"{resolver}, NULL, 100 + {level}",
    }
    with store.transaction():
        for table, values in columns.items():
            query = f"INSERT INTO {table} SELECT make_timestamp(?) - INTERVAL {SLOT} SECOND * i, {values}"
            store.rows(f"{query} FROM range(1, {days} * 86400 // {SLOT} + 1) r(i)", int(before * 10**6))
