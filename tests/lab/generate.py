"""Imitate a dns.log: any rate and length, failing shares that are exact, the same lines for the same seed.

For load tests, and for tests that need to know to the record what a log says. Unlike the samples, nothing here
went over a wire.
"""

from __future__ import annotations

import gzip
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from . import zeeklog
from .truth import Outcome, Tally, Truth, summarize

BLOCK_LINES = 100_000
"""Lines that are made one by one; a longer log repeats them, with the time going on."""

_UID_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TYPES = ((1, "A"), (28, "AAAA"), (65, "HTTPS"), (15, "MX"), (16, "TXT"))
_TYPE_WEIGHTS = (60, 25, 10, 3, 2)
_RCODES = {"NOERROR": 0, "SERVFAIL": 2, "NXDOMAIN": 3}


@dataclass(frozen=True)
class Stream:
    """What one zone's names see on one server: queries per second, and the shares of them that go wrong."""

    server: str
    zone: str
    rate: float
    servfail: float = 0
    nxdomain: float = 0
    unanswered: float = 0

    def outcomes(self, count: int) -> Iterator[Outcome]:
        """Yield how each of so many queries ended; the shares hold in any run of them, give or take one."""
        shares: dict[Outcome, float] = {"SERVFAIL": self.servfail, "NXDOMAIN": self.nxdomain, None: self.unanswered}
        shares["NOERROR"] = 1 - sum(shares.values())
        if shares["NOERROR"] < -1e-9:
            raise ValueError(f"{self.zone} on {self.server}: the shares sum to more than 1")
        owed = dict.fromkeys(shares, 0.0)
        for _ in range(count):
            for outcome, share in shares.items():
                owed[outcome] += share
            most = max(owed, key=lambda outcome: owed[outcome])
            owed[most] -= 1
            yield most


class Generated:
    """A log made up of streams, from ``start`` (seconds since the epoch) on, for whole ``seconds``."""

    def __init__(
        self,
        streams: Sequence[Stream],
        *,
        seconds: int,
        start: int,
        seed: int = 1,
        clients: int = 200,
        json: bool = False,
    ) -> None:
        """Raises ValueError where there is nothing to make, or shares sum to more than 1."""
        rate = sum(stream.rate for stream in streams)
        if rate <= 0 or seconds <= 0:
            raise ValueError("nothing to generate: no stream with a rate, or no seconds")
        self.seconds = seconds
        self.start = start
        self.json = json
        self._block = _Block(streams, max(1, min(seconds, int(BLOCK_LINES / rate))), seed, clients, json)

    def chunks(self) -> Iterator[bytes]:
        """Yield the lines of each second, in the order of their time stamps, without header or footer."""
        before = b'{"ts":' if self.json else b""
        for second in range(self.seconds):
            tails = self._block.tails[second % len(self._block.tails)]
            prefix = before + str(self.start + second).encode()
            yield prefix + prefix.join(tails) if tails else b""

    def truth(self) -> Truth:
        """Return what the log says, in the form of truth.json."""
        total: Tally = Counter()
        blocks, rest = divmod(self.seconds, len(self._block.counts))
        for index, counted in enumerate(self._block.counts):
            for key, number in counted.items():
                total[key] += number * (blocks + (index < rest))
        return summarize(total)

    def write(self, path: Path) -> int:
        """Write the log as a file, gzip where its name ends so, and return the number of records."""
        count = 0
        with cast(BinaryIO, gzip.open(path, "wb")) if path.suffix == ".gz" else path.open("wb") as stream:
            if not self.json:
                stream.write(zeeklog.header(self.start))
            for chunk in self.chunks():
                stream.write(chunk)
                count += chunk.count(b"\n")
            if not self.json:
                stream.write(zeeklog.footer(self.start + self.seconds))
        return count


class _Block:
    """Some seconds of log: per second, the counts and each line's bytes after the whole second."""

    def __init__(self, streams: Sequence[Stream], seconds: int, seed: int, clients: int, json: bool) -> None:
        dice = random.Random(seed)
        addresses = [
            f"198.51.{100 + index // 250}.{index % 250 + 1}" if index % 4 else f"2001:db8:c:{index + 1:x}::1"
            for index in range(clients)
        ]
        lines: list[list[tuple[int, bytes]]] = [[] for _ in range(seconds)]
        self.counts: list[Tally] = [Counter() for _ in range(seconds)]
        to_json = zeeklog.Columns().to_json() if json else None
        for stream in streams:
            phase = dice.random()
            for index, outcome in enumerate(stream.outcomes(int(stream.rate * seconds))):
                second, micros = divmod(int((index + phase) / stream.rate * 1e6), 1_000_000)
                line = _line(stream, outcome, index, dice.choice(addresses), dice)
                tail = b".%06d\t%s" % (micros, line)
                if to_json:
                    tail = to_json(b"0" + tail).removeprefix(b'{"ts":0')
                lines[second].append((micros, tail))
                self.counts[second][stream.server, stream.zone, outcome] += 1
        self.tails = [[tail for _, tail in sorted(each)] for each in lines]


def _line(stream: Stream, outcome: Outcome, index: int, client: str, dice: random.Random) -> bytes:
    ((number, kind),) = dice.choices(_TYPES, _TYPE_WEIGHTS)
    uid = "C" + "".join(dice.choices(_UID_LETTERS, k=17))
    answered = outcome == "NOERROR"
    answers, ttls = _answers(number, dice) if answered else ("-", "-")
    rtt = "-"
    if answers != "-":
        rtt = f"{min(dice.lognormvariate(-6, 1.5), 2):.6f}"
    fields = (
        uid,
        client,
        str(dice.randrange(1024, 65536)),
        stream.server,
        "53",
        "tcp" if index % 50 == 49 else "udp",
        str(dice.randrange(65536)),
        rtt,
        f"h{index}.{stream.zone}",
        "1",
        "C_INTERNET",
        str(number),
        kind,
        "-" if outcome is None else str(_RCODES[outcome]),
        outcome or "-",
        "F",
        "F",
        "T",
        "T" if answers != "-" else "F",
        "0",
        answers,
        ttls,
        "T" if outcome == "SERVFAIL" else "F",
    )
    return "\t".join(fields).encode() + b"\n"


def _answers(number: int, dice: random.Random) -> tuple[str, str]:
    host = dice.randrange(1, 255)
    if number == 1:
        return f"203.0.113.{host}", "300.000000"
    if number == 28:
        return f"2001:db8:a::{host:x}", "300.000000"
    if number == 15:
        return "mx1.example,mx2.example", "3600.000000,3600.000000"
    if number == 16:
        return "TXT 11 v=spf1 -all", "3600.000000"
    return "-", "-"
