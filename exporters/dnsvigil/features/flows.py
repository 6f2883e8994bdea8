"""Summaries of one flow file, made from the tables that the reader leaves.

    flow_services, flow_talkers ─────────── as they are, with slot and exporter
    flow_pairs ─┬─ DNS flow records
                ├─ resolvers, clients ────── of the servers that are shown, and of all others
                └─ hosts ─────────────────── of the operator's networks, that answer the outside

All are sums, but the talkers, and the sketches of clients; so what several files give for a slot adds up. A count that
the exporter does not give is NULL: a sum leaves it out, and is NULL where it is of nothing else.
"""

from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.functions import engine_hash, is_flow_broadcast, is_own, smallest
from dnsvigil.features.servers import address_kind
from dnsvigil.records import DNS_FLOW, OTHER
from dnsvigil.store.sketches import SKETCH_SIZE

MAX_HOSTS: Final = 1000
"""How many own hosts are kept for a file: those with the most bytes in answers."""

DNS_PORT: Final = 53
"""The port on which an open resolver answers everybody."""

_COUNTS: Final = {"flows": "int64", "packets": "int64", "bytes": "int64"}
_PAIR_COUNTS: Final = {f"{kind}_{name}": kind_of for kind in ("query", "response") for name, kind_of in _COUNTS.items()}
_HALVES: Final = {f"{end}_{half}": "uint64" for end in ("client", "server") for half in ("high", "low")}
_TABLES: Final = {
    "flow_file": {"slot": "timestamp", "exporter": "string"},
    "flow_shown": {"address": "string", "label": "string"},
    "flow_services": {"protocol": "string", "service": "string", **_COUNTS},
    "flow_talkers": {"element": "string", "talker": "string", **_COUNTS},
    "flow_pairs": {
        "client": "string",
        "server": "string",
        "server_port": "uint16",
        "proto": "string",
        **_PAIR_COUNTS,
        "uncounted": "boolean",
        "unsplit": "boolean",
        **_HALVES,
    },
}


def table(name: str) -> ir.Table:
    """Return a table of the reader, or ``flow_file`` or ``flow_shown``, as the expressions here see it."""
    return ibis.table(_TABLES[name], name=name)


def labelled(rows: ir.Table, file: ir.Table) -> ir.Table:
    """Put ``slot`` and ``exporter`` of the one row of ``file`` before the columns of ``rows``."""
    return file.cross_join(rows)


def server_counts(pairs: ir.Table) -> ir.Table:
    """Return the query ``packets`` of each server, as ``label``; flows count where there is no count of packets.

    Groups and broadcast addresses are no servers.
    """
    pairs = pairs.filter(address_kind(pairs.server, is_flow_broadcast).isnull())
    return pairs.group_by(label=pairs.server).agg(
        packets=ibis.ifelse(pairs.uncounted, pairs.query_flows, pairs.query_packets).sum().fill_null(0)
    )


def dns_flows(pairs: ir.Table, file: ir.Table) -> ir.Table:
    """Return DNS flow records."""
    t = labelled(_with_unanswered(pairs), file)
    amplification = t.response_bytes / t.query_bytes.nullif(0)
    return t.mutate(amplification=amplification.cast("float64")).rename(ts="slot").select(*DNS_FLOW)


def resolvers(pairs: ir.Table, shown: ir.Table, file: ir.Table) -> ir.Table:
    """Return the sums of the pairs, and what is ``unanswered``, of each ``resolver`` and ``proto``."""
    t = _with_resolver(_with_unanswered(pairs), shown)
    sums = {name: _sum(t, name) for name in _PAIR_COUNTS} | {"unanswered": t.unanswered.sum()}
    return labelled(t.group_by("resolver", "proto").agg(**sums), file)


def clients(pairs: ir.Table, shown: ir.Table, file: ir.Table) -> ir.Table:
    """Return for each ``resolver`` a ``sketch`` of its distinct clients, as :func:`summaries.clients` has it.

    But of hashes that are made faster: sketches are united with those of the same five minutes alone.
    """
    t = _with_resolver(pairs, shown).select("resolver", "client_high", "client_low").distinct()
    hashed = t.mutate(hash=engine_hash(t.client_high, t.client_low))
    return labelled(hashed.group_by("resolver").agg(sketch=smallest(hashed.hash, SKETCH_SIZE)), file)


def hosts(pairs: ir.Table, file: ir.Table) -> ir.Table:
    """Return what each own ``host`` answers, from port 53, to how many ``peers`` outside of the own networks.

    Those ``MAX_HOSTS`` with most bytes in answers; none where there are no networks.
    """
    t = pairs.filter(
        (pairs.server_port == DNS_PORT)
        & (pairs.response_flows > 0)
        & is_own(pairs.server_high, pairs.server_low)
        & ~is_own(pairs.client_high, pairs.client_low)
    )
    sums = {name: _sum(t, name) for name in ("response_flows", "response_packets", "response_bytes", "query_bytes")}
    counted = t.group_by(host=t.server).agg(**sums, peers=t.client.nunique())
    return labelled(counted.order_by(ibis.desc("response_bytes"), "host").limit(MAX_HOSTS), file)


def _sum(pairs: ir.Table, name: str) -> ir.IntegerValue:
    """Return the sum of a count; it is unknown where there are flows but none that has it, for no flow has none."""
    total = pairs[name].sum()
    flows = pairs[f"{name.partition('_')[0]}_flows"].sum()
    unknown = (total == 0) & ((flows > 0) | pairs.unsplit.any())
    return ibis.ifelse(unknown, ibis.null("int64"), total.cast("int64"))


def _with_unanswered(pairs: ir.Table) -> ir.Table:
    # A TCP connection has more packets than questions; over UDP a flow may hold several questions.
    missing = ibis.ifelse(
        (pairs.proto == "tcp") | pairs.uncounted,
        pairs.query_flows - pairs.response_flows,
        pairs.query_packets - pairs.response_packets,
    )
    return pairs.mutate(unanswered=ibis.ifelse(pairs.unsplit, ibis.null("int64"), ibis.greatest(missing, 0)))


def _with_resolver(pairs: ir.Table, shown: ir.Table) -> ir.Table:
    t = pairs.left_join(shown, pairs.server == shown.address)
    return t.mutate(resolver=t.label.fill_null(OTHER)).drop("address", "label")


def expressions() -> dict[str, ir.Table]:
    """Return what makes each table."""
    pairs, shown, file = table("flow_pairs"), table("flow_shown"), table("flow_file")
    return {
        "flow_servers": server_counts(pairs),
        "sum_flow_services": labelled(table("flow_services"), file),
        "sum_dns_flows": dns_flows(pairs, file),
        "sum_flow_resolvers": resolvers(pairs, shown, file),
        "sum_flow_clients": clients(pairs, shown, file),
        "sum_flow_hosts": hosts(pairs, file),
        "sum_flow_talkers": labelled(table("flow_talkers"), file),
    }
