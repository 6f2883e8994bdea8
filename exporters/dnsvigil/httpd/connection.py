"""A client's connection, from the TLS handshake to the close."""

import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

import cheroot.server

from dnsvigil.httpd import limits
from dnsvigil.httpd.refusals import handshake_failure, quoted
from dnsvigil.httpd.request import Request
from dnsvigil.httpd.streams import Reader, Stream

log = logging.getLogger(__name__)


class Connection(cheroot.server.HTTPConnection):
    """One client's connection.

    cheroot creates it in the thread that accepts connections, calls :meth:`communicate` in another thread for each
    request, and watches the socket between two requests. The first call does the TLS handshake. cheroot's own adapters
    do it in the thread that accepts, where one stalled client delays all others.
    """

    RequestHandlerClass = Request

    def __init__(self, server: Any, sock: socket.socket, _makefile: object = None) -> None:
        """Take over ``sock`` for ``server``, cheroot's part of a :class:`dnsvigil.httpd.server.Server`."""
        self.stream = Stream(sock)
        super().__init__(server, sock, lambda _, mode, size: Reader(self.stream, size) if mode == "rb" else self.stream)
        self.unread = False
        """Whether the client has sent, or may still send, data that is not read."""
        self.certified = False
        """Whether the client showed a certificate."""
        self._begun = False
        server.connections.add(self)

    @property
    def address(self) -> str:
        """The client's address. A dual-stack socket shows IPv4 addresses as ::ffff:192.0.2.1."""
        address = str(self.remote_addr)
        return address.removeprefix("::ffff:") if "." in address else address

    def report(self, reason: str) -> None:
        """Report in the log that the client was refused."""
        self.server.refusals.report(self.address, reason)

    def communicate(self) -> bool:
        """Serve one request, the first after the TLS handshake. Return whether the connection stays open."""
        try:
            if not self._begun and not self._secure():
                return False
            self._begun = True
            self.stream.allow(limits.REQUEST_TIMEOUT)
            if not self.rfile.peek(1):
                return False
            self.stream.allow(limits.REQUEST_TIMEOUT)
            return bool(super().communicate())
        except OSError as error:
            log.debug("%s: %s", self.address, error)
        except Exception:
            log.exception("connection from %s failed", self.address)
        return False

    def _secure(self) -> bool:
        """Do the TLS handshake if TLS is configured. Return False for a client that is refused."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        web = self.server.live.current()
        if web.ssl_context is None:
            return True
        self.socket.settimeout(limits.HANDSHAKE_TIMEOUT)
        secured = web.ssl_context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.socket = self.stream.sock = secured
        try:
            secured.do_handshake()
        except OSError as error:
            if not self.server.stopping.is_set():
                self.report(handshake_failure(error))
            return False
        certificate: Mapping[str, Any] = secured.getpeercert() or {}
        self.certified = bool(certificate)
        if not web.admits(certificate):
            names = ", ".join(str(name) for _, name in certificate.get("subjectAltName", ()))
            self.report(f"none of the names in the client certificate is in client_allowed_sans: {quoted(names)}")
            return False
        return True

    def shutdown(self, how: int) -> None:
        """Shut the TCP connection down while another thread uses it; TLS is left to that thread."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.socket, how)

    def close(self) -> None:
        """Close the connection without losing a response on its way. Raises nothing."""
        with contextlib.suppress(OSError, ValueError):
            self.socket.settimeout(0)
            if isinstance(self.socket, ssl.SSLSocket):
                self.socket.unwrap()  # says goodbye, and does not wait for the reply
        if self.unread:  # closing with unread data would reset the connection, and lose the response
            self._linger()
        with contextlib.suppress(OSError):
            self.socket.close()
        self.server.connections.discard(self)

    def _linger(self) -> None:
        self.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + limits.LINGER_TIMEOUT
        with contextlib.suppress(OSError):
            while (left := deadline - time.monotonic()) > 0:
                self.socket.settimeout(left)
                if not socket.socket.recv(self.socket, 65536):
                    return
