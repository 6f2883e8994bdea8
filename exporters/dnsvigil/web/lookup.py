"""The look-up box: from whatever somebody types to the page that shows it."""

import ipaddress
from collections.abc import Iterator
from http import HTTPStatus

from flask import Response, request

from dnsvigil.api.interface import RequestError
from dnsvigil.api.parameters import only, refuse
from dnsvigil.api.passive_dns.names import parse_name
from dnsvigil.config.collector import Config
from dnsvigil.sources.public_suffixes import domain_of
from dnsvigil.web.cookies import set_cookie
from dnsvigil.web.lookups import COOKIE, with_lookup
from dnsvigil.web.page import KINDS, Asked

_MAX_CHARACTERS = 1024


def lookup(asked: Asked) -> Response:
    """Redirect to the page of a name, an address, a network, a domain, a client, a server, a zone or a finding.

    ``client:192.0.2.7`` asks for the page of that kind.
    """
    text = only(asked.given, "q").get("q", "").strip()
    if not text or len(text) > _MAX_CHARACTERS:
        refuse("Look-up: expected a name, an address, a network, a server or the number of a finding, such as #12.")
    if text.startswith("#") and text[1:].isdecimal():
        return _redirect(asked.links.url(f"/findings/{int(text[1:20])}"), text)
    kind, colon, rest = text.partition(":")
    wanted = [(kind, rest.strip())] if colon and kind in KINDS else list(_readings(text, asked.config))
    for kind, value in wanted:
        if asked.links.shows(kind):
            return _redirect(asked.links.of(kind, value), text)
    raise RequestError(HTTPStatus.NOT_FOUND, f"No page shows the {wanted[0][0]} {wanted[0][1]}.")


def _readings(text: str, config: Config) -> Iterator[tuple[str, str]]:
    """Yield what a text may be, the likeliest first."""
    if text in config.servers.names:
        yield "server", text
    try:
        address = str(ipaddress.ip_address(text.strip("[]")))
        if address in config.servers.labels:
            yield "server", config.servers.label_of(address)
        yield "address", address
        yield "client", address
        return
    except ValueError:
        pass
    try:
        yield "network", str(ipaddress.ip_network(text, strict=False))
        return
    except ValueError:
        pass
    try:
        name = parse_name(text)
    except ValueError as error:
        refuse(f"{error}")
    if name in [zone.name for zone in config.zones.configured]:
        yield "zone", name
    yield ("domain", name) if domain_of(name) == name else ("name", name)
    yield "domain", domain_of(name)
    yield "zone", name


def _redirect(url: str, text: str) -> Response:
    response = Response("", HTTPStatus.SEE_OTHER, {"Location": url})
    return set_cookie(response, COOKIE, with_lookup(request.cookies, text))
