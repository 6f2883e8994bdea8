"""Look-ups as in CIRCL's passive DNS: records in the Common Output Format, one a line, for pypdns and others.

See https://www.circl.lu/services/passive-dns/. Where an answer cannot be whole, the connection ends before it does.
"""

import urllib.parse
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from flask import Blueprint, Response, request

from dnsvigil.api.interface import RequestError, TupleSource
from dnsvigil.api.passive_dns.cof import circl
from dnsvigil.api.passive_dns.names import parse_octets
from dnsvigil.api.passive_dns.streams import Slots, whole

PREFIX: Final = "/pdns/query/"


def circl_api(source: TupleSource, slots: Slots, check: Callable[[], None]) -> Blueprint:
    """Return the routes below ``/pdns/query``. ``check`` raises :class:`RequestError` until there is a store."""
    blueprint = Blueprint("circl", __name__)

    def view(rest: str) -> Response:
        check()
        path = urllib.parse.urlsplit(request.environ["REQUEST_URI"]).path
        query = parse_octets(urllib.parse.unquote_to_bytes(path.split("/", 3)[3]))
        try:
            found = circl(source, query, request.headers.get("dribble-filter-rrtype"))
        except ValueError as error:
            raise RequestError(HTTPStatus.BAD_REQUEST, str(error)) from None
        return slots.stream(whole(found))

    blueprint.add_url_rule(f"{PREFIX}<path:rest>", "circl", view, provide_automatic_options=False)
    return blueprint
