"""Reads the past of names from passive DNS: all that a name had, and what changed lately."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from dnsvigil.detectors.passive_dns import Tuples, seconds
from dnsvigil.records import ANSWER
from dnsvigil.store.store import Read
from dnsvigil.store.tuple_keys import Range, united

MAX_NAMES: Final = 300
"""So many names that changed are looked at, those seen most first."""

MAX_TUPLES: Final = 100_000
"""So many tuples are looked at; the zones of a CDN or a tunnel have many, and no stable names."""

_ADDRESSES: Final = ("A", "AAAA")
_DAY: Final = timedelta(hours=24)
_LATELY: Final = timedelta(hours=3)
_MAX_ADDRESSES: Final = 6
# Names with few data in a day, of which some are old, or which did not exist, and some are from the last hours; and the
# zones that such names serve.
_CHANGED: Final = f"""
    , held AS (
        SELECT nkey, rrtype, rkey, min(time_first) AS first, sum(count) AS seen FROM recent
        WHERE rrtype IN ('A', 'AAAA', 'NS', 'NXDOMAIN') GROUP BY ALL
    ), names AS (
        SELECT nkey FROM held GROUP BY nkey
        HAVING count(*) BETWEEN 2 AND {2 * _MAX_ADDRESSES} AND max(first) FILTER (rrtype <> 'NXDOMAIN') >= $3
            AND min(first) < $3
        ORDER BY sum(seen) DESC, nkey LIMIT {MAX_NAMES}
    )
    FROM names UNION (
        SELECT DISTINCT nkey FROM held WHERE rrtype = 'NS' AND rkey[2:] IN (FROM names) ORDER BY nkey LIMIT {MAX_NAMES}
    )
"""


class Had(NamedTuple):
    """Data that a name had; times in seconds since 1970."""

    rkey: str  # as dnsvigil.store.tuple_keys has it
    first: int
    last: int
    answers: int
    ttl: int | None  # seconds, the largest
    cached: bool  # a cache gave it: its TTL counted down
    answered: bool  # it was in an answer section


class Past(NamedTuple):
    """What a name had."""

    addresses: Sequence[Had]
    servers: Sequence[Had]  # NS records
    missing: Sequence[tuple[int, int]]  # when the name, or its type, did not exist: first and last


def pasts(tuples: Tuples, read: Read, ranges: Iterable[Range]) -> dict[str, Past]:
    """Return the past of each name in ranges of keys, by the name's key."""
    found: defaultdict[tuple[str, str, str], list[tuple[int, ...]]] = defaultdict(list)
    for nkey, rrtype, rkey, _, first, last, count, low, high, _, seen_in in tuples.inside(read, united(ranges)):
        kind = "A" if rrtype in _ADDRESSES else rrtype
        if kind in ("A", "NS", "NXDOMAIN") and (len(found) < MAX_TUPLES or (nkey, kind, rkey) in found):
            found[nkey, kind, rkey].append((first, last, count, low, high, seen_in))
    names: defaultdict[str, dict[str, list[Had]]] = defaultdict(lambda: {"A": [], "NS": [], "NXDOMAIN": []})
    for (nkey, kind, rkey), parts in found.items():
        names[nkey][kind].append(_joined(rkey, parts))
    return {
        nkey: Past(each["A"], each["NS"], [(had.first, had.last) for had in each["NXDOMAIN"]])
        for nkey, each in names.items()
    }


def changed(tuples: Tuples, read: Read, now: datetime) -> list[str]:
    """Return the keys of names with few data, of which some are older than three hours and some newer."""
    return [nkey for (nkey,) in tuples.recent(read, now - _DAY, now, _CHANGED, seconds(now - _LATELY))]


def range_of_name(key: str) -> Range:
    """Return the range of one name."""
    return key, f"{key}\0"


def ranges_of_zone(key: str) -> list[Range]:
    """Return the ranges of a zone's own name, and of all names below it."""
    return [range_of_name(key), (f"{key}.", f"{key}/")]


def _joined(rkey: str, parts: Sequence[tuple[int, ...]]) -> Had:
    firsts, lasts, counts, lows, highs, sections = zip(*parts, strict=True)
    known = [high for high in highs if high is not None]
    cached = any(low is not None and high is not None and low < high for low, high in zip(lows, highs, strict=True))
    answered = any(section & ANSWER for section in sections)
    return Had(rkey, min(firsts), max(lasts), sum(counts), max(known, default=None), cached, answered)
