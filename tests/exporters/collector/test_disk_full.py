"""A disk that is full for a while: the collector goes on serving, and in the end everything is counted once."""

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from dnsvigil.httpd.access import keep_token
from dnsvigil.ingest.records import INGESTED
from dnsvigil.learning.models import save_model
from dnsvigil.store.store import Store, StoreError
from exporters.running import (
    Samples,
    Writer,
    collecting,
    eventually,
    get,
    has_ingested,
    ingested,
    passive_dns,
    sample,
    samples,
    totals,
    write_config,
)
from exporters.small_disk import mounted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    with mounted(tmp_path / "disk", 64) as disk:
        yield disk


def fill(disk: Path) -> Path:
    """Fill the disk to the last block; return the file that takes the space."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream, suppress(OSError):
        while stream.write(b"\0" * 4096):
            pass
    return filler


def test_a_disk_that_is_full_for_a_while_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    config, state = write_config(tmp_path), small_disk / "state"
    with collecting(config, state) as first:
        eventually(lambda: first.listening() and "dnsvigil_store_size_bytes" in first.get("/metrics"))
        assert first.terminate() == 0
    writer = Writer(tmp_path / "zeek", rate=5_000, rotate=5)
    writer.start()
    try:
        for killed_while_full in (False, True, False):
            fill_for_a_while(config, state, small_disk, killed_while_full)
    finally:
        expected = writer.stop()
    with collecting(config, state) as last:
        eventually(lambda: has_ingested(last.get("/metrics"), expected), 60)
        time.sleep(2)  # for whatever else it might read
        found = totals(last.get("/metrics"))
        assert last.terminate() == 0
    assert {key: (found.get(key), value) for key, value in expected.items() if found.get(key) != value} == {}
    assert found.keys() == expected.keys()
    tuples = passive_dns(state)  # with those that dns.log has
    assert {key: tuples[key] for key in writer.tuples} == writer.tuples


def fill_for_a_while(config: Path, state: Path, disk: Path, killed_while_full: bool) -> None:
    with collecting(config, state) as collector:
        url = f"{collector.url}/metrics"
        begun = eventually(lambda: ingested(get(url)))
        eventually(lambda: ingested(get(url)) > begun)
        filler = fill(disk)
        try:
            found = eventually(lambda: failing(get(url)))
            assert found[sample("dnsvigil_source_lag_bytes", source="zeek", sensor=disk.parent.name)] >= 0
        finally:
            if killed_while_full:
                collector.kill()
                restarted_while_full(config, state)
            filler.unlink()
        if not killed_while_full:
            stuck = found[sample("dnsvigil_records_ingested_total", source="zeek")]
            eventually(lambda: ingested(get(url)) > stuck)
            assert collector.terminate() == 0
            assert "No space left on device" in collector.stderr()
            assert "Traceback" not in collector.stderr()


def restarted_while_full(config: Path, state: Path) -> None:
    with collecting(config, state) as collector:
        url = f"{collector.url}/metrics"
        eventually(lambda: failing(get(url)))
        assert collector.get("/-/ready")


def failing(text: str) -> Samples | None:
    """Return the metrics once they tell of two failures and of a lag."""
    found = samples(text)
    lag = max((value for (name, _), value in found.items() if name == "dnsvigil_source_lag_seconds"), default=0)
    return found if found[sample("dnsvigil_batch_failures_total")] >= 2 and lag > 1 else None


@pytest.mark.parametrize("checkpoint", ["1KB", "4MB"])
def test_each_commit_on_a_full_disk_is_whole_or_an_error(small_disk: Path, checkpoint: str) -> None:
    """Both ways in which DuckDB commits: into the write-ahead log, and at once into the file."""
    dice = random.Random(3)
    number = 0
    failures: list[str] = []
    store = Store(small_disk)
    store.create(INGESTED.schema)
    for _ in range(60):
        if full := dice.random() < 0.5:
            fill(small_disk)
        try:
            if store.closed:
                store = Store(small_disk)
            store.rows(f"SET checkpoint_threshold = '{checkpoint}'")
            with store.transaction():
                INGESTED.add_rows(store, [("zeek", 1)])
                store.rows("INSERT INTO minute_clients SELECT '2026-01-01', range, [range] FROM range(20000)")
            committed = True
        except StoreError as error:
            assert full
            failures.append(str(error))
            committed = False
            store.close()
        (small_disk / "filler").unlink(missing_ok=True)
        if store.closed:
            store = Store(small_disk)
        counted = sum(records for _, records in INGESTED.rows(store.rows))
        assert counted in ({number + 1} if committed else {number, number + 1})
        number = counted
        ((rows,),) = store.rows("SELECT count(*) FROM minute_clients")
        assert rows == 20000 * number
        if number % 10 == 9:
            with store.transaction():
                store.rows("DELETE FROM minute_clients")
                INGESTED.forget(store, "source", [])
            number = 0
    store.close()
    assert len(failures) > 2


def test_no_space_to_spill_is_an_error_of_the_store(small_disk: Path) -> None:
    with Store(small_disk, max_memory="50MB") as store:
        store.create(INGESTED.schema)
        fill(small_disk)
        with pytest.raises(StoreError, match=r"Out of Memory|No space"), store.transaction():
            store.rows("CREATE TEMP TABLE large AS SELECT hash(range)::VARCHAR AS h FROM range(6000000) ORDER BY h")
        (small_disk / "filler").unlink()
        with store.transaction():
            INGESTED.add_rows(store, [("zeek", 1)])


def test_what_cannot_be_written_for_lack_of_space_is_named(small_disk: Path) -> None:
    filler = fill(small_disk)
    with pytest.raises(OSError, match=f"No space left on device: '{small_disk}/api-token'"):
        keep_token(small_disk / "api-token")
    with pytest.raises(OSError, match=f"No space left on device: '{small_disk}/model'"):
        save_model(small_disk / "model", "test", 1, {"array": np.zeros(1000)}, {})
    filler.unlink()


def test_a_store_that_finds_no_space_at_its_first_start_is_an_error(small_disk: Path) -> None:
    filler = fill(small_disk)
    with pytest.raises(StoreError):
        Store(small_disk / "state")
    filler.unlink()
    Store(small_disk / "state").close()
