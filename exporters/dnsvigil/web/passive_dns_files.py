"""The records of passive DNS that a page lists as files, CSV and JSON, and more of them than a page has."""

from typing import Any, Final

from flask import Response

from dnsvigil.api.parameters import one_of, only, refuse
from dnsvigil.web.exports import csv_file, json_file
from dnsvigil.web.lists import listing
from dnsvigil.web.page import Asked
from dnsvigil.web.passive_dns import COLUMNS, FILTERS, Record, history, narrowed, ordered, question_about

_MAX_RECORDS: Final = 10_000
_KINDS: Final = ("domain", "name", "address", "network")
_FIELDS: Final = ("name", "type", "data", "count", "first", "last")


def records_csv(asked: Asked) -> Response:
    """Return the records that a page lists, and more of them, as CSV."""
    found, limited = _exported(asked)
    return csv_file("passive-dns", _FIELDS, found, limited)


def records_json(asked: Asked) -> Response:
    """Return the records that a page lists, and more of them, as JSON."""
    found, limited = _exported(asked)
    return json_file("passive-dns", {"records": found, "limited": limited or None})


def _exported(asked: Asked) -> tuple[list[dict[str, Any]], str]:
    """Return the records that a request wants, and why they are not all."""
    given = only(asked.given, "kind", "q", "sort", "order", *FILTERS)
    one_of(given, "kind", _KINDS)
    if not {"kind", "q"} <= given.keys():
        refuse("kind, q: expected what the records are about")
    wanted = listing(given, COLUMNS)
    known = history(asked.backend, narrowed(question_about(given["kind"], given["q"]), given), _MAX_RECORDS)
    return [_row(each) for each in ordered(known, wanted)], known.limited


def _row(record: Record) -> dict[str, Any]:
    times = {name: f"{when:%Y-%m-%dT%H:%M:%SZ}" for name, when in (("first", record.first), ("last", record.last))}
    return {"name": record.name, "type": record.type, "data": record.data, "count": record.count, **times}
