"""The domains that the operator's own clients have queried for a long time, as benign training data."""

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

KEPT: Final = 5000
"""How many domains there are at most."""

_DAYS: Final = 7  # that a domain must have been asked for
_FRESH: Final = timedelta(days=2)  # in which it must have been seen again
_NAMES: Final = 50_000  # of passive DNS that are looked at
_ZONES: Final = f"""
    SELECT zone FROM minute_zones WHERE zone <> 'other'
    GROUP BY zone HAVING count(DISTINCT minute::DATE) >= {_DAYS} ORDER BY sum(queries) DESC, zone
"""
_LONG_SEEN: Final = f"""
    SELECT rrname FROM passive_dns_merged WHERE rrtype IN ('A', 'AAAA', 'CNAME', 'HTTPS')
    GROUP BY rrname HAVING max(time_last) - min(time_first) >= INTERVAL {_DAYS} DAY
        AND max(time_last) >= (SELECT max(time_last) FROM passive_dns_merged) - $1::INTERVAL
    ORDER BY sum(count) DESC, rrname LIMIT {_NAMES}
"""
_FOUND: Final = """
    SELECT DISTINCT unnest((TRY_CAST(evidence AS JSON) ->> '$.domains[*]')::VARCHAR[]) FROM findings
    WHERE state <> 'dismissed'
"""
_LISTED: Final = "SELECT DISTINCT entry FROM listed"

Read = Callable[..., list[Any]]


def own_popular_domains(read: Read) -> list[str]:
    """Return registered domains, those with most queries first, ``KEPT`` at most.

    They are zones that were among the heaviest on seven days, and domains with names that passive DNS has known for
    seven days and seen in the last two. No tables say how many clients asked, but what lasts is mostly wanted. Domains
    of findings that were not dismissed, and those that lists of bad domains have, are left out. ``read`` is as
    :meth:`dnsvigil.store.store.Store.rows`, and raises what that does.
    """
    tables = {name for (name,) in read("SELECT table_name FROM duckdb_tables()")}
    names = [zone for (zone,) in read(_ZONES)] if "minute_zones" in tables else []
    if "passive_dns_merged" in tables:
        names += [name for (name,) in read(_LONG_SEEN, _FRESH)]
    bad = {name for (name,) in read(_FOUND)} if "findings" in tables else set()
    if "listed" in tables:
        bad.update(_registered(name for (name,) in read(_LISTED)))
    return [domain for domain in dict.fromkeys(_registered(names)) if domain not in bad][:KEPT]


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
