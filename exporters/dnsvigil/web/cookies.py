"""Cookies that scripts cannot read and no other site's page can send."""

from typing import Final

from flask import Response, request

_TLS: Final = "https"


def set_cookie(response: Response, name: str, value: str, seconds: int | None = None) -> Response:
    """Have a browser keep a cookie; without ``seconds`` it ends with the browser. Returns the response.

    Over TLS it never crosses the network in clear text later. That a proxy takes care of TLS shows in a header of the
    proxy, or of the browser: who forges one spoils a cookie of their own.
    """
    given = (request.scheme, request.headers.get("X-Forwarded-Proto", ""), request.headers.get("Origin", ""))
    secure = any(each.partition(":")[0].lower() == _TLS for each in given)
    response.set_cookie(name, value, seconds, secure=secure, httponly=True, samesite="Strict")
    return response
