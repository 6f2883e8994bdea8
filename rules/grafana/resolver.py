"""The dashboard of the resolver exporter: rows are the questions that an operator asks, in the order asked."""

from collections.abc import Iterator
from typing import Final

from common import COLLECTOR, WIDTH, Panel, board, graph, listing, number, texts, variable
from grafana_foundation_sdk.models.dashboard import Dashboard

HOST: Final = COLLECTOR
RESOLVER: Final = f'{HOST}, resolver=~"$resolver"'
QUESTION: Final = "{{instance}} {{dns_name}} {{qtype}} {{protocol}}"


def serving() -> Iterator[Panel]:
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


def processor() -> Iterator[Panel]:
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


def memory() -> Iterator[Panel]:
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


def sockets() -> Iterator[Panel]:
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


def network() -> Iterator[Panel]:
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


def disk() -> Iterator[Panel]:
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


def comparison() -> Iterator[Panel]:
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
    yield listing(
        "Identities",
        "The answers of each server to queries for id.server and version.bind.",
        'dnsvigil_resolver_identity_info{job=~"$job"}',
        width=2 * WIDTH,
    )


def exporter() -> Iterator[Panel]:
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


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return board(
        "resolver",
        "resolvers",
        "Does each resolver host work and serve queries? Which resource is the bottleneck?",
        (serving, processor, memory, sockets, network, disk, comparison, exporter),
        variable("resolver", "Resolver", f"label_values(dnsvigil_resolver_up{{{HOST}}}, resolver)"),
        build="dnsvigil_resolver_build_info",
    )
