"""The Grafana dashboards, held against the code that makes them, Grafana's types, and each other."""

from __future__ import annotations

import itertools
import json
import re
import runpy
from typing import Any

import pytest
import yaml

from alerting import RULES
from dnsvigil.web.page import KINDS
from dnsvigil.web.routes import PAGES
from rules.dashboards import BOARDS, FOLDER, panels, targets, variables

RUNBOOKS = RULES.parents[1] / "docs" / "runbooks"
MISSING = "grafana-foundation-sdk is missing; it is in the extra dev"

each_board = pytest.mark.parametrize("board", BOARDS)


def test_the_files_are_what_the_code_makes() -> None:
    assert pytest.importorskip("grafana_foundation_sdk", reason=MISSING)
    made = runpy.run_path(str(FOLDER))["contents"]()
    assert made == {path.name: path.read_text() for path in FOLDER.glob("*.json")}, "run `make dashboards`"


@each_board
def test_a_file_has_nothing_that_grafanas_types_do_not_know(board: str) -> None:
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason=MISSING)
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    read = models.Dashboard.from_json(BOARDS[board])
    assert json.loads(JSONEncoder().encode(read)) == BOARDS[board]


@each_board
def test_panels_lie_beside_and_below_each_other(board: str) -> None:
    taken: set[tuple[int, int]] = set()
    everything = BOARDS[board]["panels"]
    for panel in everything:
        place = panel["gridPos"]
        cells = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert cells and not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in everything]
    assert len(set(ids)) == len(ids)


@each_board
def test_panels_say_what_they_show(board: str) -> None:
    titles = [panel["title"] for panel in BOARDS[board]["panels"]]
    assert len(set(titles)) == len(titles)
    for panel in panels(board):
        assert panel["description"].endswith(".")
        assert panel["targets"]
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "$datasource"}


@each_board
def test_a_dashboard_can_be_found_and_chosen_from(board: str) -> None:
    found = BOARDS[board]
    assert found["uid"] == f"dnsvigil-{board}"
    assert {"dnsvigil", "dns"} <= set(found["tags"])
    names = list(variables(board))
    assert names[:3] == ["datasource", "job", "instance"] and names[-2:] == ["runbooks", "collector"]
    text = json.dumps(found)
    used = set(re.findall(r"\$(\w+)|\$\{(\w+)\}", text))
    assert {a or b for a, b in used} <= {*names, "__all", "__rate_interval", "__data"}
    assert all(f"${name}" in text or f"${{{name}}}" in text for name in names), "a variable without use"


@each_board
def test_links_lead_to_the_others_to_pages_and_to_runbooks_that_there_are(board: str) -> None:
    links = {each["title"]: each for each in BOARDS[board]["links"]}
    assert links["Dashboards"]["type"] == "dashboards" and links["Dashboards"]["tags"] == ["dnsvigil"]
    of_pages = [each["url"].removeprefix("${collector}") for each in links.values() if "${collector}" in each["url"]]
    assert of_pages == ["/", "/findings", "/flows"] and set(of_pages) <= {page.path for page in PAGES}
    urls = [link["url"] for panel in panels(board) for link in panel.get("links", [])]
    for url in urls:
        assert url.startswith("${runbooks}/")
        assert (RUNBOOKS / f"{url.removeprefix('${runbooks}/')}.md").is_file(), url
    assert urls or board == "resolver"


def test_values_in_tables_are_looked_up_as_kinds_that_have_pages() -> None:
    found = re.findall(r"\$\{collector\}(/[^?\"]*)\?q=(\w*)", json.dumps(BOARDS))
    assert {path for path, _ in found} == {"/lookup"} <= {page.path for page in PAGES}
    assert {"zone", "server", "domain", ""} == {kind for _, kind in found} <= {*KINDS, ""}


def test_uids_differ() -> None:
    assert len({each["uid"] for each in BOARDS.values()}) == len(BOARDS) == 5


@each_board
def test_queries_use_recorded_series_that_there_are(board: str) -> None:
    groups = [group for path in RULES.glob("dnsvigil-*.yml") for group in yaml.safe_load(path.read_text())["groups"]]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    for target in targets(board):
        assert set(re.findall(r"\b\w+:\w+:\w+\b", target.expression)) <= recorded, target.title


def provisioned(kind: str) -> dict[str, Any]:
    (path,) = (FOLDER / "provisioning" / kind).glob("*.yaml")
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    assert found["apiVersion"] == 1
    return found


def test_what_is_provisioned_is_where_the_package_puts_it() -> None:
    installed = (RULES.parents[1] / "packaging" / "debian" / "dnsvigil-rules.install").read_text().split()
    (provider,) = provisioned("dashboards")["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"].removeprefix("/") in installed
    (source,) = provisioned("datasources")["datasources"]
    assert source["type"] == "prometheus" and source["url"] == "http://127.0.0.1:9090"
