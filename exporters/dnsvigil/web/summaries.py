"""Queries and failures of a server or a zone in a range of time, from the summaries of minutes."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from dnsvigil.records import LATENCY_BOUNDS
from dnsvigil.store.store import Read
from dnsvigil.web.ranges import Range, Series, range_of

_MINUTE: Final = timedelta(minutes=1)
# Sums of each step, and of each part; of each step and part they would be many thousands.
_QUERIES: Final = """
    SELECT time_bucket($4::INTERVAL, minute, $3::TIMESTAMP) AS step, {} AS part, sum(queries)::BIGINT,
    sum(nxdomain)::BIGINT FROM minute_zones WHERE {} GROUP BY GROUPING SETS ((step), (part))
"""
_FAILURES: Final = """
    SELECT time_bucket($4::INTERVAL, minute, $3::TIMESTAMP) AS step, {} AS part, reason, sum(failures)::BIGINT
    FROM minute_failures WHERE {} GROUP BY GROUPING SETS ((step, reason), (part))
"""
_LATENCIES: Final = "SELECT bucket, sum(records)::BIGINT FROM minute_latencies WHERE {} GROUP BY bucket ORDER BY bucket"
_TYPES: Final = "SELECT qtype, rcode, sum(records)::BIGINT FROM minute_types WHERE {} GROUP BY ALL"


@dataclass(frozen=True)
class Row:
    """What a server is asked about a zone."""

    part: str  # the server, or the zone
    queries: int
    failures: int
    nxdomain: int

    @property
    def ratio(self) -> float:
        """The share of failures in queries."""
        return self.failures / self.queries if self.queries else 0.0


class Summaries:
    """The summaries of the servers, or zones, that have one of some values. Everything raises ``StoreError``."""

    def __init__(self, read: Read, column: Literal["server", "zone"], values: Sequence[str], span: Range) -> None:
        self._read = read
        self._where = f"list_contains($1::VARCHAR[], {column}) AND minute >= $2 AND minute < $3"
        self._bound = ([*values], span.begin, span.end)
        self._span = span
        other = "zone" if column == "server" else "server"
        self._queries = read(_QUERIES.format(other, self._where), *self._bound, span.step)
        self._failures = read(_FAILURES.format(other, self._where), *self._bound, span.step)

    def queries(self) -> Series:
        """Return the queries at each step."""
        return self._span.series({step: queries for step, _, queries, _ in self._queries if step})

    def failures(self) -> Mapping[str, Series]:
        """Return the failures at each step, by their reason, the most frequent first."""
        found: defaultdict[str, dict[datetime, int]] = defaultdict(dict)
        for step, _, reason, failures in self._failures:
            if step:
                found[reason][step] = failures
        worst = sorted(found, key=lambda reason: -sum(found[reason].values()))
        return {reason: self._span.series(found[reason]) for reason in worst}

    def parts(self) -> list[Row]:
        """Return the sums by zone of a server, or by server of a zone."""
        failed = {part: failures for step, part, _, failures in self._failures if step is None}
        return [
            Row(part, queries, failed.get(part, 0), nxdomain)
            for step, part, queries, nxdomain in self._queries
            if step is None
        ]

    def latencies(self) -> Mapping[float, float | None]:
        """Return below which time half, 95 % and 99 % of the answers came, by the share; None for above all bounds."""
        counts = self._read(_LATENCIES.format(self._where), *self._bound)
        total = sum(count for _, count in counts)
        return {share: _bound(counts, share * total) for share in (0.5, 0.95, 0.99)} if total else {}

    def types(self) -> tuple[Counter[str], Counter[str]]:
        """Return the records by type, and by response code."""
        types, rcodes = Counter[str](), Counter[str]()
        for qtype, rcode, records in self._read(_TYPES.format(self._where), *self._bound):
            types[qtype] += records
            rcodes[rcode] += records
        return types, rcodes


def wanted_range(read: Read, given: Mapping[str, str]) -> Range | None:
    """Return the range that a request wants; None where there are no summaries."""
    ((newest,),) = read("SELECT max(minute) FROM minute_zones")
    return range_of(given, newest + _MINUTE) if newest else None


def _bound(counts: Sequence[tuple[int, int]], least: float) -> float | None:
    """Return the upper bound of the bucket in which a number of records is reached."""
    reached = 0
    for bucket, count in counts:
        reached += count
        if reached >= least:
            return LATENCY_BOUNDS[bucket] if bucket < len(LATENCY_BOUNDS) else None
    return None
