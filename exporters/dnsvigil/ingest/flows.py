"""The part of flows: puts what a flow file adds, and that it was read, into one transaction of the store.

A file that is found again with more in it has its rows exchanged: nfcapd appends to a slot's file when it is started
anew.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from dnsvigil.config.collector import Config
from dnsvigil.ingest.event_time import NEAR, EventTime, Minute
from dnsvigil.ingest.flow_evaluation import FlowEvaluation
from dnsvigil.ingest.flow_files import AHEAD, FlowFileReader, Ingested
from dnsvigil.ingest.flow_summaries import FlowSummarizer
from dnsvigil.ingest.records import TABLES as RECORDS
from dnsvigil.ingest.records import count_records
from dnsvigil.ingest.size_bound import drop_before
from dnsvigil.ingest.top_labels import TopLabels
from dnsvigil.records import FLOW_SLOT_SECONDS, OTHER, utc_now
from dnsvigil.sources.netflow.contacts import contacts
from dnsvigil.sources.netflow.follower import OutsideError, PendingFlows, Stamp, below_sources
from dnsvigil.sources.netflow.times import Times
from dnsvigil.store.contacts import MAX_CONTACTS, Contacts
from dnsvigil.store.counters import CounterTable, schema
from dnsvigil.store.findings import Findings
from dnsvigil.store.flow_files import FlowFile
from dnsvigil.store.flow_log import log_path, write_flow_log
from dnsvigil.store.flow_series import CURRENT, SHOWN_TALKERS
from dnsvigil.store.flow_verdicts import Verdict
from dnsvigil.store.flows import (
    COUNTERS,
    DROPPED,
    FILES,
    RESOLVERS,
    SEEN,
    SEQUENCE_FAILURES,
    FlowTables,
)
from dnsvigil.store.labels import put_labels, read_labels
from dnsvigil.store.sensors import put_sensors
from dnsvigil.store.server_names import take_names
from dnsvigil.store.sketches import SKETCH_SIZE
from dnsvigil.store.store import Store

SOURCE: Final = "netflow"
"""The label ``source`` of flows."""

SHOWN_HOSTS: Final = 20
"""How many hosts of an exporter's newest slot are shown."""

_SLOT: Final = timedelta(seconds=FLOW_SLOT_SECONDS)
_TOLERANCE: Final = timedelta(seconds=60)
_FILE_COUNTS: Final = 1000  # as so many records of logs: the time of a file is that of nfcapd, not of a record


@dataclass(frozen=True)
class FlowSnapshot:
    """What the store holds of flows for /metrics, at one moment."""

    counters: Mapping[CounterTable, Sequence[tuple[Any, ...]]] = field(default_factory=dict)  # the rows of each
    services: frozenset[tuple[str, str, str]] = frozenset()  # exporter, protocol and service that are shown
    resolvers: frozenset[str] = frozenset()  # those that have a label of their own
    verdicts: list[Verdict] = field(default_factory=list)  # this and the next of each exporter's newest slot
    clients: list[tuple[str, str, int]] = field(default_factory=list)  # exporter, resolver, clients
    hosts: list[tuple[Any, ...]] = field(default_factory=list)  # as FlowTables.hosts
    talkers: list[tuple[Any, ...]] = field(default_factory=list)  # as FlowTables.talkers
    clock_offsets: dict[str, float] = field(default_factory=dict)  # seconds
    records: int = 0  # of DNS flows

    def rows(self, table: CounterTable) -> Sequence[tuple[Any, ...]]:
        """Return the rows of a table of counters."""
        return self.counters.get(table, ())

    @property
    def exporters(self) -> list[str]:
        """Those that are shown."""
        return sorted({exporter for exporter, _, _ in self.services} | self.clock_offsets.keys())


class FlowsPart:
    """Flows in one store.

    A flow file is a round by itself: that it was read is known by its content, not by a cursor.
    """

    def __init__(self, store: Store, config: Config) -> None:
        """Raises :class:`dnsvigil.store.store.StoreError`."""
        self._store = store
        self._config = config
        self._tables = FlowTables(store, config.store.max_size // 4)
        self._evaluation = FlowEvaluation(store, self._tables, config.flows.thresholds)
        self._reader = FlowFileReader(store, config.flows.nfdump)
        self._findings = Findings(store)
        self._contacts = Contacts(store)
        store.create(schema(RECORDS))
        servers = config.servers
        known = read_labels(store, "flow_server")
        top = 0 if servers.configured else servers.top
        self._servers = TopLabels(top, servers.names, known.shown, known.weights)
        self._addresses = servers.labels
        with store.transaction():
            taken = take_names(store, "flow_servers", [RESOLVERS], "resolver", servers.addresses)
            for name, labels in taken.items() if not store.read_only else ():
                self._tables.rename_resolvers(labels, name)
        self._time = EventTime(self._tables.files.newest_slot())
        self._newest = self._time.newest
        self.forgotten: datetime | None = None  # sums of slots before were dropped as time went on

    @property
    def newest(self) -> datetime | None:
        """When the newest slot ends; None without flows."""
        return self._newest + _SLOT if self._newest else None

    def close(self) -> None:
        """Free what it holds beside the store."""
        self._reader.close()

    def prepare(self) -> None:
        """Make what files need, which the first would otherwise wait for."""
        _ = self._reader.reader, self._summarizer

    def known_files(self) -> dict[Path, Stamp]:
        """Return the files that were read, as they were."""
        return self._tables.files.known_files()

    def submitted(self) -> dict[Path, str | None]:
        """Return the submitted files that are still to be read, with their exporters."""
        return self._tables.files.submitted()

    def submit_files(self, files: Sequence[tuple[Path, str | None]]) -> None:
        """Keep in the store that files are to be read. Raises :class:`dnsvigil.store.store.StoreError`."""
        with self._store.transaction():
            self._tables.files.put_submitted(files)

    def give_up(self, path: Path) -> None:
        """Forget a submitted file. Raises :class:`dnsvigil.store.store.StoreError`."""
        with self._store.transaction():
            self._tables.files.drop_submitted(path)

    def ingest(self, file: PendingFlows) -> Ingested:
        """Put what a file adds, and that it was read, into the store, in one transaction.

        Raises as :meth:`FlowFileReader.read`; where the store fails, store and part must be made anew.
        """
        check = self._check if file.path in self._tables.files.submitted() else None
        read = self._reader.read(file, self._times(), check)
        if read is None:
            return self._pass_over(file)
        found, former = read.file, read.former
        if read.same is not None:
            with self._store.transaction():
                self._tables.files.put_file(read.same, found)
                self._tables.files.drop_submitted(file.path)
            return Ingested(known=True)
        watched = self._contacts.watched()
        met = contacts(file.path, watched, self._config.flows.nfdump or "nfdump")[:MAX_CONTACTS] if watched else []
        with self._store.errors():
            self._summarize(found)
            self._contacts.prepare(found.slot, found.exporter, met)
        if self._config.flows.log:
            self._write_log(self._config.flows.log, found, former)
        with self._store.transaction():
            flows_before, skipped_before = self._tables.files.counted_of(former)
            self._add(found, former)
            self._contacts.searched(watched, found.slot)
            self._tables.files.drop_submitted(file.path)
            newest = min(found.slot + _SLOT, utc_now()) if found.flows else None
            put_sensors(self._store, SOURCE, {found.exporter: newest})
            flows = max(found.flows - flows_before, 0)
            skipped = Counter(found.skipped) - Counter(skipped_before)
            count_records(self._store, SOURCE, flows, skipped)
            # A file without flows, or of the future, does not move the time of others.
            if found.flows and found.slot <= utc_now() + NEAR:
                self._time.read(found.exporter, [Minute(found.slot, _FILE_COUNTS)], utc_now())
                self._advance(self._time.newest or found.slot)
        return Ingested(flows, skipped, read.damage)

    def close_findings(self, now: datetime) -> int:
        """Close the findings that have been quiet; return how many. Raises :class:`dnsvigil.store.store.StoreError`."""
        with self._store.transaction():
            return self._findings.close_quiet(now)

    def flush(self) -> bool:
        """Evaluate every series of each exporter whose newest complete slot has not been evaluated.

        Returns whether there was one. Raises :class:`dnsvigil.store.store.StoreError`.
        """
        evaluated = self._tables.verdicts.newest_slots()
        anything = False
        for exporter, newest in self._current().items():
            slot = self._tables.files.complete_slot(exporter)
            if slot is None or slot > newest or slot <= evaluated.get(exporter, datetime.min):
                continue
            with self._store.errors():
                verdicts = self._evaluation.evaluate(exporter, slot, self._since(), self._shown_resolvers())
            with self._store.transaction():
                self._tables.verdicts.put(exporter, slot, verdicts)
            anything = anything or bool(verdicts)
        return anything

    def snapshot(self) -> FlowSnapshot:
        """Return what the store holds now."""
        tables = self._tables
        newest = self._current()
        # Whoever is silent for long is left out, whoever misses a file is not.
        now = {exporter: slot for exporter, slot in newest.items() if slot + CURRENT >= (self._newest or slot)}
        evaluated = {exporter: slot for exporter, slot in tables.verdicts.newest_slots().items() if exporter in now}
        offsets = tables.files.clock_offsets(newest)
        return FlowSnapshot(
            counters={table: table.rows(self._store.rows) for table in COUNTERS},
            services=frozenset(
                (exporter, protocol, service)
                for exporter in newest
                for protocol, service in tables.services(exporter, self._since())
            ),
            resolvers=frozenset(self._shown_resolvers()),
            verdicts=tables.verdicts.of_slots(evaluated),
            clients=tables.clients(now),
            hosts=tables.hosts(now, SHOWN_HOSTS),
            talkers=tables.talkers(now, SHOWN_TALKERS),
            clock_offsets={
                exporter: 0.0 if abs(offset) <= _TOLERANCE else offset.total_seconds()
                for exporter, offset in offsets.items()
            },
            records=tables.records,
        )

    @cached_property
    def _summarizer(self) -> FlowSummarizer:
        return FlowSummarizer(self._store.connection, [str(network) for network in self._config.flows.networks])

    def _check(self, opened: Path) -> None:
        """Raise ``OSError`` where a submitted file lies elsewhere by now, through a link."""
        if not below_sources(opened, self._config.sources.netflow):
            raise OutsideError(opened)

    def _times(self) -> Times:
        """Return the times that flows may have now."""
        now = utc_now()
        long = timedelta(seconds=self._config.store.retention)
        return Times(max(self._newest or datetime.min, datetime.min + long) - long, now + AHEAD)

    def _since(self) -> datetime:
        return (self._newest - SEEN) if self._newest else datetime.min

    def _shown_resolvers(self) -> set[str]:
        return {*self._servers.pinned, *self._servers.shown, OTHER}

    def _current(self) -> dict[str, datetime]:
        """Return the newest slot of each exporter that is shown."""
        return {exporter: slot for exporter, slot in self._tables.files.exporters().items() if slot >= self._since()}

    def _pass_over(self, file: PendingFlows) -> Ingested:
        if file.path in self._tables.files.submitted():
            self.give_up(file.path)
        return Ingested(known=True)

    def _summarize(self, found: FlowFile) -> None:
        self._servers.offer(self._summarizer.count_servers(self._servers.capacity))
        shown = {**self._addresses, **{address: address for address in self._servers.shown}}
        self._summarizer.summarize(found.slot, found.exporter, shown)

    def _write_log(self, folder: Path, found: FlowFile, former: int | None) -> None:
        """Write the log of the file's slot before the transaction: after a crash between them it is written again."""
        rows, whole = self._tables.records_of(found, former)
        part = "" if whole else found.digest.rpartition(":")[2][:8]
        write_flow_log(self._store, rows, log_path(folder, found.exporter, found.slot, part), found.slot)

    def _add(self, found: FlowFile, former: int | None) -> None:
        """Put what was read of a file into the store, instead of what was read of it before."""
        failures = found.sequence_failures
        if former is not None:
            ((before,),) = self._store.rows("SELECT max(sequence_failures) FROM flow_files WHERE id = ?", former)
            failures = max(failures - before, 0)
        number = self._tables.files.next_number()
        self._tables.add(number, former, SKETCH_SIZE)
        self._tables.files.put_file(number, found)
        put_labels(self._store, "flow_server", self._servers.shown, self._servers.weights)
        FILES.add_rows(self._store, [(found.exporter, "damaged" if found.damaged else "read", 1)])
        SEQUENCE_FAILURES.add_rows(self._store, [(found.exporter, failures)])
        self._drop("size", self._tables.shrink())

    def _advance(self, slot: datetime) -> None:
        """Do what is due as event time moves on: by slot look for new servers, by hour forget."""
        before = self._newest or datetime.min
        self._newest = max(slot, before)
        if self._newest == before:
            return
        self._servers.rebalance()
        if self._newest.replace(minute=0) > before:
            self._servers.decay()
            self._forget(self._newest)
        put_labels(self._store, "flow_server", self._servers.shown, self._servers.weights)

    def _forget(self, now: datetime) -> None:
        """Keep the store within its bounds."""
        bounds = self._config.store
        long = timedelta(seconds=bounds.retention)
        if (oldest := self._tables.oldest_slot()) and oldest < now - long:
            self.forgotten = now - long
        self._drop("age", self._tables.forget(now, timedelta(seconds=self._config.flows.retention), long))
        oldest = self._tables.oldest_slot()
        if oldest and (full := drop_before(self._store, bounds.max_size, oldest, now)):
            self._tables.forget_sums(full)
        self._tables.forget_resolvers(self._servers.known())

    def _drop(self, reason: str, records: int) -> None:
        DROPPED.add_rows(self._store, [(reason, records)])
