"""What an opponent tries who knows how detectors work, and what is found of it nevertheless.

Each row is one way to hide, of a burst of generated names, a leak in names and a tunnel whose answers are text. All go
the whole way, each with a client of its own: lines of dns.log, the collector, the detectors, findings. The bounds that
are crossed are those of the code; nothing was chosen on these sessions. It takes a few minutes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from dnsvigil.config.collector import Config, Detectors
from dnsvigil.learning.generators import FAMILIES
from dnsvigil.store.findings import Finding
from lab import evasions, tunnels
from lab.infected import HABITS, infected
from lab.population import Population, addresses, popular_names
from lab.transactions import (
    MICROSECONDS,
    NOERROR,
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    UNANSWERED,
    Asked,
    Session,
    Transactions,
    mixed,
    txt,
)

from .detection import Watched, of_parts, subjects, watch
from .infected import lexicon
from .tunnels import table

START: Final = 1_700_092_800  # midnight
WARM: Final = 1.2  # hours before the first session
HOURS: Final = 2.0  # of each session
CLIENTS: Final = 60
SEED: Final = 31
FAMILY: Final = next(family for family in FAMILIES if family.name == "ranbyus")
CONFIG: Final = Config(detectors=Detectors(top=1000))
KINDS: Final = ("burst", "leak", "text")
FLOODED: Final = 1800  # seconds that a flood has before its client goes on

Change = Callable[[Session, str, int], Iterable[Session]]
"""Hides a session of a client, which has a number of its own; the last one returned is what is to be found."""


@dataclass(frozen=True)
class Evasion:
    """A way to hide sessions ``of`` these kinds, ``early`` where they begin with the store."""

    hide: Change
    of: Sequence[str] = KINDS
    early: bool = False


def burst(client: str, number: int, start: float) -> Session:
    """Return a bot's generated names, and its queries for the one that resolves."""
    return infected(
        FAMILY, lexicon(), [client], seed=SEED + number, start=start, hours=HOURS, habit=HABITS["burst"], staggered=0
    )


def leak(client: str, number: int, start: float) -> Session:
    """Return a leak of 40 bytes a minute."""
    where = f"site{number}-x.com"
    return tunnels.leak([client], [where], seed=SEED + number, start=start, hours=HOURS, bytes_per_minute=40)


def text(client: str, number: int, start: float) -> Session:
    """Return two short names a minute, with answers of 60 letters of text."""
    dice, domain = random.Random(f"text/{number}"), f"text{number}-x.com"
    asked = []
    for place in range(int(HOURS * 120)):
        name, answer = f"{dice.randrange(36**3):x}.{domain}", txt(dice.randbytes(30).hex().encode())
        asked.append(Asked(start + 30 * place + dice.random(), client, name, "TXT", NOERROR, answer, 1))
    return Session("tunnel", f"text {number}", Transactions.of(asked), (domain,))


PLAIN: Final = {"burst": burst, "leak": leak, "text": text}


def _each(change: Callable[[Session], Session], *of: str) -> Evasion:
    return Evasion(lambda session, client, number: [change(session)], of or KINDS)


def _after(rcode: int | None = None, **values: Any) -> Callable[[Session], Session]:
    return lambda session: evasions.after_another(session, rcode=rcode, **values)


def _typed(qtype: str) -> Callable[[Session], Session]:
    return lambda session: evasions.of_type(session, qtype)


def _texts(values: Iterable[str]) -> Any:
    return np.array(list(values), object)


def _below(domain: str) -> Callable[[Session], Session]:
    """Put the names of a tunnel below a host in a domain, and generated names directly below the domain."""

    def changed(session: Session) -> Session:
        rows, (known, *_) = session.transactions, session.domains
        if session.kind == "malware":
            names, found = (f"{name.partition('.')[0]}.{domain}" for name in rows.qname), domain
        else:
            found = f"{known.partition('-')[0]}.{domain}"
            names = (f"{name.removesuffix(known)}{found}" for name in rows.qname)
        return replace(session, transactions=replace(rows, qname=_texts(names)), domains=(found, domain))

    return changed


def _over(clients: int) -> Change:
    """Deal the queries out over many clients."""

    def dealt(session: Session, client: str, number: int) -> Iterator[Session]:
        rows = session.transactions
        own = (f"10.200.{number}.{place % clients + 1}" for place in range(len(rows)))
        yield replace(session, transactions=replace(rows, client=_texts(own)))

    return dealt


def _slower(seconds: float) -> Callable[[Session], Session]:
    """Leave so many seconds between two queries."""

    def changed(session: Session) -> Session:
        rows = session.transactions[: int(HOURS * 3600 / seconds)]
        ts = rows.ts[0] + np.arange(len(rows)) * int(seconds * MICROSECONDS)
        return replace(session, transactions=replace(rows, ts=ts))

    return changed


def _same_name(session: Session) -> Session:
    rows = session.transactions
    return replace(session, transactions=replace(rows, qname=_texts(f"c2.{session.domains[0]}" for _ in rows.qname)))


def _beside_policy(session: Session) -> Session:
    rows = session.transactions
    answers = (f"TXT 11 v=spf1 -all,{answer}" for answer in rows.answers)
    return replace(session, transactions=replace(rows, answers=_texts(answers)))


def _flooded(*counts: int, rcode: int = NOERROR, answers: str = "127.0.0.2") -> Evasion:
    """Let the client flood first: so many names below a domain each, or below domains of their own (below 0)."""

    def first(session: Session, client: str, number: int) -> Iterator[Session]:
        start = session.transactions.ts[0] / MICROSECONDS - FLOODED
        for place, count in enumerate(counts):
            below = f"list{place}of{number}-x.com" if count > 0 else None
            parts = evasions.rotating(
                client, seed=number + place, start=start, names=abs(count), per_second=abs(count) / FLOODED,
                below=below, rcode=rcode, answers=answers,
            )  # fmt: skip
            yield Session("flood", "flood", Transactions.join(list(parts)))
        yield session

    return Evasion(first)


EVASIONS: Final[Mapping[str, Evasion]] = {
    "none": _each(lambda session: session),
    "another address of its /64 for each query": _each(evasions.moving),
    "letters of either case": _each(evasions.mixed_case),
    "an MX query before each": _each(_after(qtype="MX")),
    "a TXT query before each": _each(_after(qtype="TXT"), "burst", "leak"),
    "a query that is refused before each": _each(_after(REFUSED)),
    "SERVFAIL before each": _each(_after(SERVFAIL)),
    "no answer before each": _each(_after(UNANSWERED)),
    "NOERROR without records before each": _each(_after(NOERROR)),
    "an A query that fails, two minutes before each": _each(_after(NXDOMAIN, seconds=120), "leak", "text"),
    "A, answered with 127.0.0.1, two minutes before each": _each(
        _after(NOERROR, answers="127.0.0.1", seconds=120), "leak", "text"
    ),
    "TXT, answered with mail policy, two minutes before each": _each(
        _after(NOERROR, qtype="TXT", answers="TXT 11 v=spf1 -all", seconds=120), "leak", "text"
    ),
    "mail policy beside the text": _each(_beside_policy, "text"),
    "always the same name": _each(_same_name, "text"),
    "AAAA alone": _each(_typed("AAAA"), "burst", "leak"),
    "HTTPS alone": _each(_typed("HTTPS"), "burst", "leak"),
    "ANY alone": _each(_typed("ANY"), "burst", "leak"),
    "TXT alone": _each(_typed("TXT"), "burst", "leak"),
    "a query in one minute": _each(_slower(60)),
    "a query in five minutes": _each(_slower(300)),
    "a query in ten minutes": _each(_slower(600)),
    "dealt out over 8 clients": Evasion(_over(8)),
    "dealt out over 40 clients": Evasion(_over(40)),
    "below a domain of dynamic DNS": _each(_below("duckdns.org")),
    "below one of the million most popular domains": _each(_below("debian.net"), "leak", "text"),
    "below one of the 10,000 most popular domains": _each(_below("wordpress.org"), "leak", "text"),
    "in the first minutes of the store": Evasion(lambda session, client, number: [session], early=True),
    "after 50,000 names below one domain, answered": _flooded(50_000),
    "after 50,000 names below one domain, that fail": _flooded(50_000, rcode=NXDOMAIN, answers="-"),
    "after 50,000 names below each of five domains, answered": _flooded(*[50_000] * 5),
    "after 10,000 domains that resolve": _flooded(-10_000, answers="192.0.2.1"),
    "after 10,000 domains that fail": _flooded(-10_000, rcode=NXDOMAIN, answers="-"),
    "after 250,000 domains that resolve": _flooded(-250_000, answers="192.0.2.1"),
}
"""The ways to hide, in the order of the table."""


def evaluate(
    chosen: Iterable[str] = EVASIONS,
    clients: int = CLIENTS,
    *,
    hours: float = HOURS,
    seconds: float = 60,
    config: Config = CONFIG,
) -> tuple[dict[str, dict[str, Session]], dict[str, dict[str, float | None]], Watched]:
    """Return the sessions by evasion and kind, the minutes until each was found (None: never), and all that was.

    Of each session, so many hours are left; the collector reads every so many seconds.
    """
    made: dict[str, dict[str, Session]] = {}
    everything = []
    for place, name in enumerate(chosen):
        evasion = EVASIONS[name]
        for kind in evasion.of:
            number = place * len(KINDS) + KINDS.index(kind)
            client = f"10.100.{place}.{number % len(KINDS) + 1}"
            start = START + (60 if evasion.early else WARM * 3600 + FLOODED)
            sessions = list(evasion.hide(PLAIN[kind](client, number, start), client, number))
            made.setdefault(name, {})[kind] = sessions[-1]
            end = (start + hours * 3600) * MICROSECONDS
            everything += [_until(session, end) for session in sessions]
    people = Population(addresses(clients), popular_names(), seed=SEED)
    slices = people.slices(START, WARM + FLOODED / 3600 + hours)
    watched = watch(of_parts(mixed(slices, everything)), config=config, seconds=seconds)
    found = {
        name: {kind: _found(session, kind, watched) for kind, session in own.items()} for name, own in made.items()
    }
    return made, found, watched


def _until(session: Session, end: float) -> Session:
    rows = session.transactions
    return replace(session, transactions=rows[rows.ts < end])


def _found(session: Session, kind: str, watched: Watched) -> float | None:
    """Return after how many minutes the session was found as what it is."""
    detector = "malware" if kind == "burst" else "tunnel"
    own, domains = set(subjects(session.clients)), set(session.domains)
    times = [
        one.when
        for one in watched.found
        if one.finding.detector == detector
        and "new_names" not in one.finding.evidence
        and (one.finding.subject in own or (kind != "burst" and domains & set(one.finding.evidence["domains"])))
    ]
    return (min(times) - session.transactions.ts[0] / MICROSECONDS) / 60 if times else None


def main() -> None:
    """Print the table of docs/detectors/evasions.md."""
    made, found, watched = evaluate()
    print(f"Minutes until a session was found among {CLIENTS} clients, by how it hides\n")
    rows = []
    for name, by_kind in found.items():
        cells = [
            ("-" if by_kind[kind] is None else f"{by_kind[kind]:.0f}") if kind in by_kind else "" for kind in KINDS
        ]
        flooded = name.startswith("after ") and {
            one.finding.subject for one in watched.found if one.finding.detector == "flood" or _is_flood(one.finding)
        }
        floods = f"{len(flooded & _clients(made[name]))} of {len(made[name])}" if flooded else ""
        rows.append((name, *cells, floods))
    table(("how it hides", "generated names", "leak in names", "text in answers", "floods found"), rows)
    ours = {client for own in made.values() for client in _clients(own)}
    domains = {domain for own in made.values() for session in own.values() for domain in session.domains}
    others = [
        one.finding.subject
        for one in watched.found
        if one.finding.subject not in ours and not domains & set(one.finding.evidence["domains"])
    ]
    print(f"Findings about anything else: {len(others)}", *others[:5])


def _is_flood(finding: Finding) -> bool:
    return finding.detector == "malware" and "new_names" in finding.evidence


def _clients(sessions: Mapping[str, Session]) -> set[str]:
    return {client for session in sessions.values() for client in subjects(session.clients)}
