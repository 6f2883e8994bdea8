"""Flows in the store: sums per slot of five minutes, and what the newest slot looks like.

Sums and lists have a row for each file that adds to a slot, so several files of one slot add up when they are read, and
the rows of a file that grew are exchanged for new ones. Sketches of clients unite, whatever file they are from.

The tables' names begin with ``slot_``, as those of the summaries per minute do with ``minute_``; ``flow_services`` and
so on are what a file was read into, for as long as that is needed.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from dnsvigil.records import DNS_FLOW
from dnsvigil.store import contacts, counters
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.flow_files import FlowFile, FlowFiles
from dnsvigil.store.flow_slots import rows_of_slots
from dnsvigil.store.flow_verdicts import FlowVerdicts
from dnsvigil.store.store import Store
from dnsvigil.system.sql import literal

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

_SUMS: Final = ("query_flows", "query_packets", "query_bytes", "response_flows", "response_packets", "response_bytes")
_SCHEMA: Final = f"""
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
{counters.schema(COUNTERS)}{contacts.SCHEMA}"""

ADDED: Final = {
    "slot_services": "sum_flow_services",
    "slot_resolvers": "sum_flow_resolvers",
    "slot_hosts": "sum_flow_hosts",
    "slot_talkers": "sum_flow_talkers",
    "contacts": "sum_contacts",
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


class FlowTables:
    """The tables of flows in one store. Everything raises :class:`dnsvigil.store.store.StoreError`."""

    def __init__(self, store: Store, max_bytes: int) -> None:
        """Keep the DNS flow records under ``max_bytes``, counted as ``ROW_BYTES`` says."""
        self._store = store
        self._max_rows = max(max_bytes // ROW_BYTES, 1)
        store.create(_SCHEMA)
        self.files = FlowFiles(store)
        self.verdicts = FlowVerdicts(store)
        ((self.records,),) = store.rows("SELECT count(*) FROM dns_flows")

    def records_of(self, file: FlowFile, former: int | None) -> tuple[str, bool]:
        """Return a query for the DNS flow records of a file's exporter and slot once the file is added.

        With it comes whether they are all: those of other files may have been dropped.
        """
        slot, exporter = f"TIMESTAMP '{file.slot}'", literal(file.exporter)
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
            self.files.drop_file(former)

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
        for table in ("slot_hosts", "slot_talkers", "contacts"):
            self._run(f"DELETE FROM {table} WHERE slot < ?", now - days)
        self.verdicts.forget(now)
        self._run("UPDATE slot_clients SET sketch = NULL WHERE slot < ? AND sketch IS NOT NULL", now - days)
        self.forget_sums(now - long)
        known = self.files.forget()
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

    def oldest_slot(self) -> datetime | None:
        """Return the first slot that has sums."""
        oldest: datetime | None = self._store.rows("SELECT min(slot) FROM slot_services")[0][0]
        return oldest

    def oldest_record(self) -> datetime | None:
        """Return the first slot that has DNS flow records."""
        oldest: datetime | None = self._store.rows("SELECT min(ts) FROM dns_flows")[0][0]
        return oldest

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

    def clients(self, slots: Mapping[str, datetime]) -> list[tuple[str, str, int]]:
        """Return exporter, resolver and clients in these slots."""
        return rows_of_slots(self._store, "slot_clients", "exporter, resolver, clients", slots)

    def hosts(self, slots: Mapping[str, datetime], most: int) -> list[tuple[Any, ...]]:
        """Return exporter, host, and what the greatest in these slots have; None stands for an unknown count.

        These are response flows, packets and bytes, query bytes, and peers.
        """
        counts = ("response_flows", "response_packets", "response_bytes", "query_bytes")
        sums = ", ".join([*(f"sum({name})::BIGINT" for name in counts), "max(peers)"])
        return rows_of_slots(
            self._store,
            "slot_hosts",
            f"exporter, host, {sums}",
            slots,
            order="exporter, sum(response_bytes) DESC, host",
            rest="GROUP BY exporter, host QUALIFY row_number()"
            f" OVER (PARTITION BY exporter ORDER BY sum(response_bytes) DESC, host) <= {most}",
        )

    def talkers(self, slots: Mapping[str, datetime], most: int) -> list[tuple[Any, ...]]:
        """Return exporter, element, talker, flows, packets and bytes of the greatest in these slots.

        None stands for an unknown count.
        """
        sums = "sum(flows)::BIGINT, sum(packets)::BIGINT, sum(bytes)::BIGINT"
        return rows_of_slots(
            self._store,
            "slot_talkers",
            f"exporter, element, talker, {sums}",
            slots,
            order="exporter, element, sum(bytes) DESC, talker",
            rest="GROUP BY exporter, element, talker QUALIFY row_number()"
            f" OVER (PARTITION BY exporter, element ORDER BY sum(bytes) DESC, talker) <= {most}",
        )

    def _run(self, query: str, *bound: Any) -> None:
        self._store.connection.execute(query, list(bound))
