"""The HTTP server: cheroot accepts connections and serves WSGI; the limits and the web configuration file are ours."""

import contextlib
import errno
import logging
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from wsgiref.types import WSGIApplication

import cheroot.wsgi

from dnsvigil.httpd import limits
from dnsvigil.httpd.connection import Connection
from dnsvigil.httpd.refusals import Refusals
from dnsvigil.httpd.request import Gateway
from dnsvigil.httpd.web_config import LiveWebConfig

log = logging.getLogger(__name__)


class Bearer(Protocol):
    """Knows the token and the API keys that requests may present."""

    def proves(self, authorization: str | None) -> bool:
        """Return whether the value of an ``Authorization`` header has it."""

    def key_name(self, key: bytes, path: str) -> str | None:
        """Return the name of an API key that opens a path, else None."""


class Server:
    """Serves ``app`` on ``address`` in background threads, from :meth:`start` to :meth:`stop`.

    ``address`` is ``host:port``, ``[IPv6 address]:port``, or ``:port`` for all addresses of the machine;
    port 0 takes a free one. The socket listens from here on. ``web_config`` is the path of a web
    configuration file; it is read again when it changes. ``token`` is as good as a password.

    The application sees HEAD as GET, and its response is sent when all of it is there. A request's body
    is read when the application reads it, which may raise :class:`~dnsvigil.httpd.streams.BodyError`; one that is not
    read ends the connection. Chunked bodies are not read.

    Raises ``ValueError`` for an address that is none, ``OSError`` where it cannot be bound, and
    ``ConfigError`` for a web configuration that is wrong.
    """

    def __init__(
        self, app: WSGIApplication, address: str, web_config: Path | None = None, token: Bearer | None = None
    ) -> None:
        self.app = app
        self.token = token
        self.live = LiveWebConfig(web_config)
        self._listener = _Listener(_listen(address))
        host, port = self._listener.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)
        """The host and port that the server is bound to."""
        self._http = _Http(app, self._listener, self.live, token)
        self._connections = self._http.connections
        self._acceptor = threading.Thread(target=self._http.serve, name="http-accept", daemon=True)

    @property
    def url(self) -> str:
        """The server's root, without a final slash."""
        host, port = self.address
        scheme = "https" if self.live.current().ssl_context else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def start(self) -> None:
        """Begin to serve; returns at once."""
        log.info("listening on %s", self.url)
        self._http.prepare()
        self._acceptor.start()

    def stop(self) -> None:
        """Close the listening socket, let requests in progress end for up to five seconds, close the rest."""
        self._listener.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        for connection in self._connections.copy():
            connection.shutdown(socket.SHUT_RD)
        self._http.stop()
        for connection in self._connections.copy():
            connection.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class _Http(cheroot.wsgi.Server):
    """cheroot's server with our connections, and a thread for each request in progress."""

    ConnectionClass = Connection

    def __init__(self, app: WSGIApplication, listener: "_Listener", live: LiveWebConfig, token: Bearer | None) -> None:
        bound = listener.getsockname()[:2]
        super().__init__(
            bound,
            app,
            server_name=bound[0],
            request_queue_size=limits.BACKLOG,
            timeout=limits.IDLE_TIMEOUT,  # type: ignore[arg-type]
            shutdown_timeout=limits.STOP_TIMEOUT,  # type: ignore[arg-type]
        )
        self.gateway = Gateway
        self.requests = _Threads(self)
        self.max_request_header_size = limits.MAX_REQUEST_HEAD
        self.live = live
        self.token = token
        self.refusals = Refusals()
        self.stopping = listener.stopping
        self.connections = listener.connections
        self.complain = listener.complain
        self._listener = listener

    def prepare(self) -> None:
        """Get ready to serve on our own socket."""
        os.environ.pop("LISTEN_PID", None)  # with it, cheroot would serve on file descriptor 3
        super().prepare()

    def bind(self, family: int, type: int, proto: int = 0) -> socket.socket:
        """Use our socket, which is already bound."""
        self.socket = self._listener
        return self._listener

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Log what cheroot has to report."""
        log.log(level, "%s", msg, exc_info=traceback)


class _Threads:
    """A thread for each request in progress, with the interface of cheroot's thread pool.

    The pool itself would need 64 threads, so that clients that stall leave one for the others. It uses them in turn,
    until all of them hold memory (8 MB more), and on stop it waits for handlers without a limit.
    """

    min = 0

    def __init__(self, server: _Http) -> None:
        self._server = server
        self._running: set[threading.Thread] = set()

    def start(self) -> None:
        """Do nothing: threads start with requests."""

    def put(self, connection: Connection) -> None:
        """Serve the next request of a connection."""
        thread = threading.Thread(target=self._serve, args=(connection,), name="http-request", daemon=True)
        self._running.add(thread)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads; others are served
            self._running.discard(thread)
            self._server.complain("cannot serve %s: %s", connection.address, error)
            connection.close()

    def stop(self, timeout: float) -> None:
        """Wait for the requests in progress, at most ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        for thread in self._running.copy():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _serve(self, connection: Connection) -> None:
        try:
            if connection.communicate():
                self._server.put_conn(connection)
            else:
                connection.close()
        except ValueError as error:  # the server has stopped meanwhile
            log.debug("%s: %s", connection.address, error)
            connection.close()
        finally:
            self._running.discard(threading.current_thread())


class _Listener(socket.socket):
    """A listening socket that closes connections above the limit, and survives a lack of file descriptors."""

    def __init__(self, bound: socket.socket) -> None:
        super().__init__(fileno=bound.detach())
        self.connections: set[Connection] = set()
        """The connections that are open."""
        self.stopping = threading.Event()
        self._last_complaint = float("-inf")

    def complain(self, message: str, *values: object) -> None:
        """Log a warning, at most once a minute."""
        if time.monotonic() - self._last_complaint > 60:
            self._last_complaint = time.monotonic()
            log.warning(message, *values)

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection. Raises ``BlockingIOError``, which cheroot ignores, if there is none to serve."""
        try:
            sock, peer = super().accept()
        except (BlockingIOError, TimeoutError):
            raise
        except OSError as error:
            if not self.stopping.is_set():
                log.warning("cannot accept a connection: %s", error)
                self.stopping.wait(0.1)  # out of file descriptors, most likely: do not spin
            raise BlockingIOError(errno.EAGAIN, str(error)) from error
        if len(self.connections) < limits.MAX_CONNECTIONS:
            return sock, peer
        sock.close()
        self.complain("%d connections are open; closed a new one from %s", limits.MAX_CONNECTIONS, peer[0])
        raise BlockingIOError(errno.EAGAIN, "too many connections")


def _listen(address: str) -> socket.socket:
    """Return a socket that listens on ``address``. Raises ``ValueError`` and ``OSError``."""
    host, _, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (port.isascii() and port.isdigit() and int(port) < 65536) or (":" in bare and bare == host):
        raise ValueError(f"listen address {address!r}: expected host:port, [IPv6 address]:port or :port")
    backlog = limits.BACKLOG
    try:
        if bare in ("", "::") and socket.has_dualstack_ipv6():
            return socket.create_server(("::", int(port)), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True)
        found = socket.getaddrinfo(bare or "0.0.0.0", int(port), type=socket.SOCK_STREAM)[0]  # noqa: S104
        return socket.create_server((bare or "0.0.0.0", int(port)), family=found[0], backlog=backlog)  # noqa: S104
    except OSError as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise OSError(error.errno, f"cannot listen on {address}: {reason}") from error
