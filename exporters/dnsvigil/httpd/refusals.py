"""Reports in the log who was refused a connection or a request, and why, without letting them fill it."""

import base64
import logging
import ssl
import threading
import time

log = logging.getLogger(__name__)

WINDOW = 60.0  # seconds
MAX_LINES = 20  # in a window
_MAX_TEXT = 100  # characters of what a client sent

_REASONS = {
    "HTTP_REQUEST": "plain HTTP on a port that speaks TLS",
    "HTTPS_PROXY_REQUEST": "plain HTTP on a port that speaks TLS",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no client certificate",
    "UNSUPPORTED_PROTOCOL": "a TLS version that is not allowed here",
    "VERSION_TOO_LOW": "a TLS version that is not allowed here",
    "NO_SHARED_CIPHER": "no cipher suite in common",
    "NO_SUITABLE_KEY_SHARE": "no elliptic curve in common",
    "NO_SUITABLE_GROUPS": "no elliptic curve in common",
    "NO_SHARED_GROUP": "no elliptic curve in common",
    "WRONG_VERSION_NUMBER": "not TLS",
    "UNKNOWN_PROTOCOL": "not TLS",
    "UNEXPECTED_EOF_WHILE_READING": "closed the connection during the TLS handshake",
}
_BY_CLIENT = "the client does not accept this server's certificate or its TLS settings"


class Refusals:
    """Writes a line for each client and reason, once a minute, and 20 lines a minute at most; counts the others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since = float("-inf")
        self._reported: set[tuple[str, str]] = set()
        self._others = 0

    def report(self, address: str, reason: str) -> None:
        """Report that the client at ``address`` was refused; what it sent is in ``reason`` only :func:`quoted`."""
        with self._lock:
            others = 0
            if time.monotonic() - self._since >= WINDOW:
                others, self._others = self._others, 0
                self._reported.clear()
                self._since = time.monotonic()
            if (address, reason) in self._reported or len(self._reported) >= MAX_LINES:
                self._others += 1
                return
            self._reported.add((address, reason))
        if others:
            log.info("refused %d more times since the last report, mostly for the same reasons", others)
        log.info("refused %s: %s", address, reason)


def quoted(text: str) -> str:
    """Return what a client sent as it may stand in the log: in quotes, printable ASCII, and not too long."""
    return ascii(text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}...")


def handshake_failure(error: OSError) -> str:
    """Return in words why a TLS handshake failed."""
    if isinstance(error, TimeoutError):
        return "TLS handshake not finished in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"client certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError | ConnectionError):
        return _REASONS["UNEXPECTED_EOF_WHILE_READING"]
    if not isinstance(error, ssl.SSLError):
        return f"TLS handshake failed: {error.strerror or error}"
    code = error.reason or ""
    if "_ALERT_" in code:  # as in TLSV1_ALERT_UNKNOWN_CA, which the client has sent
        return f"{_BY_CLIENT}: {code.partition('_ALERT_')[2].replace('_', ' ').lower()}"
    words = code.replace("_", " ").lower() or str(error)
    return f"{_REASONS[code]} ({words})" if code in _REASONS else f"TLS handshake failed: {words}"


def offered(authorization: str | None) -> str:
    """Return in words which credentials an ``Authorization`` header offered, without the secret among them."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if not scheme:
        return "no credentials"
    if scheme.lower() == "bearer":
        return "token not accepted"
    try:
        user, colon, _ = base64.b64decode(encoded.strip(), validate=True).decode("utf-8", "replace").partition(":")
    except ValueError:
        colon = ""
    return f"wrong user or password, user {quoted(user)}" if scheme.lower() == "basic" and colon else "bad credentials"
