"""Which flow files are found, in what order, and what tells that one was read."""

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dnsvigil.config.collector import NetflowSource
from dnsvigil.sources import folders
from dnsvigil.sources.netflow import follower as following_module
from dnsvigil.sources.netflow.flow_file import (
    begin_of,
    fingerprint,
    flow_exporter_label,
    flow_exporter_of,
    given_files,
    slot_of,
)
from dnsvigil.sources.netflow.follower import FlowFollower, pending_file

NOW = datetime.now(UTC).replace(tzinfo=None, second=0, microsecond=0)


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(following_module, "_LOOK_SECONDS", 0)
    monkeypatch.setattr(folders, "_GRAIN", 0)
    yield
    monkeypatch.undo()
    time.tzset()


def name_at(minutes: float) -> str:
    """The name of a file so many minutes from now."""
    return f"nfcapd.{NOW + timedelta(minutes=minutes):%Y%m%d%H%M}"


def flow_file(folder: Path, name: str, content: str = "flows") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(content)
    return path


def follower(*paths: Path | str, exporter: str | None = None, since: float | None = None) -> FlowFollower:
    sources = [NetflowSource(Path(path), exporter) for path in paths]
    return FlowFollower(sources, time.time() if since is None else since, {})


def read(follower: FlowFollower) -> list[str]:
    """Take all that is pending as read; return its names."""
    pending = follower.pending()
    for file in pending:
        follower.done(file)
    return [file.path.name for file in pending]


@pytest.mark.parametrize(
    ("name", "zone", "expected"),
    [
        ("nfcapd.202606150005", "UTC", datetime(2026, 6, 15, 0, 5)),
        ("nfcapd.20260615000510", "UTC", datetime(2026, 6, 15, 0, 5, 10)),
        ("nfcapd.202606150005", "Europe/Zurich", datetime(2026, 6, 14, 22, 5)),
        ("nfcapd.202601150005", "Europe/Zurich", datetime(2026, 1, 14, 23, 5)),
        ("nfcapd.202606150005-0800", "Europe/Zurich", datetime(2026, 6, 15, 8, 5)),
        ("nfcapd.202613150005", "UTC", None),
        ("nfcapd.current.4711", "UTC", None),
        ("nfcapd.202606150005.bz2", "UTC", None),
        ("nfcapd.000001010000+0000", "UTC", None),
    ],
)
def test_time_in_a_name(name: str, zone: str, expected: datetime | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    assert begin_of(name) == expected


def test_slot_of() -> None:
    assert slot_of(datetime(2026, 6, 15, 0, 9, 59, 999_999)) == datetime(2026, 6, 15, 0, 5)
    assert slot_of(datetime(2026, 6, 15, 0, 10)) == datetime(2026, 6, 15, 0, 10)


@pytest.mark.parametrize(
    "path",
    [
        "/data/upstream1/nfcapd.1",
        "/data/upstream1/2026/11/22/nfcapd.1",
        "/data/upstream1/2026/11/22/07/nfcapd.1",
        "/data/upstream1/2026-11-22/nfcapd.1",
        "/data/upstream1/2026/326/nfcapd.1",
    ],
)
def test_exporter_of_a_path(path: str) -> None:
    assert flow_exporter_of(Path(path)) == "upstream1"
    assert flow_exporter_of(Path("/2026/nfcapd.1")) == "unknown"


def test_an_exporters_name_is_short_and_can_be_printed() -> None:
    assert flow_exporter_label("a b-é") == "a b-é"
    assert flow_exporter_label("a\tb\n\x7f") == r"a\x09b\x0a\x7f"
    assert len(flow_exporter_label("x" * 1000)) == 64


def test_a_fingerprint_tells_contents_apart(tmp_path: Path) -> None:
    body = os.urandom(200_000)
    same, ends, begins, longer = (tmp_path / name for name in "abcd")
    same.write_bytes(body)
    first = fingerprint(same)
    ends.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    begins.write_bytes(bytes([body[0] ^ 1]) + body[1:])
    longer.write_bytes(body + b"x")
    assert len({first, *map(fingerprint, (ends, begins, longer))}) == 4
    assert fingerprint(same.rename(tmp_path / "moved")) == first
    (tmp_path / "empty").touch()
    assert fingerprint(tmp_path / "empty").startswith("0:")


def test_files_are_found_in_folders_by_date_oldest_first(tmp_path: Path) -> None:
    root = tmp_path / "flows"
    flow_file(root / "2026" / "11" / "22", name_at(-5))
    flow_file(root, name_at(-15))
    flow_file(root / "2026-11-22", name_at(-10) + "30")
    flow_file(root, "nfcapd.current.123")
    flow_file(root, ".nfstat")
    flow_file(root, name_at(-10) + ".tmp")
    following = follower(root)
    assert read(following) == [name_at(-15), name_at(-10) + "30", name_at(-5)]
    assert read(following) == []
    flow_file(root / "2026" / "11" / "23", name_at(0))
    flow_file(root / "2026" / "11" / "22", name_at(-4))
    assert read(following) == [name_at(-4), name_at(0)]


def test_what_is_not_done_stays_pending(tmp_path: Path) -> None:
    flow_file(tmp_path, name_at(-5))
    following = follower(tmp_path)
    for _ in range(3):
        assert len(following.pending()) == 1
    assert read(following) == [name_at(-5)]


def test_at_the_first_start_files_of_more_than_a_day_ago_are_left_alone(tmp_path: Path) -> None:
    flow_file(tmp_path, name_at(-24 * 60 - 5))
    flow_file(tmp_path, name_at(-24 * 60 + 5))
    start = NOW.replace(tzinfo=UTC).timestamp()
    assert read(follower(tmp_path, since=start)) == [name_at(-24 * 60 + 5)]
    # Later, those of the last 30 days count.
    flow_file(tmp_path, name_at(-31 * 24 * 60))
    assert len(read(follower(tmp_path, since=0))) == 2


def test_names_of_exporters(tmp_path: Path) -> None:
    for source in ("upstream1", "upstream2"):
        flow_file(tmp_path / "live" / source / "2026", name_at(-5))
    flow_file(tmp_path / "other", name_at(-5))
    found = [*follower(tmp_path / "live" / "*").pending(), *follower(tmp_path / "other", exporter="edge").pending()]
    assert [(file.flow_exporter, file.folder) for file in found] == [
        (None, "upstream1"),
        (None, "upstream2"),
        ("edge", "other"),
    ]


def test_a_file_that_grows_is_pending_again(tmp_path: Path) -> None:
    path = flow_file(tmp_path, name_at(-5))
    following = follower(tmp_path)
    assert len(read(following)) == 1
    flow_file(tmp_path, "nfcapd.current.1").unlink()  # as nfcapd appends it
    assert read(following) == []
    path.write_text("more flows")
    os.utime(tmp_path)
    assert read(following) == [path.name]


def test_known_files_are_not_pending(tmp_path: Path) -> None:
    path = flow_file(tmp_path, name_at(-5))
    stamp = pending_file(path).stamp
    following = FlowFollower([NetflowSource(tmp_path)], time.time(), {path: stamp})
    assert following.pending() == []
    changed = FlowFollower([NetflowSource(tmp_path)], time.time(), {path: (1, 1)})
    assert len(changed.pending()) == 1


def test_a_folder_that_vanishes_and_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "mounted"
    flow_file(root, name_at(-10))
    following = follower(root)
    assert read(following) == [name_at(-10)]
    away = root.rename(tmp_path / "away")
    with caplog.at_level(logging.WARNING):
        assert read(following) == read(following) == []
    assert caplog.messages == [f"{root}: no such folder; the collector keeps looking for it"]
    flow_file(away, name_at(-5))
    away.rename(root)
    # What it held may be told again: the store knows it.
    assert read(following)[-1] == name_at(-5)
    assert read(following) == []


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder of one's own, where root, who can read every folder, is nobody."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        if root:
            os.chown(name, 65534, -1)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)


@pytest.mark.parametrize("closed", [".", "closed"])
def test_a_folder_that_cannot_be_read_is_reported_once(
    open_folder: Path, closed: str, caplog: pytest.LogCaptureFixture
) -> None:
    flow_file(open_folder / "open", name_at(-5))
    (open_folder / closed).mkdir(exist_ok=True)
    (open_folder / closed).chmod(0o300)
    following = follower(open_folder)
    with caplog.at_level(logging.WARNING):
        assert read(following) == ([] if closed == "." else [name_at(-5)])
        assert read(following) == []
        assert caplog.messages == [f"{open_folder / closed} cannot be read: Permission denied"]
        (open_folder / closed).chmod(0o700)
        assert read(following) == ([name_at(-5)] if closed == "." else [])
    assert len(caplog.messages) == 1


def test_a_file_that_vanishes_is_lost_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = flow_file(tmp_path, name_at(-5))
    following = follower(tmp_path)
    assert len(following.pending()) == 1
    path.unlink()
    assert following.pending() == []
    assert following.lost() == []
    monkeypatch.setattr(folders, "SETTLED_SECONDS", -1)
    assert following.lost() == [path]
    assert following.lost() == []
    assert following.pending() == []


def test_a_file_that_is_moved_before_it_is_read_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = flow_file(tmp_path, name_at(-5))
    following = follower(tmp_path, exporter="edge")
    assert len(following.pending()) == 1
    (tmp_path / "2026").mkdir()
    path.rename(tmp_path / "2026" / path.name)
    assert read(following) == [path.name]
    monkeypatch.setattr(folders, "SETTLED_SECONDS", -1)
    assert following.lost() == []


def test_files_are_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = flow_file(tmp_path / "upstream", name_at(-100_000))
    untimed = flow_file(tmp_path, "a-file")
    following = follower()
    following.submit_files(old, "edge")
    following.submit_files(untimed, None)
    following.submit_files(tmp_path / "nothing", None)
    pending = following.pending()
    assert [(file.path, file.flow_exporter, file.folder) for file in pending] == [
        (untimed, None, tmp_path.name),
        (old, "edge", "upstream"),
    ]
    assert read(following) == ["a-file", old.name]
    assert read(following) == []
    monkeypatch.setattr(folders, "SETTLED_SECONDS", -1)
    assert following.lost() == [tmp_path / "nothing"]
    assert following.lost() == []


def test_a_file_that_was_touched_a_moment_ago_is_not_settled(tmp_path: Path) -> None:
    path = flow_file(tmp_path, name_at(-5))
    assert not pending_file(path).settled
    os.utime(path, (time.time() - 61,) * 2)
    assert pending_file(path).settled


def test_given_files(tmp_path: Path) -> None:
    first = flow_file(tmp_path / "b", name_at(-10))
    second = flow_file(tmp_path / "a", name_at(-5))
    untimed = flow_file(tmp_path, "x")
    flow_file(tmp_path, "nfcapd.current.1")
    assert list(given_files(tmp_path)) == [untimed, first, second]
    assert list(given_files(first)) == [first]
    with pytest.raises(FileNotFoundError):
        given_files(tmp_path / "nothing")


def test_memory_of_what_was_read_ends_with_the_folder(tmp_path: Path) -> None:
    day = tmp_path / "2026"
    flow_file(day, name_at(-5))
    following = follower(tmp_path)
    read(following)
    (day / name_at(-5)).unlink()
    day.rmdir()
    read(following)
    assert not any(folder == day for folder in (*following._seen, *following._listings._known, *following._known))
