"""The page of a zone: how many of its queries fail on which server, for which reason, and the threshold."""

from http import HTTPStatus
from typing import Any, Final

from dnsvigil.sources.public_suffixes import domain_of
from dnsvigil.web import subject
from dnsvigil.web.copy_as import commands
from dnsvigil.web.page import Asked, View
from dnsvigil.web.ranges import RANGES, Range, Series
from dnsvigil.web.summaries import Summaries, wanted_range

_NEIGHBOURS: Final = """
    SELECT zone, sum(queries)::BIGINT FROM minute_zones WHERE minute >= ? AND minute < ? AND zone <> ?
    GROUP BY zone ORDER BY sum(queries) DESC LIMIT 20
"""


def zone(asked: Asked) -> View:
    """Return the page. Its status is 404 where no server was asked for the zone in the range, or nobody knows."""
    name = subject.name_of(asked, "range", "to")
    span = wanted_range(asked.backend.read, asked.given)
    threshold, min_queries = asked.config.zones.limits(name)
    values: dict[str, Any] = {
        "zone": name,
        "domain": domain_of(name),
        "span": span,
        "ranges": RANGES,
        "servers": [],
        "neighbours": [],
        "threshold": threshold,
        "min_queries": min_queries,
        "findings": subject.findings(asked, name),
        "commands": commands("zone", name, asked.config),
    }
    if span:
        values |= _seen(asked, name, span)
    configured = name in [each.name for each in asked.config.zones.configured]
    nothing = not (values["servers"] or values["findings"] or configured)
    return View("zone.html", values | {"nothing": nothing}, HTTPStatus.NOT_FOUND if nothing else HTTPStatus.OK)


def _seen(asked: Asked, name: str, span: Range) -> dict[str, Any]:
    """Return what was seen of the zone in a range."""
    summaries = Summaries(asked.backend.read, "zone", [name], span)
    queries, failures = summaries.queries(), summaries.failures()
    return {
        "queries": queries,
        "failures": failures,
        "ratio": _ratio(queries, [*failures.values()]),
        "servers": sorted(summaries.parts(), key=lambda row: -row.ratio),
        "neighbours": asked.backend.read(_NEIGHBOURS, span.begin, span.end, name),
    }


def _ratio(queries: Series, failures: list[Series]) -> Series:
    """Return the share of failures at each step; None where there is no query."""
    failed = [sum(each or 0 for each in column) for column in zip(*(one.values for one in failures), strict=True)]
    failed = failed or [0.0] * len(queries.values)
    ratios = [
        lost / all_of_them if all_of_them else None for lost, all_of_them in zip(failed, queries.values, strict=True)
    ]
    return Series(ratios, queries.begin, queries.end)
