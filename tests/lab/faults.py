"""What goes wrong in the lab, on purpose.

- A failing share: some of a zone's queries are for names delegated to a server that is authoritative for nothing and
  refuses them, so that resolvers answer SERVFAIL, at once and every time.
- A lame zone, ``lame.example``: the same for all its names.
- A dark zone, ``dark.example``: its server's address swallows packets, so that SERVFAIL comes after a time-out.
- An outage: the server of ``bank.example`` is stopped part-way.
- Silence: the resolvers drop queries for names below ``quiet.drop.example``.
- A flood of random names below ``flood.example``, all of them NXDOMAIN.
"""

from __future__ import annotations

import random
import string

from . import world
from .questions import Question
from .servers import Servers

DOOMED_GROUP = "doomed"
FLOODED = "flood.example"
_LETTERS = string.ascii_lowercase + string.digits


def failing(zone: str, dice: random.Random) -> Question:
    """Return a question about a name in the zone to which the answer is SERVFAIL."""
    return _question(f"{_random(dice, 4)}.bad.{zone}", dice)


def silent(dice: random.Random) -> Question:
    """Return a question that resolvers do not answer."""
    return _question(f"{_random(dice, 6)}.{world.SILENT}", dice)


def is_silent(asked: Question) -> bool:
    """Whether a question is one that resolvers do not answer."""
    return asked.name.endswith(f".{world.SILENT}")


def flood(count: int, dice: random.Random) -> list[Question]:
    """Return questions about so many random names that do not exist."""
    return [_question(f"{_random(dice, 12)}.{FLOODED}", dice) for _ in range(count)]


def outage(servers: Servers) -> list[str]:
    """Stop the doomed zones' server, and return those zones."""
    servers.stop_authority(DOOMED_GROUP)
    return [zone.name for zone in world.ZONES if zone.served == DOOMED_GROUP]


def _question(name: str, dice: random.Random) -> Question:
    return Question(name, dice.choice(["A", "A", "AAAA"]))


def _random(dice: random.Random, length: int) -> str:
    return "".join(dice.choices(_LETTERS, k=length))
