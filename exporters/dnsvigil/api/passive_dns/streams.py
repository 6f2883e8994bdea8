"""Responses that are sent as they are found, one JSON object a line, in memory that does not grow with them."""

import errno
import io
import json
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from flask import Response, request

from dnsvigil.api.interface import Objects
from dnsvigil.api.passive_dns.lookup import LimitedError
from dnsvigil.api.passive_dns.saf import failure
from dnsvigil.engines.tuples import LookupTimeoutError
from dnsvigil.httpd.request import STREAMED
from dnsvigil.store.store import StoreError

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

NDJSON: Final = "application/x-ndjson"
ARROW: Final = "application/vnd.apache.arrow.stream"

_JSON: Final = json.JSONEncoder(separators=(",", ":"))  # json.dumps would make one for each line
_PIECE: Final = 64 << 10  # bytes
_SOON: Final = 0.2  # seconds until what is found is sent, be it little
_AT_ONCE: Final = 4  # look-ups: each takes memory, and they share the processors with the reading of logs
_PATIENCE: Final = 10.0  # seconds to wait for others to end


class BusyError(Exception):
    """Too many look-ups run at once."""


class Slots:
    """Bounds the number of look-ups that run at once."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(_AT_ONCE)

    def stream(self, objects: Objects) -> Response:
        """Return a response that is sent as objects are found. Raises :class:`BusyError`."""
        return self._response(_pieces(objects), NDJSON)

    def arrow(self, tables: Iterator["pa.Table"]) -> Response:
        """Return a response of tables as Arrow's IPC streams have them. Raises as :meth:`stream`."""
        return self._response(_messages(tables), ARROW)

    def _response(self, pieces: Iterator[bytes], content_type: str) -> Response:
        if not self._free.acquire(timeout=_PATIENCE):
            raise BusyError(f"{_AT_ONCE} look-ups are under way; ask again in a few seconds")
        request.environ[STREAMED] = True
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        response = Response(pieces, headers=headers, content_type=content_type)
        response.call_on_close(self._free.release)
        return response


def whole(objects: Objects) -> Objects:
    """Yield objects. Raises ``OSError``, which ends the connection, where they are not all."""
    try:
        yield from objects
    except LimitedError as error:
        raise _cut_off(str(error)) from error
    except (LookupTimeoutError, StoreError) as error:
        raise _cut_off(failure(error)) from error


def _cut_off(reason: str) -> OSError:
    log.info("an answer was cut off: %s", reason)
    return ConnectionAbortedError(errno.ECONNABORTED, reason)


def _pieces(objects: Iterable[Mapping[str, Any] | None]) -> Iterator[bytes]:
    """Yield the lines of objects together, when they are many or when some time has passed."""
    piece = bytearray()
    sent = float("-inf")
    for each in objects:
        if each is not None:
            piece += _line(each)
        if len(piece) >= _PIECE or (each is None and piece and time.monotonic() - sent > _SOON):
            yield bytes(piece)
            piece.clear()
            sent = time.monotonic()
    if piece:
        yield bytes(piece)


def _messages(tables: Iterator["pa.Table"]) -> Iterator[bytes]:
    """Yield the messages of each table. Raises ``OSError``, which ends the connection, where the store fails."""
    import pyarrow as pa

    sink = io.BytesIO()
    writer = None
    try:
        for table in tables:
            writer = writer or pa.ipc.new_stream(sink, table.schema)
            writer.write_table(table)
            yield sink.getvalue()
            sink.seek(0)
            sink.truncate()
        if writer:
            writer.close()
        yield sink.getvalue()
    except StoreError as error:
        raise _cut_off(failure(error)) from error


def _line(content: Mapping[str, Any]) -> bytes:
    # Of all control characters, JSON in ASCII leaves this one as it is.
    return _JSON.encode(content).replace("\x7f", "\\u007f").encode() + b"\n"
