"""The API over HTTP, as a Flask blueprint. docs/api.md describes it."""

import json
import logging
import math
import urllib.parse
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, request

from dnsvigil.api.interface import TOTAL, Answer, Backend, RequestError, Stream, Tables
from dnsvigil.api.parameters import refuse
from dnsvigil.api.passive_dns.circl import circl_api
from dnsvigil.api.passive_dns.dnsdb import dnsdb_api
from dnsvigil.api.passive_dns.saf import framed
from dnsvigil.api.passive_dns.streams import BusyError, Slots
from dnsvigil.api.routes import ROUTES, Route
from dnsvigil.config.collector import Config
from dnsvigil.httpd.access import user_name
from dnsvigil.httpd.routes import RETRY_AFTER
from dnsvigil.httpd.streams import BodyError
from dnsvigil.store.store import StoreError

log = logging.getLogger(__name__)

_MAX_PARAMETERS: Final = 20
_STARTING: Final = "the collector is starting; ask again in a few seconds"


def api(backend: Backend, config: Config, ready: Callable[[], bool] = lambda: True) -> Blueprint:
    """Return the routes of the API; they answer 503 until ``ready``."""
    blueprint = Blueprint("api", __name__)
    slots = Slots()

    def check() -> None:
        if not ready():
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, _STARTING)

    def add(route: Route) -> None:
        def view() -> Response:
            check()
            given = _query() if route.method == "GET" else _body()
            signed = (user_name(request.environ),) if route.signed else ()
            answer = route.answer(backend, config, given, *signed)
            if isinstance(answer, Stream):
                return slots.stream(framed(answer.objects, answer.problems))
            if isinstance(answer, Tables):
                return slots.arrow(answer.tables)
            return response_of(answer)

        endpoint = f"{route.method} {route.path}"
        blueprint.add_url_rule(route.path, endpoint, view, methods=[route.method], provide_automatic_options=False)

    for route in ROUTES:
        add(route)
    blueprint.register_error_handler(RequestError, _refused)
    blueprint.register_error_handler(BodyError, _refused)
    blueprint.register_error_handler(StoreError, _store_failed)
    blueprint.register_error_handler(BusyError, _busy)
    blueprint.register_blueprint(dnsdb_api(backend, config, slots, check))
    blueprint.register_blueprint(circl_api(backend, slots, check))
    return blueprint


def response_of(answer: Answer) -> Response:
    """Return an answer as JSON, one line of ASCII."""
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if answer.total is not None:
        headers[TOTAL] = str(answer.total)
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = RETRY_AFTER
    try:
        text = json.dumps(answer.content, allow_nan=False)
    except ValueError:  # of NaN and the infinities
        text = json.dumps(_finite(answer.content), allow_nan=False)
    return Response(f"{text}\n", answer.status, headers, content_type="application/json")


def _refused(error: RequestError | BodyError) -> Response:
    return response_of(Answer({"error": str(error)}, error.status))


def _busy(error: BusyError) -> Response:
    return response_of(Answer({"error": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE))


def _store_failed(error: StoreError) -> Response:
    log.error("%s: %s", request.path, error)
    return response_of(Answer({"error": "the store cannot be read or written now"}, HTTPStatus.SERVICE_UNAVAILABLE))


def _query() -> dict[str, str]:
    """Return the parameters of the query; empty ones are left out."""
    try:
        pairs = urllib.parse.parse_qsl(request.environ["QUERY_STRING"], errors="strict", max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        refuse("the query is no list of name=value in UTF-8")
    found = dict(pairs)
    if len(found) < len(pairs):
        refuse("a parameter is given twice")
    return found


def _body() -> dict[str, Any]:
    # A page of another site can make a browser send a form or a text, but not this without asking first.
    if request.mimetype != "application/json":
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/json")
    try:
        content = json.loads(request.environ["wsgi.input"].read().decode())
    except (ValueError, RecursionError) as error:
        refuse(f"the body is no JSON: {error}")
    if not isinstance(content, dict):
        refuse("expected a JSON object")
    return content


def _finite(content: Any) -> Any:
    """Return content with None for each number that JSON does not have."""
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
