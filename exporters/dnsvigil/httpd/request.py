"""Requests and responses. cheroot parses requests, within our limits. A response is sent as a whole or in pieces."""

import contextlib
import errno
import io
import json
import logging
import re
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from wsgiref.types import WSGIEnvironment

import cheroot.errors
import cheroot.server
import cheroot.wsgi

from dnsvigil.httpd import limits
from dnsvigil.httpd.access import AUTHENTICATED, WITH_TOKEN
from dnsvigil.httpd.api_keys import API_KEY
from dnsvigil.httpd.refusals import offered, quoted
from dnsvigil.httpd.streams import Body, BodyError

if TYPE_CHECKING:
    from dnsvigil.httpd.connection import Connection

log = logging.getLogger(__name__)

_TLS_RECORD = b"\x16"
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*\r\n")
_SIZE = re.compile(rb"[0-9]{1,18}")
_LINE_BREAK = re.compile("[\r\n\0]")
_OURS = {"connection", "content-length", "date", "transfer-encoding"}
_TEXT = [("Content-Type", "text/plain; charset=utf-8")]

STREAMED = "dnsvigil.streamed"
"""A key in a request's environ. An application sets it to have each piece of its response sent when it is there.

Where such a response fails once it has begun, the connection ends before the response does.
"""


class _HeadSentError(Exception):
    """No more of a response is wanted."""


class Request(cheroot.server.HTTPRequest):
    """One request and its response. cheroot calls the public methods."""

    conn: "Connection"
    inheaders: dict[bytes, bytes]
    status: Any  # bytes, once the application has started the response

    def __init__(self, server: Any, conn: "Connection") -> None:
        super().__init__(server, conn, strict_mode=False)  # strict would refuse absolute URLs
        self.web = server.live.current()
        self.user: str | None = None
        """The user whose password was right."""
        self.authenticated = conn.certified
        self.with_token = False
        self.api_key: str | None = None
        """The name of the API key that opens the path."""
        self.body: list[bytes] = []
        """The body of the response, as far as the application has written it."""
        self.method = b""
        self.streaming = False
        """Whether the head of the response is sent, and its body follows piece by piece."""
        self._line = ""
        self._expecting = False

    # Reading

    def read_request_line(self) -> bool:
        """Read the request line. Respond to a malformed one, and return False."""
        if self.conn.rfile.peek(1)[:1] == _TLS_RECORD:  # no request begins with one
            self.conn.report("TLS on a port that speaks plain HTTP")
            self.simple_response("400")
            return False
        head = self.rfile
        head.maxlen = limits.MAX_REQUEST_LINE
        line = head.readline()
        head.maxlen = limits.MAX_REQUEST_HEAD
        self._line = line.decode("iso-8859-1").rstrip("\r\n")
        self.rfile = io.BytesIO(line)
        try:
            known = bool(super().read_request_line())
        except ValueError:  # a URL such as http://[
            known = False
            self.simple_response("400")
        self.rfile = head
        if known:
            self.method = line.split(b" ", 1)[0]  # cheroot converts it to upper case
            if self.uri.startswith(b"//") or not (self.uri.startswith(b"/") or self.authority):
                self.path = b"//" + self.authority + self.path  # cheroot strips it down to one of our paths
        return known

    def header_reader(self, rfile: Any, headers: dict[bytes, bytes]) -> None:
        """Read the headers. Repeated ones are joined by commas; cheroot's reader keeps only the last of most.

        Raises ``ValueError`` for a malformed header, and cheroot's ``MaxSizeExceeded``.
        """
        for _ in range(limits.MAX_HEADERS + 1):
            line = rfile.readline()
            if line == b"\r\n":
                break
            found = _HEADER.fullmatch(line)
            if not found:
                raise ValueError("malformed header")
            name, value = found[1].title(), found[2]
            if b"_" not in name:  # with one it could pass for another header
                headers[name] = headers[name] + b"," + value if name in headers else value
        else:
            raise cheroot.errors.MaxSizeExceeded
        if not _SIZE.fullmatch(headers.get(b"Content-Length", b"0")) or b"," in headers.get(b"Host", b""):
            raise ValueError("ambiguous length or host")
        self._expecting = headers.pop(b"Expect", b"").lower() == b"100-continue"  # cheroot would send 100 at once

    def read_request_headers(self) -> bool:
        """Read the headers. Respond to malformed ones, and return False."""
        if not super().read_request_headers():
            return False
        newer = self.response_protocol == "HTTP/1.1"
        if newer and b"Host" not in self.inheaders:
            self.simple_response("400")
            return False
        options = {option.strip() for option in self.inheaders.get(b"Connection", b"").lower().split(b",")}
        self.close_connection = b"close" in options or not (newer or b"keep-alive" in options)
        self.chunked_read = b"Transfer-Encoding" in self.inheaders  # also in HTTP/1.0, which cheroot would ignore
        return True

    # Responding

    def respond(self) -> None:
        """Authenticate the client, call the application, and send the response."""
        size = None if self.chunked_read else int(self.inheaders.get(b"Content-Length", b"0"))
        self._unread = Body(self.conn.rfile, size, expecting=self._expecting)
        self.rfile = io.BufferedReader(self._unread)
        self._last = self.close_connection
        if size != 0:
            self.close_connection = self.conn.unread = True  # until its body is read
        if not self._authenticate():
            self._refuse(HTTPStatus.UNAUTHORIZED, ("WWW-Authenticate", 'Basic realm="dnsvigil", charset="UTF-8"'))
            return
        response = self._call_application()
        if self.streaming:
            self._end_stream()
            return
        self._note_read()
        self._send(*response)

    def _note_read(self) -> None:
        """Keep the connection if the body of the request is read."""
        if self._unread.left == 0:
            self.close_connection, self.conn.unread = self._last, False

    def _authenticate(self) -> bool:
        """Check the credentials. Return False if the web configuration requires others."""
        authorization = self.inheaders.get(b"Authorization", b"").decode("iso-8859-1") or None
        token = self.server.token
        self.with_token = bool(token and token.proves(authorization))
        if token and (key := self.inheaders.get(b"X-Api-Key")):
            self.api_key = token.key_name(key, self.path.decode("iso-8859-1"))
        if self.web.basic_auth and not (self.with_token or self.api_key):
            self.user = self.web.basic_auth.user(authorization)
            if self.user is None:
                return False
        self.authenticated = self.authenticated or self.with_token or self.user is not None
        return True

    def _call_application(self) -> tuple[str, Iterable[tuple[str, str]], bytes]:
        try:
            with contextlib.suppress(_HeadSentError):
                self.server.gateway(self).respond()
            return self.status.decode("iso-8859-1"), self._headers(), b"".join(self.body)
        except BodyError as error:
            return f"{error.status.value} {error}", _TEXT, f"{error}\n".encode()
        except Exception as error:
            if self.streaming and isinstance(error, OSError):  # the client has gone
                raise
            log.exception("%r failed", self._line)
            if self.streaming:
                raise ConnectionAbortedError(errno.ECONNABORTED, "a response has failed") from error
            return "500 Internal Server Error", _TEXT, b"Internal Server Error\n"

    def _headers(self) -> list[tuple[str, str]]:
        headers = [(name.decode("iso-8859-1"), value.decode("iso-8859-1")) for name, value in self.outheaders]
        if any(_LINE_BREAK.search(f"{name}{value}") for name, value in headers):
            raise ValueError(f"a line break in a header: {headers!r}")
        return headers

    def send_piece(self, piece: bytes) -> None:
        """Send a piece of the body, the first time after the head. Raises ``OSError`` where the client has gone."""
        if not self.streaming:
            self._note_read()
            self._chunked = self.response_protocol == "HTTP/1.1"
            self.close_connection = self.close_connection or not self._chunked
            length = "Transfer-Encoding: chunked" if self._chunked else None
            head = self._head(self.status.decode("iso-8859-1"), self._headers(), length)
            self.streaming = True
            self._write(head)
        if self.method == b"HEAD":
            raise _HeadSentError
        self._write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)

    def _end_stream(self) -> None:
        if self._chunked and self.method != b"HEAD":
            self._write(b"0\r\n\r\n")

    def _send(self, status: str, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        if status[:3] == "401":
            self.conn.report(f"{status}: {offered(self.inheaders.get(b'Authorization', b'').decode('iso-8859-1'))}")
        elif status[:3] == "403":  # whatever it offered: the response says why
            self.conn.report(f"{status}: {quoted(_reason(body))}")
        if status[:3] in ("204", "304"):
            body = b""
            length = None
        else:
            length = f"Content-Length: {len(body)}"
        head = self._head(status, headers, length)
        log.debug("%s %r %s %d", self.conn.address, self._line, status[:3], len(body))
        self._write(head if self.method == b"HEAD" else head + body)

    def _head(self, status: str, headers: Iterable[tuple[str, str]], length: str | None) -> bytes:
        configured = {name.lower() for name in self.web.headers}
        lines = [f"HTTP/1.1 {status}", f"Date: {formatdate(usegmt=True)}"]
        lines += [f"{name}: {value}" for name, value in self.web.headers.items()]
        lines += [f"{name}: {value}" for name, value in headers if name.lower() not in configured | _OURS]
        lines += [length] if length else []
        lines.append(f"Connection: {'close' if self.close_connection else 'keep-alive'}")
        return "\r\n".join([*lines, "", ""]).encode("iso-8859-1")

    def _write(self, data: bytes) -> None:
        self.sent_headers = True
        self.conn.stream.allow(limits.RESPONSE_TIMEOUT)
        self.conn.stream.write(data)

    def _refuse(self, status: HTTPStatus, *headers: tuple[str, str]) -> None:
        self._send(f"{status.value} {status.phrase}", [*_TEXT, *headers], f"{status.phrase}\n".encode())

    def simple_response(self, status: str, _message: str = "") -> None:
        """Respond to a malformed request, and read no further."""
        code = status[:3].replace("413", "431")  # cheroot has no limit for bodies here, so it means the headers
        self.close_connection = self.conn.unread = True
        self._refuse(HTTPStatus(int(code)))

    def ensure_headers_sent(self) -> None:
        """Send nothing yet: the response goes out as a whole."""


class Gateway(cheroot.wsgi.Gateway_10):
    """Calls the application for a request."""

    req: Request

    def get_environ(self) -> WSGIEnvironment:  # type: ignore[override]
        """Return the environ. HEAD appears as GET."""
        request = self.req
        environ: WSGIEnvironment = super().get_environ()
        environ["REMOTE_ADDR"] = request.conn.address
        environ["wsgi.url_scheme"] = "https" if request.web.ssl_context else "http"
        environ[AUTHENTICATED] = request.authenticated
        environ[WITH_TOKEN] = request.with_token
        environ[API_KEY] = request.api_key
        if request.user is not None:
            environ["REMOTE_USER"] = request.user
        if request.method == b"HEAD":
            environ["REQUEST_METHOD"] = "GET"
        return environ

    def write(self, chunk: bytes) -> None:
        """Add to the body of the response, or send it where the application wants that."""
        if self.env.get(STREAMED):
            self.req.send_piece(chunk)
        else:
            self.req.body.append(chunk)


def _reason(body: bytes) -> str:
    """Return the reason in the body of a refusal, which is text, or a JSON object with ``error``."""
    text = body.decode("utf-8", "replace").strip()
    try:
        return str(json.loads(text)["error"])
    except (ValueError, LookupError, TypeError):
        return text
