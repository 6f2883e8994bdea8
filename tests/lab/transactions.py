"""Columns of DNS transactions that the lab makes up, in event time, and their lines in the form of dns.log.

Sessions (one infected client, one tunnel, one benign oddity) are small and are made whole; a population is made slice
after slice. Both are the same columns, so that sessions can be mixed into a population of any length.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import dns.rdatatype
import numpy as np
from numpy.typing import NDArray

from . import world, zeeklog

Whole = NDArray[np.int64]
Texts = NDArray[np.object_]

MICROSECONDS = 1_000_000
NOERROR, SERVFAIL, NXDOMAIN, REFUSED, UNANSWERED = 0, 2, 3, 5, -1
"""Values of ``rcode``; the last stands for no answer at all."""
NO_ANSWERS = "-"

RESOLVER = world.UNBOUND.clients[0]

_RCODES = {0: "0\tNOERROR", 2: "2\tSERVFAIL", 3: "3\tNXDOMAIN", 5: "5\tREFUSED", UNANSWERED: "-\t-"}
_PRIVATE = 65399
_LINE = "%d.%06d\tC%016x\t%s\t%d\t%s\t53\tudp\t%d\t%s\t%s\t1\tC_INTERNET\t%s\t%s\tF\tF\tT\t%s\t0\t%s\t%s\t%s\n"


class Asked(NamedTuple):
    """One transaction of a session."""

    ts: float  # seconds since the epoch
    client: str
    qname: str  # as in dns.log: lower case, odd bytes as \xHH
    qtype: str = "A"
    rcode: int = NOERROR
    answers: str = NO_ANSWERS  # as in dns.log, with commas between
    ttl: int = 300  # seconds, of each answer
    rtt: float = 0.02  # seconds; only told where there are answers


@dataclass(frozen=True)
class Transactions:
    """Columns of equal length, one row for a query with its answer."""

    ts: Whole  # microseconds since the epoch
    client: Texts
    qname: Texts
    qtype: Whole
    rcode: Whole  # UNANSWERED for none
    answers: Texts  # as in dns.log
    ttl: Whole  # seconds, of each answer
    rtt: Whole  # microseconds; only told where there are answers

    def __len__(self) -> int:
        return len(self.ts)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Transactions:
        return Transactions(*(getattr(self, column.name)[rows] for column in fields(self)))

    @classmethod
    def of(cls, asked: Iterable[Asked]) -> Transactions:
        """Return the transactions in the order of their time."""
        rows = sorted(asked, key=lambda one: one.ts)
        columns = list(zip(*rows, strict=True)) or [()] * len(Asked._fields)
        ts, client, qname, qtype, rcode, answers, ttl, rtt = columns
        numbers = {text: number_of(text) for text in set(qtype)}
        return cls(
            np.array([round(one * MICROSECONDS) for one in ts], np.int64),
            np.array(client, object),
            np.array(qname, object),
            np.array([numbers[text] for text in qtype], np.int64),
            np.array(rcode, np.int64),
            np.array(answers, object),
            np.array(ttl, np.int64),
            np.array([round(one * MICROSECONDS) for one in rtt], np.int64),
        )

    @classmethod
    def join(cls, parts: Sequence[Transactions]) -> Transactions:
        """Return all rows of one or more parts in the order of their time."""
        joined = cls(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(cls)))
        return joined[np.argsort(joined.ts, kind="stable")]


@dataclass(frozen=True)
class Session:
    """Transactions that stand for one thing, and what a detector should make of them."""

    kind: str  # malware, tunnel, benign
    what: str  # the family, the program, the kind of look-up
    transactions: Transactions
    domains: tuple[str, ...] = ()  # registered domains that a finding should name

    @property
    def clients(self) -> list[str]:
        """Return the addresses that ask, sorted."""
        return sorted(set(self.transactions.client))


def number_of(qtype: str) -> int:
    """Return the number of a type; PRIVATE is the one of iodine."""
    return _PRIVATE if qtype == "PRIVATE" else int(dns.rdatatype.from_text(qtype))


def mixed(slices: Iterable[Transactions], sessions: Iterable[Session]) -> Iterator[Transactions]:
    """Yield the slices, each in the order of its time as they are, with the sessions' rows where their time is."""
    parts = [session.transactions for session in sessions]
    pool = Transactions.join(parts) if parts else Transactions.of([])
    at = 0
    for part in slices:
        if len(part):
            end = int(np.searchsorted(pool.ts, part.ts[-1], "right"))
            yield Transactions.join([part, pool[at:end]]) if end > at else part
            at = end
    if at < len(pool):
        yield pool[at:]


def lines(part: Transactions, server: str = RESOLVER) -> bytes:
    """Return the rows as lines of dns.log in TSV, without header or footer.

    What identifies a transaction (uid, port, message id) follows from its time and place in the part.
    """
    mixed_up = _mix(part.ts.astype(np.uint64) + np.arange(len(part), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    types = {number: _type_text(number) for number in np.unique(part.qtype).tolist()}
    ttls: dict[tuple[int, int], str] = {}
    rows = []
    for ts, uid, client, qname, qtype, rcode, answers, ttl, rtt in zip(
        part.ts.tolist(),
        mixed_up.tolist(),
        part.client.tolist(),
        part.qname.tolist(),
        part.qtype.tolist(),
        part.rcode.tolist(),
        part.answers.tolist(),
        part.ttl.tolist(),
        part.rtt.tolist(),
        strict=True,
    ):
        if answers == NO_ANSWERS:
            took = times = NO_ANSWERS
            available = "F"
        else:
            took = f"{rtt / MICROSECONDS:.6f}"
            available = "T"
            key = ttl, answers.count(",")
            times = ttls.get(key) or ttls.setdefault(key, ",".join([f"{ttl}.000000"] * (key[1] + 1)))
        rejected = "T" if rcode in (SERVFAIL, REFUSED) else "F"
        rows.append(
            _LINE
            % (
                *divmod(ts, MICROSECONDS), uid, client, 1024 + (uid & 0x7FFF), server, uid >> 48, took, qname,
                types[qtype], _RCODES[rcode], available, answers, times, rejected,
            )
        )  # fmt: skip
    return "".join(rows).encode()


def write(path: Path, parts: Iterable[Transactions]) -> int:
    """Write parts as one log in TSV, gzip where its name ends so, and return the number of records."""
    count = 0
    opened = closed = 0.0
    with cast(BinaryIO, gzip.open(path, "wb")) if path.suffix == ".gz" else path.open("wb") as stream:
        for part in parts:
            if len(part):
                if not count:
                    opened = part.ts[0] / MICROSECONDS
                    stream.write(zeeklog.header(opened))
                stream.write(lines(part))
                count += len(part)
                closed = part.ts[-1] / MICROSECONDS
        if not count:
            stream.write(zeeklog.header(opened))
        stream.write(zeeklog.footer(closed))
    return count


def escaped(raw: bytes) -> str:
    r"""Return the raw bytes of a name or an answer as a TSV value, in the case that they have.

    ``\\`` is a backslash, ``\xHH`` a byte outside printable ASCII, or a comma, which stands between answers.
    """
    return "".join(
        "\\\\" if byte == 0x5C else chr(byte) if 32 <= byte < 127 and byte != 0x2C else f"\\x{byte:02x}" for byte in raw
    )


def txt(raw: bytes) -> str:
    """Return the data of a TXT record as Zeek writes it: each character string with its length before it."""
    strings = [raw[at : at + 255] for at in range(0, len(raw), 255)] or [b""]
    return " ".join(f"TXT {len(one)} {escaped(one)}" for one in strings)


def _type_text(number: int) -> str:
    if number == _PRIVATE:
        return f"{number}\tquery-{number}"
    return f"{number}\t{dns.rdatatype.to_text(dns.rdatatype.RdataType.make(number))}"


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread the bits, as the finalizer of SplitMix64 does (Steele, Lea and Flood, OOPSLA 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
