"""Clients with malware on them: it makes up names until one answers, and then reports there.

What goes over the wire is the way of the published families (Antonakakis et al., "From throw-away traffic to bots",
USENIX Security 2012; Plohmann et al., USENIX Security 2016): a bot takes the names of its day, in their order or in
one of its own, and asks one after the other. Most do not exist; some are taken by a sinkhole, or by servers that do
not work. The one that its master registered answers, and is asked again and again while the bot runs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dnsvigil.learning.generators import Family, Lexicon

from .transactions import NOERROR, NXDOMAIN, SERVFAIL, UNANSWERED, Asked, Session, Transactions

DAY = 86_400
_SINKHOLE = "198.18.255.1"


@dataclass(frozen=True)
class Habit:
    """How a bot asks."""

    names: tuple[int, int]  # how many names a day has, the least and the most
    gap: float  # seconds between two names, the median
    spread: float = 0.5  # of the gap's logarithm, a standard deviation
    shuffled: bool = False  # each client in an order of its own
    with_aaaa: bool = False  # asks for both addresses
    pause: float = 1800  # seconds after a whole list in vain, before the next round
    period: float = 300  # seconds between two reports
    jitter: float = 0.1  # the share of the period by which a report is early or late


HABITS = {
    "burst": Habit((60, 250), 0.4),
    "both addresses": Habit((60, 250), 1.0, with_aaaa=True, period=60, jitter=0.05),
    "shuffled": Habit((200, 500), 2.0, shuffled=True, period=900, jitter=0.2),
    "steady": Habit((40, 150), 8.0, period=1800, jitter=0.1),
    "few": Habit((8, 15), 1.0, period=600, jitter=0.3),
    "slow": Habit((60, 200), 60.0, spread=0.3, period=3600, jitter=0.3),
}
"""Ways to ask, from the loud to the quiet."""


def infected(
    family: Family,
    lexicon: Lexicon,
    clients: Sequence[str],
    *,
    seed: int,
    start: float,
    hours: float,
    habit: Habit = HABITS["burst"],
    registered: bool = True,
    staggered: float = 600,
) -> Session:
    """Return the session of one botnet: clients with the same seed, and so with the same names.

    They wake up at random within ``staggered`` seconds of the start (seconds since the epoch). ``registered`` says
    whether a day has a name that answers; without, its list is asked round after round.
    """
    dice = random.Random(f"infected/{seed}/{family.name}")
    days = range(int(start // DAY), int((start + hours * 3600) // DAY) + 1)
    lists = {
        day: _Day.make(
            family,
            lexicon,
            seed * 100_000 + day if family.dated else seed,
            count=dice.randint(*habit.names),
            registered=registered,
            dice=dice,
        )
        for day in days
    }
    asked: list[Asked] = []
    for client in clients:
        began = start + (dice.uniform(0, staggered) if staggered else 0)
        asked += _life(
            client, lists, habit, dice=random.Random(f"{seed}/{client}"), now=began, end=start + hours * 3600
        )
    masters = tuple(dict.fromkeys(day.master for day in lists.values() if day.master))
    return Session("malware", family.name, Transactions.of(asked), masters)


@dataclass(frozen=True)
class _Day:
    """One day's names of a botnet, and what becomes of those that are asked."""

    names: list[str]
    master: str | None
    outcomes: dict[str, tuple[int, str]]

    @classmethod
    def make(
        cls, family: Family, lexicon: Lexicon, seed: int, *, count: int, registered: bool, dice: random.Random
    ) -> _Day:
        names = family.names([seed], count, lexicon)
        master = names[dice.randrange(len(names) // 2, len(names))] if registered else None
        outcomes = {}
        for name in names:
            luck = dice.random()
            if name == master:
                outcomes[name] = (NOERROR, f"198.18.{dice.randrange(200)}.{dice.randrange(1, 255)}")
            elif luck < 0.02:
                outcomes[name] = (NOERROR, _SINKHOLE)
            elif luck < 0.04:
                outcomes[name] = (SERVFAIL, "-")
            else:
                outcomes[name] = (NXDOMAIN, "-")
        return cls(names, master, outcomes)


def _life(
    client: str, lists: Mapping[int, _Day], habit: Habit, *, dice: random.Random, now: float, end: float
) -> Iterator[Asked]:
    while now < end:
        today = int(now // DAY)
        day = lists[today]
        names = dice.sample(day.names, len(day.names)) if habit.shuffled else day.names
        found = False
        for name in names:
            yield from _ask(client, name, day.outcomes[name], now=now, habit=habit, dice=dice)
            now += habit.gap * dice.lognormvariate(0, habit.spread)
            found = name == day.master
            if found or now >= end:
                break
        while found and now < end and int(now // DAY) == today:
            now += habit.period * (1 + dice.uniform(-habit.jitter, habit.jitter))
            if now < end and int(now // DAY) == today:
                yield from _ask(client, name, day.outcomes[name], now=now, habit=habit, dice=dice)
        if not found:
            now += habit.pause * dice.uniform(0.8, 1.2)


def _ask(
    client: str, name: str, outcome: tuple[int, str], *, now: float, habit: Habit, dice: random.Random
) -> Iterator[Asked]:
    rcode, answers = outcome
    if dice.random() < 0.005:
        rcode, answers = UNANSWERED, "-"
    rtt = dice.lognormvariate(-3, 0.7)
    yield Asked(now, client, name, "A", rcode, answers, 300, rtt)
    if habit.with_aaaa:
        yield Asked(now + 0.0004, client, name, "AAAA", rcode)
