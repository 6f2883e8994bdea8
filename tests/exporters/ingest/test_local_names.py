"""Only DNS servers are servers: multicast DNS, LLMNR, NetBIOS, groups and whole networks are counted by themselves."""

import gzip
from collections import Counter
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config, Flows, Servers
from dnsvigil.config.types import Network
from dnsvigil.sources.zeek.lines import count_lines
from dnsvigil.store.store import Store
from exporters.running import Samples, sample
from exporters.store.test_zones import SERVER, collecting, servers_of
from exporters.zeeklogs import START, as_json, tsv

CASE = Path(__file__).parents[1] / "cases" / "multicast.log.gz"
IN_CASE = {"mdns": 600, "llmnr": 200, "netbios": 200}


def local(found: Samples) -> dict[str, float]:
    """What was counted as look-ups of local names, by kind."""
    return {
        dict(labels)["kind"]: value
        for (name, labels), value in found.items()
        if name == "dnsvigil_local_name_queries_total" and value
    }


def values(found: Samples, label: str) -> set[str]:
    return {dict(labels)[label] for _, labels in found if label in dict(labels)}


def test_a_local_network_beside_a_resolver(tmp_path: Path) -> None:
    logged = gzip.decompress(CASE.read_bytes())
    body = b"".join(line for line in logged.splitlines(True) if not line.startswith(b"#"))
    with collecting(tmp_path, Config()) as one:
        one.take(body, header=logged.removesuffix(body))
        found = one.metrics
    assert local(found) == IN_CASE
    assert found[sample("dnsvigil_records_ingested_total", source="zeek")] == count_lines(body) == 1600
    assert values(found, "server") == {SERVER}
    assert values(found, "dns_zone") == {"example.com", "other"}
    assert sample("dnsvigil_unanswered_total", server=SERVER) not in found
    with Store(tmp_path) as store:  # nothing for the detectors
        assert store.rows("SELECT DISTINCT domain FROM novel WHERE domain <> 'example.com'") == []
        assert store.rows("SELECT DISTINCT zone FROM minute_zones") == [("example.com",)]


ASKED = {
    ("224.0.0.251", "5353"): "mdns",
    ("ff02::fb", "5353"): "mdns",
    ("192.0.2.9", "5353"): "mdns",
    ("ff02::1:3", "5355"): "llmnr",
    ("192.0.2.9", "137"): "netbios",
    ("192.0.2.255", "137"): "netbios",
    ("239.255.255.250", "1900"): "multicast",
    ("224.0.0.1", "53"): "multicast",
    ("FF05::2", "53"): "multicast",
    ("::ffff:239.1.2.3", "53"): "multicast",
    ("239.1.2.3", "-"): "multicast",
    ("255.255.255.255", "53"): "broadcast",
    ("198.51.100.255", "53"): "broadcast",
    ("0.0.0.0", "53"): "unspecified",
    ("::", "53"): "unspecified",
    **{(SERVER, port): "" for port in ("53", "5300", "853", "8053", "-")},
    **{
        (address, "53"): ""
        for address in (
            "2001:db8::53",
            "223.255.255.255",
            "240.0.0.1",
            "22.4.0.1",
            "203.0.113.255",
            "ff::1",
            "127.0.0.1",
        )
    },
}
CONFIG = Config(flows=Flows(networks=[Network("198.51.100.0/24"), Network("2001:db8::/32"), Network("192.0.2.52/31")]))


@pytest.mark.parametrize("form", ["tsv", "json"])
def test_what_is_a_server(tmp_path: Path, form: str) -> None:
    records = [tsv(id_resp_h=address, id_resp_p=port, query="a.com") for address, port in ASKED]
    with collecting(tmp_path, CONFIG) as one:
        one.take(*(as_json(record) if form == "json" else record for record in records))
        found = one.metrics
    assert local(found) == Counter(filter(None, ASKED.values()))
    assert values(found, "server") == {address for (address, _), kind in ASKED.items() if not kind}
    assert found[sample("dnsvigil_records_ingested_total", source="zeek")] == len(ASKED)
    queries = {dict(labels)["server"]: n for (name, labels), n in found.items() if name == "dnsvigil_queries_total"}
    assert queries[SERVER] == 5


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ([137, 5353, 5355], {"mdns": 1, "netbios": 1}),
        ([137], {"netbios": 1}),
        ([], {}),
        ([53, 137], {"port": 2, "netbios": 1}),
    ],
)
def test_ports_are_those_configured(tmp_path: Path, ports: list[int], expected: dict[str, int]) -> None:
    with collecting(tmp_path, Config(servers=Servers(excluded_ports=ports))) as one:
        one.take(*(tsv(id_resp_p=port) for port in ("53", "53", "5353", "137")))
        assert local(one.metrics) == expected


def test_a_configured_server_is_one_though_its_address_ends_a_network(tmp_path: Path) -> None:
    config = Config(flows=CONFIG.flows, servers=servers_of("198.51.100.255"))
    with collecting(tmp_path, config) as one:
        one.take(tsv(id_resp_h="198.51.100.255"))
        assert local(one.metrics) == {}
        assert "198.51.100.255" in values(one.metrics, "server")


def test_minutes_with_nothing_else_pass(tmp_path: Path) -> None:
    with collecting(tmp_path, Config()) as one:
        for minute in range(12):
            one.take(tsv(ts=f"{START + 60 * minute}.0", id_resp_p="5353"))
        one.take(tsv(ts=f"{START + 900}.0"))
        assert local(one.metrics) == {"mdns": 12}
        assert one.zones() == {"example.com": 1}
