"""What is read of an archive is what the store has that wrote it."""

import gzip
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnsvigil.engines.archive import ArchiveReader, archive_files, is_archive
from dnsvigil.engines.tuples import TupleReader
from dnsvigil.records import TUPLE
from dnsvigil.store.domains import merged_hours
from dnsvigil.store.store import Store
from exporters.ingest.test_archive import SAMPLES, Archiving, at, files
from exporters.ingest.test_passive_dns import HOUR, PDNS, row
from exporters.zeeklogs import tsv

KEYS = [name for name in TUPLE if name != "sensors"]


@pytest.fixture(scope="module")
def archiving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archiving]:
    """An archive with the lab's log, and with tuples and domains that several files have."""
    folder = tmp_path_factory.mktemp("archive")
    lines = gzip.decompress((SAMPLES / "dns.log.gz").read_bytes()).splitlines(keepends=True)
    with Store(folder / "state") as store, closing(Archiving(store, folder / "archive")) as archiving:
        archiving.take("dns", *(line for line in lines if not line.startswith(b"#")), sensor="ns1")
        for hour in range(3):
            ttl = {"ttl_min": 60 - hour, "ttl_max": 70 + hour, "bailiwick": "com"}
            archiving.take(PDNS, row(hour * HOUR, rrname="a.com", count=hour + 1, **ttl), sensor=f"ns{hour}")
            addresses = {"rrtype": "AAAA", "rdata": "::ffff:192.0.2.1", "bailiwick": "-"}
            archiving.take(PDNS, row(hour * HOUR, rrname="six.com", **addresses), sensor=f"ns{hour}")
            archiving.take("dns", tsv(ts=at(0), query=f"h{hour}.a.com"), sensor=f"ns{hour}")
        archiving.intake.flush()
        yield archiving


def counted(tables: Iterator[pa.Table], columns: list[str]) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(each.values()) for table in tables for each in table.select(columns).to_pylist())


def test_tuples_are_those_of_the_store(archiving: Archiving) -> None:
    found = counted(ArchiveReader(archive_files(archiving.root)).tuples(), KEYS)
    assert found == counted(TupleReader(lambda: archiving.store).encoded("names"), KEYS)
    assert found.total() > 100
    both = counted(ArchiveReader(2 * archive_files(archiving.root)).tuples(), ["nkey"])
    assert both == Counter(key for key, *_ in found.elements() for key in [(key,)])


def test_summaries_of_domains_are_those_of_the_store(archiving: Archiving) -> None:
    hours = pa.concat_tables(ArchiveReader(archive_files(archiving.root)).hours())
    own = "SELECT * REPLACE (len(clients) AS clients)"  # their hashes have a key in the archive
    with duckdb.connect() as connection:
        connection.register("hours", hours)
        found = connection.execute(f"{own} FROM ({merged_hours('hours')}) ORDER BY ALL").fetchall()
    assert found == archiving.store.rows(f"{own} FROM ({merged_hours('domain_hours')}) ORDER BY ALL")
    assert len(found) > 20


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_read(archiving: Archiving, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    for path in files(archiving.root):
        to = root / path.relative_to(archiving.root)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(path.read_bytes()[: -20 if "sensor=ns1" in str(path) and "tuples" in str(path) else None])
    reader = ArchiveReader(archive_files(root))
    names = {name for (name,) in counted(reader.tuples(), ["nkey"])}
    assert "com.six" in names
    assert all("sensor=ns1" in str(path) for path in reader.unreadable)
    assert len(reader.unreadable) >= 1


def test_a_file_that_another_version_has_written_is_named(archiving: Archiving, tmp_path: Path) -> None:
    (path,) = archive_files(archiving.root)[:1]
    old = tmp_path / "domain_hours" / "day=2026-01-31" / "sensor=%2e%2e%2f=" / "old.parquet"
    old.parent.mkdir(parents=True)
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.drop_columns(["known", "names"]), old)
    reader = ArchiveReader([old, path])
    assert sum(map(len, reader.hours())) == len(table)
    assert reader.unreadable == {old: "it lacks known, names, as another version of dnsvigil has written it"}


def test_what_an_archive_is(archiving: Archiving, tmp_path: Path) -> None:
    assert is_archive(archiving.root)
    assert not is_archive(SAMPLES)
    assert not is_archive(tmp_path)
    assert not is_archive(SAMPLES / "dns.log.gz")
