"""The Alertmanager example, held against amtool and the alerts that the Prometheus rules have."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "rules" / "alertmanager" / "alertmanager-example.yml"
CONFIG = yaml.safe_load(EXAMPLE.read_text())
ALERTS = {
    rule["alert"]: [rule["labels"]["severity"]] if "labels" in rule else ["warning", "critical"]  # a finding's own
    for path in sorted((ROOT / "rules/prometheus").glob("dnsvigil-*alerts.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}

needs_amtool = pytest.mark.skipif(
    shutil.which("amtool") is None, reason="amtool is missing; Debian has it in the package prometheus-alertmanager"
)


def amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["amtool", *arguments], capture_output=True, text=True, check=False)


def matching_alerts(matchers: list[str]) -> set[str]:
    """The alerts that all matchers take; they match on the name only."""
    names = set(ALERTS)
    for matcher in matchers:
        parts = re.fullmatch(r'alertname (=~|=|!=) "(.+)"', matcher)
        assert parts, matcher
        operator, value = parts.groups()
        common, _, rest = value.removesuffix(")").rpartition("(")
        for name in rest.split("|"):
            assert "." in name or common + name in ALERTS, f"there is no alert {common}{name}"
        matched = {name for name in ALERTS if re.fullmatch(value, name)}
        names = names - matched if operator == "!=" else names & matched
    return names


@needs_amtool
def test_example_is_valid() -> None:
    result = amtool("check-config", str(EXAMPLE))
    assert result.returncode == 0, result.stdout + result.stderr


@needs_amtool
@pytest.mark.parametrize(("name", "severity"), [(name, each) for name, found in ALERTS.items() for each in found])
def test_critical_alerts_go_to_the_pager_and_others_do_not(name: str, severity: str) -> None:
    receiver = {"critical": "pager", "warning": "operators"}[severity]
    labels = [f"alertname={name}", f"severity={severity}", "job=dnsvigil"]
    result = amtool("config", "routes", "test", f"--config.file={EXAMPLE}", f"--verify.receivers={receiver}", *labels)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_amtool
def test_critical_alerts_of_others_stay_where_they_were() -> None:
    labels = ["alertname=HostDown", "severity=critical"]
    result = amtool("config", "routes", "test", f"--config.file={EXAMPLE}", "--verify.receivers=operators", *labels)
    assert result.returncode == 0, result.stdout + result.stderr


def test_alerts_of_several_servers_are_one_message() -> None:
    (route,) = CONFIG["route"]["routes"]
    assert "server" not in route["group_by"]
    assert {"alertname", "dns_zone"} <= set(route["group_by"])


@pytest.mark.parametrize("rule", CONFIG["inhibit_rules"], ids=lambda rule: rule["source_matchers"][0].split('"')[1])
def test_inhibitions_name_alerts_that_exist(rule: dict[str, Any]) -> None:
    sources = matching_alerts(rule["source_matchers"])
    targets = matching_alerts(rule["target_matchers"])
    assert sources and targets and not sources & targets
    assert "job" in rule["equal"]


def test_a_zone_on_most_servers_mutes_its_servers() -> None:
    (rule,) = [
        rule
        for rule in CONFIG["inhibit_rules"]
        if matching_alerts(rule["source_matchers"]) == {"DnsvigilZoneFailingOnMostServers"}
    ]
    assert matching_alerts(rule["target_matchers"]) == {"DnsvigilZoneFailureRatio"}
    assert rule["equal"] == ["job", "dns_zone"]
