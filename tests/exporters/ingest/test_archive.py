"""The archive: what other engines read in it is what was ingested, once, whatever happens."""

import gzip
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from dnsvigil.cli.ingest import ingest
from dnsvigil.config.collector import Archive as Bounds
from dnsvigil.config.collector import Config
from dnsvigil.config.types import Duration, Size
from dnsvigil.ingest import archive
from dnsvigil.ingest.archive import ArchivePart
from dnsvigil.records import TRANSACTION
from dnsvigil.store.archive import Archive, partition_value
from dnsvigil.store.archive_file import SCHEMAS
from dnsvigil.store.passive_dns import PassiveDns
from dnsvigil.store.set_aside import entries
from dnsvigil.store.store import Store, StoreError
from exporters.flowfiles import SLOT, dialogues, write_flows
from exporters.ingest.taking import Taking
from exporters.ingest.test_passive_dns import DAY, HOUR, PDNS, row
from exporters.kills import killed_until_done
from exporters.tuples import all_tuples
from exporters.zeeklogs import HEADER, START, Taker, package_header, tsv

SAMPLES = Path(__file__).parents[2] / "lab" / "samples"
_CONVERT = """
import sys
from dnsvigil.cli.main import main
from dnsvigil.ingest import archive
archive.MAX_WAITING = 100
sys.exit(main(["--log-level", "error", "archive", "--transactions", "--output", sys.argv[1], sys.argv[2]]))
"""
_OF_TUPLES = """
    SELECT rrname, rrtype, rdata, bailiwick, epoch(min(time_first))::BIGINT AS time_first,
        epoch(max(time_last))::BIGINT AS time_last, sum(count)::BIGINT AS count, min(ttl_min) AS ttl_min,
        max(ttl_max) AS ttl_max
    FROM archived GROUP BY ALL ORDER BY ALL
"""


START_TIME = datetime(2023, 11, 14, 22, 13, 20)


def read(root: Path, table: str, query: str = "FROM archived ORDER BY ALL") -> list[tuple[Any, ...]]:
    """Return the rows of a query on a table of the archive, as DuckDB reads it."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        files = f"read_parquet('{root}/{table}/*/*/*.parquet', hive_types_autocast = false)"
        connection.execute(f"CREATE VIEW archived AS FROM {files}")
        return [tuple(row.values()) for row in connection.execute(query).to_arrow_table().to_pylist()]


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def at(seconds: float) -> str:
    return f"{START + seconds:.6f}"


class Archiving(Taking):
    """An intake with an archive."""

    def __init__(self, store: Store, root: Path, **bounds: Any) -> None:
        super().__init__(store, Config(archive=Bounds(**{"path": root, "transactions": True} | bounds)))
        self.root = root

    def take(self, path: str, *lines: bytes, sensor: str = "zeek") -> None:
        """Take lines, and have the rounds that follow write what is due."""
        super().take(path, *lines, sensor=sensor)
        while self.part._due:
            with self.store.transaction():
                self.part.advance(datetime.min, START_TIME)
            self.part.evaluate(START_TIME)

    @property
    def part(self) -> ArchivePart:
        return next(each for each in self.intake._parts if isinstance(each, ArchivePart))

    def pass_to(self, seconds: float) -> None:
        """Have event time move on, by tuples alone."""
        self.take(PDNS, *(row(seconds, rrname="tick.example") for _ in range(60)))

    def merged(self) -> None:
        """Wait for what is being merged, and have a round take it."""
        self.part._merger.wait()
        self.take(PDNS, row(0, rrname="late.example"))


@pytest.fixture
def archiving(tmp_path: Path) -> Iterator[Archiving]:
    with Store(tmp_path / "state") as store, closing(Archiving(store, tmp_path / "archive")) as archiving:
        yield archiving


def test_other_engines_read_what_was_ingested(archiving: Archiving, taker: Taker) -> None:
    lines = gzip.decompress((SAMPLES / "dns.log.gz").read_bytes()).splitlines(keepends=True)
    records = [line for line in lines if not line.startswith(b"#")]
    rows = taker.take(HEADER + b"".join(records)).rows
    for number in range(0, len(records), 3000):
        archiving.take("dns", *records[number : number + 3000], sensor="ns1")
    archiving.intake.flush()
    columns = [name for name in TRANSACTION if name != "sensor"]
    selected = ", ".join("ts AT TIME ZONE 'UTC'" if name == "ts" else name for name in columns)
    found = read(archiving.root, "transactions", f"SELECT {selected} FROM archived")
    place = list(TRANSACTION).index("sensor")
    expected = [(*row[:place], *row[place + 1 :]) for row in rows]
    assert len(found) == len(expected) > 9000
    assert Counter(map(repr, found)) == Counter(map(repr, expected))
    # The same by Arrow
    table = ds.dataset(archiving.root / "transactions", partitioning="hive").to_table()
    assert table.num_rows == len(expected)
    assert set(table["sensor"].to_pylist()) == {"ns1"}
    assert table.drop_columns(["day", "sensor"]).schema.remove_metadata() == SCHEMAS["transactions"]
    assert Counter(table["qname"].to_pylist()) == Counter(row[list(TRANSACTION).index("qname")] for row in rows)
    # What was made of them
    own = archiving.store.rows(
        "SELECT * REPLACE (len(clients) AS clients) FROM domain_hours_merged ORDER BY domain, hour"
    )
    times = "hour AT TIME ZONE 'UTC', queries, known, failed, nxdomain, first_seen AT TIME ZONE 'UTC',"
    times += " last_seen AT TIME ZONE 'UTC', len(clients), names"
    assert read(archiving.root, "domain_hours", f"SELECT domain, {times} FROM archived ORDER BY 1, 2") == own
    tuples = [tuple(each.values())[:9] for each in all_tuples(archiving.store, negative=True)]
    assert sorted(read(archiving.root, "tuples", _OF_TUPLES), key=repr) == sorted(tuples, key=repr)
    assert archiving.value("dnsvigil_archive_rows_total", table="transactions") == len(expected)
    assert archiving.value("dnsvigil_archive_waiting_rows", table="transactions") == 0


SENSORS = ["ns1", "", "../../evil", "a b=c%2F\x1b", "🐦", "x" * 300, "__HIVE_DEFAULT_PARTITION__", "..", "2026", "a'b"]


def test_rows_lie_below_their_day_and_sensor_whatever_that_is_called(archiving: Archiving) -> None:
    for number, sensor in enumerate(SENSORS):
        archiving.take("dns", tsv(ts=at(0), query=f"h{number}.example"), tsv(ts=at(DAY), answers="-"), sensor=sensor)
        archiving.take(PDNS, row(0, rrname=f"p{number}.example"), sensor=sensor)
    archiving.intake.flush()
    folders = {path.relative_to(archiving.root).parts[:-1] for path in files(archiving.root)}
    days = {"day=2023-11-14", "day=2023-11-15"}
    assert {folder[1] for folder in folders} == days
    assert all(len(folder) == 3 and len(folder[2]) < 255 for folder in folders)
    assert all(part.isascii() and part.isprintable() and "'" not in part for folder in folders for part in folder)
    for table, column in (("transactions", "qname"), ("tuples", "rrname")):
        letter = "h" if column == "qname" else "p"
        query = f"SELECT {column}, sensor FROM archived WHERE {column} SIMILAR TO '{letter}[0-9].example'"
        found = dict(read(archiving.root, table, query))
        for number, sensor in enumerate(SENSORS):
            if len(sensor) < 200:
                assert found[f"{letter}{number}.example"] == (sensor or None), (table, sensor)
        assert len(set(found.values())) == len(SENSORS)
    by_arrow = ds.dataset(archiving.root / "transactions", partitioning="hive").to_table()
    assert {"ns1", "../../evil", "a b=c%2F\x1b", "🐦", ".."} <= set(by_arrow["sensor"].to_pylist())


def test_tuples_of_more_sensors_than_there_are_bits_are_all_there(archiving: Archiving) -> None:
    PassiveDns(archiving.store).sensor_bits([f"s{number:02}" for number in range(70)])
    for number in (0, 62, 63, 69):
        archiving.take(PDNS, row(0, rrname=f"h{number}.example"), sensor=f"s{number:02}")
    archiving.intake.flush()
    sensors = dict(read(archiving.root, "tuples", "SELECT rrname, sensor FROM archived"))
    assert sensors == {"h0.example": "s00", "h62.example": "s62", "h63.example": "s63", "h69.example": "s63"}


def test_files_are_written_by_the_hour_and_merged_once_the_day_is_over(archiving: Archiving) -> None:
    for hour in range(30):
        archiving.take("dns", tsv(ts=at(hour * HOUR), query=f"h{hour}.example"))
    assert archiving.value("dnsvigil_archive_files", table="transactions") > 3
    before = read(archiving.root, "transactions", "SELECT ts, qname, day, sensor FROM archived ORDER BY ALL")
    for _ in range(9):  # three tables and two days
        archiving.merged()
    assert read(archiving.root, "transactions", "SELECT ts, qname, day, sensor FROM archived ORDER BY ALL") == before
    days = Counter(path.parts[-3] for path in files(archiving.root / "transactions"))
    assert (days["day=2023-11-14"], days["day=2023-11-15"]) == (1, 1)
    assert days["day=2023-11-16"] > 1
    archiving.pass_to(10 * DAY)
    archiving.intake.flush()
    days = Counter(path.parts[-3] for path in files(archiving.root / "transactions"))
    assert days == {f"day=2023-11-{day}": 1 for day in (14, 15, 16)}
    assert {path.suffix for path in files(archiving.root)} == {".parquet"}


def test_a_round_writes_one_table(tmp_path: Path) -> None:
    config = Config(archive=Bounds(path=tmp_path / "archive", transactions=True))
    with Store(tmp_path / "state") as store, closing(Taking(store, config)) as taking:
        written = []
        for seconds in (0, HOUR, HOUR + 1, HOUR + 2, HOUR + 3):
            taking.take("dns", tsv(ts=at(seconds), query="www.example"))
            written.append(len(files(tmp_path / "archive")))
        assert written == [0, 1, 2, 3, 3]


def test_the_oldest_days_are_dropped_and_counted(tmp_path: Path) -> None:
    with Store(tmp_path / "state") as store:
        bounds: dict[str, Any] = {"retention": Duration(3 * DAY)}
        with closing(Archiving(store, tmp_path / "archive", **bounds)) as archiving:
            for day in range(6):
                archiving.take("dns", *(tsv(ts=at(day * DAY + i), answers="-") for i in range(day + 1)))
            archiving.intake.flush()
            archiving.pass_to(6 * DAY)
            found = read(archiving.root, "transactions", "SELECT day, count(*) FROM archived GROUP BY ALL ORDER BY ALL")
            assert found == [(f"2023-11-{14 + day}", day + 1) for day in (3, 4, 5)]
            assert archiving.value("dnsvigil_archive_dropped_total", table="transactions", reason="age") == 6
        bounds = {"max_size": Size(10**7)}
        with closing(Archiving(store, tmp_path / "archive", **bounds)) as archiving:
            archiving.intake.flush()
            with store.transaction():
                store.rows("UPDATE archive_files SET size = 4e6 WHERE tbl = 'transactions'")
            archiving.pass_to(7 * DAY)
            days = read(archiving.root, "transactions", "SELECT DISTINCT day FROM archived ORDER BY ALL")
            assert days == [("2023-11-18",), ("2023-11-19",)]
            assert archiving.value("dnsvigil_archive_dropped_total", table="transactions", reason="size") == 4


def test_what_a_round_writes_is_merged_once_it_has_its_name(archiving: Archiving) -> None:
    for hour in range(2, 6):
        archiving.take("dns", tsv(ts=at(hour * HOUR), query=f"h{hour}.example"), sensor="ns1")
    archiving.take("dns", tsv(ts=at(5 * HOUR + 1), query="waits.example"), sensor="ns1")
    part = archiving.part
    with archiving.store.transaction():
        part._empty("domain_hours")
        assert part._merger.start(date(2023, 11, 20))
        part._merger.wait()
        found = part._merger.take()
    assert found is not None
    assert found.unreadable is None


def test_what_is_dropped_during_a_merge_does_not_come_back(archiving: Archiving) -> None:
    for hour in range(2, 6):
        archiving.take("dns", tsv(ts=at(hour * HOUR), query=f"h{hour}.example"))
    part = archiving.part
    assert part._merger.start(date(2023, 11, 20))
    part._merger.wait()
    with archiving.store.transaction():
        part._archive.remove(part._archive.files())
    archiving.pass_to(6 * HOUR)
    archiving.pass_to(6 * HOUR + 1)
    assert part._merger.take() is None
    assert files(archiving.root / "domain_hours") == []


def test_a_file_that_cannot_be_read_is_set_aside_and_the_others_are_merged(archiving: Archiving) -> None:
    for hour in range(4):
        archiving.take("dns", *(tsv(ts=at(2 * HOUR + hour * HOUR), query=f"h{hour}.example") for _ in range(2**hour)))
    path = next(path for path in files(archiving.root / "transactions") if pq.read_metadata(path).num_rows == 4)
    path.write_bytes(path.read_bytes()[:-20])
    archiving.pass_to(5 * DAY)
    archiving.intake.flush()
    assert path.with_name(f".{path.name}.unreadable").exists()
    counts = read(archiving.root, "transactions", "SELECT qname, count(*) FROM archived GROUP BY ALL ORDER BY ALL")
    assert counts == [("h0.example", 1), ("h1.example", 2), ("h3.example", 8)]
    assert archiving.value("dnsvigil_archive_dropped_total", table="transactions", reason="unreadable") == 4
    archiving.store.set_aside.flush()
    assert [(each.kind, each.subject) for each in entries(archiving.store.rows)] == [("archive", str(path))]


def test_what_a_commit_has_listed_is_renamed_and_what_it_replaced_removed_after_a_kill(
    archiving: Archiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in range(3):
        archiving.take("dns", tsv(ts=at(-DAY + hour * HOUR), query=f"h{hour}.example"))
    names = read(archiving.root, "transactions", "SELECT qname FROM archived ORDER BY ALL")
    monkeypatch.setattr(Archive, "flush", lambda _: None)  # killed before it
    archiving.intake.flush()
    orphan = (
        archiving.root / "tuples" / "day=2023-11-14" / "sensor=x" / f".{archiving.part._archive.writer}-1.parquet.new"
    )
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_bytes(b"half")
    other = orphan.with_name("other-1.parquet.new")
    other.write_bytes(b"half")
    assert read(archiving.root, "transactions", "SELECT qname FROM archived ORDER BY ALL") == names
    monkeypatch.undo()
    archiving.restart()
    found = read(archiving.root, "transactions", "SELECT qname FROM archived ORDER BY ALL")
    assert found == [("h0.example",), ("h1.example",), ("h2.example",)]
    assert not orphan.exists()
    assert other.exists()  # of another store
    assert [path for path in files(archiving.root) if path.suffix != ".parquet"] == [other]


@pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")
def test_killed_at_thirty_instants_the_archive_is_that_of_an_undisturbed_run(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    dice = random.Random(3)
    for hour in range(40):
        lines = [
            tsv(ts=at(hour * HOUR + i), query=f"h{dice.randrange(300)}.example", answers=f"192.0.2.{dice.randrange(9)}")
            for i in range(150)
        ]
        (logs / f"dns.{hour:02}.log").write_bytes(HEADER + b"".join(lines))
        rows = [row(hour * HOUR + i, rrname=f"p{dice.randrange(50)}.example", count=i) for i in range(50)]
        (logs / f"pdns.{hour:02}.log").write_bytes(package_header(PDNS) + b"".join(rows))
    for number in range(20):
        write_flows(logs, START + number * SLOT, dialogues(30))
    command = [sys.executable, "-c", _CONVERT]
    begin = time.monotonic()
    subprocess.run([*command, tmp_path / "undisturbed", logs], check=True)
    whole = time.monotonic() - begin
    kills = killed_until_done([*command, tmp_path / "killed", logs], whole, dice)
    assert kills >= 3
    hours = "SELECT domain, hour, sum(queries), sum(failed), min(first_seen), max(last_seen) FROM archived GROUP BY ALL"
    queries = {
        "transactions": "FROM archived ORDER BY ALL",
        "tuples": _OF_TUPLES,
        "domain_hours": f"{hours} ORDER BY ALL",
        "dns_flows": "FROM archived ORDER BY ALL",
    }
    for table, query in queries.items():
        assert read(tmp_path / "killed", table, query) == read(tmp_path / "undisturbed", table, query)
    assert len(read(tmp_path / "killed", "transactions")) == 40 * 150
    assert len(read(tmp_path / "killed", "dns_flows")) == 20 * 30
    leftovers = [path for path in files(tmp_path / "killed") if path.suffix == ".new"]
    assert leftovers == []


def test_a_full_disk_is_counted_and_ingestion_goes_on(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    filler = small_disk / "filler"
    with Store(tmp_path / "state") as store, closing(Archiving(store, small_disk / "archive")) as archiving:
        archiving.take("dns", tsv(ts=at(0), query="first.example"))
        archiving.take("dns", tsv(ts=at(HOUR), query="second.example"))
        with filler.open("wb", buffering=0) as stream, suppress(OSError):
            while stream.write(b"\0" * 4096):
                pass
        monkeypatch.setattr(archive, "MAX_KEPT", 5)
        archiving.take("dns", tsv(ts=at(2 * HOUR), query="third.example"))
        archiving.take("dns", *(tsv(ts=at(3 * HOUR + i), query="fourth.example") for i in range(6)))
        assert caplog.text.count("cannot be written: No space left on device") == 1
        assert archiving.value("dnsvigil_archive_failures_total") >= 1
        assert archiving.value("dnsvigil_archive_dropped_total", table="transactions", reason="unwritable") == 7
        assert archiving.value("dnsvigil_records_ingested_total", source="zeek") == 9
        assert archiving.value("dnsvigil_archive_waiting_rows", table="domain_hours") > 0
        filler.unlink()
        monkeypatch.setattr(archiving.part, "_retry", 0.0)
        archiving.take("dns", tsv(ts=at(4 * HOUR), query="fifth.example"))
        names = read(archiving.root, "transactions", "SELECT qname FROM archived ORDER BY ts")
        assert [name for (name,) in names] == ["first.example", "second.example", "fifth.example"]
        hours = read(archiving.root, "domain_hours", "SELECT domain, sum(queries) FROM archived GROUP BY ALL")
        assert sum(queries for _, queries in hours) == 10
        archiving.restart()


def test_a_command_ends_where_the_disk_is_full_and_goes_on_when_it_is_not(tmp_path: Path, small_disk: Path) -> None:
    log, root, filler = tmp_path / "dns.log", small_disk / "archive", small_disk / "filler"
    log.write_bytes(HEADER + tsv(ts=at(0), query="first.example") + tsv(ts=at(HOUR), query="second.example"))
    config = Config(archive=Bounds(path=root, transactions=True))
    root.mkdir()
    with filler.open("wb", buffering=0) as stream, suppress(OSError):
        while stream.write(b"\0" * 4096):
            pass
    with pytest.raises(StoreError, match=f"{root} cannot be written: No space left on device"):
        ingest([log], config, tmp_path / "state", archive=True)
    filler.unlink()
    assert ingest([log], config, tmp_path / "state", archive=True)
    names = read(root, "transactions", "SELECT qname FROM archived ORDER BY ts")
    assert names == [("first.example",), ("second.example",)]


def test_values_in_paths() -> None:
    assert partition_value("ns1.example-a_b~c") == "ns1.example-a_b~c"
    assert partition_value("a/b") == "a%2Fb"
    long = [partition_value(text * 300) for text in ("ü", "ä", "x")]
    assert len(set(long)) == 3
    assert all(len(value) <= 220 for value in long)
