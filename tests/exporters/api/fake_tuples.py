"""Tuples of passive DNS for tests, and look-ups among them in plain Python."""

import ipaddress
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from dnsvigil.store.tuple_keys import NEGATIVE_TYPES, key_of_data, key_of_name

LABELS = ("com", "net", "org", "example", "www", "mail", "a", "b-c", "example-b", "\\xff", "*", "'")
TYPES = ("A", "A", "AAAA", "CNAME", "MX", "NS", "TXT", "SRV", "DS", "TYPE65280", *NEGATIVE_TYPES)
TEXTS = ('"v=spf1 -all"', '"<script>"', '"\\xc3\\xbc"')


@dataclass(frozen=True)
class Tuple:
    """One tuple, with names and data as records have them."""

    rrname: str
    rrtype: str
    rdata: str
    bailiwick: str | None = None
    time_first: int = 1_700_000_000
    time_last: int = 1_700_000_000
    count: int = 1
    sensors: int = 1


def some(seed: int, number: int) -> list[Tuple]:
    """Return random tuples, of which many share names, data or both."""
    chance = random.Random(seed)
    found = {}
    for _ in range(number):
        rrname = _name(chance)
        rrtype = chance.choice(TYPES)
        key = (rrname, rrtype, _data(chance, rrtype), chance.choice([None, *_above(rrname)]))
        first = chance.randrange(1_600_000_000, 1_700_000_000)
        last = first + chance.randrange(10 ** chance.randrange(9))
        found[key] = Tuple(*key, first, last, chance.randrange(1, 1000), chance.randrange(1, 8))
    return list(found.values())


def _name(chance: random.Random) -> str:
    return ".".join(chance.choice(LABELS) for _ in range(chance.randrange(5))) or "."


def _above(name: str) -> list[str]:
    labels = name.split(".")
    return [".", *(".".join(labels[at:]) for at in range(len(labels)) if name != ".")]


def _data(chance: random.Random, rrtype: str) -> str:
    if rrtype == "A":
        return f"192.0.{chance.randrange(3)}.{chance.randrange(8)}"
    if rrtype == "AAAA":
        return str(ipaddress.ip_address((0x20010DB8 << 96) + chance.randrange(16)))
    if rrtype in NEGATIVE_TYPES:
        return ""
    before = {"MX": "10 ", "SRV": "0 5 5060 "}.get(rrtype, "")
    return before + _name(chance) if rrtype in ("CNAME", "NS", "MX", "SRV") else chance.choice(TEXTS)


@dataclass
class FakeReader:
    """Reads tuples from a list."""

    tuples: Sequence[Tuple]
    chunk: int = 3  # rows
    timed = True
    unreadable: dict[Path, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def chunks(self, order, low, high, *, deadline=None, select=None, negative=False) -> Iterator[pa.Table]:
        self.asked.append((low, high))
        return self._tables(order, lambda key: low <= key < high, select)

    def with_keys(self, order, keys, *, deadline=None, select=None, negative=False) -> Iterator[pa.Table]:
        self.asked.append(tuple(keys))
        wanted = set(keys)
        return self._tables(order, lambda key: key in wanted, select)

    def _tables(self, order, is_wanted, select) -> Iterator[pa.Table]:
        first, other = ("nkey", "rkey") if order == "names" else ("rkey", "nkey")
        rows = sorted(
            (row for row in map(_row, self.tuples) if is_wanted(row[first])),
            key=lambda row: (row[first], row["rrtype"], row[other], row["bailiwick"] or ""),
        )
        for at in range(0, len(rows), self.chunk):
            table = pa.Table.from_pylist(rows[at : at + self.chunk], _SCHEMA)
            if select:
                kept = select(table.drop_columns(["rrname", "rdata", "bailiwick"]))
                place = {(row["nkey"], row["rrtype"], row["rkey"]) for row in kept.to_pylist()}
                table = table.filter([(r["nkey"], r["rrtype"], r["rkey"]) in place for r in table.to_pylist()])
            yield table


def _row(each: Tuple) -> dict[str, object]:
    return {
        **vars(each),
        "ttl_min": 60,
        "ttl_max": 60,
        "seen_in": 1,
        "nkey": key_of_name(each.rrname),
        "rkey": key_of_data(each.rrtype, each.rdata),
    }


_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("rrname", "rrtype", "rdata", "bailiwick")),
        *((name, pa.int64()) for name in ("time_first", "time_last", "count", "ttl_min", "ttl_max")),
        ("sensors", pa.uint64()),
        ("seen_in", pa.uint8()),
        ("nkey", pa.string()),
        ("rkey", pa.string()),
    ]
)


def matches(name: str, wanted: str) -> bool:
    """Whether a name is one of those that a question with a wildcard asks for."""
    labels, asked = _labels(name), _labels(wanted)
    wild = next((at for at, label in enumerate(asked) if label in ("*", "+")), None)
    if wild is None:
        return labels == asked
    more = len(labels) - len(asked) + 1
    if (asked[wild] == "+" and more != 1) or more < 0:
        return False
    return labels[len(labels) - len(asked) + 1 :] == asked[1:] if wild == 0 else labels[: len(asked) - 1] == asked[:-1]


def _labels(name: str) -> list[str]:
    return [label for label in name.split(".") if label]


def named(each: Tuple) -> str | None:
    """The name in the data of a tuple."""
    return each.rdata.rpartition(" ")[2] if each.rrtype in ("CNAME", "NS", "MX", "SRV") else None


def keys(found: Iterable[object]) -> list[tuple[object, ...]]:
    """What tells tuples apart, sorted."""
    data = ((each, each.rdata if isinstance(each.rdata, str) else each.rdata[0]) for each in found)
    return sorted((each.rrname, each.rrtype, rdata, each.bailiwick or "") for each, rdata in data)
