"""Look-ups about mail and addresses: what each client asks for of mail servers, names of addresses, and block lists.

    transactions ─(MX, PTR, addresses in front of a block list)─ sum_client_lookups ─(some hours)─ recent ─ amounts

These are a small share of the traffic.
"""

from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.functions import reversed_list, text_hash, texts_of_least
from dnsvigil.records import CLIENT_LOOKUP, LISTING, MAIL, MIN_LOOKUPS, OWN_LISTING, REVERSE

SWEPT: Final = 8
"""So many successive addresses make a reverse zone of 256 a swept one."""

_COLUMNS: Final = {"ts": "timestamp", "client": "string", "qname": "string", "qtype": "uint16", "rcode": "uint16"}
_TYPES: Final = {"TIMESTAMP": "timestamp", "VARCHAR": "string", "USMALLINT": "uint16", "BIGINT": "int64"}
_PTR, _MX, _NXDOMAIN = 12, 15, 3
_MAX_SAMPLES: Final = 6
_OCTET: Final = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_REVERSE: Final = rf"^({_OCTET}\.){{4}}in-addr\.arpa$|^([0-9a-f]\.){{32}}ip6\.arpa$"
_LISTED: Final = r"^(([0-9a-f]\.){32}|([0-9]{1,3}\.){4})[^.]"
_ADDRESS: Final = _LISTED.removesuffix("[^.]")
_HOST: Final = r"^([0-9a-f]\.[0-9a-f]\.(([0-9a-f]\.){30})|[0-9]+\.)"  # of its reverse zone


def sum_client_lookups(transactions: ir.Table, names: ir.Table, prefixes: ir.Table) -> ir.Table:
    """Return rows of records.CLIENT_LOOKUP.

    ``names`` has the ``domain`` of each ``qname``; ``prefixes`` are as in :mod:`dnsvigil.features.novelty`.
    """
    t = transactions.filter(transactions.client.notnull())
    reverse = (t.qtype == _PTR) & t.qname.re_search(_REVERSE)
    listed = (t.qtype != _PTR) & t.qname.re_search(_LISTED) & ~t.qname.endswith(".arpa")
    t = t.filter((t.qtype == _MX) | reverse | listed)
    t = t.left_join(names.select("qname", "domain"), "qname").left_join(prefixes, t.client == prefixes.address)
    mail, reverse = t.qtype == _MX, t.qtype == _PTR
    ipv6 = t.qname.endswith(".ip6.arpa")
    host = ibis.ifelse(ipv6, "0x" + t.qname.substr(2, 1) + t.qname.substr(0, 1), t.qname.re_extract(r"^[0-9]+", 0))
    own = t.qname.startswith(reversed_list(t.client.split(".")).join(".") + ".")
    t = t.select(
        "ts",
        client=t.prefix.fill_null(t.client),
        failed=t.rcode == _NXDOMAIN,
        kind=ibis.cases((mail, MAIL), (reverse, REVERSE), (own, OWN_LISTING), else_=LISTING),
        key=ibis.cases(
            (mail, t.domain), (reverse, t.qname.re_replace(_HOST, r"\2")), else_=t.qname.re_replace(_ADDRESS, "")
        ),
        part=ibis.ifelse(reverse, host.try_cast("uint16"), 0).fill_null(0),
    )
    return (
        t.group_by("client", "kind", "key", "part", hour=t.ts.truncate("h"))
        .agg(queries=t.count(), failures=t.failed.sum().fill_null(0), first_seen=t.ts.min(), last_seen=t.ts.max())
        .select(*CLIENT_LOOKUP)
    )


def amounts(recent: ir.Table) -> ir.Table:
    """Return the ``amount`` of each ``kind`` that a ``client`` asks for in an ``hour``, with what goes with it.

    Less than ``MIN_LOOKUPS`` are left out, but for look-ups of the client itself. The amount is the number of mail
    domains; of successive addresses in reverse zones that are swept: those that follow one that is asked for as well;
    of block lists that have the client's own address; or of queries in the block list with most. ``keys`` is the number
    of domains, zones or lists, ``samples`` some of them; then come ``queries``, ``failures``, ``first_seen`` and
    ``last_seen``.
    """
    # Most clients ask for next to nothing, and need no lists.
    some = recent.group_by("hour", "client").agg(queries=recent.queries.sum())
    recent = recent.semi_join(some.filter(some.queries >= MIN_LOOKUPS), ["hour", "client"])
    t = recent.group_by("hour", "client", "kind", "key").agg(
        parts=recent.part.cast("int64").collect(distinct=True),
        queries=recent.queries.sum().cast("int64"),
        failures=recent.failures.sum().cast("int64"),
        first_seen=recent.first_seen.min(),
        last_seen=recent.last_seen.max(),
    )
    t = t.mutate(successive=t.parts.intersect(t.parts.map(lambda part: part + 1)).length())
    t = t.filter((t.kind != REVERSE) | (t.successive >= SWEPT))
    t = t.group_by("hour", "client", "kind").agg(
        keys=t.count(),
        successive=t.successive.sum(),
        most=t.queries.max(),
        queries=t.queries.sum().cast("int64"),
        failures=t.failures.sum().cast("int64"),
        first_seen=t.first_seen.min(),
        last_seen=t.last_seen.max(),
        samples=texts_of_least(t.key, text_hash(t.key), _MAX_SAMPLES),
    )
    amount = ibis.cases((t.kind == REVERSE, t.successive), (t.kind == LISTING, t.most), else_=t.keys)
    t = t.mutate(amount=amount.cast("int64")).drop("successive", "most")
    return t.filter((t.amount >= MIN_LOOKUPS) | (t.kind == OWN_LISTING))


def expressions() -> dict[str, ir.Table]:
    """Return the expression of each table."""
    transactions = ibis.table(_COLUMNS, name="transactions")
    names = ibis.table({"qname": "string", "domain": "string"}, name="names")
    prefixes = ibis.table({"address": "string", "prefix": "string"}, name="client_prefixes")
    recent = ibis.table({column: _TYPES[kind] for column, kind in CLIENT_LOOKUP.items()}, name="recent")
    return {
        "sum_client_lookups": sum_client_lookups(transactions, names, prefixes),
        "amounts": amounts(recent),
    }
