"""The tables of flows: their bounds, the series in them, and reading them from other threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from dnsvigil.ingest.records import INGESTED
from dnsvigil.store import flows
from dnsvigil.store.flow_files import FlowFile
from dnsvigil.store.flow_history import resolver_history, service_history
from dnsvigil.store.flows import FLOWS, RESOLVERS, FlowTables
from dnsvigil.store.sketches import SKETCH_SIZE, estimate_distinct
from dnsvigil.store.store import Store, StoreError

SLOT = timedelta(minutes=5)
NOON = datetime(2026, 6, 15, 12)
NAN = float("nan")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as store:
        store.create(INGESTED.schema)
        yield store


@pytest.fixture
def tables(store: Store) -> FlowTables:
    return FlowTables(store, 10**6)


def empty(store: Store) -> None:
    """Make the temporary tables of a file in which there is nothing."""
    for table, made in {**flows.ADDED, "slot_clients": "sum_flow_clients"}.items():
        columns = store.rows(f"SELECT column_name, data_type FROM (DESCRIBE {table}) d(column_name, data_type)")
        wanted = ", ".join(f"{name} {kind}" for name, kind in columns if name not in ("file", "clients"))
        store.rows(f"CREATE OR REPLACE TEMP TABLE {made} ({wanted})")


def add(store: Store, tables: FlowTables, number: int, former: int | None = None) -> None:
    with store.transaction():
        tables.add(number, former, SKETCH_SIZE)


def records(store: Store, slot: datetime, rows: int) -> None:
    query = "INSERT INTO sum_dns_flows BY NAME SELECT ?::TIMESTAMP AS ts, 'a' AS exporter FROM range(?)"
    store.rows(query, slot, rows)


def put_file(store: Store, tables: FlowTables, begin: datetime, exporter: str = "a") -> None:
    slot = begin - (begin - datetime.min) % SLOT
    file = FlowFile(exporter, "name", slot, begin, "digest", Path("/x"), 1, 1, 1, 1, 1, 0, begin, False)
    with store.transaction():
        tables.files.put_file(tables.files.next_number(), file)


def test_the_oldest_records_go_when_they_are_too_many(
    store: Store, tables: FlowTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = FlowTables(store, 100 * flows.ROW_BYTES)
    dropped = []
    for number in range(6):
        empty(store)
        records(store, NOON + number * SLOT, 30)
        add(store, tables, number)
        with store.transaction():
            dropped.append(tables.shrink())
    assert dropped == [0, 0, 0, 30, 30, 30]
    assert tables.records == FlowTables(store, 1).records == 90
    assert store.rows("SELECT min(ts) FROM dns_flows") == [(NOON + 3 * SLOT,)]


def test_what_is_old_goes_but_clients_are_still_known(store: Store, tables: FlowTables) -> None:
    for slot in (NOON - timedelta(days=40), NOON - timedelta(days=2), NOON):
        empty(store)
        records(store, slot, 1)
        store.rows("INSERT INTO sum_flow_clients VALUES (?, 'a', 'r', [1, 2, 3])", slot)
        store.rows("INSERT INTO sum_flow_services VALUES (?, 'a', 'udp', 'dns', 1, 1, 1)", slot)
        store.rows("INSERT INTO sum_flow_hosts VALUES (?, 'a', 'h', 1, 1, 1, 1, 1)", slot)
        add(store, tables, 1)
    with store.transaction():
        assert tables.forget(NOON, timedelta(days=1), timedelta(days=30)) == 2
    assert tables.records == 1
    assert store.rows("SELECT slot, sketch, clients FROM slot_clients ORDER BY slot") == [
        (NOON - timedelta(days=2), None, 3),
        (NOON, [1, 2, 3], 3),
    ]
    assert tables.oldest_slot() == NOON - timedelta(days=2)
    assert store.rows("SELECT count(*) FROM slot_hosts") == [(1,)]
    # A file that comes late cannot take back what is known.
    empty(store)
    store.rows("INSERT INTO sum_flow_clients VALUES (?, 'a', 'r', [9])", NOON - timedelta(days=2))
    add(store, tables, 2)
    assert store.rows("SELECT clients FROM slot_clients ORDER BY slot") == [(3,), (3,)]


def test_clients_are_estimated_as_everywhere(store: Store, tables: FlowTables) -> None:
    hashes = sorted((number * 11400714819323198485) % 2**64 for number in range(5000))
    for some in (hashes[::2], hashes[1::2]):
        empty(store)
        store.rows("INSERT INTO sum_flow_clients VALUES (?, 'a', 'r', ?)", NOON, some[:SKETCH_SIZE])
        add(store, tables, 1)
    ((clients,),) = store.rows("SELECT clients FROM slot_clients")
    assert clients == round(estimate_distinct([hashes[:SKETCH_SIZE]]))


def test_series_have_zeros_where_the_exporter_had_flows_and_else_nothing(store: Store, tables: FlowTables) -> None:
    for number, counts in {0: (1, 10), 1: (2, None), 3: (None, 40)}.items():
        empty(store)
        slot = NOON + number * SLOT
        for service, count in zip(("dns", "ntp"), counts, strict=True):
            if count is not None:
                store.rows(
                    "INSERT INTO sum_flow_services VALUES (?, 'a', 'udp', ?, ?, ?, ?)", slot, service, *[count] * 3
                )
        add(store, tables, number)
    store.rows("INSERT INTO slot_services VALUES (?, 'b', 'udp', 'dns', 99, 99, 99, 0)", NOON + 2 * SLOT)
    history = service_history(store, "a", [("udp", "ntp"), ("udp", "dns"), ("tcp", "dns")], NOON + 3 * SLOT, 5)
    expected = [[NAN, 10, 0, NAN, 40], [NAN, 1, 2, NAN, 0], [NAN, 0, 0, NAN, 0]]
    for measure in range(3):
        np.testing.assert_array_equal(history[:, measure], expected)


def test_series_of_a_resolver_begin_when_it_is_first_seen(store: Store, tables: FlowTables) -> None:
    for number in range(4):
        empty(store)
        slot = NOON + number * SLOT
        store.rows("INSERT INTO sum_flow_services VALUES (?, 'a', 'udp', 'dns', 1, 1, 1)", slot)
        if number in (1, 3):
            for proto, queries in (("udp", 6 * number), ("tcp", 2 * number)):
                values = [queries, 10 * queries, 100 * queries, 1, 1, 7, 0]
                store.rows(
                    "INSERT INTO sum_flow_resolvers VALUES (?, 'a', 'r', ?, ?, ?, ?, ?, ?, ?, ?)", slot, proto, *values
                )
            store.rows("INSERT INTO sum_flow_clients VALUES (?, 'a', 'r', [1, 2])", slot)
        add(store, tables, number)
    history = resolver_history(store, "a", ["r", "never"], NOON + 3 * SLOT, 4)
    np.testing.assert_array_equal(
        history[0],
        [[NAN, 2, 0, 2], [NAN, 80, 0, 240], [NAN, 800, 0, 2400], [NAN, 14, 0, 14], [NAN, 0.25, NAN, 0.25]],
    )
    assert np.isnan(history[1]).all()


@pytest.mark.parametrize(
    ("minutes", "complete"),
    [
        ([0], 0),
        ([0, 5], 5),
        ([0, 5, 15], 15),  # one is missing
        ([0, 1, 2, 3], -5),
        ([0, 1, 2, 3, 4], 0),
        ([0, 1, 2, 4], 0),
        ([-10, -5, 0, 1], -5),  # from now on of a minute
        ([0, 0], 0),
    ],
)
def test_when_a_slot_is_complete(store: Store, tables: FlowTables, minutes: list[int], complete: int) -> None:
    assert tables.files.complete_slot("a") is None
    for minute in minutes:
        put_file(store, tables, NOON + timedelta(minutes=minute))
        put_file(store, tables, NOON + timedelta(minutes=60), "b")
    assert tables.files.complete_slot("a") == NOON + timedelta(minutes=complete)


def test_counters_of_what_is_not_remembered_any_more_go(store: Store, tables: FlowTables) -> None:
    put_file(store, tables, NOON)
    with store.transaction():
        for exporter in ("a", "gone"):
            FLOWS.add_rows(store, [(exporter, "udp", "dns", 1, 0, 0)])
            RESOLVERS.add_rows(
                store, [(exporter, f"192.0.2.{n}", "udp", *([1] * len(RESOLVERS.values))) for n in (1, 2)]
            )
        INGESTED.add_rows(store, [("netflow", 7)])
        tables.forget(NOON, timedelta(days=1), timedelta(days=1))
        tables.forget_resolvers(["192.0.2.1", "other"])
    assert [row[:3] for row in RESOLVERS.rows(store.rows)] == [("a", "192.0.2.1", "udp")]
    assert FLOWS.rows(store.rows) == [("a", "udp", "dns", 1, 0, 0)]
    assert INGESTED.rows(store.rows) == [("netflow", 7)]


# Store.read


def test_other_threads_read_what_is_committed(store: Store) -> None:
    with store.transaction():
        INGESTED.add_rows(store, [("zeek", 1)])
    seen: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.append(INGESTED.rows(store.read)[0][1])

    threads = [threading.Thread(target=watch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        with store.transaction():
            INGESTED.add_rows(store, [("zeek", 1)])
            INGESTED.rows(store.rows)
            INGESTED.add_rows(store, [("zeek", 1)])
    stop.set()
    for thread in threads:
        thread.join(10)
    assert {value % 2 for value in seen} == {1}  # never half of a transaction
    assert INGESTED.rows(store.read) == [("zeek", 101)]


def test_a_closed_store_cannot_be_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.read("SELECT 1")
    with Store(tmp_path) as again:
        assert again.read("SELECT 1") == [(1,)]
