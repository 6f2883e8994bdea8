"""Floods of random names below a victim's domain (water torture), as clients, open forwarders and botnets send them."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator, Sequence

from .transactions import NO_ANSWERS, NOERROR, NXDOMAIN, SERVFAIL, UNANSWERED, Asked, Session, Transactions

_ALPHABETS = {
    "letters": string.ascii_lowercase,
    "alphanumeric": string.ascii_lowercase + string.digits,
    "hexadecimal": "0123456789abcdef",
    "digits": string.digits,
}
_WORDS = [
    *("mail", "vpn", "shop", "blog", "admin", "test", "dev", "stage", "portal", "secure", "login", "cloud", "static"),
    *("image", "video", "news", "data", "backup", "proxy", "remote", "store", "forum", "wiki", "help", "support"),
    *("status", "monitor", "api", "beta", "demo", "old", "new", "east", "west", "north", "south", "prod"),
]

STYLES: dict[str, dict[str, object]] = {
    "12 letters and digits": {},
    "8 letters": {"alphabet": "letters", "lengths": (8, 8)},
    "8 to 16 letters": {"alphabet": "letters", "lengths": (8, 16)},
    "16 hexadecimal digits": {"alphabet": "hexadecimal", "lengths": (16, 16)},
    "10 digits": {"alphabet": "digits", "lengths": (10, 10)},
    "words": {"words": True},
    "below www": {"below": "www"},
    "two labels": {"labels": 2, "lengths": (6, 10)},
    "SERVFAIL": {"rcode": SERVFAIL},
    "no answer": {"rcode": UNANSWERED},
    "half NXDOMAIN, half no answer": {"rcode": None},
    "a wildcard answers": {"rcode": NOERROR},
    "TXT": {"qtype": "TXT"},
    "MX": {"qtype": "MX", "lengths": (14, 14)},
}
"""Options of :func:`flood`, by what they make."""


def flood(
    clients: Sequence[str],
    domain: str,
    *,
    seed: int,
    start: float,
    names: int = 3000,
    per_second: float = 5,
    alphabet: str = "alphanumeric",
    lengths: tuple[int, int] = (12, 12),
    labels: int = 1,
    words: bool = False,
    below: str = "",
    qtype: str = "A",
    rcode: int | None = NXDOMAIN,
) -> Session:
    """Return queries for so many random names below a domain, by clients at random, ``per_second`` in all.

    ``rcode`` None stands for a server that gives up half-way; NOERROR for a wildcard of one address.
    """
    dice = random.Random(f"flood/{seed}")

    def label() -> str:
        if words:
            return f"{dice.choice(_WORDS)}-{dice.choice(_WORDS)}{dice.randrange(1000)}"
        return "".join(dice.choices(_ALPHABETS[alphabet], k=dice.randint(*lengths)))

    def asked() -> Iterator[Asked]:
        now = start
        for number in range(names):
            now += dice.expovariate(per_second)
            name = ".".join([*(label() for _ in range(labels)), *([below] if below else []), domain])
            said = (NXDOMAIN if 2 * number < names else UNANSWERED) if rcode is None else rcode
            answers = "198.18.254.1" if said == NOERROR else NO_ANSWERS
            yield Asked(now, dice.choice(clients), name, qtype, said, answers)

    return Session("flood", "random names", Transactions.of(asked()), (domain,))
