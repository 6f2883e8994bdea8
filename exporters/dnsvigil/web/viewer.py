"""Who looks at the pages, and what they may see and do."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final
from wsgiref.types import WSGIEnvironment

from itsdangerous import BadSignature, Signer, TimestampSigner

from dnsvigil.config.collector import Config
from dnsvigil.httpd.access import AUTHENTICATED, Access, Token, user_name

COOKIE: Final = "dnsvigil-session"
"""The cookie of who has signed in with the token."""

SESSION_SECONDS: Final = 12 * 3600
"""How long it lasts."""

_SIGNED_IN: Final = "token"


@dataclass(frozen=True)
class Viewer:
    """Somebody who looks at the pages."""

    name: str | None  # None: nobody has proved anything
    may_view: bool
    may_triage: bool
    sees_clients: bool
    form_token: str = ""  # a form that changes something sends it back
    signed_in: bool = False  # by a session, which can be ended
    ended: bool = False  # there was a session, which is no longer valid
    wrong_host: str | None = None  # why nothing is shown


class Viewers:
    """Tells viewers apart. No table of sessions is kept: a session's cookie is signed with the token."""

    def __init__(self, token: Token, access: Access, config: Config) -> None:
        self._token = token
        self._sessions = TimestampSigner(token.key("sessions"), digest_method=hashlib.sha256)
        self._forms = Signer(token.key("forms"), digest_method=hashlib.sha256)
        self._access = access
        self._clients = config.api.client_addresses

    def viewer(self, environ: WSGIEnvironment, cookie: str | None) -> Viewer:
        """Return who has sent a request."""
        signed_in = bool(cookie) and self._is_valid(cookie or "")
        proved = signed_in or bool(environ.get(AUTHENTICATED))
        may_triage = signed_in or self._access.may_triage(environ)
        wrong_host = None if proved else self._access.wrong_host(environ)
        open_here = self._access.loopback or self._clients == "everyone"
        name = (user_name(environ) if environ.get(AUTHENTICATED) else _SIGNED_IN) if proved else None
        allowed = {"everyone": True, "authenticated": proved, "triage": may_triage}
        return Viewer(
            name,
            may_view=proved or (open_here and not wrong_host),
            may_triage=may_triage,
            sees_clients=allowed[self._clients],
            form_token=self._forms.get_signature(f"{cookie if signed_in else name}").decode() if proved else "",
            signed_in=signed_in,
            ended=bool(cookie) and not signed_in,
            wrong_host=wrong_host,
        )

    def sign_in(self, given: str) -> str | None:
        """Return the cookie of a new session for who gives the token; None for anything else."""
        if not self._token.proves(f"Bearer {given}"):
            return None
        return self._sessions.sign(secrets.token_urlsafe(8)).decode()

    def _is_valid(self, cookie: str) -> bool:
        try:
            self._sessions.unsign(cookie, max_age=SESSION_SECONDS)
        except BadSignature:
            return False
        return True
