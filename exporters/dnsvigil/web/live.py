"""The page of the newest records, and the stream that it follows.

A viewer has no queue: each takes what is there from one tail, which is bounded, and learns how much has gone meanwhile.
"""

import ipaddress
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from flask import Response, request

from dnsvigil.api.interface import RequestError
from dnsvigil.api.parameters import one_of, only, refuse
from dnsvigil.api.passive_dns.names import parse_name
from dnsvigil.httpd.request import STREAMED
from dnsvigil.ingest.live import Tail
from dnsvigil.records import QTYPES, RCODES, UNANSWERED, UNKNOWN, UNKNOWN_RCODE
from dnsvigil.system.addresses import Network, is_in
from dnsvigil.web.masks import masked
from dnsvigil.web.page import Asked, View
from dnsvigil.web.templates import rendered

SHOWN: Final = 100
"""How many records a page has, and how many of a round are sent."""

MAX_VIEWERS: Final = 8
"""How many follow the stream at the same time."""

REFRESH_SECONDS: Final = 5
"""The time between two looks at the page without JavaScript."""

_FILTERS: Final = ("client", "server", "name", "qtype", "rcode")
_WAIT_SECONDS: Final = 5.0  # after which a browser that has gone is noticed
_LONGEST_SECONDS: Final = 600.0  # of a stream; browsers open another, and who may no longer see it is refused
_RCODES: Final = {name: code for code, name in RCODES.items()} | {UNKNOWN: UNKNOWN_RCODE}
_QTYPES: Final = {name: code for code, name in QTYPES.items()}
_free: Final = threading.BoundedSemaphore(MAX_VIEWERS)


@dataclass(frozen=True)
class Record:
    """A record as it is shown."""

    when: datetime
    sensor: str
    client: str  # which links mask
    server: str
    name: str
    qtype: str
    rcode: str
    milliseconds: float | None
    answers: list[tuple[str | None, str]]  # the kind of the value's page, and the value


def live(asked: Asked) -> View:
    """Return the page: the newest records that match the filters."""
    given = only(asked.given, *_FILTERS)
    matches = _Matches(asked, given)
    seen = asked.backend.snapshot.of(Tail).after(0, 0)
    values = {
        "given": dict.fromkeys(_FILTERS) | given,
        "records": _records(asked, matches.of(seen.tables)[:SHOWN]),
        "known": sum(table.num_rows for table in seen.tables),
        "qtypes": [*_QTYPES],
        "rcodes": [*_RCODES, UNANSWERED],
        "stream": asked.links.url("/live.events", given),
        "refresh_seconds": REFRESH_SECONDS,
        "shown": SHOWN,
    }
    return View("live.html", values)


def records(asked: Asked) -> Response:
    """Return the stream of records that match the filters, as server-sent events of rows of the table."""
    matches = _Matches(asked, only(asked.given, *_FILTERS))
    tail = asked.backend.snapshot.of(Tail)
    if not _free.acquire(blocking=False):
        reason = f"{MAX_VIEWERS} others follow the records; close one of their pages."
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, reason)
    request.environ[STREAMED] = True
    response = Response(_events(asked, tail, matches), content_type="text/event-stream; charset=utf-8")
    response.call_on_close(_free.release)
    return response


def _events(asked: Asked, tail: Tail, matches: "_Matches") -> Iterator[bytes]:
    end = time.monotonic() + _LONGEST_SECONDS
    place = tail.after(0, 0).place
    yield b"retry: 2000\n\n"
    while time.monotonic() < end and not tail.closed:
        seen = tail.after(place, _WAIT_SECONDS)
        place = seen.place
        found = matches.of(seen.tables)
        more = max(found.num_rows - SHOWN, 0) + seen.missed
        if found.num_rows:
            rows = _records(asked, found[:SHOWN])
            yield _event("rows", rendered("live_rows.html", links=asked.links, records=rows))
        else:
            yield b": nothing new\n\n"
        if more:
            yield _event("more", f"{more:,}")


def _event(name: str, text: str) -> bytes:
    lines = [f"event: {name}", *(f"data: {line}" for line in text.splitlines())]
    return "\n".join([*lines, "", ""]).encode()


class _Matches:
    """Finds the records that match filters."""

    def __init__(self, asked: Asked, given: Mapping[str, str]) -> None:
        one_of(given, "qtype", _QTYPES)
        one_of(given, "rcode", [*_RCODES, UNANSWERED])
        self._given = given
        self._name = _name(given["name"]) if "name" in given else None
        self._networks = {each: _network(given[each]) for each in ("client", "server") if each in given}
        if "client" in given and not asked.viewer.sees_clients:  # who may see the network alone may ask for that alone
            self._networks["client"] = _network(masked(given["client"]))

    def of(self, tables: Iterable[pa.Table]) -> pa.Table:
        """Return the records of tables that match, in their order."""
        found = [self._in(table) for table in tables]
        return pa.concat_tables(found) if found else pa.table({})

    def _in(self, table: pa.Table) -> pa.Table:
        if self._name is not None:
            names = table["qname"]
            below = pc.ends_with(names, f".{self._name}") if self._name != "." else pc.is_valid(names)
            table = table.filter(pc.or_(pc.equal(names, self._name), below))
        if "qtype" in self._given:
            table = table.filter(pc.equal(table["qtype"], _QTYPES[self._given["qtype"]]))
        if (rcode := self._given.get("rcode")) == UNANSWERED:
            table = table.filter(pc.is_null(table["rcode"]))
        elif rcode:
            table = table.filter(pc.equal(table["rcode"], _RCODES[rcode]))
        for column, network in self._networks.items():
            distinct = [each for each in table[column].unique().to_pylist() if each and is_in(each, network)]
            table = table.filter(pc.is_in(table[column], pa.array(distinct, pa.string())))
        return table


def _name(text: str) -> str:
    try:
        return parse_name(text)
    except ValueError as error:
        refuse(str(error))


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        refuse(f"{text!a} is no address or network.")


def _records(asked: Asked, table: pa.Table) -> list[Record]:
    label_of = asked.config.servers.label_of
    return [_record(row, label_of(row["server"] or "")) for row in table.to_pylist()]


def _record(row: Mapping[str, Any], server: str) -> Record:
    rcode = UNANSWERED if row["rcode"] is None else RCODES.get(row["rcode"], UNKNOWN)
    rtt = row["rtt_seconds"]
    return Record(
        row["ts"],
        row["sensor"] or "",
        row["client"] or "",
        server,
        row["qname"] or "",
        QTYPES.get(row["qtype"], UNKNOWN),
        rcode,
        None if rtt is None else 1000 * rtt,
        [(_kind(each), each) for each in row["answers"] or ()],
    )


def _kind(answer: str) -> str | None:
    """Return the kind of the page of an answer, as far as that is clear."""
    try:
        ipaddress.ip_address(answer)
    except ValueError:
        return "name" if "." in answer and " " not in answer else None
    return "address"
