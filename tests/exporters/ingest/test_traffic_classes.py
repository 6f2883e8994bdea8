"""Traffic classes: by the form of names, and counted by server and client network."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config, Flows
from dnsvigil.config.types import Network
from dnsvigil.store.store import Store
from exporters.ingest.taking import Taking
from exporters.zeeklogs import tsv

UNWANTED = [
    "printer.local",
    "wpad",
    "host.lan",
    "x.home.arpa",
    "5.1.168.192.in-addr.arpa",
    "1.0.16.172.in-addr.arpa",
    "1.2.3.100.100.in-addr.arpa",
    "1.0.0.10.in-addr.arpa",
    f"{'0.' * 30}d.f.ip6.arpa",
    f"1.{'0.' * 31}ip6.arpa",
    "192.0.2.1",
    "a.b.notatld",
]
OVERLOADED = ["2.0.0.127.zen.example.org", f"{'a.' * 32}list.example.org", f"{'0123456789abcdef' * 2}.hash.example.com"]
CANONICAL = [
    ".",
    "com",
    "www.example.com",
    "1.0.32.172.in-addr.arpa",
    "8.8.8.8.in-addr.arpa",
    "_dmarc.example.org",
    "xn--bcher-kva.example.com",
    "deadbeef.example.com",
    "localhost.example.com",
    "1.2.3.example.com",
]


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    config = Config(flows=Flows(networks=[Network.parse("198.51.100.0/24"), Network.parse("198.51.100.64/26")]))
    with Store(tmp_path) as store, closing(Taking(store, config)) as taking:
        yield taking


def queries(taking: Taking) -> dict[tuple[str, str], float]:
    """Return the queries by network and class."""
    name = "dnsvigil_traffic_class_queries_total"
    found = {frozenset(labels): value for (each, labels), value in taking.metrics.items() if each == name}
    return {(dict(labels)["network"], dict(labels)["class"]): value for labels, value in found.items()}


@pytest.mark.parametrize(
    ("names", "traffic_class"), [(UNWANTED, "unwanted"), (OVERLOADED, "overloaded"), (CANONICAL, "canonical")]
)
def test_the_form_of_a_name_decides(taking: Taking, names: list[str], traffic_class: str) -> None:
    for name in names:
        taking.take("dns", tsv(query=name))
        assert set(queries(taking)) == {("198.51.100.0/24", traffic_class)}, name
    assert queries(taking) == {("198.51.100.0/24", traffic_class): len(names)}


def test_clients_count_for_the_smallest_of_their_networks(taking: Taking) -> None:
    clients = ("198.51.100.1", "198.51.100.65", "198.51.100.65", "203.0.113.1", "2001:db8::1")
    taking.take("dns", *(tsv(query="www.example.com", id_orig_h=client) for client in clients))
    assert queries(taking) == {
        ("198.51.100.0/24", "canonical"): 1,
        ("198.51.100.64/26", "canonical"): 2,
        ("other", "canonical"): 2,
    }
