"""Novel traffic: queries for names that nobody queried before, or in newly observed domains.

    transactions ─ asked ─(which are new)─ noted ─┬─ firsts ─┬─ parts ─(which are new)─┬─ novel
                                                  └──────────┴─────────────────────────┘
Between the steps :mod:`dnsvigil.ingest.novelty` finds what is new. Rows add up, as those of records.NOVEL.
"""

from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.functions import is_ambiguous_top_level, md5_number_lower, texts_of_least
from dnsvigil.features.summaries import table_of
from dnsvigil.records import FLOOD, LISTED, MAX_SAMPLES, NOVEL, NOVEL_COUNTS, NOVELTY_COLUMNS, SINGLE_LABEL

ORDINARY_TYPES: Final = (1, 2, 6, 12, 28, 43, 46, 47, 48, 50, 64, 65, 255)
"""Types whose answers cannot carry anything: A, NS, SOA, PTR, AAAA, those of DNSSEC, SVCB, HTTPS, ANY."""

_MAX_ADDRESSES: Final = 4
_ADDRESS: Final = r"^([0-9.]{7,15}|[0-9a-f:]*:[0-9a-f:.]*)$"
_NXDOMAIN: Final = 3
_MAIL_POLICY: Final = (
    r"(?i)^TXT \d+ (v=(spf1|DKIM1|DKIM2|DMARC1|STSv1|TLSRPTv1|BIMI1)\b|(k=(rsa|ed25519); ?)?p=)"  # RFC 7208, 6376...
)
_REVERSE: Final = ("in-addr.arpa", "ip6.arpa")
_TYPES: Final = {
    "TIMESTAMP": "timestamp",
    "VARCHAR": "string",
    "VARCHAR[]": "array<string>",
    "BOOLEAN": "boolean",
    "UBIGINT": "uint64",
    "BIGINT": "int64",
}


def transactions_table(name: str) -> ir.Table:
    """Return the transactions view, or a part of it, as the expressions here see it."""
    types = ["timestamp", "string", "string", "uint16", "uint16", "array<string>"]
    return ibis.table(dict(zip(NOVELTY_COLUMNS, types, strict=True)), name=name)


def novel_table(name: str = "novel") -> ir.Table:
    """Return a table of novel traffic rows."""
    return ibis.table({column: _TYPES[kind] for column, kind in NOVEL.items()}, name=name)


def listed_table(name: str = "listed") -> ir.Table:
    """Return a table of listed traffic rows."""
    return ibis.table({column: _TYPES[kind] for column, kind in LISTED.items()}, name=name)


def without(transactions: ir.Table, clients: ir.Table) -> ir.Table:
    """Return the transactions with a name and a client, without those of some ``clients.client``."""
    t = transactions.filter(transactions.qname.notnull() & transactions.client.notnull())
    return t.anti_join(clients, "client")


def asked(transactions: ir.Table, names: ir.Table, ambiguous: ir.Table) -> ir.Table:
    """Return each ``qname`` with its ``domain``, the ``hash`` of both, and when it was asked for ``first``.

    ``names`` and ``ambiguous`` are those of :mod:`dnsvigil.features.summaries`. The ``domain`` of
    a name of one label is ``SINGLE_LABEL``, all of each reverse zone are one.
    """
    t = transactions.group_by("qname").agg(first=transactions.ts.min())
    parts = t.qname.split(".")
    t = t.mutate(two=parts[-2:].join("."), top=parts[-1], labels=parts.length())
    t = t.left_join(ambiguous, t.two == ambiguous.tail)
    whole = t.tail.notnull() | is_ambiguous_top_level(t.top)
    t = t.mutate(key=ibis.ifelse(whole, t.qname, t.two)).drop("tail")
    t = t.inner_join(names.select("key", "domain"), "key")
    domain = ibis.cases(
        (t.labels == 1, SINGLE_LABEL), *((t.qname.endswith(zone), zone) for zone in _REVERSE), else_=t.domain
    )
    t = t.select("qname", "first", domain=domain)
    return t.mutate(hash=_hash("n", t.qname), domain_hash=domain_hash(t.domain))


def domain_hash(domain: ir.StringValue) -> ir.IntegerValue:
    """Return the hash that identifies a newly observed domain."""
    return _hash("d", domain)


def domain_clients(rows: ir.Table) -> ir.Table:
    """Return the ``hash`` of each newly observed domain in novel rows, and the ``bits``, of 64, of its clients."""
    t = rows.filter(rows.newly_observed)
    t = t.select(hash=domain_hash(t.domain), bit=_bit((_hash("c", t.client) % 64).cast("uint64")))
    return t.group_by("hash").agg(bits=t.bit.bit_or())


def noted(transactions: ir.Table, interesting: ir.Table) -> ir.Table:
    """Return the records of ``interesting`` names, with ``domain``, ``new`` and ``newly_observed``."""
    t = transactions.inner_join(interesting, "qname")
    return t.select(
        *NOVELTY_COLUMNS, "hash", "domain", "new", "newly_observed", failed=(t.rcode == _NXDOMAIN).fill_null(False)
    )


def firsts(noted: ir.Table) -> ir.Table:
    """Return for each new name who asked first, when, and what, and the first ``answers``."""
    t = noted.filter(noted.new)
    text = t.qtype.notin(ORDINARY_TYPES).fill_null(False)
    grouped = t.group_by("hash").agg(
        qname=t.qname.arbitrary(),
        domain=t.domain.arbitrary(),
        newly_observed=t.newly_observed.argmin(t.ts),
        client=t.client.argmin(t.ts),
        ts=t.ts.min(),
        failed=t.failed.any(),
        text=text.any(),
        answers=t.answers.argmin(t.ts, where=t.answers.notnull()),
    )
    block_list = grouped.answers.filter(lambda answer: ~answer.startswith("127.")).length() == 0
    policy = grouped.answers.filter(lambda answer: answer.re_search(_MAIL_POLICY)).length() > 0
    design = ((grouped.answers.length() > 0) & (block_list | policy)).fill_null(False)
    return grouped.mutate(design=design, answered=(grouped.answers.length() > 0).fill_null(False))


def parts(firsts: ir.Table) -> ir.Table:
    """Return each label of the new names below their ``domain``, and each ``answer``, by its ``hash``.

    With it goes who asked first.
    """
    single = firsts.domain == SINGLE_LABEL
    below = firsts.qname.substr(0, firsts.qname.length() - firsts.domain.length() - 1)
    labels = ibis.ifelse(single, firsts.qname, below).split(".")
    t = ibis.union(
        _texts(firsts.filter(single | (firsts.qname.length() > firsts.domain.length())), labels, answer=False),
        _texts(firsts.filter(firsts.answers.length() > 0), firsts.answers, answer=True),
    )
    t = t.filter(t.text != "")
    t = t.mutate(hash=_hash(ibis.ifelse(t.answer, "a", "l"), t.domain + " " + t.text), octets=_octets(t.text))
    return t.group_by("hash").agg(
        client=t.client.argmin(t.ts),
        domain=t.domain.arbitrary(),
        newly_observed=t.newly_observed.argmin(t.ts),
        ts=t.ts.min(),
        answer=t.answer.arbitrary(),
        octets=t.octets.arbitrary(),
    )


def _texts(rows: ir.Table, texts: ir.ArrayColumn, answer: bool) -> ir.Table:
    # Unnested as a column: a table's unnest() joins it to what it was made from, which takes twice the time.
    return rows.select("client", "ts", "domain", "newly_observed", answer=ibis.literal(answer), text=texts.unnest())


def of_hashes(rows: ir.Table, hashes: ir.Table) -> ir.Table:
    """Return those of the rows whose ``hash`` is one of ``hashes.hash``."""
    return rows.semi_join(hashes, "hash")


def novel(noted: ir.Table, firsts: ir.Table, parts: ir.Table) -> ir.Table:
    """Return novel traffic rows; ``parts`` are only those that are new."""
    one = ibis.literal(1, "int64")
    return _summed(
        _part(
            noted,
            queries=one,
            failures=noted.failed.cast("int64"),
            answers=ibis.ifelse(noted.newly_observed, noted.answers, ibis.null("array<string>")),
        ),
        _part(
            firsts,
            names=one,
            failed_names=firsts.failed.cast("int64"),
            answered_names=firsts.answered.cast("int64"),
            text_names=firsts.text.cast("int64"),
            design_names=firsts.design.cast("int64"),
            sample=firsts.qname,
            hash=firsts.hash,
        ),
        _part(
            parts,
            labels=(~parts.answer).cast("int64"),
            label_bytes=ibis.ifelse(parts.answer, 0, parts.octets),
            answer_bytes=ibis.ifelse(parts.answer, parts.octets, 0),
        ),
    )


def floods(transactions: ir.Table, clients: ir.Table) -> ir.Table:
    """Return novel traffic rows of what some ``clients.client`` asked for in each minute, as sums alone."""
    t = transactions.filter(transactions.qname.notnull())
    t = t.semi_join(clients, "client").mutate(at=t.ts.truncate("m"))
    t = t.group_by("at", "client").agg(
        ts=t.ts.max(), queries=t.count(), failures=(t.rcode == _NXDOMAIN).sum().fill_null(0), names=t.qname.nunique()
    )
    t = t.mutate(domain=ibis.literal(FLOOD), newly_observed=ibis.literal(False))
    return _summed(_part(t, queries=t.queries, failures=t.failures, names=t.names))


def _summed(*parts: ir.Table) -> ir.Table:
    t = ibis.union(*parts)
    sums = {name: t[name].sum() for name in NOVEL_COUNTS}
    return (
        t.group_by("hour", "client", "domain", "newly_observed")
        .agg(
            minutes=_bit(t.minute).bit_or(),
            first_seen=t.ts.min(),
            last_seen=t.ts.max(),
            **sums,
            samples=texts_of_least(t["sample"], t["hash"], MAX_SAMPLES),
            addresses=_addresses(t.answers),
        )
        .select(*NOVEL)
    )


def listed(transactions: ir.Table, hits: ir.Table) -> ir.Table:
    """Return listed traffic rows; ``hits`` has the ``qname``, ``entry`` and ``lists`` of names that are on lists."""
    t = transactions.filter(transactions.client.notnull()).inner_join(hits, "qname")
    t = t.mutate(hour=t.ts.truncate("h"), failed=(t.rcode == _NXDOMAIN).fill_null(False))
    return (
        t.group_by("hour", "client", "entry", "lists")
        .agg(
            minutes=_bit(t.ts.minute().cast("uint64")).bit_or(),
            first_seen=t.ts.min(),
            last_seen=t.ts.max(),
            queries=t.count(),
            failures=t.failed.sum(),
            samples=texts_of_least(t.qname, _hash("n", t.qname), MAX_SAMPLES),
            addresses=_addresses(t.answers),
        )
        .select(*LISTED)
    )


def _part(rows: ir.Table, **values: ir.Value) -> ir.Table:
    """Return one part of novel rows: what it does not count is 0."""
    counts = {name: values.get(name, ibis.literal(0, "int64")).cast("int64") for name in NOVEL_COUNTS}
    return rows.select(
        "client",
        "domain",
        "newly_observed",
        "ts",
        hour=rows.ts.truncate("h"),
        minute=rows.ts.minute().cast("uint64"),
        sample=values.get("sample", ibis.null("string")),
        hash=values.get("hash", ibis.null("uint64")),
        answers=values.get("answers", ibis.null("array<string>")),
        **counts,
    )


def _addresses(answers: ir.ArrayColumn) -> ir.ArrayValue:
    """Return the addresses of one of the records with answers."""
    found = answers.arbitrary().filter(lambda answer: answer.re_search(_ADDRESS))
    return found[:_MAX_ADDRESSES]


def _hash(kind: str | ir.StringValue, text: ir.StringValue) -> ir.IntegerValue:
    return md5_number_lower(kind + text).cast("uint64")


def _bit(number: ir.IntegerValue) -> ir.IntegerValue:
    return ibis.literal(1, "uint64") << number


def _octets(text: ir.StringValue) -> ir.IntegerValue:
    # An octet that is not printable stands there as \xNN.
    return (text.length() - 3 * (text.length() - text.replace("\\x", "").length()) // 2).cast("int64")


def expressions() -> dict[str, ir.Table]:
    """Return what makes each table, in order; and ``domain_hashes``, of the table ``domains``."""
    transactions, watched = (transactions_table(name) for name in ("transactions", "watched"))
    busy = ibis.table({"client": "string"}, name="busy_clients")
    names = ibis.table({"key": "string", "domain": "string", "zone": "string"}, name="names")
    ambiguous = ibis.table({"tail": "string"}, name="ambiguous")
    rest = without(watched, busy)
    made = {"asked": asked(rest, names, ambiguous)}
    found = ibis.table({"hash": "uint64", "new": "boolean", "newly_observed": "boolean"}, name="interesting")
    interesting = table_of(made, "asked").inner_join(found, "hash")
    made["noted"] = noted(rest, interesting.select("qname", "hash", "domain", "new", "newly_observed"))
    made["firsts"] = firsts(table_of(made, "noted"))
    made["parts"] = parts(table_of(made, "firsts"))
    new_parts = of_hashes(table_of(made, "parts"), ibis.table({"hash": "uint64"}, name="new_parts"))
    made["novel_part"] = novel(table_of(made, "noted"), table_of(made, "firsts"), new_parts)
    hits = ibis.table({"qname": "string", "entry": "string", "lists": "array<string>"}, name="hits")
    domains = ibis.table({"domain": "string"}, name="domains")
    return made | {
        "floods": floods(watched, busy),
        "domain_clients": domain_clients(table_of(made, "novel_part")),
        "known_domain_clients": domain_clients(novel_table()),
        "sum_listed": listed(transactions, hits),
        "domain_hashes": domains.select(hash=domain_hash(domains.domain)).order_by("hash"),
    }
