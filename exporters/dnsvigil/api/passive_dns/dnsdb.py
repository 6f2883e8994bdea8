"""The API of DNSDB, version 2, as far as it looks up and summarizes (https://docs.domaintools.com/api/dnsdb/).

Clients of DNSDB, such as Debian's dnsdbq, work with it. Errors are text, as there.
"""

import json
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, request

from dnsvigil.api.interface import RequestError, TupleSource
from dnsvigil.api.passive_dns.forms import dnsdb, times
from dnsvigil.api.passive_dns.lookup import Finds, page, record_sets, records, summary, without_bailiwick
from dnsvigil.api.passive_dns.names import parse_octets
from dnsvigil.api.passive_dns.parameters import (
    FENCES,
    MAX_OFFSET,
    MAX_RESULTS,
    OffsetError,
    fences,
    offset,
    results,
    whole,
)
from dnsvigil.api.passive_dns.question import (
    ANY,
    Question,
    data_address,
    data_name,
    data_octets,
    owner_name,
    owner_octets,
)
from dnsvigil.api.passive_dns.quotas import Quotas
from dnsvigil.api.passive_dns.saf import framed
from dnsvigil.api.passive_dns.streams import BusyError, Slots
from dnsvigil.config.collector import Config
from dnsvigil.httpd.access import AUTHENTICATED
from dnsvigil.httpd.api_keys import API_KEY
from dnsvigil.httpd.routes import RETRY_AFTER
from dnsvigil.store.store import StoreError

PREFIX: Final = "/dnsdb/v2/"

_PARSERS: Final[Mapping[tuple[str, str], Callable[[str], Question]]] = {
    ("rrset", "name"): owner_name,
    ("rrset", "raw"): owner_octets,
    ("rdata", "name"): data_name,
    ("rdata", "ip"): data_address,
    ("rdata", "raw"): data_octets,
}
_OF_CLIENTS: Final = ("swclient", "version", "id")  # which program asks: of no use here
_PARAMETERS: Final = {
    "lookup": ("limit", "offset", "aggr", "humantime", *FENCES, *_OF_CLIENTS),
    "summarize": ("limit", "max_count", "aggr", "humantime", *FENCES, *_OF_CLIENTS),
}
_SWITCHES: Final = {"t": True, "1": True, "true": True, "f": False, "0": False, "false": False}


def dnsdb_api(source: TupleSource, config: Config, slots: Slots, check: Callable[[], None]) -> Blueprint:
    """Return the routes below ``/dnsdb/v2``. ``check`` raises :class:`RequestError` until there is a store."""
    blueprint = Blueprint("dnsdb", __name__)
    quotas = Quotas(config.api.keys)
    everyone = config.api.client_addresses == "everyone"

    def view(rest: str) -> Response:
        if not (everyone or request.environ.get(AUTHENTICATED) or request.environ.get(API_KEY)):
            raise RequestError(HTTPStatus.FORBIDDEN, "this needs an API key: send X-API-Key")
        verb, *path = _path()
        key = request.environ.get(API_KEY)
        if verb == "ping" and not path:
            return _json({"ping": "ok"})
        if verb == "rate_limit" and not path:
            return _json({"rate": {**quotas.rate(key), "results_max": MAX_RESULTS, "offset_max": MAX_OFFSET}})
        if verb not in _PARAMETERS:
            raise RequestError(HTTPStatus.NOT_FOUND, f"unknown path; there are {', '.join([*_PARAMETERS, *_OTHERS])}")
        given = _given(_PARAMETERS[verb])
        question = _question(path, given)
        objects = _lookup if verb == "lookup" else _summarize
        found = framed(objects(source, question, rrset=path[0] == "rrset", **_options(verb, given)))
        check()
        if not quotas.take(key):
            raise RequestError(HTTPStatus.TOO_MANY_REQUESTS, f"the API key {key} has no look-ups left today")
        return slots.stream(found)

    blueprint.add_url_rule(f"{PREFIX}<path:rest>", "dnsdb", view, provide_automatic_options=False)
    blueprint.register_error_handler(RequestError, lambda error: _refused(error.status, error))
    blueprint.register_error_handler(ValueError, lambda error: _refused(HTTPStatus.BAD_REQUEST, error))
    blueprint.register_error_handler(
        OffsetError, lambda error: _refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, error)
    )
    blueprint.register_error_handler(BusyError, lambda error: _refused(HTTPStatus.SERVICE_UNAVAILABLE, error))
    blueprint.register_error_handler(StoreError, lambda error: _refused(HTTPStatus.SERVICE_UNAVAILABLE, error))
    return blueprint


_OTHERS: Final = ("rate_limit", "ping")


def _found(source: TupleSource, question: Question, *, rrset: bool) -> Finds:
    found = records(source.tuples, [question])
    return record_sets(found) if rrset else without_bailiwick(found)


def _lookup(
    source: TupleSource, question: Question, *, rrset: bool, limit: int, offset: int, humantime: bool
) -> Iterator[Mapping[str, Any] | None]:
    for each in page(_found(source, question, rrset=rrset), offset, limit):
        yield None if each is None else dnsdb(each, humantime=humantime)


def _summarize(
    source: TupleSource, question: Question, *, rrset: bool, limit: int, max_count: int | None, humantime: bool
) -> Iterator[Mapping[str, Any] | None]:
    for each in summary(page(_found(source, question, rrset=rrset), 0, limit), max_count):
        yield {**each, **times(each)} if each and humantime else each


def _path() -> list[str]:
    path = urllib.parse.urlsplit(request.environ["REQUEST_URI"]).path
    return [parse_octets(urllib.parse.unquote_to_bytes(part)) for part in path.split("/")[3:]]


def _given(known: tuple[str, ...]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, values in request.args.lists():
        if name not in known:
            raise ValueError(f"unknown parameter {name!a}; there are {', '.join(known)}")
        if len(values) > 1:
            raise ValueError(f"{name}: it is given twice")
        given[name] = values[0]
    return given


def _question(path: list[str], given: Mapping[str, str]) -> Question:
    what, kind, value, rrtype, bailiwick, *more = [*path, *[""] * 5][: max(5, len(path))]
    parse = _PARSERS.get((what, kind))
    if parse is None or not value:
        ways = " or ".join("/".join(names) for names in _PARSERS)
        raise ValueError(f"expected {ways}, and a value")
    if more or (bailiwick and (what, kind) != ("rrset", "name")):
        raise ValueError("the path has parts that mean nothing here")
    if kind == "ip":
        if rrtype.upper() not in ("", ANY, "A", "AAAA"):
            raise ValueError("expected A, AAAA or ANY as the type of addresses")
        value, rrtype = value.replace(",", "/"), ""
    question = parse(value).with_type(rrtype).with_bailiwick(bailiwick)
    return question.within(fences(given, time.time()))


def _options(verb: str, given: Mapping[str, str]) -> dict[str, Any]:
    if not _switch(given, "aggr", default=True):
        raise ValueError("aggr: the history is kept only as the sum of each record")
    found: dict[str, Any] = {"limit": results(given), "humantime": _switch(given, "humantime", default=False)}
    if verb == "summarize":
        most = whole(given, "max_count")
        if most < 0:
            raise ValueError("max_count: expected a number above 0")
        return {**found, "max_count": most or None}
    return {**found, "offset": offset(given)}


def _switch(given: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = given.get(name)
    if text is None:
        return default
    if text.lower() not in _SWITCHES:
        raise ValueError(f"{name}: expected t or f")
    return _SWITCHES[text.lower()]


def _json(content: Mapping[str, Any]) -> Response:
    response: Response = Response(content_type="application/json", headers={"Cache-Control": "no-store"})
    response.set_data(json.dumps(content) + "\n")
    return response


def _refused(status: HTTPStatus, error: Exception) -> Response:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = RETRY_AFTER
    return Response(f"Error: {error}\n", status, headers, content_type="text/plain; charset=utf-8")
