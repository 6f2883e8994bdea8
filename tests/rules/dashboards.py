"""The Grafana dashboards, and a Prometheus that answers their queries as Grafana sends them."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from alerting import RULES, free_port, scaled

FOLDER = RULES.parent / "grafana"
BOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
WINDOW = 4
"""Seconds of the least range of the rules, and of ``$__rate_interval``."""


class Target(NamedTuple):
    """One query of a panel, a variable, or an annotation."""

    board: str
    title: str
    letter: str
    expression: str
    legend: str


def panels(board: str) -> list[dict[str, Any]]:
    """The panels of a dashboard, without its rows."""
    return [panel for panel in BOARDS[board]["panels"] if panel["type"] != "row"]


def targets(board: str) -> list[Target]:
    """The queries of a dashboard's panels."""
    return [
        Target(board, panel["title"], target["refId"], target["expr"], target.get("legendFormat") or "")
        for panel in panels(board)
        for target in panel["targets"]
    ]


def variables(board: str) -> dict[str, dict[str, Any]]:
    """The variables of a dashboard, by name."""
    return {each["name"]: each for each in BOARDS[board]["templating"]["list"]}


def substituted(expression: str, values: Mapping[str, str], scale: float) -> str:
    """The expression as Grafana sends it, with the variables' values; its times are divided as those of the rules."""
    expression = expression.replace("$__rate_interval", f"{WINDOW}s")
    for name, value in values.items():
        expression = re.sub(rf"\${name}\b", lambda _, value=value: value, expression)
    assert "$" not in expression
    return re.sub(r"(?<=\[)\d+[mhd](?=\])|(?<=offset )\d+m", lambda found: _shorter(found[0], scale), expression)


def _shorter(duration: str, scale: float) -> str:
    seconds = int(duration[:-1]) * {"m": 60, "h": 3600, "d": 86400}[duration[-1]] / scale
    return f"{max(int(seconds), WINDOW)}s"


class Prometheus:
    """A Prometheus with rules, their times divided, that scrapes one exporter under two names."""

    def __init__(self, folder: Path, job: str, port: int | str, rules: Sequence[str], scale: float) -> None:
        for name in rules:
            text = scaled((RULES / name).read_text(), scale)
            short = re.sub(r"(?<=\[)(\d+)ms\]", lambda found: f"{max(int(found[1]), 1000 * WINDOW)}ms]", text)
            (folder / name).write_text(short)
        targets = [f"127.0.0.1:{port}", f"localhost:{port}"]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [*rules],
            "scrape_configs": [{"job_name": job, "static_configs": [{"targets": targets}]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        own = f"127.0.0.1:{free_port()}"
        self._url = f"http://{own}/api/v1"
        self._scale = scale
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

    def query(self, expression: str, **values: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        return list(self.ask("query", query=substituted(expression, values, self._scale))["result"])

    def over(self, expression: str, begin: float, end: float) -> list[dict[str, Any]]:
        """The result of a query at each second of a span."""
        query = substituted(expression, {}, self._scale)
        return list(self.ask("query_range", query=query, start=str(begin), end=str(end), step="1")["result"])

    def values(self, query: str, **values: str) -> list[str]:
        """What Grafana offers for a variable of the query ``label_values(selector, label)``."""
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert found, query
        selector = substituted(found[1], values, self._scale)
        return list(self.ask(f"label/{found[2]}/values", **{"match[]": selector}))

    def chosen(self, board: str) -> dict[str, list[str]]:
        """The values that each variable offers, where all that there are have been chosen for the ones before."""
        found: dict[str, list[str]] = {}
        for name, each in variables(board).items():
            if each["type"] == "query":
                before = {name: chosen_values(values) for name, values in found.items()}
                found[name] = self.values(each["query"], **before)
        return found


def chosen_values(values: Sequence[str]) -> str:
    """What Grafana puts in the place of a variable where these values are chosen."""
    return "|".join(map(re.escape, values)).replace("\\", "\\\\")


def check_legend(target: Target, result: Sequence[Mapping[str, Any]]) -> None:
    """Fail where the legend has the same text for two series."""
    if target.legend:
        shown = [
            re.sub(r"{{(\w+)}}", lambda label, of=each["metric"]: of.get(label[1], ""), target.legend)
            for each in result
        ]
        assert len(set(shown)) == len(shown), f"series that cannot be told apart: {shown}"
