"""Novel traffic: queries for names that nobody queried before, or in newly observed domains.

    names ─ asked ─(which are new)─┬─ noted ─┬─ firsts ─┬─ parts ─(which are new)─┬─ sum_novel
    transactions ──────────────────┘         └──────────┴─────────────────────────┘
Between the steps :mod:`dnsvigil.ingest.watcher` finds what is new. Rows add up, as those of records.NOVEL. A client is
an address, or the prefix that ``client_prefixes`` has of it. What ``flooding`` has of a client is in no step, and is
summed by itself:

    transactions ─ crowds ─ crowd_domains ─(which have no room)─ flooding ─ flooded ─ floods ── sum_novel
"""

from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.addresses import is_ipv4, is_ipv6
from dnsvigil.features.functions import md5_number_lower, novelty_hash, text_hash, texts_of_least
from dnsvigil.features.summaries import table_of
from dnsvigil.records import (
    CARRIED,
    FLOOD,
    LISTED,
    MAX_SAMPLES,
    NOVEL,
    NOVEL_COUNTS,
    NOVELTY_COLUMNS,
    ORDINARY_TYPES,
    SINGLE_LABEL,
)

_MAX_ADDRESSES: Final = 4
_MAX_RECEIVED: Final = 200  # characters of answers
_LIKE_ADDRESS: Final = r"^[0-9.]+$|:"
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
    types = ["timestamp", "string", "string", "uint16", "uint16", "array<string>", "array<float64>"]
    return ibis.table(dict(zip(NOVELTY_COLUMNS, types, strict=True)), name=name)


def novel_table(name: str = "novel") -> ir.Table:
    """Return a table of novel traffic rows."""
    return ibis.table({column: _TYPES[kind] for column, kind in NOVEL.items()}, name=name)


def listed_table(name: str = "listed") -> ir.Table:
    """Return a table of listed traffic rows."""
    return ibis.table({column: _TYPES[kind] for column, kind in LISTED.items()}, name=name)


def asked(names: ir.Table, flooded: ir.Table) -> ir.Table:
    """Return the ``qname`` of each of the names that are watched, its ``domain``, and the ``hash`` of both.

    With them go when it was asked for ``first``, the number of its ``records``, and ``text_hash`` for a name that was
    asked for with a type for text, else 0. ``names`` are those of :mod:`dnsvigil.features.summaries`; names of which
    all records are ``flooded`` are left out.
    """
    lost = flooded.group_by("qname").agg(lost=flooded.queries.sum())
    t = names.left_join(lost, "qname")
    t = t.select("qname", "first", "text", domain=_domain(t), records=t.watched - t.lost.fill_null(0).cast("int64"))
    t = t.filter(t.records > 0)
    return t.mutate(
        hash=novelty_hash("n", t.qname),
        text_hash=ibis.ifelse(t.text, novelty_hash("t", t.qname), ibis.literal(0, "uint64")),
        domain_hash=domain_hash(t.domain),
    )


def _domain(names: ir.Table) -> ir.StringValue:
    """Return the domain of names: ``SINGLE_LABEL`` for those of one label; all of each reverse zone are one."""
    reverse = ((names.qname.endswith(zone), zone) for zone in _REVERSE)
    return ibis.cases((~names.qname.contains("."), SINGLE_LABEL), *reverse, else_=names.domain)


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


def _named(records: ir.Table, prefixes: ir.Table, *others: str) -> ir.Table:
    """Put the prefix in the place of the addresses that have one, which become the ``source``; else that is NULL.

    ``records`` are transactions, with ``others`` beside their own columns.
    """
    t = records.left_join(prefixes, records.client == prefixes.address)
    t = t.select(
        "ts",
        "qname",
        "answers",
        "ttls",
        *others,
        client=t.prefix.fill_null(t.client),
        source=ibis.ifelse(t.prefix.isnull(), ibis.null("string"), t.client),
        failed=(t.rcode == _NXDOMAIN).fill_null(False),
        resolved=((t.answers.length() > 0) & ~(t.rcode == _NXDOMAIN).fill_null(False)).fill_null(False),
        text=t.qtype.notin(ORDINARY_TYPES).fill_null(False),
    )
    return t.filter(t.client.notnull())


def noted(
    transactions: ir.Table, asked: ir.Table, interesting: ir.Table, prefixes: ir.Table, flooding: ir.Table
) -> ir.Table:
    """Return the records of ``interesting`` names, with what is known of the name.

    ``interesting`` has the ``hash`` of names with ``new``, ``new_text`` and ``newly_observed``. What is ``flooding`` is
    left out.
    """
    known = ["hash", "domain", "records", "new", "new_text", "newly_observed"]
    names = asked.inner_join(interesting, "hash").select("qname", *known)
    t = _named(transactions.inner_join(names, "qname"), prefixes, *known)
    return t.anti_join(flooding, ["client", "domain"])


def firsts(noted: ir.Table) -> ir.Table:
    """Return for each new name who asked first, when, and what, and the first ``answers``, those of text before others.

    ``alone`` is whether that was the only record. Names that were not asked for text before count as well.
    """
    t = noted.filter(noted.new | noted.new_text)
    columns = [
        "hash", "qname", "domain", "newly_observed", "new", "client", "source", "ts", "failed", "resolved", "text",
        "answers", "ttls",
    ]  # fmt: skip
    # Most new names are asked for once, and need no grouping.
    alone = t.filter(t.new & (t.records == 1)).select(*columns, alone=ibis.literal(True))
    t = t.filter(~(t.new & (t.records == 1)))
    several = t.group_by("hash").agg(
        qname=t.qname.arbitrary(),
        domain=t.domain.arbitrary(),
        newly_observed=t.newly_observed.arbitrary(),
        new=t.new.arbitrary(),
        client=t.client.argmin(t.ts),
        source=t.source.argmin(t.ts),
        ts=t.ts.min(),
        # What a name is does not depend on one query.
        failed=t.failed.any() & ~t.resolved.any(),
        resolved=t.resolved.any(),
        text=t.text.any(),
        **{name: t[name].first(where=t.answers.notnull(), order_by=[~t.text, t.ts]) for name in ("answers", "ttls")},
    )
    t = ibis.union(alone, several.select(*columns, alone=ibis.literal(False)))
    block_list = t.answers.filter(lambda answer: ~answer.startswith("127.")).length() == 0
    policy = (t.answers.filter(lambda answer: answer.re_search(_MAIL_POLICY)).length() > 0).fill_null(False)
    answered = (t.answers.length() > 0).fill_null(False)
    return t.mutate(
        answered=answered, policy=answered & policy, design=answered & (block_list.fill_null(False) | policy)
    )


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
    t = firsts.left_join(carried, "hash")
    new = _part(
        t,
        queries=t.alone,
        failures=t.alone & t.failed,
        missing=t.alone & t.failed & ~t.text,
        resolved=t.alone & t.resolved & ~t.text,
        names=t.new,
        failed_names=t.new & t.failed,
        answered_names=t.answered,
        text_names=t.text & ~t.policy,
        design_names=t.design,
        labels=t.labels.fill_null(0),
        label_bytes=t.label_bytes.fill_null(0),
        answer_bytes=t.answer_bytes.fill_null(0),
        sample=t.qname,
        answers=_of_newly_observed(t),
        received=ibis.ifelse(t.resolved & ~t.text & ~t.design, _received(t), ibis.null("string")),
    )
    t = noted.filter(~(noted.new & (noted.records == 1)))
    others = _part(
        t,
        queries=ibis.literal(1, "int32"),
        failures=t.failed,
        missing=t.failed & ~t.text,
        resolved=t.resolved & ~t.text,
        answers=_of_newly_observed(t),
    )
    return _summed(new, others)


def _received(rows: ir.Table) -> ir.StringValue:
    """Return a name, the TTL of its last answer, and some answers, with what is in no name between them."""
    ttl = rows.ttls[rows.ttls.length() - 1].try_cast("int64").cast("string").fill_null("")
    return rows.qname + "\t" + ttl + "\t" + rows.answers[:_MAX_ADDRESSES].join("\t").left(_MAX_RECEIVED)


def _of_newly_observed(rows: ir.Table) -> ir.ArrayValue:
    return ibis.ifelse(rows.newly_observed, rows.answers, ibis.null("array<string>"))


def crowds(transactions: ir.Table, names: ir.Table, prefixes: ir.Table, busy: ir.Table) -> ir.Table:
    """Return by minute (``at``) what each of ``busy.client`` asks for, and how often: each ``qname``, its ``domain``.

    ``failures``, ``missing`` and ``resolved`` are as in records.NOVEL.
    """
    t = _named(transactions, prefixes).semi_join(busy, "client").mutate(at=transactions.ts.truncate("m"))
    t = t.group_by("at", "client", "qname").agg(
        ts=t.ts.max(),
        source=t.source.arbitrary(),
        queries=t.count(),
        failures=t.failed.sum(),
        missing=(t.failed & ~t.text).sum(),
        resolved=(t.resolved & ~t.text).sum(),
    )
    return t.inner_join(names.select("qname", domain=_domain(names)), "qname")


def crowd_domains(crowds: ir.Table, crowded: ir.Table) -> ir.Table:
    """Return the ``names`` below each ``domain`` of ``crowded.client``, and the ``hash`` of both.

    A client has too many domains that fail, or too many others, as ``crowded.fails`` says: only those are returned.
    """
    t = crowds.group_by("client", "domain").agg(
        names=crowds.count(), fails=crowds.missing.sum() > crowds.resolved.sum()
    )
    t = t.semi_join(crowded, ["client", "fails"])
    return t.mutate(hash=novelty_hash("p", t.client + " " + t.domain))


def flooding(crowd_domains: ir.Table, lost: ir.Table, heavy: ir.Table) -> ir.Table:
    """Return each ``client`` and ``domain`` that is counted as sums alone: those ``lost.hash``, and the ``heavy``."""
    return ibis.union(crowd_domains.semi_join(lost, "hash").select("client", "domain"), heavy, distinct=True)


def flooded(crowds: ir.Table, flooding: ir.Table) -> ir.Table:
    """Return what of the ``crowds`` is ``flooding``."""
    return crowds.semi_join(flooding, ["client", "domain"])


def floods(flooded: ir.Table) -> ir.Table:
    """Return novel traffic rows of what was ``flooded``, in each minute, as sums alone."""
    t = flooded.group_by("at", "client").agg(
        ts=flooded.ts.max(),
        queries=flooded.queries.sum(),
        failures=flooded.failures.sum(),
        names=flooded.count(),
        source=flooded.source.arbitrary(),
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
            received=texts_of_least(t.received, text_hash(t["sample"]), MAX_SAMPLES),
            addresses=_addresses(t.answers),
            sources=_sources(t.source),
        )
        .select(*NOVEL)
    )


def listed(transactions: ir.Table, hits: ir.Table, prefixes: ir.Table) -> ir.Table:
    """Return listed traffic rows; ``hits`` has names on lists as ``text``, with their ``entry`` and ``lists``."""
    return _listed(transactions.inner_join(hits, transactions.qname == hits.text), prefixes)


def answered_addresses(transactions: ir.Table) -> ir.Table:
    """Return each ``answer`` that is an address, or looks like one."""
    t = transactions.select(answer=transactions.answers.unnest())
    return t.filter(t.answer.re_search(_LIKE_ADDRESS)).distinct()


def listed_answers(transactions: ir.Table, hits: ir.Table, prefixes: ir.Table) -> ir.Table:
    """Return listed traffic rows for answers with addresses that are on lists; ``hits`` is as for :func:`listed`."""
    t = transactions.mutate(answer=transactions.answers.unnest())
    t = t.inner_join(hits, t.answer == hits.text).drop("answer", "text")
    return _listed(t.distinct(), prefixes)  # an answer may have several addresses of one network


def _listed(records: ir.Table, prefixes: ir.Table) -> ir.Table:
    t = _named(records, prefixes, "entry", "lists")
    t = t.mutate(hour=t.ts.truncate("h"))
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
            sources=_sources(t.source),
        )
        .select(*LISTED)
    )


def _part(rows: ir.Table, **values: ir.Value) -> ir.Table:
    """Return one part of novel rows: what it does not count is 0."""
    # Sums of 32 bits take half of the memory that those of 64 do.
    counts = {name: values.get(name, ibis.literal(0, "int32")).cast("int32") for name in NOVEL_COUNTS}
    return rows.select(
        "client",
        "source",
        "domain",
        "newly_observed",
        "ts",
        hour=rows.ts.truncate("h"),
        minute=rows.ts.minute().cast("uint64"),
        sample=values.get("sample", ibis.null("string")),
        received=values.get("received", ibis.null("string")),
        answers=values.get("answers", ibis.null("array<string>")),
        **counts,
    )


def _addresses(answers: ir.ArrayColumn) -> ir.ArrayValue:
    """Return the addresses of one of the records with answers."""
    found = answers.arbitrary().filter(lambda answer: is_ipv4(answer) | is_ipv6(answer))
    return found[:_MAX_ADDRESSES]


def _sources(sources: ir.StringColumn) -> ir.ArrayValue:
    """Return one of the addresses that asked, where the client is a prefix; rows that add up have several."""
    found = sources.arbitrary()
    return ibis.ifelse(found.notnull(), ibis.array([found]), ibis.null("array<string>"))


def _bit(number: ir.IntegerValue) -> ir.IntegerValue:
    return ibis.literal(1, "uint64") << number


def _octets(text: ir.StringValue) -> ir.IntegerValue:
    # An octet that is not printable stands there as \xNN.
    return (text.length() - 3 * (text.length() - text.replace("\\x", "").length()) // 2).cast("int64")


def expressions() -> dict[str, ir.Table]:
    """Return what makes each table, in order."""
    transactions = transactions_table("transactions")
    types = {"qname": "string", "domain": "string", "watched": "int64", "first": "timestamp", "text": "boolean"}
    names = ibis.table(types, name="names")
    prefixes = ibis.table({"address": "string", "prefix": "string"}, name="client_prefixes")
    hashes = ibis.table({"hash": "uint64"}, name="fresh")
    flags = dict.fromkeys(("new", "new_text", "newly_observed"), "boolean")
    found = ibis.table({"hash": "uint64", **flags}, name="interesting")
    made = {"crowds": crowds(transactions, names, prefixes, ibis.table({"client": "string"}, name="busy"))}
    crowded = ibis.table({"client": "string", "fails": "boolean"}, name="crowded")
    made["crowd_domains"] = crowd_domains(table_of(made, "crowds"), crowded)
    lost = ibis.table({"hash": "uint64"}, name="lost")
    heavy = ibis.table({"client": "string", "domain": "string"}, name="heavy")
    made["flooding"] = flooding(table_of(made, "crowd_domains"), lost, heavy)
    made["flooded"] = flooded(table_of(made, "crowds"), table_of(made, "flooding"))
    made["asked"] = asked(names, table_of(made, "flooded"))
    known = table_of(made, "asked")
    made["established"] = established(known, hashes)
    made["noted"] = noted(transactions, known, found, prefixes, table_of(made, "flooding"))
    made["firsts"] = firsts(table_of(made, "noted"))
    made["parts"] = parts(table_of(made, "firsts"))
    carried = ibis.table({"hash": "uint64", **dict.fromkeys(CARRIED, "int64")}, name="carried")
    made["sum_novel"] = novel(table_of(made, "noted"), table_of(made, "firsts"), carried)
    hits = ibis.table({"text": "string", "entry": "string", "lists": "array<string>"}, name="hits")
    return made | {
        "floods": floods(table_of(made, "flooded")),
        "domain_clients": domain_clients(table_of(made, "sum_novel")),
        "known_domain_clients": domain_clients(novel_table()),
        "sum_listed": listed(transactions, hits, prefixes),
        "answered_addresses": answered_addresses(transactions),
        "listed_answers": listed_answers(transactions, hits, prefixes),
    }
