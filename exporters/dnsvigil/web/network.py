"""The page of a network: the addresses in it with their names, findings about them, and the networks around."""

import ipaddress
from collections import Counter
from collections.abc import Iterable
from http import HTTPStatus
from itertools import islice
from typing import Final

from flask import Response

from dnsvigil.api.parameters import refuse
from dnsvigil.api.passive_dns.question import data_address
from dnsvigil.system.addresses import Network, is_in
from dnsvigil.web import subject
from dnsvigil.web.copy_as import commands
from dnsvigil.web.page import Asked, View
from dnsvigil.web.passive_dns import FILTERS, filters_of, history, listed, narrowed

_AROUND: Final = {4: (8, 16, 20, 22, 24), 6: (32, 40, 48, 56, 64)}
_MAX_BELOW: Final = 32
_MAX_ADDRESSES: Final = 256
_TALKERS: Final = """
    SELECT talker, element, sum(bytes)::BIGINT FROM slot_talkers WHERE element IN ('srcip', 'dstip')
    GROUP BY ALL ORDER BY sum(bytes) DESC LIMIT 5000
"""
_MAX_TALKERS: Final = 20


def network(asked: Asked) -> View | Response:
    """Return the page. Its status is 404 where nothing is known of any address in the network."""
    text = subject.value_of(asked, *FILTERS)
    try:
        inside = ipaddress.ip_network(text, strict=False)
    except ValueError:
        refuse(f"{text!a} is no network.")
    if inside.num_addresses == 1:
        return Response("", HTTPStatus.SEE_OTHER, {"Location": asked.links.of("address", str(inside.network_address))})
    filters = filters_of(asked.given)
    known = history(asked.backend, narrowed(data_address(str(inside)), filters))
    listing, records = listed(known, asked.given)
    names = Counter(each.value for each in known.records)
    places = asked.places.of([*names][:_MAX_ADDRESSES])
    shown = asked.viewer.sees_clients
    values = {
        "network": str(inside),
        "around": _around(inside),
        "below": _below(inside, names),
        "asns": Counter(place.asn for place in places.values() if place.asn).most_common(10),
        "countries": Counter(place.country for place in places.values() if place.country).most_common(10),
        "places_lacking": asked.places.lacking,
        "known": known,
        "listing": listing,
        "records": records,
        "filters": filters,
        "addresses": len(names),
        "talkers": _talkers(asked, inside) if shown else [],
        "findings": subject.findings_in(asked, inside) if shown else [],
        "commands": commands("network", str(inside), asked.config),
    }
    nothing = not (filters or known.records or values["talkers"] or values["findings"])
    return View("network.html", values | {"nothing": nothing}, HTTPStatus.NOT_FOUND if nothing else HTTPStatus.OK)


def _around(inside: Network) -> list[str]:
    """Return the networks of usual lengths that it lies in, the smallest first."""
    lengths = (each for each in reversed(_AROUND[inside.version]) if each < inside.prefixlen)
    return [str(inside.supernet(new_prefix=length)) for length in lengths]


def _below(inside: Network, addresses: Iterable[str]) -> list[tuple[str, int]]:
    """Return the networks of the next usual length in it that have addresses with names, those with most first."""
    length = next((each for each in _AROUND[inside.version] if each > inside.prefixlen), None)
    if length is None:
        return []
    found = Counter(str(ipaddress.ip_network((each, length), strict=False)) for each in addresses)
    return found.most_common(_MAX_BELOW)


def _talkers(asked: Asked, inside: Network) -> list[tuple[str, str, int]]:
    """Return the top talkers that lie in the network, with the element and the bytes."""
    rows = asked.backend.read(_TALKERS)
    return [*islice((row for row in rows if is_in(row[0], inside)), _MAX_TALKERS)]
