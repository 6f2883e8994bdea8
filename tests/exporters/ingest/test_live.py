"""The live tail: bounded, fed only while somebody looks, and nobody waits for a slow viewer."""

from __future__ import annotations

import threading
import time

import pyarrow as pa

from dnsvigil.ingest import live
from dnsvigil.ingest.live import KEPT, LivePart, Tail
from dnsvigil.store.store import Store


def table(first: int, count: int) -> pa.Table:
    return pa.table({"n": range(first + count - 1, first - 1, -1)})


def numbers(tables: tuple[pa.Table, ...]) -> list[int]:
    return [n for each in tables for n in each["n"].to_pylist()]


def test_a_viewer_gets_what_is_new_and_is_told_what_it_has_missed():
    tail = Tail()
    tail.put(table(0, 3))
    first = tail.after(0, 0)
    assert numbers(first.tables) == [2, 1, 0]
    tail.put(table(3, 2))
    assert numbers(tail.after(first.place, 0).tables) == [4, 3]
    for begin in range(5, 5 + 3 * KEPT, KEPT // 2):
        tail.put(table(begin, KEPT // 2))
    late = tail.after(first.place, 0)
    assert sum(each.num_rows for each in late.tables) == KEPT
    assert late.missed == late.place - first.place - KEPT
    assert tail.after(late.place, 0).tables == ()


def test_a_round_larger_than_the_tail_is_kept_whole_and_alone():
    tail = Tail()
    tail.put(table(0, 5))
    tail.put(table(5, KEPT))
    assert [each.num_rows for each in tail.after(0, 0).tables] == [KEPT]


def test_a_viewer_waits_for_what_comes_and_no_longer_than_until_the_end():
    tail = Tail()
    threading.Timer(0.1, tail.put, [table(0, 1)]).start()
    assert numbers(tail.after(0, 20).tables) == [0]
    threading.Timer(0.1, tail.close).start()
    begin = time.monotonic()
    assert tail.after(1, 20).tables == ()
    assert time.monotonic() - begin < 10
    assert tail.closed


def test_records_are_taken_only_while_somebody_looks(tmp_path, monkeypatch):
    with Store(tmp_path) as store:
        columns = ", ".join(f"NULL::VARCHAR AS {name}" for name in live.COLUMNS if name not in ("ts", "answers"))
        store.rows(
            "CREATE TEMP TABLE transactions AS"
            f" SELECT TIMESTAMP '2026-03-01' + INTERVAL (n) SECOND AS ts, {columns}, ['a'] AS answers"
            " FROM range(9) AS r(n)"
        )
        part = LivePart(store)
        tail = part.snapshot()
        part.gather(1)
        assert tail.after(0, 0).tables == ()  # nobody had looked; now somebody does
        part.gather(1)
        (found,) = tail.after(0, 0).tables
        assert found["ts"].to_pylist() == sorted(found["ts"].to_pylist(), reverse=True)
        monkeypatch.setattr(live, "_WATCHED_SECONDS", -1.0)
        part.gather(1)
        assert tail.after(0, 0).tables == ()
        part.close()
        assert tail.closed
