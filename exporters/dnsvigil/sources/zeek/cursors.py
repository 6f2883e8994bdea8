"""Finds the cursor of a log file by what the file begins with."""

import uuid
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from dnsvigil.records import Cursor
from dnsvigil.sources.zeek.head import Head

_UNIQUE_PREFIX: Final = 32
"""Bytes from the first record on that no other log begins with: a time and part of a uid."""


class Cursors:
    """The cursors that are known, by head."""

    def __init__(self, cursors: Iterable[Cursor]) -> None:
        self._by_id: dict[str, Cursor] = {}
        # Size of head to hash of head to ids: the head of a growing file is short at first, and so is that of a copy.
        self._by_head: dict[int, dict[str, dict[str, None]]] = {}
        for cursor in cursors:
            self.put(cursor)

    def put(self, cursor: Cursor) -> None:
        """Add the cursor, or replace the one of the same id."""
        self._by_id.pop(cursor.id, None)  # the order is that of use
        self._by_id[cursor.id] = cursor
        self._by_head.setdefault(cursor.head_size, {}).setdefault(cursor.head_hash, {})[cursor.id] = None

    def find(
        self, sensor: str, head: Head, path: str, *, among: Collection[str] = (), apart: Collection[str] = ()
    ) -> Cursor:
        """Return the cursor of the file that begins with ``head``; a new cursor at its start if none is known.

        ``path`` is the path of the file or, in a followed folder, of the current log: a file without a header goes on
        under the last header seen at its path. ``among`` are paths of other logs that the file may be a part of,
        ``apart`` paths of logs that the file is not a part of, even if both begin with the same bytes.
        The returned cursor identifies the file by all of ``head``.
        """
        size = len(head.records)
        for known in sorted(self._by_head, reverse=True):
            if known > size or not (ids := self._by_head[known].get(head.hash(known))):
                continue
            # Many files may begin like a very short one; a short head is matched at the same path only.
            same = [
                cursor
                for cursor in map(self._by_id.__getitem__, ids)
                if (known >= _UNIQUE_PREFIX or (known == size and cursor.path == path))
                and (cursor.path == path or cursor.path in among or cursor.path not in apart)
                and (cursor.path == path or cursor.path in among or cursor.sensor == sensor or head.is_unique)
            ]
            if same:
                cursor = max(same, key=lambda each: (each.path == path, each.path in among, each.sensor == sensor))
                return replace(cursor, head_size=size, head_hash=head.hash(size))
        # A file that begins without a header after a truncation goes on under the header it had.
        header = b"" if head.header else self._header_at(sensor, path)
        new = Cursor(uuid.uuid4().hex, sensor, size, head.hash(size), 0, header, path)
        self.put(new)
        return new

    def _header_at(self, sensor: str, path: str) -> bytes:
        headers = [c.header for c in self._by_id.values() if c.sensor == sensor and c.path == path and c.header]
        return headers[-1] if headers else b""
