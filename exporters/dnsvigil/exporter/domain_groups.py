"""The metrics of groups of domains."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from dnsvigil.exporter.families import alone, counter, gauge, unix_time
from dnsvigil.ingest.domain_groups import GROUPS, DomainGroupsSnapshot
from dnsvigil.ingest.intake import Snapshot


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the metrics of the groups; there are none before domains were ever divided."""
    shown = snapshot.of(DomainGroupsSnapshot)
    if shown.made is None:
        return
    yield gauge(
        "dnsvigil_domain_groups_timestamp_seconds",
        "When domains were last divided into groups.",
        [],
        alone(unix_time(shown.made)),
    )
    if shown.silhouette is not None:
        text = "How well the groups come apart: the mean silhouette of the domains, from -1 to 1."
        yield gauge("dnsvigil_domain_groups_silhouette", text, [], alone(shown.silhouette))
    yield gauge(
        "dnsvigil_domain_group_domains",
        "Domains in a group.",
        ["group"],
        (([group.name], group.domains) for group in shown.groups),
    )
    rows = snapshot.rows(GROUPS)
    for value, text in (("queries", "Queries"), ("failures", "Failed queries")):
        place = len(GROUPS.labels) + GROUPS.values.index(value)
        yield counter(
            f"dnsvigil_domain_group_{value}",
            f"{text} for domains of a group, or of none.",
            ["group"],
            (([row[0]], row[place]) for row in rows),
        )
