"""What an opponent does who knows how detectors work: spread, flood, and look like something else."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator, Sequence

import numpy as np

from dnsvigil.learning.generators import Family, Lexicon

from .transactions import MICROSECONDS, NOERROR, NXDOMAIN, Asked, Session, Transactions, number_of

_SLICE = 100_000
_LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz0123456789", np.uint8)
_LENGTH = 16


def dealt(
    family: Family,
    lexicon: Lexicon,
    clients: Sequence[str],
    *,
    seed: int,
    start: float,
    hours: float,
    names: int,
) -> Session:
    """Return a botnet that deals its names out, so that each client asks few and no name is asked by two.

    The one that answers is told to all, and asked by each every ten minutes or so.
    """
    dice = random.Random(f"dealt/{seed}")
    *failing, master = family.names([seed], names, lexicon)
    dice.shuffle(failing)
    asked = [
        Asked(start + dice.uniform(0, hours * 1800), clients[place % len(clients)], name, "A", NXDOMAIN)
        for place, name in enumerate(failing)
    ]
    for client in clients:
        now = start + hours * 1800 + dice.uniform(0, 600)
        while now < start + hours * 3600:
            asked.append(Asked(now, client, master, "A", NOERROR, "198.18.7.7"))
            now += 600 * dice.uniform(0.8, 1.2)
    return Session("malware", f"{family.name} dealt out", Transactions.of(asked), (master,))


def rotating(
    client: str,
    *,
    seed: int,
    start: float,
    names: int = 1_000_000,
    per_second: float = 1000,
    below: str | None = None,
    rcode: int = NXDOMAIN,
) -> Iterator[Transactions]:
    """Yield one client's look-ups of so many names, none twice, that fill every table that grows with names.

    Each is a registered domain of its own, or a random label ``below`` one domain, as floods of random labels are.
    """
    dice = np.random.default_rng([seed, 2])
    for first in range(0, names, _SLICE):
        count = min(_SLICE, names - first)
        letters = _LETTERS[dice.integers(0, len(_LETTERS), (count, _LENGTH))]
        labels = letters.view(f"S{_LENGTH}").ravel().astype(f"U{_LENGTH}")
        at = first + np.arange(count)
        yield Transactions(
            ts=((start + at / per_second) * MICROSECONDS).astype(np.int64),
            client=np.full(count, client, object),
            qname=np.array([f"{label}.{below or 'com'}" for label in labels.tolist()], object),
            qtype=np.full(count, number_of("A")),
            rcode=np.full(count, rcode),
            answers=np.full(count, "-", object),
            ttl=np.zeros(count, np.int64),
            rtt=np.zeros(count, np.int64),
        )


def disguised(
    clients: Sequence[str], domain: str, names: Sequence[str], *, seed: int, start: float, hours: float
) -> Session:
    """Return a leak of some 10 bytes a minute whose names look like mail's, block lists' and a CDN's, below one domain.

    ``names`` are domains to mention in them.
    """
    dice = random.Random(f"disguised/{seed}")
    asked = []
    now = start
    while now < start + hours * 3600:
        data = dice.randbytes(10)
        address = ".".join(str(byte) for byte in data[:4])
        turned = ".".join(str(byte) for byte in data[3::-1])
        text = base64.b32encode(data).decode().lower()
        name = dice.choice(
            (
                f"{text}._domainkey.{domain}",
                f"{turned}.zen.{domain}",
                f"{address}.in-addr.arpa.{domain}",
                f"d{text}.cdn.{domain}",
                f"{data.hex()}.avqs.{dice.choice(names)}.{domain}",
            )
        )
        qtype = "TXT" if "_domainkey" in name else "A"
        asked.append(Asked(now, dice.choice(clients), name, qtype, NXDOMAIN))
        now += 60 * dice.uniform(0.3, 1.7)
    return Session("tunnel", "disguised leak", Transactions.of(asked), (domain,))
