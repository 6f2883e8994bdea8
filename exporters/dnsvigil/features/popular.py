"""The domains that the operator's own clients have queried for a long time, as benign training data."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from heapq import nsmallest
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from dnsvigil.engines.tuples import TupleReader
from dnsvigil.sources.honeypots.entries import LIST
from dnsvigil.store.tuple_keys import name_of_key
from dnsvigil.system.sql import literal

KEPT: Final = 5000
"""How many domains there are at most."""

_DAYS: Final = 7  # that a domain must have been asked for
_FRESH: Final = timedelta(days=2)  # in which it must have been seen again
_NAMES: Final = 50_000  # of passive DNS, those seen most
_ZONES: Final = f"""
    SELECT zone FROM minute_zones WHERE zone <> 'other'
    GROUP BY zone HAVING count(DISTINCT minute::DATE) >= {_DAYS} ORDER BY sum(queries) DESC, zone
"""
_TYPES: Final = ("A", "AAAA", "CNAME", "HTTPS")
_FOUND: Final = """
    SELECT DISTINCT unnest((TRY_CAST(evidence AS JSON) ->> '$.domains[*]')::VARCHAR[]) FROM findings
    WHERE state <> 'dismissed'
"""
_LISTED: Final = "SELECT DISTINCT entry FROM listed"
_HONEYPOTS: Final = "SELECT entry FROM honeypot_entries WHERE NOT address AND neighbour_of IS NULL ORDER BY entry"
_OPEN: Final = """
    SELECT unnest((TRY_CAST(evidence AS JSON) ->> '$.domains[*]')::VARCHAR[]) FROM findings WHERE state = 'open'
    UNION SELECT subject FROM findings WHERE state = 'open' AND subject_type = 'domain' ORDER BY ALL
"""
_BY_LIST: Final = f"""
    SELECT list, list(DISTINCT entry ORDER BY entry) FROM (SELECT unnest(lists) AS list, entry FROM listed)
    WHERE NOT starts_with(list, {literal(LIST)}) GROUP BY list ORDER BY list
"""

Read = Callable[..., list[Any]]


@dataclass(frozen=True)
class OwnDomains:
    """Registered domains that the operator's clients have queried for long."""

    popular: Sequence[str]  # those with most queries first, ``KEPT`` at most
    suspected: int  # how many were left out, beside these, for what is known against them


def own_popular_domains(read: Read, tuples: TupleReader) -> OwnDomains:
    """Return the operator's own popular domains.

    They are zones that were among the heaviest on seven days, and domains with names that passive DNS has known for
    seven days and seen in the last two. No tables say how many clients asked, but what lasts is mostly wanted. Domains
    of findings that were not dismissed, those that lists of bad domains have, and those from which attackers of
    honeypots fetch programs, are left out. ``read`` is as
    :meth:`dnsvigil.store.store.Store.rows`, and raises what that does.
    """
    tables = {name for (name,) in read("SELECT table_name FROM duckdb_tables()")}
    names = [zone for (zone,) in read(_ZONES)] if "minute_zones" in tables else []
    if "passive_dns_files" in tables:
        names += _long_seen(tuples)
    bad = {name for (name,) in read(_FOUND)} if "findings" in tables else set()
    if "listed" in tables:
        bad.update(_registered(name for (name,) in read(_LISTED)))
    if "honeypot_entries" in tables:
        bad.update(_registered(name for (name,) in read(_HONEYPOTS)))
    popular: list[str] = []
    suspected = 0
    for domain in dict.fromkeys(_registered(names)):
        if domain in bad:
            suspected += 1
        elif len(popular) < KEPT:
            popular.append(domain)
        else:
            break
    return OwnDomains(popular, suspected)


def known_domains(read: Read) -> dict[str, list[str]]:
    """Return the domains of open findings, as ``suspicious``, and the names on each list, that of honeypots among them.

    Of the operator's lists it is what clients asked for. ``read`` is as for :func:`own_popular_domains`.
    """
    tables = {name for (name,) in read("SELECT table_name FROM duckdb_tables()")}
    found = {"suspicious": [name for (name,) in read(_OPEN)]} if "findings" in tables else {}
    lists = read(_BY_LIST) if "listed" in tables else []
    if "honeypot_entries" in tables and (entries := [name for (name,) in read(_HONEYPOTS)]):
        lists.append((LIST, entries))
    for name, entries in lists:
        found[name] = [*entries, *found.get(name, [])]
    return found


def _long_seen(tuples: TupleReader) -> list[str]:
    """Return the names that have been seen for long and lately, those seen most first."""
    found: list[tuple[int, str, int]] = []  # how often it was seen, below zero; the name; when last
    newest = 0
    for table in tuples.encoded("names", select=_names):
        grouped = table.group_by("nkey").aggregate([("time_first", "min"), ("time_last", "max"), ("count", "sum")])
        newest = max(newest, pc.max(table["time_last"]).as_py() or 0)
        span = pc.subtract(grouped["time_last_max"].cast("int64"), grouped["time_first_min"].cast("int64"))
        lasting = grouped.filter(pc.greater_equal(span, _DAYS * 86400))
        columns = (lasting[name].to_pylist() for name in ("count_sum", "nkey", "time_last_max"))
        rows = ((-count, name_of_key(key), last) for count, key, last in zip(*columns, strict=True))
        found = nsmallest(2 * _NAMES, [*found, *rows])
    fresh = newest - _FRESH.total_seconds()
    return [name for _, name, last in found if last >= fresh][:_NAMES]


def _names(table: pa.Table) -> pa.Table:
    """Return a tuple for each name of a sorted table: the type and data do not matter, and are a type that counts."""
    t = table.filter(pc.is_in(table["rrtype"], pa.array(_TYPES)))
    found = t.group_by("nkey", use_threads=False).aggregate(
        [("time_first", "min"), ("time_last", "max"), ("count", "sum")]
    )
    size = found.num_rows
    columns = {name: pa.nulls(size, table.schema.field(name).type) for name in table.column_names} | {
        "nkey": found["nkey"],
        "rrtype": pa.array([_TYPES[0]] * size, pa.string()),
        "rkey": pa.array([""] * size, pa.string()),
        "time_first": found["time_first_min"],
        "time_last": found["time_last_max"],
        "count": found["count_sum"],
    }
    return pa.table([columns[field.name].cast(field.type) for field in table.schema], schema=table.schema)


def _registered(names: Iterable[str]) -> Iterator[str]:
    import tldextract  # with requests and urllib3, which the collector does not need

    extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)
    for name in names:
        found = extract.extract_str(name)
        if found.suffix:
            domain = f"{found.domain}.{found.suffix}" if found.domain else ""
        else:  # its last label is taken for one, as everywhere
            domain = ".".join(name.split(".")[-2:]) if "." in name else ""
        if domain:
            yield domain
