"""Reads the rows of dnsvigil_poisoning.log that are worth a test, and what a sensor loses."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from dnsvigil.records import SIGNALS
from dnsvigil.store.findings import QUIET
from dnsvigil.store.store import Read

WINDOW: Final = timedelta(hours=24)
MAX_ZONES: Final = 50
"""So many zones of a resolver are tested for each kind of sign, those with most signs first."""

MAX_ROWS: Final = 200_000
"""So many rows are read at most, the newest first."""

COUNTS: Final = (*SIGNALS, "odd_fragments")
"""What a row counts of signs."""

_KINDS: Final = ("wrong_id + wrong_port", "conflicting_answers", "out_of_bailiwick", "forged_ns", "first_fragments")
_COLUMNS: Final = (
    "sensor, resolver, zone, ts, coalesce(time_first, ts), coalesce(time_last, ts), coalesce(queries, 0),"
    " coalesce(responses, 0), port_entropy, id_entropy, coalesce(sources, 0), sample_names, sample_servers,"
    f" sample_records, {', '.join(f'coalesce({name}, 0)' for name in COUNTS)}"
)
_RANK: Final = "CASE WHEN {0} > 0 THEN row_number() OVER (PARTITION BY resolver ORDER BY {0} DESC, zone) END"
_ZONES: Final = f"""
    WITH signs AS (
        SELECT resolver, zone, {", ".join(f"sum({kind}) AS kind{place}" for place, kind in enumerate(_KINDS))}
        FROM poisoning WHERE zone IS NOT NULL AND ts > $3 AND ts <= $2 GROUP BY resolver, zone
    ), chosen AS (
        FROM signs
        QUALIFY least({", ".join(_RANK.format(f"kind{place}") for place in range(len(_KINDS)))}) <= {MAX_ZONES}
    )
    SELECT {_COLUMNS} FROM poisoning SEMI JOIN chosen USING (resolver, zone)
    WHERE ts > $1 AND ts <= $2 ORDER BY ts DESC LIMIT {MAX_ROWS}
"""
_WHOLES: Final = f"""
    SELECT {_COLUMNS} FROM poisoning WHERE zone IS NULL AND ts > $1 AND ts <= $2
    ORDER BY ts DESC LIMIT {MAX_ROWS}
"""
_SPREAD: Final = """
    SELECT resolver, date_trunc('hour', ts) AS hour, count(DISTINCT zone) FILTER (conflicting_answers > 0) AS second,
        count(DISTINCT zone) FILTER (wrong_id + wrong_port > 0) AS wrong,
        min(coalesce(time_first, ts)), max(coalesce(time_last, ts)), list(DISTINCT zone)[:10],
        coalesce(sum(responses) FILTER (zone IS NULL), 0)
    FROM poisoning WHERE ts > $1 AND ts <= $2 GROUP BY ALL HAVING count(zone) > 0 ORDER BY resolver, hour
"""
# What a zone's rows of an hour are to the test without a loss: w is 0 beyond the alarm, a tenth if suspicious.
_USUAL: Final = """
    WITH hours AS (
        SELECT resolver, zone, greatest(sum(wrong_id + wrong_port) - 1, 0) AS wrong,
            sum(responses - unsolicited) AS answers
        FROM poisoning WHERE zone IS NOT NULL AND ts > $1 AND ts <= $2
        GROUP BY resolver, zone, sensor, date_trunc('hour', ts)
    ), weighed AS (
        SELECT *, CASE WHEN sum >= $3 THEN 0 WHEN sum > 0 THEN 0.1 ELSE 1 END AS w
        FROM (SELECT *, wrong * ln(10) + greatest(answers - wrong, 0) * ln(0.5 / 0.95) AS sum FROM hours)
    )
    SELECT resolver, (sum(w * wrong) + 50 * 0.05) / (sum(w * answers) + 50) FROM weighed GROUP BY resolver
"""
_LOSS: Final = """
    SELECT coalesce(sensor, ''), greatest(
        sum(packets_dropped) / greatest(sum(packets) + sum(packets_dropped), 1),
        coalesce(quantile_cont(least(
            unmatched_queries / greatest(dns_queries, 1), unmatched_responses / greatest(dns_responses, 1)
        ), 0.25) FILTER (dns_queries >= 5), 0)
    )
    FROM capture WHERE ts > $1 AND ts <= $2 GROUP BY ALL
"""
_ENOUGH: Final = 100  # messages
_DIRECTIONS: Final = f"""
    SELECT bool_or(queries = 0 AND responses >= {_ENOUGH}), bool_or(responses = 0 AND queries >= {_ENOUGH}) FROM (
        SELECT sum(queries) AS queries, sum(responses) AS responses FROM poisoning
        WHERE zone IS NULL AND ts > $1 AND ts <= $2 GROUP BY sensor, resolver
    )
"""
_PRESENT: Final = """
    SELECT (SELECT count(*) > 0 FROM poisoning WHERE ts > $1 AND ts <= $2),
        (SELECT count(*) > 0 FROM capture WHERE ts > $1 AND ts <= $2)
"""


class Row(NamedTuple):
    """A row of the log; times are UTC without a zone."""

    sensor: str | None
    resolver: str
    zone: str | None  # None: the resolver as a whole
    ts: datetime
    time_first: datetime
    time_last: datetime
    queries: int
    responses: int
    port_entropy: float | None  # bits, as the next
    id_entropy: float | None
    sources: int
    names: list[str] | None
    servers: list[str] | None
    records: list[str] | None  # None: a log of an earlier version
    signs: Mapping[str, int]  # of each of COUNTS

    @property
    def wrong(self) -> int:
        """Return the answers with a wrong id or port."""
        return self.signs["wrong_id"] + self.signs["wrong_port"]

    @property
    def matched(self) -> int:
        """Return the answers to what was asked, right and wrong."""
        return max(self.responses - self.signs["unsolicited"], 0)

    @property
    def seconds(self) -> float:
        """Return how long it covers."""
        return (self.time_last - self.time_first).total_seconds()


Key = tuple[str, str, str | None]
"""Resolver, sensor, and zone, or None for the resolver as a whole."""


def zones(read: Read, now: datetime) -> dict[Key, list[Row]]:
    """Return the rows of a day of the zones with most signs in an hour, in the order of time."""
    return _by_key(read(_ZONES, now - WINDOW, now, now - QUIET))


def wholes(read: Read, now: datetime) -> dict[Key, list[Row]]:
    """Return the rows of a day of the resolvers as a whole, in the order of time."""
    return _by_key(read(_WHOLES, now - WINDOW, now))


class Spread(NamedTuple):
    """How many zones of a resolver had signs in an hour."""

    resolver: str
    hour: datetime
    second: int  # zones with answers to one query that differ
    wrong: int  # zones with wrong ids or ports
    first: datetime
    last: datetime
    zones: list[str]  # some
    answers: int  # to the resolver, in all zones


def spreads(read: Read, now: datetime) -> dict[str, list[Spread]]:
    """Return in how many zones of each resolver there were signs, by the hour, in the order of time."""
    found: defaultdict[str, list[Spread]] = defaultdict(list)
    for row in read(_SPREAD, now - WINDOW, now):
        found[row[0]].append(Spread(*row))
    return dict(found)


def usual_wrong(read: Read, now: datetime, alarm: float) -> dict[str, float]:
    """Return the usual share of wrong answers in zones with signs, by resolver; a day's, without what is reported."""
    return dict(read(_USUAL, now - WINDOW, now, alarm))


def losses(read: Read, now: datetime) -> dict[str, float]:
    """Return the share of packets that each sensor lost in an hour.

    What the tap loses before the sensor shows in queries without an answer and answers without a query alike. The
    smaller share counts: forged answers raise the one, and servers that do not answer the other. An attack raises both,
    so that of the quietest quarter of the hour's intervals counts.
    """
    return {sensor: share or 0.0 for sensor, share in read(_LOSS, now - QUIET, now)}


def lacks(read: Read, now: datetime) -> list[str]:
    """Return what the sensors do not show, if there are any with the Zeek package."""
    ((rows, package),) = read(_PRESENT, now - WINDOW, now)
    if not rows:
        return ["traffic between resolvers and servers"] if package else []
    ((no_queries, no_answers),) = read(_DIRECTIONS, now - WINDOW, now)
    return ["queries of a resolver"] * bool(no_queries) + ["answers to a resolver"] * bool(no_answers)


def has_package(read: Read, now: datetime) -> bool:
    """Return whether a sensor with the Zeek package has reported within a day."""
    ((rows, package),) = read(_PRESENT, now - WINDOW, now)
    return bool(rows or package)


def _by_key(rows: list[Any]) -> dict[Key, list[Row]]:
    found: defaultdict[Key, list[Row]] = defaultdict(list)
    fixed = len(Row._fields) - 1
    for values in reversed(rows):
        signs = dict(zip(COUNTS, values[fixed:], strict=True))
        row = Row._make([*values[:fixed], signs])
        found[row.resolver, row.sensor or "", row.zone].append(row)
    return dict(found)
