"""The CSV export of MISP: a header that names the columns, and a row for each attribute."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from dnsvigil.sources.blocklists.names import clean

_TYPES: Final = ("domain", "hostname", "domain|ip", "hostname|port", "ip-dst", "ip-dst|port")


def columns_of(line: bytes) -> list[str]:
    """Return the columns that the first line of a list names; none where it is not the header of an export."""
    text = line.decode(errors="replace")
    try:
        columns = [column.strip() for column in next(csv.reader((text,)), [])] if "," in text else []
    except csv.Error:  # a carriage return within the line, for one: not a row of any table
        return []
    return columns if "value" in columns and "type" in columns else []


class MispExport:
    """Reads the rows of an export."""

    def __init__(self, columns: Sequence[str], skipped: Counter[str]) -> None:
        """Take rows with these columns, ``type`` and ``value`` among them; count what is skipped in ``skipped``."""
        self._skipped = skipped
        self._type, self._value = columns.index("type"), columns.index("value")
        self._flag = columns.index("to_ids") if "to_ids" in columns else None

    def names(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the names of a chunk of whole rows that are marked for detection."""
        for line in chunk.decode(errors="replace").splitlines():
            try:
                row = next(csv.reader((line,)), [])
            except csv.Error:
                row = [""]
            if not row:
                continue
            if len(row) <= max(self._type, self._value, self._flag or 0):
                self._skipped["not_a_row"] += 1
            elif row[self._type] not in _TYPES:
                self._skipped["other_type"] += 1
            elif self._flag is not None and row[self._flag] in ("0", "false"):
                self._skipped["not_for_detection"] += 1
            else:
                yield from clean(row[self._value].partition("|")[0].strip().encode(), self._skipped)
