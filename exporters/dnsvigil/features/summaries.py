"""Summaries per minute of event time, made from transaction records.

Each is a table of sums, minima, maxima or sketches, so that the summaries of two batches, sensors or hours
add up to those of both together. The steps:

    records ─ servers ─ transactions ─┬─ qnames ── names ── domain of each name ── which zones are shown
                                      └─────────────── tally ── types, zones, latencies, clients, counters
"""

from collections.abc import Mapping
from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.domains import longest_zones, registered_domains
from dnsvigil.features.functions import (
    failure_of,
    is_ambiguous_top_level,
    max_zone_labels,
    md5_number_lower,
    smallest,
)
from dnsvigil.features.servers import local_names, servers
from dnsvigil.records import (
    LATENCY_BOUNDS,
    ORDINARY_TYPES,
    OTHER,
    SUMMARY_COLUMNS,
    TRANSACTION,
    UNANSWERED,
    UNKNOWN,
)
from dnsvigil.store.sketches import SKETCH_SIZE

_IBIS_TYPES: Final = {
    "TIMESTAMP": "timestamp",
    "VARCHAR": "string",
    "USMALLINT": "uint16",
    "DOUBLE": "float64",
}


def transactions_table(name: str = "transactions") -> ir.Table:
    """Return the transactions view, or that of all DNS records, as the expressions here see it."""
    return ibis.table({column: _IBIS_TYPES[TRANSACTION[column]] for column in SUMMARY_COLUMNS}, name=name)


def qnames(transactions: ir.Table, ambiguous: ir.Table) -> ir.Table:
    """Count the ``records`` of each ``qname``; ``watched`` are those whose client is known.

    The ``first`` of those is a time. ``text`` is whether a type was asked for whose answers can carry anything. ``key``
    is the name's last two labels where these are its domain, else (``whole``) the whole name. ``ambiguous.tail`` lists
    the last two labels of names where they may not be.
    """
    t = transactions.filter(transactions.qname.notnull())
    t = t.select("qname", watched=ibis.ifelse(t.client.notnull(), t.ts, None), text=t.qtype.notin(ORDINARY_TYPES))
    t = t.group_by("qname").agg(
        records=t.count(), watched=t.watched.count(), first=t.watched.min(), text=t.text.any().fill_null(False)
    )
    parts = t.qname.split(".")
    t = t.mutate(two=parts[-2:].join("."), top=parts[-1])
    t = t.left_join(ambiguous, t.two == ambiguous.tail)
    whole = t.tail.notnull() | is_ambiguous_top_level(t.top)
    t = t.select("qname", "records", "watched", "first", "text", "two", whole=whole)
    return t.select("qname", "records", "watched", "first", "text", "whole", key=ibis.ifelse(t.whole, t.qname, t.two))


def names(qnames: ir.Table, suffixes: ir.Table, zones: ir.Table | None) -> ir.Table:
    """Return each ``qname`` with its registered ``domain`` and the configured ``zone`` that it lies in, or NULL."""
    # The names are distinct, so each of the few that are looked up is so once.
    looked_up = registered_domains(qnames.filter(qnames.whole).select("key"), suffixes)
    t = qnames.left_join(looked_up.rename(looked_up="domain"), "key")
    columns = [t.qname, t.records, t.watched, t["first"], t.text, t.looked_up.fill_null(t.key).name("domain")]
    if zones is None:
        return t.select(*columns, zone=ibis.null("string"))
    inside = longest_zones(qnames.select("key").distinct(), zones, max_zone_labels())
    return t.select(*columns, "key").left_join(inside, "key").select(*(each.get_name() for each in columns), "zone")


def domain_counts(names: ir.Table) -> ir.Table:
    """Return how many ``records`` each ``label`` (registered domain outside the configured zones) has."""
    t = names.filter(names.zone.isnull())
    return t.group_by(label=t.domain).agg(records=t.records.sum())


def server_counts(servers: ir.Table) -> ir.Table:
    """Return how many ``records`` each ``label`` (a server, where one is asked) has."""
    t = servers.filter(servers.kind.isnull())
    return t.group_by(label=t.server).agg(records=t.queries.sum())


def tally(transactions: ir.Table, names: ir.Table, shown: ir.Table, qtypes: ir.Table, rcodes: ir.Table) -> ir.Table:
    """Count the records by ``minute``, ``bucket`` and the labels: ``server``, ``zone``, ``qtype``, ``rcode``.

    ``shown`` has the ``kind`` (server, zone) of what has a label of its own, its ``key`` (address, registered domain)
    and its ``label``; ``qtypes`` and ``rcodes`` have the ``code`` and ``label``. A query without an answer has the
    rcode ``unanswered``, one of which the log does not say whether it has an answer ``unknown``. ``bucket`` is the
    index of the response duration in ``LATENCY_BOUNDS``, NULL without one. Sums: ``records``, ``rtt`` (microseconds).
    """
    # By their codes first: what is left for the labels is little.
    t = _by_code(transactions, _zone_labels(names, shown))
    t = _with_shown_server(t, shown)
    t = t.left_join(qtypes.rename(qtype_label="label"), t.qtype == qtypes.code).drop("code")
    t = t.left_join(rcodes.rename(rcode_label="label"), t.rcode == rcodes.code).drop("code")
    return t.group_by(
        "minute",
        "bucket",
        server=t.shown_server.fill_null(OTHER),
        zone=t.zone.fill_null(OTHER),
        qtype=ibis.ifelse(t.qtype.isnull(), UNKNOWN, t.qtype_label.fill_null(OTHER)),
        rcode=ibis.ifelse(t.rcode.isnull(), UNANSWERED, t.rcode_label.fill_null(OTHER)),
    ).agg(records=t.records.sum(), rtt=t.rtt.sum())


def _zone_labels(names: ir.Table, shown: ir.Table) -> ir.Table:
    """Return the ``zone`` of each ``qname`` that has one with a label of its own."""
    zones = shown.filter(shown.kind == "zone").select(shown_zone="label", zone_key="key")
    t = names.left_join(zones, names.domain == zones.zone_key)
    t = t.select("qname", zone=t.zone.coalesce(t.shown_zone))
    return t.filter(t.zone.notnull())


def _by_code(transactions: ir.Table, zones: ir.Table) -> ir.Table:
    rtt = (transactions.rtt_seconds * 1e6).round().cast("int64")
    bucket = ibis.cases(
        (transactions.rtt_seconds.isnull(), ibis.null("int8")),
        *((transactions.rtt_seconds <= bound, ibis.literal(i, "int8")) for i, bound in enumerate(LATENCY_BOUNDS)),
        else_=ibis.literal(len(LATENCY_BOUNDS), "int8"),
    )
    t = transactions.select(
        "server", "qname", "qtype", "rcode", minute=transactions.ts.truncate("m"), rtt=rtt, bucket=bucket
    )
    t = t.left_join(zones, "qname")
    return t.group_by("minute", "server", "zone", "qtype", "rcode", "bucket").agg(records=t.count(), rtt=t.rtt.sum())


def types(tally: ir.Table) -> ir.Table:
    """Return ``records`` per ``minute``, ``server``, ``qtype`` and ``rcode``."""
    return tally.group_by("minute", "server", "qtype", "rcode").agg(records=tally.records.sum())


def zones(tally: ir.Table) -> ir.Table:
    """Return ``queries`` and ``nxdomain`` per ``minute``, ``server`` and ``zone``, where the outcome is known."""
    t = tally.filter(tally.rcode != UNKNOWN)  # else a zone would have no failures where nobody can know of them
    return t.group_by("minute", "server", "zone").agg(
        queries=t.records.sum(), nxdomain=t.records.sum(where=t.rcode == "NXDOMAIN").fill_null(0)
    )


def failures(tally: ir.Table) -> ir.Table:
    """Return ``failures`` per ``minute``, ``server``, ``zone`` and ``reason``."""
    t = tally.mutate(reason=failure_of(tally.rcode))
    t = t.filter(t.reason.notnull())
    return t.group_by("minute", "server", "zone", "reason").agg(failures=t.records.sum())


def latencies(tally: ir.Table) -> ir.Table:
    """Return ``records`` and ``rtt`` (sum, microseconds) per ``minute``, ``server`` and ``bucket``."""
    answered = tally.filter(tally.bucket.notnull())
    return answered.group_by("minute", "server", "bucket").agg(records=answered.records.sum(), rtt=answered.rtt.sum())


def clients(transactions: ir.Table, shown: ir.Table) -> ir.Table:
    """Return per ``minute`` and ``server`` a ``sketch`` of the distinct clients: the smallest of their hashes.

    The estimate from it is :func:`dnsvigil.store.sketches.estimate_distinct`'s.
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


def expressions() -> dict[str, ir.Table]:
    """Return what makes each table, in order; ``names_in_zones`` makes ``names`` where zones are configured."""
    transactions, records = transactions_table(), transactions_table("dns_records")
    ambiguous = ibis.table({"tail": "string"}, name="ambiguous")
    suffixes = ibis.table({"suffix": "string", "kind": "string"}, name="suffixes")
    configured = ibis.table({"zone": "string"}, name="configured_zones")
    shown = ibis.table({"kind": "string", "key": "string", "label": "string"}, name="shown")
    qtypes, rcodes = (ibis.table({"code": "uint16", "label": "string"}, name=name) for name in ("qtypes", "rcodes"))
    made = {"servers": servers(records)}
    asked = table_of(made, "servers")
    made |= {"local_names": local_names(asked), "qnames": qnames(transactions, ambiguous)}
    counted = table_of(made, "qnames")
    made["names"] = names(counted, suffixes, None)
    made["names_in_zones"] = names(counted, suffixes, configured)
    named = table_of(made, "names")
    made["domain_counts"] = domain_counts(named)
    made["server_counts"] = server_counts(asked)
    made["tally"] = tally(transactions, named, shown, qtypes, rcodes)
    tallied = table_of(made, "tally")
    return made | {
        "sum_types": types(tallied),
        "sum_zones": zones(tallied),
        "sum_failures": failures(tallied),
        "sum_latencies": latencies(tallied),
        "sum_clients": clients(transactions, shown),
    }


def table_of(expressions: Mapping[str, ir.Table], name: str) -> ir.Table:
    """Return the table that an expression makes."""
    return ibis.table(expressions[name].schema(), name=name)
