"""Summaries per minute of event time, made from transaction records.

Each is a table of sums, minima, maxima or sketches, so that the summaries of two batches, sensors or hours
add up to those of both together. The steps:

    transactions ─ groups ─┬─ names ── domain of each name ── which zones are shown
                           └───────────── tally ── types, zones, latencies, clients, counters
"""

from collections.abc import Sequence
from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.domains import longest_zones, registered_domains
from dnsvigil.records import OTHER, TRANSACTION, UNANSWERED, UNKNOWN, failure_reason

LATENCY_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the response duration histogram, in seconds."""

COLUMNS: Final = ["ts", "client", "server", "server_port", "qname", "qtype", "rcode", "rtt_seconds"]
"""The columns of the transaction record that the summaries need."""

SKETCH_SIZE: Final = 256
"""Hashes kept in a sketch of distinct clients; its standard error is 1/sqrt(254), 6 %."""

_HASHES: Final = 2**64

_IBIS_TYPES: Final = {
    "TIMESTAMP": "timestamp",
    "VARCHAR": "string",
    "USMALLINT": "uint16",
    "DOUBLE": "float64",
}


@ibis.udf.scalar.builtin  # type: ignore[untyped-decorator]
def md5_number_lower(text: str) -> int:  # type: ignore[empty-body]
    """Return 64 bits of the text's MD5, the same in every version and on every machine."""


@ibis.udf.agg.builtin(name="min", signature=(("uint64", "int64"), "array<uint64>"))
def smallest(value, count):  # type: ignore[no-untyped-def]
    """Return the ``count`` smallest values."""


def transactions_table(name: str = "transactions") -> ir.Table:
    """Return the transactions view, or that of all DNS records, as the expressions here see it."""
    return ibis.table({column: _IBIS_TYPES[TRANSACTION[column]] for column in COLUMNS}, name=name)


def groups(transactions: ir.Table, ambiguous: ir.Table, top_level: Sequence[str]) -> ir.Table:
    """Count the records that are alike in ``minute``, ``server``, ``key``, ``qtype``, ``rcode`` and ``bucket``.

    ``key`` is the name's last two labels where these are its domain, else (``whole``) the whole name.
    ``ambiguous.tail`` lists the last two labels of names where they may not be, ``top_level`` such top-level labels.
    ``bucket`` is the index of the response duration in ``LATENCY_BOUNDS``, NULL without one. Sums: ``records``, ``rtt``
    (microseconds).
    """
    rtt = (transactions.rtt_seconds * 1e6).round().cast("int64")
    bucket = ibis.cases(
        (transactions.rtt_seconds.isnull(), ibis.null("int8")),
        *((transactions.rtt_seconds <= bound, ibis.literal(i, "int8")) for i, bound in enumerate(LATENCY_BOUNDS)),
        else_=ibis.literal(len(LATENCY_BOUNDS), "int8"),
    )
    narrow = transactions.select(
        "server", "qname", "qtype", "rcode", minute=transactions.ts.truncate("m"), rtt=rtt, bucket=bucket
    )
    parts = narrow.qname.split(".")
    two = narrow.mutate(two=parts[-2:].join("."), top=parts[-1])
    joined = two.left_join(ambiguous, two.two == ambiguous.tail)
    joined = joined.mutate(whole=joined.tail.notnull() | joined.top.isin(top_level))
    return joined.group_by(
        "minute", "server", "qtype", "rcode", "bucket", "whole", key=ibis.ifelse(joined.whole, joined.qname, joined.two)
    ).agg(records=joined.count(), rtt=joined.rtt.sum())


def names(groups: ir.Table, suffixes: ir.Table, zones: ir.Table, most_labels: int) -> ir.Table:
    """Return for each ``key`` its registered ``domain`` and the configured ``zone`` that it lies in, or NULL.

    ``most_labels`` is the number of labels of the longest zone, 0 where none is configured.
    """
    keys = groups.filter(groups.key.notnull()).select("key", "whole").distinct()
    plain = keys.filter(~keys.whole).select("key", domain=keys.key)
    looked_up = registered_domains(keys.filter(keys.whole).select("key"), suffixes)
    domains = ibis.union(plain, looked_up)
    if not most_labels:
        return domains.mutate(zone=ibis.null("string"))
    inside = longest_zones(keys.select("key"), zones, most_labels)
    return domains.left_join(inside, "key").select("key", "domain", "zone")


def domain_counts(groups: ir.Table, names: ir.Table) -> ir.Table:
    """Return how many ``records`` each ``label`` (registered domain outside the configured zones) has."""
    joined = groups.inner_join(names.filter(names.zone.isnull()), "key")
    return joined.group_by(label=joined.domain).agg(records=joined.records.sum())


def server_counts(groups: ir.Table) -> ir.Table:
    """Return how many ``records`` each ``label`` (server) has."""
    return groups.group_by(label=groups.server).agg(records=groups.records.sum())


def tally(groups: ir.Table, names: ir.Table, shown: ir.Table, qtypes: ir.Table, rcodes: ir.Table) -> ir.Table:
    """Return the groups under the labels that are shown: ``server``, ``zone``, ``qtype``, ``rcode``.

    ``shown`` has the ``kind`` (server, zone) of what has a label of its own, its ``key`` (address, registered domain)
    and its ``label``; ``qtypes`` and ``rcodes`` have the ``code`` and ``label``. A query without an answer has the
    rcode ``unanswered``, one of which the log does not say whether it has an answer ``unknown``.
    """
    zones = shown.filter(shown.kind == "zone").select(shown_zone="label", zone_key="key")
    t = groups.left_join(names, "key").drop("key_right")
    t = t.left_join(zones, t.domain == zones.zone_key)
    t = _with_shown_server(t, shown)
    t = t.left_join(qtypes.rename(qtype_label="label"), t.qtype == qtypes.code).drop("code")
    t = t.left_join(rcodes.rename(rcode_label="label"), t.rcode == rcodes.code).drop("code")
    return t.group_by(
        "minute",
        "bucket",
        server=t.shown_server.fill_null(OTHER),
        zone=ibis.coalesce(t.zone, t.shown_zone, OTHER),
        qtype=ibis.ifelse(t.qtype.isnull(), UNKNOWN, t.qtype_label.fill_null(OTHER)),
        rcode=ibis.ifelse(t.rcode.isnull(), UNANSWERED, t.rcode_label.fill_null(OTHER)),
    ).agg(records=t.records.sum(), rtt=t.rtt.sum())


def types(tally: ir.Table) -> ir.Table:
    """Return ``records`` per ``minute``, ``server``, ``qtype`` and ``rcode``."""
    return tally.group_by("minute", "server", "qtype", "rcode").agg(records=tally.records.sum())


def zones(tally: ir.Table) -> ir.Table:
    """Return ``queries`` and ``nxdomain`` per ``minute``, ``server`` and ``zone``, where the outcome is known."""
    t = tally.filter(tally.rcode != UNKNOWN)  # else a zone would have no failures where nobody can know of them
    return t.group_by("minute", "server", "zone").agg(
        queries=t.records.sum(), nxdomain=t.records.sum(where=t.rcode == "NXDOMAIN").fill_null(0)
    )


def failures(tally: ir.Table, rcodes: Sequence[str]) -> ir.Table:
    """Return ``failures`` per ``minute``, ``server``, ``zone`` and ``reason``; ``rcodes`` are those that are one."""
    reasons = {rcode: failure_reason(rcode) for rcode in rcodes}
    t = tally.filter(tally.rcode.isin(rcodes))
    t = t.mutate(reason=t.rcode.substitute(reasons) if reasons else t.rcode)
    return t.group_by("minute", "server", "zone", "reason").agg(failures=t.records.sum())


def latencies(tally: ir.Table) -> ir.Table:
    """Return ``records`` and ``rtt`` (sum, microseconds) per ``minute``, ``server`` and ``bucket``."""
    answered = tally.filter(tally.bucket.notnull())
    return answered.group_by("minute", "server", "bucket").agg(records=answered.records.sum(), rtt=answered.rtt.sum())


def clients(transactions: ir.Table, shown: ir.Table) -> ir.Table:
    """Return per ``minute`` and ``server`` a ``sketch`` of the distinct clients: the smallest of their hashes.

    The estimate from it is :func:`estimate_distinct`'s.
    """
    pairs = transactions.select("server", "client", minute=transactions.ts.truncate("m")).distinct()
    joined = _with_shown_server(pairs, shown)
    labelled = joined.select("minute", "client", server=joined.shown_server.fill_null(OTHER)).distinct()
    hashed = labelled.mutate(hash=md5_number_lower(labelled.client).cast("uint64"))
    return hashed.group_by("minute", "server").agg(sketch=smallest(hashed.hash, SKETCH_SIZE))


def _with_shown_server(rows: ir.Table, shown: ir.Table) -> ir.Table:
    """Add ``shown_server``, the label of the server's address or NULL."""
    servers = shown.filter(shown.kind == "server").select(shown_server="label", server_key="key")
    return rows.left_join(servers, rows.server == servers.server_key)


def estimate_distinct(sketches: Sequence[Sequence[int]]) -> float:
    """Return the number of distinct values in the union of ``sketches``, each of the ``SKETCH_SIZE`` smallest hashes.

    It is exact below ``SKETCH_SIZE``, else (k - 1) / the k-th smallest hash as a fraction of the hashes' range
    (Beyer et al., SIGMOD 2007, "On synopses for distinct-value estimation under multiset operations").
    """
    smallest = sorted({value for sketch in sketches for value in sketch})[:SKETCH_SIZE]
    if len(smallest) < SKETCH_SIZE:
        return float(len(smallest))
    return (SKETCH_SIZE - 1) * _HASHES / smallest[-1]
