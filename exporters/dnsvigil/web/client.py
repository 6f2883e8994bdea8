"""The page of a client: what it asked whom, what of it was new or on a list, and what was found."""

import ipaddress
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from dnsvigil.web import subject
from dnsvigil.web.copy_as import commands
from dnsvigil.web.lists import PER_PAGE, listing
from dnsvigil.web.page import Asked, View

_COLUMNS: Final = ("queries", "failures", "last", "domain")
_MAX_SERVERS: Final = 20
_MAX_LISTED: Final = 50
_MAX_DOMAINS: Final = 1000
_FLOWS: Final = """
    SELECT ts, server, sum(query_packets)::BIGINT, sum(unanswered)::BIGINT, sum(response_bytes)::BIGINT
    FROM dns_flows WHERE client = ? GROUP BY ALL
"""
_DOMAINS: Final = f"""
    SELECT domain, sum(queries)::BIGINT AS queries, sum(failures)::BIGINT AS failures, max(last_seen) AS last,
        bool_or(newly_observed) AS newly_observed
    FROM novel WHERE client = ? GROUP BY domain ORDER BY queries DESC LIMIT {_MAX_DOMAINS}
"""
_HOURS: Final = "SELECT hour, sum(queries)::BIGINT, sum(failures)::BIGINT FROM novel WHERE client = ? GROUP BY hour"
_LISTED: Final = f"""
    SELECT entry, lists, sum(queries)::BIGINT, max(last_seen) FROM listed WHERE client = ? GROUP BY ALL
    ORDER BY max(last_seen) DESC LIMIT {_MAX_LISTED}
"""
_LOOKUPS: Final = """
    SELECT kind, count(DISTINCT key), sum(queries)::BIGINT, sum(failures)::BIGINT FROM client_lookups
    WHERE client = ? GROUP BY kind ORDER BY kind
"""
_BESIDE: Final = {4: 24, 6: 56}


class _Flows(NamedTuple):
    """What flows there were to a server in a slot."""

    slot: datetime
    server: str
    queries: int
    unanswered: int
    received: int  # bytes


def client(asked: Asked) -> View:
    """Return the page. Its status is 404 where nothing is known of the client."""
    given = subject.value_of(asked)
    own = asked.config.detectors.client_of(given)  # which stands for the addresses of one host
    flows = [_Flows(*row) for row in asked.backend.read(_FLOWS, given)]
    domains = subject.rows(asked, "novel", _DOMAINS, own)
    hours = subject.rows(asked, "novel", _HOURS, own)
    listed = listing(asked.given, _COLUMNS).of(len(domains))
    place = {"domain": 0, "queries": 1, "failures": 2, "last": 3}[listed.sort]
    domains.sort(key=lambda row: row[place], reverse=listed.order == "desc")
    network = _network(given)
    values = {
        "client": given,
        "own": own,
        "network": network,
        "queries": subject.series(_sums((each.slot, each.queries) for each in flows), subject.SLOT),
        "failures": subject.series(_sums((each.slot, each.unanswered) for each in flows), subject.SLOT),
        "servers": _servers(flows),
        "new_queries": subject.series({row[0]: row[1] for row in hours}, timedelta(hours=1)),
        "new_failures": subject.series({row[0]: row[2] for row in hours}, timedelta(hours=1)),
        "domains": domains[listed.offset :][:PER_PAGE],
        "listing": listed,
        "news_unseen": subject.news_unseen(asked),
        "lists_unseen": subject.lists_unseen(asked),
        "listed": subject.rows(asked, "listed", _LISTED, own),
        "lookups": subject.rows(asked, "client_lookups", _LOOKUPS, own),
        "findings": subject.findings(asked, own),
        "beside": _beside(asked, network, given, own) if network else [],
        "commands": commands("client", given, asked.config),
    }
    nothing = not any(values[each] for each in ("queries", "domains", "listed", "lookups", "findings"))
    return View("client.html", values | {"nothing": nothing}, HTTPStatus.NOT_FOUND if nothing else HTTPStatus.OK)


def _sums(flows: Iterable[tuple[datetime, int]]) -> dict[datetime, float]:
    """Return the sums by slot."""
    found: Counter[datetime] = Counter()
    for slot, number in flows:
        found[slot] += number
    return dict(found)


def _servers(flows: Iterable[_Flows]) -> list[tuple[str, int, int, int]]:
    """Return the servers with queries, unanswered queries and bytes of responses, those with most queries first."""
    found: dict[str, tuple[int, int, int]] = {}
    for each in flows:
        queries, unanswered, received = found.get(each.server, (0, 0, 0))
        found[each.server] = (queries + each.queries, unanswered + each.unanswered, received + each.received)
    ranked = sorted(found.items(), key=lambda each: -each[1][0])[:_MAX_SERVERS]
    return [(server, *sums) for server, sums in ranked]


def _beside(asked: Asked, network: str, *own: str) -> list[dict[str, Any]]:
    """Return open findings about others in a network."""
    found = subject.findings_in(asked, ipaddress.ip_network(network))
    return [each for each in found if each["subject"] not in own]


def _network(text: str) -> str | None:
    """Return the network that a client's neighbours are in; None for a client that is no address."""
    try:
        address = ipaddress.ip_interface(text).ip
    except ValueError:
        return None
    return str(ipaddress.ip_network((address, _BESIDE[address.version]), strict=False))
