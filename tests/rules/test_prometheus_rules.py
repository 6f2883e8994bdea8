"""The Prometheus rules, held against promtool, their unit tests and their runbooks."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "rules" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
# Series that do not end with the exporter, and a range over five minutes.
NOT_KEPT = {"DnsvigilCollectorDown", "DnsvigilResolverExporterDown", "DnsvigilResolverRestarted"}
RUNBOOKS_URL = '{{ range query "url:dnsvigil_runbooks:info" }}{{ .Labels.url }}{{ end }}'
SECTIONS = ["Meaning", "Impact", "First questions", "Likely causes", "What to do", "False alarms", "Tuning"]

RULE_FILES = sorted(RULES.glob("dnsvigil-*.yml"))
UNIT_TESTS = {path: yaml.safe_load(path.read_text()) for path in sorted((RULES / "tests").glob("*.yml"))}
GROUPS = [group for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"]]
ENTRIES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in ENTRIES if "alert" in rule}
RECORDS = {rule["record"] for rule in ENTRIES if "record" in rule}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing; Debian has it in the package prometheus"
)


# Read here, as pytest changes os.environ while threads run. Left alone, promtool spends a sixth of its time on garbage.
_ENVIRONMENT = os.environ | {"GOGC": "400"}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, env=_ENVIRONMENT)


def alert_tests(name: str) -> list[dict[str, Any]]:
    """The unit tests' cases for an alert."""
    return [
        case
        for content in UNIT_TESTS.values()
        for test in content["tests"]
        for case in test.get("alert_rule_test", [])
        if case["alertname"] == name
    ]


@needs_promtool
def test_rules_are_valid() -> None:
    result = promtool("check", "rules", *RULE_FILES)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
def test_example_configuration_is_valid_and_loads_the_rules() -> None:
    result = promtool("check", "config", RULES / "prometheus-example.yml")
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(RULE_FILES)} rule files found" in result.stdout


Mistake = tuple[str, str, str, str]
Outcome = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Path | Mistake, Future[Outcome]]]:
    """What promtool says to each ``case`` of the tests that were selected; it has all CPUs for them."""
    selected = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    cases = dict.fromkeys(params["case"] for params in selected if "case" in params)
    pool = ThreadPoolExecutor(os.cpu_count())
    yield {
        case: pool.submit(promtool, "test", "rules", case)
        if isinstance(case, Path)
        else pool.submit(make, case, tmp_path_factory.mktemp("mistake"))
        for case in cases
    }
    pool.shutdown(cancel_futures=True)


@needs_promtool
@pytest.mark.parametrize("case", UNIT_TESTS, ids=lambda path: path.stem)
def test_unit_tests(case: Path, outcomes: dict[Path | Mistake, Future[Outcome]]) -> None:
    result = outcomes[case].result()
    assert result.returncode == 0, result.stdout + result.stderr


OTHERS = 'detector!~"malware|tunnel|flood|honeypot|fast_flux|open_resolver|poisoning|spam|sweep|fan_out"'
MISTAKES = [
    # the start of a unit test's name, the file, and the mistake in it that this test is to notice
    ("of two zones", "alerts", "for: 3m", "for: 12m"),
    ("of two zones", "alerts", "zone_failing:ratio_rate5m", "zone_failures:ratio_rate5m"),
    ("a ratio that is above", "alerts", "for: 3m", "for: 0m"),
    ("of two zones", "recording", "sum without (reason) (", "max without (reason) ("),
    ("below the least", "recording", "last_over_time(dnsvigil_zone_failure_ratio_min_queries[5m])", "0 * {}"),
    ("every zone of every", "recording", "last_over_time(dnsvigil_zone_failure_ratio_threshold[5m])", "0 * {} + 0.1"),
    ("NXDOMAIN is", "recording", "dnsvigil_zone_failures_total", "dnsvigil_zone_nxdomain_total"),
    ("a counter that starts", "recording", "increase(dnsvigil_zone_failures", "delta(dnsvigil_zone_failures"),
    ("the zones beyond", "recording", 'server!="other"', 'server!="none"'),
    ("the zones beyond", "recording", 'server!="other"', 'server!="other", dns_zone!="other"'),
    ("a zone that fails on three", "alerts", "zone_failing:ratio_rate2m_or_5m", "zone_failing:ratio_rate5m"),
    ("a zone that fails on three", "alerts", "keep_firing_for: 5m", "keep_firing_for: 0s"),
    ("a zone that fails on three", "alerts", '"DnsvigilZoneFailingOnMostServers"', '"None"'),
    ("the IPv4 and the IPv6", "alerts", '"server", ".*:.*"', '"server", "none"'),
    ("the IPv4 and the IPv6", "alerts", ") >= 2\n", ") >= 1\n"),
    ("two resolvers with", "alerts", ") >= 2\n", ") >= 3\n"),
    ("a zone that fails over IPv6", "alerts", "0.5 * count by", "0.3 * count by"),
    ("two of five", "alerts", "0.5 * count by", "0.3 * count by"),
    ("servers with few", "recording", "last_over_time(dnsvigil_zone_failure_ratio_min_queries[5m])", "0 * {}"),
    ("one server that two", "alerts", "group by (job, dns_zone, server)", "group by (job, dns_zone, instance)"),
    ("when the wider alert ends", "alerts", "keep_firing_for: 5m", "keep_firing_for: 2h"),
    ("a server on which three", "alerts", '"DnsvigilServerFailing"', '"None"'),
    ("two of three", "alerts", ") >= 3", ") >= 1"),
    ("three of six", "alerts", "0.5 * count without", "0.4 * count without"),
    ("after two hours", "recording", "quantile_over_time(0.5", "2 * quantile_over_time(0.5"),
    ("after two hours", "recording", "[6h] offset 15m", "[30m] offset 15m"),
    ("a server that has never", "recording", "0 * server:dnsvigil_responses:increase5m", "vector(1) < 0"),
    ("in the first hour", "recording", "[5h] offset 1h", "[5h] offset 1s"),
    ("less than five points", "recording", "0.05\n", "0.01\n"),
    ("less than five points", "recording", ">= 500", ">= 1"),
    ("where the share", "recording", "6 * (", "0 * ("),
    ("failures of a zone", "recording", "sum without (dns_zone, reason) (", "0 * sum without (dns_zone, reason) ("),
    ("failures of a zone", "recording", 'increase5m{reason="servfail"}', "increase5m"),
    ("on a server that fails", "alerts", '"DnsvigilServerFailing"', '"None"'),
    ("the peak of every", "alerts", "<= server_rcode:dnsvigil_unexplained:limit7d", "< 0"),
    ("the peak of every", "recording", "quantile without (day) (0.5", "quantile without (day) (1"),
    ("no collector", "alerts", ' or absent(up{job="dnsvigil"})', ""),
    ("a collector that cannot", "alerts", "for: 3m", "for: 0m"),
    ("logs that stop", "alerts", "dnsvigil_source_last_read_", "dnsvigil_last_event_"),
    ("logs that stop", "alerts", "dnsvigil_source_lag_seconds > 600\n", "dnsvigil_source_lag_seconds > 9999\n"),
    ("a collector that has never", "alerts", 'up{job="dnsvigil"} == 1', 'up{job="dnsvigil"} == 2'),
    ("batches that fail", "alerts", "> 1.5", "> 0.5"),
    ("skipped records", "recording", ">= 1000", ">= 1"),
    ("skipped records", "alerts", "<= 10 * avg_over_time", "< 0 * avg_over_time"),
    ("a reason that appears", "alerts", "> 0.001", "> 0.01"),
    ("a store that grows", "alerts", "> 0.95", "> 0.9"),
    ("log files", "alerts", "dnsvigil_files_lost_total[30m]", "dnsvigil_files_lost_total[2h]"),
    ("a tap that loses", "alerts", "packets_dropped:ratio_rate15m > 0.01", "packets_dropped:ratio_rate15m > 0.005"),
    (
        "a tap that loses",
        "alerts",
        "unmatched_responses:ratio_rate15m > 0.05",
        "unmatched_responses:ratio_rate15m > 0.03",
    ),
    ("a tap that loses", "alerts", "for: 10m", "for: 0m"),
    ("a tap that loses", "recording", ">= 10000", ">= 1000"),
    ("a tap that loses", "recording", "responses_total[15m]) >= 1000", "responses_total[15m]) >= 100"),
    ("a mirror port", "alerts", "unmatched_responses:ratio_rate15m > 0.05", "unmatched_responses:ratio_rate15m > 0.1"),
    ("a failing zone's", "alerts", 'firing\\", job=%q, instance=%q}', 'firing\\", job=%q}'),
    ("a resolver host", "resolver-alerts", "for: 3m", "for: 0m"),
    ("no resolver host", "resolver-alerts", ' or absent(up{job="dnsvigil-resolver"})', ""),
    ("a resolver that dies", "resolver-alerts", '"DnsvigilResolverDown"', '"None"'),
    ("a resolver that dies", "resolver-alerts", '"DnsvigilResolverDown|DnsvigilResolverProbeFailing"', '"None"'),
    ("a resolver that dies", "resolver-alerts", "keep_firing_for: 5m", "keep_firing_for: 0s"),
    ("a resolver that dies", "resolver-alerts", "dnsvigil_resolver_up[1h]) == 0", "dnsvigil_resolver_up[1h]) < 0"),
    ("a resolver that is stopped", "resolver-alerts", "processes_stopped > 0", "processes_stopped > 1"),
    ("a host on which", "resolver-alerts", 'part="processes"} == 0', 'part="processes"} < 0'),
    ("a resolver that hangs", "resolver-alerts", "|DnsvigilResolverProbeFailing", "|None"),
    ("a resolver that hangs", "resolver-recording", "probe_success[2m]", "probe_success[20m]"),
    ("one of three", "resolver-alerts", "ratio_avg2m > 0.5", "ratio_avg2m > 0.3"),
    ("one of three", "resolver-alerts", "ratio_avg5m > 0.25", "ratio_avg5m > 0.15"),
    ("a probe that loses", "resolver-alerts", "ratio_avg5m > 0.25", "ratio_avg5m > 0.5"),
    ("a restart, a restart", "resolver-alerts", "resets(", "changes("),
    ("a restart, a restart", "resolver-alerts", ":age[5m]) < 900", ":age[5m]) < 9000"),
    ("a restart, a restart", "resolver-alerts", ":age[20m]) > 0", ":age[20m]) >= 0"),
    ("a resolver that dies", "resolver-alerts", 'alertstate="firing"}[20m]', 'alertstate="firing"}[1m]'),
    ("a resolver that crashes", "resolver-alerts", "> 2 * max_over_time", "> 0.5 * max_over_time"),
    ("a resolver that crashes", "resolver-alerts", "max_over_time(dnsvigil_resolver_processes[1h])", "1"),
    ("a resolver that crashes", "resolver-alerts", "|DnsvigilResolverRestarting", "|None"),
    ("exporters with", "resolver-alerts", "|conntrack", ""),
    ("exporters with", "resolver-alerts", "io|", ""),
    ("exporters with", "resolver-alerts", "[15m]", "[4m]"),
    ("exporters with", "resolver-alerts", "collector_success == 0", "collector_success < 0"),
    ("a probe that takes", "resolver-recording", "+ 0.05", "+ 0.01"),
    ("a probe that takes", "resolver-recording", "[1d] offset 30m", "[30m]"),
    ("without an hour", "resolver-recording", "offset 1h", "offset 1s"),
    ("durations that", "resolver-recording", "quantile_over_time(0.25", "quantile_over_time(0.5"),
    ("durations that", "resolver-recording", "_count[5m]) > 0", "_count[5m]) >= 0"),
    ("one of five nodes", "resolver-recording", ">= 50", ">= 5"),
    ("one of five nodes", "resolver-recording", "[7d:5m]", "[30m:5m]"),
    ("one of five nodes", "resolver-alerts", "busy7d < 0.02", "busy7d < 0.2"),
    ("one of five nodes", "resolver-alerts", "busy7d > 0.1", "busy7d > 0"),
    ("an hour's flood", "resolver-recording", "quantile_over_time(0.9", "quantile_over_time(1"),
    ("without the host", "resolver-recording", ">= 0.05", ">= 5"),
    ("without the host", "resolver-recording", "unless", "and"),
    ("file descriptors", "resolver-alerts", "> 0.9\n        for: 2m", "> 0.9\n        for: 0m"),
    ("file descriptors", "resolver-alerts", "fds_ratio > 0.9", "fds_ratio >= 0.89"),
    ("memory at", "resolver-alerts", "ratio_limit > 0.75", "ratio_limit > 0.1"),
    ("memory at", "resolver-alerts", "4 * 3600", "1 * 3600"),
    ("memory at", "resolver-alerts", "offset 1h", "offset 1s"),
    ("memory at", "resolver-alerts", "ratio_limit > 0.9", "ratio_limit > 0.99"),
    ("memory at", "resolver-alerts", '"DnsvigilResolverMemoryNearLimit"', '"None"'),
    ("drops on", "resolver-alerts", "rate2m > 1", "rate2m > 0.4"),
    ("drops on", "resolver-recording", "rate(dnsvigil_resolver_udp_drops", "delta(dnsvigil_resolver_udp_drops"),
    ("drops on", "resolver-alerts", "receive_buffer_errors:rate2m > 1", "receive_buffer_errors:rate2m > 100"),
    ("drops on", "resolver-alerts", "for: 3m", "for: 1m"),
    ("drops on", "resolver-alerts", "|DnsvigilResolverUdpDrops", "|None"),
    ("a receive queue", "resolver-alerts", "ratio_min2m) > 0.1", "ratio_min2m) > 0.05"),
    ("a receive queue", "resolver-recording", "min_over_time", "max_over_time"),
    ("accept queues", "resolver-alerts", "ratio_limit) > 0.9", "ratio_limit) > 1.1"),
    ("accept queues", "resolver-alerts", "[2m]) > 1", "[2m]) > 0.1"),
    ("accept queues", "resolver-recording", "accept_queue_limit > 0", "accept_queue_limit >= 0"),
    ("one of two CPUs", "resolver-alerts", "max without (cpu) (cpu:", "avg without (cpu) (cpu:"),
    ("one of two CPUs", "resolver-alerts", '"DnsvigilResolverSoftirqHigh"', '"None"'),
    ("packets dropped", "resolver-alerts", "[5m])) > 1\n", "[5m])) > 0.1\n"),
    ("packets dropped", "resolver-alerts", "[5m])) > 10\n", "[5m])) > 5\n"),
    ("packets dropped", "resolver-alerts", "max without (cpu) (rate", "sum without (cpu) (rate"),
    ("a connection", "resolver-alerts", "ratio_limit > 0.8", "ratio_limit > 0.7"),
    ("a connection", "resolver-recording", "conntrack_limit > 0", "conntrack_limit >= 0"),
    ("file systems", "resolver-alerts", "ratio_size < 0.25", "ratio_size < 0.5"),
    ("file systems", "resolver-alerts", "24 * 3600", "2 * 3600"),
    ("file systems", "resolver-alerts", "offset 5h", "offset 1s"),
    ("file systems", "resolver-alerts", "ratio_files < 0.05", "ratio_files < 0.005"),
    ("file systems", "resolver-recording", "filesystem_files > 0", "filesystem_files >= 0"),
    ("a clock that nothing", "resolver-alerts", "for: 15m", "for: 5m"),
    ("logs that stop", "alerts", '{source!="netflow"}', ""),
    ("findings that", "alerts", 'severity="critical", ', ""),
    ("findings that", "alerts", 'severity="warning", ', 'severity=~"warning|info", '),
    (
        "findings that",
        "alerts",
        f'severity="critical", {OTHERS}',
        'severity="critical"',
    ),
    (
        "findings that",
        "alerts",
        f'severity="warning", {OTHERS}',
        'severity="warning"',
    ),
    ("infected clients", "detection-alerts", "max without (domain)", "max without ()"),
    ("infected clients", "detection-alerts", 'subject_type="client", severity!="info"', 'subject_type="client"'),
    ("infected clients", "detection-alerts", 'subject_type!="client", severity!="info"', 'severity!="info"'),
    ("infected clients", "detection-alerts", 'subject_type!="client", severity!="info"', 'subject_type!="client"'),
    ("infected clients", "detection-alerts", 'detector="tunnel", severity!="info"', 'severity!="info"'),
    ("infected clients", "detection-alerts", "keep_firing_for: 10m", "keep_firing_for: 0s"),
    ("infected clients", "detection-alerts", "keep_firing_for: 10m", "keep_firing_for: 1h"),
    ("a detector that has", "detection-alerts", "dnsvigil_detector_up == 0", "dnsvigil_detector_up < 0"),
    ("a detector that has", "detection-alerts", "rate15m > 0.1", "rate15m > 0.3"),
    ("a detector that has", "detection-alerts", "rate15m > 0.1", "rate15m > 0.01"),
    ("a detector that has", "detection-alerts", "for: 5m", "for: 0m"),
    ("a detector that has", "detection-alerts", '"DnsvigilDetectorFailing"', '"None"'),
    ("a detector that has", "detection-recording", "runs_total[15m]) > 0", "runs_total[15m]) >= 0"),
    ("a detector that evaluates", "detection-alerts", "lag > 7200", "lag > 3000"),
    ("a detector that evaluates", "detection-alerts", "ingested_total{source", "ingested_total{nothing"),
    ("a detector that evaluates", "detection-alerts", "[30m]) > 0\n", "[30m]) >= 0\n"),
    ("a detector that evaluates", "detection-alerts", "for: 15m", "for: 1m"),
    ("a detector that evaluates", "detection-recording", '{source="zeek"}', ""),
    (
        "a detector that evaluates",
        "detection-recording",
        "max without (source, sensor)",
        "min without (source, sensor)",
    ),
    ("a model that is old", "detection-alerts", "365 * 86400", "350 * 86400"),
    ("a model that is old", "detection-alerts", "365 * 86400", "370 * 86400"),
    ("a model that is old", "detection-alerts", 'runs_total{detector="malware"}', "runs_total"),
    ("a model that is old", "detection-alerts", '{detector="malware"} > 0', '{detector="malware"} >= 0'),
    ("a model that is old", "detection-alerts", "for: 15m", "for: 5m"),
    ("input that a detector", "detection-alerts", "dnsvigil_detector_lacking == 1", "dnsvigil_detector_lacking == 0"),
    ("input that a detector", "detection-alerts", "for: 1h\n        keep_firing_for: 5m", "for: 10m"),
    ("a list that is old", "detection-alerts", "30 * 86400", "28 * 86400"),
    ("a list that is old", "detection-alerts", "30 * 86400", "31 * 86400"),
    ("novel traffic", "detection-alerts", '{reason!="flood"}', ""),
    ("novel traffic", "detection-alerts", '{reason!="flood"}[30m]', '{reason!="flood"}[2h]'),
    ("novel traffic", "detection-alerts", '{reason!="flood"}[30m]) > 0', '{reason!="flood"}[30m]) > 1000'),
    ("a list that cannot", "detection-alerts", "dnsvigil_list_up == 0", "dnsvigil_list_up < 0"),
    ("a list that cannot", "detection-alerts", "ratio > 0.5", "ratio > 0.4"),
    ("a list that cannot", "detection-alerts", "ratio > 0.5", "ratio > 0.8"),
    ("a list that cannot", "detection-alerts", "for: 10m", "for: 5m"),
    ("a list that cannot", "detection-recording", "sum without (reason)", "max without (reason)"),
    ("an exporter whose files", "flow-alerts", "age > 900", "age > 1800"),
    ("an exporter whose files", "flow-alerts", "dnsvigil_flow_files_total\n", "vector(1)\n"),
    ("an exporter whose files", "flow-alerts", "and on (job, instance, exporter)\n", "or\n"),
    ("an exporter whose files", "flow-alerts", "sum[15m]) == 0", "sum[5m]) == 0"),
    ("an exporter whose files", "flow-alerts", "sum[15m]) == 0", "sum[15m]) < 0"),
    ("an exporter whose files", "flow-alerts", "sum offset 15m", "sum"),
    ("an exporter whose files", "flow-recording", "sum without (protocol, service)", "min without (protocol, service)"),
    ("an exporter whose files", "flow-recording", '{source="netflow"}', ""),
    ("flow files that", "flow-alerts", 'total{result="damaged"}[15m]', 'total{result="damaged"}[1h]'),
    ("flow files that", "flow-alerts", 'flow_files_total{result="damaged"}', "flow_files_total"),
    ("exports that", "flow-alerts", "[30m]) > 10", "[30m]) > 5"),
    ("exports that", "flow-alerts", "[30m]) > 10", "[30m]) > 30"),
    ("exports that", "flow-alerts", "[30m]) >= 3", "[30m]) >= 2"),
    ("a clock that is ahead", "flow-alerts", "offset_seconds > 60", "offset_seconds >= 60"),
    ("a clock that is ahead", "flow-alerts", "offset_seconds < -60", "offset_seconds <= -60"),
    ("a clock that is ahead", "flow-alerts", "for: 15m", "for: 5m"),
    ("a clock that is ahead", "flow-alerts", '"DnsvigilFlowsMissing"', '"None"'),
    ("a spike in four", "flow-alerts", "dnsvigil_flow_anomaly == 1", "dnsvigil_flow_anomaly >= 0"),
    ("a spike in four", "flow-alerts", "count without (protocol, service, measure)", "count without (measure)"),
    ("a spike in four", "flow-alerts", "topk(3, abs(", "bottomk(3, abs("),
    ("a spike in four", "flow-alerts", "keep_firing_for: 15m", "keep_firing_for: 30m"),
    ("a series that falls", "flow-alerts", "keep_firing_for: 15m", "keep_firing_for: 0s"),
    ("a verdict that stands", "flow-alerts", "age < 900", "age < 90000"),
    ("an exporter without", "flow-alerts", '"DnsvigilFlowsMissing"', '"None"'),
    ("a spike of one resolver", "flow-alerts", 'resolver!="other"', 'resolver!=""'),
    ("a spike of one resolver", "flow-alerts", 'service=~"dns|dot"', 'service="dns"'),
    (
        "a spike of one resolver",
        "flow-alerts",
        "and on (job, instance, exporter, anomaly)",
        "and on (job, instance, anomaly)",
    ),
    ("a spike of one resolver", "flow-alerts", "count without (exporter, measure)", "count without (measure)"),
    ("a threshold", "flow-alerts", 'anomaly!="threshold"', 'anomaly!=""'),
    ("a spike of one", "flow-alerts", "service_measure:dnsvigil_flow_anomaly:current", "dnsvigil_flow_anomaly"),
    ("a resolver that leaves", "flow-recording", 'packets_total{protocol="udp", ', "packets_total{"),
    ("a resolver that leaves", "flow-recording", "0.1\n", "0.05\n"),
    ("a resolver that leaves", "flow-recording", "+ 2 * quantile", "+ 0 * quantile"),
    ("a resolver that leaves", "flow-recording", ">= 1000", ">= 500"),
    ("a resolver that leaves", "flow-recording", 'resolver!="other"', 'resolver!=""'),
    ("a resolver that leaves", "flow-recording", "[1d] offset 30m", "[30m]"),
    ("a resolver without", "flow-recording", "offset 1h", "offset 1s"),
    ("where the logs", "flow-alerts", '"DnsvigilServerFailing"', '"None"'),
    ("a host that answers", "flow-alerts", "bytes15m > 5", "bytes15m >= 5"),
    ("a host that answers", "flow-alerts", "bytes15m > 5", "bytes15m > 20"),
    ("a host that answers", "flow-alerts", "max without (exporter) (exporter_host", "(exporter_host"),
    ("a host that answers", "flow-recording", ">= 300", ">= 299"),
    ("a collector that crashes", "alerts", "[30m]) > 3", "[30m]) > 2"),
    ("a collector that crashes", "alerts", "[30m]) > 3", "[30m]) > 5"),
    ("a resolver exporter that crashes", "resolver-alerts", "[30m]) > 3", "[30m]) > 2"),
    ("a resolver exporter that crashes", "resolver-alerts", "[30m]) > 3", "[30m]) > 5"),
    ("runbook links", "runbooks", "2 * up", "up"),
    (
        "a resolver that no",
        "resolver-alerts",
        "last_over_time(dnsvigil_resolver_up[1h]) == 0",
        "dnsvigil_resolver_up == 0",
    ),
    ("a collector that restarts three", "alerts", "keep_firing_for: 5m", "keep_firing_for: 30s"),
    ("a collector that restarts three", "detection-alerts", "keep_firing_for: 5m", "keep_firing_for: 30s"),
    ("a collector that restarts three", "flow-alerts", "keep_firing_for: 5m", "keep_firing_for: 30s"),
    (
        "a collector that restarts three",
        "recording",
        "last_over_time(dnsvigil_zone_failure_ratio_threshold[5m])",
        "dnsvigil_zone_failure_ratio_threshold",
    ),
    ("a collector that restarts while", "alerts", "keep_firing_for: 15m", "keep_firing_for: 5m"),
    (
        "what was set aside long",
        "alerts",
        "present_over_time(dnsvigil_set_aside_total[1d] offset 1h)",
        "dnsvigil_set_aside_total offset 1h",
    ),
    ("a collector that stays down", "alerts", "keep_firing_for: 5m", "keep_firing_for: 10m"),
    ("resolver exporters that restart", "resolver-alerts", "keep_firing_for: 5m", "keep_firing_for: 30s"),
    (
        "resolver exporters that restart",
        "resolver-alerts",
        "last_over_time(resolver:dnsvigil_resolver_start_time_seconds:age[5m])",
        "resolver:dnsvigil_resolver_start_time_seconds:age",
    ),
    ("runbook links", "runbooks", "max by (url)", "max by (job, url)"),
    ("a host that answers", "flow-recording", "query_bytes[15m]) > 0", "query_bytes[15m]) >= 0"),
]


def one_unit_test(start_of_name: str) -> str:
    """The file with the unit test whose name starts so, and with no other."""
    (found,) = [
        content | {"tests": [test]}
        for content in UNIT_TESTS.values()
        for test in content["tests"]
        if test["name"].startswith(start_of_name)
    ]
    return yaml.safe_dump(found)


def make(mistake: Mistake, folder: Path) -> Outcome:
    """Return what promtool says to the unit test that is to notice the mistake; ``folder`` is for the rules with it."""
    test, file, old, new = mistake
    for path in RULE_FILES:
        shutil.copy(path, folder)
    (folder / "tests").mkdir()
    unit_test = folder / "tests" / "one.yml"
    unit_test.write_text(one_unit_test(test))
    rules = folder / f"dnsvigil-{file}.yml"
    text = rules.read_text()
    assert old in text
    rules.write_text(text.replace(old, new.replace("{}", old)))
    return promtool("test", "rules", unit_test)


@needs_promtool
@pytest.mark.parametrize("case", MISTAKES, ids="-".join)
def test_unit_tests_notice_mistakes(case: Mistake, outcomes: dict[Path | Mistake, Future[Outcome]]) -> None:
    result = outcomes[case].result()
    # "exp:" is what it says of an expectation that fails; rules that are not valid would say something else.
    assert result.returncode == 1 and "exp:" in result.stdout + result.stderr


@pytest.mark.parametrize("name", ALERTS)
class TestAlert:
    def test_says_what_an_operator_needs(self, name: str) -> None:
        alert = ALERTS[name]
        assert name.startswith("Dnsvigil")
        if "labels" in alert:
            assert alert["labels"] in ({"severity": "warning"}, {"severity": "critical"})
        else:  # that of the finding, which may be too little for an alert
            assert re.search(r'dnsvigil_finding_score{.*severity!="info"', alert["expr"])
        annotations = alert["annotations"]
        assert set(annotations) == {"summary", "description", "runbook_url"}
        assert "{{" not in annotations["summary"] and annotations["summary"].endswith(".")
        assert "{{" in annotations["description"]

    def test_goes_on_while_the_exporter_restarts(self, name: str) -> None:
        kept = ALERTS[name].get("keep_firing_for", "0m")
        assert (int(kept.removesuffix("m")) >= 5) == (name not in NOT_KEPT)

    def test_has_a_runbook(self, name: str) -> None:
        assert ALERTS[name]["annotations"]["runbook_url"] == f"{RUNBOOKS_URL}/{name}"
        text = (RUNBOOKS / f"{name}.md").read_text()
        assert text.startswith(f"# {name}\n")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS

    def test_has_unit_tests_that_fire_it_and_that_do_not(self, name: str) -> None:
        fires = {bool(case["exp_alerts"]) for case in alert_tests(name)}
        assert fires == {True, False}

    def test_is_in_the_list_of_alerts(self, name: str) -> None:
        severity = ALERTS[name].get("labels", {}).get("severity", "the finding's")
        assert f"| [{name}](../../docs/runbooks/{name}.md) | {severity} | " in (RULES / "README.md").read_text()


def test_every_runbook_has_its_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == set(ALERTS)


def test_rules_build_on_recorded_series_only() -> None:
    for rule in ENTRIES:
        used = set(re.findall(r"\b\w+:\w+:\w+\b", str(rule["expr"])))
        assert used <= RECORDS, rule


@needs_promtool
@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_queries_of_runbooks_are_valid(path: Path, tmp_path: Path) -> None:
    queries = re.findall(r"^```promql\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    assert queries
    for query in queries:
        assert set(re.findall(r"\b\w+:\w+:\w+\b", query)) <= RECORDS
    groups = {"groups": [{"name": "queries", "rules": [{"record": "query", "expr": query} for query in queries]}]}
    rules = tmp_path / "queries.yml"
    rules.write_text(yaml.safe_dump(groups))
    result = promtool("check", "rules", "--lint=none", rules)
    assert result.returncode == 0, result.stdout + result.stderr
