"""What an opponent does who knows how detectors work: spread, flood, and look like something else."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from dnsvigil.learning.generators import Family, Lexicon

from .transactions import MICROSECONDS, NO_ANSWERS, NOERROR, NXDOMAIN, Asked, Session, Transactions, number_of

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


def moving(session: Session, prefix: str = "2001:db8:77:1") -> Session:
    """Return the session of a client of IPv6 that takes another address of its /64 for each query."""
    dice = random.Random(f"moving/{session.what}")
    rows = session.transactions
    parts = (":".join(f"{dice.randrange(1, 1 << 16):x}" for _ in range(4)) for _ in range(len(rows)))
    return _with(session, replace(rows, client=np.array([f"{prefix}:{part}" for part in parts], object)))


def mixed_case(session: Session) -> Session:
    """Return the session with letters of either case in its names, as draft-vixie-dnsext-dns0x20 has it."""
    dice = random.Random(f"case/{session.what}")
    names = ["".join(dice.choice((each, each.upper())) for each in name) for name in session.transactions.qname]
    return _with(session, replace(session.transactions, qname=np.array(names, object)))


def of_type(session: Session, qtype: str) -> Session:
    """Return the session with another type in all of its queries; addresses in answers stay."""
    rows = session.transactions
    return _with(session, replace(rows, qtype=np.full(len(rows), number_of(qtype))))


def after_another(
    session: Session, *, qtype: str = "A", rcode: int | None = None, answers: str = NO_ANSWERS, seconds: float = 0.3
) -> Session:
    """Return the session with another query for the same name so many seconds before each; ``rcode`` None: the same."""
    rows = session.transactions
    before = replace(
        rows,
        ts=rows.ts - int(seconds * MICROSECONDS),
        qtype=np.full(len(rows), number_of(qtype)),
        rcode=rows.rcode if rcode is None else np.full(len(rows), rcode),
        answers=np.full(len(rows), answers, object),
    )
    return _with(session, Transactions.join([before, rows]))


def _with(session: Session, rows: Transactions) -> Session:
    return replace(session, transactions=rows)


def rotating(
    client: str,
    *,
    seed: int,
    start: float,
    names: int = 1_000_000,
    per_second: float = 1000,
    below: str | None = None,
    rcode: int = NXDOMAIN,
    answers: str = NO_ANSWERS,
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
            answers=np.full(count, answers, object),
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
