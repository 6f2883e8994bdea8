"""The detector of fast flux: how addresses grow, and the whole way from dns.log and the package's passive DNS."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config, Detectors, Domains
from dnsvigil.detectors.detector import Anomaly, Context
from dnsvigil.detectors.fast_flux.detector import FastFlux
from dnsvigil.detectors.fast_flux.growth import growth
from dnsvigil.detectors.fast_flux.queries import Host
from dnsvigil.store.store import Store
from evaluation.detection import all_but, of_parts, subjects, watch
from exporters.ingest.taking import Taking
from exporters.zeeklogs import START as EPOCH
from exporters.zeeklogs import package_line, tsv
from lab import flux
from lab.population import addresses
from lab.transactions import Session, Transactions

START = 1_700_000_000 // 86_400 * 86_400
BEGIN = datetime(2023, 11, 14, 22, 13, 20)
PDNS = "dnsvigil_pdns"
CONFIG = Config(detectors=Detectors(disabled=all_but("fast_flux"), top=1000))
NETS = flux.Networks.made_up(7)


def hosts(count: int, *, networks: int, seconds: float, ttl: int = 300, at_once: int = 0) -> list[Host]:
    """Return addresses that come one after the other in so many seconds, after some at once."""
    step = seconds / max(count - at_once, 1)
    firsts = [0] * at_once + [int(step * number) for number in range(count - at_once)]
    return [Host(f"n{place % networks}.{place}", at, int(seconds), ttl) for place, at in enumerate(sorted(firsts))]


def score(found: Sequence[Host]) -> float:
    grown = growth(found, lambda key: key.partition(".")[0])
    assert grown
    return grown.score


class TestGrowth:
    def test_is_that_of_networks_and_not_of_addresses(self) -> None:
        assert score(hosts(300, networks=3, seconds=7200)) < 0.1
        assert score(hosts(60, networks=60, seconds=7200)) > 0.7

    def test_of_all_addresses_at_once_is_none(self) -> None:
        assert score(hosts(60, networks=60, seconds=7200, at_once=60)) == 0

    def test_that_has_ended_is_a_pools(self) -> None:
        early = [host._replace(last=80_000) for host in hosts(24, networks=24, seconds=1800)]
        assert score(early) < 0.4
        assert score(hosts(24, networks=24, seconds=80_000)) > 0.5

    def test_beyond_any_pool_counts_though_it_ends(self) -> None:
        early = [host._replace(last=80_000) for host in hosts(200, networks=100, seconds=1800)]
        assert score(early) > 0.8

    def test_of_one_network_with_others_beside_it_is_uneven(self) -> None:
        some = hosts(30, networks=30, seconds=7200)
        many = [Host(f"n0.{number}", 0, 7200, 300) for number in range(500)]
        assert score(sorted([*some, *many], key=lambda host: host.first)) < 0.2
        assert score(some) > 0.5

    def test_needs_a_ttl_that_lets_addresses_change(self) -> None:
        assert score(hosts(60, networks=60, seconds=80_000, ttl=86_400)) < 0.1

    def test_without_any_address_is_none(self) -> None:
        assert growth([], str) is None


def asked_for(name: str, answers: object, **values: float) -> Session:
    given = {"seed": 1, "start": START + 600, "hours": 2.0, "ttl": 300, "per_hour": 60.0} | values
    return flux.asked_for(addresses(20), name, answers, **given)  # type: ignore[arg-type]


def test_nets_are_found_and_what_is_alike_is_not() -> None:
    anywhere = NETS.anywhere()
    nets = [
        asked_for("www.net1-x.com", flux.flux(anywhere, seed=1)),
        asked_for("www.net2-x.com", flux.flux(anywhere, seed=2, at_once=10), ttl=60),
        asked_for("www.net3-x.com", flux.flux(anywhere, seed=3, agents=100, lifetime=48)),
    ]
    alike = [
        asked_for("www.cdn-x.com", flux.pool(NETS.of_systems(4, 1), seed=4, hosts=300, at_once=4), ttl=60),
        asked_for("www.turns-x.com", flux.pool(anywhere, seed=5, hosts=12, at_once=1), ttl=60),
        asked_for("www.all-x.com", flux.pool(anywhere, seed=6, hosts=20, at_once=20), ttl=60),
        asked_for("home.dynamic-x.com", flux.dynamic(anywhere, seed=7, hours=1), ttl=60),
        asked_for("pool.ntp.org", flux.pool(anywhere, seed=8, hosts=3000, at_once=4), ttl=130),
    ]
    parts = iter([Transactions.join([session.transactions for session in (*nets, *alike)])])
    watched = watch(of_parts(parts), config=CONFIG, seconds=300)
    first = watched.first("fast_flux", "domain")
    assert first.keys() == {"net1-x.com", "net2-x.com", "net3-x.com"}
    assert all(when - START - 600 <= 45 * 60 for when in first.values())
    evidence = next(one.finding.evidence for one in watched.found if one.finding.subject == "net1-x.com")
    assert evidence["what"].startswith("Name www.net1-x.com moves over hosts: ")
    assert (evidence["kind"], evidence["counted"], evidence["ttl_seconds"]) == ("single", "networks", 300)
    assert set(evidence["clients"]) <= set(subjects(addresses(20))) and evidence["clients_asking"] == 20
    (health,) = watched.health
    assert health.failures == 0 and not health.problems
    assert "no table of AS numbers" in health.limits[0]


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    with Store(tmp_path) as store, closing(Taking(store, CONFIG)) as taking:
        yield taking


def row(name: str, rrtype: str, rdata: str, seconds: float, ttl: int = 300) -> bytes:
    at = f"{EPOCH + seconds:.6f}"
    values = {"ts": at, "time_first": at, "time_last": at, "ttl_min": str(ttl), "ttl_max": str(ttl)}
    return package_line(PDNS, rrname=name, rrtype=rrtype, rdata=rdata, bailiwick="-", count="1", **values)


def spread(name: str, count: int, seconds: float = 3000, second: int = 1) -> list[bytes]:
    """Return the rows of a name with one more address, in one more network, every so often."""
    step = seconds / count
    return [row(name, "A", f"{20 + number}.{second}.0.1", step * number) for number in range(count)]


def evaluated(taking: Taking, config: Config = CONFIG, hours: float = 1) -> dict[str, Anomaly]:
    detector = FastFlux(Context(taking.store.path.parent, config))
    return {each.subject: each for each in detector.evaluate(taking.store.rows, BEGIN + timedelta(hours=hours))}


class TestPassiveDns:
    def test_name_servers_that_move_as_well_are_double_flux(self, taking: Taking) -> None:
        servers = [row("net-x.com", "NS", f"ns1.{domain}", 0) for domain in ("net-x.com", "still-x.com")]
        taking.take(PDNS, *spread("www.net-x.com", 40), *spread("ns1.net-x.com", 40, second=9), *servers)
        taking.take(PDNS, *spread("www.one-x.com", 40, second=3), row("one-x.com", "NS", "ns1.still-x.com", 0))
        found = evaluated(taking)
        kinds = {domain: (each.evidence["kind"], each.severity) for domain, each in found.items()}
        assert kinds == {"net-x.com": ("double", "critical"), "one-x.com": ("single", "warning")}
        assert found["net-x.com"].score > found["one-x.com"].score
        assert found["net-x.com"].evidence["name_servers"] == ["ns1.net-x.com"]

    @pytest.mark.parametrize(("networks", "days", "share"), [(4, 60, 0.5), (3, 60, 1), (4, 29, 1)])
    def test_who_has_moved_for_months_is_a_pool_rather(
        self, taking: Taking, networks: int, days: int, share: float
    ) -> None:
        past = [row("www.old-x.com", "A", f"{70 + number}.1.0.1", -86_400.0 * days) for number in range(networks)]
        taking.take(PDNS, *past, *spread("www.old-x.com", 40), *spread("www.net-x.com", 40, second=3))
        found = evaluated(taking)
        assert found["old-x.com"].score == pytest.approx(share * found["net-x.com"].score, rel=0.01)
        assert ("moving_since" in found["old-x.com"].evidence) is (share < 1)

    def test_name_servers_alone_are_a_finding_of_their_domain(self, taking: Taking) -> None:
        taking.take(PDNS, *spread("ns1.net-x.com", 40), row("net-x.com", "NS", "ns1.net-x.com", 0))
        assert evaluated(taking)["net-x.com"].evidence["kind"] == "name servers"

    def test_what_lies_in_files_counts_as_what_lies_in_the_table(self, taking: Taking) -> None:
        lines = spread("www.net-x.com", 40)
        taking.take(PDNS, *lines[:20])
        before = evaluated(taking)["net-x.com"].score
        taking.take("dns", tsv(ts=f"{EPOCH + 3500:.6f}", query="other-x.com"))
        assert taking.store.rows("SELECT count(*) FROM passive_dns_files") == [(1,)]
        taking.take(PDNS, *lines[20:])
        assert evaluated(taking)["net-x.com"].score > before + 0.1

    def test_without_addresses_it_says_so(self, taking: Taking) -> None:
        taking.take("dns", tsv(ts=f"{EPOCH + 1:.6f}", query="other-x.com", answers="-"))
        detector = FastFlux(Context(taking.store.path.parent, CONFIG))
        assert detector.lacks(taking.store.rows, BEGIN + timedelta(hours=1)) == ["addresses"]
        taking.take(PDNS, *spread("www.net-x.com", 4, second=2))
        assert detector.lacks(taking.store.rows, BEGIN + timedelta(hours=1)) == []

    def test_a_file_that_cannot_be_read_is_a_problem_and_the_rest_is_read(self, taking: Taking) -> None:
        taking.take(PDNS, *spread("www.gone-x.com", 40, 1500))
        taking.take("dns", tsv(ts=f"{EPOCH + 3500:.6f}", query="other-x.com"))
        taking.take(PDNS, *spread("www.net-x.com", 40, second=2))
        (path,) = (taking.store.path.parent / "passive-dns").glob("*.names.parquet")
        path.write_bytes(b"PAR1" + bytes(1000))
        detector = FastFlux(Context(taking.store.path.parent, CONFIG))
        found = detector.evaluate(taking.store.rows, BEGIN + timedelta(hours=1))
        assert [each.subject for each in found] == ["net-x.com"]
        assert "cannot be read" in detector.problems()[0]

    def test_private_and_made_up_addresses_are_none(self, taking: Taking) -> None:
        taking.take(PDNS, *(row("www.inside-x.com", "A", f"10.{number}.0.1", 60 * number) for number in range(40)))
        taking.take(PDNS, *(row("www.list-x.com", "A", f"127.{number}.0.2", 60 * number) for number in range(40)))
        assert evaluated(taking) == {}

    def test_ipv6_counts_by_its_networks(self, taking: Taking) -> None:
        wide = [row("www.wide-x.com", "AAAA", f"2a{number:02}:1::1", 60 * number) for number in range(10, 50)]
        narrow = [row("www.narrow-x.com", "AAAA", f"2a00:1:{number}::1", 60 * number) for number in range(10, 50)]
        taking.take(PDNS, *wide, *narrow)
        assert evaluated(taking).keys() == {"wide-x.com"}

    def test_what_stopped_an_hour_ago_is_no_finding_any_more(self, taking: Taking) -> None:
        taking.take(PDNS, *spread("www.net-x.com", 40))
        assert evaluated(taking, hours=1.5).keys() == {"net-x.com"}
        assert evaluated(taking, hours=2.5) == {}

    def test_what_came_later_does_not_count(self, taking: Taking) -> None:
        taking.take(PDNS, *spread("www.net-x.com", 40))
        assert evaluated(taking, hours=0.1)["net-x.com"].evidence["addresses_seen"] < 10

    def test_names_that_nobody_can_register_are_none(self, taking: Taking) -> None:
        taking.take(PDNS, *spread("www.corp.lan", 40), *spread("co.uk", 40))
        assert evaluated(taking) == {}


class TestTables:
    def test_of_as_numbers_join_networks_of_one_provider(self, taking: Taking, tmp_path: Path) -> None:
        table = tmp_path / "asn.csv"
        table.write_text("20.0.0.0,39.255.255.255,64500,Provider\n40.0.0.0,40.255.255.255,64501,Other\n")
        taking.take(PDNS, *spread("www.net-x.com", 40))
        config = Config(detectors=CONFIG.detectors, domains=Domains(networks=[table]))
        detector = FastFlux(Context(taking.store.path.parent, config))
        (anomaly,) = detector.evaluate(taking.store.rows, BEGIN + timedelta(hours=1))
        assert (anomaly.evidence["counted"], anomaly.evidence["networks"]) == ("autonomous systems", 21)
        assert not detector.limits()
        assert evaluated(taking)["net-x.com"].evidence["networks"] == 40

    @pytest.mark.parametrize("content", [None, "no table\n"])
    def test_that_cannot_be_used_are_a_problem(self, taking: Taking, tmp_path: Path, content: str | None) -> None:
        table = tmp_path / "asn.csv"
        if content:
            table.write_text(content)
        taking.take(PDNS, *spread("www.net-x.com", 40))
        config = Config(detectors=CONFIG.detectors, domains=Domains(networks=[table]))
        detector = FastFlux(Context(taking.store.path.parent, config))
        (anomaly,) = detector.evaluate(taking.store.rows, BEGIN + timedelta(hours=1))
        assert anomaly.evidence["counted"] == "networks"
        assert detector.problems()[0].startswith("domains.networks: ")
