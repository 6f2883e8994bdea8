"""Counters: tables with named labels and values, which add up and never overflow."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsvigil.store.counters import LARGEST, CounterTable
from dnsvigil.store.store import Store

PACKETS = CounterTable("packets", ("exporter", "protocol"), ("packets", "bytes"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as store:
        store.create(PACKETS.schema)
        with store.transaction():
            yield store


def test_rows_with_the_same_labels_add_up(store: Store) -> None:
    PACKETS.add_rows(store, [("a", "udp", 1, 10), ("a", "tcp", 2, 0), ("a", "udp", 3, 30)])
    PACKETS.add(store, "SELECT 5 AS bytes, unnest(['udp', 'udp', 'icmp']) AS protocol, 'a' AS exporter, 1 AS packets")
    assert PACKETS.rows(store.rows) == [("a", "icmp", 1, 5), ("a", "tcp", 2, 0), ("a", "udp", 6, 50)]


def test_labels_are_whatever_they_are(store: Store) -> None:
    rows = [("", "udp dns", 1, 1), ("a b", "", 2, 2), ("'; DROP TABLE total_packets; --", "\\x00", 3, 3)]
    for _ in range(2):
        PACKETS.add_rows(store, rows)
    assert PACKETS.rows(store.rows) == sorted((*labels, 2 * n, 2 * m) for *labels, n, m in rows)


def test_what_nobody_gave_is_unknown_and_not_0(store: Store) -> None:
    PACKETS.add(store, "SELECT 'a' AS exporter, 'udp' AS protocol, 1 AS packets, NULL::BIGINT AS bytes")
    PACKETS.add(store, "SELECT 'b' AS exporter, 'udp' AS protocol, NULL::BIGINT AS packets, NULL::BIGINT AS bytes")
    assert PACKETS.rows(store.rows) == [("a", "udp", 1, None)]
    for _ in range(2):
        PACKETS.add(store, "SELECT 'a' AS exporter, 'udp' AS protocol, NULL::BIGINT AS packets, 7 AS bytes")
    assert PACKETS.rows(store.rows) == [("a", "udp", 1, 14)]


def test_a_query_makes_counters_of_0_and_rows_do_not(store: Store) -> None:
    PACKETS.add(store, "SELECT 'a' AS exporter, 'udp' AS protocol, 0 AS packets, 0 AS bytes")
    PACKETS.add_rows(store, [("b", "udp", 0, 0)])
    PACKETS.add_rows(store, [])
    assert PACKETS.rows(store.rows) == [("a", "udp", 0, 0)]


def test_counters_never_decrease(store: Store) -> None:
    PACKETS.add_rows(store, [("a", "udp", 5, 5)])
    PACKETS.add(
        store, "SELECT 'a' AS exporter, 'udp' AS protocol, unnest([-3, 1]) AS packets, unnest([-1, 2]) AS bytes"
    )
    PACKETS.add(store, "SELECT 'b' AS exporter, 'udp' AS protocol, -1 AS packets, -1 AS bytes")
    assert PACKETS.rows(store.rows) == [("a", "udp", 5, 6)]


def test_additions_do_not_overflow(store: Store) -> None:
    PACKETS.add_rows(store, [("a", "udp", 1, 1), ("b", "udp", LARGEST, 2**80)])
    for _ in range(2):
        PACKETS.add(
            store,
            f"SELECT unnest(['a', 'a', 'b']) AS exporter, 'udp' AS protocol, {LARGEST} AS packets, {LARGEST} AS bytes",
        )
    assert PACKETS.rows(store.rows) == [("a", "udp", LARGEST, LARGEST), ("b", "udp", LARGEST, LARGEST)]


def test_labels_that_are_not_kept_are_forgotten(store: Store) -> None:
    PACKETS.add_rows(store, [(exporter, protocol, 1, 1) for exporter in "abc" for protocol in ("udp", "tcp")])
    PACKETS.forget(store, "exporter", ["a", "c", "d"])
    PACKETS.forget(store, "protocol", ["tcp"])
    assert PACKETS.rows(store.rows) == [("a", "tcp", 1, 1), ("c", "tcp", 1, 1)]
    PACKETS.forget(store, "exporter", [])
    assert PACKETS.rows(store.rows) == []
