"""Novel traffic: queries for names that nobody queried before, or in newly observed domains.

    names ─ asked ─(which are new)─┬─ noted ─┬─ firsts ─┬─ parts ─(which are new)─┬─ sum_novel
    transactions ──────────────────┘         └──────────┴─────────────────────────┘
Between the steps :mod:`dnsvigil.ingest.watcher` finds what is new. Rows add up, as those of records.NOVEL.
"""

from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.addresses import is_ipv4, is_ipv6
from dnsvigil.features.functions import is_watched, md5_number_lower, novelty_hash, text_hash, texts_of_least
from dnsvigil.features.summaries import table_of
from dnsvigil.records import CARRIED, FLOOD, LISTED, MAX_SAMPLES, NOVEL, NOVEL_COUNTS, NOVELTY_COLUMNS, SINGLE_LABEL

ORDINARY_TYPES: Final = (1, 2, 6, 12, 28, 43, 46, 47, 48, 50, 64, 65, 255)
"""Types whose answers cannot carry anything: A, NS, SOA, PTR, AAAA, those of DNSSEC, SVCB, HTTPS, ANY."""

_MAX_ADDRESSES: Final = 4
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


def asked(names: ir.Table) -> ir.Table:
    """Return the ``qname`` of each of the names that are watched, its ``domain``, and the ``hash`` of both.

    With them go when it was asked for ``first``, and the number of its ``records``. ``names`` are those of
    :mod:`dnsvigil.features.summaries`. The ``domain`` of a name of one label is ``SINGLE_LABEL``, all of each reverse
    zone are one.
    """
    t = names.filter(names.watched > 0)
    domain = ibis.cases(
        (~t.qname.contains("."), SINGLE_LABEL), *((t.qname.endswith(zone), zone) for zone in _REVERSE), else_=t.domain
    )
    t = t.select("qname", "first", domain=domain, records=t.watched)
    return t.mutate(hash=novelty_hash("n", t.qname), domain_hash=domain_hash(t.domain))


def domain_hash(domain: ir.StringValue) -> ir.IntegerValue:
    """Return the hash that identifies a newly observed domain."""
    return novelty_hash("d", domain)


def established(asked: ir.Table, hashes: ir.Table) -> ir.Table:
    """Return each of some domains, by ``hashes.hash``, with the ``key`` by which established domains are known."""
    t = asked.semi_join(hashes, asked.domain_hash == hashes.hash).select("domain", "domain_hash").distinct()
    return t.select(hash="domain_hash", key=md5_number_lower(ibis.literal("d") + t.domain))


def domain_clients(rows: ir.Table) -> ir.Table:
    """Return the ``hash`` of each newly observed domain in novel rows, and the ``bits``, of 64, of its clients."""
    t = rows.filter(rows.newly_observed)
    t = t.select(hash=domain_hash(t.domain), bit=_bit((novelty_hash("c", t.client) % 64).cast("uint64")))
    return t.group_by("hash").agg(bits=t.bit.bit_or())


def noted(transactions: ir.Table, asked: ir.Table, interesting: ir.Table) -> ir.Table:
    """Return the records of ``interesting`` names, with what is known of the name.

    ``interesting`` has the ``hash`` of names with ``new`` and ``newly_observed``.
    """
    names = asked.inner_join(interesting, "hash")
    names = names.select("qname", "hash", "domain", "records", "new", "newly_observed")
    t = transactions.filter(is_watched(transactions.client)).inner_join(names, "qname")
    return t.select(
        "ts",
        "client",
        "qname",
        "answers",
        "hash",
        "domain",
        "records",
        "new",
        "newly_observed",
        failed=(t.rcode == _NXDOMAIN).fill_null(False),
        text=t.qtype.notin(ORDINARY_TYPES).fill_null(False),
    )


def firsts(noted: ir.Table) -> ir.Table:
    """Return for each new name who asked first, when, and what, and the first ``answers``.

    ``alone`` is whether that was the only record.
    """
    t = noted.filter(noted.new)
    columns = ["hash", "qname", "domain", "newly_observed", "client", "ts", "failed", "text", "answers"]
    # Most new names are asked for once, and need no grouping.
    alone = t.filter(t.records == 1).select(*columns, alone=ibis.literal(True))
    t = t.filter(t.records > 1)
    several = t.group_by("hash").agg(
        qname=t.qname.arbitrary(),
        domain=t.domain.arbitrary(),
        newly_observed=t.newly_observed.arbitrary(),
        client=t.client.argmin(t.ts),
        ts=t.ts.min(),
        failed=t.failed.any(),
        text=t.text.any(),
        answers=t.answers.argmin(t.ts, where=t.answers.notnull()),
    )
    t = ibis.union(alone, several.select(*columns, alone=ibis.literal(False)))
    block_list = t.answers.filter(lambda answer: ~answer.startswith("127.")).length() == 0
    policy = t.answers.filter(lambda answer: answer.re_search(_MAIL_POLICY)).length() > 0
    answered = (t.answers.length() > 0).fill_null(False)
    return t.mutate(answered=answered, design=answered & (block_list | policy).fill_null(False))


def parts(firsts: ir.Table) -> ir.Table:
    """Return each label of the new names below their ``domain``, and each ``answer``, by its ``hash``.

    With it go the hash of the ``name``, when that was asked for, and the ``octets`` of the label or answer.
    """
    single = firsts.domain == SINGLE_LABEL
    below = firsts.qname.substr(0, firsts.qname.length() - firsts.domain.length() - 1)
    labels = ibis.ifelse(single, firsts.qname, below).split(".")
    t = ibis.union(
        _texts(firsts.filter(single | (firsts.qname.length() > firsts.domain.length())), labels, answer=False),
        _texts(firsts.filter(firsts.answered), firsts.answers, answer=True),
    )
    t = t.filter(t.text != "")
    kind = ibis.ifelse(t.answer, "a", "l")
    return t.select("name", "ts", "answer", hash=novelty_hash(kind, t.domain + " " + t.text), octets=_octets(t.text))


def _texts(rows: ir.Table, texts: ir.ArrayColumn, answer: bool) -> ir.Table:
    # Unnested as a column: a table's unnest() joins it to what it was made from, which takes twice the time.
    return rows.select("ts", "domain", name=rows.hash, answer=ibis.literal(answer), text=texts.unnest())


def novel(noted: ir.Table, firsts: ir.Table, carried: ir.Table) -> ir.Table:
    """Return novel traffic rows.

    ``carried`` has, by the ``hash`` of new names, how many of their ``labels`` are new, the ``label_bytes`` of these
    and the ``answer_bytes`` of new answers.
    """
    one = ibis.literal(1, "int64")
    t = firsts.left_join(carried, "hash")
    new = _part(
        t,
        queries=t.alone.cast("int64"),
        failures=(t.alone & t.failed).cast("int64"),
        names=one,
        failed_names=t.failed.cast("int64"),
        answered_names=t.answered.cast("int64"),
        text_names=t.text.cast("int64"),
        design_names=t.design.cast("int64"),
        labels=t.labels.fill_null(0),
        label_bytes=t.label_bytes.fill_null(0),
        answer_bytes=t.answer_bytes.fill_null(0),
        sample=t.qname,
        answers=_of_newly_observed(t),
    )
    others = noted.filter(~(noted.new & (noted.records == 1)))
    return _summed(
        new,
        _part(others, queries=one, failures=others.failed.cast("int64"), answers=_of_newly_observed(others)),
    )


def _of_newly_observed(rows: ir.Table) -> ir.ArrayValue:
    return ibis.ifelse(rows.newly_observed, rows.answers, ibis.null("array<string>"))


def floods(transactions: ir.Table) -> ir.Table:
    """Return novel traffic rows of what clients that are not watched asked for in each minute, as sums alone."""
    t = transactions.filter(transactions.qname.notnull() & transactions.client.notnull())
    t = t.filter(~is_watched(t.client))
    t = t.mutate(at=t.ts.truncate("m"), name=text_hash(t.qname))
    # By name first: to count what is distinct takes four times as long.
    t = t.group_by("at", "client", "name").agg(
        ts=t.ts.max(), queries=t.count(), failures=(t.rcode == _NXDOMAIN).sum().fill_null(0)
    )
    t = t.group_by("at", "client").agg(
        ts=t.ts.max(), queries=t.queries.sum(), failures=t.failures.sum(), names=t.count()
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
            samples=texts_of_least(t["sample"], text_hash(t["sample"]), MAX_SAMPLES),
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
            samples=texts_of_least(t.qname, text_hash(t.qname), MAX_SAMPLES),
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
        answers=values.get("answers", ibis.null("array<string>")),
        **counts,
    )


def _addresses(answers: ir.ArrayColumn) -> ir.ArrayValue:
    """Return the addresses of one of the records with answers."""
    found = answers.arbitrary().filter(lambda answer: is_ipv4(answer) | is_ipv6(answer))
    return found[:_MAX_ADDRESSES]


def _bit(number: ir.IntegerValue) -> ir.IntegerValue:
    return ibis.literal(1, "uint64") << number


def _octets(text: ir.StringValue) -> ir.IntegerValue:
    # An octet that is not printable stands there as \xNN.
    return (text.length() - 3 * (text.length() - text.replace("\\x", "").length()) // 2).cast("int64")


def expressions() -> dict[str, ir.Table]:
    """Return what makes each table, in order."""
    transactions = transactions_table("transactions")
    names = ibis.table({"qname": "string", "domain": "string", "watched": "int64", "first": "timestamp"}, name="names")
    hashes = ibis.table({"hash": "uint64"}, name="fresh")
    found = ibis.table({"hash": "uint64", "new": "boolean", "newly_observed": "boolean"}, name="interesting")
    made = {"asked": asked(names)}
    known = table_of(made, "asked")
    made |= {"established": established(known, hashes), "noted": noted(transactions, known, found)}
    made["firsts"] = firsts(table_of(made, "noted"))
    made["parts"] = parts(table_of(made, "firsts"))
    carried = ibis.table({"hash": "uint64", **dict.fromkeys(CARRIED, "int64")}, name="carried")
    made["sum_novel"] = novel(table_of(made, "noted"), table_of(made, "firsts"), carried)
    hits = ibis.table({"qname": "string", "entry": "string", "lists": "array<string>"}, name="hits")
    return made | {
        "floods": floods(transactions),
        "domain_clients": domain_clients(table_of(made, "sum_novel")),
        "known_domain_clients": domain_clients(novel_table()),
        "sum_listed": listed(transactions, hits),
    }
