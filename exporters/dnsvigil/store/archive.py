"""The archive: Parquet files by table, day and sensor, for other engines; the store lists those that are its own.

A file has its name from the commit of the transaction on that lists it. Until then its name begins with a dot and ends
in ``.new``, and no engine reads it: killed at any instant, nothing is lost, and nothing counts twice. Several stores
can write into one archive, as the names of their files begin differently.
"""

import hashlib
import re
import urllib.parse
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple, Self

import pyarrow as pa

from dnsvigil.store.archive_file import Written, write
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.store import Store

ARCHIVED: Final = CounterTable("archived", ("tbl",), ("rows",))
DROPPED: Final = CounterTable("archive_dropped", ("tbl", "reason"), ("rows",))

NOTHING: Final = "__HIVE_DEFAULT_PARTITION__"
"""What stands in a path for a value that is missing."""

_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS archive_files (
    root VARCHAR, tbl VARCHAR, day DATE, sensor VARCHAR, name VARCHAR, rows BIGINT, size BIGINT, removed BOOLEAN,
    site VARCHAR
);
{ARCHIVED.schema}{DROPPED.schema}"""
_COLUMNS: Final = "tbl, day, sensor, name, rows, size, site"
_NEW: Final = ".new"
_MAX_VALUE: Final = 200  # characters of a value in a path; names of folders have 255 bytes at most


@dataclass(frozen=True)
class ArchiveFile:
    """A file that counts."""

    table: str
    day: date
    sensor: str
    name: str
    rows: int
    size: int  # bytes
    site: str  # whose name is in its path; nothing for none


class Place(NamedTuple):
    """What the path of a file says."""

    table: str
    site: str
    day: str
    sensor: str

    @property
    def source(self) -> str:
        """The sensor, with its site, if it has one."""
        return f"{self.site}/{self.sensor}" if self.site else self.sensor

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return that of a file."""
        names = [folder.name for folder in path.parents]
        table = next((place for place, name in enumerate(names) if "=" not in name), 0)
        values = dict(
            urllib.parse.unquote(name, errors="backslashreplace").split("=", 1)
            for name in names[:table]
            if not name.endswith(f"={NOTHING}")
        )
        return cls(names[table], values.get("site", ""), values.get("day", ""), values.get("sensor", ""))


class Archive:
    """The archive below ``root``, as far as one store writes it. Callers that change it must have begun a transaction.

    :meth:`flush` makes true on the disk what earlier transactions have decided. New files lie below the ``site``, if it
    has a name.
    """

    def __init__(self, store: Store, root: Path, site: str = "") -> None:
        """Raises :class:`dnsvigil.store.store.StoreError`."""
        self.root = root
        self.site = site
        self._store = store
        store.create(_SCHEMA)
        with store.transaction():
            self.writer = store.meta("archive_writer", uuid.uuid4().hex[:12])
            """What the names of its files begin with."""
        own = f"*{self.writer}-*{_NEW}"  # earlier versions left out the dot
        self._pending = {*root.glob(f"*/*/*/{own}"), *root.glob(f"*/*/*/*/{own}")}  # that may have to be renamed
        self._leaving = True  # whether there may be files to remove

    def files(self) -> list[ArchiveFile]:
        """Return the files that count, by table, day and sensor."""
        return [
            ArchiveFile(*row)
            for row in self._store.rows(
                f"SELECT {_COLUMNS} FROM archive_files WHERE root = ? AND NOT removed ORDER BY tbl, day, sensor, name",
                str(self.root),
            )
        ]

    def named_files(self) -> list[ArchiveFile]:
        """Return those of them that have their names by now."""
        pending = {_final(path).name for path in self._pending}
        return [file for file in self.files() if file.name not in pending]

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return how many files each table has, and their bytes."""
        query = "SELECT tbl, count(*), sum(size)::BIGINT FROM archive_files WHERE root = ? AND NOT removed GROUP BY tbl"
        return {table: (files, size) for table, files, size in self._store.rows(query, str(self.root))}

    def path(self, file: ArchiveFile) -> Path:
        """Return the path of a file."""
        return self._folder(file.table, file.site, file.day, file.sensor) / file.name

    def new_path(self, table: str, day: date, sensor: str) -> Path:
        """Return where a new file is to be written."""
        return self._folder(table, self.site, day, sensor) / new_name(self.writer)

    def write(self, table: str, day: date, sensor: str, parts: Iterable[pa.Table]) -> int:
        """Write rows into a file of their own, and have it count; return how many they were. Raises ``OSError``."""
        path = self.new_path(table, day, sensor)
        self._pending.add(path)
        written = write(path, table, parts)
        self.put(table, day, sensor, path, written)
        return written.rows

    def put(self, table: str, day: date, sensor: str, path: Path, written: Written) -> None:
        """Have a new file count."""
        self._pending.add(path)
        name = _final(path).name
        self._store.rows(
            f"INSERT INTO archive_files (root, removed, {_COLUMNS}) VALUES (?, false, ?, ?, ?, ?, ?, ?, ?)",
            *(str(self.root), table, day, sensor, name, written.rows, written.size, self.site),
        )

    def remove(self, files: Sequence[ArchiveFile]) -> None:
        """Have files count no more."""
        names = [file.name for file in files]
        self._store.rows("UPDATE archive_files SET removed = true WHERE list_contains(?::VARCHAR[], name)", names)
        self._leaving = True

    def set_aside(self, file: ArchiveFile) -> None:
        """Have a file that is unreadable count no more; it is kept under another name, which no engine reads."""
        self._store.rows("DELETE FROM archive_files WHERE name = ?", file.name)
        with suppress(OSError):
            self.path(file).rename(self.path(file).with_name(f".{file.name}.unreadable"))

    def flush(self) -> None:
        """Remove the files that count no more, then give those that count their names. Raises ``OSError``.

        So a reader at that instant misses rows rather than having them twice. This is for outside of a transaction.
        """
        if self._leaving:
            gone = f"SELECT {_COLUMNS} FROM archive_files WHERE root = ? AND removed"
            for row in self._store.rows(gone, str(self.root)):
                self.path(ArchiveFile(*row)).unlink(missing_ok=True)
            with self._store.transaction():
                self._store.rows("DELETE FROM archive_files WHERE root = ? AND removed", str(self.root))
            self._leaving = False
        if self._pending:
            listed = {file.name for file in self.files()}
            for path in sorted(self._pending):
                if not path.exists():
                    continue
                if _final(path).name in listed:
                    path.rename(_final(path))
                else:
                    path.unlink()
            self._pending.clear()

    def _folder(self, table: str, site: str, day: date, sensor: str) -> Path:
        above = self.root / table / f"site={site}" if site else self.root / table
        return above / f"day={day:%Y-%m-%d}" / f"sensor={partition_value(sensor)}"


def new_name(writer: str) -> str:
    """Return the name of a new file of a writer, which does not count yet."""
    return f".{writer}-{uuid.uuid4().hex}.parquet{_NEW}"


def _final(path: Path) -> Path:
    """Return what a new file is called once it counts."""
    return path.with_name(path.name.removeprefix(".").removesuffix(_NEW))


def partition_value(text: str) -> str:
    """Return a value as it stands in a path, which engines decode: all but letters, digits and ``-._~`` as ``%XX``.

    A long one is cut, and ends in a hash. An empty one is ``NOTHING``.
    """
    quoted = urllib.parse.quote(text, safe="", errors="backslashreplace")
    if len(quoted) > _MAX_VALUE:
        digest = hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:16]
        return re.sub("%.?$", "", quoted[:_MAX_VALUE]) + f"~{digest}"
    return quoted.replace("_", "%5F", 1) if quoted == NOTHING else quoted or NOTHING
