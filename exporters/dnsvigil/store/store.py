"""The state file: tables in DuckDB, changed in transactions. Each group of tables has a file of its own beside this.

Only one process can open the file for writing. The error of a second one names the first.
"""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import duckdb

from dnsvigil.store import cursors, labels, minutes, package_logs, sensors
from dnsvigil.store.migrations import MIGRATIONS, VERSION
from dnsvigil.store.set_aside import SetAside
from dnsvigil.system.sql import literal

if TYPE_CHECKING:
    import pyarrow as pa

FILE_NAME: Final = "dnsvigil.duckdb"

_SCHEMA: Final = "".join(
    (
        "CREATE TABLE IF NOT EXISTS meta (key VARCHAR PRIMARY KEY, value VARCHAR);",
        *(group.SCHEMA for group in (cursors, sensors, labels, minutes, package_logs)),
    )
)

Read = Callable[..., list[Any]]
"""Returns the rows of a query with the values that are bound in it, as :meth:`Store.rows`."""


class StoreError(Exception):
    """The store cannot be read or written at the moment: no space, no permission, or damage."""


class EngineError(StoreError):
    """The engine failed by a mistake of its own, on what it was given or on what the file holds."""


class StoreInUseError(StoreError):
    """Another process has the store open."""


class LayoutError(StoreError):
    """Another version of dnsvigil made the store, and this one cannot read it."""


class Store:
    """The open state file.

    Everything runs on the one ``connection``, which is not for several threads at once; others have :meth:`read`.
    """

    def __init__(
        self,
        folder: Path,
        max_memory: str = "360MB",
        *,
        read_only: bool = False,
        must_exist: bool = False,
        one_thread: bool = False,
    ) -> None:
        """Open the store in ``folder``, and make it if there is none, unless it ``must_exist``.

        With ``read_only`` nothing is made or changed on the disk. With ``one_thread`` the engine never uses more, as
        where others use the other cores. Raises :class:`StoreInUseError`, and :class:`StoreError` where the file cannot
        be opened.
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
            self.connection = self._connect(max_memory)
            self._file = _identity(self.path)
        except (duckdb.Error, OSError) as error:
            if holder := re.search(r"Conflicting lock is held in (.*?\(PID (\d+)\))", str(error)):
                raise StoreInUseError(f"{self.path} is in use by {holder[1]}") from error
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise StoreError(f"{self.path} cannot be opened: {reason}") from error
        self._reader = self.connection.cursor()
        self._reading = threading.Lock()
        try:
            self.connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
            if one_thread:
                self.connection.execute("SET threads = 1")
            ((self._threads,),) = self.connection.execute("SELECT current_setting('threads')").fetchall()
            self._using = self._threads
            self._prepare()
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

    def _connect(self, max_memory: str) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(
            ":memory:" if self.read_only else self.path,
            config={
                "memory_limit": max_memory,
                "preserve_insertion_order": False,
                "temp_directory": "" if self.read_only else str(self.path.with_name("spill")),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        if self.read_only:
            # Beside the database in memory, which has what the file should have and has not: see create.
            connection.execute(f"ATTACH {literal(str(self.path))} AS stored (READ_ONLY)")
        return connection

    def _prepare(self) -> None:
        """Make the tables, and bring an older layout up to date. What cannot be read or updated stays as it is."""
        version = self._layout()
        if version not in ("", VERSION, *MIGRATIONS):
            raise LayoutError(
                f"{self.path} has layout {version}; this dnsvigil reads layout {VERSION}."
                " Install the version that made it, or move the file away for a new store"
            )
        if self.read_only:
            if not version:
                raise StoreError(f"{self.path} holds nothing yet")
            if version in MIGRATIONS:
                raise StoreError(f"{self.path} has layout {version}; start the collector, which brings it up to date")
            self.create(_SCHEMA)
            return
        try:
            with self.transaction():
                self.connection.execute(_SCHEMA)
                self._migrate(self.meta("version", VERSION))
        except (duckdb.Error, StoreError) as error:
            if version not in MIGRATIONS:
                raise
            text = f"{self.path} has layout {version}, cannot be brought up to date, and stays as it was: {error}"
            raise StoreError(text) from error

    def _layout(self) -> str:
        """Return the layout of the file; nothing for one that holds nothing yet."""
        if not self.rows("FROM duckdb_tables() WHERE table_name = 'meta'"):
            return ""
        rows = self.rows(f"SELECT value FROM {'stored.' if self.read_only else ''}meta WHERE key = 'version'")
        return str(rows[0][0]) if rows else ""

    def create(self, schema: str) -> None:
        """Make the tables of ``schema`` that are not there.

        A store that is only read has them beside it, empty and in memory.
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

    def _migrate(self, version: str) -> None:
        """Bring an older layout up to this one."""
        while version in MIGRATIONS:
            for statements in MIGRATIONS[version]:
                self.connection.execute(statements)
            version = str(int(version) + 1)
            self.connection.execute("UPDATE meta SET value = ? WHERE key = 'version'", [version])

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

    @property
    def displaced(self) -> bool:
        """Whether another file, or none, is now where the open one was."""
        return _identity(self.path) != self._file

    def use_one_thread(self, one: bool) -> None:
        """Have the engine use one thread, or as many as there are: for little work several cost more than they give."""
        threads = 1 if one else self._threads
        if threads != self._using:
            self.connection.execute(f"SET threads = {threads}")
            self._using = threads

    def checkpoint_after(self, size: int) -> None:
        """Have the engine write into the file itself when so many bytes have been written ahead."""
        self.connection.execute(f"SET checkpoint_threshold = '{size}B'")

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

    def read_tables(self, *queries: tuple[str, Sequence[Any]]) -> list["pa.Table"]:
        """Return the Arrow tables of queries with what is bound in each, all as of one moment; else as :meth:`read`."""
        with self._reading:
            if self.closed:
                raise StoreError(f"{self.path} is closed")
            with self.errors():
                self._reader.begin()
                try:
                    return [self._reader.execute(query, list(bound)).to_arrow_table() for query, bound in queries]
                finally:
                    self._reader.rollback()

    def meta(self, key: str, default: str) -> str:
        """Return the value kept under ``key``; ``default`` is kept there first if there is none."""
        if not self.read_only:
            self.connection.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO NOTHING", [key, default])
        rows = self.rows("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else default

    def size(self) -> int:
        """Return the bytes on disk, the write-ahead logs included."""
        return sum(file.stat().st_size for file in self.path.parent.glob(f"{FILE_NAME}*"))

    def used(self) -> int:
        """Return the bytes of the file that hold data; the rest of it is free and used before it grows."""
        ((blocks, block_size),) = self.rows("SELECT used_blocks, block_size FROM pragma_database_size()")
        return int(blocks * block_size)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
