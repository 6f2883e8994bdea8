"""The pages of names, addresses, networks, clients, servers and zones: what they show, link, mask and refuse."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.store.findings import Finding, Findings
from dnsvigil.web import passive_dns_files
from dnsvigil.web.ranges import RANGES, range_of
from exporters.running import line
from exporters.web.looking import PDNS
from exporters.web.looking import tuple_line as seen
from exporters.web.sites import SCRIPT, Pages, fill, in_order, serving
from exporters.zeeklogs import HEADER, START, package_header

CLIENT, NEIGHBOUR = "198.51.100.1", "198.51.100.9"
SLOT = datetime.fromtimestamp(START // 300 * 300, UTC).replace(tzinfo=None)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("subjects")
    queries = [line(START + i, f"h{i}.shop.example", rcode="2" if i < 10 else "0") for i in range(40)]
    queries += [line(START + 50, f"{SCRIPT}.hostile.example", rtt="0.3", client=NEIGHBOUR)]
    tuples = [
        seen("www.shop.example", "CNAME", "edge.cdn.example", START - 9, START),
        seen("edge.cdn.example", "A", "192.0.2.80", START - 9, START),
        seen("other.example", "A", "192.0.2.81", START - 9, START),
        seen("shop.example", "NS", "ns1.dns.example", START - 9, START),
        seen(f"{SCRIPT}.hostile.example", "A", "192.0.2.82", START - 9, START),
        seen("times.example", "MX", "10 mail.shop.example", START - 9, START),
        seen("times.example", "A", "192.0.2.83", START - 90 * 86400, START - 80 * 86400),
        seen("times.example", "A", "192.0.2.84", START - 9, START),
        seen("=cmd|calc.hostile.example", "A", "192.0.2.85", START - 9, START),
        seen("xn--mnchen-3ya.example", "A", "192.0.2.86", START - 9, START),
    ]
    config = fill(
        folder,
        {"dns.log": HEADER + b"".join(queries), f"{PDNS}.log": package_header(PDNS) + b"".join(tuples)},
        passive_dns={"retention": "36500d"},
        store={"retention": "36500d"},
        servers={"configured": [{"name": "resolver-1", "addresses": ["192.0.2.53"]}]},
        zones={"configured": [{"name": "shop.example", "failure_ratio_threshold": 0.2}]},
    )
    return config, folder / "state"


@pytest.fixture(scope="module")
def pages(state) -> Iterator[Pages]:
    with serving(*state) as pages:
        store = pages.behind.store
        kept = Findings(store)
        with store.transaction():
            for client in (CLIENT, NEIGHBOUR):
                evidence = {"what": f"{client} asks for {SCRIPT}."}
                kept.put(Finding("malware", "client", client, 0.9, "critical", SLOT, SLOT, evidence))
            store.rows(
                "INSERT INTO dns_flows BY NAME SELECT ? AS ts, 'r1' AS exporter, ? AS client, '192.0.2.53' AS server,"
                " 53 AS server_port, 'udp' AS proto, 7 AS query_packets, 2 AS unanswered, 900 AS response_bytes",
                SLOT,
                CLIENT,
            )
        yield pages


def test_every_value_leads_on(pages):
    """A name leads to its address, that to its network, and that to names; name servers to their names."""
    text = pages.text("/name", q="edge.cdn.example")
    assert 'href="address?q=192.0.2.80"' in text
    assert 'href="domain?q=cdn.example"' in text
    assert in_order(text, ["What points to it", "www.shop.example", "CNAME"])
    text = pages.text("/address", q="192.0.2.80")
    assert 'href="network?q=192.0.2.0%2F24"' in text
    assert in_order(text, ["Addresses beside it", "192.0.2.81", "192.0.2.82"])
    assert in_order(pages.text("/network", q="192.0.2.77/24"), ["Networks in it"]) is False
    text = pages.text("/network", q="192.0.0.0/22")
    assert 'href="network?q=192.0.2.0%2F24"' in text
    assert 'href="name?q=other.example"' in text
    assert 'href="name?q=ns1.dns.example"' in pages.text("/name", q="shop.example")


def test_a_server_has_its_zones_failures_latencies_and_clients(pages):
    text = pages.text("/server", q="192.0.2.53")
    assert 'class="value">resolver-1</span>' in text
    assert in_order(text, ["<dt>Queries</dt><dd>41</dd>", "<dd>10, 24.4 %</dd>", "50 % of answers within", "1 ms"])
    assert in_order(text, ["servfail", 'id="zones"', "zone?q=shop.example", ">40<", ">10<", "25.0 %"])
    assert in_order(text, ['id="clients"', CLIENT, ">7<", ">2<"])
    text = pages.text("/server", proved=False, q="resolver-1")
    assert "198.51.100.0/24" in text
    assert CLIENT not in text


def test_a_zone_is_held_against_its_threshold(pages):
    text = pages.text("/zone", q="shop.example")
    assert in_order(text, ["Share of failures", ">25.0 %</text>"])
    assert in_order(text, ["The dashed line is the threshold, 20.0 %", "resolver-1", "25.0 %"])


def test_a_client_is_shown_only_to_who_may_see_clients(pages):
    text = pages.text("/client", q=CLIENT)
    assert in_order(text, ["Queries, by flows", "192.0.2.53", ">7<", ">2<", ">900<"])
    assert in_order(text, ["What it asked for that was new", "shop.example"])
    assert in_order(text, ["Findings about its neighbours", NEIGHBOUR])
    assert "Sign in first" in pages.text("/client", 403, proved=False, q=CLIENT)
    for path in ("/address", "/network", "/name", "/server", "/zone"):
        text = pages.text(path, 404, proved=False, q="198.51.100.0/26" if path == "/network" else NEIGHBOUR)
        assert "asks for" not in text, path


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/name", f"{SCRIPT}.hostile.example"),
        ("/address", "192.0.2.82"),
        ("/network", "192.0.2.80/28"),
        ("/client", NEIGHBOUR),
    ],
)
def test_hostile_names_are_text(pages, path, value):
    assert "&lt;script&gt;alert(" in pages.text(path, q=value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/name", "nothing.example"),
        ("/address", "203.0.113.9"),
        ("/network", "203.0.113.0/24"),
        ("/client", "203.0.113.9"),
        ("/client", SCRIPT),
        ("/server", SCRIPT),
        ("/zone", "nothing.example"),
    ],
)
def test_nothing_known_is_not_found_with_what_to_do(pages, path, value):
    assert "Nothing is known of this" in pages.text(path, 404, q=value)


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/address", {"q": "192.0.2.300"}, "is no address"),
        ("/network", {"q": "192.0.2.0/33"}, "is no network"),
        ("/zone", {"q": "shop.example", "range": "1y"}, "range: expected one of"),
        ("/zone", {"q": "shop.example", "to": "yesterday"}, "to: expected one such as"),
    ],
)
def test_a_url_made_by_hand_is_refused(pages, path, query, expected):
    assert expected in pages.text(path, 400, **query)


def test_a_range_with_nothing_says_so_and_leads_back(pages):
    text = pages.text("/server", q="resolver-1", range="1h", to="0001-01-01T00:00:00Z")
    assert "No query to it was seen in this range." in text
    assert ">Newest</a>" in text


FILTERED = {
    "type=mx": ["10 mail.shop.example"],
    "type=ANY-DNSSEC": [],
    "after=2099-01-01": [],
    "before=1999-12-31": [],
    "after=2023-11-14&before=2023-11-14&type=A": ["192.0.2.84"],  # the day of START, as a whole
    "before=2023-10-01": ["192.0.2.83"],
    "bailiwick=other.example": [],
}


@pytest.mark.parametrize("filters", FILTERED)
def test_records_are_filtered_by_type_time_and_bailiwick_on_the_page_and_in_files(pages, filters):
    query = dict(each.split("=") for each in filters.split("&"))
    given = {"q": "times.example"}
    text = pages.text("/name", **given, **query)
    assert "Nothing is known" not in text
    assert ("No record matches these filters." in text) == (FILTERED[filters] == [])
    found = pages.ask("/passive-dns.json", kind="name", **given, **query).json
    assert ([each["data"] for each in found["records"]], found["limited"]) == (FILTERED[filters], None)
    assert all(f">{each.split()[-1]}<" in text for each in FILTERED[filters])


def test_records_go_out_as_csv_without_formulas(pages):
    response = pages.ask("/passive-dns.csv", kind="network", q="192.0.2.0/24", sort="name", order="asc")
    assert response.headers["Content-Disposition"].startswith('attachment; filename="dnsvigil-passive-dns-')
    rows = [*csv.DictReader(io.StringIO(response.get_data(as_text=True)))]
    assert {row["name"]: row["data"] for row in rows}["'=cmd|calc.hostile.example"] == "192.0.2.85"
    assert len(rows) == 7
    assert pages.ask("/passive-dns.json", kind="domain", q="shop.example").json["records"]


@pytest.mark.parametrize(
    "query",
    [
        {"type": "NOTYPE"},
        {"type": "A;DROP"},
        {"after": "x"},
        {"before": "99999-01-01"},
        {"after": "2026-03-02", "before": "2026-03-01"},
        {"bailiwick": "a..b"},
    ],
)
def test_filters_made_by_hand_are_refused(pages, query):
    assert (
        "expected" in (text := pages.text("/name", 400, q="times.example", **query))
        or " is no " in text
        or "end" in text
    )
    pages.text("/passive-dns.csv", 400, kind="name", q="times.example", **query)


@pytest.mark.parametrize("query", [{}, {"kind": "name"}, {"kind": "client", "q": "x"}, {"kind": "address", "q": "x"}])
def test_a_file_is_about_something(pages, query):
    pages.text("/passive-dns.json", 400, **query)


def test_more_records_than_a_file_has_are_told(pages, monkeypatch):
    monkeypatch.setattr(passive_dns_files, "_MAX_RECORDS", 2)
    rows = pages.ask("/passive-dns.csv", kind="network", q="192.0.2.0/24").get_data(as_text=True).splitlines()
    assert rows[-1] == "# There are more: these are the first 2."
    assert "first 2" in pages.ask("/passive-dns.json", kind="network", q="192.0.2.0/24").json["limited"]


def test_names_in_unicode_stand_beside_their_labels(pages):
    text = pages.text("/name", q="m\u00fcnchen.example")
    assert "xn--mnchen-3ya.example</span> <bdi" in text
    assert "m\u00fcnchen.example</bdi>" in text
    assert 'href="name?q=xn--mnchen-3ya.example">xn--mnchen-3ya.example</a> <bdi' in pages.text(
        "/address", q="192.0.2.86"
    )


def test_arrows_lead_to_the_ranges_beside():
    newest = datetime(2026, 3, 1, 12, 34)
    for name, length in RANGES.items():
        span = range_of({"range": name}, newest)
        assert span.begin < newest <= span.end
        assert span.end - span.begin == length
        assert span.later is None
        before = range_of({"range": name, "to": span.earlier}, newest)
        assert before.end == span.begin
        assert range_of({"range": name, "to": before.later}, newest) == span


def test_the_box_leads_to_the_page_and_keeps_what_was_looked_up_in_the_browser(pages):
    """Nothing of it is in the store: another browser has another history."""
    asked = {
        "edge.cdn.example": "name?q=",
        "192.0.2.80": "address?q=",
        "#7": "findings/7",
        '"><b>.example': "domain?q=",
    }
    for text, page in asked.items():
        assert pages.ask("/lookup", q=text).headers["Location"].startswith(page)
    for number in range(12):
        pages.ask("/lookup", q=f"h{number}.cdn.example")
    text = pages.text("/name", q="edge.cdn.example")
    assert in_order(text, ['<datalist id="lookups">', *(f'value="h{number}.cdn' for number in range(11, 1, -1))])
    assert 'value="h1.cdn' not in text
    pages.ask("/lookup", q='"><b>.example')
    assert '<option value="&#34;&gt;&lt;b&gt;.example">' in pages.text("/name", q="edge.cdn.example")
    pages.client.delete_cookie("dnsvigil-lookups")
    assert 'id="lookups"' not in pages.text("/name", q="edge.cdn.example")
