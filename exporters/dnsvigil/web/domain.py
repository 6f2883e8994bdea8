"""The page of a registered domain: its features beside those of all, its history, who asked for it, what was found."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import groupby
from typing import Any, Final

from flask import Response

from dnsvigil.api import domains as api
from dnsvigil.api.interface import RequestError
from dnsvigil.records import DOMAIN_FEATURES
from dnsvigil.sources.public_suffixes import domain_of
from dnsvigil.web import subject
from dnsvigil.web.copy_as import commands
from dnsvigil.web.masks import masked
from dnsvigil.web.page import Asked, View
from dnsvigil.web.passive_dns import (
    FILTERS,
    History,
    Record,
    addresses_of,
    filters_of,
    history,
    listed,
    narrowed,
    question_about,
)
from dnsvigil.web.places import Place

_TEN: Final = 10  # features of the paper, which come first
_MAX_CLIENTS: Final = 20
_MAX_ADDRESSES: Final = 40
_HOURS: Final = """
    SELECT hour, sum(queries)::BIGINT, sum(known)::BIGINT, sum(failed)::BIGINT, sum(nxdomain)::BIGINT
    FROM domain_hours WHERE domain = ? GROUP BY hour ORDER BY hour
"""
_CLIENTS: Final = """
    SELECT client, sum(queries)::BIGINT, sum(failures)::BIGINT, min(first_seen), max(last_seen)
    FROM {table} WHERE {condition} GROUP BY client
"""
_BELOW: Final = "({0} = $1 OR ends_with({0}, '.' || $1))"
_LISTED: Final = f"""
    SELECT entry, list, sum(queries)::BIGINT, max(last_seen) FROM listed, unnest(lists) AS each(list)
    WHERE {_BELOW.format("entry")} GROUP BY ALL ORDER BY ALL LIMIT 20
"""
_HONEYPOT: Final = f"""
    SELECT entry, source, max(last_seen) FROM honeypot_entries WHERE {_BELOW.format("entry")}
    GROUP BY ALL ORDER BY ALL LIMIT 20
"""


def domain(asked: Asked) -> View | Response:
    """Return the page. Its status is 404 where nothing at all is known of the domain."""
    name = subject.name_of(asked, *FILTERS)
    if (registered := domain_of(name)) != name:
        return Response("", HTTPStatus.SEE_OTHER, {"Location": asked.links.of("domain", registered)})
    features, lacking = _features(asked, name)
    hours = asked.backend.read(_HOURS, name)
    filters = filters_of(asked.given)
    question = question_about("domain", name)
    known = history(asked.backend, narrowed(question, filters))
    whole = history(asked.backend, question) if filters else known
    listing, records = listed(known, asked.given)
    values = {
        "name": name,
        "features": features,
        "compared": _compared(features) if features else [],
        "lacking": lacking,
        "ten": _TEN,
        "queries": subject.series({row[0]: row[1] for row in hours}, timedelta(hours=1)),
        "failures": subject.series({row[0]: row[3] for row in hours}, timedelta(hours=1)),
        "sums": [sum(column) for column in zip(*(row[1:] for row in hours), strict=True)],
        "known": known,
        "listing": listing,
        "records": records,
        "filters": filters,
        "addresses": _addresses(asked, whole),
        "span": whole.span,
        "places_lacking": asked.places.lacking,
        "clients": _clients(asked, name),
        "findings": subject.findings(asked, name),
        "listed": subject.rows(asked, "listed", _LISTED, name),
        "lists_unseen": subject.lists_unseen(asked),
        "honeypots": subject.rows(asked, "honeypot_entries", _HONEYPOT, name),
        "commands": commands("domain", name, asked.config, addresses_of(whole)),
    }
    nothing = not any(
        values[each] for each in ("filters", "features", "sums", "records", "clients", "findings", "listed")
    )
    return View("domain.html", values | {"nothing": nothing}, HTTPStatus.NOT_FOUND if nothing else HTTPStatus.OK)


def _features(asked: Asked, name: str) -> tuple[Mapping[str, Any] | None, str]:
    """Return what the table of domains has of a domain, else why there is nothing."""
    try:
        found: Mapping[str, Any] = api.domain(asked.backend, asked.config, {"domain": name}).content
    except RequestError as error:
        return None, str(error)
    return found, ""


def _compared(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each feature with the statistics of all domains, and whether it is beyond 90 % of them."""
    rows = []
    for name, what in DOMAIN_FEATURES.items():
        value, all_of_them = found["features"][name], found["statistics"].get(name, {})
        low, high = all_of_them.get("p5"), all_of_them.get("p95")
        known = value is not None and low is not None and high is not None and math.isfinite(value)
        beyond = "" if not known else "high" if value > high else "low" if value < low else ""
        rows.append({"name": name, "what": what, "value": value, "statistics": all_of_them, "beyond": beyond})
    return rows


def _addresses(asked: Asked, known: History) -> list[tuple[str, Place, int, datetime, datetime, int]]:
    """Return each address with its place, the number of names that have it, and when: the last seen first."""
    records = sorted((each for each in known.records if each.kind == "address"), key=lambda each: each.value)
    by_address = {address: [*group] for address, group in groupby(records, key=lambda each: each.value)}
    last = sorted(by_address, key=lambda each: max(record.last for record in by_address[each]), reverse=True)
    places = asked.places.of(last[:_MAX_ADDRESSES])
    return [(address, place, *_seen(by_address[address])) for address, place in places.items()]


def _seen(records: Sequence[Record]) -> tuple[int, datetime, datetime, int]:
    return (
        len({each.name for each in records}),
        min(each.first for each in records),
        max(each.last for each in records),
        sum(each.count for each in records),
    )


def _clients(asked: Asked, name: str) -> list[tuple[str, int, int, datetime, datetime]]:
    """Return the clients that asked for something novel in the domain, or listed, those with most queries first."""
    novel = subject.rows(asked, "novel", _CLIENTS.format(table="novel", condition="domain = $1"), name)
    listed = subject.rows(asked, "listed", _CLIENTS.format(table="listed", condition=_BELOW.format("entry")), name)
    by_client = {row[0]: row for row in sorted([*novel, *listed], key=lambda row: row[1])}  # the same queries, or more
    found: dict[str, tuple[int, int, datetime, datetime]] = {}
    for client, queries, failures, first, last in by_client.values():
        shown = client if asked.viewer.sees_clients else masked(client)
        known = found.get(shown, (0, 0, first, last))
        found[shown] = (known[0] + queries, known[1] + failures, min(known[2], first), max(known[3], last))
    return sorted(((client, *sums) for client, sums in found.items()), key=lambda each: -each[1])[:_MAX_CLIENTS]
