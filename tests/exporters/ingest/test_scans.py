"""The folder of reports of scans: what is read, once, and what waits."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config, Sources
from dnsvigil.ingest import scans as scans_module
from dnsvigil.ingest.records import INGESTED, SKIPPED
from dnsvigil.ingest.scans import Scans
from dnsvigil.records import utc_now
from dnsvigil.store import scanned_hosts
from dnsvigil.store.store import Store
from exporters.shadowserver import report, row

HOST, OTHER = "198.51.100.7", "198.51.100.8"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "state") as store:
        yield store


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(scans_module, "_LOOK_SECONDS", 0.0)
    folder = tmp_path / "reports" / "2026"
    folder.mkdir(parents=True)
    return folder


def put(folder: Path, *rows: dict[str, str], name: str = "scan_dns.csv", ago: float = 60) -> Path:
    path = report(folder, *rows, name=name)
    os.utime(path, (time.time() - ago,) * 2)
    return path


def scans_of(store: Store, folder: Path) -> Scans:
    return Scans(store, Config(sources=Sources(shadowserver=folder.parent)))


def hosts(store: Store) -> set[str]:
    return {host for (host,) in store.rows("SELECT host FROM scanned_hosts")}


def test_a_report_is_read_once_wherever_it_lies(store: Store, folder: Path) -> None:
    scans = scans_of(store, folder)
    path = put(folder, row(utc_now(), HOST), row("no time", HOST))
    assert scans.step() and hosts(store) == {HOST}
    path.rename(folder / "moved.csv")
    scans_of(store, folder).step()
    assert INGESTED.rows(store.rows) == [("shadowserver", 1)]
    assert SKIPPED.rows(store.rows) == [("shadowserver", "timestamp", 1)]


def test_a_report_that_changes_is_read_again(store: Store, folder: Path) -> None:
    scans = scans_of(store, folder)
    put(folder, row(utc_now(), HOST))
    scans.step()
    put(folder, row(utc_now(), HOST), row(utc_now(), OTHER), ago=30)
    scans.step()
    assert hosts(store) == {HOST, OTHER}


def test_what_is_still_written_waits(store: Store, folder: Path) -> None:
    put(folder, row(utc_now(), HOST), ago=0)
    put(folder, row(utc_now(), OTHER), name=".hidden.csv")
    put(folder, row(utc_now(), OTHER), name="report.csv.part")
    scans_of(store, folder).step()
    assert hosts(store) == set()


def test_an_older_report_changes_only_the_first_time(store: Store, folder: Path) -> None:
    scans = scans_of(store, folder)
    put(folder, row("2026-11-29 10:00:00", HOST, dns_version="new"), name="b.csv")
    scans.step()
    put(folder, row("2026-11-20 10:00:00", HOST, dns_version="old"), name="a.csv")
    scans.step()
    ((first, last, version),) = store.rows("SELECT first_seen, last_seen, dns_version FROM scanned_hosts")
    assert (first.day, last.day, version) == (20, 29, "new")


def test_a_folder_or_file_that_cannot_be_read_is_tried_again(store: Store, folder: Path) -> None:
    scans = scans_of(store, folder / "missing")
    assert scans.step()
    (folder / "loop.csv").symlink_to(folder / "loop.csv")
    assert scans_of(store, folder).step()


def test_hosts_have_a_bound(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanned_hosts, "MAX_HOSTS", 10)
    put(folder, *(row(utc_now(), f"198.51.100.{number}") for number in range(50)))
    scans_of(store, folder).step()
    assert len(hosts(store)) == 10


def test_without_a_folder_nothing_is_looked_for(store: Store) -> None:
    assert not Scans(store, Config()).step()
