"""The dashboard of the collector's own health: while something is wrong here, silence elsewhere proves nothing."""

from collections.abc import Iterator
from typing import Final

from common import COLLECTOR, Panel, board, graph, listing, number, texts, variable
from grafana_foundation_sdk.models.dashboard import Dashboard

SENSOR: Final = f'{COLLECTOR}, sensor=~"$sensor"'
SOURCE: Final = "{{instance}} {{source}}"
THERE: Final = f"0 * count(up{{{COLLECTOR}}})"
"""0 where Prometheus knows a collector, and nothing otherwise."""
OF_SENSOR: Final = "{{instance}} {{source}} {{sensor}}"


def running() -> Iterator[Panel]:
    """Does it run?"""
    yield number(
        "Collectors",
        "Whether Prometheus can scrape each collector.",
        "none",
        f"up{{{COLLECTOR}}}",
        "{{instance}}",
        ("red", None),
        ("green", 1),
        runbook="DnsvigilCollectorDown",
    ).mappings(texts(zero="down", one="up"))
    yield number(
        "Configuration",
        "Whether the newest configuration is in force.",
        "none",
        f"dnsvigil_config_last_reload_successful{{{COLLECTOR}}}",
        "{{instance}}",
        ("orange", None),
        ("green", 1),
        runbook="DnsvigilBadConfiguration",
    ).mappings(texts(zero="refused", one="in force"))
    yield number(
        "Alerts",
        "Firing alerts about the collector itself.",
        "none",
        'count(ALERTS{alertname=~"Dnsvigil(Collector|NoLogs|Ingestion|Batches|SetAside|Records|Skip|Store|Archive|Source'
        '|Bad|Log|Capture|Detector|List|Novel|FlowsMissing|Flow(Files|Sequence|Clock)).*", alertstate="firing"'
        f', job=~"$job"}}) + {THERE} or {THERE}',
        "firing",
        ("green", None),
        ("red", 1),
    )
    yield listing(
        "Folders that cannot be read",
        "Folders of the configuration from which nothing can be read. The collector's log has the reason.",
        f"dnsvigil_source_available{{{COLLECTOR}}} == 0",
        runbook="DnsvigilSourceUnavailable",
    )
    yield graph(
        "Time since the start",
        "Age of the collector's process. It drops when the process starts.",
        "s",
        (f"time() - process_start_time_seconds{{{COLLECTOR}}}", "{{instance}}"),
        runbook="DnsvigilCollectorRestarting",
    )


def reading() -> Iterator[Panel]:
    """Does it keep up?"""
    yield graph(
        "Age of the newest record",
        "Time since the newest record of each sensor.",
        "s",
        (f"time() - dnsvigil_last_event_timestamp_seconds{{{SENSOR}}}", OF_SENSOR),
        runbook="DnsvigilNoLogs",
    )
    yield graph(
        "Time since something was read",
        "Time since the collector read anything new of each sensor. Above a quarter of an hour, an alert fires.",
        "s",
        (f"time() - dnsvigil_source_last_read_timestamp_seconds{{{SENSOR}}}", OF_SENSOR),
        limit=900,
        runbook="DnsvigilNoLogs",
    )
    yield graph(
        "Behind",
        "Time since everything that a sensor had written was read.",
        "s",
        (f"dnsvigil_source_lag_seconds{{{SENSOR}}}", OF_SENSOR),
        limit=600,
        runbook="DnsvigilIngestionBehind",
    )
    yield graph(
        "Logs not read yet",
        "Bytes of log on disk that are still to be read.",
        "bytes",
        (f"dnsvigil_source_lag_bytes{{{SENSOR}}}", OF_SENSOR),
    )
    yield graph(
        "Records",
        "Records that go into the store.",
        "cps",
        (f"rate(dnsvigil_records_ingested_total{{{COLLECTOR}}}[$__rate_interval])", SOURCE),
        stacked=True,
    )
    yield graph(
        "Records skipped",
        "Share of the records that could not be used, by reason, over a quarter of an hour.",
        "percentunit",
        (
            f"source_reason:dnsvigil_records_skipped:ratio_rate15m{{{COLLECTOR}}} > 0",
            f"{SOURCE} {{{{reason}}}}",
        ),
        limit=0.01,
        runbook="DnsvigilRecordsSkipped",
    )


def sensing() -> Iterator[Panel]:
    """Do the sensors see everything?"""
    yield graph(
        "Packets dropped",
        "Share of the packets that a sensor of the Zeek package lost, over a quarter of an hour.",
        "percentunit",
        (f"sensor:dnsvigil_capture_packets_dropped:ratio_rate15m{{{SENSOR}}}", "{{instance}} {{sensor}}"),
        limit=0.01,
        runbook="DnsvigilCaptureLoss",
    )
    yield graph(
        "Responses without a query",
        "Share of the DNS responses to which a sensor saw no query: what was lost before it reached the sensor.",
        "percentunit",
        (f"sensor:dnsvigil_capture_unmatched_responses:ratio_rate15m{{{SENSOR}}}", "{{instance}} {{sensor}}"),
        limit=0.05,
        runbook="DnsvigilCaptureLoss",
    )
    yield graph(
        "Packets",
        "Packets that each sensor received.",
        "pps",
        (f"rate(dnsvigil_capture_packets_total{{{SENSOR}}}[15m])", "{{instance}} {{sensor}}"),
    )
    yield graph(
        "Faults in DNS messages",
        "Faults that Zeek found in DNS messages.",
        "cps",
        (f"rate(dnsvigil_capture_malformed_total{{{SENSOR}}}[15m])", "{{instance}} {{sensor}}"),
    )
    yield graph(
        "State dropped by sensors",
        "Entries that a part of the Zeek package refused or evicted, to stay within its bounds.",
        "cps",
        (
            f"rate(dnsvigil_capture_state_dropped_total{{{SENSOR}}}[15m])",
            "{{instance}} {{sensor}} {{part}}",
        ),
    )


def storing() -> Iterator[Panel]:
    """Is the store well?"""
    yield graph(
        "Size of the store",
        "Share of the bound that the store takes.",
        "percentunit",
        (
            f"dnsvigil_store_size_bytes{{{COLLECTOR}}} / dnsvigil_store_max_size_bytes",
            "{{instance}}",
        ),
        limit=0.95,
        runbook="DnsvigilStoreNearlyFull",
    )
    yield graph(
        "Time that the store covers",
        "Age of the oldest summary or record in the store.",
        "s",
        (f"time() - dnsvigil_store_oldest_minute_timestamp_seconds{{{COLLECTOR}}}", "{{instance}}"),
    )
    yield graph(
        "Rounds",
        "The median and the 95th percentile of the time that a round takes.",
        "s",
        *(
            (
                f"histogram_quantile({share}, sum by (instance, le) "
                f"(rate(dnsvigil_batch_duration_seconds_bucket{{{COLLECTOR}}}[$__rate_interval])))",
                f"{{{{instance}}}} {name}",
            )
            for share, name in ((0.5, "median"), (0.95, "95 %"))
        ),
    )
    yield graph(
        "Rounds that fail",
        "Rounds that could not be written to the store, in ten minutes. Each is tried again.",
        "none",
        (f"increase(dnsvigil_batch_failures_total{{{COLLECTOR}}}[10m])", "{{instance}}"),
        limit=1.5,
        runbook="DnsvigilBatchesFailing",
    )
    yield graph(
        "Set aside",
        "Inputs that are set aside now, having failed unexpectedly.",
        "none",
        (f"dnsvigil_set_aside_items{{{COLLECTOR}}}", "{{instance}} {{kind}}"),
        runbook="DnsvigilSetAside",
    )
    yield graph(
        "Files lost",
        "Files that disappeared before they were read to their end, in half an hour.",
        "none",
        (f"increase(dnsvigil_files_lost_total{{{COLLECTOR}}}[30m])", SOURCE),
        runbook="DnsvigilLogFilesLost",
    )
    yield graph(
        "Passive DNS",
        "Tuples in passive DNS.",
        "none",
        (f"dnsvigil_passive_dns_tuples{{{COLLECTOR}}}", "{{instance}}"),
    )
    yield graph(
        "Size of passive DNS and of the archive",
        "Bytes on disk beside the store.",
        "bytes",
        (f"dnsvigil_passive_dns_size_bytes{{{COLLECTOR}}}", "{{instance}} passive DNS"),
        (f"dnsvigil_archive_size_bytes{{{COLLECTOR}}}", "{{instance}} archive {{table}}"),
        runbook="DnsvigilArchiveFailing",
    )


def process() -> Iterator[Panel]:
    """What does it cost?"""
    yield graph(
        "CPU",
        "CPU time of the collector, in cores.",
        "none",
        (f"rate(process_cpu_seconds_total{{{COLLECTOR}}}[$__rate_interval])", "{{instance}}"),
    )
    yield graph(
        "Memory",
        "Resident memory of the collector.",
        "bytes",
        (f"process_resident_memory_bytes{{{COLLECTOR}}}", "{{instance}}"),
    )
    yield graph(
        "File descriptors",
        "File descriptors in use, as a share of the limit.",
        "percentunit",
        (f"process_open_fds{{{COLLECTOR}}} / process_max_fds", "{{instance}}"),
        limit=0.9,
    )


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return board(
        "collector",
        "health of the collector",
        "Does the collector run, keep up and see everything? While it does not, silence elsewhere proves nothing.",
        (running, reading, sensing, storing, process),
        variable(
            "sensor", "Sensor", f"label_values(dnsvigil_source_last_read_timestamp_seconds{{{COLLECTOR}}}, sensor)"
        ),
    )
