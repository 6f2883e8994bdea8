"""``--engine spark``: what one process finds, whatever happens to a worker."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest

from dnsvigil.cli import domain_tables
from dnsvigil.cli.errors import CommandError
from dnsvigil.cli.main import main
from dnsvigil.learning.training import Lessons
from dnsvigil.store.domains import merged_hours
from exporters.features.test_domain_features import SAMPLES
from exporters.flowfiles import SLOT, dialogues, write_flows
from exporters.ingest.test_passive_dns import PDNS, row
from exporters.running import write_config
from exporters.small_disk import mounted
from exporters.standalone_spark import Standalone, home, standalone
from exporters.zeeklogs import HEADER, START, package_header, tsv

LOGS = 6
Rows = dict[str, dict[str, Any]]


LOCAL = ("--engine", "spark", "--master", "local[1]")  # without the JVMs of a cluster


@pytest.fixture(scope="module", autouse=True)
def _quick_start() -> Iterator[None]:
    home()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")  # short runs are not worth the best machine code
        yield


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    with standalone(tmp_path_factory.mktemp("spark")) as found:
        yield found


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """The lab's log in hours, one of them twice; tuples of the Zeek package; and what cannot be read, or not wholly."""
    folder = tmp_path / "logs"
    folder.mkdir()
    lines = gzip.decompress((SAMPLES / "dns.log.gz").read_bytes()).splitlines(keepends=True)
    header = b"".join(line for line in lines if line.startswith(b"#"))
    records = [line for line in lines if not line.startswith(b"#")]
    for number in range(LOGS):
        part = records[number * len(records) // LOGS : (number + 1) * len(records) // LOGS]
        (folder / f"dns.{number}.log").write_bytes(header + b"".join(part))
    (folder / "dns.copy.log.gz").write_bytes(gzip.compress((folder / "dns.0.log").read_bytes()))
    rows = [row(0, rrname="shop.example", rdata=f"192.0.2.{n}", ttl_max=60 + n) for n in range(9)]
    newest = max(float(line.split(b"\t")[0]) for line in records)
    rows.append(row(0, rrname="www.long.example", rdata="192.0.2.1", time_last=newest))
    (folder / f"{PDNS}.log").write_bytes(package_header(PDNS) + b"".join(rows))
    (folder / "dns.broken.log").write_bytes(HEADER + 3 * b"no record\n")
    torn = bytearray(
        gzip.compress(HEADER + b"".join(tsv(uid=f"C{n}", query=f"{n}.torn.example") for n in range(20_000)))
    )
    torn[len(torn) // 2 :] = b"?" * 99
    (folder / "dns.torn.log.gz").write_bytes(torn)
    (folder / "dns.odd.log").write_bytes(HEADER + b"no record\n" + tsv(query="odd.example"))
    for path in folder.iterdir():
        os.utime(path, (START, START))  # nobody writes them any more
    return folder


Ask = Callable[..., tuple[int, Rows, str, set[str]]]


@pytest.fixture
def ask(tmp_path: Path, capsys: Any, caplog: Any) -> Ask:
    """Return the features that an engine prints, its exit status, what it says and what it logs."""
    table = tmp_path / "asn.csv"
    table.write_text("192.0.2.0,192.0.2.255,64500,One\n")
    key = tmp_path / "key"
    key.write_text("k" * 32)
    archive = {"site": "ams", "pseudonym_key_file": str(key)}
    config = write_config(tmp_path, domains={"networks": [str(table)]}, archive=archive)

    def ask(*arguments: object) -> tuple[int, Rows, str, set[str]]:
        capsys.readouterr()
        caplog.clear()
        status = main(["-c", str(config), "domains", "features", "--json", *map(str, arguments)])
        out, err = capsys.readouterr()
        found = {row.pop("domain"): row for row in json.loads(out)} if out else {}
        said = {f"{each.levelname} {each.getMessage()}" for each in caplog.records if each.name.startswith("dnsvigil")}
        return status, found, err, said

    return ask


def _below(process: psutil.Process) -> list[psutil.Process]:
    return process.children(recursive=True)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def same(found: tuple[int, Rows, str, set[str]], expected: tuple[int, Rows, str, set[str]]) -> None:
    assert found[0] == expected[0]
    assert found[2:] == expected[2:]
    times = ("first_seen", "last_seen")
    assert [*found[1]] == [*expected[1]]
    for domain, features in expected[1].items():
        assert [found[1][domain].pop(name) for name in times] == [features.pop(name) for name in times]
        for name, value in features.items():
            close = pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
            assert found[1][domain][name] == close, (domain, name)
            assert type(found[1][domain][name]) is type(value), (domain, name)


def test_a_cluster_finds_in_logs_what_one_process_finds_also_where_a_worker_is_killed(
    cluster: Standalone, ask: Ask, logs: Path
) -> None:
    expected = ask(logs)
    assert {"shop.example", "odd.example"} < expected[1].keys()
    assert expected[0] == 1
    assert any("dns.broken.log: 3 records skipped" in text for text in expected[3])
    assert any("dns.odd.log: 1 record skipped (1 columns" in text for text in expected[3])
    assert any("dns.torn.log.gz: 1 record skipped (1 truncated" in text for text in expected[3])
    killed = psutil.Process(cluster.workers[0].pid)

    def kill() -> None:
        """End a worker and all that it has started, as soon as a task of it runs."""
        while not any("pyspark.daemon" in command for command in map(_command, _below(killed))):
            time.sleep(0.05)
        for each in [killed, *_below(killed)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    same(ask("--engine", "spark", "--master", cluster.master, logs), expected)
    killer.join(1)
    assert not killer.is_alive()


def test_real_logs_give_the_same(shared_data: Path, ask: Ask) -> None:
    logs = [shared_data / "zeek-logs" / name for name in ("rita-missing-host", "from-pcap/knot-live")]
    same(ask(*LOCAL, *logs), ask(*logs))


def sketches(root: Path) -> list[Any]:
    """Return all that an archive has of domains, with the pseudonyms of clients."""
    with duckdb.connect() as connection:
        hours = f"read_parquet('{root}/domain_hours/site=ams/*/*/*.parquet')"
        query = f"FROM ({merged_hours(hours, 'client_key')}) ORDER BY domain, hour"
        return connection.execute(
            f"SELECT * EXCLUDE (hour, first_seen, last_seen), epoch(COLUMNS('hour|_seen')) {query}"
        ).fetchall()


def dns_flows(root: Path) -> list[Any]:
    """Return all that an archive has of flows."""
    with duckdb.connect() as connection:
        rows = f"read_parquet('{root}/dns_flows/site=ams/*/*/*.parquet')"
        return connection.execute(f"SELECT epoch(ts), * EXCLUDE ts FROM {rows} ORDER BY ALL").fetchall()


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    """Flow files, one of them in two forms."""
    if not shutil.which("nfdump"):
        pytest.skip("needs nfdump")
    folder = tmp_path / "flows"
    written = [write_flows(folder, START + number * SLOT, dialogues(9 + number)) for number in range(3)]
    (folder / "packed").mkdir()
    packed = shutil.copy(written[0], folder / "packed")
    subprocess.run(["nfdump", "-J2", "-r", packed], check=True, capture_output=True, timeout=30)
    return folder


def test_archives_and_groups_are_the_same(ask: Ask, logs: Path, flows: Path, capsys: Any, caplog: Any) -> None:
    tmp_path = logs.parent
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"

    def convert(root: Path, *engine: str, status: int = 1) -> str:
        capsys.readouterr()
        given = ["-c", str(tmp_path / "dnsvigil.yml"), "archive", "--output", str(root), *engine]
        assert main([*given, str(logs), str(flows)]) == status
        return str(capsys.readouterr().err)

    said = convert(ours)  # of which one log is broken
    assert convert(theirs, *LOCAL) == said
    assert sketches(theirs) == sketches(ours)
    found, expected = ask(theirs), ask(ours)
    same((*found[:2], expected[2], found[3]), expected)  # but for the number of files
    assert dns_flows(theirs) == dns_flows(ours)
    files = set(theirs.rglob("*.parquet*"))
    left = next(iter(files)).with_name(f"{next(iter(files)).name.partition('-')[0]}-0.parquet.new")
    left.write_bytes(b"of a task that was killed")
    again = convert(theirs, *LOCAL, status=0)
    assert again.startswith("0 records read, 0 skipped; ")
    assert "; 60 flows read; " in said
    assert "; 0 flows read; " in again
    assert set(theirs.rglob("*.parquet*")) == files
    damaged = next(path for path in sorted(files) if "tuples" in path.parts)
    damaged.write_bytes(damaged.read_bytes()[:-9])
    caplog.clear()
    capsys.readouterr()
    call = ["-c", str(tmp_path / "dnsvigil.yml"), "domains", "cluster", "--json", str(theirs)]
    groups = []
    for engine in ((), LOCAL):
        assert main([*call, *engine]) == 1
        groups.append(json.loads(capsys.readouterr().out))
    assert caplog.text.count(damaged.name) == 2
    for domain in groups[1]["domains"]:
        domain["distance"] = pytest.approx(domain["distance"], rel=1e-4)  # of numbers of 32 bits
    assert groups[0]["domains"] == groups[1]["domains"]
    names = [[(each["id"], each["name"], each["domains"]) for each in found["groups"]] for found in groups]
    assert names[0] == names[1]
    assert len(names[0]) > 3


def test_a_killed_call_leaves_an_archive_that_the_next_completes(tmp_path: Path, logs: Path, flows: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 32)
    config = write_config(tmp_path, archive={"site": "ams", "pseudonym_key_file": str(key)})
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "dnsvigil", "-c", config, "archive", logs, flows, "--output"]
    process = subprocess.Popen([*command, killed, *LOCAL])
    while not [*killed.glob("*/*/*/*/.*.new")]:  # a task has left the first, which does not count yet
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert [*killed.rglob("*.parquet")] == []
    assert subprocess.run([*command, killed, *LOCAL], check=False).returncode == 1  # as a log is broken
    assert subprocess.run([*command, whole], check=False).returncode == 1
    assert sketches(killed) == sketches(whole)
    assert rows_of_tuples(killed) == rows_of_tuples(whole)
    assert dns_flows(killed) == dns_flows(whole)


def rows_of_tuples(root: Path) -> list[Any]:
    with duckdb.connect() as connection:
        return connection.execute(
            "SELECT rrname, rrtype, rdata, bailiwick, sum(count), min(epoch(time_first)), max(epoch(time_last)),"
            " bit_or(seen_in)"
            f" FROM read_parquet('{root}/tuples/**/*.parquet') GROUP BY ALL ORDER BY ALL"
        ).fetchall()


def test_passive_dns_of_archives_is_the_same(
    tmp_path: Path, logs: Path, capsys: Any, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, archive = write_config(tmp_path), tmp_path / "archive"
    named = tmp_path / "names"
    named.write_text("*.example\nshop.example\n192.0.2.0/24\nno.such.name\n")

    def run(*arguments: object, status: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        assert main(["-c", str(config), *map(str, arguments)]) == status
        out, err = capsys.readouterr()
        return out, err

    taught: list[list[str]] = []

    def train(lessons: Lessons, *_: Any) -> None:
        taught.append([*lessons.popular])
        raise CommandError("it has learnt enough for a test")

    monkeypatch.setattr("dnsvigil.learning.training.train", train)
    run("archive", "--output", archive, logs, status=1)
    found = []
    for engine in ((), LOCAL):
        state = tmp_path / f"state{len(found)}"
        compact = ("pdns", "compact", "--output", state, *engine, archive)
        said = run(*compact)
        files = {*(state / "passive-dns").iterdir()}
        assert run(*compact) == ("", "0 months compacted, 0 tuples; 2 months had nothing new\n")
        assert {*(state / "passive-dns").iterdir()} == files
        looked = run("--state", state, "pdns", "lookup", "--json", "--bulk", named, *engine)
        hunted = run("--state", state, "pdns", "hunt", "--json", "--file", named, *engine)
        assert main(["--state", str(state), "train", "--output", str(tmp_path / "models"), *engine]) == 1
        found.append((said, looked, hunted, taught.pop()))
    assert found[0] == found[1]
    (_, said), (records, _), (hits, _), lessons = found[1]
    assert lessons == ["long.example"]
    assert said.startswith("2 months compacted, ")
    assert [each["found"] for each in json.loads(hits)] == [True, True, True, False]
    data = [json.loads(line)["rdata"] for line in records.splitlines() if '"shop.example"' in line]
    assert {f"192.0.2.{n}" for n in range(9)} < {*data}
    # What is unreadable is looked at again, and what is new takes the place of what was.
    damaged = min(archive.glob("tuples/*/*/*.parquet"))
    content = damaged.read_bytes()
    damaged.rename(bad := damaged.with_name("bad.parquet"))
    bad.write_bytes(content[:-9])
    for due in ("2 months compacted", "1 month compacted"):
        caplog.clear()
        _, err = run("pdns", "compact", "--output", tmp_path / "state2", archive, status=1)
        assert f"{bad} cannot be read" in caplog.text
        assert due in err
    bad.write_bytes(content)
    run("pdns", "compact", "--output", tmp_path / "state2", archive)
    looked = run("--state", tmp_path / "state2", "pdns", "lookup", "--json", "--bulk", named)
    assert looked == found[0][1]


def test_workers_with_other_versions_are_found_before_the_run(
    cluster: Standalone, ask: Ask, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dnsvigil.engines import spark

    write_config(logs.parent, spark={"properties": {"spark.cores.max": "1"}})
    own = spark.versions()
    monkeypatch.setattr(spark, "versions", lambda: own | {"duckdb": "0.1"})
    status, found, err, _ = ask("--engine", "spark", "--master", cluster.master, logs)
    assert (status, found) == (1, {})
    assert f"has duckdb {own['duckdb']} in place of 0.1" in err


def test_what_is_missing_is_named(ask: Ask, logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home()
    on_spark = ("--engine", "spark", "--master", "spark://127.0.0.1:1")
    status, _, err, _ = ask(*on_spark, logs)
    assert (status, err) == (1, "dnsvigil: there is no Spark master at spark://127.0.0.1:1: Connection refused\n")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert "there is no Java" in ask("--engine", "spark", logs)[2]
    monkeypatch.setitem(__import__("sys").modules, "dnsvigil.engines.spark", None)
    assert "--engine spark needs dnsvigil[spark]" in ask("--engine", "spark", logs)[2]


def test_a_disk_that_is_full_is_named(tmp_path: Path, logs: Path, capsys: Any) -> None:
    home()
    with mounted(tmp_path / "small", 1) as disk:
        config = write_config(tmp_path, spark={"properties": {"spark.local.dir": str(disk)}})
        assert main(["-c", str(config), "domains", "features", "--engine", "spark", "--json", str(logs)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "no space is left on the disk of spark.local.dir" in err


def test_a_master_is_checked(ask: Ask, logs: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        ask("--engine", "spark", "--master", "http://127.0.0.1:1", logs)


def test_portions_keep_copies_together(tmp_path: Path) -> None:
    files = []
    for number, size in enumerate((10, 1, 1, 1, 30, 1, 0)):
        files.append(tmp_path / f"{number}")
        files[-1].write_bytes(b"x" * size)
    groups = [files[:1], files[1:3], files[3:4], files[4:5], files[5:6], files[6:]]
    found = domain_tables.portions(groups, 2)
    assert found == [files[:1], files[1:4], files[4:5], files[5:7]]
    assert domain_tables.portions([], 2) == []
