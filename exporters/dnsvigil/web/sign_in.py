"""Signing in with the token, for who has no user of a web configuration file."""

from http import HTTPStatus

from flask import Response

from dnsvigil.api.interface import RequestError
from dnsvigil.api.parameters import only
from dnsvigil.web.cookies import set_cookie
from dnsvigil.web.page import Asked, View
from dnsvigil.web.viewer import COOKIE, SESSION_SECONDS


def form(asked: Asked) -> View:
    """Return the form."""
    only(asked.given)
    return View("sign_in.html")


def sign_in(asked: Asked) -> Response:
    """Begin a session for who has given the token."""
    given = only(asked.given, "token").get("token", "")
    session = asked.viewers.sign_in(given.strip())
    if session is None:
        raise RequestError(HTTPStatus.FORBIDDEN, "This is not the token of this collector.")
    response = Response("", HTTPStatus.SEE_OTHER, {"Location": "./"})
    return set_cookie(response, COOKIE, session, SESSION_SECONDS)


def sign_out(asked: Asked) -> Response:
    """End the session in this browser."""
    response = Response("", HTTPStatus.SEE_OTHER, {"Location": "./"})
    response.delete_cookie(COOKIE, httponly=True, samesite="Strict")
    return response
