"""The page of flows: what there is of which service, beside its baseline, when, and who talks most."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from dnsvigil.api.parameters import one_of, only
from dnsvigil.records import FLOW_MEASURES, FLOW_SLOT_SECONDS, OTHER, TALKER_ELEMENTS
from dnsvigil.store.flow_verdicts import CURVE
from dnsvigil.web.masks import masked
from dnsvigil.web.page import Asked, View
from dnsvigil.web.ranges import RANGES, Range, Series, range_of

_PARAMETERS: Final = ("exporter", "protocol", "service", "measure", "element", "range", "to")
_SLOT: Final = timedelta(seconds=FLOW_SLOT_SECONDS)
_MOST: Final = 8  # layers of a picture; the rest is one
_TALKERS: Final = 10
_WEEKS: Final = timedelta(days=28)
_CHOICES: Final = 200
_ADDRESSES: Final = ("srcip", "dstip")
_FILTER: Final = """
    ($1::VARCHAR IS NULL OR exporter = $1) AND ($2::VARCHAR IS NULL OR protocol = $2)
    AND ($3::VARCHAR IS NULL OR service = $3) AND slot >= $4 AND slot < $5
"""
_BUCKET: Final = "time_bucket($6::INTERVAL, slot, $5::TIMESTAMP)"
_SERVICES: Final = f"""
    SELECT {_BUCKET}, {{layer}}, sum({{measure}})::DOUBLE FROM slot_services WHERE {_FILTER} GROUP BY ALL
"""
_VERDICTS: Final = f"""
    WITH found AS (
        SELECT slot, sum(baseline) AS baseline, count(*) AS series, bool_or(len(anomalies) > 0) AS stands_out
        FROM flow_verdicts WHERE {_FILTER} AND measure = $7 AND resolver IS NULL GROUP BY slot
    ), there AS (
        SELECT slot, count(DISTINCT (exporter, protocol, service)) AS series FROM slot_services
        WHERE {_FILTER} GROUP BY slot
    )
    SELECT {_BUCKET}, CASE WHEN bool_and(coalesce(found.series, 0) >= there.series) THEN sum(found.baseline) END,
        bool_or(coalesce(stands_out, false))
    FROM there LEFT JOIN found USING (slot) GROUP BY ALL
"""
_HOURS: Final = f"""
    SELECT isodow(slot), hour(slot), sum({{measure}})::DOUBLE / count(DISTINCT slot) FROM slot_services
    WHERE {_FILTER} GROUP BY ALL
"""
_TOP: Final = """
    SELECT time_bucket($3::INTERVAL, slot, $2::TIMESTAMP), talker, sum({measure})::DOUBLE FROM slot_talkers
    WHERE slot >= $1 AND slot < $2 AND element = $4 AND ($5::VARCHAR IS NULL OR exporter = $5) GROUP BY ALL
"""
_CHOOSE: Final = f"""
    SELECT DISTINCT exporter, protocol, service FROM slot_services WHERE slot >= ? AND slot < ?
    ORDER BY ALL LIMIT {_CHOICES}
"""


@dataclass(frozen=True)
class Layer:
    """A layer of a stacked picture."""

    name: str
    series: Series
    total: float


def flows(asked: Asked) -> View:
    """Return the page."""
    given = only(asked.given, *_PARAMETERS)
    one_of(given, "measure", FLOW_MEASURES)
    one_of(given, "element", TALKER_ELEMENTS)
    ((newest,),) = asked.backend.read("SELECT max(slot) FROM slot_services")
    values: dict[str, Any] = {
        "given": dict.fromkeys(_PARAMETERS) | given,
        "span": range_of(given, newest + _SLOT) if newest else None,
        "ranges": RANGES,
        "measures": FLOW_MEASURES,
        "elements": TALKER_ELEMENTS,
        "measure": given.get("measure", "bytes"),
        "element": given.get("element", "srcip"),
    }
    if values["span"]:
        values |= _seen(asked, given, values["span"], values["measure"], values["element"])
    return View("flows.html", values)


def _seen(asked: Asked, given: Mapping[str, str], span: Range, measure: str, element: str) -> dict[str, Any]:
    """Return what there was in a range."""
    read = asked.backend.read
    wanted = [given.get(name) for name in ("exporter", "protocol", "service")]
    bound = (*wanted, span.begin, span.end, span.step)
    layer = "exporter" if "service" in given else "service"
    rows = read(_SERVICES.format(layer=layer, measure=measure), *bound)
    kept = max(span.begin, span.newest - CURVE), *bound[4:]
    verdicts = {row[0]: row[1:] for row in read(_VERDICTS, *wanted, *kept, measure)}
    sums: dict[datetime, float] = defaultdict(float)
    for when, _, value in rows:
        sums[when] += value
    baseline = span.series({when: value for when, (value, _) in verdicts.items() if value is not None}, None)
    stands_out = span.series({when: float(out) for when, (_, out) in verdicts.items()})
    talkers = read(_TOP.format(measure=measure), span.begin, span.end, span.step, element, given.get("exporter"))
    choices = read(_CHOOSE, span.begin, span.end)
    return {
        "layers": _layers(rows, span, _MOST),
        "whole": span.series(sums, None),
        "baseline": baseline,
        "marks": [place for place, out in enumerate(stands_out.values) if out],
        "hours": _hours(read(_HOURS.format(measure=measure), *wanted, span.end - _WEEKS, span.end)),
        "talkers": _layers(_shown(asked, element, talkers), span, _TALKERS),
        "kind": "address" if element in _ADDRESSES else None,
        "choices": [sorted({row[place] for row in choices}) for place in range(3)],
    }


def _layers(rows: Iterable[tuple[datetime, str, float]], span: Range, most: int) -> list[Layer]:
    """Return the layers with most, the greatest first, and all the rest as one."""
    points: dict[str, dict[datetime, float]] = defaultdict(lambda: defaultdict(float))
    for when, name, value in rows:
        points[name][when] += value
    totals = {name: sum(own.values()) for name, own in points.items()}
    ranked = sorted(totals, key=lambda name: (name == OTHER, -totals[name]))
    shown = [Layer(name, span.series(points[name]), totals[name]) for name in ranked[:most]]
    if rest := ranked[most:]:
        summed: dict[datetime, float] = defaultdict(float)
        for name in rest:
            for when, value in points[name].items():
                summed[when] += value
        shown.append(Layer(f"{len(rest)} more", span.series(summed), sum(totals[name] for name in rest)))
    return shown


def _shown(asked: Asked, element: str, rows: Iterable[Any]) -> Iterable[tuple[datetime, str, float]]:
    """Return the rows of talkers as the viewer may see them."""
    if element not in _ADDRESSES or asked.viewer.sees_clients:
        return rows
    servers = asked.config.servers.labels
    return [(when, name if name in servers else masked(name), value) for when, name, value in rows]


def _hours(rows: Iterable[tuple[int, int, float]]) -> Sequence[Sequence[float | None]]:
    """Return the mean of a slot at each hour of each weekday, from Monday on."""
    found = {(day, hour): value for day, hour, value in rows}
    return [[found.get((day, hour)) for hour in range(24)] for day in range(1, 8)]
