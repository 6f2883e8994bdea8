"""Lists as files, CSV and JSON."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from flask import Response

from dnsvigil.system.terminal import printable

_FORMULA: Final = tuple("=+-@\t\r")  # how a cell begins that a spreadsheet would run (OWASP, CSV injection)


def csv_file(what: str, fields: Sequence[str], rows: Iterable[Mapping[str, Any]], limited: str = "") -> Response:
    """Return rows as CSV, in which no cell is a formula. ``limited`` is why they are not all: it is the last line."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(fields)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in fields])
    if limited:
        writer.writerow([f"# {limited}"])
    return _file(what, text.getvalue(), "text/csv; charset=utf-8", "csv")


def json_file(what: str, content: Any) -> Response:
    """Return content as JSON."""
    return _file(what, json.dumps(content, indent=1), "application/json", "json")


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if value.startswith(_FORMULA) else text


def _file(what: str, text: str, kind: str, ending: str) -> Response:
    name = f"dnsvigil-{what}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{ending}"
    return Response(text, content_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})
