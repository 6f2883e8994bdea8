"""Flows in the store as JSON: series, verdicts and top talkers. Nothing here changes the store.

Without an exporter in the request, all exporters count whose newest slot is not much older than the newest of all.
"""

import math
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any, Final

from dnsvigil.records import FLOW_MEASURES, RESOLVER_MEASURES
from dnsvigil.store.store import Read

MAX_POINTS: Final = 100_000
"""The maximum number of points in an answer."""

SHOWN_TALKERS: Final = 10
"""How many talkers there are for an element of an exporter."""

CURRENT: Final = timedelta(minutes=15)
"""An exporter whose newest slot is older than that of others by more is left out."""

_SERVICES: Final = """
    SELECT exporter, protocol, service, NULL, slot, sum(flows)::BIGINT, sum(packets)::BIGINT, sum(bytes)::BIGINT
    FROM slot_services
    WHERE slot > $1 AND ($2 IS NULL OR exporter = $2) AND ($3 IS NULL OR protocol = $3) AND ($4 IS NULL OR service = $4)
    GROUP BY ALL ORDER BY ALL
"""
_RESOLVERS: Final = """
    SELECT exporter, NULL, NULL, resolver, slot, max(clients), sum(query_packets)::BIGINT, sum(query_bytes)::BIGINT,
        sum(response_bytes)::BIGINT,
        coalesce(sum(query_flows) FILTER (proto = 'tcp'), 0) / nullif(sum(query_flows), 0)
    FROM slot_resolvers LEFT JOIN slot_clients USING (slot, exporter, resolver)
    WHERE slot > $1 AND ($2 IS NULL OR exporter = $2) AND ($3 = '*' OR resolver = $3)
    GROUP BY ALL ORDER BY ALL
"""
_VERDICTS: Final = """
    SELECT exporter, protocol, service, resolver, measure, slot, value, baseline, spread, deviation, anomalies,
        history_seconds
    FROM flow_verdicts
"""
_EVALUATED: Final = f"""
    {_VERDICTS} WHERE slot > $1 AND ($2 IS NULL OR exporter = $2) AND ($3 IS NULL OR measure = $3) AND {{kind}}
"""
_OF_SERVICE: Final = "($4 IS NULL OR protocol = $4) AND ($5 IS NULL OR service = $5) AND resolver IS NULL"
_OF_RESOLVER: Final = "($4 = '*' OR resolver = $4)"
_Series = tuple[str, str | None, str | None, str | None, str]  # exporter, protocol, service, resolver, measure


def series(
    read: Read,
    since: timedelta,
    *,
    exporter: str | None = None,
    protocol: str | None = None,
    service: str | None = None,
    resolver: str | None = None,
    measure: str | None = None,
) -> list[dict[str, Any]]:
    """Return series over the last ``since`` of event time, each with its points and its newest verdict.

    They are of protocols and services, or with ``resolver``, an address or ``*``, of resolvers. A slot has a point
    where the exporter had any flows; its value is None where it is undefined, its baseline where it was not evaluated.
    Raises ``ValueError`` for more than ``MAX_POINTS``.
    """
    newest_of = "SELECT max(slot) FROM slot_services WHERE $1::VARCHAR IS NULL OR exporter = $1"
    ((newest,),) = read(newest_of, exporter)
    if newest is None:
        return []
    first = newest - min(since, newest - datetime.min)
    slots = _slots(read, exporter, first)
    measures = RESOLVER_MEASURES if resolver else FLOW_MEASURES
    asked = (resolver,) if resolver else (protocol, service)
    values: dict[tuple[str, str | None, str | None, str | None], dict[datetime, Any]] = defaultdict(dict)
    for row in read(_RESOLVERS if resolver else _SERVICES, first, exporter, *asked):
        values[row[:4]][row[4]] = row[5:]
    columns = [(name, i) for i, name in enumerate(measures) if measure in (None, name)]
    if sum(len(slots[key[0]]) for key in values) * len(columns) > MAX_POINTS:
        raise ValueError(f"more than {MAX_POINTS:,} points; ask for less time, or for one exporter, service or measure")
    query = _EVALUATED.format(kind=_OF_RESOLVER if resolver else _OF_SERVICE)
    evaluated = _by_series(read(query, first, exporter, measure, *asked))
    found = []
    for key, given in values.items():
        # A resolver that was not seen yet was one of the others, and not silent.
        begin = min(given) if resolver else first
        for name, column in columns:
            verdicts = evaluated.get((*key, name), {})
            nothing = [None if each == "tcp_ratio" else 0 for each in measures]
            points = [
                {"slot": iso(slot), "value": given.get(slot, nothing)[column]} | _short(verdicts.get(slot))
                for slot in slots[key[0]]
                if slot >= begin
            ]
            newest = verdicts[max(verdicts)] if verdicts else None
            found.append(_names((*key, name)) | {"points": points, "verdict": newest})
    return found


def _slots(read: Read, exporter: str | None, first: datetime) -> dict[str, list[datetime]]:
    """Return the slots after ``first`` in which each exporter had any flows."""
    found: dict[str, list[datetime]] = defaultdict(list)
    query = (
        "SELECT DISTINCT exporter, slot FROM slot_services"
        " WHERE ($1::VARCHAR IS NULL OR exporter = $1) AND slot > $2 ORDER BY ALL"
    )
    for name, slot in read(query, exporter, first):
        found[name].append(slot)
    return found


def _by_series(rows: list[Any]) -> dict[_Series, dict[datetime, dict[str, Any]]]:
    """Return verdicts by series and slot."""
    found: dict[_Series, dict[datetime, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        found[row[:5]][row[5]] = _verdict(row)
    return found


def verdicts(read: Read, exporter: str | None = None, slot: datetime | None = None) -> dict[str, Any]:
    """Return the verdicts on all series in the slot, or in the newest with verdicts: ``slot, complete, verdicts``.

    They are complete when each exporter's series have been evaluated up to that slot. The store drops old verdicts
    that found no anomaly.
    """
    query = "SELECT exporter, max(slot) FROM flow_verdicts WHERE $1::VARCHAR IS NULL OR exporter = $1 GROUP BY ALL"
    newest: dict[str, datetime] = dict(read(query, exporter))
    latest = max(newest.values(), default=None)
    current = {name: when for name, when in newest.items() if latest and when >= latest - CURRENT}
    wanted = current if slot is None else dict.fromkeys(newest, slot)
    pairs = "JOIN (SELECT unnest($1::VARCHAR[]) AS exporter, unnest($2::TIMESTAMP[]) AS slot) USING (exporter, slot)"
    rows = read(f"{_VERDICTS} {pairs} ORDER BY ALL", list(wanted), list(wanted.values()))
    shown = slot or latest
    return {
        "slot": iso(shown) if shown else None,
        "complete": bool(current) and all(slot is None or when >= slot for when in current.values()),
        "verdicts": [_names(row[:5]) | _verdict(row) for row in rows],
    }


def talkers(read: Read, exporter: str | None = None, element: str | None = None) -> dict[str, Any]:
    """Return the top talkers by bytes of each exporter's newest slot: ``slot, talkers``."""
    rows = read(
        """
        WITH wanted AS (FROM slot_talkers WHERE $1::VARCHAR IS NULL OR exporter = $1),
        newest AS (
            SELECT exporter, max(slot) AS slot FROM wanted GROUP BY exporter
            QUALIFY max(slot) >= max(max(slot)) OVER () - $2::INTERVAL
        )
        SELECT slot, exporter, element, talker, sum(flows)::BIGINT, sum(packets)::BIGINT, sum(bytes)::BIGINT
        FROM wanted JOIN newest USING (exporter, slot)
        WHERE $3::VARCHAR IS NULL OR element = $3 GROUP BY slot, exporter, element, talker
        QUALIFY row_number() OVER (PARTITION BY exporter, element ORDER BY sum(bytes) DESC, talker) <= $4
        ORDER BY exporter, element, sum(bytes) DESC, talker
        """,
        exporter,
        CURRENT,
        element,
        SHOWN_TALKERS,
    )
    names = ("exporter", "element", "talker", "flows", "packets", "bytes")
    shown = max((row[0] for row in rows), default=None)
    return {
        "slot": iso(shown) if shown else None,
        "talkers": [dict(zip(names, row[1:], strict=True)) for row in rows],
    }


def iso(when: datetime) -> str:
    """Return a time in UTC as JSON has it."""
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"


def _names(key: _Series) -> dict[str, Any]:
    named = zip(("exporter", "protocol", "service", "resolver", "measure"), key, strict=True)
    return {name: value for name, value in named if value is not None}


def _short(verdict: dict[str, Any] | None) -> dict[str, Any]:
    if verdict is None:
        return {"baseline": None, "anomalies": []}
    return {"baseline": verdict["baseline"], "anomalies": verdict["anomalies"]}


def _verdict(row: tuple[Any, ...]) -> dict[str, Any]:
    value, baseline, spread, deviation = (None if x is None or not math.isfinite(x) else x for x in row[6:10])
    return {
        "slot": iso(row[5]),
        "value": value,
        "baseline": baseline,
        "spread": spread,
        "deviation": deviation,
        "anomalies": row[10],
        "history_seconds": row[11],
    }
