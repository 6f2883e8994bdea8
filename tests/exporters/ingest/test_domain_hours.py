"""What is asked of domains by the hour: merged in any order, bounded, and counted."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.config.collector import Config, Zones
from dnsvigil.config.types import Duration, Size
from dnsvigil.ingest import domains
from dnsvigil.store import domains as stored
from dnsvigil.store.store import Store
from exporters.features.domain_truth import hash_of
from exporters.ingest.taking import Taking
from exporters.zeeklogs import START, tsv

HOUR = 3600
BEGIN = START // HOUR * HOUR
DOMAINS = {
    "www.example.com": "example.com",
    "example.com": "example.com",
    "a.b.example.co.uk": "example.co.uk",
    "x": "x",
}


def rows_of(taking: Taking, table: str = "domain_hours") -> list[tuple[Any, ...]]:
    return taking.store.rows(f"FROM {table} ORDER BY ALL")


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    with Store(tmp_path) as store, closing(Taking(store, Config())) as taking:
        yield taking


def query(seconds: float, qname: str = "www.example.com", client: str = "198.51.100.7", rcode: int | None = 0) -> bytes:
    code = {"rcode": "-", "rcode_name": "-"} if rcode is None else {"rcode": str(rcode)}
    answers = {} if rcode == 0 else {"rtt": "-", "answers": "-", "TTLs": "-"}
    return tsv(**{"ts": f"{BEGIN + seconds:.6f}", "query": qname, "id_orig_h": client} | code | answers)


def when(seconds: float) -> datetime:
    return datetime.fromtimestamp(BEGIN + seconds, UTC).replace(tzinfo=None)


def expected(queries: list[tuple[float, str, str, int | None]]) -> list[tuple[Any, ...]]:
    groups: defaultdict[tuple[str, datetime], list[tuple[float, str, str, int | None]]] = defaultdict(list)
    for each in queries:
        groups[DOMAINS[each[1]], when(each[0] // HOUR * HOUR)].append(each)
    return sorted(
        (
            *key,
            len(found),
            len(found),
            sum(rcode in (None, 1, 2, 4, 5) for *_, rcode in found),
            sum(rcode == 3 for *_, rcode in found),
            when(min(seconds for seconds, *_ in found)),
            when(max(seconds for seconds, *_ in found)),
            sorted(map(hash_of, {client for _, _, client, _ in found}))[:64],
            sorted(map(hash_of, {name for _, name, *_ in found} - {key[0]}))[:64] or None,
        )
        for key, found in groups.items()
    )


def some_queries(dice: random.Random, count: int, hours: int) -> list[tuple[float, str, str, int | None]]:
    names = [*DOMAINS]
    return [
        (
            dice.randrange(hours * HOUR) + 0.25,
            dice.choice(names),
            f"198.51.100.{dice.randrange(100)}",
            dice.choice((0, 0, 2, 3, 5, None)),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("merge_rows", [0, 3, 10**9])
def test_batches_add_up_in_any_order_and_after_restarts(taking, monkeypatch, merge_rows):
    monkeypatch.setattr(domains, "_MERGE_ROWS", merge_rows)
    monkeypatch.setattr(stored, "_MERGED_AT_ONCE", 2)
    dice = random.Random(merge_rows)
    asked = some_queries(dice, 600, hours=5)
    batches = [asked[start : start + 40] for start in range(0, 600, 40)]
    for number, batch in enumerate(batches):
        taking.take("dns", *(query(*each) for each in batch))
        if number % 4 == 3:
            taking.restart()
    taking.intake.flush()
    merged: defaultdict[tuple[Any, Any], list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows_of(taking):
        merged[row[0], row[1]].append(row)
    assert [united(rows) for _, rows in sorted(merged.items())] == expected(asked)


def united(rows: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    columns = list(zip(*rows, strict=True))
    sketches = ({value for sketch in column for value in sketch or ()} for column in columns[8:])
    return (
        *rows[0][:2],
        *map(sum, columns[2:6]),
        min(columns[6]),
        max(columns[7]),
        *(sorted(sketch)[:64] or None for sketch in sketches),
    )


def test_an_hour_has_one_row_of_a_domain_once_it_is_over(taking):
    asked = sorted(some_queries(random.Random(7), 400, hours=2))
    for start in range(0, 400, 40):
        taking.take("dns", *(query(*each) for each in asked[start : start + 40]))
    assert len(rows_of(taking, "domain_hours_new")) > len(DOMAINS)
    taking.take("dns", query(2 * HOUR + 301))
    rows = [row for row in rows_of(taking, "domain_hours_merged") if row[1] < when(2 * HOUR)]
    assert rows == expected(asked)
    assert taking.value("dnsvigil_domain_summaries") == len(rows_of(taking)) == len(rows) + 1


def test_a_query_without_outcome_is_not_known_and_failures_are_those_of_the_configuration(tmp_path):
    config = Config(zones=Zones(failures=["NXDOMAIN"]))
    with Store(tmp_path) as store, closing(Taking(store, config)) as taking:
        taking.take("dns", query(1, rcode=3), query(2, rcode=2), query(3, rcode=None), query(4))
        ((_, _, *counts, _, _, _, _),) = rows_of(taking)
        assert counts == [4, 4, 1, 1]


def test_old_hours_are_dropped_and_counted(tmp_path):
    config = Config()
    config = replace(config, store=replace(config.store, retention=Duration(2 * HOUR)))
    with Store(tmp_path) as store, closing(Taking(store, config)) as taking:
        taking.take("dns", query(0), query(1, "x"))
        for hour in range(1, 4):
            taking.take("dns", query(hour * HOUR))
        assert [row[1] for row in rows_of(taking)] == [when(hour * HOUR) for hour in (1, 2, 3)]
        assert taking.value("dnsvigil_domain_summaries_dropped_total", reason="age") == 2


def test_of_too_many_rows_those_with_the_fewest_queries_are_dropped_the_oldest_first(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "ROW_BYTES", 10**7)
    config = Config()
    config = replace(config, store=replace(config.store, max_size=Size(10**8)))
    with Store(tmp_path) as store, closing(Taking(store, config)) as taking:
        for hour in range(6):
            taking.take("dns", query(hour * HOUR), query(hour * HOUR + 1), query(hour * HOUR + 2, "x"))
        taking.take("dns", query(6 * HOUR))
        found = [(row[0], (row[1] - when(0)) // timedelta(hours=1)) for row in rows_of(taking)]
        assert sorted(found) == sorted(
            [*(("example.com", hour) for hour in range(7)), *(("x", hour) for hour in (3, 4, 5))]
        )
        assert taking.value("dnsvigil_domain_summaries_dropped_total", reason="rows") == 3
        assert taking.value("dnsvigil_domain_summaries") == 10
