"""Puts records of Zeek's logs into tables of DuckDB.

DuckDB parses the bytes in a memory file, so the same code reads a file that is followed live, one under compression and
one from an archive. The good case costs no look at single lines. Only where DuckDB returns fewer rows than there are
lines is every line looked at, to drop the bad ones and to count them by reason. Much of Zeek's dns.log at once is first
tried on the fast way of ``plain.py``.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import duckdb

from dnsvigil.records import UNNAMED_RCODE
from dnsvigil.sources.zeek import times
from dnsvigil.sources.zeek.header import Header
from dnsvigil.sources.zeek.lines import Chunk, filter_lines, is_clean, pieces, why_no_record
from dnsvigil.sources.zeek.log_types import LogType
from dnsvigil.sources.zeek.options import LogOptions
from dnsvigil.sources.zeek.plain import plain
from dnsvigil.sources.zeek.queries import json_query, plain_query, tsv_query
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.sources.zeek.unwrap import is_complete, unwrap
from dnsvigil.system.sql import literal

_LARGE: Final = 16 * 2**20
"""Bytes of log on which the fast way saves the CPU that loading Arrow for it takes, 80 ms."""

_PIECE: Final = 16 * 2**20
"""Bytes of log that are parsed at once: Arrow would take 100 MB more for all of a batch."""


@dataclass(frozen=True)
class Loaded:
    """What became of the lines of a batch."""

    minutes: list[tuple[datetime, int]]  # of each minute with records: the newest time, and how many; in their order
    skipped: Counter[str]  # by reason
    relative: int = 0  # of those skipped, records whose time counts from the start of a capture
    unnamed: int = 0  # of the records, those with an answer whose code is not known

    @property
    def records(self) -> int:
        """The number of good records."""
        return sum(records for _, records in self.minutes)


class Parser:
    """Turns batches of logs into views in one DuckDB connection, one for each type of log."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._files: list[int] = []  # in memory
        self._tables: list[str] = []

    def close(self) -> None:
        """Free the files in memory."""
        for file in self._files:
            os.close(file)

    def drop(self) -> None:
        """Free the memory of the tables; their views are then of no use."""
        for table in self._tables:
            self._connection.execute(f"DROP TABLE IF EXISTS temp.{table}")
        self._tables.clear()
        for file in self._files:
            os.truncate(file, 0)

    def load(
        self,
        batches: Sequence[Batch],
        columns: Collection[str] | None = None,
        *,
        oldest: datetime | None = None,
    ) -> list[Loaded]:
        """Make the view of a log, with these columns of the record or all, from the good records of all batches.

        There is at least one batch, all are of the same type of log and each has at least one chunk. Records from
        before ``oldest`` are skipped. A line may have several records. Returns what became of each batch.
        """
        log_type = batches[0].log_type
        columns = columns or log_type.record
        rows, parsed = self._parse_alike(batches, columns)
        skipped = [Counter[str]() for _ in batches]
        for number, batch in enumerate(batches):
            if number not in parsed:
                own, skipped[number] = self._parse_batch(batch, number, columns)
                rows += own
        every = " UNION ALL ".join(rows)
        if oldest:
            late = f"CASE WHEN ts < TIMESTAMP '{oldest}' THEN 'too_old' END"
            every = f"SELECT * REPLACE (coalesce(reason, {late}) AS reason) FROM ({every})"
        names = ", ".join(f"{_sensor(batches)} AS sensor" if name == "sensor" else name for name in columns)
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {log_type.view} AS SELECT {names} FROM ({every}) WHERE reason IS NULL"
        )
        return self._count(log_type, every, skipped)

    def _count(self, log_type: LogType, every: str, skipped: Sequence[Counter[str]]) -> list[Loaded]:
        """Return what became of each batch, of which ``skipped`` are known already, from the query of all rows."""
        unnamed = f"rcode = {UNNAMED_RCODE}" if "rcode" in log_type.named else "false"
        rows = self._connection.execute(
            "SELECT batch, reason, CASE WHEN reason IS NULL THEN epoch_us(ts) // 60000000 END AS minute, max(ts),"
            f" count(*), count(*) FILTER ({times.is_relative('ts')}), count(*) FILTER ({unnamed})"
            f" FROM ({every}) GROUP BY ALL ORDER BY batch, minute"
        ).fetchall()
        found = [Loaded([], +reasons) for reasons in skipped]
        for number, reason, _, newest, count, relative, without_code in rows:
            loaded = found[number]
            if reason is None:
                loaded.minutes.append((newest, count))
                found[number] = replace(loaded, unnamed=loaded.unnamed + without_code)
            else:
                loaded.skipped[reason] += count
                if reason == "timestamp":
                    found[number] = replace(loaded, relative=relative)
        return found

    def _parse_alike(self, batches: Sequence[Batch], columns: Collection[str]) -> tuple[list[str], set[int]]:
        """Parse batches that have one chunk each, of the same form, by one query: most of its cost is planning it.

        Returns queries of the rows, and the numbers of the batches in them. One of which a line needs a closer look is
        in none.
        """
        forms: dict[Hashable, list[int]] = defaultdict(list)
        for number, batch in enumerate(batches):
            alone = len(batches) == 1 or len(batch.chunks) > 1 or batch.size >= _LARGE
            if not alone and is_clean(batch.chunks[0]):
                forms[_form(batch)].append(number)
        queries: list[str] = []
        parsed: set[int] = set()
        for numbers in forms.values():
            chunks = {number: batches[number].chunks[0] for number in numbers}
            table = f"parsed_{batches[0].log_type.path}_alike_{len(queries)}"
            if len(numbers) == 1 or self._parse(table, chunks, batches[numbers[0]], columns) < 0:
                continue
            queries.append(f"FROM {table}")
            odd = _odd(batches[numbers[0]].options) if chunks[numbers[0]].header is None else "false"
            rows = self._connection.execute(
                f"SELECT batch, count(*), count(*) FILTER ({odd}) FROM {table} GROUP BY batch"
            ).fetchall()
            good = {number for number, count, strange in rows if count == chunks[number].lines and not strange}
            if len(good) < len(numbers):
                self._connection.execute(f"DELETE FROM {table} WHERE NOT list_contains(?, batch)", [list(good)])
            parsed |= good
        return queries, parsed

    def _parse_batch(self, batch: Batch, batch_number: int, columns: Collection[str]) -> tuple[list[str], Counter[str]]:
        """Parse a batch into tables; return the queries of their rows, and the lines that are in none."""
        options = batch.options
        queries: list[str] = []
        skipped: Counter[str] = Counter()

        def parse(table: str, body: bytes, header: Header | None) -> int:
            return self._parse(table, {batch_number: Chunk(body, header)}, batch, columns)

        parts = [part for chunk in batch.chunks for part in (pieces(chunk, _PIECE) if chunk.header else [chunk])]
        for number, chunk in enumerate(parts):
            table = f"parsed_{batch.log_type.path}_{batch_number}_{number}"
            body, lines = chunk.body, chunk.lines
            if len(body) >= _LARGE and (plain_rows := self._parse_plain(table, chunk, batch, columns)):
                queries.append(f"SELECT *, {batch_number} AS batch FROM ({plain_rows})")
                continue
            if not is_clean(chunk) or (rows := parse(table, body, chunk.header)) != lines:
                kept, reasons = filter_lines(chunk, options)
                skipped += reasons
                body, lines = b"".join(line + b"\n" for line in kept), len(kept)
                rows = parse(table, body, chunk.header)
                if rows < 0:
                    whole = [line for line in kept if is_complete(line)]
                    skipped["json"] += lines - len(whole)
                    body, lines = b"".join(line + b"\n" for line in whole), len(whole)
                    rows = parse(table, body, None)
                skipped["columns" if chunk.header else "json"] += lines - rows
            queries.append(f"SELECT *, {batch_number} AS batch FROM {table}")
            if chunk.header is None and rows == lines:
                records, reasons = self._look_inside(table, body, options)
                skipped += reasons
                if records:
                    parse(f"{table}_inside", b"".join(record + b"\n" for record in records), None)
                    queries.append(f"SELECT *, {batch_number} AS batch FROM {table}_inside")
        return queries, skipped

    def _look_inside(self, table: str, body: bytes, options: LogOptions) -> tuple[list[bytes], Counter[str]]:
        """Remove the rows of JSON lines that are more, or less, than one record under Zeek's own names.

        Returns the records that are on these lines, and how many of the lines hold none, by reason.
        """
        rows = self._connection.execute(f"SELECT rowid, reason FROM {table} WHERE {_odd(options)}").fetchall()
        lines = body.split(b"\n") if rows else []
        records: list[bytes] = []
        skipped: Counter[str] = Counter()
        taken: list[int] = []
        for row, reason in rows:
            line = lines[row]
            if reason == "other_log" and line.startswith((b'{"ts"', b'{"_path"')) and not options.renamed:
                continue  # Zeek's, of which there may be many
            inside = unwrap(line, options.renamed)
            records += inside
            if not inside and (better := why_no_record(line, reason, options)) != reason:
                skipped[better] += 1
            if inside or better != reason:
                taken.append(row)
        if taken:
            self._connection.execute(f"DELETE FROM {table} WHERE rowid IN (SELECT unnest(?))", [taken])
        return records, skipped

    def _parse(self, table: str, chunks: Mapping[int, Chunk], batch: Batch, columns: Collection[str]) -> int:
        """Parse chunks, by the number of their batch; all have the form of the first, and are of logs as ``batch`` is.

        Returns the number of rows; -1 for JSON at which DuckDB gives up, such as an object over several lines.
        """
        log_type, start = batch.log_type, batch.options.start
        columns = _read_columns(log_type, columns)
        paths = [self._write(place, chunk.body) for place, chunk in enumerate(chunks.values())]
        number = f", list_extract({list(chunks)}, list_position({paths}, filename)) AS batch" if len(paths) > 1 else ""
        header = next(iter(chunks.values())).header
        query = (
            tsv_query(paths, log_type, header, columns, start)
            if header
            else json_query(paths, log_type, columns, start)
        )
        self._tables.append(table)
        ordered = header is None  # so that the rowid of a row is the number of its line
        try:
            self._connection.execute(f"SET preserve_insertion_order = {ordered}")
            result = self._connection.execute(
                f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT * EXCLUDE filename{number} FROM ({query})"
            ).fetchone()
        except duckdb.InvalidInputException:
            if header:
                raise
            return -1
        finally:
            self._connection.execute("SET preserve_insertion_order = false")
        return int(result[0]) if result else 0

    def _parse_plain(self, table: str, chunk: Chunk, batch: Batch, columns: Collection[str]) -> str | None:
        """Parse a chunk on the fast way; return the query of its rows, None where that is not possible."""
        columns = _read_columns(batch.log_type, columns)
        rows = plain(chunk, columns) if batch.options.start is None else None
        if rows is None:
            return None
        query = plain_query("plain", rows.good, batch.log_type, columns)
        self._tables.append(table)
        self._connection.register("plain", rows)
        try:
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {query}")
        finally:
            self._connection.unregister("plain")
        return f"SELECT *, NULL::VARCHAR AS reason FROM {table}" if rows.good else f"FROM {table}"

    def _write(self, place: int, body: bytes) -> str:
        """Write a file in memory; return its path."""
        if place == len(self._files):
            self._files.append(os.memfd_create("dnsvigil-batch"))
        with open(self._files[place], "wb", closefd=False) as memory:
            memory.seek(0)
            memory.write(body)
            memory.truncate()
        return f"/proc/self/fd/{self._files[place]}"


def _read_columns(log_type: LogType, columns: Collection[str]) -> list[str]:
    """Return the columns that are read of a record, for ``columns`` of it to be known, in their order."""
    return [name for name in log_type.record if name != "sensor" and (name in columns or name in log_type.checked)]


def _form(batch: Batch) -> Hashable:
    """Return what is the same for batches of one chunk that one query can parse."""
    header = batch.chunks[0].header
    form = header and (header.separator, header.set_separator, header.empty, header.unset, header.fields)
    return form, batch.options.start, *batch.options.renamed.items()


def _odd(options: LogOptions) -> str:
    """Return the condition for JSON that may be more, or less, than one record under Zeek's own names."""
    return "reason IS NOT NULL" if options.renamed else "reason IN ('json', 'other_log', 'address')"


def _sensor(batches: Sequence[Batch]) -> str:
    """Return the expression of the sensor of a row, by its batch."""
    sensors = ", ".join(literal(batch.cursor.sensor) for batch in batches)
    return f"list_extract([{sensors}], batch + 1)"
