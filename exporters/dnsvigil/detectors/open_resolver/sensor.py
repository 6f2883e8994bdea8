"""Reads what sensors saw: the rows of the package's log, by host."""

from datetime import datetime, timedelta
from typing import Final

from dnsvigil.detectors.open_resolver.traffic import DAY, RECENT, SENSOR, Counts, Seen
from dnsvigil.store.store import Read

_MINUTE: Final = timedelta(minutes=1)  # event time stands at the minute of the newest record
_COUNTS: Final = """count(DISTINCT time_bucket(INTERVAL 5 MINUTE, time_last)) {0}, coalesce(max(askers) {0}, 0),
    coalesce(sum(askers) {0}, 0)::BIGINT, coalesce(sum(responses) {0}, 0)::BIGINT,
    coalesce(sum(query_bytes) {0}, 0)::BIGINT, coalesce(sum(response_bytes) {0}, 0)::BIGINT"""
_HOSTS: Final = f"""
    SELECT host, min(time_first), max(time_last), count(DISTINCT date_trunc('hour', time_last)),
        {_COUNTS.format("")}, {_COUNTS.format("FILTER (time_last >= $3)")},
        max(returning_askers), bool_or(kind = 'forwarder'), arg_max(answered_from, ts),
        arg_max(sample_names, ts) FILTER (len(sample_names) > 0)
    FROM open_resolvers WHERE ts >= $1 AND ts < $2 AND time_first IS NOT NULL AND time_last IS NOT NULL
    GROUP BY host ORDER BY sum(response_bytes) DESC NULLS LAST, host LIMIT $4
"""
_DROPPED: Final = "SELECT coalesce(sum(dropped_open_resolver), 0)::BIGINT FROM capture WHERE ts >= $1 AND ts < $2"


def seen_by_sensors(read: Read, now: datetime, most: int) -> list[Seen]:
    """Return the open hosts of a day, at most ``most``: those with the most bytes in responses."""
    found = []
    for host, first, last, hours, *rest in read(_HOSTS, now - DAY, now + _MINUTE, now - RECENT, most):
        day, recent, (returning, forwarder, answered_from, names) = Counts(*rest[:6]), Counts(*rest[6:12]), rest[12:]
        found.append(
            Seen(
                host, SENSOR, first, last, hours, day, recent, day.askers, returning, float(forwarder),
                answered_from=answered_from, names=names or (),
            )
        )  # fmt: skip
    return found


def count_hosts(read: Read, now: datetime) -> int:
    """Return how many open hosts the sensors saw in a day."""
    query = "SELECT count(DISTINCT host) FROM open_resolvers WHERE ts >= $1 AND ts < $2"
    ((hosts,),) = read(query, now - DAY, now + _MINUTE)
    return int(hosts)


def dropped(read: Read, since: datetime, now: datetime) -> int:
    """Return how many hosts and queries the sensors had no room for."""
    ((entries,),) = read(_DROPPED, since, now + _MINUTE)
    return int(entries)
