"""Finds an address that turns up for many unrelated names, as one that is injected on the path."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from dnsvigil.detectors.passive_dns import Tuples, seconds
from dnsvigil.detectors.places import Places, is_global
from dnsvigil.sources.public_suffixes import registered_domain
from dnsvigil.store.store import Read
from dnsvigil.store.tuple_keys import name_of_key

MIN_DOMAINS: Final = 4
HALF: Final = 6.0
"""So many unrelated domains make a score of one half."""

MAX_ADDRESSES: Final = 200
"""So many addresses are looked at, those with most names first."""

MAX_NAMES: Final = 100
"""So many names of an address are looked at."""

_WINDOW: Final = timedelta(hours=24)
_LATELY: Final = timedelta(hours=3)
# Addresses that several names have since a few hours ago and had not before, and the other addresses of these names.
_SUDDEN: Final = f"""
    , held AS (
        SELECT nkey, rkey, min(time_first) AS first, max(time_last) AS last, max(ttl_max) AS ttl, sum(count) AS answers
        FROM recent WHERE rrtype IN ('A', 'AAAA') GROUP BY nkey, rkey
    ), sudden AS (
        SELECT rkey FROM held GROUP BY rkey
        HAVING count(*) FILTER (first >= $3) >= {MIN_DOMAINS} AND count(*) FILTER (first < $3) <= count(*) / 5
        ORDER BY count(*) DESC, rkey LIMIT {MAX_ADDRESSES}
    ), names AS (
        SELECT held.* FROM held SEMI JOIN sudden USING (rkey)
        QUALIFY row_number() OVER (PARTITION BY rkey ORDER BY nkey) <= {MAX_NAMES}
    )
    SELECT names.rkey, names.nkey, names.first, names.last, names.ttl, names.answers,
        list(DISTINCT home.rkey)[:8], max(home.last), max(home.ttl)
    FROM names JOIN held AS home ON home.nkey = names.nkey AND home.rkey <> names.rkey
    GROUP BY ALL
"""


@dataclass(frozen=True)
class Injection:
    """An address, and the names that it turned up for; times in seconds since 1970."""

    rkey: str
    names: Sequence[str]  # keys
    domains: Sequence[str]  # registered
    going_on: int  # of the domains, those of names whose other addresses were given afterwards, too
    homes: int  # distinct networks in which these names have their other addresses
    odd_ttls: int  # names whose TTL differs at least twofold
    first: int
    last: int
    answers: int

    @property
    def score(self) -> float:
        """Return the score: of domains, as far as their homes are apart. Domains that only moved make none of 0.5."""
        moved = min(0.4 * (len(self.domains) - self.going_on), HALF / 2)
        unrelated = min(self.going_on + self.odd_ttls / 2, 2 * self.homes) + moved
        return unrelated / (unrelated + HALF)


def injections(tuples: Tuples, read: Read, now: datetime, places: Places) -> list[Injection]:
    """Return the addresses that suddenly turned up for unrelated names, most of whose other addresses are apart."""
    held: defaultdict[str, list[Any]] = defaultdict(list)
    for rkey, *others in tuples.recent(read, now - _WINDOW, now, _SUDDEN, seconds(now - _LATELY)):
        if is_global(rkey):
            held[rkey].append(others)
    places.learn(set(held) | {home for each in held.values() for row in each for home in row[5]})
    return [found for rkey, each in held.items() if (found := _injection(rkey, each, places))]


def _injection(rkey: str, rows: Iterable[Any], places: Places) -> Injection | None:
    names: list[str] = []
    domains: dict[str, bool] = {}
    homes: set[str] = set()
    odd = 0
    first, last, answers = 2**32, 0, 0
    for nkey, begin, end, ttl, count, others, home_last, home_ttl in rows:
        own = {places.of(home) for home in others}
        if places.of(rkey) in own:  # a second address of one service
            continue
        names.append(nkey)
        domain = registered_domain(name_of_key(nkey)) or name_of_key(nkey)
        goes_on = home_last > begin + (home_ttl or 0)
        domains[domain] = domains.get(domain, False) or goes_on
        homes |= own
        odd += goes_on and bool(ttl is not None and home_ttl and not 0.5 <= ttl / home_ttl <= 2)
        # It lasts as long as answers contradict each other.
        first, last, answers = min(first, begin), max(last, end, home_last), answers + count
    if len(domains) < MIN_DOMAINS or len(homes) < MIN_DOMAINS:
        return None
    return Injection(rkey, names, list(domains), sum(domains.values()), len(homes), odd, first, last, answers)
