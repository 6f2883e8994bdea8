"""Streams over a client's socket. No wait on them is endless."""

import errno
import io
import socket
import ssl
import time
from http import HTTPStatus
from typing import Any

from dnsvigil.httpd import limits


class BodyError(Exception):
    """A request's body cannot be read; ``status`` is the status of the response."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class Stream(io.RawIOBase):
    """A socket as a stream with a deadline, which a peer that sends or reads slowly does not move.

    Reading and writing raise only ``OSError``, with an error number that means a lost connection to cheroot.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._deadline: float | None = 0.0

    def allow(self, seconds: float) -> None:
        """Set the deadline to this many seconds from now."""
        self._deadline = time.monotonic() + seconds

    def allow_nothing(self) -> None:
        """Read only what has already arrived."""
        self._deadline = None

    def readable(self) -> bool:
        """Be read from."""
        return True

    def writable(self) -> bool:
        """Be written to."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what has arrived, waiting for it until the deadline; None after :meth:`allow_nothing` if nothing has."""
        try:
            self._start()
            return self.sock.recv_into(buffer)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except (TimeoutError, ssl.SSLError) as error:
            raise _lost(error) from error

    def write(self, data: Any) -> int:
        """Write all of ``data``."""
        view = memoryview(data)
        sent = 0
        try:
            while sent < len(view):
                self._start()
                sent += self.sock.send(view[sent:])
        except (TimeoutError, ssl.SSLError) as error:
            raise _lost(error) from error
        return sent

    def _start(self) -> None:
        left = 0.0 if self._deadline is None else self._deadline - time.monotonic()
        if left <= 0 and self._deadline is not None:
            raise TimeoutError
        self.sock.settimeout(left)


def _lost(error: OSError) -> OSError:
    if isinstance(error, TimeoutError):
        return TimeoutError(errno.ETIMEDOUT, "the client was too slow")
    return ConnectionAbortedError(errno.ECONNABORTED, str(error))


class Reader(io.BufferedReader):
    """A buffered reader of a :class:`Stream`."""

    raw: Stream

    def has_data(self) -> bool:
        """Return whether some of the next request has arrived, be it in the buffer of TLS. (cheroot calls this.)"""
        self.raw.allow_nothing()
        try:
            return bool(self.peek(1))
        except OSError:
            return True  # the next read raises it again


class Body(io.RawIOBase):
    """The body of one request. ``left`` is the number of bytes not read yet, None if the size is unknown.

    Reading raises :class:`BodyError`.
    """

    def __init__(self, reader: Reader, size: int | None, *, expecting: bool) -> None:
        """``expecting``: the client waits for 100 Continue before it sends the body."""
        self._reader = reader
        self._expecting = expecting
        self._begun = False
        self.left = size

    def readable(self) -> bool:
        """Be read from."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what has arrived; the first time, send 100 Continue to a client that expects it."""
        if self.left is None:
            raise BodyError(HTTPStatus.LENGTH_REQUIRED)
        if self.left > limits.MAX_BODY:
            raise BodyError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            if self.left and not self._begun:
                self._begun = True
                self._reader.raw.allow(limits.BODY_TIMEOUT)
                if self._expecting:
                    self._reader.raw.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            count = self._reader.readinto1(memoryview(buffer)[: self.left]) if self.left else 0
        except TimeoutError:
            raise BodyError(HTTPStatus.REQUEST_TIMEOUT) from None
        except OSError:
            raise BodyError(HTTPStatus.BAD_REQUEST) from None
        if self.left and not count:  # the client has closed the connection
            raise BodyError(HTTPStatus.BAD_REQUEST)
        self.left -= count
        return count
