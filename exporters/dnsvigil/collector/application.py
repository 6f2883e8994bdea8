"""The collector's web application: the routes of several floors in one Flask app."""

from collections.abc import Callable, Iterable
from http import HTTPStatus

from flask import Blueprint, Flask, Request, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import MapAdapter, RequestRedirect

from dnsvigil.httpd.access import Access


class _App(Flask):
    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Route by the path alone: the header Host is hostile, and :class:`Access` checks it."""
        if request is None:
            return None
        return self.url_map.bind("", path_info=request.path, default_method=request.method)


def application(
    blueprints: Iterable[Blueprint],
    access: Access | None = None,
    error_page: Callable[[HTTPException], Response | None] = lambda _: None,
) -> Flask:
    """Return the application; ``access`` checks all requests to paths that exist.

    ``error_page`` returns the page of an error for who looks at pages, else None: the status in one line of text.

    Flask's own pages, redirects and static files are off, and exceptions are left to the server.
    """
    app = _App("dnsvigil", static_folder=None)
    app.debug = False  # whatever FLASK_DEBUG in the environment may ask for
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    app.register_error_handler(HTTPException, lambda error: error_page(error) or _plain(error))

    @app.before_request
    def check() -> Response | None:
        # Routing takes slashes at the begin for one, and adds one at the end; access knows the path alone.
        if request.environ["PATH_INFO"].startswith("//") or isinstance(request.routing_exception, RequestRedirect):
            raise NotFound
        refusal = access.refusal(request.environ) if access and request.url_rule else None
        return Response(refusal.body, refusal.status, refusal.headers) if refusal else None

    @app.after_request
    def name_status(response: Response) -> Response:
        status = HTTPStatus(response.status_code)
        response.status = f"{status.value} {status.phrase}"  # Flask writes the phrase in capitals
        return response

    return app


def _plain(error: HTTPException) -> Response:
    """Return what the server answers itself in such a case: the status in one line of text."""
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    response = Response(f"{status.phrase}\n", status, content_type="text/plain; charset=utf-8")
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return response
