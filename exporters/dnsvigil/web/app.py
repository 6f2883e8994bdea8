"""The pages over HTTP, as a Flask blueprint: who may open which, their headers, and the pages of errors."""

import hmac
import logging
import urllib.parse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from flask import Blueprint, Response, g, request
from werkzeug.exceptions import HTTPException

from dnsvigil.api.interface import Backend, RequestError
from dnsvigil.api.parameters import refuse
from dnsvigil.config.collector import Config
from dnsvigil.httpd.routes import RETRY_AFTER
from dnsvigil.httpd.streams import BodyError
from dnsvigil.store.store import StoreError
from dnsvigil.web.assets import NAMES, asset
from dnsvigil.web.links import Links
from dnsvigil.web.lookups import lookups
from dnsvigil.web.page import Access, Asked, Page, View
from dnsvigil.web.places import Places
from dnsvigil.web.recent import Recent
from dnsvigil.web.routes import PAGES
from dnsvigil.web.templates import rendered
from dnsvigil.web.viewer import COOKIE, Viewer, Viewers
from dnsvigil.web.watch import doubt

log = logging.getLogger(__name__)

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with no-referrer browsers would send forms with an Origin of null
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "deny",
}

FORM_TOKEN: Final = "form_token"  # noqa: S105 (a name)
"""The field of a form that shows that one of our pages sent it."""

_MAX_FIELDS: Final = 40
_STARTING: Final = "The collector opens its store."
_TITLES: Final = {
    HTTPStatus.BAD_REQUEST: "This page cannot be asked for like that",
    HTTPStatus.FORBIDDEN: "You may not open this page",
    HTTPStatus.NOT_FOUND: "There is nothing here",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not now",
}


def web(backend: Backend, config: Config, viewers: Viewers, ready: Callable[[], bool]) -> Blueprint:
    """Return the routes of the pages, which answer 503 until ``ready``, and of the files beside them."""
    blueprint = Blueprint("web", __name__)
    recent, places = Recent(), Places(config.domains.networks)

    def add(page: Page) -> None:
        def view(**names: Any) -> Response:
            _check(page.access, g.viewer)
            given = _query() if page.method == "GET" else _form(g.viewer)
            if not ready():
                raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, _STARTING)
            asked = Asked(backend, config, viewers, g.viewer, _links(g.viewer), recent, places, given)
            made = page.make(asked, **names)
            if isinstance(made, Response):
                return made
            return _page(replace(made, values={"doubt": partial(doubt, asked), **made.values}))

        _route(blueprint, page.method, page.path, view)

    for page in PAGES:
        add(page)
    for name in NAMES:
        _route(blueprint, "GET", f"/static/{name}", partial(asset, name))

    @blueprint.before_request
    def look() -> None:
        g.viewer = viewers.viewer(request.environ, request.cookies.get(COOKIE))

    @blueprint.after_request
    def protect(response: Response) -> Response:
        for header, value in HEADERS.items():
            response.headers.setdefault(header, value)
        return response

    blueprint.register_error_handler(RequestError, _refused)
    blueprint.register_error_handler(BodyError, _refused)
    blueprint.register_error_handler(StoreError, _store_failed)
    return blueprint


def _route(blueprint: Blueprint, method: str, path: str, view: Callable[..., Response]) -> None:
    endpoint = f"{method} {path}".replace(".", "_")  # Flask's own separator
    blueprint.add_url_rule(path, endpoint, view, methods=[method], provide_automatic_options=False)


def open_paths() -> list[str]:
    """Return the paths that everybody may ask for, as far as :class:`~dnsvigil.httpd.access.Access` is concerned.

    They are all: the pages look themselves at who asks.
    """
    paths = [page.path.partition("<")[0] + "*" * ("<" in page.path) for page in PAGES]
    methods = ["" if page.method == "GET" else f"{page.method} " for page in PAGES]
    return [*(method + path for method, path in zip(methods, paths, strict=True)), "/static/*"]


def not_found(error: HTTPException) -> Response | None:
    """Return a page for a path that is not there, for somebody with a browser; else None."""
    if error.code != HTTPStatus.NOT_FOUND or "text/html" not in request.headers.get("Accept", ""):
        return None
    response = _error(HTTPStatus.NOT_FOUND, "No page has this address.", Viewer(None, False, False, False))
    response.headers.update(HEADERS)
    return response


def _page(view: View, viewer: Viewer | None = None) -> Response:
    viewer = viewer or g.viewer
    links = _links(viewer)
    text = rendered(
        view.template,
        links=links,
        root=links.root,
        viewer=viewer,
        path=request.path,
        pages=[page for page in PAGES if page.label],
        former_lookups=lookups(request.cookies),
        **view.values,
    )
    return Response(text, view.status, content_type="text/html; charset=utf-8")


def _links(viewer: Viewer) -> Links:
    return Links({page.shows: page.path for page in PAGES if page.shows}, viewer, request.path)


def _check(access: Access, viewer: Viewer) -> None:
    """Refuse a page to somebody who may not open it."""
    allowed = {
        "everyone": not viewer.wrong_host,
        "view": viewer.may_view,
        "clients": viewer.may_view and viewer.sees_clients,
        "triage": viewer.may_triage,
    }
    if allowed[access]:
        return
    if viewer.wrong_host:
        reason = viewer.wrong_host
    elif viewer.ended:
        reason = "Your session has ended, or its rights were taken away. Sign in again."
    elif viewer.name is None:
        reason = "Sign in first: this needs a proof of who you are."
    elif access == "triage":
        reason = f"{viewer.name} may view, but not triage: web.triage in the configuration names who may."
    else:
        reason = f"{viewer.name} may not see addresses of clients: see api.client_addresses in the configuration."
    raise RequestError(HTTPStatus.FORBIDDEN, reason)


def _query() -> dict[str, str]:
    return _fields(request.environ.get("QUERY_STRING", ""))


def _form(viewer: Viewer) -> dict[str, str]:
    """Return the fields of a form, which a page of ours has sent."""
    if request.mimetype != "application/x-www-form-urlencoded":
        raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected a form")
    given = _fields(request.environ["wsgi.input"].read().decode("latin-1"))
    shown = given.pop(FORM_TOKEN, "")
    if viewer.name is not None and not hmac.compare_digest(shown.encode(), viewer.form_token.encode()):
        reason = "This form is from another session, or from another site. Open the page again, and send it from there."
        raise RequestError(HTTPStatus.FORBIDDEN, reason)
    return given


def _fields(text: str) -> dict[str, str]:
    """Return the fields in a text; empty ones are left out, and a name that comes twice is refused."""
    try:
        pairs = urllib.parse.parse_qsl(text, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        refuse("The parameters are no list of name=value in UTF-8.")
    found = dict(pairs)
    if len(found) < len(pairs):
        refuse("A parameter is given twice.")
    return found


def _error(status: HTTPStatus, reason: str, viewer: Viewer | None = None) -> Response:
    values = {"status": status, "title": _TITLES.get(status, status.phrase), "reason": reason}
    response = _page(View("error.html", values, status), viewer)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = RETRY_AFTER
    return response


def _refused(error: RequestError | BodyError) -> Response:
    return _error(error.status, str(error))


def _store_failed(error: StoreError) -> Response:
    log.error("%s: %s", request.path, error)
    return _error(HTTPStatus.SERVICE_UNAVAILABLE, "The store cannot be read or written now.")
