"""Queries of clients that may be infected, from the rows of novel and listed traffic in some hours.

    novel ─(hours)─ recent ─┬─ bursts ──── clients for which several newly observed domains fail in a row
                            ├─ visits ──── newly observed domains of each chosen client, with times and failures
                            ├─ askers ──── how many clients query each chosen domain
                            ├─ habits ──── how many domains fail for each client in each hour
                            └─ meetings ── newly observed domains that resolve for clients for which others fail
    listed ─────────────────── hits ────── entries of the operator's lists, by client
A domain *fails* when more of its queries are answered NXDOMAIN than with records, and *resolves* when any is answered
with records, but it does not fail. Answers of other kinds, or none, say neither; nor do failures of queries for text.
"""

from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.novelty import listed_table, novel_table
from dnsvigil.records import FLOOD, MIN_BURST, SINGLE_LABEL

MAX_CLIENTS: Final = 2000
"""How many clients are returned, those with the most failing domains; the same for listed traffic."""

MAX_MEETINGS: Final = 20
"""How many domains at which clients meet are returned."""

MAX_DOMAINS: Final = 300
"""How many domains of a client that fail, and as many that do not, are returned: the newest."""

_NEARLY: Final = 0.8
_SLOT: Final = 900  # seconds; two of them are "in a row"


def _newly_observed(recent: ir.Table) -> ir.Table:
    return recent.filter(recent.newly_observed & recent.domain.notin([FLOOD, SINGLE_LABEL]))


def bursts(recent: ir.Table) -> ir.Table:
    """Return clients with ``MIN_BURST`` failing domains within half an hour, and when their ``last`` query was."""
    t = _newly_observed(recent)
    t = t.filter(t.missing > t.resolved)
    t = t.group_by("client", "domain").agg(first=t.first_seen.min(), last=t.last_seen.max())
    slot = t.first.epoch_seconds() // _SLOT
    t = t.mutate(slot=ibis.array([slot, slot - 1])).unnest("slot")
    t = t.group_by("client", "slot").agg(domains=t.count(), last=t["last"].max())
    t = t.group_by("client").agg(most=t.domains.max(), domains=t.domains.sum(), last=t["last"].max())
    t = t.filter(t.most >= MIN_BURST).order_by(ibis.desc("most"), "client").limit(MAX_CLIENTS)
    return t.select("client", "domains", "last")


def visits(recent: ir.Table, chosen: ir.Table) -> ir.Table:
    """Return the newly observed domains of each of ``chosen.client``, as :class:`Visit` has them."""
    t = _newly_observed(recent).semi_join(chosen, "client")
    active = ibis.struct({"hour": t.hour, "minutes": t.minutes})
    t = t.group_by("client", "domain").agg(
        queries=t.queries.sum(),
        missing=t.missing.sum(),
        resolved=t.resolved.sum(),
        answered=t.answered_names.sum(),
        first=t.first_seen.min(),
        last=t.last_seen.max(),
        active=active.collect(where=t.missing <= t.resolved),
        sample=t.samples[0].max(),
        addresses=t.addresses.first(where=t.addresses.length() > 0),
        sources=t.sources.first(where=t.sources.length() > 0),
    )
    t = t.mutate(fails=t.missing > t.resolved)
    t = t.filter(t.fails | (t.resolved + t.answered > 0))
    own = ibis.window(group_by=["client", "fails"], order_by=[ibis.desc("last"), "domain"])
    whole = ibis.window(group_by=["client", "fails"])
    t = t.mutate(place=ibis.row_number().over(own), total=t.count().over(whole))
    return t.filter(t.place < MAX_DOMAINS).select(
        "client", "domain", "queries", "fails", "first", "last", "active", "total", "sample", "addresses", "sources"
    )


def askers(recent: ir.Table, chosen: ir.Table) -> ir.Table:
    """Return how many ``clients`` query each of ``chosen.domain``."""
    t = recent.semi_join(chosen, "domain")
    return t.group_by("domain").agg(clients=t.client.nunique())


def habits(recent: ir.Table) -> ir.Table:
    """Return for each ``client`` the numbers of failing domains by hour, ascending, from two on."""
    t = _newly_observed(recent)
    t = t.filter(t.missing > t.resolved)
    t = t.group_by("client", "hour").agg(domains=t.count())
    t = t.filter(t.domains > 1)
    return t.group_by("client").agg(hours=t.domains.collect().sort())


def meetings(recent: ir.Table) -> ir.Table:
    """Return newly observed domains that resolve for ``clients`` for each of which two or more others fail.

    A domain has at least three such clients, and they are nearly ``all`` of its clients. The domains are in the order
    of a log-likelihood ratio: how much more frequent such clients are among the domain's than among all.
    """
    t = _newly_observed(recent)
    t = t.mutate(fails=t.missing > t.resolved)
    t = t.filter(t.fails | (t.resolved + t.answered_names > 0))
    failing = t.filter(t.fails).group_by("client").agg(failing=t.domain.nunique())
    failing = failing.filter(failing.failing >= 2).select("client", failing=ibis.literal(True))
    everyone = t.select("client").distinct().left_join(failing, "client")
    usual = everyone.agg(usual=everyone.failing.notnull().mean())
    t = t.filter(~t.fails).select("domain", "client").distinct().left_join(failing, "client")
    met = t.failing.notnull()
    t = t.group_by("domain").agg(all=t.count(), clients=t.client.collect(where=met).sort(), number=met.sum())
    t = t.filter((t.number >= 3) & (t.number >= _NEARLY * t["all"])).cross_join(usual)
    t = t.mutate(ratio=t.number * (t.number / (t["all"] * t.usual)).ln())
    return t.order_by(ibis.desc("ratio"), "domain").limit(MAX_MEETINGS).select("domain", "clients")


def floods(recent: ir.Table) -> ir.Table:
    """Return the sums of each ``client`` that queries more new names than are kept.

    ``domain`` is the domain that has most of the names that are kept; NULL without one.
    """
    t = recent.filter(recent.domain == FLOOD)
    kept = recent.filter(recent.domain.notin([FLOOD, SINGLE_LABEL])).semi_join(t, "client")
    kept = kept.group_by("client", "domain").agg(names=kept.names.sum())
    top = kept.group_by("client").agg(
        domain=kept.domain.argmax(kept.names), most=kept.names.max(), all=kept.names.sum()
    )
    top = top.filter(2 * top.most > top["all"]).select("client", "domain")
    t = t.group_by("client").agg(
        queries=t.queries.sum(),
        failures=t.failures.sum(),
        names=t.names.sum(),
        first=t.first_seen.min(),
        last=t.last_seen.max(),
    )
    t = t.order_by(ibis.desc("queries"), "client").limit(MAX_CLIENTS)
    t = t.left_join(top, "client")
    return t.select("client", "queries", "failures", "names", "first", "last", "domain")


def hits(recent: ir.Table) -> ir.Table:
    """Return the queries of each ``client`` to each ``entry`` of lists, and how many ``clients`` query the entry."""
    t = recent.group_by("client", "entry").agg(
        lists=recent.lists.first(),
        queries=recent.queries.sum(),
        first=recent.first_seen.min(),
        last=recent.last_seen.max(),
        samples=recent.samples.first(),
        addresses=recent.addresses.first(where=recent.addresses.length() > 0),
        sources=recent.sources.first(where=recent.sources.length() > 0),
    )
    t = t.mutate(clients=t.count().over(ibis.window(group_by="entry")))
    return t.order_by("clients", ibis.desc("queries"), "client", "entry").limit(MAX_CLIENTS)


def expressions() -> dict[str, ir.Table]:
    """Return the expression of each table, over ``recent`` rows and the ``chosen`` clients or domains."""
    recent = novel_table("recent")
    client, domain = ibis.table({"client": "string"}, "chosen"), ibis.table({"domain": "string"}, "chosen")
    return {
        "bursts": bursts(recent),
        "visits": visits(recent, client),
        "askers": askers(recent, domain),
        "habits": habits(recent),
        "meetings": meetings(recent),
        "floods": floods(recent),
        "hits": hits(listed_table("recent")),
    }
