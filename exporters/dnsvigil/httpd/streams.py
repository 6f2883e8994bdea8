"""A client's socket as streams whose every wait has an end."""

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
    """A socket as a stream whose peer has until a deadline, however little it sends at a time.

    Reading and writing raise ``OSError`` alone, with an error number that cheroot knows for a lost connection.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._deadline: float | None = 0.0

    def allow(self, seconds: float) -> None:
        """Give the peer this long from now."""
        self._deadline = time.monotonic() + seconds

    def allow_nothing(self) -> None:
        """Read only what is here already."""
        self._deadline = None

    def readable(self) -> bool:
        """Be read from."""
        return True

    def writable(self) -> bool:
        """Be written to."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what there is; None for nothing yet, where only that was allowed."""
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
    """A stream, read through a buffer."""

    raw: Stream

    def has_data(self) -> bool:
        """Tell whether something of the next request is here, if only in TLS's own buffer. (cheroot calls this.)"""
        self.raw.allow_nothing()
        try:
            return bool(self.peek(1))
        except OSError:
            return True  # whoever reads next will see it


class Body(io.RawIOBase):
    """The body of one request. A size that is not known is None; ``left`` is what has not been read of it.

    Reading raises :class:`BodyError`.
    """

    def __init__(self, reader: Reader, size: int | None, *, expecting: bool) -> None:
        """``expecting`` says that the client waits to be asked for the body."""
        self._reader = reader
        self._expecting = expecting
        self._begun = False
        self.left = size

    def readable(self) -> bool:
        """Be read from."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what there is; the first time, ask for it."""
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
