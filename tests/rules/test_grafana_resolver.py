"""The dashboard of the resolver exporter: each query asked of a real Prometheus that scrapes a real exporter."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from alerting import running
from exporters.resolver.exporting import Exporter, asking, watching
from exporters.running import eventually
from lab.resolvers import Dnsperf, Resolver, installed
from rules.dashboards import Prometheus, Target, check_legend, chosen_values, targets

BOARD = "resolver"
RULE_FILES = ("dnsvigil-resolver-recording.yml", "dnsvigil-resolver-alerts.yml", "dnsvigil-runbooks.yml")
TIME_SCALE = 1200
"""What the times of the rules are divided by, so that there is a limit from the last day after some seconds."""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    if not (shutil.which("prometheus") and installed("unbound") and shutil.which("dnsperf")):
        pytest.skip("needs prometheus, unbound and dnsperf")
    folder = tmp_path_factory.mktemp("grafana")
    with ExitStack() as stack:
        resolver = stack.enter_context(Resolver("unbound", folder / "unbound", workers=1))
        probe = asking(resolver) | {"identity": True}
        probe["questions"] = [question | {"server": "127.0.0.1"} for question in probe["questions"]]
        exporter = stack.enter_context(Exporter(folder / "exporter", watching(resolver, probe=probe)))
        port = exporter.address.rpartition(":")[2]
        server = Prometheus(folder, "dnsvigil-resolver", port, RULE_FILES, TIME_SCALE)
        stack.enter_context(running(server.command, folder / "prometheus.log"))
        stack.enter_context(Dnsperf(resolver, rate=200, seconds=300))

        def has_history() -> bool:
            try:
                return all(
                    len(server.query(name)) == 2
                    for name in (
                        "question:dnsvigil_resolver_probe_duration_seconds:limit1d",
                        "instance:dnsvigil_resolver_load:ratio_busy7d",
                    )
                )
            except OSError:
                return False

        eventually(has_history, 120)
        yield server


@pytest.fixture(scope="module")
def chosen(prometheus: Prometheus) -> dict[str, list[str]]:
    return prometheus.chosen(BOARD)


def test_variables_offer_what_there_is(chosen: dict[str, list[str]]) -> None:
    assert chosen["job"] == ["dnsvigil-resolver"]
    assert len(chosen["instance"]) == 2
    assert chosen["resolver"] == ["unbound"]
    assert chosen["runbooks"] and chosen["runbooks"][0].endswith("/runbooks")


@pytest.mark.parametrize("target", targets(BOARD), ids=lambda target: f"{target.title}, {target.letter}")
def test_every_query_returns_data(prometheus: Prometheus, chosen: dict[str, list[str]], target: Target) -> None:
    expression = target.expression
    skip_where_the_machine_has_no_such_thing(prometheus, expression)
    everything = {"job": "dnsvigil-resolver", "instance": ".*", "resolver": ".*"}
    result = eventually(lambda: prometheus.query(expression, **everything), 60)
    check_legend(target, result)
    if "$instance" in expression:
        one = everything | {"instance": chosen_values(chosen["instance"][:1])}
        found = eventually(lambda: prometheus.query(expression, **one), 20)
        assert {series["metric"].get("instance") for series in found} == {chosen["instance"][0]}
        assert prometheus.query(expression, **everything | {"instance": "nowhere"}) == []


def skip_where_the_machine_has_no_such_thing(prometheus: Prometheus, expression: str) -> None:
    """Skip a query about a part that the exporter says it has not got here."""
    words = {
        "conntrack": "conntrack",
        "softnet": "softnet",
        "disk_": "disk",
        "filesystem": "filesystem",
        "clock": "clock",
    }
    for word, part in words.items():
        if word in expression and prometheus.query(f'dnsvigil_resolver_part_available{{part="{part}"}} == 0'):
            pytest.skip(f"the exporter has no {part} on this machine")
