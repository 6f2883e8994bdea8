"""Makes resolver.json, the Grafana dashboard of the resolver exporter: ``make dashboards``.

Rows are the questions that an operator asks, in the order in which they are asked. A panel has one query or several,
and a legend for each. Thresholds are those of the alerts in ../prometheus.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import QueryVariable
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

OUTPUT: Final = Path(__file__).with_suffix(".json")
HOST: Final = 'job=~"$job", instance=~"$instance"'
RESOLVER: Final = f'{HOST}, resolver=~"$resolver"'
QUESTION: Final = "{{instance}} {{dns_name}} {{qtype}} {{protocol}}"

_DATASOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="$datasource")
_WIDTH: Final = 8  # three panels in a line


def queries(*pairs: tuple[str, str]) -> Iterator[prometheus.Dataquery]:
    """Yield the queries of a panel from pairs of expression and legend."""
    for letter, (expression, legend) in zip("ABCDEFGH", pairs, strict=False):
        query = prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend)
        yield query.datasource(_DATASOURCE).range()


def graph(
    title: str, meaning: str, unit: str, *pairs: tuple[str, str], limit: float | None = None, stacked: bool = False
) -> timeseries.Panel:
    """Return a graph over time; ``limit`` is drawn as a line, ``unit`` is one of Grafana's."""
    panel = timeseries.Panel().title(title).description(meaning).datasource(_DATASOURCE).unit(unit).min(0)
    panel = panel.span(_WIDTH).height(8).targets(list(queries(*pairs))).fill_opacity(30 if stacked else 5)
    panel = panel.show_points(kinds.VisibilityMode.NEVER)
    tooltip = common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI).sort(kinds.SortOrder.DESCENDING)
    panel = panel.tooltip(tooltip)
    legend = common.VizLegendOptions().show_legend(True).display_mode(kinds.LegendDisplayMode.LIST)
    panel = panel.legend(legend.placement(kinds.LegendPlacement.BOTTOM))
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL))
    if limit is not None:
        panel = panel.thresholds(steps(("transparent", None), ("red", limit)))
        panel = panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(kinds.GraphTresholdsStyleMode.LINE))
    return panel


def number(
    title: str, meaning: str, unit: str, expression: str, legend: str, *colours: tuple[str, float | None]
) -> stat.Panel:
    """Return the newest values as numbers, in colours from their thresholds."""
    panel = stat.Panel().title(title).description(meaning).datasource(_DATASOURCE).unit(unit).span(_WIDTH).height(5)
    panel = panel.targets(list(queries((expression, legend)))).thresholds(steps(*colours))
    panel = panel.graph_mode(kinds.BigValueGraphMode.NONE).color_mode(kinds.BigValueColorMode.BACKGROUND)
    return panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def steps(*pairs: tuple[str, float | None]) -> dashboard.ThresholdsConfig:
    """Return thresholds from pairs of colour and the value from which it holds; None for the lowest."""
    colours = [models.Threshold(color=colour, value=value) for colour, value in pairs]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(colours)


def texts(**values: str) -> list[models.ValueMapping]:
    """Return what to show in the place of 0 and 1."""
    options = {{"zero": "0", "one": "1"}[name]: models.ValueMappingResult(text=text) for name, text in values.items()}
    return [models.ValueMap(options=options)]


def variable(name: str, label: str, query: str, *, several: bool) -> QueryVariable:
    """Return a variable whose values Prometheus knows."""
    found = QueryVariable(name).label(label).datasource(_DATASOURCE).query(query)
    found = found.sort(models.VariableSort.ALPHABETICAL_ASC).refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    if several:
        everything = models.VariableOption(selected=True, text="All", value="$__all")
        found = found.multi(True).include_all(True).all_value(".*").current(everything)
    return found


def serving() -> Iterator[timeseries.Panel | stat.Panel]:
    """Does the resolver serve?"""
    yield number(
        "Resolvers",
        "Whether a process of the resolver is running.",
        "none",
        f"dnsvigil_resolver_up{{{RESOLVER}}}",
        "{{instance}} {{resolver}}",
        ("red", None),
        ("green", 1),
    ).mappings(texts(zero="down", one="up"))
    yield number(
        "Probes that succeed",
        "Share of successful probes of each server, over two minutes.",
        "percentunit",
        f"1 - server:dnsvigil_resolver_probe_failures:ratio_avg2m{{{HOST}}}",
        "{{instance}} {{server}}",
        ("red", None),
        ("orange", 0.5),
        ("green", 0.75),
    )
    yield number(
        "Alerts",
        "Firing alerts of the resolver exporter.",
        "none",
        'count(ALERTS{alertname=~"DnsvigilResolver.+", alertstate="firing", job=~"$job"}) or vector(0)',
        "firing",
        ("green", None),
        ("red", 1),
    )
    yield graph(
        "Questions that fail",
        "Share of failed probes of each question, over five minutes. Above a quarter, an alert fires.",
        "percentunit",
        (f"question:dnsvigil_resolver_probe_failures:ratio_avg5m{{{HOST}}}", QUESTION),
        limit=0.25,
    )
    yield graph(
        "Why probes fail",
        "Failed probes by reason.",
        "ops",
        (
            f"sum by (instance, reason) (rate(dnsvigil_resolver_probe_failures_total{{{HOST}}}[$__rate_interval]))",
            "{{instance}} {{reason}}",
        ),
        stacked=True,
    )
    yield graph(
        "Response times",
        "Mean response time of each question over five minutes, and the limit above which it counts as slow.",
        "s",
        (f"question:dnsvigil_resolver_probe_duration_seconds:mean5m{{{HOST}}}", QUESTION),
        (f"question:dnsvigil_resolver_probe_duration_seconds:limit1d{{{HOST}}}", f"limit: {QUESTION}"),
    )
    yield graph(
        "Slowest responses",
        "The 95th percentile of all probes of a host.",
        "s",
        (
            "histogram_quantile(0.95, sum by (instance, le) "
            f"(rate(dnsvigil_resolver_probe_duration_seconds_bucket{{{HOST}}}[$__rate_interval])))",
            "{{instance}}",
        ),
    )
    yield graph(
        "Datagrams",
        "UDP datagrams that the host receives and sends: queries and responses of clients, and of other servers.",
        "pps",
        (
            f"sum by (instance) (rate(dnsvigil_resolver_host_udp_in_datagrams_total{{{HOST}}}[$__rate_interval]))",
            "{{instance}} in",
        ),
        (
            f"sum by (instance) (rate(dnsvigil_resolver_host_udp_out_datagrams_total{{{HOST}}}[$__rate_interval]))",
            "{{instance}} out",
        ),
    )
    yield graph(
        "Time since the start",
        "Age of each resolver's newest process. It drops when a process starts.",
        "s",
        (f"resolver:dnsvigil_resolver_start_time_seconds:age{{{RESOLVER}}}", "{{instance}} {{resolver}}"),
    )


def processor() -> Iterator[timeseries.Panel]:
    """Is the CPU the bottleneck?"""
    yield graph(
        "CPU of the resolver",
        "CPU time in cores. One thread uses at most one core.",
        "none",
        (
            "sum by (instance, resolver, mode) "
            f"(rate(dnsvigil_resolver_cpu_seconds_total{{{RESOLVER}}}[$__rate_interval]))",
            "{{instance}} {{resolver}} {{mode}}",
        ),
    )
    yield graph(
        "CPU of the host",
        "Share of the time of all CPUs, by mode.",
        "percentunit",
        (
            "avg by (instance, mode) "
            f'(rate(dnsvigil_resolver_host_cpu_seconds_total{{{HOST}, mode!="idle"}}[$__rate_interval]))',
            "{{instance}} {{mode}}",
        ),
        stacked=True,
    )
    yield graph(
        "Interrupts, the busiest CPUs",
        "Share of a CPU's time in interrupts, nearly all for packets. One overloaded CPU is enough to lose packets.",
        "percentunit",
        (
            f"topk by (instance) (4, cpu:dnsvigil_resolver_host_softirq:ratio_rate2m{{{HOST}}})",
            "{{instance}} CPU {{cpu}}",
        ),
        limit=0.8,
    )
    yield graph(
        "Context switches",
        "Voluntary: the resolver waits for work. Involuntary: another program gets the CPU.",
        "ops",
        (
            "sum by (instance, resolver, type) "
            f"(rate(dnsvigil_resolver_context_switches_total{{{RESOLVER}}}[$__rate_interval]))",
            "{{instance}} {{resolver}} {{type}}",
        ),
    )
    yield graph(
        "Load",
        "Processes that run or wait for a CPU or a disk, averaged over a minute.",
        "none",
        (f"dnsvigil_resolver_host_load1{{{HOST}}}", "{{instance}}"),
    )
    yield graph(
        "Processes and threads",
        "Processes and threads of each resolver, and processes stopped by a signal or a debugger.",
        "none",
        (f"dnsvigil_resolver_processes{{{RESOLVER}}}", "{{instance}} {{resolver}} processes"),
        (f"dnsvigil_resolver_threads{{{RESOLVER}}}", "{{instance}} {{resolver}} threads"),
        (f"dnsvigil_resolver_processes_stopped{{{RESOLVER}}}", "{{instance}} {{resolver}} stopped"),
    )


def memory() -> Iterator[timeseries.Panel]:
    """Are memory or file descriptors the bottleneck?"""
    yield graph(
        "Memory of the resolver",
        "Resident memory, and the lowest limit: the control group's, the process's or the machine's.",
        "bytes",
        (f"dnsvigil_resolver_resident_memory_bytes{{{RESOLVER}}}", "{{instance}} {{resolver}}"),
        (f"dnsvigil_resolver_memory_limit_bytes{{{RESOLVER}}}", "limit: {{instance}} {{resolver}}"),
    )
    yield graph(
        "Memory of the host",
        "Share of the memory that is available to programs. Below 5 %, an alert fires.",
        "percentunit",
        (
            f"dnsvigil_resolver_host_memory_available_bytes{{{HOST}}} / dnsvigil_resolver_host_memory_total_bytes",
            "{{instance}}",
        ),
    )
    yield graph(
        "Swapping",
        "Page faults of the resolver that waited for a disk, and swap space in use.",
        "none",
        (
            f"rate(dnsvigil_resolver_major_page_faults_total{{{RESOLVER}}}[$__rate_interval])",
            "{{instance}} {{resolver}} faults/s",
        ),
        (
            f"(dnsvigil_resolver_host_swap_total_bytes{{{HOST}}} - dnsvigil_resolver_host_swap_free_bytes) / 1048576",
            "{{instance}} MiB of swap",
        ),
    )
    yield graph(
        "File descriptors",
        "File descriptors in use, as a share of the limit, of the process nearest to it.",
        "percentunit",
        (f"dnsvigil_resolver_fds_ratio{{{RESOLVER}}}", "{{instance}} {{resolver}}"),
        limit=0.9,
    )
    yield graph(
        "Open files and sockets",
        "File descriptors of each resolver, and its limit.",
        "none",
        (f"dnsvigil_resolver_open_fds{{{RESOLVER}}}", "{{instance}} {{resolver}}"),
        (f"dnsvigil_resolver_max_fds{{{RESOLVER}}}", "limit: {{instance}} {{resolver}}"),
    )
    yield graph(
        "Ephemeral ports",
        "Share of the ephemeral port range in use. Unbound and others also use ports outside this range.",
        "percentunit",
        (
            f"dnsvigil_resolver_ephemeral_ports_used{{{HOST}}} / on (job, instance) group_left () "
            "dnsvigil_resolver_ephemeral_ports",
            "{{instance}} {{protocol}} {{family}}",
        ),
    )


def sockets() -> Iterator[timeseries.Panel]:
    """Are queues full, or queries dropped?"""
    yield graph(
        "Queries dropped",
        "Datagrams dropped because a listening socket's receive buffer was full.",
        "pps",
        (f"address_port:dnsvigil_resolver_udp_drops:rate2m{{{HOST}}}", "{{instance}} {{address}} port {{port}}"),
        limit=1,
    )
    yield graph(
        "The fullest receive queue",
        "Fill level of the fullest UDP receive buffer, and its minimum over two minutes.",
        "percentunit",
        (
            f'dnsvigil_resolver_socket_receive_queue_max_bytes{{{HOST}, protocol="udp"}} '
            "/ dnsvigil_resolver_socket_receive_buffer_bytes",
            "{{instance}} {{family}} port {{port}}",
        ),
        (
            f"family_port:dnsvigil_resolver_udp_receive_queue:ratio_min2m{{{HOST}}}",
            "standing: {{instance}} {{family}} port {{port}}",
        ),
        limit=0.1,
    )
    yield graph(
        "UDP errors of the host",
        "Full receive and send buffers of all sockets, datagrams to closed ports, and damaged datagrams.",
        "pps",
        (f"instance:dnsvigil_resolver_host_udp_receive_buffer_errors:rate2m{{{HOST}}}", "{{instance}} receive buffer"),
        *(
            (
                f"sum by (instance) (rate(dnsvigil_resolver_host_udp_{name}_total{{{HOST}}}[$__rate_interval]))",
                f"{{{{instance}}}} {text}",
            )
            for name, text in (("send_buffer_errors", "send buffer"), ("no_ports", "no port"), ("in_errors", "in"))
        ),
    )
    yield graph(
        "Accept queues",
        "Fill level of the queues of TCP connections that the resolver has not accepted yet.",
        "percentunit",
        (
            f"address_port:dnsvigil_resolver_accept_queue:ratio_limit{{{HOST}}}",
            "{{instance}} {{address}} port {{port}}",
        ),
        limit=0.9,
    )
    yield graph(
        "TCP connections refused by full queues",
        "Connections to all programs on the host.",
        "cps",
        *(
            (
                f"rate(dnsvigil_resolver_host_tcp_listen_{kind}_total{{{HOST}}}[$__rate_interval])",
                f"{{{{instance}}}} {kind}",
            )
            for kind in ("overflows", "drops")
        ),
    )
    yield graph(
        "Sockets by state",
        "Sockets on the ports that serve DNS.",
        "none",
        (
            f"sum by (instance, protocol, state) (dnsvigil_resolver_sockets{{{HOST}}})",
            "{{instance}} {{protocol}} {{state}}",
        ),
    )
    yield graph(
        "Bytes in socket queues",
        "Bytes that the resolver has not read yet, and bytes that clients have not received yet.",
        "bytes",
        (
            f"sum by (instance, protocol) (dnsvigil_resolver_socket_receive_queue_bytes{{{HOST}}})",
            "{{instance}} {{protocol}} receive",
        ),
        (
            f"sum by (instance, protocol) (dnsvigil_resolver_socket_send_queue_bytes{{{HOST}}})",
            "{{instance}} {{protocol}} send",
        ),
    )


def network() -> Iterator[timeseries.Panel]:
    """Is the network, or the kernel's network stack, the bottleneck?"""
    for way in ("receive", "transmit"):
        yield graph(
            f"Packets, {way}",
            "By network device.",
            "pps",
            (
                f"rate(dnsvigil_resolver_host_network_{way}_packets_total{{{HOST}}}[$__rate_interval])",
                "{{instance}} {{device}}",
            ),
        )
    yield graph(
        "Bytes",
        "By network device.",
        "Bps",
        *(
            (
                f"rate(dnsvigil_resolver_host_network_{way}_bytes_total{{{HOST}}}[$__rate_interval])",
                f"{{{{instance}}}} {{{{device}}}} {way}",
            )
            for way in ("receive", "transmit")
        ),
    )
    yield graph(
        "Errors and drops of network devices",
        "Packets that network devices failed to receive or send.",
        "pps",
        *(
            (
                f"rate(dnsvigil_resolver_host_network_{way}_{kind}_total{{{HOST}}}[$__rate_interval])",
                f"{{{{instance}}}} {{{{device}}}} {way} {kind}",
            )
            for way in ("receive", "transmit")
            for kind in ("errors", "drops")
        ),
    )
    yield graph(
        "Packets dropped or postponed by the kernel",
        "Packets dropped before any program sees them, and rounds that ended with packets left (squeezed).",
        "pps",
        *(
            (
                f"sum by (instance) (rate(dnsvigil_resolver_host_softnet_{kind}_total{{{HOST}}}[$__rate_interval]))",
                f"{{{{instance}}}} {kind}",
            )
            for kind in ("dropped", "squeezed")
        ),
    )
    yield graph(
        "Connection tracking",
        "Share of the connection tracking table in use. When it is full, new flows are dropped.",
        "percentunit",
        (f"instance:dnsvigil_resolver_host_conntrack_entries:ratio_limit{{{HOST}}}", "{{instance}}"),
        limit=0.8,
    )


def disk() -> Iterator[timeseries.Panel]:
    """Is the disk or the clock the problem?"""
    yield graph(
        "Free space",
        "Free bytes and inodes of the file systems that the resolver needs. Below 5 %, an alert fires.",
        "percentunit",
        (f"mountpoint:dnsvigil_resolver_host_filesystem_available:ratio_size{{{HOST}}}", "{{instance}} {{mountpoint}}"),
        (
            f"mountpoint:dnsvigil_resolver_host_filesystem_files_free:ratio_files{{{HOST}}}",
            "{{instance}} {{mountpoint}} inodes",
        ),
    )
    yield graph(
        "Disk",
        "Share of the time in which a disk is busy.",
        "percentunit",
        (
            f"rate(dnsvigil_resolver_host_disk_io_time_seconds_total{{{HOST}}}[$__rate_interval])",
            "{{instance}} {{device}}",
        ),
    )
    yield graph(
        "Bytes to and from disks",
        "Bytes read and written by all programs, and by the resolver.",
        "Bps",
        *(
            (
                f"sum by (instance) (rate(dnsvigil_resolver_host_disk_{kind}_bytes_total{{{HOST}}}[$__rate_interval]))",
                f"{{{{instance}}}} {kind}",
            )
            for kind in ("read", "written")
        ),
        *(
            (
                f"rate(dnsvigil_resolver_{kind}_bytes_total{{{RESOLVER}}}[$__rate_interval])",
                f"{{{{instance}}}} {{{{resolver}}}} {kind}",
            )
            for kind in ("read", "write")
        ),
    )
    yield graph(
        "Clock",
        "Whether the clock is synchronised. If it drifts too far, DNSSEC validation fails.",
        "bool_yes_no",
        (f"dnsvigil_resolver_host_clock_synchronised{{{HOST}}}", "{{instance}}"),
    )
    yield graph(
        "Clock error",
        "The kernel's estimate.",
        "s",
        (f"dnsvigil_resolver_host_clock_estimated_error_seconds{{{HOST}}}", "{{instance}} estimated"),
        (f"abs(dnsvigil_resolver_host_clock_offset_seconds{{{HOST}}})", "{{instance}} being corrected"),
    )


def comparison() -> Iterator[timeseries.Panel | table.Panel]:
    """Which node is different?"""
    yield graph(
        "Load against each node's busy time",
        "Datagrams sent, as a share of the 90th percentile of the node's last seven days. A node near zero is silent "
        "while others serve.",
        "percentunit",
        ('instance:dnsvigil_resolver_load:ratio_busy7d{job=~"$job"}', "{{instance}}"),
        limit=0.02,
    )
    yield graph(
        "Datagrams sent",
        "UDP datagrams sent by each node of the job.",
        "pps",
        ('instance:dnsvigil_resolver_host_udp_out_datagrams:rate5m{job=~"$job"}', "{{instance}}"),
    )
    yield graph(
        "CPU of the resolvers",
        "CPU time of the resolvers on each node of the job, in cores.",
        "none",
        ('instance:dnsvigil_resolver_cpu_seconds:rate5m{job=~"$job"}', "{{instance}}"),
    )
    identity = prometheus.Dataquery().ref_id("A").instant().format(PromQueryFormat.TABLE).datasource(_DATASOURCE)
    identity = identity.expr('dnsvigil_resolver_identity_info{job=~"$job"}')
    hidden = {"Time": True, "Value": True, "__name__": True, "job": True}
    organize = models.DataTransformerConfig(id_val="organize", options={"excludeByName": hidden})
    panel = table.Panel().title("Identities").datasource(_DATASOURCE).span(2 * _WIDTH).height(8).show_header(True)
    panel = panel.description("The answers of each server to queries for id.server and version.bind.")
    yield panel.with_target(identity).with_transformation(organize)


def exporter() -> Iterator[timeseries.Panel]:
    """Does the exporter itself work?"""
    yield graph(
        "Missing parts",
        "Collectors that fail, and parts of collectors without metrics. The exporter's log has the reason.",
        "none",
        (f"sum by (instance) (1 - dnsvigil_resolver_collector_success{{{HOST}}})", "{{instance}} collectors"),
        (f"sum by (instance) (1 - dnsvigil_resolver_part_available{{{HOST}}})", "{{instance}} parts"),
    )
    yield graph(
        "Scrape duration",
        "By collector.",
        "s",
        (f"dnsvigil_resolver_collector_duration_seconds{{{HOST}}}", "{{instance}} {{collector}}"),
        stacked=True,
    )
    yield graph(
        "Spoofed responses",
        "Datagrams from a wrong address or with a wrong id: somebody forges responses, or a firewall rewrites them.",
        "pps",
        (
            f"sum by (instance) (rate(dnsvigil_resolver_probe_spoofed_total{{{HOST}}}[$__rate_interval]))",
            "{{instance}}",
        ),
    )


def resolver_dashboard() -> models.Dashboard:
    """Return the dashboard."""
    board = dashboard.Dashboard("dnsvigil: resolvers").uid("dnsvigil-resolver").tags(["dns", "dnsvigil"])
    board = board.description("Does each resolver host work and serve queries? Which resource is the bottleneck?")
    board = board.readonly().refresh("30s").time("now-3h", "now").timezone("browser")
    board = board.tooltip(models.DashboardCursorSync.CROSSHAIR)
    board = board.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    build = "dnsvigil_resolver_build_info"
    for name, query, several in (
        ("job", f"label_values({build}, job)", False),
        ("instance", f'label_values({build}{{job=~"$job"}}, instance)', True),
        ("resolver", f"label_values(dnsvigil_resolver_up{{{HOST}}}, resolver)", True),
    ):
        board = board.with_variable(variable(name, name.capitalize(), query, several=several))
    ids = itertools.count(1)
    for row in (serving, processor, memory, sockets, network, disk, comparison, exporter):
        board = board.with_row(dashboard.Row(str(row.__doc__)).id(next(ids)))
        for panel in row():
            board = board.with_panel(panel.id(next(ids)))
    return board.build()


def text() -> str:
    """Return what belongs into resolver.json."""
    return JSONEncoder(sort_keys=True, indent=2).encode(resolver_dashboard()) + "\n"


if __name__ == "__main__":
    OUTPUT.write_text(text())
