"""The Grafana dashboard, held against the code that makes it, Grafana's types, and a real Prometheus with its data."""

from __future__ import annotations

import itertools
import json
import re
import runpy
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerting import RULES, free_port, running, scaled
from exporters.resolver.exporting import Exporter, asking, watching
from exporters.running import eventually
from lab.resolvers import Dnsperf, Resolver, installed

DASHBOARD = RULES.parent / "grafana" / "resolver.json"
BOARD = json.loads(DASHBOARD.read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
VARIABLES = {each["name"]: each for each in BOARD["templating"]["list"]}

TIME_SCALE = 1200
"""What the times of the rules are divided by, so that there is a limit from the last day after some seconds."""
WINDOW = "4s"
"""The least range of the rules, and ``$__rate_interval``."""


def test_the_file_is_what_the_code_makes() -> None:
    sdk = pytest.importorskip(
        "grafana_foundation_sdk", reason="grafana-foundation-sdk is missing; it is in the extra dev"
    )
    assert sdk
    assert runpy.run_path(str(DASHBOARD.with_suffix(".py")))["text"]() == DASHBOARD.read_text(), "run `make dashboards`"


def test_the_file_has_nothing_that_grafanas_types_do_not_know() -> None:
    models = pytest.importorskip(
        "grafana_foundation_sdk.models.dashboard", reason="grafana-foundation-sdk is missing; it is in the extra dev"
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    read = models.Dashboard.from_json(BOARD)
    assert json.loads(JSONEncoder().encode(read)) == BOARD


def test_panels_lie_beside_and_below_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert cells and not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_panels_say_what_they_show() -> None:
    titles = [panel["title"] for panel in BOARD["panels"]]
    assert len(set(titles)) == len(titles)
    for panel in PANELS:
        assert panel["description"].endswith(".")
        assert panel["targets"]
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "$datasource"}


def test_dashboard_can_be_found_and_chosen_from() -> None:
    assert BOARD["uid"] == "dnsvigil-resolver"
    assert {"dnsvigil", "dns"} <= set(BOARD["tags"])
    assert list(VARIABLES) == ["datasource", "job", "instance", "resolver"]


def substituted(expression: str, values: Mapping[str, str]) -> str:
    """The expression as Grafana sends it, with the variables' values."""
    expression = expression.replace("$__rate_interval", WINDOW)
    for name, value in values.items():
        expression = re.sub(rf"\${name}\b", lambda _, value=value: value, expression)
    assert "$" not in expression
    return expression


class Prometheus:
    """A Prometheus with the rules, their times divided, that scrapes one exporter under two names."""

    def __init__(self, folder: Path, exporter: str) -> None:
        port = exporter.rpartition(":")[2]
        for name in ("dnsvigil-resolver-recording.yml", "dnsvigil-resolver-alerts.yml"):
            text = scaled((RULES / name).read_text(), TIME_SCALE)
            (folder / name).write_text(re.sub(r"\[1000ms\]", f"[{WINDOW}]", text))
        targets = [f"127.0.0.1:{port}", f"localhost:{port}"]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["dnsvigil-resolver-*.yml"],
            "scrape_configs": [{"job_name": "dnsvigil-resolver", "static_configs": [{"targets": targets}]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        own = f"127.0.0.1:{free_port()}"
        self._url = f"http://{own}/api/v1"
        self.command: list[str | Path] = [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/prometheus",
            f"--web.listen-address={own}",
        ]

    def ask(self, path: str, **parameters: str) -> Any:
        """What it answers; raises OSError while it does not, and where it does not understand."""
        with urllib.request.urlopen(f"{self._url}/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        return list(self.ask("query", query=expression)["result"])

    def values(self, query: str) -> list[str]:
        """What Grafana offers for a variable of the query ``label_values(selector, label)``."""
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert found, query
        return list(self.ask(f"label/{found[2]}/values", **{"match[]": found[1]}))


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
        server = Prometheus(folder, exporter.address)
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
    """The values that each variable offers, where all that there are have been chosen for the ones before."""
    found: dict[str, list[str]] = {}
    for name in ("job", "instance", "resolver"):
        values = {each: "|".join(map(re.escape, values)) for each, values in found.items()}
        values = {each: value.replace("\\", "\\\\") for each, value in values.items()}
        found[name] = prometheus.values(substituted(VARIABLES[name]["query"], values))
    return found


def test_variables_offer_what_there_is(chosen: dict[str, list[str]]) -> None:
    assert chosen["job"] == ["dnsvigil-resolver"]
    assert len(chosen["instance"]) == 2
    assert chosen["resolver"] == ["unbound"]


@pytest.mark.parametrize(("title", "target"), TARGETS, ids=[f"{title}, {target['refId']}" for title, target in TARGETS])
def test_every_query_returns_data(
    prometheus: Prometheus, chosen: dict[str, list[str]], title: str, target: dict[str, Any]
) -> None:
    skip_where_the_machine_has_no_such_thing(prometheus, target["expr"])
    everything = {"job": "dnsvigil-resolver", "instance": ".*", "resolver": ".*"}
    result = eventually(lambda: prometheus.query(substituted(target["expr"], everything)), 20)
    if legend := target.get("legendFormat"):
        shown = [re.sub(r"{{(\w+)}}", lambda label, of=series["metric"]: of[label[1]], legend) for series in result]
        assert len(set(shown)) == len(shown), "series that cannot be told apart"
    if "$instance" in target["expr"]:
        one = everything | {"instance": re.escape(chosen["instance"][0]).replace("\\", "\\\\")}
        found = eventually(lambda: prometheus.query(substituted(target["expr"], one)), 20)
        assert {series["metric"].get("instance") for series in found} == {chosen["instance"][0]}
        nowhere = everything | {"instance": "nowhere"}
        assert prometheus.query(substituted(target["expr"], nowhere)) == []


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


def test_queries_use_recorded_series_and_metrics_that_there_are() -> None:
    recorded = {
        rule["record"]
        for group in yaml.safe_load((RULES / "dnsvigil-resolver-recording.yml").read_text())["groups"]
        for rule in group["rules"]
    }
    for title, target in TARGETS:
        assert set(re.findall(r"\b\w+:\w+:\w+\b", target["expr"])) <= recorded, title
