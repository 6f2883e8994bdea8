"""Who may ask what. Some paths are open to everybody; the others need the token, a password or a certificate."""

import contextlib
import hashlib
import hmac
import ipaddress
import json
import socket
import urllib.parse
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final
from wsgiref.types import WSGIEnvironment

from dnsvigil.httpd.api_keys import API_KEY, ApiKeys
from dnsvigil.httpd.routes import Response
from dnsvigil.system.secret_files import keep_secret

AUTHENTICATED: Final = "dnsvigil.authenticated"
"""The key in a request's environ: whether it came with a password, a client certificate or the token."""

WITH_TOKEN: Final = "dnsvigil.with_token"  # noqa: S105 (a name)
"""The key in a request's environ: whether it came with the token."""

TOKEN_FILE: Final = "api-token"  # noqa: S105 (a name)
"""The name of the file with the token, in the folder of the state."""

_OF_PROGRAMS: Final = ("/api/", "/dnsdb/", "/pdns/")  # no person looks at them
_REFUSAL: Final = {"Content-Type": "application/json", "Cache-Control": "no-store"}


def keep_token(path: Path) -> str:
    """Return the token in a file, which is made where there is none.

    Raises ``OSError``, also for a file without a token.
    """
    return keep_secret(path, "token")


class Token:
    """The token that a request may show as ``Authorization: Bearer``, and the API keys beside it."""

    def __init__(self, path: Path, keys: ApiKeys | None = None) -> None:
        """Read it from its file, or make it. Raises ``OSError`` as :func:`keep_token` does."""
        self.path = path
        self._keys = keys
        self._expected = keep_token(path).encode()

    def proves(self, authorization: str | None) -> bool:
        """Return whether the value of an ``Authorization`` header has it; takes the same time for every wrong one."""
        scheme, _, token = (authorization or "").partition(" ")
        given = token.strip().encode("latin-1", "replace")
        return scheme.lower() == "bearer" and hmac.compare_digest(given, self._expected)

    def key(self, purpose: str) -> bytes:
        """Return a key for a purpose, which only somebody who has the token can make."""
        return hmac.digest(self._expected, purpose.encode(), hashlib.sha256)

    def key_name(self, key: bytes, path: str) -> str | None:
        """Return the name of an API key that opens a path, else None."""
        return self._keys.name_of(key, path) if self._keys else None


class Access:
    """Lets requests through to their handlers, or refuses them."""

    def __init__(
        self,
        token_file: Path,
        open_paths: Collection[str],
        *,
        loopback: bool,
        triage: Collection[str] | None = None,
        triage_paths: Collection[str] = (),
    ) -> None:
        """Leave GET of ``open_paths`` to everybody; one that ends in ``*`` stands for all that begin so.

        ``loopback`` says that the server can be reached from its own machine alone. ``triage`` names the users who may
        ask for ``triage_paths``, as may whoever has the token; None stands for all who prove an identity.
        """
        self.token_file = token_file
        self.loopback = loopback
        self._triage = triage
        self._triage_paths = frozenset(triage_paths)
        self._open = [path for path in open_paths if not path.endswith("*")]
        self._begins = tuple(path.removesuffix("*") for path in open_paths if path.endswith("*"))

    def may_triage(self, environ: WSGIEnvironment) -> bool:
        """Return whether who asks may change the state of findings."""
        if environ.get(WITH_TOKEN):
            return True
        return bool(environ.get(AUTHENTICATED)) and (self._triage is None or environ.get("REMOTE_USER") in self._triage)

    def is_open(self, key: str) -> bool:
        """Return whether everybody may ask for a path, or ``METHOD path``, a key of the handlers."""
        return key in self._open or bool(self._begins and key.startswith(self._begins))

    def refusal(self, environ: WSGIEnvironment) -> Response | None:
        """Return the response to a request that may not have what it asks for, and None for one that may."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        anonymous = not (environ.get(AUTHENTICATED) or environ.get(API_KEY))
        key = path if method in ("GET", "HEAD") else f"{method} {path}"
        everybody = self.is_open(key)
        if anonymous and not everybody:
            return _refuse(
                401,
                f"this needs the token in {self.token_file}: send Authorization: Bearer TOKEN",
                {"WWW-Authenticate": 'Bearer realm="dnsvigil"'},
            )
        if not _is_same_site(environ):
            return _refuse(403, "this request comes from a page of another site")
        if anonymous and path.startswith(_OF_PROGRAMS) and (problem := self.wrong_host(environ)):
            return _refuse(403, problem)
        if key in self._triage_paths and not self.may_triage(environ):
            return _refuse(403, "this needs the right to triage: web.triage in the configuration names who has it")
        return None

    def wrong_host(self, environ: WSGIEnvironment) -> str | None:
        """Return what is wrong with the host that a request without credentials asks for; None where nothing is.

        Anybody's name server can point a name at 127.0.0.1, so that a browser takes this machine for their site.
        """
        host = _host(environ.get("HTTP_HOST", ""))
        if self.loopback and not _is_here(host):
            return f"{host!a} is no name of this machine; ask for 127.0.0.1, or send the token"
        return None


def user_name(environ: WSGIEnvironment) -> str:
    """Return the name of who has proved an identity: a user, or what they have shown."""
    user = environ.get("REMOTE_USER")
    if user is not None:
        return str(user)
    return "token" if environ.get(WITH_TOKEN) else "client certificate"


def is_loopback(listen: str) -> bool:
    """Return whether an address to listen on, ``HOST:PORT``, is reached from this machine alone."""
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, {**_REFUSAL, **(headers or {})}, json.dumps({"error": message}).encode() + b"\n")


def _is_same_site(environ: WSGIEnvironment) -> bool:
    """Return whether no page of another site made a browser ask, which may have a client certificate to show.

    Behind a proxy the host may be another than the browser's, which then says itself whose page it is.
    """
    origin = environ.get("HTTP_ORIGIN")
    if origin is None:
        return True
    if (site := environ.get("HTTP_SEC_FETCH_SITE")) is not None:  # no page can set it
        return site in ("same-origin", "none")
    try:
        return urllib.parse.urlsplit(origin).netloc.lower() == str(environ.get("HTTP_HOST", "")).lower()
    except ValueError:
        return False


def _host(value: str) -> str:
    """Return the host in the value of a ``Host`` header."""
    try:
        return urllib.parse.urlsplit(f"//{value}").hostname or ""
    except ValueError:
        return value


def _is_here(host: str) -> bool:
    """Return whether a host is an address or a name of this machine, which nobody else's name server can give."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost") or name == socket.gethostname().lower():
        return True
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return not name  # HTTP/1.0
