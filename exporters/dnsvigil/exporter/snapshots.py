"""All metrics of a snapshot: a file for each subject, in the order of /metrics."""

from collections.abc import Callable, Iterator
from functools import partial

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from dnsvigil.config.collector import Config
from dnsvigil.exporter import (
    archive,
    build,
    capture,
    client_lookups,
    detection,
    dns,
    domain_groups,
    domains,
    findings,
    flows,
    honeypots,
    hunt,
    novelty,
    open_resolvers,
    passive_dns,
    poisoning,
    records,
    set_aside,
    store,
    traffic_classes,
)
from dnsvigil.exporter.sound import Report, Sound
from dnsvigil.ingest.flows import FlowSnapshot
from dnsvigil.ingest.intake import Snapshot


def registry(snapshot: Snapshot, flow_snapshot: FlowSnapshot, config: Config, report: Report) -> CollectorRegistry:
    """Return a registry of all metrics; ``report`` takes what cannot be shown, while the rest is."""
    subjects: dict[str, Callable[[], Iterator[Metric]]] = {
        "build": build.families,
        "records": partial(records.families, snapshot),
        "dns": partial(dns.families, snapshot, config),
        "traffic_classes": partial(traffic_classes.families, snapshot),
        "domains": partial(domains.families, snapshot),
        "domain_groups": partial(domain_groups.families, snapshot),
        "passive_dns": partial(passive_dns.families, snapshot),
        "archive": partial(archive.families, snapshot),
        "open_resolvers": partial(open_resolvers.families, snapshot),
        "poisoning": partial(poisoning.families, snapshot),
        "capture": partial(capture.families, snapshot),
        "honeypots": partial(honeypots.families, snapshot),
        "store": partial(store.families, snapshot, config),
        "set_aside": partial(set_aside.families, snapshot),
        "findings": partial(findings.families, snapshot),
        "detection": partial(detection.families, snapshot),
        "novelty": partial(novelty.families, snapshot),
        "client_lookups": partial(client_lookups.families, snapshot),
        "hunt": partial(hunt.families, snapshot),
        "flows": partial(flows.families, flow_snapshot),
    }
    found = CollectorRegistry()
    for name, families in subjects.items():
        found.register(Sound(name, families, report))
    return found
