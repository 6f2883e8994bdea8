"""The page of an address: its names, what it is to our network, its flows, and what lies beside it."""

import ipaddress
from collections.abc import Iterator, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Final

from dnsvigil.api.parameters import refuse
from dnsvigil.api.passive_dns.question import data_address
from dnsvigil.web import subject
from dnsvigil.web.copy_as import commands
from dnsvigil.web.page import Asked, View
from dnsvigil.web.passive_dns import FILTERS, filters_of, history, listed, narrowed

_BESIDE: Final = {4: 24, 6: 64}
_MAX_BESIDE: Final = 300
_SERVED: Final = """
    SELECT ts, sum(query_packets)::BIGINT, sum(unanswered)::BIGINT, count(DISTINCT client)
    FROM dns_flows WHERE server = ? GROUP BY ts
"""
_ROLES: Final[Mapping[str, tuple[str, str]]] = {
    "open_resolvers": (
        "Open resolver by the traffic of the last days",
        "SELECT max(ts), 'recursion for ' || max(askers) || ' askers' FROM open_resolvers WHERE host = ?",
    ),
    "scanned_hosts": (
        "Open resolver by scans",
        "SELECT max(last_seen), string_agg(DISTINCT protocol || '/' || port, ', ') FROM scanned_hosts WHERE host = ?",
    ),
    "honeypot_entries": (
        "Attackers of honeypots fetched from it",
        "SELECT max(last_seen), sum(events)::BIGINT || ' times' FROM honeypot_entries WHERE entry = ?",
    ),
    "honeypot_sessions": (
        "Attacked a honeypot",
        "SELECT max(last_seen), count(*) || ' sessions' FROM honeypot_sessions WHERE client = ?",
    ),
}
"""Tables of what an address can be: a title, and a query for when it last was, and a detail."""


def address(asked: Asked) -> View:
    """Return the page. Its status is 404 where nothing is known of the address."""
    text = address_of(subject.value_of(asked, *FILTERS))
    filters = filters_of(asked.given)
    known = history(asked.backend, narrowed(data_address(text), filters))
    listing, records = listed(known, asked.given)
    network = ipaddress.ip_network((text, _BESIDE[ipaddress.ip_address(text).version]), strict=False)
    beside = history(asked.backend, data_address(str(network)), _MAX_BESIDE)
    server = asked.config.servers.labels.get(text)
    shown = asked.viewer.sees_clients
    served = asked.backend.read(_SERVED, text) if shown or server else []
    values = {
        "address": text,
        "server": server,
        "reverse": ipaddress.ip_address(text).reverse_pointer,
        "network": str(network),
        "place": asked.places.of([text])[text],
        "places_lacking": asked.places.lacking,
        "known": known,
        "listing": listing,
        "records": records,
        "filters": filters,
        "beside": [each for each in dict.fromkeys(each.value for each in beside.records) if each != text],
        "more_beside": bool(beside.limited),
        "queries": subject.series({row[0]: row[1] for row in served}, subject.SLOT),
        "failures": subject.series({row[0]: row[2] for row in served}, subject.SLOT),
        "clients": max((row[3] for row in served), default=0),
        "roles": [*_roles(asked, text)] if shown else [],
        "findings": subject.findings(asked, text),
        "commands": commands("address", text, asked.config),
    }
    nothing = not (filters or known.records or served or values["roles"] or values["findings"] or values["server"])
    return View("address.html", values | {"nothing": nothing}, HTTPStatus.NOT_FOUND if nothing else HTTPStatus.OK)


def address_of(text: str) -> str:
    """Return an address in its canonical form. Raises :class:`dnsvigil.api.interface.RequestError`."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        refuse(f"{text!a} is no address.")


def _roles(asked: Asked, text: str) -> Iterator[tuple[str, datetime, str]]:
    for table, (title, query) in _ROLES.items():
        for when, detail in subject.rows(asked, table, query, text):
            if when:
                yield title, when, detail
