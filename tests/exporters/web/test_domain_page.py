"""The page of a domain: what it shows, to whom, and what it says where there is nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.store.findings import Finding, Findings
from exporters.domain_tables import write_table
from exporters.web.looking import PDNS
from exporters.web.looking import tuple_line as seen
from exporters.web.sites import SCRIPT, Pages, fill, in_order, serving
from exporters.zeeklogs import HEADER, START, package_header, tsv

DAY = 86400


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("domain")
    queries = [
        *(tsv(query=f"h{i}.example.com", id_orig_h=f"198.51.100.{i}", ts=f"{START + i}.5") for i in range(4)),
        tsv(query="www.example.com", id_orig_h="198.51.100.77", rcode="2", ts=f"{START + 9}.5"),
        tsv(query=f"{SCRIPT}.hostile.example", id_orig_h="198.51.100.78", ts=f"{START + 9}.6"),
    ]
    tuples = [
        seen("www.example.com", "A", "192.0.2.80", START - 9 * DAY, START - 4 * DAY),
        seen("www.example.com", "A", "192.0.2.81", START - 4 * DAY, START),
        seen("example.com", "MX", "10 mail.example.net", START - 3 * DAY, START),
        seen(f"{SCRIPT}.hostile.example", "TXT", f"TXT 30 {SCRIPT}", START - DAY, START),
        seen("untabled.example", "A", "192.0.2.90", START - DAY, START),
    ]
    config = fill(
        folder,
        {"dns.log": HEADER + b"".join(queries), f"{PDNS}.log": package_header(PDNS) + b"".join(tuples)},
        passive_dns={"retention": "36500d"},
        store={"retention": "36500d"},
    )
    write_table(folder / "state", {"example.com": 1, "hostile.example": 1}, {1: f"group {SCRIPT}"})
    return config, folder / "state"


@pytest.fixture(scope="module")
def pages(state) -> Iterator[Pages]:
    with serving(*state) as pages:
        kept = Findings(pages.behind.store)
        when = pages.behind.store.rows("SELECT now()::TIMESTAMP")[0][0]
        evidence = {"what": f"198.51.100.77 asks for {SCRIPT}.", "domains": ["example.com"]}
        with pages.behind.store.transaction():
            kept.put(Finding("malware", "client", "198.51.100.77", 0.9, "critical", when, when, evidence))
        yield pages


def test_a_domain_has_features_addresses_answers_and_findings(pages):
    text = pages.text("/domain", q="Example.COM.")
    assert in_order(text, ["distinct addresses", "distinct name servers", "more features", "distinct clients"])
    assert in_order(text, ["Addresses over time", "192.0.2.81", "192.0.2.80", "Passive DNS"])  # the last seen first
    assert "mail.example.net" in text
    assert in_order(text, ["Findings", "198.51.100.77 asks for &lt;script&gt;"])
    assert 'href="lookup' not in text  # values lead to their pages, not to a search
    assert 'href="domain?q=hostile.example"' in text  # the nearest
    assert in_order(text, ["<dt>Queries</dt><dd>5</dd>", "<dt>Failed</dt><dd>1, 20.0 %</dd>"])


def test_clients_are_shown_to_who_may_see_them_and_masked_else(pages):
    assert "198.51.100.2" in pages.text("/domain", q="example.com")
    text = pages.text("/domain", proved=False, q="example.com")
    clients = text[text.index('id="clients"') : text.index('id="lists"')]
    assert clients.count("198.51.100.0/24") == 1  # a row for each client would say how many there are, and who is who
    for address in ("198.51.100.1<", "198.51.100.2", "198.51.100.77"):
        assert address not in text


def test_hostile_names_are_text(pages):
    text = pages.text("/domain", q="hostile.example")
    assert "&lt;script&gt;alert(" in text


def test_without_features_the_history_is_shown_with_the_reason(pages):
    text = pages.text("/domain", q="untabled.example")
    assert "untabled.example is not in the table of" in text
    assert "192.0.2.90" in text


def test_without_a_table_the_history_is_shown_with_the_reason(pages, tmp_path):
    pages.behind.folder, folder = tmp_path, pages.behind.folder
    try:
        text = pages.text("/domain", q="example.com")
    finally:
        pages.behind.folder = folder
    assert "no table of domains was made yet; run dnsvigil domains cluster" in text
    assert "192.0.2.80" in text


def test_a_domain_nobody_asked_for_is_not_found(pages):
    text = pages.text("/domain", 404, q="nobody.example")
    assert "Nothing is known of this domain" in text
    assert "dnsdbq -r &#39;*.nobody.example.&#39;" in text


@pytest.mark.parametrize(
    ("query", "status", "expected"),
    [
        ({}, 400, "expected what the page is about"),
        ({"q": "a..b"}, 400, "is no domain name"),
        ({"q": "example.com", "sort": "rowid"}, 400, "sort: expected one of"),
        ({"q": "example.com", "page": "0"}, 400, "page: expected a number"),
        ({"q": "example.com", "x": "1"}, 400, "unknown parameter"),
    ],
)
def test_a_url_made_by_hand(pages, query, status, expected):
    assert expected in pages.text("/domain", status, **query)


def test_a_name_below_leads_to_its_domain(pages):
    response = pages.ask("/domain", q="www.example.com")
    assert (response.status_code, response.headers["Location"]) == (303, "domain?q=example.com")


def test_records_are_sorted_and_paged_by_the_server(pages):
    text = pages.text("/domain", q="example.com", sort="data", order="asc")
    assert 'aria-sort="ascending"' in text
    records = text[text.index('id="records"') :]
    assert in_order(records, ["mail.example.net", "192.0.2.80", "192.0.2.81"])
