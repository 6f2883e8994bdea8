"""What flows say of findings: real nfdump, from flow files to the evidence."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dnsvigil.config.collector import Config, Detectors
from dnsvigil.detectors.contacts import with_contacts
from dnsvigil.detectors.detector import Anomaly, Context
from dnsvigil.detectors.malware import detector as malware
from dnsvigil.detectors.malware.connections import Connections
from dnsvigil.detectors.malware.detector import TOO_MANY
from dnsvigil.detectors.passive_dns import Tuples
from dnsvigil.ingest.flows import FlowsPart
from dnsvigil.ingest.intake import Intake
from dnsvigil.sources.blocklists import list_file
from dnsvigil.sources.blocklists.domain_lists import DomainLists
from dnsvigil.sources.netflow import contacts as flow_contacts
from dnsvigil.sources.netflow.contacts import contacts
from dnsvigil.sources.netflow.follower import pending_file
from dnsvigil.store import contacts as store_contacts
from dnsvigil.store.contacts import MAX_LISTED, MAX_WATCHED, Contacts
from dnsvigil.store.findings import Finding, Findings
from dnsvigil.store.store import Store
from dnsvigil.store.tuple_keys import key_of_data, key_of_name
from exporters.flowfiles import SLOT, OneWay, damage, many, write_flows

pytestmark = pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")

BEGIN = 1_760_000_100 // SLOT * SLOT
NOW = datetime.fromtimestamp(BEGIN, UTC).replace(tzinfo=None)
CLIENT, OTHER = "198.51.100.7", "198.51.100.8"
CLIENT6 = "2001:db8:7::1"
SERVER, SERVER6, DATA = "203.0.113.5", "2001:db8:5::5", "203.0.113.99"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "state") as store:
        Intake(store, Config()).close()
        yield store


def flow(client: str, server: str, **values: float) -> OneWay:
    return OneWay(client, 50_000, server, 443, proto=6, **values)


def finding(client: str = CLIENT, domain: str = "odd-x.com") -> Finding:
    return Finding("tunnel", "client", client, 0.9, "warning", NOW, NOW, {"domains": [domain]})


def novel(store: Store, received: list[str], client: str = CLIENT, domain: str = "odd-x.com") -> None:
    store.rows(
        "INSERT INTO novel (hour, client, domain, received) VALUES (?, ?, ?, ?)",
        NOW.replace(minute=0), client, domain, received,
    )  # fmt: skip


def put(store: Store, *found: Finding) -> None:
    findings, addresses = Findings(store), Contacts(store)
    with store.transaction():
        findings.put_all(found)
        addresses.watch({})


def read(store: Store, folder: Path, slots: Mapping[int, list[OneWay]]) -> None:
    with closing(FlowsPart(store, Config())) as part:
        for number, flows in slots.items():
            part.ingest(pending_file(write_flows(folder, BEGIN + SLOT * number, flows)))


def evidence(store: Store, one: Finding) -> dict[str, Any]:
    (found,) = with_contacts(store.rows, [one], Detectors().client_of)
    return dict(found.evidence)


def test_what_a_client_connected_to_and_what_it_never_did(store: Store, tmp_path: Path) -> None:
    novel(store, [f"a.odd-x.com\t60\tedge.odd-x.com\t{SERVER}\t{DATA}"])
    put(store, finding())
    there = [flow(CLIENT, SERVER, bytes=1000, packets=4), replace(flow(CLIENT, SERVER).back, bytes=70_000)]
    there += [flow(OTHER, SERVER, bytes=5), flow(CLIENT, "203.0.113.6", bytes=9)]
    read(store, tmp_path / "flows", {0: there, 1: [flow(CLIENT, SERVER, bytes=500)], 4: []})
    found = evidence(store, finding())
    assert found["connected_to"] == [
        {"address": SERVER, "flows": 3, "bytes_sent": 1500, "bytes_received": 70_000},
    ]
    assert (found["never_connected_to"], found["flows_since"]) == ([DATA], NOW.isoformat())


def test_all_addresses_of_a_prefix_are_its_client(store: Store, tmp_path: Path) -> None:
    prefix = Detectors().client_of(CLIENT6)
    novel(store, [f"a.odd-x.com\t60\t{SERVER6}"], client=prefix)
    put(store, finding(prefix))
    both = [flow(CLIENT6, SERVER6, bytes=300), flow(f"{CLIENT6}7", SERVER6, bytes=30)]
    read(store, tmp_path / "flows", {0: both})
    assert evidence(store, finding(prefix))["connected_to"] == [
        {"address": SERVER6, "flows": 2, "bytes_sent": 330, "bytes_received": 0}
    ]


def test_nothing_is_said_before_flows_were_searched_for_a_while(store: Store, tmp_path: Path) -> None:
    novel(store, [f"a.odd-x.com\t60\t{DATA}"])
    put(store, finding())
    assert evidence(store, finding()) == {"domains": ["odd-x.com"]}
    read(store, tmp_path / "flows", {0: many(), 1: many()})
    assert evidence(store, finding()) == {"domains": ["odd-x.com"]}
    read(store, tmp_path / "flows", {3: many()})
    assert evidence(store, finding())["never_connected_to"] == [DATA]


@pytest.mark.parametrize(("packets", "sampled"), [(1, False), (1000, True)])
def test_sampled_flows_do_not_show_what_is_missing(store: Store, tmp_path: Path, packets: int, sampled: bool) -> None:
    novel(store, [f"a.odd-x.com\t60\t{SERVER}\t{DATA}"])
    put(store, finding())
    others = [flow(OTHER, "203.0.113.6", packets=packets * number) for number in (1, 1, 1, 2, 3)] * 30
    read(store, tmp_path / "flows", {0: [flow(CLIENT, SERVER, packets=packets), *others], 4: []})
    found = evidence(store, finding())
    assert [each["address"] for each in found["connected_to"]] == [SERVER]
    assert (found.get("never_connected_to"), found.get("flows_sampled")) == (
        (None, 1000) if sampled else ([DATA], None)
    )


def test_addresses_are_watched_as_long_as_a_finding_is_open(store: Store) -> None:
    novel(store, [f"a.odd-x.com\t60\t{SERVER}", "b.odd-x.com\t60\t224.0.0.1", "c.odd-x.com\t60\t0.0.0.0"])
    novel(store, [f"www.other-x.com\t60\t{DATA}"], domain="other-x.com")
    put(store, finding())
    assert Contacts(store).watched() == {SERVER: False}
    findings, addresses = Findings(store), Contacts(store)
    with store.transaction():
        findings.close_quiet(NOW + timedelta(hours=2))
        addresses.watch({})
    assert Contacts(store).watched() == {}


def test_the_number_of_addresses_is_bounded(store: Store) -> None:
    novel(store, [f"n{number}.odd-x.com\t60\t10.{number >> 8}.{number & 255}.9" for number in range(2 * MAX_WATCHED)])
    put(store, finding())
    assert len(Contacts(store).watched()) == MAX_WATCHED


def test_a_file_that_grew_counts_once(store: Store, tmp_path: Path) -> None:
    novel(store, [f"a.odd-x.com\t60\t{SERVER}"])
    put(store, finding())
    one = flow(CLIENT, SERVER, bytes=1000)
    read(store, tmp_path / "flows", {0: [one]})
    read(store, tmp_path / "flows", {0: [one, one]})
    assert evidence(store, finding())["connected_to"][0]["bytes_sent"] == 2000


def test_who_is_visited_from_an_address_is_not_its_client(tmp_path: Path) -> None:
    visit = OneWay(SERVER, 50_000, CLIENT, 443, proto=6, bytes=90)
    path = write_flows(tmp_path, BEGIN, [visit, visit.back])
    assert contacts(path, {SERVER: True}, "nfdump") == []


class TestListed:
    """Addresses on the operator's lists."""

    LISTS: ClassVar = {SERVER: ["feodo.txt"]}
    NETWORK: ClassVar = {"203.0.113.0/28": ["drop.txt"], "203.0.113.0/24": ["wide.txt"]}

    def seen(self, store: Store) -> dict[str, Anomaly]:
        detector = Connections(Tuples(store.path.parent), Detectors().client_of)
        return {each.subject: each for each in detector.anomalies(store.rows, NOW + timedelta(minutes=9), {OTHER})}

    def watch(self, store: Store, lists: Mapping[str, list[str]] = LISTS) -> None:
        addresses = Contacts(store)
        with store.transaction():
            addresses.watch(lists)

    def lead(self, store: Store, *names: str) -> None:
        for name in names:
            store.rows(
                "INSERT INTO passive_dns_new (nkey, rrtype, rkey) VALUES (?, 'A', ?)",
                key_of_name(name), key_of_data("A", SERVER),
            )  # fmt: skip

    def test_a_connection_that_dns_did_not_lead_to_is_a_finding(self, store: Store, tmp_path: Path) -> None:
        self.watch(store)
        there = flow(CLIENT, SERVER, bytes=1000)
        read(store, tmp_path / "flows", {0: [there, there.back, flow(OTHER, SERVER), flow(OTHER, SERVER).back]})
        (found,) = self.seen(store).values()
        assert (found.subject, found.score) == (CLIENT, 0.6)
        assert found.evidence["what"] == (
            f"Client {CLIENT} exchanged data with {SERVER}, on the list feodo.txt, and DNS had not given it that"
            " address."
        )
        assert found.evidence["connected_to"] == [
            {"address": SERVER, "flows": 2, "bytes_sent": 1000, "bytes_received": 2000}
        ]

    @pytest.mark.parametrize(
        ("entry", "addresses"), [("bad.example", [SERVER]), ("203.0.113.0/28", ["203.0.113.9"]), (SERVER, [])]
    )
    def test_whom_dns_led_there_has_a_finding_of_another_kind(
        self, store: Store, tmp_path: Path, entry: str, addresses: list[str]
    ) -> None:
        self.watch(store, self.NETWORK if "/" in entry else self.LISTS)
        store.rows(
            "INSERT INTO listed (hour, client, entry, addresses) VALUES (?, ?, ?, ?)", NOW, CLIENT, entry, addresses
        )
        there = flow(CLIENT, SERVER, bytes=1000)
        read(store, tmp_path / "flows", {0: [there, there.back]})
        assert not self.seen(store)

    @pytest.mark.parametrize(("most", "limits"), [(1, [TOO_MANY]), (2, [])])
    def test_that_lists_have_more_than_is_watched_is_a_limit(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, limits: list[str]
    ) -> None:
        for module in (store_contacts, malware):
            monkeypatch.setattr(module, "MAX_LISTED", most)
        self.watch(store, {SERVER: ["a.txt"], DATA: ["b.txt"]} if limits else self.LISTS)
        detector = malware.Malware(Context(tmp_path, Config(detectors=Detectors(lists=tmp_path))))
        read(store, tmp_path / "flows", {0: many()})
        assert not [*detector.evaluate(store.rows, NOW)]
        assert detector.limits() == limits

    def test_a_listed_network_alone_is_no_finding(self, store: Store, tmp_path: Path) -> None:
        self.watch(store, self.NETWORK)
        there = flow(CLIENT, SERVER, bytes=1000)
        read(store, tmp_path / "flows", {0: [there, there.back]})
        (found,) = self.seen(store).values()
        assert (found.score, found.evidence["listed"]) == (
            0.3,
            [{"entry": "203.0.113.0/28", "lists": ["drop.txt"], "names": []}],
        )
        assert f"with {SERVER}, in 203.0.113.0/28 on the list drop.txt, and DNS" in found.evidence["what"]

    def test_an_address_that_many_clients_connect_to_is_no_finding(self, store: Store, tmp_path: Path) -> None:
        self.watch(store)
        there = [flow(f"198.51.100.{number}", SERVER) for number in range(20, 41)]
        read(store, tmp_path / "flows", {0: [each for one in there for each in (one, one.back)]})
        assert {each.score for each in self.seen(store).values()} == {0.3}
        assert len(self.seen(store)) == 21

    def test_an_address_that_popular_names_lead_to_is_no_finding(self, store: Store, tmp_path: Path) -> None:
        self.watch(store, {**self.LISTS, DATA: ["feodo.txt"]})
        self.lead(store, "www.bad-x.com", "www.wikipedia.org")
        there = flow(CLIENT, SERVER, bytes=1000)
        read(store, tmp_path / "flows", {0: [there, there.back]})
        (found,) = self.seen(store).values()
        assert found.score == 0.3
        assert found.evidence["what"].endswith("Names in wikipedia.org, bad-x.com lead there: many may share it.")
        beside = flow(CLIENT, DATA)
        read(store, tmp_path / "flows", {1: [beside, beside.back]})
        (found,) = self.seen(store).values()
        assert (found.score, found.evidence["connected_to"][0]["address"]) == (0.6, DATA)

    @pytest.mark.parametrize(("alias", "score"), [("www.wikipedia.org", 0.3), ("www.bad-x.com", 0.6)])
    def test_an_address_that_popular_names_lead_to_by_aliases_is_no_finding(
        self, store: Store, tmp_path: Path, alias: str, score: float
    ) -> None:
        self.watch(store)
        self.lead(store, "e1.edge-x.net")
        for name, target in ((alias, "a.middle-x.net"), ("a.middle-x.net", "e1.edge-x.net")):
            store.rows(
                "INSERT INTO passive_dns_new (nkey, rrtype, rkey) VALUES (?, 'CNAME', ?)",
                key_of_name(name), key_of_data("CNAME", target),
            )  # fmt: skip
        there = flow(CLIENT, SERVER, bytes=1000)
        read(store, tmp_path / "flows", {0: [there, there.back]})
        (found,) = self.seen(store).values()
        assert (found.score, set(found.evidence["listed"][0]["names"])) == (
            score,
            {alias.removeprefix("www."), "middle-x.net", "edge-x.net"},
        )

    @pytest.mark.parametrize("address", ["104.16.1.1", "2606:4700::5"])
    def test_an_address_of_content_delivery_is_no_finding(self, store: Store, tmp_path: Path, address: str) -> None:
        self.watch(store, {address: ["feodo.txt"]})
        there = flow(CLIENT6 if ":" in address else CLIENT, address, bytes=1000)
        read(store, tmp_path / "flows", {0: [there, there.back]})
        (found,) = self.seen(store).values()
        assert found.score == 0.3

    @pytest.mark.parametrize(("domains", "score"), [(19, 0.6), (20, 0.3)])
    def test_an_address_of_many_domains_is_no_finding(
        self, store: Store, tmp_path: Path, domains: int, score: float
    ) -> None:
        self.watch(store)
        self.lead(store, *(f"www.site{number}-x.com" for number in range(domains)))
        there = flow(CLIENT, SERVER, bytes=1000)
        read(store, tmp_path / "flows", {0: [there, there.back]})
        (found,) = self.seen(store).values()
        assert found.score == score

    def test_what_was_not_answered_is_no_connection(self, store: Store, tmp_path: Path) -> None:
        self.watch(store)
        read(store, tmp_path / "flows", {0: [flow(CLIENT, SERVER, bytes=1000)]})
        assert not self.seen(store)

    def test_lists_report_some_of_their_addresses_and_networks(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(list_file, "MAX_ADDRESSES", 3)
        (tmp_path / "a.txt").write_text(
            "203.0.113.5\nbad.example\n203.0.113.0/28\n2001:db8::5\n203.0.113.6\n203.0.113.7\n"
        )
        (tmp_path / "b.txt").write_text("203.0.113.5\n")
        lists = DomainLists(tmp_path)
        lists.reload()
        assert lists.addresses.keys() == {"203.0.113.5", "203.0.113.0/28", "2001:db8::5"}
        assert lists.addresses["203.0.113.5"] == ["a.txt", "b.txt"]


def test_a_filter_takes_as_many_addresses_as_are_watched(tmp_path: Path) -> None:
    path = write_flows(tmp_path, BEGIN, [flow(CLIENT6, SERVER6, bytes=7), flow(CLIENT, DATA)])
    many = range(MAX_WATCHED + MAX_LISTED - 1)
    addresses = {f"2001:db8:{number:x}::1:{number:x}": False for number in many} | {SERVER6: False}
    assert contacts(path, addresses, "nfdump") == [(CLIENT6, SERVER6, None, 1, 7, 0)]


def test_networks_that_overlap_are_watched_with_all_that_is_in_them(tmp_path: Path) -> None:
    path = write_flows(
        tmp_path, BEGIN, [flow(CLIENT, SERVER, bytes=9), flow(CLIENT6, SERVER6, bytes=8), flow(CLIENT, DATA, bytes=7)]
    )
    watched = {SERVER: False, "203.0.113.4/31": True, "203.0.113.0/24": True, "2001:db8:5::/48": True}
    assert contacts(path, watched, "nfdump") == [
        (CLIENT, SERVER, "203.0.113.4/31", 1, 9, 0),
        (CLIENT6, SERVER6, "2001:db8:5::/48", 1, 8, 0),
        (CLIENT, DATA, "203.0.113.0/24", 1, 7, 0),
    ]


def test_the_number_of_connections_that_are_read_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_contacts, "MAX_ROWS", 5)
    flows = [OneWay(f"198.51.100.{number}", 50_000, SERVER, 443, proto=6) for number in range(1, 9)]
    assert len(contacts(write_flows(tmp_path, BEGIN, flows), {SERVER: True}, "nfdump")) == 5


def test_what_is_read_of_a_damaged_file_counts(tmp_path: Path) -> None:
    path = write_flows(tmp_path, BEGIN, [flow(CLIENT, SERVER, bytes=7), *many()])
    damage(path)
    assert contacts(path, {SERVER: False}, "nfdump") == [(CLIENT, SERVER, None, 1, 7, 0)]
