"""Open hosts of every kind in network namespaces, beside closed, authoritative and deliberately public ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import openresolver, sensor
from lab.namespaces import why_not
from lab.openresolver import ELSEWHERE, ELSEWHERE_FROM, OPEN, PROXY, RELAY


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> sensor.Logs:
    if reason := why_not(openresolver.TOOLS):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("openresolver")
    return sensor.run(openresolver.make(folder), folder / "zeek", openresolver.OPTIONS, "open-resolver.zeek")


def test_every_open_host_has_rows_and_no_other(logs: sensor.Logs) -> None:
    kinds = {(row["host"], row["kind"], row.get("answered_from", "")) for row in logs.rows("dnsvigil_open_resolver")}
    assert kinds == {
        (OPEN, "recursive", ""),
        # The sensor at the border does not see that it asks the open resolver.
        (PROXY, "recursive", ""),
        (ELSEWHERE, "forwarder", ELSEWHERE_FROM),
        (RELAY, "forwarder", OPEN),
    }


def test_rows_add_up(logs: sensor.Logs) -> None:
    expected = openresolver.QUESTIONS * len(openresolver.ASKERS)
    for host in (OPEN, PROXY, ELSEWHERE, RELAY):
        rows = [row for row in logs.rows("dnsvigil_open_resolver") if row["host"] == host]
        assert sum(row["queries"] for row in rows) == expected, host
        assert sum(row["responses"] for row in rows) == expected, host
        assert max(row["askers"] for row in rows) == len(openresolver.ASKERS), host
        # An answer is the question and one record more.
        assert sum(row["response_bytes"] for row in rows) > sum(row["query_bytes"] for row in rows) > 0, host
        assert {name for row in rows for name in row["sample_names"]} == {"h0.example.com", "h1.example.com"}, host


def test_every_open_host_is_one_notice(logs: sensor.Logs) -> None:
    assert sorted(logs.notices()) == sorted(
        [
            ("DNSVigil::Open_Resolver", OPEN),
            ("DNSVigil::Open_Resolver", PROXY),
            ("DNSVigil::Open_Forwarder", ELSEWHERE),
            ("DNSVigil::Open_Forwarder", RELAY),
        ]
    )


def test_public_resolver_is_open_where_it_is_not_named(logs: sensor.Logs, tmp_path: Path) -> None:
    options = dict(openresolver.OPTIONS)
    del options["DNSVigilOpenResolver::public_resolvers"]
    again = sensor.run(logs.folder.parent / "outside.pcap", tmp_path / "zeek", options, "open-resolver.zeek")
    assert ("DNSVigil::Open_Resolver", openresolver.PUBLIC) in again.notices()
