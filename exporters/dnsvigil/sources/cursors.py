"""Finds the cursor of a log file by what the file begins with."""

import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from dnsvigil.records import Cursor
from dnsvigil.sources.logfile import Head

_TELLING: Final = 32
"""Bytes at the beginning of a log, a time and some of a uid, that no other log begins with."""


class Cursors:
    """The cursors that are known, by sensor and head."""

    def __init__(self, cursors: Iterable[Cursor]) -> None:
        self._by_id: dict[str, Cursor] = {}
        # Sensor, to size of head, to hash of head: a growing file's head is short at first.
        self._by_head: dict[str, dict[int, dict[str, Cursor]]] = {}
        for cursor in cursors:
            self.put(cursor)

    def put(self, cursor: Cursor) -> None:
        """Add the cursor, or replace the one of the same id."""
        sizes = self._by_head.setdefault(cursor.sensor, {})
        before = self._by_id.pop(cursor.id, None)  # the order is that of use
        if before:
            sizes[before.head_size].pop(before.head_hash, None)
        self._by_id[cursor.id] = cursor
        sizes.setdefault(cursor.head_size, {})[cursor.head_hash] = cursor

    def find(self, sensor: str, head: Head, path: str) -> Cursor:
        """Return the cursor of the file that begins with ``head``, a new one at its start if it is not known.

        ``path`` is the file's, or that of the log in the folder that is followed; what is there may go on under each
        other's header.
        The cursor returned knows the file by all of ``head``.
        """
        sizes = self._by_head.get(sensor, {})
        size = len(head.records)
        for known in sorted(sizes, reverse=True):
            if known > size or not (cursor := sizes[known].get(head.hash(known))):
                continue
            # Many files may begin like a very short one; that one has the same path, too.
            if known >= _TELLING or (known == size and cursor.path == path):
                return replace(cursor, head_size=size, head_hash=head.hash(size))
        # A file that begins without a header after a truncation goes on under the header it had.
        header = b"" if head.header else self._header_at(sensor, path)
        new = Cursor(uuid.uuid4().hex, sensor, size, head.hash(size), 0, header, path)
        self.put(new)
        return new

    def _header_at(self, sensor: str, path: str) -> bytes:
        headers = [c.header for c in self._by_id.values() if c.sensor == sensor and c.path == path and c.header]
        return headers[-1] if headers else b""
