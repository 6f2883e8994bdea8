"""Classes of DNS traffic: canonical, overloaded and unwanted.

The classes are those of Plonka and Barford, Context-aware Clustering of DNS Query Traffic (IMC 2008): *canonical* is
what the DNS was made for, *overloaded* uses it as a database, as block lists for mail do, and *unwanted* can never
succeed. They sorted the trees of names by hand; the rules here follow from the form of a name and its type alone:

- unwanted: a name without a delegated top-level domain, one that is reserved for local use (RFC 6761, RFC 6762, RFC
  8375), the reverse name of an address that is not public (RFC 6303), and the address of an address.
- overloaded: an address, or a hash, in front of a zone that is not for reverse names.
- canonical: all others.
"""

import re
from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.summaries import table_of, transactions_table
from dnsvigil.records import CANONICAL, LOCAL_DOMAINS, OTHER, OVERLOADED, UNWANTED

_PRIVATE_REVERSE: Final = (
    r"(^|\.)(10|127|0|254\.169|168\.192|(1[6-9]|2\d|3[01])\.172|2\.0\.192|100\.51\.198|113\.0\.203|255\.255\.255\.255"
    r"|(6[4-9]|[789]\d|1[01]\d|12[0-7])\.100)\.in-addr\.arpa$"
    r"|(^|\.)(8\.b\.d\.0\.1\.0\.0\.2|d\.f|[89ab]\.e\.f|[01](\.0){31})\.ip6\.arpa$"
)
_LOCAL: Final = rf"(^|\.)({'|'.join(map(re.escape, LOCAL_DOMAINS))})$"
_REVERSE: Final = r"\.(in-addr|ip6)\.arpa$"
_LISTED_ADDRESS: Final = r"^(\d{1,3}\.){4}[^.]+\.|^([0-9a-f]\.){32}[^.]+\."
_HASH: Final = r"^([0-9a-f]{32,}|[a-z2-7]{52,})\."


def odd_names(qnames: ir.Table, top_levels: ir.Table) -> ir.Table:
    """Return the class of each ``qname`` that is not canonical; ``top_levels.label`` are delegated."""
    t = qnames.filter(qnames.qname != ".")
    t = t.mutate(top=t.qname.split(".")[-1])
    t = t.left_join(top_levels, t.top == top_levels.label)
    reverse = t.qname.re_search(_REVERSE)
    unwanted = t.label.isnull() | t.qname.re_search(_LOCAL) | (reverse & t.qname.re_search(_PRIVATE_REVERSE))
    overloaded = ~reverse & (t.qname.re_search(_LISTED_ADDRESS) | t.qname.re_search(_HASH))
    t = t.select("qname", traffic_class=ibis.cases((unwanted, UNWANTED), (overloaded, OVERLOADED)))
    return t.filter(t.traffic_class.notnull())


def traffic_classes(transactions: ir.Table, odd_names: ir.Table, shown: ir.Table, networks: ir.Table) -> ir.Table:
    """Count the ``queries`` by ``server`` and ``network``, which are labels, and ``class``.

    ``shown`` is that of :mod:`dnsvigil.features.summaries`; ``networks`` has the ``network`` of each ``client`` that is
    in one.
    """
    t = transactions.left_join(odd_names, "qname")
    t = t.group_by("server", "client", "traffic_class").agg(queries=t.count())
    servers = shown.filter(shown.kind == "server").select(shown_server="label", server_key="key")
    t = t.left_join(servers, t.server == servers.server_key)
    t = t.left_join(networks, "client")
    return t.group_by(
        server=t.shown_server.fill_null(OTHER),
        network=t.network.fill_null(OTHER),
        **{"class": t.traffic_class.fill_null(CANONICAL)},
    ).agg(queries=t.queries.sum())


def expressions() -> dict[str, ir.Table]:
    """Return what makes each table."""
    qnames = ibis.table({"qname": "string"}, name="qnames")
    made = {"odd_names": odd_names(qnames, ibis.table({"label": "string"}, name="top_levels"))}
    shown = ibis.table({"kind": "string", "key": "string", "label": "string"}, name="shown")
    networks = ibis.table({"client": "string", "network": "string"}, name="client_networks")
    found = traffic_classes(transactions_table(), table_of(made, "odd_names"), shown, networks)
    return made | {"sum_traffic_classes": found}
