"""``dnsvigil archive`` with flow files: what the collector makes of them, each flow once, on either engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.cli import archive_on_spark, tasks
from dnsvigil.cli.main import main
from dnsvigil.config.collector import Config, Flows, NetflowSource
from dnsvigil.config.collector import Store as Bounds
from dnsvigil.config.types import Duration
from dnsvigil.ingest.flows import FlowsPart
from dnsvigil.sources.netflow import search_file
from dnsvigil.sources.netflow.flow_file import in_order, is_flow_file
from dnsvigil.sources.netflow.follower import given_file
from dnsvigil.store.archive import Archive
from dnsvigil.store.store import Store
from exporters.flowfiles import MANY, OTHER_RESOLVER, SLOT, OneWay, asking, damage, dialogues, many, write_flows
from exporters.ingest.test_archive import files, read
from exporters.running import write_config
from exporters.zeeklogs import HEADER, START, tsv

pytestmark = pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")

DAY = 86400
YEARS = Duration(20 * 365 * DAY)
BEGIN = START // DAY * DAY + 23 * 3600  # the last hour of a day
ROWS = "SELECT epoch(ts)::BIGINT, sensor, * EXCLUDE (ts, sensor, day) FROM archived ORDER BY ALL"
Run = Callable[..., tuple[str, str]]


def old(path: Path) -> Path:
    """Have a file be one that nobody writes any more."""
    os.utime(path, (START, START))
    return path


def write(folder: Path, number: int, flows: list[OneWay], **options: Any) -> Path:
    return old(write_flows(folder, BEGIN + number * SLOT, flows, **options))


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    """Files of two exporters, up to the next day; some flows have no packets, and one has nothing."""
    folder = tmp_path / "flows"
    odd = [asking("198.51.100.9", packets=0), asking("198.51.100.9", packets=0, bytes=0)]
    for number, slot in enumerate((2, 6, 12)):
        write(folder / "edge", slot, [*dialogues(3 + number), *odd])
        write(folder / "core", slot, dialogues(number, OTHER_RESOLVER), ident="core")
    return folder


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Run:
    """Convert files into the archive; return what is said, and what is logged."""
    config = write_config(tmp_path, archive={"path": str(tmp_path / "archive")})

    def run(*arguments: object, status: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        caplog.clear()
        assert main(["-c", str(config), "archive", *map(str, arguments)]) == status, caplog.text
        return capsys.readouterr().err, "".join(f"{each.getMessage()}\n" for each in caplog.records)

    return run


def collected(folder: Path, *given: Path) -> list[tuple[Any, ...]]:
    """Return the DNS flow records that a collector has of files, where it keeps them for long."""
    config = Config(store=Bounds(retention=YEARS), flows=Flows(retention=YEARS))
    with Store(folder / "collector") as store, closing(FlowsPart(store, config)) as part:
        for path in in_order(given):
            part.ingest(given_file(path, []))
        columns = "epoch(ts)::BIGINT, exporter, * EXCLUDE (ts, exporter, amplification, file)"
        return [tuple(row) for row in store.rows(f"SELECT {columns} FROM dns_flows ORDER BY ALL")]


def flow_files(folder: Path) -> list[Path]:
    return [path for path in files(folder) if is_flow_file(path)]


def test_each_flow_is_archived_once_whatever_its_file_is_called(tmp_path: Path, flows: Path, run: Run) -> None:
    root = tmp_path / "archive"
    given = flow_files(flows)
    expected = collected(tmp_path, *given)
    assert run(flows) == ("33 flows read; 3 flows skipped (3 no_traffic)\n", "")
    assert read(root, "dns_flows", ROWS) == expected
    assert len(expected) == 18
    # The day that is over is one file for each exporter.
    places = sorted(path.relative_to(root).parts[:3] for path in files(root / "dns_flows"))
    days = ("day=2023-11-14", "day=2023-11-15")
    assert places == [("dns_flows", day, f"sensor={exporter}") for day in days for exporter in ("core", "edge")]
    # nfdump's own sums
    asked = [flow for path in given for flow in search_file(path, "dst port 53 and bytes > 0", aggregate=["dstport"])]
    sums = read(root, "dns_flows", "SELECT sum(query_flows)::BIGINT, sum(query_bytes)::BIGINT FROM archived")
    assert sums == [(sum(flow["flows"] for flow in asked), sum(flow["bytes"] for flow in asked))]
    # Again, under other names, in another form, and beside what is new
    before = files(root)
    shutil.copy(given[0], tmp_path / "flows" / "copy")
    given[1].rename(tmp_path / given[1].name)
    subprocess.run(["nfdump", "-J2", "-r", given[2]], check=True, capture_output=True, timeout=30)
    assert run(flows, tmp_path / given[1].name) == ("0 flows read; 7 files were already read\n", "")
    assert files(root) == before
    new = [write(flows / "edge", slot, dialogues(2)) for slot in (-3 * 365 * DAY // SLOT, 0)]
    assert run(flows)[0] == "8 flows read; 6 files were already read\n"
    (tmp_path / "collector" / "dnsvigil.duckdb").unlink()
    assert read(root, "dns_flows", ROWS) == collected(tmp_path, *new, *given[2:], tmp_path / given[1].name)
    assert len(files(root / "dns_flows")) == 5  # merged


def test_real_files_have_the_rows_of_a_collector_and_the_sums_of_nfdump(
    tmp_path: Path, shared_data: Path, run: Run
) -> None:
    folder = shared_data / "netflow" / "chrispassas"
    said, logged = run(folder)
    assert said == "103,028 flows read\n"
    assert f"{folder}/testdata/nfcapd-corrupt: nfdump: " in logged
    assert logged.count("; the readable part is counted\n") == 1
    given = flow_files(folder)
    rows = read(tmp_path / "archive", "dns_flows", ROWS)
    assert rows == collected(tmp_path, *given)
    assert len(rows) > 1000
    sums: Counter[str] = Counter()
    for path in given:
        if path.name != "nfcapd-corrupt":
            dns = "(proto udp or proto tcp) and (port 53 or port 853)"
            for flow in search_file(path, dns, aggregate=["proto"]):
                sums.update({name: flow[name] for name in ("flows", "packets", "bytes")})
    counts = ", ".join(f"sum(query_{name} + response_{name})::BIGINT" for name in sums)
    assert read(tmp_path / "archive", "dns_flows", f"SELECT {counts} FROM archived") == [tuple(sums.values())]


def test_what_cannot_be_archived_is_reported_and_all_else_is_read(tmp_path: Path, run: Run) -> None:
    """A file that grew, a copy that is under way, one that is damaged, and one of another time."""
    root = tmp_path / "archive"
    folder = tmp_path / "flows"
    grown = write(folder, 0, dialogues(2))
    copied = write_flows(folder, BEGIN + SLOT, many())
    whole = copied.read_bytes()
    damage(copied)
    said, logged = run(folder, status=1)
    assert said == "4 flows read; 1 path not read\n"
    assert f"{copied} cannot be read: {copied} may still be written: " in logged
    copied.write_bytes(whole)
    write(folder, 0, dialogues(5), name=grown.name)
    odd = write(folder, 2, [*dialogues(1), asking("198.51.100.9", late=-START)])
    damage(spoiled := write(folder, 3, many()))
    old(spoiled)
    for again in range(2):
        said, logged = run(folder, status=1)
        assert f"{grown} has changed since it was archived; what it has more, 6 flows, is not archived\n" in logged
        if not again:
            assert f"{odd}: 1 flow skipped (timestamp: " in logged
            assert f"{spoiled}: nfdump: " in logged
            assert "; the readable part is counted\n" in logged
            before = read(root, "dns_flows", ROWS)
    assert said == "0 flows read; 6 flows skipped (6 changed); 3 files were already read; 1 path not read\n"
    assert read(root, "dns_flows", ROWS) == before
    per_slot = (
        "SELECT epoch(ts)::BIGINT, sum(query_flows)::BIGINT, sum(response_flows)::BIGINT FROM archived GROUP BY 1"
    )
    *found, (slot, queries, _) = read(root, "dns_flows", f"{per_slot} ORDER BY 1")
    assert found == [(BEGIN, 2, 2), (BEGIN + SLOT, MANY, 0), (BEGIN + 2 * SLOT, 1, 1)]
    assert slot == BEGIN + 3 * SLOT
    assert 0 < queries < MANY


def write_log(path: Path, name: str) -> Path:
    path.write_bytes(HEADER + tsv(query=name))
    return old(path)


def test_logs_beside_flow_files_are_read_and_other_commands_pass_over_flows(
    tmp_path: Path, flows: Path, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "archive"
    write_log(flows / "dns.log", "www.shop.example")
    (tmp_path / "empty").mkdir()
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path / "empty"))
        said, logged = run(flows, status=1)
    assert said == "1 record read, 0 skipped; 0 flows read; 6 paths not read\n"
    assert logged == (
        "flow files are not read, as that takes nfdump: "
        f"nfdump is in no folder of PATH ({tmp_path / 'empty'}). Is it installed?\n"
    )
    said, logged = run(flows)
    assert said.startswith("0 records read, 0 skipped; 33 flows read; ")
    assert len(read(root, "domain_hours")) == 1
    assert len(read(root, "dns_flows")) == 18
    caplog.clear()
    config = str(tmp_path / "dnsvigil.yml")
    shutil.copytree(root / "dns_flows", tmp_path / "flows-alone" / "dns_flows")
    for place in (root, tmp_path / "flows-alone"):
        assert main(["-c", config, "domains", "features", str(place)]) == 0
    assert main(["-c", config, "pdns", "compact", "--output", str(tmp_path / "history"), str(root)]) == 0
    assert caplog.text == ""


def test_a_file_has_the_exporter_that_the_configuration_names(tmp_path: Path) -> None:
    path = write(tmp_path / "live" / "edge" / "2023" / "11", 0, dialogues(1), ident="none")

    def exporter(*sources: NetflowSource) -> tuple[str | None, str]:
        found = given_file(path, sources)
        return found.flow_exporter, found.folder

    assert exporter() == (None, "edge")
    assert exporter(NetflowSource(tmp_path / "other", "no"), NetflowSource(tmp_path / "live", "named")) == (
        "named",
        "edge",
    )
    assert exporter(NetflowSource(tmp_path / "l*" / "edge")) == (None, "live")
    assert exporter(NetflowSource(path, "no")) == (None, "edge")


# On Spark, but in this process


class _Killed(BaseException):
    """As a signal that ends the process."""


class _Here:
    """Runs tasks where the command runs, one after the other, and is killed after some."""

    slots = 1

    def __init__(self, lives: int) -> None:
        self.lives = lives

    def each(self, inputs: list[Any], function: Callable[[Any], Any]) -> list[Any]:
        found = []
        for task in inputs:
            found.append(function(task))
            self.dies()
        return found

    def dies(self) -> None:
        self.lives -= 1
        if not self.lives:
            raise _Killed


def test_killed_at_each_instant_tasks_and_one_process_go_on_from_each_other(
    tmp_path: Path, flows: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in two forms, and under two names, is read by one task; what is known in another name, by none."""
    root = tmp_path / "archive"
    given = flow_files(flows)
    expected = collected(tmp_path, *given)
    (flows / "packed").mkdir()
    packed = Path(shutil.copy(given[0], flows / "packed" / given[0].name))
    subprocess.run(["nfdump", "-J2", "-r", packed], check=True, capture_output=True, timeout=30)
    shutil.copy(given[4], flows / "copy")
    monkeypatch.setattr(tasks, "_PORTION", 1)  # a task for each group
    monkeypatch.setattr(archive_on_spark, "_WAVE", 1)
    flush = Archive.flush
    lives = 1

    def flushing(archive: Archive) -> None:
        here.dies()
        flush(archive)
        here.dies()

    @contextmanager
    def cluster(_: Config) -> Iterator[_Here]:
        with monkeypatch.context() as patch:
            patch.setattr(Archive, "flush", flushing)
            yield here

    monkeypatch.setattr(archive_on_spark, "cluster_of", cluster)
    here = _Here(-1)
    said, _ = run("--engine", "spark", "--output", tmp_path / "undisturbed", flows)
    assert said == "33 flows read; 3 flows skipped (3 no_traffic); 2 files were already read\n"
    assert read(tmp_path / "undisturbed", "dns_flows", ROWS) == expected
    with monkeypatch.context() as patch, pytest.raises(_Killed):  # in one process, with rows that wait
        patch.setattr("dnsvigil.ingest.archived_flows.ArchivedFlows.flush", lambda _: _Here(1).dies())
        run(given[5])
    while True:
        here = _Here(lives)
        try:
            run("--engine", "spark", flows)
        except _Killed:
            lives += 1
        else:
            break
    assert lives > 10
    assert read(root, "dns_flows", ROWS) == expected
    assert {path.suffix for path in files(root / "dns_flows")} == {".parquet"}
    before = files(root)
    here = _Here(-1)
    assert run("--engine", "spark", flows)[0] == "0 flows read; 8 files were already read\n"
    subprocess.run(["nfdump", "-J1", "-r", packed], check=True, capture_output=True, timeout=30)
    assert run("--engine", "spark", packed)[0] == f"0 flows read; {packed.name} was already read\n"
    assert files(root) == before
    grown = write(flows / "edge", 2, dialogues(9))
    said, logged = run("--engine", "spark", grown, status=1)
    assert said == "0 flows read; 11 flows skipped (11 changed); 1 path not read\n"
    assert f"{grown} has changed since it was archived; " in logged
    assert files(root) == before
    grown.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    write_log(flows / "dns.log", "www.example")
    said, logged = run("--engine", "spark", flows, write(tmp_path / "new", 3, dialogues(1)), status=1)
    assert said == "1 record read, 0 skipped; 0 flows read; 7 files were already read; 1 path not read\n"
    (line,) = set(logged.splitlines())
    assert line.startswith(f"worker {os.uname().nodename}: flow files are not read, as that takes nfdump: nfdump is")
