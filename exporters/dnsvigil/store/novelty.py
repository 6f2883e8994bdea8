"""Novel and listed traffic in the store, by the hour, and what is known not to be new."""

import logging
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dnsvigil.records import FLOOD, LISTED, MAX_SAMPLES, NOVEL
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.store import Read, Store

log = logging.getLogger(__name__)

KEPT_FOR: Final = timedelta(hours=25)
"""The hours that begin longer ago are dropped: a day, and the hour that it is."""

MAX_ROWS: Final = 8_000_000
"""The maximum number of rows of a day; beyond it, the oldest hours are dropped."""

DROPPED: Final = CounterTable("novel_dropped", ("reason",), ("dropped",))

_TABLES: Final = {"novel": NOVEL, "listed": LISTED}
_KEYS: Final = {"novel": ("hour", "client", "domain", "newly_observed"), "listed": ("hour", "client", "entry", "lists")}
_SAMPLED: Final = ("samples", "received", "sources")
_MERGED_AT_ONCE: Final = 60_000  # rows
_SPENT: Final = 8  # times the names from which on a client is crowded
_BYTES_OF_NAME: Final = 500  # of the store's size, for each hash of a generation

_HASHES: Final = "SELECT hash(list(hash(repeat('name', size::INTEGER)) ORDER BY size)) FROM range(64) AS sizes(size)"
_OF_HASHES: Final = ("novel", "seen_names", "newly_observed_domains")

_SCHEMA: Final = "".join(
    f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())});\n"
    for table, columns in _TABLES.items()
) + (
    f"{DROPPED.schema}"
    "CREATE TABLE IF NOT EXISTS seen_names (generation BIGINT, hash UBIGINT);\n"
    "CREATE TABLE IF NOT EXISTS newly_observed_domains (hash UBIGINT, first_seen TIMESTAMP);\n"
)


@dataclass(frozen=True)
class Crowded:
    """The clients of which there is too much in an hour."""

    full: Sequence[tuple[str, bool]] = ()  # that have too many domains that fail (true), or too many others
    heavy: Sequence[tuple[str, str]] = ()  # with the domains that have most of their names
    spent: Sequence[str] = ()  # that have too many names even so


@dataclass(frozen=True)
class Activity:
    """When a domain was asked for, as far as novel traffic tells."""

    minutes: Sequence[datetime]  # in which there was something
    queries: int
    failures: int


def activity_of(read: Read, domains: Sequence[str], client: str | None) -> dict[str, Activity]:
    """Return the activity of domains in the last day, the earliest first: that of a client, or of all."""
    if not read("FROM duckdb_tables() WHERE table_name = 'novel'"):
        return {}
    rows = read(
        "SELECT domain, hour, bit_or(minutes), sum(queries)::BIGINT, sum(failures)::BIGINT FROM novel"
        " WHERE list_contains($1, domain) AND ($2::VARCHAR IS NULL OR client = $2) GROUP BY ALL"
        " ORDER BY hour, min(first_seen), domain",
        list(domains),
        client,
    )
    found: dict[str, Activity] = {}
    for domain, hour, bits, queries, failures in rows:
        known = found.get(domain, Activity((), 0, 0))
        minutes = [hour + timedelta(minutes=minute) for minute in range(60) if bits >> minute & 1]
        found[domain] = Activity([*known.minutes, *minutes], known.queries + queries, known.failures + failures)
    return found


def recent_hours(table: str, since: str) -> str:
    """Return the definition of the common table ``recent``: rows of hours that are ``since`` (> or >=) $1, and < $2."""
    # Where one query reads it twice it would be copied aside first, with all that it has.
    return f"recent AS NOT MATERIALIZED (FROM {table} WHERE hour {since} $1 AND hour < $2)"


def _merged(table: str) -> str:
    """Return the query that makes one row of those in ``{rows}`` that have the same key."""
    ways = {
        "minutes": "bit_or(minutes)",
        "first_seen": "min(first_seen)",
        "last_seen": "max(last_seen)",
        "addresses": "any_value(addresses)",
        # In whatever order: the first of all by name would be much alike.
        **{name: f"list_distinct(flatten(list({name})))[:{MAX_SAMPLES}]" for name in _SAMPLED},
    }
    columns = (
        name if name in _KEYS[table] else f"{ways.get(name, f'sum({name})::BIGINT')} AS {name}"
        for name in _TABLES[table]
    )
    return f"SELECT {', '.join(columns)} FROM {{rows}} GROUP BY {', '.join(_KEYS[table])}"


class NovelTables:
    """The tables in one store. Callers that change them must have begun a transaction."""

    def __init__(self, store: Store, max_size: int) -> None:
        """Take the store's greatest size in bytes. Raises :class:`dnsvigil.store.store.StoreError`."""
        self._store = store
        self._generation = -1
        self.capacity = min(max(max_size // _BYTES_OF_NAME, 100_000), 8_000_000)
        """How many hashes a generation of what was seen may have."""
        store.create(_SCHEMA)
        with store.transaction():
            # So nobody can make names whose hashes are those of known ones.
            self.salt = store.meta("novelty_salt", secrets.token_hex(8))
            """What the hashes are made with, beside the text."""
            self._check_hashes()

    def seen(self) -> dict[int, NDArray[np.uint64]]:
        """Return the hashes of what was seen, by generation."""
        generations = self._store.rows("SELECT DISTINCT generation FROM seen_names")
        query = "SELECT hash FROM seen_names WHERE generation = ?"
        return {number: self._numbers(query, number)["hash"] for (number,) in generations}

    def newly_observed(self) -> dict[str, NDArray[Any]]:
        """Return the columns ``hash`` and ``first_seen`` of the newly observed domains."""
        return self._numbers("SELECT hash, first_seen FROM newly_observed_domains")

    def add(self, tables: Iterable[str]) -> None:
        """Append the rows of the temporary tables, which are ``sum_`` and the name of the table in the store."""
        for table in tables:
            self._store.connection.execute(f"INSERT INTO {table.removeprefix('sum_')} BY NAME FROM {table}")

    def add_seen(self, added: Sequence[tuple[int, NDArray[np.uint64]]]) -> None:
        """Append hashes with their generation; the generations before the last two are dropped."""
        if not added:
            return
        numbers = np.repeat([generation for generation, _ in added], [len(hashes) for _, hashes in added])
        self._insert("seen_names", {"generation": numbers, "hash": np.concatenate([hashes for _, hashes in added])})
        if added[-1][0] != self._generation:
            self._generation = added[-1][0]
            self._store.rows("DELETE FROM seen_names WHERE generation < ?", self._generation - 1)

    def add_newly_observed(self, hashes: NDArray[np.uint64], first_seen: NDArray[np.int64]) -> None:
        """Append newly observed domains, with times in microseconds since the epoch."""
        if len(hashes):
            self._insert("newly_observed_domains", {"hash": hashes, "first_seen": first_seen.astype("M8[us]")})

    def drop_newly_observed(self, hashes: NDArray[np.uint64]) -> None:
        """Drop domains that are no longer newly observed."""
        if len(hashes):
            self._store.rows("DELETE FROM newly_observed_domains WHERE list_contains(?, hash)", hashes.tolist())

    def crowded(self, hour: datetime, most_domains: int, most_names: int) -> Crowded:
        """Return the clients of which an hour has more domains or names than these."""
        # To count what is distinct takes four times as long as to count.
        busy = "SELECT client FROM novel WHERE hour = $1 GROUP BY client HAVING count(*) > $2 OR sum(names) > $3"
        domains = f"""
            SELECT client, domain, sum(names)::BIGINT AS names, sum(missing) > sum(resolved) AS fails
            FROM novel SEMI JOIN ({busy}) USING (client) WHERE hour = $1 AND domain <> '{FLOOD}' GROUP BY ALL
        """
        execute = self._store.connection.execute
        execute(f"CREATE OR REPLACE TEMP TABLE busy_domains AS {domains}", [hour, most_domains, most_names])
        full = "SELECT client, fails FROM busy_domains GROUP BY ALL HAVING count(*) > ? ORDER BY ALL"
        # The lightest domains stay, as far as they have half of the names together.
        lighter = "sum(names) OVER (PARTITION BY client ORDER BY names, domain)"
        heavy = f"""
            SELECT client, domain FROM busy_domains
            QUALIFY sum(names) OVER (PARTITION BY client) > $1 AND {lighter} > $1 // 2 ORDER BY ALL
        """
        spent = "SELECT client FROM busy_domains GROUP BY client HAVING sum(names) > ? ORDER BY client"
        found = Crowded(
            self._store.rows(full, most_domains),
            self._store.rows(heavy, most_names),
            [client for (client,) in self._store.rows(spent, _SPENT * most_names)],
        )
        execute("DROP TABLE temp.busy_domains")
        return found

    def merge(self, hours: Iterable[datetime]) -> int:
        """Make one row of those that batches left of the same, hour by hour; return how many rows are left in them."""
        return sum(self._merge(table, hour) for table, hour in product(_TABLES, hours))

    def _merge(self, table: str, hour: datetime) -> int:
        execute = self._store.connection.execute
        keys = ", ".join(_KEYS[table])
        # Most keys have one row, which stays where it is.
        several = f"SELECT {keys} FROM {table} WHERE hour = ? GROUP BY ALL HAVING count(*) > 1"
        execute(f"CREATE OR REPLACE TEMP TABLE several AS {several}", [hour])
        rows = f"FROM {table} SEMI JOIN several USING ({keys}) WHERE hour = ?"
        ((count,),) = self._store.rows(f"SELECT count(*) {rows}", hour)
        if count:
            execute(f"CREATE OR REPLACE TEMP TABLE merged AS FROM {table} LIMIT 0")
            parts = count // _MERGED_AT_ONCE + 1
            for part in range(parts):
                # DuckDB keeps all of an aggregate with lists in memory.
                own = f"({rows} AND hash({keys}) % {parts} = {part})"
                execute(f"INSERT INTO merged BY NAME {_merged(table).format(rows=own)}", [hour])
            same = " AND ".join(f"{table}.{key} = several.{key}" for key in _KEYS[table])
            execute(f"DELETE FROM {table} USING several WHERE {table}.hour = ? AND {same}", [hour])
            execute(f"INSERT INTO {table} BY NAME FROM merged")
            execute("DROP TABLE temp.merged")
        ((left,),) = self._store.rows(f"SELECT count(*) FROM {table} WHERE hour = ?", hour)
        return int(left)

    def forget(self, now: datetime) -> int:
        """Drop what is too old, and the oldest hours where there are too many rows; return how many rows those had."""
        for table in _TABLES:
            self._store.rows(f"DELETE FROM {table} WHERE hour < ?", now - KEPT_FOR)
        self._store.rows("DELETE FROM newly_observed_domains WHERE first_seen < ?", now - KEPT_FOR)
        dropped = 0
        by_hour = self._store.rows("SELECT hour, count(*) FROM novel GROUP BY hour ORDER BY hour")
        rows = sum(count for _, count in by_hour)
        for hour, count in by_hour:
            if rows - dropped <= MAX_ROWS:
                break
            self._store.rows("DELETE FROM novel WHERE hour = ?", hour)
            dropped += count
        return dropped

    def count(self) -> int:
        """Return the number of rows of novel traffic."""
        ((rows,),) = self._store.rows("SELECT count(*) FROM novel")
        return int(rows)

    def _check_hashes(self) -> None:
        """Begin anew where the engine's version makes other hashes than that by which names are known."""
        ((made,),) = self._store.rows(_HASHES)
        known = self._store.meta("engine_hashes", str(made))
        if known != str(made):
            log.warning(
                "%s: another version of DuckDB made the hashes of the names that were seen; what is new is learned"
                " anew, as with a new store",
                self._store.path,
            )
            for table in _OF_HASHES:
                self._store.rows(f"DELETE FROM {table}")
            self._store.rows("UPDATE meta SET value = ? WHERE key = 'engine_hashes'", str(made))

    def _numbers(self, query: str, *bound: Any) -> dict[str, NDArray[Any]]:
        with self._store.errors():
            return dict(self._store.connection.execute(query, list(bound)).fetchnumpy())

    def _insert(self, table: str, columns: dict[str, NDArray[Any]]) -> None:
        connection = self._store.connection
        connection.register("added", columns)
        connection.execute(f"INSERT INTO {table} BY NAME FROM added")
        connection.unregister("added")
