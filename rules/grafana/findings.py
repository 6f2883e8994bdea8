"""The dashboard of findings and detectors: what was found, and whether anything could be."""

from collections.abc import Iterator
from typing import Final

from common import COLLECTOR, Panel, board, graph, heat_map, listing, number, texts, variable
from grafana_foundation_sdk.models.dashboard import Dashboard

DETECTOR: Final = f'{COLLECTOR}, detector=~"$detector"'
FINDING: Final = f'{DETECTOR}, severity=~"$severity"'
LIST: Final = "{{instance}} {{list}}"
NAME: Final = "{{instance}} {{detector}}"


def found() -> Iterator[Panel]:
    """What was found?"""
    for severity, colour in (("critical", "red"), ("warning", "orange")):
        yield number(
            f"Open findings: {severity}",
            f"Open findings of severity {severity}. No data: no collector is scraped.",
            "none",
            f'sum(dnsvigil_findings{{{DETECTOR}, severity="{severity}"}})'
            f" or 0 * count(dnsvigil_build_info{{{COLLECTOR}}})",
            severity,
            ("green", None),
            (colour, 1),
            runbook="DnsvigilCriticalFindingsOpen" if severity == "critical" else "DnsvigilFindingsOpen",
        )
    yield number(
        "Detectors that could not look",
        "Detectors that fail, lack input or have evaluated nothing: that they find nothing proves nothing.",
        "none",
        f"""count(
            dnsvigil_detector_up{{{DETECTOR}}} == 0
          or
            sum without (input) (dnsvigil_detector_lacking{{{DETECTOR}}})
          or
            dnsvigil_detector_up{{{DETECTOR}}} unless dnsvigil_detector_last_run_timestamp_seconds
        ) or 0 * count(dnsvigil_detector_up{{{DETECTOR}}})""",
        "detectors",
        ("green", None),
        ("red", 1),
        runbook="DnsvigilDetectorLacking",
    )
    yield listing(
        "Worst open findings",
        "The worst open findings, of up to a hundred, each with its most significant domain.",
        f"sort_desc(dnsvigil_finding_score{{{FINDING}}})",
        value="score",
        unit="percentunit",
        subject="${__data.fields.subject:percentencode}",
        domain="domain:${__data.fields.domain:percentencode}",
    )
    yield graph(
        "Open findings",
        "Open findings by detector and severity.",
        "none",
        (f"sum by (detector, severity) (dnsvigil_findings{{{FINDING}}})", "{{detector}} {{severity}}"),
        stacked=True,
    )
    yield graph(
        "Highest scores",
        "The ten highest scores of the last runs, too low for a finding or not.",
        "percentunit",
        (f"topk(10, dnsvigil_anomaly_score{{{DETECTOR}}})", "{{instance}} {{detector}} {{subject_type}} {{subject}}"),
        limit=0.5,
    )
    yield heat_map(
        "Scores",
        "How many subjects had which score. A subject counts in each run.",
        "percentunit",
        f"sum by (le) (rate(dnsvigil_anomaly_scores_bucket{{{DETECTOR}}}[$__rate_interval]))",
    )
    yield graph(
        "Findings that are not there",
        "Findings that were suppressed, being like dismissed ones, and those dropped by the bound of the store.",
        "cps",
        (
            f"sum by (detector) (rate(dnsvigil_findings_suppressed_total{{{DETECTOR}}}[$__rate_interval]))",
            "suppressed: {{detector}}",
        ),
        (
            f"sum by (state) (rate(dnsvigil_findings_dropped_total{{{COLLECTOR}}}[$__rate_interval]))",
            "dropped: {{state}}",
        ),
    )


def working() -> Iterator[Panel]:
    """Do the detectors work?"""
    yield number(
        "Detectors",
        "Whether each detector works without problems.",
        "none",
        f"dnsvigil_detector_up{{{DETECTOR}}}",
        NAME,
        ("red", None),
        ("green", 1),
        runbook="DnsvigilDetectorFailing",
    ).mappings(texts(zero="failing", one="up"))
    yield number(
        "Learning",
        "Whether a detector still learns what is usual, so that its scores mean less.",
        "none",
        f"dnsvigil_detector_learning{{{DETECTOR}}}",
        NAME,
        ("green", None),
        ("orange", 1),
    ).mappings(texts(zero="no", one="learning"))
    yield number(
        "Behind the newest query",
        "Event time between the newest query and the last evaluation.",
        "s",
        f"detector:dnsvigil_detector_last_run_timestamp_seconds:lag{{{DETECTOR}}}",
        NAME,
        ("green", None),
        ("red", 7200),
        runbook="DnsvigilDetectorSilent",
    )
    yield listing(
        "What is wrong, missing or not there",
        "Problems of detectors, input that they lack, and what they work without.",
        f"dnsvigil_detector_problem{{{DETECTOR}}} or dnsvigil_detector_lacking{{{DETECTOR}}}"
        f" or dnsvigil_detector_limit{{{DETECTOR}}}",
        runbook="DnsvigilDetectorLacking",
    )
    yield graph(
        "Runs that fail",
        "Share of each detector's runs that fail, over a quarter of an hour.",
        "percentunit",
        (f"detector:dnsvigil_detector_failures:ratio_rate15m{{{DETECTOR}}}", NAME),
        runbook="DnsvigilDetectorFailing",
    )
    yield graph(
        "Time of runs",
        "Share of the time in which a detector runs. Ingestion waits meanwhile.",
        "percentunit",
        (f"rate(dnsvigil_detector_run_seconds_total{{{DETECTOR}}}[$__rate_interval])", NAME),
        stacked=True,
    )
    yield graph(
        "Input",
        "Rows of each table at the last run of a detector.",
        "none",
        (f"dnsvigil_detector_input_rows{{{DETECTOR}}}", f"{NAME} {{{{input}}}}"),
    )
    yield graph(
        "Names scored",
        "Names that a model scores.",
        "cps",
        (f"rate(dnsvigil_names_scored_total{{{DETECTOR}}}[$__rate_interval])", NAME),
    )


def knowing() -> Iterator[Panel]:
    """What do they know?"""
    yield graph(
        "Age of models",
        "Time since the model in use was made.",
        "s",
        (f"detector:dnsvigil_model_timestamp_seconds:age{{{DETECTOR}}}", NAME),
        runbook="DnsvigilModelOutdated",
    )
    yield graph(
        "Age of lists",
        "Time since each list last changed.",
        "s",
        (f"list:dnsvigil_list_timestamp_seconds:age{{{COLLECTOR}}}", LIST),
        runbook="DnsvigilListOutdated",
    )
    yield graph(
        "Lists",
        "Names of each list that are in use, and the share of its lines that could not be used.",
        "none",
        (f"dnsvigil_list_names{{{COLLECTOR}}}", LIST),
        (f"100 * list:dnsvigil_list_skipped_lines:ratio{{{COLLECTOR}}}", f"{LIST}: % skipped"),
        runbook="DnsvigilListFailing",
    )
    yield graph(
        "Novel traffic",
        "Rows of novel traffic in the store, of which the detectors evaluate one day.",
        "none",
        (f"dnsvigil_novel_rows{{{COLLECTOR}}}", "{{instance}}"),
    )
    yield graph(
        "Novel traffic dropped",
        "Novel traffic that found no room, by reason. What is dropped cannot be found.",
        "cps",
        (
            f"sum by (instance, reason) (rate(dnsvigil_novel_dropped_total{{{COLLECTOR}}}[$__rate_interval]))",
            "{{instance}} {{reason}}",
        ),
        runbook="DnsvigilNovelTrafficDropped",
    )
    yield graph(
        "Signs of poisoning",
        "What sensors upstream of the resolvers count, by signal.",
        "cps",
        (
            f"sum by (signal) (rate(dnsvigil_poisoning_signals_total{{{COLLECTOR}}}[$__rate_interval]))",
            "{{signal}}",
        ),
        runbook="DnsvigilPoisoning",
    )


def dashboard() -> Dashboard:
    """Return the dashboard."""
    detectors = f"{{__name__=~'dnsvigil_findings|dnsvigil_detector_up', {COLLECTOR}}}"
    return board(
        "findings",
        "findings and detectors",
        "What was found, and could the detectors look?",
        (found, working, knowing),
        variable("detector", "Detector", f"label_values({detectors}, detector)"),
        variable("severity", "Severity", f"label_values(dnsvigil_findings{{{COLLECTOR}}}, severity)"),
    )
