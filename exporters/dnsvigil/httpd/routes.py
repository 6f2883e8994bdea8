"""A WSGI application made of functions, one for each path: what the resolver exporter serves, without a framework."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Self
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

RETRY_AFTER = "5"
"""Value of Retry-After in responses with status 503, in seconds."""

_TEXT = ("Content-Type", "text/plain; charset=utf-8")


@dataclasses.dataclass(frozen=True)
class Response:
    """What a handler returns: status, headers and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def text(cls, body: str, status: int = 200) -> Self:
        """Return a response with plain text."""
        return cls(status, dict([_TEXT]), body.encode())


Handler = Callable[[WSGIEnvironment], Response]


def routes(handlers: Mapping[str, Handler]) -> WSGIApplication:
    """A WSGI application that gives a request to the handler of exactly its path; other paths have 404.

    A key is a path, for GET, or another method and a path with a space between them.
    """
    table: dict[str, dict[str, Handler]] = {}
    for key, handler in handlers.items():
        method, path = ("GET", key) if key.startswith("/") else key.split(" ", 1)
        table.setdefault(path, {})[method] = handler

    def respond(environ: WSGIEnvironment) -> Response:
        methods = table.get(environ["PATH_INFO"])
        if methods is None:
            return Response.text("Not Found\n", 404)
        handler = methods.get(environ["REQUEST_METHOD"])
        if handler is None:
            allowed = [*methods, "HEAD"] if "GET" in methods else methods
            return Response(405, {**dict([_TEXT]), "Allow": ", ".join(allowed)}, b"Method Not Allowed\n")
        return handler(environ)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        response = respond(environ)
        status = HTTPStatus(response.status)
        start_response(f"{status.value} {status.phrase}", list(response.headers.items()))
        return [response.body]

    return application
