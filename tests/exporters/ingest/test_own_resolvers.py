"""Resolvers that a sensor sees from both sides are no clients; what only looks like one of them is."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dnsvigil.config.collector import Config, ConfiguredServer, Detectors, Servers
from dnsvigil.config.types import ServerAddress
from dnsvigil.learning.generators import FAMILIES
from dnsvigil.store.findings import findings_in
from dnsvigil.store.store import Store
from evaluation.abuse import domains, joined, quiet
from evaluation.detection import all_but, of_logs, of_parts, watch
from evaluation.infected import lexicon
from evaluation.tunnels import START
from exporters.detectors.test_abuse import CLIENT, mail, past
from exporters.ingest.taking import Taking
from exporters.zeeklogs import START as EPOCH
from exporters.zeeklogs import tsv
from lab import abuse, implants, tunnels, zeeklog
from lab.infected import infected
from lab.population import Population, popular_names
from lab.transactions import Transactions, lines

DETECTORS = Detectors(disabled=all_but("abuse", "malware", "tunnel"), top=1000)
CONFIG = Config(detectors=DETECTORS)
ABUSE = Config(detectors=Detectors(disabled=all_but("abuse")))
RESOLVER, AUTHORITY = "203.0.113.53", "192.0.2.1"
CONFIGURED = replace(
    ABUSE, servers=Servers(configured=[ConfiguredServer("one", [ServerAddress(RESOLVER), ServerAddress(CLIENT)])])
)
CUSTOMERS = [f"10.60.0.{number}" for number in range(1, 31)]
BOT, INFECTED, LEAKING, IMPLANT = (f"10.61.0.{number}" for number in range(1, 5))


def asking() -> Transactions:
    """Return two hours of people, some mail of each, and a bot, an infected client, a leak and an implant."""
    names, at = domains(), {"seed": 5, "start": START + 600}
    mail_of_each = [
        abuse.habit("mail", abuse.spam, client, names, hours=2, count=8, **at)  # type: ignore[arg-type]
        for client in CUSTOMERS
    ]
    bad = [
        abuse.habit("spam", abuse.spam, BOT, names, hours=2, count=300, **at),  # type: ignore[arg-type]
        infected(FAMILIES[0], lexicon(), [INFECTED], hours=1, **at),  # type: ignore[arg-type]
        tunnels.leak([LEAKING], ["leak-x.com"], hours=2, bytes_per_minute=60, **at),  # type: ignore[arg-type]
        implants.implant(next(iter(implants.DEVELOPMENT)), IMPLANT, ["one-x.com"], **at),  # type: ignore[arg-type]
    ]
    people = Population(CUSTOMERS, popular_names(), seed=5, per_day=800)
    return Transactions.join([*people.slices(START, 2, 600), *joined([*mail_of_each, *bad])])


def seen(folder: Path, *sides: bytes) -> set[tuple[str, str]]:
    """Return what is found, as what, after a day without such look-ups, in these lines of dns.log."""
    log = folder / "dns.log"
    log.write_bytes(zeeklog.header(START) + b"".join(sides))
    watch(of_parts(joined([quiet(START)])), config=CONFIG, state=folder, seconds=86_400)
    found = watch(of_logs([log]), config=CONFIG, state=folder, seconds=600).found
    return {(one.finding.detector, one.finding.subject) for one in found}


def upstream(of: Transactions) -> bytes:
    """Return what the resolver asks for that is asked."""
    own = replace(of, ts=of.ts + 2000, client=np.array([RESOLVER] * len(of), object))
    return lines(own, AUTHORITY)


def test_a_resolver_seen_from_both_sides_is_no_client(tmp_path: Path) -> None:
    of = asking()
    for name in ("before", "behind", "both"):
        (tmp_path / name).mkdir()
    before = seen(tmp_path / "before", lines(of, RESOLVER))
    assert {("spam", BOT), ("malware", INFECTED), ("tunnel", LEAKING), ("tunnel", IMPLANT)} <= before
    assert seen(tmp_path / "both", lines(of, RESOLVER), upstream(of)) == before
    # Of one that is seen as a client alone, all of this is its own.
    assert {("spam", RESOLVER), ("malware", RESOLVER), ("tunnel", RESOLVER)} <= seen(tmp_path / "behind", upstream(of))


@pytest.fixture
def taking(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Taking]:
    with Store(tmp_path) as store, closing(Taking(store, getattr(request, "param", ABUSE))) as made:
        past(store, 3)
        yield made


def asks(server: str, clients: int, zones: int) -> list[bytes]:
    """Return what so many clients ask a server for."""
    return [
        tsv(
            ts=f"{EPOCH:.6f}",
            id_orig_h=f"10.60.0.{place % clients}",
            id_resp_h=server,
            query=f"www.zone{place % zones}.com",
        )
        for place in range(clients * zones)
    ]


def found(taking: Taking) -> list[str]:
    """Return the clients that are found."""
    return [finding.subject for finding in findings_in(taking.store.rows, "open")]


class TestWhoLooksUpManyMailServers:
    def test_is_found_if_only_its_own_queries_are_seen(self, taking: Taking) -> None:
        taking.take("dns", *mail(100))
        assert found(taking) == [CLIENT]

    def test_is_not_found_if_many_clients_ask_it_for_many_zones(self, taking: Taking) -> None:
        taking.take("dns", *mail(100), *mail(100, client="198.51.100.8"), *asks(CLIENT, 20, 10))
        assert found(taking) == ["198.51.100.8"]
        # The store keeps what it asked for.
        assert taking.store.rows(f"SELECT count(*) FROM client_lookups WHERE client = '{CLIENT}'") == [(100,)]

    @pytest.mark.parametrize(("clients", "zones"), [(1, 1), (1, 40), (19, 10), (40, 9)])
    def test_is_found_if_it_has_few_clients_or_is_asked_for_few_zones(
        self, taking: Taking, clients: int, zones: int
    ) -> None:
        taking.take("dns", *mail(100), *asks(CLIENT, clients, zones))
        assert found(taking) == [CLIENT]

    @pytest.mark.parametrize(("clients", "hidden"), [(0, False), (1, False), (2, True)])
    @pytest.mark.parametrize("taking", [CONFIGURED], indirect=True)
    def test_is_not_found_if_it_is_a_configured_server_with_clients(
        self, taking: Taking, clients: int, hidden: bool
    ) -> None:
        # It asks from another of its addresses than the one where it is asked.
        taking.take("dns", *mail(100), *asks(RESOLVER, clients, 1))
        assert (found(taking) == []) == hidden
