"""Passive DNS tuples: from the rows of dnsvigil_pdns.log, and from the answers that dns.log has.

dns.log lists the data of a response's answer section, but neither the owner nor the type of each record. Both follow
from the chain of CNAME records, which servers give in order (RFC 1034, section 4.3.2): the owner of a record is the
name before it in the chain. Where data does not show whether it is a name of the chain, a tuple is ``UNCERTAIN``.
"""

from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.addresses import is_ipv4, is_ipv6
from dnsvigil.features.domains import reversed_labels
from dnsvigil.records import (
    ADDITIONAL,
    ANSWER,
    ANSWER_COLUMNS,
    AUTHORITY,
    INFERRED,
    PASSIVE_DNS,
    TRANSACTION,
    TUPLE,
    UNCERTAIN,
)
from dnsvigil.store.counters import LARGEST
from dnsvigil.store.tuple_keys import IPV4, IPV6, NAME, NAMED_TYPES, NEGATIVE_TYPES, RAW

KEY: Final = ("nkey", "rrtype", "rkey", "bailiwick")
"""What one tuple is known by."""

_IBIS_TYPES: Final = {
    "TIMESTAMP": "timestamp",
    "VARCHAR": "string",
    "VARCHAR[]": "array<string>",
    "DOUBLE[]": "array<float64>",
    "BOOLEAN": "boolean",
    "UTINYINT": "uint8",
    "USMALLINT": "uint16",
    "UINTEGER": "uint32",
    "BIGINT": "int64",
    "UBIGINT": "uint64",
}
ARCHIVED: Final = {
    **dict.fromkeys(("rrname", "rrtype", "rdata", "bailiwick", "sensor"), "string"),
    **dict.fromkeys(("time_first", "time_last"), "timestamp"),
    **dict.fromkeys(("count", "ttl_min", "ttl_max", "seen_in"), "int64"),
}
"""The columns of tuples in the archive, and their types; the sensor is in the path."""

_SHORTEST_ZERO: Final = "::"
_TEXT: Final = r"^TXT \d+ "
_MAX_TTL: Final = 2**32 - 1
_NXDOMAIN: Final = 3
_INTERNET: Final = 1
_ADDRESS_TYPES: Final = ("A", "AAAA")
_UNKNOWN: Final = ""  # where the query was not seen
_OPEN_TYPES: Final = ("ANY", _UNKNOWN)  # of which the answer may have any type
_CHAINED_TYPES: Final = (*_ADDRESS_TYPES, "TXT", _UNKNOWN)  # before whose data there may be a chain


def tuples_table(name: str = "tuples") -> ir.Table:
    """Return a table of tuples as the store has them."""
    return _table(TUPLE, tuple(TUPLE), name)


def merged(tuples: ir.Table) -> ir.Table:
    """Return each tuple once: counts add up, times and TTLs are the extremes, and bits are joined."""
    t = tuples.group_by(*KEY).agg(
        time_first=tuples.time_first.min(),
        time_last=tuples.time_last.max(),
        count=ibis.least(tuples["count"].sum(), LARGEST),
        ttl_min=tuples.ttl_min.min(),
        ttl_max=tuples.ttl_max.max(),
        sensors=tuples.sensors.bit_or(),
        seen_in=tuples.seen_in.bit_or(),
    )
    return t.select(*TUPLE)


def logged(rows: ir.Table, bits: ir.Table) -> ir.Table:
    """Return the tuples of rows of dnsvigil_pdns.log; ``bits`` has the ``bit`` of each ``sensor``."""
    t = rows.mutate(rdata=rows.rdata.fill_null(""), sensor=rows.sensor.fill_null(""))
    sections = {"answer": ANSWER, "authority": AUTHORITY, "additional": ADDITIONAL}
    seen = [ibis.ifelse(t.section.contains(name).fill_null(False), bit, 0) for name, bit in sections.items()]
    t = t.mutate(seen_in=(seen[0] + seen[1] + seen[2]).cast("uint8"))
    t = t.filter(t.rrtype.notin(NEGATIVE_TYPES))
    t = t.group_by("rrname", "rrtype", "rdata", "bailiwick", "sensor").agg(
        time_first=t.time_first.min(),
        time_last=t.time_last.max(),
        count=ibis.least(t["count"].sum(), LARGEST),
        ttl_min=t.ttl_min.min(),
        ttl_max=t.ttl_max.max(),
        seen_in=t.seen_in.bit_or(),
    )
    return _encoded(t.left_join(bits, "sensor"))


def inferred(transactions: ir.Table, types: ir.Table) -> ir.Table:
    """Return what dns.log says of each record of its answers: owner, type, data and TTL.

    Records that have ``answer_types`` are the Zeek package's, whose tuples have a log of their own. ``types`` has the
    ``label`` of each ``code``. Columns: ``ts``, ``sensor``, ``rrname``, ``rrtype``, ``rdata``, ``ttl``, ``seen_in``.
    """
    t = transactions
    plain = t.qname.notnull() & t.answer_types.isnull()
    t = t.filter(plain & (t.qclass.fill_null(_INTERNET) == _INTERNET) & (t.answers.length() > 0))
    t = t.left_join(types, t.qtype == types.code)
    number = (ibis.literal("TYPE") + t.qtype.cast("string")).fill_null(_UNKNOWN)
    t = t.mutate(asked=t.label.fill_null(number), size=t.answers.length())
    t = t.mutate(unasked=(t.asked == _UNKNOWN) & _looks_final(t.answers[-1]))
    t = t.select(
        "ts", "sensor", "qname", "asked", "unasked", "size", "answers", "ttls", place=ibis.range(0, t.size)
    ).unnest("place")
    t = t.mutate(answer=t.answers[t.place], ttl=t.ttls[t.place])
    t = t.mutate(own=_is_final(t.answer, t.asked))
    # Of an answer to ANY, or to a query that no sensor saw, only some data shows its type.
    t = t.filter(t.asked.notin(_OPEN_TYPES) | t.own | t.unasked)
    before = t.answers[: t.place].filter(lambda answer: ~_looks_final(answer))
    chained = t.asked.isin(_CHAINED_TYPES)
    t = t.mutate(
        chained=chained,
        rrname=ibis.ifelse(~chained | (t.place == 0), t.qname, before[-1].fill_null(t.qname).lower()),
    )
    text = t.own & t.answer.re_search(_TEXT)
    rrtype = ibis.cases(
        (t.own & ~text, ibis.ifelse(t.answer.contains(":"), "AAAA", "A")),
        (text, "TXT"),
        (~chained, t.asked),
        else_="CNAME",
    )
    t = t.mutate(rrtype=rrtype)
    # Of a type whose data is a name, two answers may be a CNAME record and what it leads to.
    unsure = ~t.chained & ~t.own & (t.size > 1) & (t.asked != "CNAME")
    return t.select(
        "ts",
        "sensor",
        "rrname",
        "rrtype",
        rdata=_rdata(t),
        ttl=ibis.ifelse(t.ttl.between(0, _MAX_TTL), t.ttl, ibis.null("float64")).cast("uint32"),
        seen_in=ibis.ifelse(unsure, ANSWER | INFERRED | UNCERTAIN, ANSWER | INFERRED).cast("uint8"),
    )


def negative(transactions: ir.Table) -> ir.Table:
    """Return the names, and types, that do not exist as answers say; the columns are those of :func:`inferred`."""
    t = transactions.filter(transactions.qname.notnull() & (transactions.qclass.fill_null(_INTERNET) == _INTERNET))
    empty = (t.rcode == 0) & (t.answers.length().fill_null(0) == 0) & ~t.tc.fill_null(False)
    t = t.filter((t.rcode == _NXDOMAIN) | empty)
    return t.select(
        "ts",
        "sensor",
        rrname=t.qname,
        rrtype=ibis.ifelse(t.rcode == _NXDOMAIN, "NXDOMAIN", "NODATA"),
        rdata=ibis.literal(""),
        ttl=ibis.null("uint32"),
        seen_in=ibis.literal(INFERRED, "uint8"),
    )


def answered(records: ir.Table, bits: ir.Table) -> ir.Table:
    """Return the tuples of what :func:`inferred` and :func:`negative` found."""
    t = records.mutate(sensor=records.sensor.fill_null(""))
    t = t.group_by("rrname", "rrtype", "rdata", "sensor").agg(
        time_first=t.ts.min(),
        time_last=t.ts.max(),
        count=t.count(),
        ttl_min=t.ttl.min(),
        ttl_max=t.ttl.max(),
        seen_in=t.seen_in.bit_or(),
    )
    return _encoded(t.mutate(bailiwick=ibis.null("string")).left_join(bits, "sensor"))


def archived(rows: ir.Table, bits: ir.Table) -> ir.Table:
    """Return the tuples of rows of the archive, each once."""
    t = rows.left_join(bits, "sensor")
    t = t.group_by("rrname", "rrtype", "rdata", "bailiwick").agg(
        time_first=t.time_first.min(),
        time_last=t.time_last.max(),
        count=ibis.least(t["count"].sum(), LARGEST),
        ttl_min=t.ttl_min.min(),
        ttl_max=t.ttl_max.max(),
        seen_in=t.seen_in.bit_or().cast("uint8"),
        bit=t.bit.bit_or(),
    )
    return _encoded(t)


def expressions() -> dict[str, ir.Table]:
    """Return what makes each table."""
    transactions = _table(TRANSACTION, ANSWER_COLUMNS, "transactions")
    rows = _table(PASSIVE_DNS, tuple(PASSIVE_DNS), "dnsvigil_pdns_records")
    types = ibis.table({"code": "uint16", "label": "string"}, name="record_types")
    bits = ibis.table({"sensor": "string", "bit": "uint64"}, name="sensor_bits")
    found = ibis.union(inferred(transactions, types), negative(transactions))
    return {
        "merged": merged(tuples_table()),
        "logged": logged(rows, bits),
        "answers": found,
        "answered": answered(ibis.table(found.schema(), name="answers"), bits),
        "archived": archived(ibis.table(ARCHIVED, name="archived_tuples"), bits),
    }


def _table(types: dict[str, str], columns: tuple[str, ...], name: str) -> ir.Table:
    return ibis.table({column: _IBIS_TYPES[types[column]] for column in columns}, name=name)


def _encoded(t: ir.Table) -> ir.Table:
    """Return tuples in the store's form; times that are timestamps become seconds."""
    inside = (t.bailiwick == ".") | (t.bailiwick == t.rrname) | t.rrname.endswith(ibis.literal(".") + t.bailiwick)
    labels = ibis.ifelse(t.bailiwick == ".", 0, t.bailiwick.split(".").length())
    return t.select(
        nkey=reversed_labels(t.rrname),
        rrtype=t.rrtype,
        rkey=_data_key(t.rrtype, t.rdata),
        bailiwick=ibis.ifelse(inside, labels, ibis.null("int64")).cast("uint8"),
        time_first=t.time_first.truncate("s").epoch_seconds().cast("uint32"),
        time_last=t.time_last.truncate("s").epoch_seconds().cast("uint32"),
        count=t["count"],
        ttl_min=t.ttl_min,
        ttl_max=t.ttl_max,
        sensors=t.bit.fill_null(ibis.literal(0, "uint64")),
        seen_in=t.seen_in,
    )


def _data_key(rrtype: ir.StringValue, rdata: ir.StringValue) -> ir.StringValue:
    """Return what :func:`dnsvigil.store.tuple_keys.key_of_data` does."""
    words = rdata.split(" ")
    before = words[: words.length() - 1].join(" ")
    return ibis.cases(
        ((rrtype == "A") & is_ipv4(rdata), ibis.literal(IPV4) + _padded(rdata, ".", 3)),
        ((rrtype == "AAAA") & is_ipv6(rdata), ibis.literal(IPV6) + _digits6(rdata)),
        (
            rrtype.isin(NAMED_TYPES),
            ibis.literal(NAME) + reversed_labels(words[-1]) + ibis.ifelse(before == "", "", ibis.literal(" ") + before),
        ),
        else_=ibis.literal(RAW) + rdata,
    )


def _padded(text: ir.StringValue, separator: str, size: int) -> ir.StringValue:
    return text.split(separator).map(lambda part: part.lpad(size, "0")).join("")


def _digits6(address: ir.StringValue) -> ir.StringValue:
    """Return the 32 digits of an address of IPv6."""
    halves = address.lower().split(_SHORTEST_ZERO)

    def digits(half: ir.StringValue) -> ir.StringValue:
        return half.split(":").filter(lambda part: part != "").map(lambda part: part.lpad(4, "0")).join("")

    head, tail = digits(halves[0]), ibis.ifelse(halves.length() > 1, digits(halves[1]), "")
    zeros = ibis.literal("0").repeat(32 - head.length() - tail.length())
    return head + zeros + tail


def _is_final(answer: ir.StringValue, asked: ir.StringValue) -> ir.BooleanValue:
    """Return whether data is of the type that was asked for, rather than the next name of a chain."""
    text = answer.re_search(_TEXT)
    address = is_ipv4(answer) | answer.contains(":")
    return ibis.cases(
        (asked.isin(_ADDRESS_TYPES), address),
        (asked == "TXT", text),
        (asked.isin(_OPEN_TYPES), address | text),
        else_=False,
    )


def _looks_final(answer: ir.StringValue) -> ir.BooleanValue:
    return is_ipv4(answer) | answer.contains(":") | answer.re_search(_TEXT)


def _rdata(t: ir.Table) -> ir.StringValue:
    """Return data as the package's log has it: names in lower case, and texts quoted."""
    text = ibis.literal('"') + t.answer.re_replace(_TEXT, "") + '"'
    return ibis.cases(
        (t.own & (t.rrtype == "TXT"), text),
        (t.rrtype.isin(NAMED_TYPES) | t.rrtype.isin(_ADDRESS_TYPES), t.answer.lower()),
        else_=t.answer,
    )
