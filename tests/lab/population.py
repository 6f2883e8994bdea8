"""A benign population of any size, slice after slice of event time, fast enough to stand for a provider's whole load.

What it stands for: people who ask for popular names as Zipf's law has it (Jung, Sit, Balakrishnan and Morris, "DNS
performance and the effectiveness of caching", IEEE/ACM ToN 2002), each with favourites that they return to, more in
the evening than at night; some clients that ask far more than most; browsers that ask for A, AAAA and HTTPS at once;
devices that ask for the same name by the clock; and names that are dead, or broken, for everyone and for good.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import cast

import numpy as np
from numpy.typing import NDArray

from dnsvigil.learning.samples import popular_domains, share

from .transactions import MICROSECONDS, NXDOMAIN, SERVFAIL, UNANSWERED, Texts, Transactions, Whole, number_of

Floats = NDArray[np.float64]

_HEAD_LISTS = ("cisco_top1000", "cisco_top5k", "cisco_top10k", "cisco_top20k")
_HOSTS = np.array(
    [
        "www.", "", "api.", "cdn.", "static.", "img.", "m.", "login.", "mail.", "app.", "assets.", "media.", "images.",
        "blog.", "shop.", "accounts.", "auth.", "s3.", "edge.", "js.", "t.", "track.", "ws.", "video.", "cdn-eu.",
        "api-v2.", "eu-west-1.", "prod.api.", "img2.", "autodiscover.", "smtp.", "imap.",
    ],
    object,
)  # fmt: skip
_HOST_SHARES = 1 / np.arange(1, len(_HOSTS) + 1) ** 1.3
_HOST_SHARES /= _HOST_SHARES.sum()
_TTLS = np.array([20, 60, 60, 300, 300, 3600])
_A, _AAAA, _HTTPS, _TXT, _SRV, _PTR = (number_of(text) for text in ("A", "AAAA", "HTTPS", "TXT", "SRV", "PTR"))
_POOL = 1 << 16
_FAVOURITES = 24
_POLLS = 3  # names that a client asks by the clock
_PERIODS = np.array([300, 600, 900, 1800, 3600, 3600, 7200, 14_400]) * MICROSECONDS
_BY_HAND, _BY_CLOCK = 1.9, 1.3  # queries of a look-up, the mean of what _queries makes of it
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 by the golden ratio: the upper bits of its products are spread evenly


@cache
def popular_names() -> list[str]:
    """Return names with the most popular first: real hosts of Cisco's lists, then Tranco's domains.

    The lists tell ranks in steps (1,000, 5,000, ...) and no more; within a step the order is that of a hash.
    """
    lists = files("pymispwarninglists").joinpath("data/misp-warninglists/lists")
    found: dict[str, None] = {}
    for name in (*_HEAD_LISTS, "tranco10k"):
        names = json.loads(lists.joinpath(name, "list.json").read_text(encoding="utf-8"))["list"]
        # The lists have bare suffixes too, as com, which nobody means.
        found.update(dict.fromkeys(sorted((one for one in names if "." in one), key=lambda one: share(one, "rank"))))
    found.update(dict.fromkeys(sorted(popular_domains(), key=lambda one: share(one, "rank"))))
    return list(found)


def addresses(count: int) -> list[str]:
    """Return that many clients' addresses, a quarter of them IPv6, each in a /64 of its own.

    Raises ValueError for none or more than 10.0.0.0/8 has.
    """
    if not 0 < count <= 1 << 24:
        raise ValueError("a population has 1 to 16,777,216 clients")
    return [
        f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}"
        if index % 4
        else f"2001:db8:{index >> 16 | 0x1000:x}:{(index & 65535) + 1:x}::1"
        for index in range(count)
    ]


class Population:
    """Clients, and what they ask; the same seed gives the same records."""

    def __init__(
        self,
        clients: Sequence[str],
        names: Sequence[str],
        *,
        seed: int = 1,
        per_day: float = 800,
        zipf: float = 1.0,
        favourite: float = 0.5,
        dead: float = 0.02,
    ) -> None:
        """``names`` are the most popular first; hosts are put before those of two labels.

        ``per_day`` is the mean number of queries of a client, those by the clock included, of which there are some
        300; ``zipf`` the exponent of the names' popularity, ``favourite`` the share of look-ups that are for the
        client's own names, and ``dead`` that of the names, the first thousand aside, that do not exist.
        """
        if not clients or not names:
            raise ValueError("a population needs clients and names")
        self._clients = np.array(clients, object)
        self._names = np.array(names, object)
        self._bare = np.array([name.count(".") == 1 for name in names])
        self._seed = seed
        self._favourite, self._dead = favourite, dead
        self._shares = np.cumsum(1 / np.arange(1, len(names) + 1) ** zipf)
        dice = np.random.default_rng([seed, 0])
        # Most clients ask little and few ask very much.
        activity = dice.lognormal(0, 1.2, len(clients))
        self._activity = np.cumsum(activity)
        self._favourites = self._draw(dice, (len(clients), _FAVOURITES)).astype(np.int32)
        self._polled = self._draw(dice, (len(clients), _POLLS)).astype(np.int32)
        self._periods = _PERIODS[dice.integers(0, len(_PERIODS), self._polled.shape)]
        polls = MICROSECONDS * _BY_CLOCK * float((1 / self._periods).sum())
        self._lookups_per_second = max(per_day * len(clients) / 86_400 - polls, 0) / _BY_HAND
        self._phases = (dice.random(self._polled.shape) * self._periods).astype(np.int64)
        octets = dice.integers(1, 255, (_POOL, 3))
        chained = dice.random(_POOL) < 0.35
        self._ipv4 = np.array(
            [
                (f"e{a}{b}.edge.cdn-{c}.net," if chain else "")
                + f"198.18.{a}.{b}"
                + (f",198.19.{a}.{c}" if a & 1 else "")
                for (a, b, c), chain in zip(octets.tolist(), chained.tolist(), strict=True)
            ],
            object,
        )
        self._ipv6 = np.array([f"2001:db8:a:{a:x}::{b * c:x}" for a, b, c in octets.tolist()], object)

    def slices(self, start: float, hours: float, seconds: float = 60) -> Iterator[Transactions]:
        """Yield the transactions of each so many seconds from ``start`` (since the epoch) on, in the order of time."""
        step = int(seconds * MICROSECONDS)
        begin, end = int(start * MICROSECONDS), int((start + hours * 3600) * MICROSECONDS)
        for number, at in enumerate(range(begin, end, step)):
            dice = np.random.default_rng([self._seed, 1, number])
            yield self._slice(at, min(at + step, end), dice)

    def _slice(self, begin: int, end: int, dice: np.random.Generator) -> Transactions:
        seconds = (end - begin) / MICROSECONDS
        count = dice.poisson(self._lookups_per_second * seconds * busyness(begin / MICROSECONDS))
        ts = dice.integers(begin, end, count)
        client = np.searchsorted(self._activity, dice.random(count) * self._activity[-1]).astype(np.int32)
        name = self._draw(dice, count)
        own = dice.random(count) < self._favourite
        # The square prefers the first ones, so that a client has some that it asks all the time.
        taken = (dice.random(count) ** 2 * _FAVOURITES).astype(np.intp)
        name[own] = self._favourites[client[own], taken[own]]
        before = (begin - self._phases - 1) // self._periods
        polls = (end - self._phases - 1) // self._periods - before
        rows, places = np.nonzero(polls)
        times = polls[rows, places]
        rows, places = np.repeat(rows, times), np.repeat(places, times)
        ticks = before[rows, places] + 1 + np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
        clock = self._phases[rows, places] + ticks * self._periods[rows, places]
        clock = np.clip(clock + dice.integers(0, 2 * MICROSECONDS, len(clock)), begin, end - 1)
        return self._queries(
            np.concatenate([ts, clock]),
            np.concatenate([client, rows]),
            np.concatenate([name, self._polled[rows, places]]),
            np.concatenate([np.ones(count, bool), np.zeros(len(rows), bool)]),
            dice,
        )

    def _queries(
        self, ts: Whole, client: NDArray[np.integer], name: NDArray[np.integer], by_hand: NDArray[np.bool_],
        dice: np.random.Generator,
    ) -> Transactions:  # fmt: skip
        """Return the queries of look-ups: a program asks for A and AAAA, a browser for HTTPS too."""
        count = len(ts)
        host = np.searchsorted(np.cumsum(_HOST_SHARES), dice.random(count))
        # What is asked by the clock is always the same name, and a domain of little interest has one host.
        host[~by_hand | (name > 200_000)] = 0
        host[~self._bare[name]] = 1
        luck = dice.random(count)
        asks = np.where(by_hand, np.where(luck < 0.35, 1, np.where(luck < 0.75, 2, 3)), 1 + (luck < 0.3))
        row = np.repeat(np.arange(count), asks)
        which = np.arange(len(row)) - np.repeat(np.cumsum(asks) - asks, asks)
        rare = dice.random(len(row))
        alone = (asks[row] == 1) & by_hand[row]
        qtype = np.array([_A, _AAAA, _HTTPS])[which]
        qtype[alone & (rare < 0.04)] = _TXT
        qtype[alone & (rare > 0.98)] = _SRV
        order = np.argsort(ts[row] + which * 150, kind="stable")
        row, qtype, which = row[order], qtype[order], which[order]
        name, host = name[row], host[row]
        made = (name.astype(np.uint64) * np.uint64(64) + host.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        fate = (made >> np.uint64(11)) / 2**53  # one and the same number in [0, 1) for a name, always
        qname: Texts = _HOSTS[host] + self._names[name]
        rcode = np.zeros(len(row), np.int64)
        rcode[(name > 1000) & (fate < self._dead)] = NXDOMAIN
        rcode[(name > 1000) & (fate > 0.995)] = SERVFAIL
        chance = dice.random(len(row))
        rcode[chance < 0.004] = UNANSWERED
        rcode[chance > 0.998] = SERVFAIL
        place = (made >> np.uint64(48)).astype(np.intp) % _POOL
        answers = np.full(len(row), "-", object)
        for number, pool, most in ((_A, self._ipv4, 1.1), (_AAAA, self._ipv6, 0.45)):
            there = (qtype == number) & (rcode == 0) & (fate < most)
            answers[there] = pool[place[there]]
        answers[(qtype == _TXT) & (rcode == 0)] = "TXT 11 v=spf1 ~all"
        at = np.minimum(ts[row] + which * 150, ts.max(initial=0))
        rtt = (dice.lognormal(-6, 1.5, len(row)) * MICROSECONDS).astype(np.int64).clip(50, 2 * MICROSECONDS)
        return Transactions(
            at, self._clients[client[row]], qname, qtype, rcode, answers, _TTLS[place % len(_TTLS)], rtt
        )

    def _draw(self, dice: np.random.Generator, size: int | tuple[int, int]) -> NDArray[np.intp]:
        return cast(NDArray[np.intp], np.searchsorted(self._shares, dice.random(size) * self._shares[-1]))


def busyness(when: float) -> float:
    """Return how many times the day's mean is asked at a time (seconds since the epoch): most at 20 h UTC."""
    hour = when / 3600 % 24
    return float(1 + 0.55 * np.cos((hour - 20) * np.pi / 12) + 0.15 * np.cos((hour - 10) * np.pi / 6))
