"""Flows in the store: sums per slot of five minutes, what the newest slot looks like, and which files were read.

Sums and lists have a row for each file that adds to a slot, so several files of one slot add up when they are read, and
the rows of a file that grew are exchanged for new ones. Sketches of clients unite, whatever file they are from.

The tables' names begin with ``slot_``, as those of the summaries per minute do with ``minute_``; ``flow_services`` and
so on are what a file was read into, for as long as that is needed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dnsvigil.records import DNS_FLOW, FLOW_SLOT_SECONDS
from dnsvigil.store import counters
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.store import Store
from dnsvigil.system.files import path_text

ROW_BYTES: Final = 64
"""The assumed size of a DNS flow record in the file, in bytes.

Compressed it is less than half of that, but a checkpoint may write it anew before it frees the old.
"""

SEEN: Final = timedelta(days=7)
"""A series without flows for so long is dropped."""

FLOWS: Final = CounterTable("flows", ("exporter", "protocol", "service"), ("flows", "packets", "bytes"))
RESOLVERS: Final = CounterTable(
    "flow_resolvers",
    ("exporter", "resolver", "protocol"),
    ("query_flows", "query_packets", "query_bytes", "response_packets", "response_bytes", "unanswered"),
)
FILES: Final = CounterTable("flow_files", ("exporter", "result"), ("files",))
SEQUENCE_FAILURES: Final = CounterTable("flow_sequence_failures", ("exporter",), ("failures",))
DROPPED: Final = CounterTable("dns_flows_dropped", ("reason",), ("records",))
COUNTERS: Final = (FLOWS, RESOLVERS, FILES, SEQUENCE_FAILURES, DROPPED)

_SPARE: Final = 0.1  # of the bytes that DNS flow records may take, made free when they are used up
_FILE_LIFE: Final = timedelta(days=35)
_SLOT: Final = timedelta(seconds=FLOW_SLOT_SECONDS)
_FILES_FOR_INTERVAL: Final = 12
_CURVE: Final = timedelta(days=8)  # of baselines: a week to look at, and a day

_SUMS: Final = ("query_flows", "query_packets", "query_bytes", "response_flows", "response_packets", "response_bytes")
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS flow_files (
    id BIGINT, exporter VARCHAR, name VARCHAR, slot TIMESTAMP, "begin" TIMESTAMP, digest VARCHAR, path VARCHAR,
    size BIGINT, changed BIGINT, flows BIGINT, packets BIGINT, bytes BIGINT, sequence_failures BIGINT,
    newest TIMESTAMP, damaged BOOLEAN, read_at TIMESTAMP, skips MAP(VARCHAR, BIGINT)
);
ALTER TABLE flow_files DROP COLUMN IF EXISTS skipped;
ALTER TABLE flow_files ADD COLUMN IF NOT EXISTS skips MAP(VARCHAR, BIGINT);
CREATE TABLE IF NOT EXISTS flow_handed (path VARCHAR PRIMARY KEY, exporter VARCHAR);
CREATE TABLE IF NOT EXISTS slot_services (
    slot TIMESTAMP, exporter VARCHAR, protocol VARCHAR, service VARCHAR, flows BIGINT, packets BIGINT, bytes BIGINT,
    file BIGINT
);
CREATE TABLE IF NOT EXISTS slot_resolvers (
    slot TIMESTAMP, exporter VARCHAR, resolver VARCHAR, proto VARCHAR, {", ".join(f"{name} BIGINT" for name in _SUMS)},
    unanswered BIGINT, file BIGINT
);
CREATE TABLE IF NOT EXISTS slot_clients (
    slot TIMESTAMP, exporter VARCHAR, resolver VARCHAR, sketch UBIGINT[], clients BIGINT
);
CREATE TABLE IF NOT EXISTS slot_hosts (
    slot TIMESTAMP, exporter VARCHAR, host VARCHAR, response_flows BIGINT, response_packets BIGINT,
    response_bytes BIGINT, query_bytes BIGINT, peers BIGINT, file BIGINT
);
CREATE TABLE IF NOT EXISTS slot_talkers (
    slot TIMESTAMP, exporter VARCHAR, element VARCHAR, talker VARCHAR, flows BIGINT, packets BIGINT, bytes BIGINT,
    file BIGINT
);
CREATE TABLE IF NOT EXISTS dns_flows ({", ".join(f"{name} {kind}" for name, kind in DNS_FLOW.items())}, file BIGINT);
CREATE TABLE IF NOT EXISTS flow_verdicts (
    slot TIMESTAMP, exporter VARCHAR, protocol VARCHAR, service VARCHAR, resolver VARCHAR, measure VARCHAR,
    value DOUBLE, baseline DOUBLE, spread DOUBLE, deviation DOUBLE, anomalies VARCHAR[], history_seconds DOUBLE
);
{counters.schema(COUNTERS)}"""

ADDED: Final = {
    "slot_services": "sum_flow_services",
    "slot_resolvers": "sum_flow_resolvers",
    "slot_hosts": "sum_flow_hosts",
    "slot_talkers": "sum_flow_talkers",
    "dns_flows": "sum_dns_flows",
}
"""Table to the temporary table whose rows it gets from each file."""

_COUNTED_ROWS: Final = {
    FLOWS: ("slot_services", f"SELECT exporter, protocol, service, {', '.join(FLOWS.values)} FROM {{}}"),
    RESOLVERS: (
        "slot_resolvers",
        f"SELECT exporter, resolver, proto AS protocol, {', '.join(RESOLVERS.values)} FROM {{}}",
    ),
}
"""The table whose rows add to counters, and how."""

_LONG_TABLES: Final = ("slot_services", "slot_resolvers", "slot_clients", "flow_verdicts")

Array = npt.NDArray[np.float64]


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
    dated: bool = True  # else its slot and begin do not count: no flow of it counts, and no time in its name does


@dataclass(frozen=True)
class Verdict:
    """The verdict on one series in one slot: of an exporter's protocol and service, or of a resolver."""

    exporter: str
    protocol: str | None
    service: str | None
    resolver: str | None
    measure: str
    value: float | None
    baseline: float | None
    spread: float | None
    deviation: float | None
    history_seconds: float
    anomalies: tuple[str, ...]


class FlowTables:
    """The tables of flows in one store. Everything raises :class:`dnsvigil.store.store.StoreError`."""

    def __init__(self, store: Store, max_bytes: int) -> None:
        """Keep the DNS flow records under ``max_bytes``, counted as ``ROW_BYTES`` says."""
        self._store = store
        self._max_rows = max(max_bytes // ROW_BYTES, 1)
        store.create(_SCHEMA)
        ((self.records,),) = store.rows("SELECT count(*) FROM dns_flows")

    # Files

    def known_files(self) -> dict[Path, tuple[int, int]]:
        """Return size and time of change of the files that were read, by path."""
        rows = self._store.rows("SELECT path, size, changed FROM flow_files ORDER BY read_at")
        return {Path(path): (size, changed) for path, size, changed in rows}

    def has_path(self, path: Path, stamp: tuple[int, int]) -> bool:
        """Return whether this file was read in its present state."""
        query = "SELECT 1 FROM flow_files WHERE path = ? AND size = ? AND changed = ? LIMIT 1"
        return bool(self._store.rows(query, path_text(path), *stamp))

    def has_digest(self, digest: str, path: Path) -> bool:
        """Return whether a file of this content was read; a damaged file may have been repaired in place."""
        query = "SELECT 1 FROM flow_files WHERE digest = ? AND NOT (damaged AND path = ?) LIMIT 1"
        return bool(self._store.rows(query, digest, path_text(path)))

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
        rows = self._store.rows(query, path_text(file.path), file.begin if file.dated else None)
        return int(rows[0][0]) if rows else None

    def counted_of(self, number: int | None) -> tuple[int, dict[str, int]]:
        """Return how many flows of a file were read, and were skipped by reason; nothing of None."""
        rows = self._store.rows("SELECT flows, skips FROM flow_files WHERE id = ?", number)
        return (int(rows[0][0]), dict(rows[0][1] or {})) if rows else (0, {})

    def put_file(self, number: int, file: FlowFile) -> None:
        """Keep what is known of a file."""
        self._run(
            "INSERT INTO flow_files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, now()::TIMESTAMP, ?)",
            number,
            file.exporter,
            file.name,
            file.slot if file.dated else None,
            file.begin if file.dated else None,
            file.digest,
            path_text(file.path),
            file.size,
            file.changed,
            file.flows,
            file.packets,
            file.bytes,
            file.sequence_failures,
            file.newest,
            file.damaged,
            dict(file.skipped),
        )

    def records_of(self, file: FlowFile, former: int | None) -> tuple[str, bool]:
        """Return a query for the DNS flow records of a file's exporter and slot once the file is added.

        With it comes whether they are all: those of other files may have been dropped.
        """
        slot, exporter = f"TIMESTAMP '{file.slot}'", "'{}'".format(file.exporter.replace("'", "''"))
        others = (
            f"slot = {slot} AND exporter = {exporter} AND id IS DISTINCT FROM {'NULL' if former is None else former}"
        )
        ((number, oldest),) = self._store.rows(
            f"SELECT (SELECT count(*) FROM flow_files WHERE {others}), (SELECT min(ts) FROM dns_flows)"
        )
        if number and (oldest is None or file.slot < oldest):
            return "FROM sum_dns_flows", False
        kept = f"ts = {slot} AND exporter = {exporter} AND file IS DISTINCT FROM {'NULL' if former is None else former}"
        columns = ", ".join(DNS_FLOW)
        return f"SELECT {columns} FROM sum_dns_flows UNION ALL SELECT {columns} FROM dns_flows WHERE {kept}", True

    def next_number(self) -> int:
        """Return an id that no file has."""
        ((number,),) = self._store.rows("SELECT coalesce(max(id), 0) + 1 FROM flow_files")
        return int(number)

    def submitted(self) -> dict[Path, str | None]:
        """Return the submitted files that are not read yet, with their exporters."""
        return {Path(path): exporter for path, exporter in self._store.rows("FROM flow_handed ORDER BY path")}

    def put_submitted(self, files: Iterable[tuple[Path, str | None]]) -> None:
        """Keep submitted files until they are read."""
        for path, exporter in files:
            self._run("INSERT OR REPLACE INTO flow_handed VALUES (?, ?)", path_text(path), exporter)

    def drop_submitted(self, path: Path) -> None:
        """Forget a submitted file."""
        self._run("DELETE FROM flow_handed WHERE path = ?", path_text(path))

    # What a file adds

    def add(self, number: int, former: int | None, sketch_size: int) -> None:
        """Add the rows of the temporary tables, as those of the file ``number`` and instead of those of ``former``."""
        for counter, (table, query) in _COUNTED_ROWS.items():
            news = query.format(ADDED[table])
            if former is not None:
                labels, olds = ", ".join(counter.labels), ", ".join(f"-{value} AS {value}" for value in counter.values)
                news = (
                    f"{news} UNION ALL SELECT {labels}, {olds} FROM ({query.format(f'{table} WHERE file = {former}')})"
                )
            counter.add(self._store, news)
        for table, rows in ADDED.items():
            if former is not None:
                ((dropped,),) = self._store.rows(f"DELETE FROM {table} WHERE file = ?", former)
                self.records -= dropped if table == "dns_flows" else 0
            ((added,),) = self._store.rows(
                f"INSERT INTO {table} BY NAME SELECT *, {number}::BIGINT AS file FROM {rows}"
            )
            self.records += added if table == "dns_flows" else 0
        self._unite_clients(sketch_size)
        if former is not None:
            self._run("DELETE FROM flow_files WHERE id = ?", former)

    def _unite_clients(self, sketch_size: int) -> None:
        key = "slot, exporter, resolver"
        self._run(f"""
            CREATE OR REPLACE TEMP TABLE united AS
            SELECT {key}, list_sort(list_distinct(flatten(list(sketch))))[:{sketch_size}] AS sketch,
                max(clients) AS clients
            FROM (
                SELECT {key}, sketch, 0 AS clients FROM sum_flow_clients
                UNION ALL SELECT {key}, coalesce(sketch, []), clients
                FROM slot_clients WHERE ({key}) IN (SELECT ({key}) FROM sum_flow_clients)
            ) GROUP BY ALL
        """)
        self._run(f"DELETE FROM slot_clients WHERE ({key}) IN (SELECT ({key}) FROM united)")
        # The estimate is that of features.summaries.estimate_distinct.
        self._run(f"""
            INSERT INTO slot_clients
            SELECT {key}, sketch, greatest(clients, CASE WHEN len(sketch) < {sketch_size} THEN len(sketch)
                ELSE round({sketch_size - 1} * pow(2::DOUBLE, 64) / sketch[{sketch_size}]) END)::BIGINT
            FROM united
        """)

    # Bounds

    def shrink(self) -> int:
        """Drop the oldest DNS flow records where there are too many; return how many."""
        if self.records <= self._max_rows:
            return 0
        spare = self.records - (1 - _SPARE) * self._max_rows
        for slot, rows in self._store.rows("SELECT ts, count(*) FROM dns_flows GROUP BY ts ORDER BY ts"):
            spare -= rows
            if spare <= 0:
                return self._drop_records("<=", slot)
        return 0

    def forget(self, now: datetime, days: timedelta, long: timedelta) -> int:
        """Drop what is older than ``days`` (lists, records, sketches) or ``long`` (sums); return how many records."""
        for table in ("slot_hosts", "slot_talkers"):
            self._run(f"DELETE FROM {table} WHERE slot < ?", now - days)
        self._run("DELETE FROM flow_verdicts WHERE slot < ? AND len(anomalies) = 0", now - _CURVE)
        self._run("UPDATE slot_clients SET sketch = NULL WHERE slot < ? AND sketch IS NOT NULL", now - days)
        self.forget_sums(now - long)
        self._run("DELETE FROM flow_files WHERE read_at < now()::TIMESTAMP - ?", _FILE_LIFE)
        known = [exporter for (exporter,) in self._store.rows("SELECT DISTINCT exporter FROM flow_files")]
        for counter in (FLOWS, RESOLVERS, FILES, SEQUENCE_FAILURES):
            counter.forget(self._store, "exporter", known)
        return self._drop_records("<", now - days)

    def forget_sums(self, before: datetime) -> None:
        """Drop the sums of the slots before a time."""
        for table in _LONG_TABLES:
            self._run(f"DELETE FROM {table} WHERE slot < ?", before)

    def forget_resolvers(self, keep: Iterable[str]) -> None:
        """Drop the counters of the resolvers that are not among those to ``keep``."""
        RESOLVERS.forget(self._store, "resolver", keep)

    def rename_resolvers(self, labels: Sequence[str], name: str) -> None:
        """Put what is kept of the resolvers ``labels`` under ``name``: their sums, and of their clients the most."""
        self._run("UPDATE slot_resolvers SET resolver = ? WHERE list_contains(?, resolver)", name, labels)
        of_labels = "FROM slot_clients WHERE list_contains(?, resolver)"
        self._run(
            "CREATE OR REPLACE TEMP TABLE renamed AS SELECT slot, exporter, arg_max(sketch, clients) AS sketch,"
            f" max(clients) AS clients {of_labels} GROUP BY ALL",
            labels,
        )
        self._run(f"DELETE {of_labels}", labels)
        self._run("INSERT INTO slot_clients SELECT slot, exporter, ?, sketch, clients FROM renamed", name)

    def _drop_records(self, operator: str, slot: datetime) -> int:
        ((dropped,),) = self._store.rows(f"DELETE FROM dns_flows WHERE ts {operator} ?", slot)
        self.records -= dropped
        return int(dropped)

    # What there is

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

    def oldest_slot(self) -> datetime | None:
        """Return the first slot that has sums."""
        oldest: datetime | None = self._store.rows("SELECT min(slot) FROM slot_services")[0][0]
        return oldest

    def oldest_record(self) -> datetime | None:
        """Return the first slot that has DNS flow records."""
        oldest: datetime | None = self._store.rows("SELECT min(ts) FROM dns_flows")[0][0]
        return oldest

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

    def services(self, exporter: str, since: datetime) -> list[tuple[str, str]]:
        """Return the exporter's protocols and services that had flows since a slot."""
        return self._store.rows(
            "SELECT DISTINCT protocol, service FROM slot_services WHERE exporter = ? AND slot >= ? ORDER BY ALL",
            exporter,
            since,
        )

    def resolvers(self, exporter: str, since: datetime) -> list[str]:
        """Return the resolvers that the exporter saw since a slot."""
        query = "SELECT DISTINCT resolver FROM slot_resolvers WHERE exporter = ? AND slot >= ? ORDER BY ALL"
        return [resolver for (resolver,) in self._store.rows(query, exporter, since)]

    def service_history(self, exporter: str, series: Sequence[tuple[str, str]], slot: datetime, slots: int) -> Array:
        """Return float64[series, 3, slots]: flows, packets and bytes up to ``slot``; NaN where there is no data.

        A slot in which the exporter had no flow at all is one without data.
        """
        found = self._columns(
            "slot_services JOIN (SELECT unnest($a) AS protocol, unnest($b) AS service, unnest($numbers) AS number)"
            " USING (protocol, service)",
            ["sum(flows)", "sum(packets)", "sum(bytes)"],
            exporter,
            slot,
            slots,
            {"a": [protocol for protocol, _ in series], "b": [service for _, service in series]},
        )
        history = np.full((len(series), 3, slots), np.nan)
        history[:, :, self._present(exporter, slot, slots)] = 0
        _scatter(history, found, (0, 1, 2))
        return history

    def resolver_history(self, exporter: str, resolvers: Sequence[str], slot: datetime, slots: int) -> Array:
        """Return float64[resolvers, 5, slots] of ``RESOLVER_MEASURES`` up to ``slot``; NaN where there is no data.

        There is none before a resolver was first seen, since it was then among the others.
        """
        joined = "JOIN (SELECT unnest($a) AS resolver, unnest($numbers) AS number) USING (resolver)"
        bound = {"a": list(resolvers)}
        sums = self._columns(
            f"slot_resolvers {joined}",
            [
                "sum(query_packets)",
                "sum(query_bytes)",
                "sum(response_bytes)",
                "sum(CASE WHEN proto = 'tcp' THEN query_flows ELSE 0 END) / nullif(sum(query_flows), 0)",
            ],
            exporter,
            slot,
            slots,
            bound,
        )
        clients = self._columns(f"slot_clients {joined}", ["max(clients)"], exporter, slot, slots, bound)
        history = np.full((len(resolvers), 5, slots), np.nan)
        present = self._present(exporter, slot, slots)
        for number in range(len(resolvers)):
            columns = sums[1][sums[0] == number]
            if len(columns):
                history[number, :4, present[present >= columns.min()]] = 0
        _scatter(history, sums, (1, 2, 3, 4))
        _scatter(history, clients, (0,))
        return history

    def _present(self, exporter: str, slot: datetime, slots: int) -> npt.NDArray[np.int64]:
        columns = self._store.connection.execute(
            "SELECT DISTINCT ((epoch($slot) - epoch(slot)) / $seconds)::BIGINT AS back FROM slot_services"
            " WHERE exporter = $exporter AND slot > $first AND slot <= $slot",
            {"exporter": exporter, "slot": slot, "first": slot - slots * _SLOT, "seconds": FLOW_SLOT_SECONDS},
        ).fetchnumpy()
        return np.sort(slots - 1 - columns["back"].astype(np.int64))

    def _columns(  # noqa: PLR0917
        self,
        rows: str,
        values: list[str],
        exporter: str,
        slot: datetime,
        slots: int,
        bound: Mapping[str, list[str]],
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], list[Array]]:
        """Return series number, column and values, one for each series and slot that has rows."""
        named = ", ".join(f"coalesce(({value})::DOUBLE, 'nan'::DOUBLE) AS v{i}" for i, value in enumerate(values))
        found = self._store.connection.execute(
            f"SELECT number, ((epoch($slot) - epoch(slot)) / $seconds)::BIGINT AS back, {named} FROM {rows}"
            " WHERE exporter = $exporter AND slot > $first AND slot <= $slot GROUP BY ALL",
            {
                "exporter": exporter,
                "slot": slot,
                "first": slot - slots * _SLOT,
                "seconds": FLOW_SLOT_SECONDS,
                "numbers": list(range(len(bound["a"]))),
                **bound,
            },
        ).fetchnumpy()
        column = slots - 1 - found["back"].astype(np.int64)
        return found["number"].astype(np.int64), column, [found[f"v{i}"] for i in range(len(values))]

    # Verdicts

    def put_verdicts(self, exporter: str, slot: datetime, verdicts: Sequence[Verdict]) -> None:
        """Keep the verdicts on an exporter's series in a slot, in place of earlier ones."""
        self._run("DELETE FROM flow_verdicts WHERE exporter = ? AND slot = ?", exporter, slot)
        names = ("protocol", "service", "resolver", "measure", "value", "baseline", "spread", "deviation")
        bound: dict[str, Any] = {name: [getattr(verdict, name) for verdict in verdicts] for name in names}
        bound["history_seconds"] = [verdict.history_seconds for verdict in verdicts]
        bound["anomalies"] = [list(verdict.anomalies) for verdict in verdicts]
        kinds = dict.fromkeys(names[:4], "VARCHAR[]") | dict.fromkeys((*names[4:], "history_seconds"), "DOUBLE[]")
        kinds["anomalies"] = "VARCHAR[][]"
        columns = ", ".join(f"unnest(${name}::{kind}) AS {name}" for name, kind in kinds.items())
        self._store.connection.execute(
            f"INSERT INTO flow_verdicts BY NAME SELECT $slot::TIMESTAMP AS slot, $exporter AS exporter, {columns}",
            {"slot": slot, "exporter": exporter, **bound},
        )

    def evaluated_slots(self) -> dict[str, datetime]:
        """Return the newest slot of each exporter that has a verdict."""
        return dict(self._store.rows("SELECT exporter, max(slot) FROM flow_verdicts GROUP BY ALL"))

    def verdicts(self, slots: Mapping[str, datetime]) -> list[Verdict]:
        """Return the verdicts on the series of these exporters in these slots."""
        columns = "exporter, protocol, service, resolver, measure, value, baseline, spread, deviation, history_seconds"
        rows = self._of_slots("flow_verdicts", f"{columns}, anomalies", slots, "ALL")
        return [Verdict(*(*row[:-1], tuple(row[-1]))) for row in rows]

    def clients(self, slots: Mapping[str, datetime]) -> list[tuple[str, str, int]]:
        """Return exporter, resolver and clients in these slots."""
        return self._of_slots("slot_clients", "exporter, resolver, clients", slots, "ALL")

    def hosts(self, slots: Mapping[str, datetime], most: int) -> list[tuple[Any, ...]]:
        """Return exporter, host, and what the greatest in these slots have; None stands for an unknown count.

        These are response flows, packets and bytes, query bytes, and peers.
        """
        counts = ("response_flows", "response_packets", "response_bytes", "query_bytes")
        sums = ", ".join([*(f"sum({name})::BIGINT" for name in counts), "max(peers)"])
        return self._of_slots(
            "slot_hosts",
            f"exporter, host, {sums}",
            slots,
            "exporter, sum(response_bytes) DESC, host",
            "GROUP BY exporter, host QUALIFY row_number()"
            f" OVER (PARTITION BY exporter ORDER BY sum(response_bytes) DESC, host) <= {most}",
        )

    def talkers(self, slots: Mapping[str, datetime], most: int) -> list[tuple[Any, ...]]:
        """Return exporter, element, talker, flows, packets and bytes of the greatest in these slots.

        None stands for an unknown count.
        """
        sums = "sum(flows)::BIGINT, sum(packets)::BIGINT, sum(bytes)::BIGINT"
        return self._of_slots(
            "slot_talkers",
            f"exporter, element, talker, {sums}",
            slots,
            "exporter, element, sum(bytes) DESC, talker",
            "GROUP BY exporter, element, talker QUALIFY row_number()"
            f" OVER (PARTITION BY exporter, element ORDER BY sum(bytes) DESC, talker) <= {most}",
        )

    def clock_offsets(self, slots: Mapping[str, datetime]) -> dict[str, timedelta]:
        """Return by exporter how far outside its slot the newest flow of the newest file ended."""
        rows = self._of_slots("flow_files", 'exporter, slot, max_by(newest, "begin")', slots, "ALL", "GROUP BY ALL")
        return {
            exporter: max(newest - slot - _SLOT, timedelta()) + min(newest - slot, timedelta())
            for exporter, slot, newest in rows
            if newest
        }

    def _of_slots(
        self, table: str, columns: str, slots: Mapping[str, datetime], order: str, rest: str = ""
    ) -> list[Any]:
        return self._store.rows(
            f"SELECT {columns} FROM {table}"
            " JOIN (SELECT unnest(?::VARCHAR[]) AS exporter, unnest(?::TIMESTAMP[]) AS slot) USING (exporter, slot)"
            f" {rest} ORDER BY {order}",
            list(slots),
            list(slots.values()),
        )

    def _run(self, query: str, *bound: Any) -> None:
        self._store.connection.execute(query, list(bound))


def _scatter(
    history: Array, found: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], list[Array]], measures: Sequence[int]
) -> None:
    number, column, values = found
    for measure, value in zip(measures, values, strict=True):
        history[number, measure, column] = value
        # Who never gives a count has none in slots without flows either.
        given = np.bincount(number, np.isfinite(value), len(history)) > 0
        history[~given & (np.bincount(number, minlength=len(history)) > 0), measure] = np.nan
