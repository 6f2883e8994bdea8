"""Servers are given names over a store that is there: nothing is lost, and nothing counted twice."""

from pathlib import Path

import pytest

from dnsvigil.cli.main import main
from dnsvigil.config.collector import Config, Servers
from dnsvigil.store.store import FILE_NAME
from exporters.running import Samples, sample, samples, write_config
from exporters.store.test_zones import OTHER_SERVER, SERVER, collecting, lines, servers_of

THIRD = "192.0.2.54"
ADDRESSES = (SERVER, OTHER_SERVER, THIRD)
BATCH = [line for n, address in enumerate(ADDRESSES, 1) for line in lines({"a.com": n}, id_resp_h=address, rcode="2")]


def by_server(found: Samples, name: str) -> dict[str, float]:
    """The sum of a metric by server."""
    sums: dict[str, float] = {}
    for (metric, labels), value in found.items():
        if metric == name and value:
            server = dict(labels)["server"]
            sums[server] = sums.get(server, 0) + value
    return sums


NAMED = servers_of(THIRD, cache1=[SERVER, OTHER_SERVER])


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([Servers(), NAMED], {"cache1": 2 * 3, THIRD: 2 * 3}, id="shown by address, then named"),
        pytest.param([servers_of(*ADDRESSES), NAMED], {"cache1": 6, THIRD: 6}, id="configured by address, then named"),
        pytest.param([NAMED, NAMED], {"cache1": 6, THIRD: 6}, id="the same again"),
        pytest.param(
            [NAMED, servers_of(THIRD, resolver1=[OTHER_SERVER, SERVER])], {"resolver1": 6, THIRD: 6}, id="another name"
        ),
        pytest.param(
            [servers_of(SERVER, OTHER_SERVER, lone=[THIRD]), servers_of(*ADDRESSES)],
            {SERVER: 2, OTHER_SERVER: 4, THIRD: 6},
            id="a name of one address, then none",
        ),
        pytest.param(
            [servers_of(SERVER, OTHER_SERVER, lone=[THIRD]), servers_of(all=[*ADDRESSES])], {"all": 12}, id="joined"
        ),
    ],
)
def test_counts_go_on_under_the_new_name(tmp_path: Path, steps: list[Servers], expected: dict[str, float]) -> None:
    for servers in steps:
        with collecting(tmp_path, Config(servers=servers)) as one:
            one.take(*BATCH)
            found = one.metrics
    for name in (
        "dnsvigil_zone_queries_total",
        "dnsvigil_zone_failures_total",
        "dnsvigil_queries_total",
        "dnsvigil_responses_total",
        "dnsvigil_response_duration_seconds_count",
    ):
        assert by_server(found, name) == expected
    for server, count in expected.items():
        total = found[sample("dnsvigil_response_duration_seconds_sum", server=server)]
        assert total == pytest.approx(count * 0.0125)


def test_a_series_that_is_there_does_not_jump_when_its_server_gets_an_address(tmp_path: Path) -> None:
    """Prometheus would take the jump for queries, which it has counted already under the address."""
    with collecting(tmp_path, Config(servers=servers_of(THIRD, OTHER_SERVER, cache1=[SERVER]))) as one:
        one.take(*BATCH)
    with collecting(tmp_path, Config(servers=NAMED)) as one:
        assert by_server(one.metrics, "dnsvigil_queries_total") == {"cache1": 1, THIRD: 3}
        one.take(*BATCH)
        assert by_server(one.metrics, "dnsvigil_queries_total") == {"cache1": 1 + 3, THIRD: 6}


def test_clients_of_the_last_minutes_are_those_of_the_name(tmp_path: Path) -> None:
    with collecting(tmp_path, Config()) as one:
        one.take(*BATCH)
    with collecting(tmp_path, Config(servers=NAMED)) as one:
        assert by_server(one.metrics, "dnsvigil_clients") == {"cache1": 1, THIRD: 1}


def test_a_store_that_is_only_read_has_the_new_names_and_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with collecting(tmp_path / "state", Config()) as one:
        one.take(*BATCH)
    config = write_config(
        tmp_path, servers={"configured": [{"name": "cache1", "addresses": [SERVER, OTHER_SERVER]}, THIRD]}
    )
    before = (tmp_path / "state" / FILE_NAME).read_bytes()
    for _ in range(2):
        assert main(["-c", str(config), "--state", str(tmp_path / "state"), "metrics"]) == 0
        assert by_server(samples(capsys.readouterr().out), "dnsvigil_queries_total") == {"cache1": 3, THIRD: 3}
    assert (tmp_path / "state" / FILE_NAME).read_bytes() == before
