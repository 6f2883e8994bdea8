"""Flow files in the store: those that were read, and those that were submitted and are still to be read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

from dnsvigil.records import FLOW_SLOT_SECONDS
from dnsvigil.sources.remote.uri import name_of
from dnsvigil.store.flow_slots import rows_of_slots
from dnsvigil.store.store import Store
from dnsvigil.system.files import path_text

_LIFE: Final = timedelta(days=35)
_SLOT: Final = timedelta(seconds=FLOW_SLOT_SECONDS)
_FILES_FOR_INTERVAL: Final = 12

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS flow_files (
    id BIGINT, exporter VARCHAR, name VARCHAR, slot TIMESTAMP, "begin" TIMESTAMP, digest VARCHAR, path VARCHAR,
    size BIGINT, changed BIGINT, flows BIGINT, packets BIGINT, bytes BIGINT, sequence_failures BIGINT,
    newest TIMESTAMP, damaged BOOLEAN, read_at TIMESTAMP, skips MAP(VARCHAR, BIGINT), sampling BIGINT
);
ALTER TABLE flow_files DROP COLUMN IF EXISTS skipped;
ALTER TABLE flow_files ADD COLUMN IF NOT EXISTS skips MAP(VARCHAR, BIGINT);
ALTER TABLE flow_files ADD COLUMN IF NOT EXISTS sampling BIGINT;
CREATE TABLE IF NOT EXISTS flow_submitted (path VARCHAR PRIMARY KEY, exporter VARCHAR);
"""


@dataclass(frozen=True)
class FlowFile:
    """What is known of a file that was read."""

    exporter: str
    name: str
    slot: datetime
    begin: datetime
    digest: str
    path: Path
    size: int
    changed: int  # nanoseconds
    flows: int
    packets: int
    bytes: int
    sequence_failures: int
    newest: datetime | None  # end of its newest flow
    damaged: bool
    skipped: Mapping[str, int] = field(default_factory=dict)  # flows, by reason
    sampling: int | None = None  # one packet in so many, as far as the counts show it; None with few flows
    dated: bool = True  # else its slot and begin do not count: no flow of it counts, and no time in its name does


class FlowFiles:
    """The files in one store. Everything raises :class:`dnsvigil.store.store.StoreError`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(_SCHEMA)

    def known_files(self) -> dict[Path, tuple[int, int]]:
        """Return size and time of change of the files that were read, by path."""
        rows = self._store.rows("SELECT path, size, changed FROM flow_files ORDER BY read_at")
        return {Path(path): (size, changed) for path, size, changed in rows}

    def has_path(self, path: Path, stamp: tuple[int, int]) -> bool:
        """Return whether this file was read in its present state."""
        query = "SELECT 1 FROM flow_files WHERE path = ? AND size = ? AND changed = ? LIMIT 1"
        return bool(self._store.rows(query, _place(path), *stamp))

    def has_digest(self, digest: str, path: Path) -> bool:
        """Return whether a file of this content was read; a damaged file may have been repaired in place."""
        query = "SELECT 1 FROM flow_files WHERE digest = ? AND NOT (damaged AND path = ?) LIMIT 1"
        return bool(self._store.rows(query, digest, _place(path)))

    def same_file(self, file: FlowFile) -> int | None:
        """Return the id of the file that this one is in another form: compressed, for instance."""
        query = """
            SELECT id FROM flow_files WHERE exporter = ? AND name = ? AND "begin" IS NOT DISTINCT FROM ? AND flows = ?
            AND packets = ? AND bytes = ? AND damaged = ? AND coalesce(list_sum(map_values(skips)), 0) = ? LIMIT 1
        """
        begin, skipped = file.begin if file.dated else None, sum(file.skipped.values())
        sums = (file.flows, file.packets, file.bytes)
        rows = self._store.rows(query, file.exporter, file.name, begin, *sums, file.damaged, skipped)
        return int(rows[0][0]) if rows else None

    def former_file(self, file: FlowFile) -> int | None:
        """Return the id of the file that this one was before it grew, or was copied to its end."""
        query = """SELECT id FROM flow_files WHERE path = ? AND "begin" IS NOT DISTINCT FROM ? LIMIT 1"""
        rows = self._store.rows(query, _place(file.path), file.begin if file.dated else None)
        return int(rows[0][0]) if rows else None

    def counted_of(self, number: int | None) -> tuple[int, dict[str, int]]:
        """Return how many flows of a file were read, and were skipped by reason; nothing of None."""
        rows = self._store.rows("SELECT flows, skips FROM flow_files WHERE id = ?", number)
        return (int(rows[0][0]), dict(rows[0][1] or {})) if rows else (0, {})

    def put_file(self, number: int, file: FlowFile) -> None:
        """Keep what is known of a file."""
        self._store.rows(
            "INSERT INTO flow_files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, now()::TIMESTAMP, ?, ?)",
            number,
            file.exporter,
            file.name,
            file.slot if file.dated else None,
            file.begin if file.dated else None,
            file.digest,
            _place(file.path),
            file.size,
            file.changed,
            file.flows,
            file.packets,
            file.bytes,
            file.sequence_failures,
            file.newest,
            file.damaged,
            dict(file.skipped),
            file.sampling,
        )

    def files(self, names: Iterable[str] | None = None) -> list[FlowFile]:
        """Return the files that were read, or those of these names, in the order of their ids."""
        of_names = "" if names is None else "WHERE list_contains(?, name)"
        rows = self._store.rows(
            f"SELECT * EXCLUDE (id, read_at) FROM flow_files {of_names} ORDER BY id",
            *([] if names is None else [list(names)]),
        )
        return [
            FlowFile(
                *(exporter, name, slot or datetime.min, begin or datetime.min, digest, Path(path), *rest, bool(slot))
            )
            for exporter, name, slot, begin, digest, path, *rest in rows
        ]

    def add_file(self, file: FlowFile) -> None:
        """Keep what is known of a file that is not known yet."""
        self.put_file(self.next_number(), file)

    def next_number(self) -> int:
        """Return an id that no file has."""
        ((number,),) = self._store.rows("SELECT coalesce(max(id), 0) + 1 FROM flow_files")
        return int(number)

    def submitted(self) -> dict[Path, str | None]:
        """Return the submitted files that are not read yet, with their exporters."""
        return {Path(path): exporter for path, exporter in self._store.rows("FROM flow_submitted ORDER BY path")}

    def put_submitted(self, files: Iterable[tuple[Path, str | None]]) -> None:
        """Keep submitted files until they are read."""
        for path, exporter in files:
            self._store.rows("INSERT OR REPLACE INTO flow_submitted VALUES (?, ?)", path_text(path), exporter)

    def drop_submitted(self, path: Path) -> None:
        """Forget a submitted file."""
        self._store.rows("DELETE FROM flow_submitted WHERE path = ?", path_text(path))

    def exporters(self) -> dict[str, datetime]:
        """Return the newest slot of each exporter of which a file is remembered."""
        return dict(
            self._store.rows(
                "SELECT exporter, max(slot) FROM flow_files WHERE slot IS NOT NULL GROUP BY ALL ORDER BY ALL"
            )
        )

    def newest_slot(self) -> datetime | None:
        """Return the newest slot, but of the future, of which there are flows in a file that is remembered."""
        query = "SELECT max(slot) FROM flow_files WHERE flows > 0 AND slot <= now()::TIMESTAMP + INTERVAL 1 HOUR"
        newest: datetime | None = self._store.rows(query)[0][0]
        return newest

    def complete_slot(self, exporter: str) -> datetime | None:
        """Return the newest slot up to whose end the exporter's files reach.

        The length of a file is the shortest distance between the newest files, five minutes at most.
        """
        query = (
            'SELECT DISTINCT "begin" FROM flow_files WHERE exporter = ? AND slot IS NOT NULL ORDER BY 1 DESC LIMIT ?'
        )
        begins: list[datetime] = [begin for (begin,) in self._store.rows(query, exporter, _FILES_FOR_INTERVAL)]
        if not begins:
            return None
        interval = min([_SLOT, *(late - early for late, early in pairwise(begins))])
        end = begins[0] + interval
        return end - (end - datetime.min) % _SLOT - _SLOT

    def clock_offsets(self, slots: Mapping[str, datetime]) -> dict[str, timedelta]:
        """Return by exporter how far outside its slot the newest flow of the newest file ended."""
        rows = rows_of_slots(
            self._store, "flow_files", 'exporter, slot, max_by(newest, "begin")', slots, rest="GROUP BY ALL"
        )
        return {
            exporter: max(newest - slot - _SLOT, timedelta()) + min(newest - slot, timedelta())
            for exporter, slot, newest in rows
            if newest
        }

    def drop_file(self, number: int) -> None:
        """Forget a file that was read."""
        self._store.rows("DELETE FROM flow_files WHERE id = ?", number)

    def forget(self) -> list[str]:
        """Forget the files that were read long ago; return the exporters of all others."""
        self._store.rows("DELETE FROM flow_files WHERE read_at < now()::TIMESTAMP - ?", _LIFE)
        return [exporter for (exporter,) in self._store.rows("SELECT DISTINCT exporter FROM flow_files")]


def _place(path: Path) -> str:
    """Return where a file is, or what it is a copy of, as a path."""
    return str(Path(name_of(path)))
