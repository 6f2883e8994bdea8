"""A threaded HTTP/1.1 server for one WSGI application, on the standard library alone.

Every connection has a thread of its own, in which the TLS handshake takes place too; connections are limited in
number, requests in size, and every wait for a peer in time.
"""

import contextlib
import http.client
import http.server
import io
import json
import logging
import os
import re
import socket
import ssl
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from wsgiref.types import WSGIApplication, WSGIEnvironment

from dnsvigil.httpd.refusals import Refusals, handshake_failure, offered, quoted
from dnsvigil.httpd.web_config import LiveWebConfig, WebConfig

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 64
BACKLOG = 128
MAX_REQUEST_LINE = 8 << 10  # bytes
MAX_REQUEST_HEAD = 32 << 10  # bytes, request line and headers together
MAX_BODY = 64 << 10  # bytes
HANDSHAKE_TIMEOUT = 10.0  # this and the next six in seconds
REQUEST_TIMEOUT = 10.0  # from the first byte of a request to the end of its headers
BODY_TIMEOUT = 10.0  # for all of a request's body
IDLE_TIMEOUT = 120.0  # between two requests: above the usual scrape intervals, so that scrapes share a connection
ANSWER_TIMEOUT = 30.0
LINGER_TIMEOUT = 1.0
STOP_TIMEOUT = 5.0

AUTHENTICATED = "dnsvigil.authenticated"
"""The key of a request's environ that says whether it showed a password, a client certificate or the token."""

_TLS_RECORD = b"\x16"
_OURS = {"connection", "content-length", "date", "transfer-encoding"}
_TEXT = ("Content-Type", "text/plain; charset=utf-8")

Headers = Iterable[tuple[str, str]]


class BodyError(Exception):
    """A request's body cannot be read; ``status`` is the status of the response."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class Bearer(Protocol):
    """What knows the token that requests may show."""

    def proves(self, authorization: str | None) -> bool:
        """Tell whether the value of an ``Authorization`` header has it."""


class Server:
    """Serves ``app`` on ``address`` in background threads, from :meth:`start` to :meth:`stop`.

    ``address`` is ``host:port``, ``[IPv6 address]:port``, or ``:port`` for all addresses of the machine;
    port 0 takes a free one. The socket listens from here on. ``web_config`` is the path of a web
    configuration file; it is read again when it changes. ``token`` is as good as a password.

    The application sees HEAD as GET, and has the whole answer ready before its first byte is sent. A request's body
    is read when the application reads it, which may raise :class:`BodyError`; one that is not read ends the
    connection. Chunked bodies are not read.

    Raises ``ValueError`` for an address that is none, ``OSError`` where it cannot be bound, and
    ``ConfigError`` for a web configuration that is wrong.
    """

    def __init__(
        self, app: WSGIApplication, address: str, web_config: Path | None = None, token: Bearer | None = None
    ) -> None:
        self.app = app
        self.token = token
        self.live = LiveWebConfig(web_config)
        self.stopping = threading.Event()
        self._listener = _listen(address)
        host, port = self._listener.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)
        """The host and port that the server is bound to."""
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._connections: dict[threading.Thread, _Connection] = {}
        self._lock = threading.Lock()
        self._last_refusal = float("-inf")
        self.refusals = Refusals()
        self._acceptor = threading.Thread(target=self._accept, name="http-accept", daemon=True)

    @property
    def url(self) -> str:
        """The server's root, without a final slash."""
        host, port = self.address
        scheme = "https" if self.live.current().ssl_context else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def start(self) -> None:
        """Begin to serve; returns at once."""
        log.info("listening on %s", self.url)
        self._acceptor.start()

    def stop(self) -> None:
        """Close the listening socket, let requests in progress end for up to five seconds, close the rest."""
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() alone does not
        if self._acceptor.ident:
            self._acceptor.join()
        self._listener.close()
        with self._lock:
            connections = dict(self._connections)
        deadline = time.monotonic() + STOP_TIMEOUT
        for connection in connections.values():
            connection.shutdown(socket.SHUT_RD)
        for thread, connection in connections.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, peer = self._listener.accept()
            except OSError as error:
                if not self.stopping.is_set():
                    log.warning("cannot accept a connection: %s", error)
                self.stopping.wait(0.1)  # out of file descriptors, most likely: do not spin
                continue
            if not self._slots.acquire(blocking=False):
                sock.close()
                self._complain("%d connections are open; closed a new one from %s", MAX_CONNECTIONS, peer[0])
                continue
            try:
                self._launch(_Connection(self, sock, peer))
            except Exception as error:  # no more threads, for one; others are served
                sock.close()
                self._slots.release()
                self._complain("cannot serve %s: %s", peer[0], error)

    def _launch(self, connection: "_Connection") -> None:
        def serve() -> None:
            try:
                connection.run()
            finally:
                with self._lock:
                    del self._connections[thread]
                self._slots.release()

        thread = threading.Thread(target=serve, name="http-connection", daemon=True)
        with self._lock:
            thread.start()
            self._connections[thread] = connection

    def _complain(self, message: str, *values: object) -> None:
        if time.monotonic() - self._last_refusal > 60:
            self._last_refusal = time.monotonic()
            log.warning(message, *values)


class _Connection(http.server.BaseHTTPRequestHandler):
    """One client's connection; of its base class it takes the parsing of requests."""

    protocol_version = "HTTP/1.1"

    # The base class would serve from within its constructor.
    def __init__(self, server: Server, sock: socket.socket, peer: tuple[Any, ...]) -> None:
        self._server = server
        self._web = WebConfig()
        self._unread = False
        self._expecting = False
        self._proved = self._certified = False  # by the token; by a client certificate
        self.connection = sock
        address = str(peer[0])
        if "." in address:  # an IPv4 address, which a socket for both families has in the form ::ffff:192.0.2.1
            address = address.removeprefix("::ffff:")
        self.client_address = (address, int(peer[1]))
        self.command = ""

    def run(self) -> None:
        """Serve the connection to its end, and close it."""
        try:
            if self._secure():
                self._stream = _Stream(self.connection)
                self._serve()
        except OSError as error:
            log.debug("%s: %s", self.client_address[0], error)
        except Exception:
            log.exception("connection from %s failed", self.client_address[0])
        finally:
            self._close()

    def shutdown(self, how: int) -> None:
        """Shut the TCP connection down while another thread uses it; TLS is left to that thread."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.connection, how)

    def _secure(self) -> bool:
        """Do the TLS handshake, if there is to be one; False for a client that is not allowed in."""
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._web = self._server.live.current()
        if self._web.ssl_context is None:
            return True
        self.connection.settimeout(HANDSHAKE_TIMEOUT)
        secured = self._web.ssl_context.wrap_socket(self.connection, server_side=True, do_handshake_on_connect=False)
        self.connection = secured
        try:
            secured.do_handshake()
        except OSError as error:
            if not self._server.stopping.is_set():
                self._report(handshake_failure(error))
            return False
        certificate: Mapping[str, Any] = secured.getpeercert() or {}
        self._certified = bool(certificate)
        if not self._web.admits(certificate):
            names = ", ".join(str(name) for _, name in certificate.get("subjectAltName", ()))
            self._report(f"none of the names in the client certificate is in client_allowed_sans: {quoted(names)}")
            return False
        return True

    def _report(self, reason: str) -> None:
        self._server.refusals.report(self.client_address[0], reason)

    def _serve(self) -> None:
        self.rfile = reader = io.BufferedReader(self._stream)
        self.close_connection = False
        patience = REQUEST_TIMEOUT
        while not (self.close_connection or self._server.stopping.is_set()):
            self._stream.allow(patience)
            self._stream.budget = MAX_REQUEST_HEAD
            begin = reader.peek(1)
            if not begin:
                return
            if begin[:1] == _TLS_RECORD:  # no request begins with this
                self._report("TLS on a port that speaks plain HTTP")
                self.requestline = ""
                self.send_error(HTTPStatus.BAD_REQUEST)
                return
            self._stream.allow(REQUEST_TIMEOUT)
            self._serve_one()
            patience = IDLE_TIMEOUT

    def _serve_one(self) -> None:
        self._web = self._server.live.current()
        self.raw_requestline = self.rfile.readline(MAX_REQUEST_LINE + 1)
        if len(self.raw_requestline) > MAX_REQUEST_LINE:
            self.requestline = ""
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
            return
        self._expecting = False
        if not self.parse_request():
            return
        last = self.close_connection
        chunked = "Transfer-Encoding" in self.headers
        sizes = self.headers.get_all("Content-Length", ["0"])
        if chunked or sizes != ["0"]:
            self.close_connection = self._unread = True  # until its body is read
        try:
            url = urllib.parse.urlsplit(self.path)
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        hosts = len(self.headers.get_all("Host", []))
        odd = self.headers.defects or not re.fullmatch("[0-9]{1,18}", ",".join(sizes))
        if odd or hosts > 1 or (hosts < 1 and self.request_version == "HTTP/1.1"):
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        user = None
        authorization = self.headers.get("Authorization")
        self._proved = bool(self._server.token and self._server.token.proves(authorization))
        if self._web.basic_auth and not self._proved:
            user = self._web.basic_auth.user(authorization)
            if user is None:
                self._refuse(HTTPStatus.UNAUTHORIZED, ("WWW-Authenticate", 'Basic realm="dnsvigil", charset="UTF-8"'))
                return
        body = _Body(self._stream, self.rfile, None if chunked else int(sizes[0]), self._expecting)
        answer = self._ask_application(self._environ(url, user, body))
        if body.left == 0:
            self.close_connection, self._unread = last, False
        self._answer(*answer)

    def _environ(self, url: urllib.parse.SplitResult, user: str | None, body: "_Body") -> WSGIEnvironment:
        host, port = self._server.address
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": "GET" if self.command == "HEAD" else self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": urllib.parse.unquote(url.path or "/", "iso-8859-1"),
            "QUERY_STRING": url.query,
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": self.client_address[0],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https" if self._web.ssl_context else "http",
            "wsgi.input": io.BufferedReader(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        environ[AUTHENTICATED] = self._proved or user is not None or self._certified
        if user is not None:
            environ["REMOTE_USER"] = user
        for name in self.headers:
            if "_" not in name:  # with one it could pass for another header
                key = name.upper().replace("-", "_")
                prefix = "" if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else "HTTP_"
                environ[prefix + key] = ",".join(self.headers.get_all(name, []))
        return environ

    def _ask_application(self, environ: WSGIEnvironment) -> tuple[str, Headers, bytes]:
        started: list[tuple[str, list[tuple[str, str]]]] = []
        body: list[bytes] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], _error: object = None, /
        ) -> Callable[[bytes], object]:
            started.append((status, headers))
            return body.append

        try:
            result = self._server.app(environ, start_response)
            try:
                body.extend(result)
            finally:
                if hasattr(result, "close"):
                    result.close()
            status, headers = started[-1]
            if any(set(f"{name}{value}".encode("iso-8859-1")) & set(b"\r\n\0") for name, value in headers):
                raise ValueError(f"a line break in a header: {headers!r}")
            return status, headers, b"".join(body)
        except BodyError as error:
            return f"{error.status.value} {error}", [_TEXT], f"{error}\n".encode()
        except Exception:
            log.exception("%s %r failed", self.command, self.path)
            return "500 Internal Server Error", [_TEXT], b"Internal Server Error\n"

    def _answer(self, status: str, headers: Headers, body: bytes) -> None:
        if status[:3] == "401":
            self._report(f"{status}: {offered(self.headers.get('Authorization'))}")
        elif status[:3] == "403":  # whatever it offered: the answer says why
            self._report(f"{status}: {quoted(_said(body))}")
        configured = {name.lower() for name in self._web.headers}
        lines = [f"HTTP/1.1 {status}", f"Date: {self.date_time_string()}"]
        lines += [f"{name}: {value}" for name, value in self._web.headers.items()]
        lines += [f"{name}: {value}" for name, value in headers if name.lower() not in configured | _OURS]
        if status[:3] in ("204", "304"):
            body = b""
        else:
            lines.append(f"Content-Length: {len(body)}")
        lines.append(f"Connection: {'close' if self.close_connection else 'keep-alive'}")
        head = "\r\n".join([*lines, "", ""]).encode("iso-8859-1")
        log.debug("%s %r %s %d", self.client_address[0], self.requestline, status[:3], len(body))
        self._stream.allow(ANSWER_TIMEOUT)
        self._stream.write(head if self.command == "HEAD" else head + body)

    def _refuse(self, status: HTTPStatus, *headers: tuple[str, str]) -> None:
        self._answer(f"{status.value} {status.phrase}", [_TEXT, *headers], f"{status.phrase}\n".encode())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that makes no sense, and read no further. (The base class calls this.)"""
        self.close_connection = self._unread = True
        self._refuse(HTTPStatus(code))

    def handle_expect_100(self) -> bool:
        """Note that the client waits to be asked for the body, or for the answer. (The base class calls this.)"""
        self._expecting = True
        return True

    def _close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.connection.settimeout(0)
            if isinstance(self.connection, ssl.SSLSocket):
                self.connection.unwrap()  # says goodbye, and does not wait for the reply
        if self._unread:  # closing over unread bytes would reset the connection, and lose the answer
            self._linger()
        self.connection.close()

    def _linger(self) -> None:
        self.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + LINGER_TIMEOUT
        with contextlib.suppress(OSError):
            while (left := deadline - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not socket.socket.recv(self.connection, 65536):
                    return


class _Stream(io.RawIOBase):
    """A socket as a stream whose peer has until a deadline, and can send no more than ``budget`` bytes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.budget = 0
        self.allow(0)

    def allow(self, seconds: float) -> None:
        """Give the peer this long from now."""
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.budget <= 0:
            raise http.client.HTTPException(f"more than {MAX_REQUEST_HEAD} bytes")  # which parse_request answers
        self._start()
        count = self._sock.recv_into(buffer, min(len(buffer), self.budget))
        self.budget -= count
        return count

    def write(self, data: Any) -> int:
        view = memoryview(data)
        sent = 0
        while sent < len(view):
            self._start()
            sent += self._sock.send(view[sent:])
        return sent

    def _start(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the client was too slow")
        self._sock.settimeout(left)


class _Body(io.RawIOBase):
    """The body of one request. A size that is not known is None; ``left`` is what has not been read of it."""

    def __init__(self, stream: _Stream, reader: io.BufferedIOBase, size: int | None, expecting: bool) -> None:
        self._stream = stream
        self._reader = reader
        self._expecting = expecting
        self._begun = False
        self.left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.left is None:
            raise BodyError(HTTPStatus.LENGTH_REQUIRED)
        if self.left > MAX_BODY:
            raise BodyError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            if self.left and not self._begun:
                self._begun = True
                self._stream.allow(BODY_TIMEOUT)
                self._stream.budget = self.left
                if self._expecting:
                    self._stream.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            count = self._reader.readinto1(memoryview(buffer)[: self.left]) if self.left else 0
        except TimeoutError:
            raise BodyError(HTTPStatus.REQUEST_TIMEOUT) from None
        except OSError:
            raise BodyError(HTTPStatus.BAD_REQUEST) from None
        if self.left and not count:  # the client has closed the connection
            raise BodyError(HTTPStatus.BAD_REQUEST)
        self.left -= count
        return count


def _said(body: bytes) -> str:
    """Return the reason in the body of a refusal, which is text, or a JSON object with ``error``."""
    text = body.decode("utf-8", "replace").strip()
    try:
        return str(json.loads(text)["error"])
    except (ValueError, LookupError, TypeError):
        return text


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (port.isascii() and port.isdigit() and int(port) < 65536) or (":" in bare and bare == host):
        raise ValueError(f"listen address {address!r}: expected host:port, [IPv6 address]:port or :port")
    try:
        if bare in ("", "::") and socket.has_dualstack_ipv6():
            return socket.create_server(("::", int(port)), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
        found = socket.getaddrinfo(bare or "0.0.0.0", int(port), type=socket.SOCK_STREAM)[0]  # noqa: S104
        return socket.create_server((bare or "0.0.0.0", int(port)), family=found[0], backlog=BACKLOG)  # noqa: S104
    except OSError as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise OSError(error.errno, f"cannot listen on {address}: {reason}") from error
