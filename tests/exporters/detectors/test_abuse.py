"""The detector of abuse: what is usual, spam and sweeps, and the whole way from dns.log to findings."""

import random
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.config.collector import Config, Detectors, Flows
from dnsvigil.config.types import Network
from dnsvigil.detectors.abuse.detector import Abuse
from dnsvigil.detectors.detector import Anomaly, Context
from dnsvigil.detectors.sequences import pattern_of
from dnsvigil.detectors.techniques import GATHER_DNS, REMOTE_SYSTEM_DISCOVERY
from dnsvigil.store.client_lookups import MAX_KEYS
from dnsvigil.store.findings import Finding, Findings
from dnsvigil.store.store import Store
from evaluation.abuse import after_a_day, at_work, domains, joined, quiet
from evaluation.detection import all_but, of_parts
from evaluation.tunnels import START as LAB
from exporters.ingest.taking import Taking
from exporters.running import sample
from exporters.zeeklogs import START as EPOCH
from exporters.zeeklogs import package_line, tsv
from lab import abuse

BEGIN = datetime(2023, 11, 14, 22, 13, 20)
TODAY = datetime(2023, 11, 14)
CONFIG = Config(detectors=Detectors(disabled=all_but("abuse"), top=1000))
CLIENT = "198.51.100.7"
LIST = "zen.spamhaus.org"


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    with Store(tmp_path) as store, closing(Taking(store, CONFIG)) as taking:
        yield taking


def asked(name: str, qtype: str = "15", seconds: float = 0, client: str = CLIENT, rcode: str = "0") -> bytes:
    return tsv(ts=f"{EPOCH + seconds:.6f}", id_orig_h=client, query=name, qtype=qtype, rcode=rcode)


def mail(count: int, first: int = 0, **values: Any) -> list[bytes]:
    return [asked(f"domain{number}-x.com", **values) for number in range(first, first + count)]


def swept(count: int, network: str = "9.0.10", **values: Any) -> list[bytes]:
    return [asked(f"{number}.{network}.in-addr.arpa", "12", **values) for number in range(count)]


def past(store: Store, days: int, amounts: Mapping[tuple[str, str], int] = {}) -> None:
    """Let so many days before have been read, in each of which clients came to these amounts of a kind."""
    for day in (TODAY - timedelta(days=number) for number in range(1, days + 1)):
        for hour in range(24):
            store.rows("INSERT INTO client_lookup_hours VALUES (?)", day + timedelta(hours=hour))
        for (client, kind), amount in amounts.items():
            network = client.rpartition(".")[0] + "."
            store.rows("INSERT INTO client_lookup_days VALUES (?, ?, ?, ?, ?)", day, client, network, kind, amount)


def found(taking: Taking, minutes: float = 40, config: Config = CONFIG) -> dict[tuple[str | None, str], Anomaly]:
    detector = Abuse(Context(taking.store.path.parent, config))
    anomalies = detector.evaluate(taking.store.rows, BEGIN + timedelta(minutes=minutes))
    return {(each.detector, each.subject): each for each in anomalies}


def score(taking: Taking, name: str = "spam", client: str = CLIENT) -> float:
    anomaly = found(taking).get((name, client))
    return anomaly.score if anomaly else 0.0


class TestSpam:
    def test_is_mail_to_many_domains_that_is_not_usual(self, taking: Taking) -> None:
        past(taking.store, 3)
        taking.take("dns", *mail(60))
        assert score(taking) > 0.7
        anomaly = found(taking)["spam", CLIENT]
        assert anomaly.evidence["what"].startswith(
            f"Client {CLIENT} looks up the mail servers of 60 domains within an hour; no domains are usual for it."
        )
        assert anomaly.evidence["domains"] == []

    def test_counts_domains_and_not_names_below_them(self, taking: Taking) -> None:
        past(taking.store, 3)
        taking.take("dns", *(asked(f"random{number}.victim-x.com") for number in range(500)))
        assert score(taking) == 0

    def test_is_not_what_a_client_always_did(self, taking: Taking) -> None:
        past(taking.store, 3, {(CLIENT, "mail"): 50})
        taking.take("dns", *mail(60))
        assert score(taking) < 0.4

    def test_needs_most_days_to_become_usual(self, taking: Taking) -> None:
        past(taking.store, 7)
        for day in range(1, 4):
            row = (TODAY - timedelta(days=day), CLIENT, "198.51.100.", "mail", 500)
            taking.store.rows("INSERT INTO client_lookup_days VALUES (?, ?, ?, ?, ?)", *row)
        taking.take("dns", *mail(60))
        assert score(taking) > 0.7

    def test_is_not_what_the_clients_beside_do(self, taking: Taking) -> None:
        past(taking.store, 3, {(f"198.51.100.{number}", "mail"): 50 for number in range(20, 23)})
        taking.take("dns", *mail(60), *mail(60, client="203.0.113.9"))
        assert score(taking) < 0.4
        assert score(taking, client="203.0.113.9") > 0.7

    def test_of_a_first_day_needs_a_second_sign(self, taking: Taking) -> None:
        taking.take("dns", *mail(300))
        assert score(taking) < 0.5
        own = [asked(f"7.100.51.198.bl{number}.example.net", "1", rcode="3") for number in range(3)]
        taking.take("dns", *own)
        assert score(taking) > 0.5
        assert ", and itself in 3 block lists; " in found(taking)["spam", CLIENT].evidence["what"]

    def test_is_not_what_looks_up_its_senders(self, taking: Taking) -> None:
        past(taking.store, 3)
        senders = [asked(f"{number}.2.0.192.{LIST}", "1") for number in range(100)]
        taking.take("dns", *mail(60), *senders)
        assert score(taking) < 0.3

    def test_that_has_ended_is_no_finding(self, taking: Taking) -> None:
        past(taking.store, 3)
        taking.take("dns", *mail(60))
        assert found(taking, minutes=59) and not found(taking, minutes=61)


class TestSweep:
    def test_is_successive_addresses(self, taking: Taking) -> None:
        past(taking.store, 3)
        taking.take("dns", *swept(200))
        anomaly = found(taking)["sweep", CLIENT]
        assert anomaly.score > 0.7
        assert "199 in 10.0.9.0/24 within an hour" in anomaly.evidence["what"]

    def test_is_not_addresses_that_are_met(self, taking: Taking) -> None:
        past(taking.store, 3)
        met = [asked(f"{7 * number % 256}.{number % 90}.{number}.203.in-addr.arpa", "12") for number in range(250)]
        taking.take("dns", *met)
        assert score(taking, "sweep") == 0

    def test_is_not_what_a_monitor_always_did(self, taking: Taking) -> None:
        past(taking.store, 3, {(CLIENT, "reverse"): 199})
        taking.take("dns", *swept(200))
        assert score(taking, "sweep") < 0.3

    def test_of_ipv6_counts_as_one_of_ipv4(self, taking: Taking) -> None:
        past(taking.store, 3)
        digits = (f"20010db8{number:024x}" for number in range(1, 200))
        taking.take("dns", *(asked(f"{'.'.join(each[::-1])}.ip6.arpa", "12") for each in digits))
        assert found(taking)["sweep", CLIENT].evidence["networks"] == ["2001:db8::/120"]

    def test_inside_is_another_technique_than_outside(self, taking: Taking) -> None:
        past(taking.store, 3)
        taking.take("dns", *swept(200, "9.0.20"))
        outside = found(taking)["sweep", CLIENT]
        own = Config(detectors=CONFIG.detectors, flows=Flows(networks=[Network.parse("20.0.0.0/8")]))
        inside = found(taking, config=own)["sweep", CLIENT]
        assert (outside.evidence["technique"], inside.evidence["technique"]) == (GATHER_DNS, REMOTE_SYSTEM_DISCOVERY)

    def test_names_that_are_no_addresses_are_left_out(self, taking: Taking) -> None:
        past(taking.store, 3)
        odd = [
            "300.1.1.10.in-addr.arpa",
            "1.2.3.4.5.in-addr.arpa",
            "b._dns-sd._udp.0.1.168.192.in-addr.arpa",
            "1.2.3.4",
        ]
        taking.take("dns", *(asked(name, qtype) for name in odd for qtype in ("12", "1")))
        assert taking.store.rows("SELECT count(*) FROM client_lookups") == [(0,)]


class TestLearning:
    def day(self, taking: Taking) -> list[Any]:
        """Pass three hours, and return what is known of the day."""
        for minutes in (50, 100, 150, 180):
            taking.take("dns", tsv(ts=f"{EPOCH + 60 * minutes:.6f}"))
        return taking.store.rows("SELECT client, kind, amount FROM client_lookup_days ORDER BY ALL")

    def test_is_of_the_hour_with_most(self, taking: Taking) -> None:
        taking.take("dns", *mail(30), *swept(20), *mail(3, client="198.51.100.8"))
        assert self.day(taking) == [(CLIENT, "mail", 30), (CLIENT, "reverse", 19)]
        assert taking.store.rows("SELECT count(*) FROM client_lookups") == [(0,)]
        assert len(taking.store.rows("FROM client_lookup_hours")) == 4

    @pytest.mark.parametrize(("state", "learned"), [("open", False), ("dismissed", True)])
    def test_leaves_out_what_was_reported(self, taking: Taking, state: str, learned: bool) -> None:
        taking.take("dns", *mail(30))
        findings = Findings(taking.store)
        with taking.store.transaction():
            findings.put_all([Finding("spam", "client", CLIENT, 0.8, "warning", BEGIN, BEGIN, {"domains": []})])
            taking.store.rows("UPDATE findings SET state = ?", state)
        assert bool(self.day(taking)) == learned

    def test_goes_on_after_a_restart(self, taking: Taking) -> None:
        taking.take("dns", *mail(30))
        taking.restart()
        assert self.day(taking) == [(CLIENT, "mail", 30)]


def test_a_client_that_asks_for_too_much_is_bounded(taking: Taking) -> None:
    past(taking.store, 3)
    for part in range(20):
        taking.take("dns", *mail(3000, 3000 * part, seconds=part), *mail(1, client="198.51.100.8"))
    taking.take("dns", tsv(ts=f"{EPOCH + 61:.6f}"))
    rows = dict(taking.store.rows("SELECT client, count(*) FROM client_lookups GROUP BY client"))
    assert rows == {CLIENT: MAX_KEYS, "198.51.100.8": 1}
    assert taking.metrics[sample("dnsvigil_client_lookups_dropped_total", reason="rows")] == 60_000 - MAX_KEYS
    assert score(taking) > 0.9


def test_the_whole_way() -> None:
    names = domains()
    made = [
        abuse.habit(what, hour, f"10.0.{place}.9", names, seed=9, start=LAB + 600, hours=2, count=300)
        for place, (what, hour) in enumerate(abuse.ABUSE.items())
    ]
    watched = after_a_day([quiet(LAB)], of_parts(joined(made)), 600)
    expected = {session.clients[0]: "spam" if session.what.startswith("spam") else "sweep" for session in made}
    assert {one.finding.subject: one.finding.detector for one in watched.found} == expected
    (health,) = watched.health
    assert health.failures == 0 and not health.problems and not health.limits


def test_trade_is_not_found() -> None:
    watched = after_a_day(at_work(range(1), 8, 1), of_parts(joined(at_work(range(1, 2), 8, 1, hours=9))), 3600)
    assert not watched.found
    assert watched.records > 10_000


class TestFanOut:
    def delegated(self, name: str, servers: int, below: str) -> list[bytes]:
        at = f"{EPOCH:.6f}"
        times = {"ts": at, "time_first": at, "time_last": at, "ttl_min": "60", "ttl_max": "60"}
        return [
            package_line("dnsvigil_pdns", rrname=name, rrtype="NS", rdata=f"n{each}.{below}", count="1", **times)
            for each in range(servers)
        ]

    def test_is_delegations_to_very_many_name_servers(self, taking: Taking) -> None:
        rows = [
            row for each in range(3) for row in self.delegated(f"a{each}.attack-x.com", 60, f"s{each}.victim-x.com")
        ]
        taking.take("dnsvigil_pdns", *rows, *self.delegated("good-x.com", 13, "good-x.com"))
        anomaly = found(taking)["fan_out", "attack-x.com"]
        assert anomaly.score == pytest.approx(180 / 280)
        assert (anomaly.evidence["victims"], anomaly.evidence["name_servers"]) == (["victim-x.com"], 180)
        assert found(taking).keys() == {("fan_out", "attack-x.com")}

    def test_is_found_when_an_hour_has_ended_and_all_is_in_files(self, taking: Taking) -> None:
        taking.take("dnsvigil_pdns", *self.delegated("a.attack-x.com", 200, "victim-x.com"))
        taking.take("dns", tsv(ts=f"{EPOCH + 3000:.6f}"))
        assert taking.store.rows("SELECT count(*) FROM passive_dns_new WHERE rrtype = 'NS'") == [(0,)]
        assert found(taking, minutes=50)["fan_out", "attack-x.com"].evidence["name_servers"] == 200

    def test_of_a_popular_domain_is_none(self, taking: Taking) -> None:
        taking.take("dnsvigil_pdns", *self.delegated("a.google.com", 200, "google.com"))
        assert not found(taking)

    def test_that_has_ended_is_no_finding(self, taking: Taking) -> None:
        taking.take("dnsvigil_pdns", *self.delegated("a.attack-x.com", 200, "victim-x.com"))
        assert found(taking, minutes=50) and not found(taking, minutes=70)


class TestWalk:
    def walked(self, count: int = 250, **values: Any) -> list[bytes]:
        return [asked(f"host{number:03}.corp-x.com", "1", **values) for number in range(count)]

    def test_through_numbered_names_is_a_sweep(self, taking: Taking) -> None:
        past(taking.store, 3)
        taking.take("dns", *self.walked(rcode="3"))
        anomaly = found(taking)["sweep", CLIENT]
        assert anomaly.score > 0.5
        assert anomaly.evidence["pattern"] == "host#.corp-x.com"
        assert "walks through numbered names below corp-x.com: 250 such as host" in anomaly.evidence["what"]

    def test_of_a_first_day_is_no_finding(self, taking: Taking) -> None:
        taking.take("dns", *self.walked())
        assert 0 < score(taking, "sweep") < 0.5

    def test_through_names_that_are_known_is_none(self, taking: Taking) -> None:
        taking.take("dns", *self.walked())
        past(taking.store, 3)
        taking.take("dns", *self.walked(client="198.51.100.8"))
        assert score(taking, "sweep", "198.51.100.8") == 0

    def test_is_not_names_with_data_in_numbers(self, taking: Taking) -> None:
        past(taking.store, 3)
        dice = random.Random(1)
        taking.take("dns", *(asked(f"n{dice.randrange(100_000):05}.corp-x.com", "1") for _ in range(250)))
        assert score(taking, "sweep") == 0


@pytest.mark.parametrize(
    ("names", "count", "pattern"),
    [
        ([f"10-0-{place // 256}-{place % 256}" for place in range(0, 1000, 40)], 1000, "#-#-#-#"),
        ([f"db{place // 20}-node{place % 20}" for place in range(0, 400, 17)], 400, "db#-node#"),
        ([f"www{place}" for place in range(5)], 5, None),
        (["mail", "ftp", "vpn", "www", "smtp", "imap", "ns1", "ns2"], 8, None),
        ([f"a{place * 7919 % 100_000:05}" for place in range(24)], 200, None),
        ([f"{place:010}" for place in range(24)], 24, None),
    ],
)
def test_names_count_if_they_fill_what_their_numbers_can_be(names: list[str], count: int, pattern: str | None) -> None:
    assert pattern_of(names, count) == pattern
