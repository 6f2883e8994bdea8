"""The state file: counters, summaries per minute, rows, cursors and sensors in DuckDB, changed in transactions.

Only one process can open the file for writing. The error of a second one names the first.
"""

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import duckdb

from dnsvigil.records import CAPTURE, OPEN_RESOLVER, POISONING, Cursor
from dnsvigil.store.migrations import MIGRATIONS, VERSION
from dnsvigil.store.set_aside import SetAside

FILE_NAME: Final = "dnsvigil.duckdb"

ROWS: Final = {"open_resolvers": OPEN_RESOLVER, "poisoning": POISONING, "capture": CAPTURE}
"""Table to its columns, of the records that are kept as they are."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key VARCHAR PRIMARY KEY, value VARCHAR);
CREATE TABLE IF NOT EXISTS cursors (
    id VARCHAR PRIMARY KEY, sensor VARCHAR, head_size BIGINT, head_hash VARCHAR, "offset" BIGINT, header BLOB,
    path VARCHAR, whole_size BIGINT, used_at TIMESTAMP
);
CREATE TABLE IF NOT EXISTS sensors (
    source VARCHAR, sensor VARCHAR, last_event TIMESTAMP, last_read TIMESTAMP, PRIMARY KEY (source, sensor)
);
CREATE TABLE IF NOT EXISTS labels (kind VARCHAR, label VARCHAR, shown BOOLEAN, weight DOUBLE);
CREATE TABLE IF NOT EXISTS minute_types (
    minute TIMESTAMP, server VARCHAR, qtype VARCHAR, rcode VARCHAR, records BIGINT
);
CREATE TABLE IF NOT EXISTS minute_zones (
    minute TIMESTAMP, server VARCHAR, zone VARCHAR, queries BIGINT, nxdomain BIGINT
);
CREATE TABLE IF NOT EXISTS minute_failures (
    minute TIMESTAMP, server VARCHAR, zone VARCHAR, reason VARCHAR, failures BIGINT
);
CREATE TABLE IF NOT EXISTS minute_latencies (
    minute TIMESTAMP, server VARCHAR, bucket TINYINT, records BIGINT, rtt BIGINT
);
CREATE TABLE IF NOT EXISTS minute_clients (minute TIMESTAMP, server VARCHAR, sketch UBIGINT[]);
""" + "".join(
    f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())});\n"
    for table, columns in ROWS.items()
)

_MERGED: Final = {
    "minute_types": "SELECT minute, server, qtype, rcode, sum(records) FROM {rows} GROUP BY ALL",
    "minute_zones": "SELECT minute, server, zone, sum(queries), sum(nxdomain) FROM {rows} GROUP BY ALL",
    "minute_failures": "SELECT minute, server, zone, reason, sum(failures) FROM {rows} GROUP BY ALL",
    "minute_latencies": "SELECT minute, server, bucket, sum(records), sum(rtt) FROM {rows} GROUP BY ALL",
    "minute_clients": "SELECT minute, server, list_sort(list_distinct(flatten(list(sketch))))[:{sketch_size}]"
    " FROM {rows} GROUP BY ALL",
}
"""Summary table to the query that makes one row of the several that batches left for a minute."""

SUMMARIES: Final = tuple(_MERGED)


Read = Callable[..., list[Any]]
"""Returns the rows of a query with the values that are bound in it, as :meth:`Store.rows`."""


class StoreError(Exception):
    """The store cannot be read or written at the moment: no space, no permission, or damage."""


class EngineError(StoreError):
    """The engine failed by a mistake of its own, on what it was given or on what the file holds."""


class StoreInUseError(StoreError):
    """Another process has the store open."""


@dataclass(frozen=True)
class Labels:
    """The labels of one kind in the store: which ones are shown, and the weights of the candidates."""

    shown: list[str]
    weights: dict[str, float]


class Store:
    """The open state file.

    Everything runs on the one ``connection``, which is not for several threads at once; others have :meth:`read`.
    """

    def __init__(
        self, folder: Path, max_memory: str = "400MB", *, read_only: bool = False, must_exist: bool = False
    ) -> None:
        """Open the store in ``folder``, and make it if there is none, unless it ``must_exist``.

        With ``read_only`` nothing is made or changed on the disk. Raises :class:`StoreInUseError`, and
        :class:`StoreError` where the file cannot be opened.
        """
        self.path = folder / FILE_NAME
        self.closed = False
        self._rehearsing = False
        self.read_only = read_only
        try:
            if not (read_only or must_exist):
                folder.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():
                if read_only or must_exist:
                    raise StoreError(f"there is no store in {folder}")
                self._create()
            self.connection = duckdb.connect(
                ":memory:" if read_only else self.path,
                config={
                    "memory_limit": max_memory,
                    "preserve_insertion_order": False,
                    "temp_directory": "" if read_only else str(folder / "spill"),
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                },
            )
            if read_only:
                # Beside the database in memory, which has what the file should have and has not: see create.
                self.connection.execute("ATTACH '{}' AS stored (READ_ONLY)".format(str(self.path).replace("'", "''")))
        except (duckdb.Error, OSError) as error:
            if holder := re.search(r"Conflicting lock is held in (.*?\(PID (\d+)\))", str(error)):
                raise StoreInUseError(f"{self.path} is in use by {holder[1]}") from error
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise StoreError(f"{self.path} cannot be opened: {reason}") from error
        self._reader = self.connection.cursor()
        self._reading = threading.Lock()
        try:
            self.connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
            ((self._threads,),) = self.connection.execute("SELECT current_setting('threads')").fetchall()
            self._using = self._threads
            self.create(_SCHEMA)
            with self.transaction():
                version = self.meta("version", "" if read_only else VERSION)
                version = version if read_only else self._migrate(version)
            if not version:
                raise StoreError(f"{self.path} holds nothing yet")
            if read_only and version in MIGRATIONS:
                raise StoreError(f"{self.path} has layout {version}; start the collector, which brings it up to date")
            if version != VERSION:
                raise StoreError(f"{self.path} has layout {version}; this dnsvigil reads layout {VERSION}")
            self.set_aside = SetAside(self)
        except BaseException:
            self.close()  # while it is open here, opening it again would give the same broken database
            raise

    def _create(self) -> None:
        # A file that is half made, killed or on a full disk, could never be opened again.
        new = self.path.with_suffix(".new")
        new.unlink(missing_ok=True)
        duckdb.connect(new).close()
        new.rename(self.path)

    def create(self, schema: str) -> None:
        """Make the tables of ``schema`` that are not there.

        Those that a store which is only read does not have are empty tables beside it, in memory.
        """
        if not self.read_only:
            with self.transaction():
                self.connection.execute(schema)
            return
        self.connection.execute("USE memory")
        with self.transaction():
            self.connection.execute(schema)
        for connection in (self.connection, self._reader):
            connection.execute("SET search_path = 'stored.main,memory.main'")

    def _migrate(self, version: str) -> str:
        """Bring an older layout up to this one; return the layout that the file then has."""
        while version in MIGRATIONS:
            for statements in MIGRATIONS[version]:
                self.connection.execute(statements)
            version = str(int(version) + 1)
            self.connection.execute("UPDATE meta SET value = ? WHERE key = 'version'", [version])
        return version

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; closing it again does nothing."""
        with self._reading:
            self._reader.close()
            self.connection.close()
            self.closed = True

    def use_one_thread(self, one: bool) -> None:
        """Have the engine use one thread, or as many as there are: for little work several cost more than they give."""
        threads = 1 if one else self._threads
        if threads != self._using:
            self.connection.execute(f"SET threads = {threads}")
            self._using = threads

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes inside, or none of them.

        Raises :class:`StoreError` where the disk is full or fails; the store must then be closed and opened again.
        """
        try:
            with self.errors():
                self.connection.begin()
                yield
                if self._rehearsing:
                    self.connection.rollback()
                else:
                    self.connection.commit()
        except BaseException:
            with suppress(duckdb.Error):  # nothing is left to roll back where the commit itself failed
                self.connection.rollback()
            raise

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Undo all transactions that end inside, to see whether they would succeed."""
        self._rehearsing = True
        try:
            yield
        finally:
            self._rehearsing = False

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what the engine raises inside for a full disk, or memory that is used up, into :class:`StoreError`."""
        # A full disk is an IOException in a query, a TransactionException in a commit that writes the log ahead, and a
        # FatalException, from then on in every call, in one that writes the file itself.
        try:
            yield
        except duckdb.InternalException as error:
            raise EngineError(f"{self.path}: {error}") from error
        except (duckdb.OperationalError, duckdb.FatalException) as error:
            raise StoreError(f"{self.path}: {error}") from error

    def rows(self, query: str, *bound: Any) -> list[Any]:
        """Return the rows of a query. Raises :class:`StoreError`."""
        with self.errors():
            return self.connection.execute(query, list(bound)).fetchall()

    def read(self, query: str, *bound: Any) -> list[Any]:
        """Return the rows of a query on what is committed, from any thread; one query at a time.

        Raises :class:`StoreError`, also where the store is closed.
        """
        with self._reading:
            if self.closed:
                raise StoreError(f"{self.path} is closed")
            with self.errors():
                return self._reader.execute(query, list(bound)).fetchall()

    def meta(self, key: str, default: str) -> str:
        """Return the value kept under ``key``; ``default`` is kept there first if there is none."""
        if not self.read_only:
            self.connection.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO NOTHING", [key, default])
        rows = self.rows("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else default

    # Cursors and sensors

    def cursors(self) -> list[Cursor]:
        """Return all cursors, the one used last at the end."""
        query = (
            'SELECT id, sensor, head_size, head_hash, "offset", header, path, whole_size FROM cursors ORDER BY used_at'
        )
        return [Cursor(*row) for row in self.rows(query)]

    def put_cursor(self, cursor: Cursor) -> None:
        """Keep a cursor."""
        self.connection.execute(
            "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?, ?, ?, ?, ?, now()::TIMESTAMP)",
            [
                cursor.id,
                cursor.sensor,
                cursor.head_size,
                cursor.head_hash,
                cursor.offset,
                cursor.header,
                cursor.path,
                cursor.whole_size,
            ],
        )

    def forget_cursors(self, unused_for: timedelta, keep: Iterable[str]) -> None:
        """Drop the cursors of files not read for so long, but for those to ``keep``."""
        self.connection.execute(
            "DELETE FROM cursors WHERE used_at < now()::TIMESTAMP - ? AND NOT list_contains(?, id)",
            [unused_for, list(keep)],
        )

    def put_sensor(self, source: str, sensor: str, last_event: datetime | None) -> None:
        """Note that something of a sensor was read now, with the time of its newest record."""
        self.connection.execute(
            "INSERT INTO sensors VALUES (?, ?, ?, now()::TIMESTAMP) ON CONFLICT DO UPDATE SET"
            " last_event = greatest(last_event, excluded.last_event), last_read = excluded.last_read",
            [source, sensor, last_event],
        )

    def sensors(self) -> list[tuple[str, str, datetime | None, datetime]]:
        """Return source, sensor, time of the newest record, time when something was last read; both UTC."""
        return self.rows("SELECT source, sensor, last_event, last_read FROM sensors ORDER BY ALL")

    # Labels

    def labels(self, kind: str) -> Labels:
        """Return what is known of the labels of one kind."""
        rows = self.rows("SELECT label, shown, weight FROM labels WHERE kind = ? ORDER BY weight DESC, label", kind)
        return Labels([label for label, shown, _ in rows if shown], {label: weight for label, _, weight in rows})

    def put_labels(self, kind: str, shown: Iterable[str], weights: dict[str, float]) -> None:
        """Keep which labels of a kind are shown, and how heavy the candidates are."""
        shown = set(shown)
        self.connection.execute("DELETE FROM labels WHERE kind = ?", [kind])
        names = [*weights, *(label for label in shown if label not in weights)]
        self.connection.execute(
            "INSERT INTO labels SELECT $kind, unnest($labels), unnest($shown), unnest($weights)",
            {
                "kind": kind,
                "labels": names,
                "shown": [name in shown for name in names],
                "weights": [float(weights.get(name, 0)) for name in names],
            },
        )

    # Summaries

    def add_summary(self, name: str) -> None:
        """Append the rows of the temporary table ``sum_NAME`` to the summaries ``minute_NAME``."""
        self.connection.execute(f"INSERT INTO minute_{name} BY NAME FROM sum_{name}")

    def add_rows(self, table: str, view: str) -> None:
        """Append the records of a view to one of the tables ``ROWS``."""
        self.connection.execute(f"INSERT INTO {table} BY NAME FROM {view}")

    def merge_minutes(self, minutes: Iterable[datetime], sketch_size: int) -> None:
        """Make one row of the several that batches left in these minutes, in each summary table."""
        bound = list(minutes)
        for table, query in _MERGED.items():
            inside = "list_contains($1, minute) AND minute BETWEEN $2 AND $3"
            merged = query.format(rows=f"(FROM {table} WHERE {inside})", sketch_size=sketch_size)
            bounds = [bound, min(bound), max(bound)]
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE merged AS {merged}", bounds)
            self.connection.execute(f"DELETE FROM {table} WHERE {inside}", bounds)
            self.connection.execute(f"INSERT INTO {table} FROM merged")

    def forget_minutes(self, before: datetime) -> None:
        """Drop the summaries of the minutes before a time, and the rows from before it."""
        for table in SUMMARIES:
            self.connection.execute(f"DELETE FROM {table} WHERE minute < ?", [before])
        for table in ROWS:
            self.connection.execute(f"DELETE FROM {table} WHERE ts < ?", [before])

    def oldest_minute(self) -> datetime | None:
        """Return the first minute that has a summary or a row."""
        first = ", ".join(f"(SELECT date_trunc('minute', min(ts)) FROM {table})" for table in ROWS)
        oldest: datetime | None = self.rows(f"SELECT least((SELECT min(minute) FROM minute_zones), {first})")[0][0]
        return oldest

    def newest_event(self) -> datetime | None:
        """Return the time up to which the records of most sensors of logs have come; flows have a time of their own."""
        kept = self.rows("SELECT value FROM meta WHERE key = 'event_time'")
        if kept:
            return datetime.fromisoformat(kept[0][0])
        newest: datetime | None = self.rows("SELECT max(last_event) FROM sensors WHERE source <> 'netflow'")[0][0]
        return newest

    def put_event_time(self, time: datetime) -> None:
        """Keep the time up to which records have come."""
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES ('event_time', ?)", [time.isoformat()])

    def open_resolvers(self, since: datetime) -> dict[str, int]:
        """Return how many hosts have a row from ``since`` on, by their kind."""
        query = "SELECT kind, count(DISTINCT host) FROM open_resolvers WHERE ts >= ? GROUP BY kind"
        return dict(self.rows(query, since))

    def client_sketches(self, since: datetime) -> dict[str, list[list[int]]]:
        """Return the sketches of distinct clients by server, from the minute ``since`` on."""
        found: dict[str, list[list[int]]] = {}
        for server, sketch in self.rows("SELECT server, sketch FROM minute_clients WHERE minute >= ?", since):
            found.setdefault(server, []).append(sketch)
        return found

    # Size

    def size(self) -> int:
        """Return the bytes on disk, the write-ahead logs included."""
        return sum(file.stat().st_size for file in self.path.parent.glob(f"{FILE_NAME}*"))

    def used(self) -> int:
        """Return the bytes of the file that hold data; the rest of it is free and used before it grows."""
        ((blocks, block_size),) = self.rows("SELECT used_blocks, block_size FROM pragma_database_size()")
        return int(blocks * block_size)
