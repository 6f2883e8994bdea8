"""Following Zeek's folders: every way in which logs are rotated, compressed and truncated gives the same records."""

import gzip
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dnsvigil.config.collector import ZeekSource
from dnsvigil.records import Cursor
from dnsvigil.sources import folders
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.follower import Follower
from dnsvigil.sources.zeek.given import given_logs, in_order_of_time
from dnsvigil.sources.zeek.head import Head
from dnsvigil.sources.zeek.log_names import sensor_of
from dnsvigil.sources.zeek.log_types import BY_PATH
from dnsvigil.sources.zeek.options import LogOptions
from dnsvigil.sources.zeek.pending import pending_log
from dnsvigil.sources.zeek.reader import read_batches
from exporters.zeeklogs import (
    COMPRESS,
    HEADER,
    NEWLINE,
    START,
    Taken,
    Taker,
    as_json,
    header_of,
    log_lines,
    package_header,
    package_json,
    package_line,
    tsv,
)
from lab import zeeklog

FOOTER = zeeklog.footer(START)
SHORT = ["ts", "uid", "query", "id.resp_h", "id.orig_h"]


class Zeek:
    """Writes ``current/dns.log`` below a folder, and rotates it in all the ways there are."""

    def __init__(self, folder: Path, *, in_json: bool = False) -> None:
        self.folder = folder
        self.path = folder / "current" / "dns.log"
        self.path.parent.mkdir(parents=True)
        self.lines = [as_json(line) if in_json else line for line in log_lines(500)]
        self.written = 0
        self.header = b"" if in_json else HEADER
        self._rotations = 0
        self._position = 0

    def write(self, count: int = 3) -> None:
        """Append records, below a header in a new file."""
        new = not self.path.exists()
        with self.path.open("ab") as stream:
            stream.write(self.header if new else b"")
            stream.writelines(self.lines[self.written : self.written + count])
        self.written += count
        self._position = self.path.stat().st_size

    def write_half(self) -> None:
        """Append half a record; the next write ends it."""
        line = self.lines[self.written]
        with self.path.open("ab") as stream:
            stream.write(line[: len(line) // 2])
        self.lines[self.written] = line[len(line) // 2 :]

    def write_at_old_position(self, count: int = 3) -> None:
        """Write as one does that has the file open without O_APPEND: where it was before a truncation."""
        with self.path.open("r+b") as stream:
            stream.seek(self._position)
            stream.writelines(self.lines[self.written : self.written + count])
            self._position = stream.tell()
        self.written += count

    def rename(self, name: str = "2023-11-14/dns.{}.log") -> Path:
        """End the file and move it, by default into a folder by day."""
        if self.header:
            with self.path.open("ab") as stream:
                stream.write(FOOTER)
        return self.path.rename(self._rotated(name))

    def copy_and_truncate(self, name: str = "current/dns.log.{}") -> Path:
        """Copy the file and truncate it, as logrotate's copytruncate does."""
        target = self._rotated(name)
        shutil.copyfile(self.path, target)
        os.truncate(self.path, 0)
        return target

    def compress(self, path: Path, form: str = "gz", *, keep: bool = False) -> Path:
        """Compress a file; with ``keep`` both are there, as for a moment they always are."""
        target = path.with_name(f"{path.name}.{form}")
        target.write_bytes(COMPRESS[form](path.read_bytes()))
        shutil.copystat(path, target)
        if not keep:
            path.unlink()
        return target

    def _rotated(self, name: str) -> Path:
        self._rotations += 1
        target = self.folder / name.format(self._rotations)
        target.parent.mkdir(exist_ok=True)
        return target

    @property
    def names(self) -> list[str]:
        """The names in all that was written."""
        return sorted(f"h{i}.example.com" for i in range(self.written))


class Live:
    """Follows folders as the daemon does."""

    def __init__(self, taker: Taker, *sources: ZeekSource) -> None:
        self._taker = taker
        self._sources = list(sources)
        self._stored: dict[str, Cursor] = {}
        self.taken = Taken()
        self.by_sensor: Counter[str] = Counter()
        self.by_log: Counter[str] = Counter()
        self.restart()

    def restart(self) -> None:
        """Begin again with what the store would know."""
        self._cursors = Cursors(self._stored.values())
        self.follower = Follower(self._sources, self._cursors, 0)

    def poll(self, *, times: int = 1) -> Taken:
        """Read what there is; return all that was read so far."""
        for _ in range(times):
            given = {file.cursor.id: file for file in reversed(self.follower.pending())}
            for file in reversed(given.values()):
                for batch in read_batches(file.path, file.cursor, file.finished, file.log_type):
                    part = self._taker.batches([batch])
                    self.by_log[batch.log_type.path] += len(part.rows)
                    self._cursors.put(batch.cursor)
                    self._stored.pop(batch.cursor.id, None)
                    self._stored[batch.cursor.id] = batch.cursor
                    self.taken.rows += part.rows
                    self.taken.read += part.read
                    self.taken.skipped += part.skipped
                    self.by_sensor[batch.cursor.sensor] += len(part.rows)
                self.follower.done(file)
        return self.taken


@pytest.fixture(params=[False, True], ids=["tsv", "json"])
def zeek(tmp_path: Path, request: pytest.FixtureRequest) -> Zeek:
    return Zeek(tmp_path / "logs" / "sensor-1", in_json=request.param)


@pytest.fixture
def live(taker: Taker, zeek: Zeek) -> Live:
    return Live(taker, ZeekSource(zeek.path.parent))


def all_read(live: Live, zeek: Zeek) -> bool:
    taken = live.poll(times=2)
    assert taken.names == zeek.names
    return not taken.skipped


class TestRotation:
    WAYS: ClassVar = [
        "2023-11-14/dns.{}.log",
        "current/dns.{}.log",
        "current/dns-2023111{}.log",
        "current/dns.log.{}",
        "current/dns.2023-11-14-0{}-00-00.log",
    ]

    @pytest.mark.parametrize("name", WAYS)
    def test_by_renaming(self, live: Live, zeek: Zeek, name: str) -> None:
        for _ in range(3):
            zeek.write()
            assert all_read(live, zeek)
            zeek.write()  # what is written between the last look and the rotation
            zeek.rename(name)
            zeek.write()
            assert all_read(live, zeek)

    @pytest.mark.parametrize("form", ["gz", "xz", "zst"])
    @pytest.mark.parametrize("name", WAYS)
    def test_compressed_later(self, live: Live, zeek: Zeek, name: str, form: str) -> None:
        zeek.write()
        assert all_read(live, zeek)
        zeek.write()
        rotated = zeek.rename(name)
        zeek.write()
        assert all_read(live, zeek)
        zeek.compress(rotated, form)
        assert all_read(live, zeek)

    @pytest.mark.parametrize("keep", [False, True])
    def test_compressed_before_it_was_read_to_its_end(self, live: Live, zeek: Zeek, keep: bool) -> None:
        zeek.write()
        live.poll()
        zeek.write()
        zeek.compress(zeek.rename(), keep=keep)
        zeek.write()
        assert all_read(live, zeek)

    @pytest.mark.parametrize("keep", [False, True])
    def test_before_anything_was_read(self, live: Live, zeek: Zeek, keep: bool) -> None:
        zeek.write()
        zeek.compress(zeek.rename(), keep=keep)
        assert all_read(live, zeek)

    @pytest.mark.parametrize("new", [0, 5, 30])
    def test_just_before_it_is_opened(self, taker: Taker, zeek: Zeek, new: int) -> None:
        zeek.write(20)
        cursors = Cursors([])
        follower = Follower([ZeekSource(zeek.path.parent)], cursors, 0)
        (file,) = follower.pending()
        batches = read_batches(file.path, file.cursor, file.finished)
        zeek.compress(zeek.rename())
        if new:
            zeek.write(new)
        with pytest.raises(FileNotFoundError):
            next(batches)
        taken = Taken()
        for file in follower.pending():
            taken.rows += taker.batches(read_batches(file.path, file.cursor, file.finished)).rows
        assert taken.names == zeek.names

    def test_truncated_just_before_it_is_opened(self, zeek: Zeek) -> None:
        """The inode stays the same."""
        zeek.write(5)
        (file,) = Follower([ZeekSource(zeek.path.parent)], Cursors([]), 0).pending()
        os.truncate(zeek.path, 0)
        zeek.write(20)
        with pytest.raises(FileNotFoundError):
            next(read_batches(file.path, file.cursor, file.finished))

    def test_of_a_line_that_is_not_finished_yet(self, live: Live, zeek: Zeek) -> None:
        zeek.write()
        zeek.write_half()
        assert live.poll().names == zeek.names
        zeek.write()
        assert all_read(live, zeek)

    def test_of_a_line_that_is_not_finished_for_long(self, live: Live, zeek: Zeek) -> None:
        zeek.write()
        zeek.write_half()
        os.utime(zeek.path, (time.time() - 1000,) * 2)
        assert live.poll().names == zeek.names
        zeek.write()
        assert all_read(live, zeek)

    def test_of_a_line_that_is_never_finished(self, live: Live, zeek: Zeek) -> None:
        zeek.write()
        zeek.write_half()
        rotated = zeek.path.rename(zeek.path.with_name("dns.1.log"))
        zeek.write(0)
        assert live.poll().names == zeek.names
        assert not live.taken.skipped
        os.utime(rotated, (time.time() - 61,) * 2)
        assert live.poll(times=2).skipped == {"truncated": 1}

    @pytest.mark.parametrize("subfolder", ["", "2023-11-14"])
    def test_into_the_archive_that_is_configured(self, taker: Taker, zeek: Zeek, subfolder: str) -> None:
        archive = zeek.folder.parent / "archive"
        live = Live(taker, ZeekSource(zeek.path.parent, archive=archive))
        zeek.write()
        live.poll()
        zeek.write()
        (archive / subfolder).mkdir(parents=True)
        zeek.rename(f"../archive/{subfolder}/dns.{{}}.log")
        zeek.write()
        assert all_read(live, zeek)

    def test_with_another_header_from_then_on(self, taker: Taker, tmp_path: Path) -> None:
        zeek = Zeek(tmp_path / "sensor-1")
        live = Live(taker, ZeekSource(zeek.path.parent))
        zeek.write()
        live.poll()
        zeek.rename()
        zeek.header = header_of(*SHORT)
        zeek.lines = [tsv(SHORT, uid=f"Cuid{i:014}", query=f"h{i}.example.com") for i in range(100)]
        zeek.write()
        assert all_read(live, zeek)

    def test_between_the_forms(self, live: Live, zeek: Zeek) -> None:
        zeek.write()
        live.poll()
        zeek.rename()
        in_json = bool(zeek.header)
        zeek.header = b"" if in_json else HEADER
        zeek.lines = [as_json(line) if in_json else line for line in log_lines(100)]
        zeek.write()
        assert all_read(live, zeek)


class TestTruncation:
    @pytest.mark.parametrize("seen", [False, True])
    @pytest.mark.parametrize("form", ["", "gz", "zst"])
    def test_of_a_file_that_is_appended_to(self, live: Live, zeek: Zeek, form: str, seen: bool) -> None:
        for _ in range(3):
            zeek.write()
            live.poll()
            zeek.write()
            copy = zeek.copy_and_truncate()
            if seen:
                live.poll()
            zeek.write(7)
            assert all_read(live, zeek)
            if form:
                zeek.compress(copy, form)
                assert all_read(live, zeek)

    def test_copied_before_it_is_truncated(self, live: Live, zeek: Zeek) -> None:
        zeek.write()
        live.poll()
        zeek.write()
        shutil.copyfile(zeek.path, zeek.path.with_name("dns.log.1"))
        assert all_read(live, zeek)
        os.truncate(zeek.path, 0)
        zeek.write()
        assert all_read(live, zeek)

    @pytest.mark.parametrize("form", ["", "gz", "zst"])
    def test_that_leaves_a_hole(self, live: Live, zeek: Zeek, form: str) -> None:
        zeek.write(400)
        live.poll()
        for _ in range(3):
            copy = zeek.copy_and_truncate()
            zeek.write_at_old_position(10)
            assert zeek.path.read_bytes().startswith(b"\0")
            assert all_read(live, zeek)
            zeek.write_at_old_position(10)
            assert all_read(live, zeek)
            if form:
                zeek.compress(copy, form)
            assert all_read(live, zeek)

    def test_inside_a_line(self, live: Live, zeek: Zeek) -> None:
        """Half a line is left at the beginning; what follows it is read."""
        zeek.write()
        zeek.write_half()
        live.poll()
        zeek.copy_and_truncate()
        zeek.write(6)
        taken = live.poll(times=2)
        assert taken.names == [name for name in zeek.names if name != "h3.example.com"]
        assert taken.skipped.total() == 1

    def test_survives_a_restart(self, live: Live, zeek: Zeek) -> None:
        zeek.write()
        live.poll()
        zeek.copy_and_truncate()
        live.poll()
        live.restart()
        zeek.write()
        assert all_read(live, zeek)


ACTIONS: dict[str, Callable[[Zeek, Live], object]] = {
    "write": lambda zeek, live: zeek.write(),
    "write much": lambda zeek, live: zeek.write(40),
    "poll": lambda zeek, live: live.poll(),
    "restart": lambda zeek, live: live.restart(),
    "rename": lambda zeek, live: zeek.rename(),
    "rename here": lambda zeek, live: zeek.rename("current/dns.{}.log"),
    "copytruncate": lambda zeek, live: zeek.copy_and_truncate(),
    "compress": lambda zeek, live: [zeek.compress(path) for path in rotated(zeek)],
    "compress and keep": lambda zeek, live: [zeek.compress(path, "zst", keep=True) for path in rotated(zeek)],
}


def rotated(zeek: Zeek) -> list[Path]:
    return [path for path in zeek.folder.glob("*/dns.*") if path != zeek.path and path.suffix not in (".gz", ".zst")]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(sorted(ACTIONS)), max_size=14), st.booleans())
@example(["copytruncate", "write", "copytruncate", "write"], False)
@example(["write", "copytruncate", "compress and keep", "poll", "write", "compress"], False)
def test_any_order_of_events_gives_each_record_once(
    taker: Taker, tmp_path_factory: pytest.TempPathFactory, actions: list[str], in_json: bool
) -> None:
    zeek = Zeek(tmp_path_factory.mktemp("zeek") / "sensor-1", in_json=in_json)
    live = Live(taker, ZeekSource(zeek.path.parent))
    zeek.write()
    live.poll()
    headless = False  # truncated to nothing, so that a copy, too, has no header
    for action in actions:
        if action in ("rename", "rename here", "copytruncate") and (not zeek.path.exists() or headless):
            continue
        ACTIONS[action](zeek, live)
        headless = zeek.path.exists() and not zeek.path.stat().st_size
    live.poll(times=3)
    assert live.taken.names == zeek.names
    assert not live.taken.skipped


class TestSeveralLogs:
    """The logs of the Zeek package lie beside dns.log, and go the same ways."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "logs" / "sensor-1"
        (folder / "current").mkdir(parents=True)
        (folder / "2023-11-14").mkdir()
        return folder

    @pytest.mark.parametrize("in_json", [False, True])
    @pytest.mark.parametrize("way", ["rename", "compress", "truncate", "truncate and compress"])
    def test_are_each_read_once(self, taker: Taker, folder: Path, way: str, in_json: bool) -> None:
        live = Live(taker, ZeekSource(folder / "current"))
        written: Counter[str] = Counter()
        for turn in range(3):
            for path in BY_PATH:
                log = folder / "current" / f"{path}.log"
                header = b"" if in_json or (log.exists() and "truncate" in way) else header_for(path)
                with log.open("ab") as stream:
                    # Of what is truncated, the next part has no header of its own.
                    stream.write(header if not stream.tell() else b"")
                    stream.writelines(line_for(path, turn, number, in_json) for number in range(turn + 2))
                written[path] += turn + 2
            if turn == 1:
                live.poll()
                live.restart()
            for path in BY_PATH:
                log = folder / "current" / f"{path}.log"
                target = folder / "2023-11-14" / f"{path}.0{turn}:00:00-0{turn + 1}:00:00.log"
                shutil.copyfile(log, target)
                if "truncate" in way:
                    os.truncate(log, 0)
                else:
                    log.unlink()
                if turn != 1:
                    live.poll()
                if "compress" in way:
                    target.with_name(f"{target.name}.gz").write_bytes(gzip.compress(target.read_bytes()))
                    target.unlink()
            live.poll()
        live.poll()
        assert live.by_log == written
        assert not live.taken.skipped

    def test_that_are_not_there_are_not_missed(
        self, taker: Taker, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        live = Live(taker, ZeekSource(folder / "current"))
        (folder / "current" / "dns.log").write_bytes(HEADER + tsv())
        (folder / "current" / "dnsvigil_new.log").write_bytes(header_of("ts", path="dnsvigil_new") + b"1\n")
        live.poll(times=2)
        assert (live.by_log, live.follower.pending(), live.follower.lost()) == ({"dns": 1}, [], 0)
        assert not caplog.messages


def header_for(path: str) -> bytes:
    return HEADER if path == "dns" else package_header(path)


def line_for(path: str, turn: int, number: int, in_json: bool) -> bytes:
    ts = START + 100 * turn + number
    if path == "dns":
        line = tsv(ts=f"{ts}.0", uid=f"Cuid{turn}{number}")
        return as_json(line) if in_json else line
    return package_json(path, ts=ts) if in_json else package_line(path, ts=f"{ts}.000000")


class TestSensors:
    def test_of_a_glob_are_named_by_what_it_matched(self, taker: Taker, tmp_path: Path) -> None:
        writers = [Zeek(tmp_path / name) for name in ("zeek-a", "zeek-b", "other")]
        live = Live(taker, ZeekSource(tmp_path / "zeek-*" / "current"))
        for count, writer in enumerate(writers, start=1):
            writer.write(count)
        live.poll()
        assert live.by_sensor == {"zeek-a": 1, "zeek-b": 2}
        late = Zeek(tmp_path / "zeek-c")
        late.write(4)
        writers[0].rename()
        writers[0].write(5)
        live.poll()
        assert live.by_sensor == {"zeek-a": 6, "zeek-b": 2, "zeek-c": 4}

    def test_are_named_by_the_first_part_that_it_matched(self, taker: Taker, tmp_path: Path) -> None:
        live = Live(taker, ZeekSource(tmp_path / "zeek-*" / "site" / "c*"))
        for name in "ab":
            Zeek(tmp_path / f"zeek-{name}" / "site").write(2)
        live.poll()
        assert live.by_sensor == {"zeek-a": 2, "zeek-b": 2}

    def test_have_the_name_that_is_configured(self, taker: Taker, tmp_path: Path) -> None:
        zeek = Zeek(tmp_path / "a")
        live = Live(taker, ZeekSource(zeek.path.parent, sensor="fra-1"))
        zeek.write(2)
        live.poll()
        assert live.by_sensor == {"fra-1": 2}

    def test_that_log_the_same_are_two(self, taker: Taker, tmp_path: Path) -> None:
        live = Live(taker, ZeekSource(tmp_path / "*" / "current"))
        for name in "ab":
            Zeek(tmp_path / name).write(2)
        live.poll()
        assert live.by_sensor == {"a": 2, "b": 2}

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("/usr/local/zeek/logs/current/dns.log", "local"),
            ("/var/log/zeek-fra/current/dns.log", "zeek-fra"),
            ("/data/fra-1/2023-11-14/dns.00:00:00-01:00:00.log.gz", "fra-1"),
            ("/logs/current/dns.log", "zeek"),
            ("/dns.log", "zeek"),
        ],
    )
    def test_are_named_by_the_path(self, path: str, name: str) -> None:
        assert sensor_of(Path(path)) == name


class TestFollower:
    def test_leaves_other_files_alone(self, live: Live, zeek: Zeek) -> None:
        zeek.write(1)
        for name in ("conn.log", "dnsmasq.log", "other.dns.log", ".dns.log.swp"):
            shutil.copyfile(zeek.path, zeek.path.with_name(name))
        (zeek.path.parent / "dns.d").mkdir()
        assert all_read(live, zeek)

    def test_leaves_alone_what_was_rotated_before_it_began(self, zeek: Zeek) -> None:
        zeek.write()
        old = zeek.rename()
        zeek.write()
        os.utime(old, (time.time() - 100,) * 2)
        os.utime(zeek.path, (time.time() - 100,) * 2)  # but not the live one, however old
        follower = Follower([ZeekSource(zeek.path.parent)], Cursors([]), time.time() - 50)
        assert [file.path for file in follower.pending()] == [zeek.path]

    def test_gives_what_changed_only(self, live: Live, zeek: Zeek) -> None:
        zeek.write()
        live.poll()
        assert live.follower.pending() == []
        zeek.write()
        assert [file.path for file in live.follower.pending()] == [zeek.path]

    def test_sees_files_that_come_within_one_tick_of_the_clock(self, live: Live, zeek: Zeek) -> None:
        zeek.write()
        live.poll()
        changed = zeek.path.parent.stat().st_mtime_ns
        zeek.write()
        zeek.rename("current/dns.{}.log")
        zeek.write()
        os.utime(zeek.path.parent, ns=(changed, changed))
        assert all_read(live, zeek)

    def test_gives_the_oldest_first(self, live: Live, zeek: Zeek) -> None:
        zeek.write()
        for age in (10, 30, 20):
            os.utime(zeek.rename("current/dns.{}.log"), (time.time() - age,) * 2)
            zeek.write()
        assert [file.path.name for file in live.follower.pending()] == [
            "dns.2.log",
            "dns.3.log",
            "dns.1.log",
            "dns.log",
        ]

    def test_waits_for_folders_that_are_not_there(self, taker: Taker, tmp_path: Path) -> None:
        live = Live(taker, ZeekSource(tmp_path / "zeek" / "current"), ZeekSource(tmp_path / "*" / "spool"))
        assert live.poll().read == 0
        zeek = Zeek(tmp_path / "zeek")
        zeek.write()
        assert all_read(live, zeek)

    def test_counts_what_vanished_unread(self, live: Live, zeek: Zeek, monkeypatch: pytest.MonkeyPatch) -> None:
        zeek.write()
        live.poll()
        zeek.path.unlink()
        live.poll()
        zeek.write()
        live.follower.pending()
        zeek.path.unlink()
        live.follower.pending()
        assert live.follower.lost() == 0
        monkeypatch.setattr(folders, "SETTLED_SECONDS", -1)
        assert live.follower.lost() == 1
        assert live.follower.lost() == 0

    def test_counts_nothing_that_was_read_elsewhere(
        self, live: Live, zeek: Zeek, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        zeek.write()
        live.follower.pending()
        zeek.compress(zeek.rename())
        live.poll()
        monkeypatch.setattr(folders, "SETTLED_SECONDS", -1)
        assert live.follower.lost() == 0


class TestGiven:
    def test_folders_are_searched_by_content(self, tmp_path: Path) -> None:
        lines = log_lines(3)
        wanted = {
            "dns.log": HEADER + lines[0],
            "2023-11-14/dns.00:00:00-01:00:00.log.gz": gzip.compress(HEADER + lines[0]),
            "deep/er/whatever": as_json(lines[0]),
            "json.zst": COMPRESS["zst"](as_json(lines[0])),
            "hole.log": bytes(5000) + HEADER + lines[0],
            "hole.log.gz": gzip.compress(bytes(500_000) + as_json(lines[0])),
            "half-a-line-first.json": as_json(lines[1])[20:] + as_json(lines[0]),
            "long-line-first.json": as_json(lines[1], answers=["x" * 50_000]) + as_json(lines[0]),
            "no-records.log": HEADER,
        }
        other = {
            "conn.log": header_of("ts", "uid", path="conn") + b"1\tC\n",
            "conn.json": b'{"ts":1.0,"id.orig_h":"192.0.2.1"}\n',
            "notes.txt": b"dns\n",
            "empty": b"",
            "binary": bytes(range(256)),
            "broken.gz": gzip.compress(HEADER)[:12],
        }
        for name, content in (wanted | other).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
        (tmp_path / "link").symlink_to("nowhere")
        assert sorted(file for file, what in given_logs(tmp_path) if not what) == sorted(
            tmp_path / name for name in wanted
        )

    def test_files_are_taken_as_they_are(self, tmp_path: Path) -> None:
        path = tmp_path / "broken.gz"
        path.write_bytes(b"\x1f\x8b")
        assert list(given_logs(path)) == [(path, "")]

    def test_nothing_there_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            list(given_logs(tmp_path / "dns.log"))

    def test_are_put_in_the_order_of_time(self, tmp_path: Path) -> None:
        times = {"d": "1700000000.5", "b": "1600000000.000000", "c": "2022-01-01T00:00:00Z", "e": "1720000000123"}
        for name, ts in times.items():
            content = as_json(tsv(), ts=ts) if "T" in ts else HEADER + tsv(ts=ts)
            (tmp_path / name).write_bytes(COMPRESS["gz" if name == "b" else "plain"](content))
        (tmp_path / "a").touch()
        assert [path.name for path in in_order_of_time(sorted(tmp_path.iterdir(), reverse=True))] == list("abcde")

    def test_has_its_sensor(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "fra-1").mkdir()
        (tmp_path / "fra-1" / "dns.log").write_bytes(HEADER + tsv() + NEWLINE)
        monkeypatch.chdir(tmp_path / "fra-1")
        assert pending_log(Path("dns.log"), Cursors([])).cursor.sensor == "fra-1"


@pytest.mark.parametrize("plain_first", [False, True])
def test_a_compressed_log_is_read_through_once_over_all_restarts(tmp_path: Path, plain_first: bool) -> None:
    folder = tmp_path / "current"
    folder.mkdir()
    log = HEADER + b"".join(log_lines(50))
    known: dict[str, Cursor] = {}

    def restart_and_read() -> int:
        """Read what a follower finds that knows the cursors alone; return the number of files it opened."""
        follower = Follower([ZeekSource(folder)], Cursors(known.values()), since=0)
        files = follower.pending()
        for file in files:
            known.update(
                {batch.cursor.id: batch.cursor for batch in read_batches(file.path, file.cursor, file.finished)}
            )
        return len(files)

    plain = folder / "dns.10:00:00-11:00:00.log"
    if plain_first:
        plain.write_bytes(log)
        assert restart_and_read() == 1
        plain.unlink()
    plain.with_suffix(".log.gz").write_bytes(gzip.compress(log))
    assert restart_and_read() == 1
    assert len(known) == 1
    assert restart_and_read() == 0


def test_a_log_that_cannot_be_read_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    zeek = Zeek(tmp_path)
    zeek.write()

    def refuse(_path: Path, _options: LogOptions) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Head, "of", refuse)
    follower = Follower([ZeekSource(zeek.path.parent)], Cursors([]), since=0)
    assert follower.pending() == follower.pending() == []
    assert caplog.messages == [f"{zeek.path} cannot be read: Permission denied"]
