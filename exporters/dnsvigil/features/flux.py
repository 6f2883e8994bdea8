"""The addresses of names over time, from the tuples of passive DNS in some hours.

passive DNS ─(a span of time)─ recent ─┬─ scattered ──── names whose addresses lie in several networks
                                       ├─ hosts ──────── the addresses of chosen names, with times and TTLs
                                       └─ name_servers ─ the servers that NS records of chosen domains name
"""

from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.addresses import network
from dnsvigil.features.passive_dns import tuples_table

MIN_NETWORKS: Final = 4
"""A name with addresses in fewer networks (/16, /32 of IPv6) is no candidate."""

_ADDRESSES: Final = ("A", "AAAA")


def scattered(recent: ir.Table) -> ir.Table:
    """Return the ``nkey`` of each name with addresses in at least ``MIN_NETWORKS`` ``networks``."""
    t = recent.filter(recent.rrtype.isin(_ADDRESSES))
    # Few names have so many addresses, and only of theirs are the networks kept apart.
    several = t.group_by("nkey").agg(rows=t.count())
    t = t.semi_join(several.filter(several.rows >= MIN_NETWORKS), "nkey")
    of_network = ibis.ifelse(t.rrtype == "A", network(t.rkey, 4, 1), network(t.rkey, 6, 0))
    t = t.select("nkey", network=of_network)
    t = t.group_by("nkey").agg(networks=t.network.nunique())
    return t.filter(t.networks >= MIN_NETWORKS)


def hosts(recent: ir.Table, chosen: ir.Table) -> ir.Table:
    """Return each address ``rkey`` of ``chosen.nkey``, its ``first`` and ``last`` time in seconds, and its largest TTL.

    An RRset has one TTL; answers from a cache count it down, so the largest is what comes nearest to the zone's.
    """
    t = recent.filter(recent.rrtype.isin(_ADDRESSES)).semi_join(chosen, "nkey")
    return t.group_by("nkey", "rkey").agg(first=t.time_first.min(), last=t.time_last.max(), ttl=t.ttl_max.max())


def name_servers(recent: ir.Table, chosen: ir.Table) -> ir.Table:
    """Return each name server, by the ``rkey`` of its name, in the NS records of ``chosen.nkey``."""
    t = recent.filter(recent.rrtype == "NS").semi_join(chosen, "nkey")
    return t.select("nkey", "rkey").distinct()


def expressions() -> dict[str, ir.Table]:
    """Return the expression of each table, over the ``recent`` tuples and the ``chosen`` names."""
    recent, chosen = tuples_table("recent"), ibis.table({"nkey": "string"}, "chosen")
    return {
        "scattered": scattered(recent),
        "hosts": hosts(recent, chosen),
        "name_servers": name_servers(recent, chosen),
    }
