"""The page of a server: what it is asked, what fails for which reason, how long it takes, beside the other servers."""

from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from dnsvigil.web import subject
from dnsvigil.web.copy_as import commands
from dnsvigil.web.lists import PER_PAGE, listing
from dnsvigil.web.masks import masked
from dnsvigil.web.page import Asked, View
from dnsvigil.web.ranges import RANGES, Range
from dnsvigil.web.summaries import Summaries, wanted_range

COLUMNS: Final = ("queries", "failures", "ratio", "nxdomain", "part")
"""What the list of zones, or of servers, can be sorted by."""

_MAX_TYPES: Final = 12
_MAX_CLIENTS: Final = 10
_CLIENTS: Final = """
    SELECT client, sum(query_packets)::BIGINT, sum(unanswered)::BIGINT FROM dns_flows
    WHERE list_contains($1::VARCHAR[], server) AND ts >= $2 AND ts < $3 GROUP BY client
    ORDER BY sum(query_packets) DESC, client LIMIT $4
"""
_OTHERS: Final = "SELECT DISTINCT server FROM minute_zones WHERE minute >= ? AND minute < ? ORDER BY server LIMIT 100"


def server(asked: Asked) -> View:
    """Return the page. Its status is 404 where the server is not configured and was not seen either."""
    name = asked.config.servers.label_of(subject.value_of(asked, "range", "to"))
    addresses = asked.config.servers.addresses.get(name, [name])
    span = wanted_range(asked.backend.read, asked.given)
    values: dict[str, Any] = {
        "server": name,
        "addresses": addresses,
        "span": span,
        "ranges": RANGES,
        "zones": [],
        "others": [],
        "findings": subject.findings(asked, name),
        "commands": commands("server", name, asked.config),
    }
    if span:
        values |= _seen(asked, [*dict.fromkeys([name, *addresses])], span)
    nothing = name not in asked.config.servers.names and not (values["zones"] or values["findings"])
    return View("server.html", values | {"nothing": nothing}, HTTPStatus.NOT_FOUND if nothing else HTTPStatus.OK)


def _seen(asked: Asked, names: list[str], span: Range) -> dict[str, Any]:
    """Return what was seen of the server in a range."""
    summaries = Summaries(asked.backend.read, "server", names, span)
    zones = summaries.parts()
    listed = listing(asked.given, COLUMNS).of(len(zones))
    zones.sort(key=lambda row: getattr(row, listed.sort), reverse=listed.order == "desc")
    types, rcodes = summaries.types()
    label_of = asked.config.servers.label_of
    others = dict.fromkeys(
        label_of(each) for (each,) in asked.backend.read(_OTHERS, span.end - timedelta(hours=1), span.end)
    )
    return {
        "queries": summaries.queries(),
        "failures": summaries.failures(),
        "total": sum(row.queries for row in zones),
        "failed": sum(row.failures for row in zones),
        "zones": zones[listed.offset :][:PER_PAGE],
        "listing": listed,
        "latencies": summaries.latencies(),
        "types": types.most_common(_MAX_TYPES),
        "rcodes": rcodes.most_common(_MAX_TYPES),
        "clients": _clients(asked, names, span),
        "others": [each for each in others if each not in names],
    }


def _clients(asked: Asked, names: list[str], span: Range) -> list[tuple[str, int, int]]:
    """Return the clients with most queries, by flows, with the unanswered ones."""
    begin = max(span.begin, span.end - timedelta(days=1))
    rows = asked.backend.read(_CLIENTS, names, begin, span.end, _MAX_CLIENTS)
    return [(row[0] if asked.viewer.sees_clients else masked(row[0]), *row[1:]) for row in rows]
