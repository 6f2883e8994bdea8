"""A file is the same file through whichever folder, archive, glob or link it is found, and counts once."""

import gzip
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from dnsvigil.config.collector import ZeekSource
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.follower import Follower
from dnsvigil.sources.zeek.log_types import BY_PATH
from dnsvigil.sources.zeek.pending import pending_log
from dnsvigil.sources.zeek.reader import read_batches
from exporters.sources.zeek.test_follower import Live, header_for, line_for
from exporters.zeeklogs import COMPRESS, HEADER, START, Taker, as_json, log_lines, package_header, package_line, tsv

LOGGERS = ("logger-1", "logger-2")
DAY = "2023-11-14"

NAMES = [
    "{day}/{log}.11:00:00-12:00:00-{logger}.log",  # zeekctl with several loggers
    "{log}__2023-11-14__11-00-00__2023-11-14__12-00-00__{logger}__.log",  # Zeek's supervisor
    "{log}-23-11-14_11.00.00_{logger}.log",
]
ANONYMOUS = [
    "{day}/{log}.11:00:00-12:00:00.log",
    "{log}-23-11-14_11.00.00.log",  # Log::default_rotation_postprocessors alone
    "{log}__2023-11-14__11-00-00__2023-11-14__12-00-00__.log",
]


class Cluster:
    """Two loggers of one Zeek, each with its folder, that share an archive."""

    def __init__(self, root: Path) -> None:
        self.spool, self.archive = root / "spool", root / "logs"
        self.written: Counter[str] = Counter()
        for logger in LOGGERS:
            (self.spool / logger).mkdir(parents=True)
        self.archive.mkdir()

    def source(self) -> ZeekSource:
        return ZeekSource(self.spool / "logger-*", archive=self.archive)

    def write(self, logger: str, log: str, count: int, *, in_json: bool = False) -> None:
        path = self.spool / logger / f"{log}.log"
        turn = 10 * LOGGERS.index(logger)
        with path.open("ab") as stream:
            stream.write(header_for(log) if not in_json and not stream.tell() else b"")
            for _ in range(count):
                stream.write(line_for(log, turn, self.written[f"{logger} {log}"], in_json))
                self.written[f"{logger} {log}"] += 1

    def rotate(self, logger: str, log: str, name: str, form: str = "plain") -> Path:
        """Move a log into the archive, and compress it there."""
        target = self.archive / name.format(day=DAY, log=log, logger=logger)
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.spool / logger / f"{log}.log").rename(target)
        if form == "plain":
            return target
        packed = target.with_name(f"{target.name}.{form}")
        packed.write_bytes(COMPRESS[form](target.read_bytes()))
        target.unlink()
        return packed

    @property
    def by_sensor(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for key, count in self.written.items():
            found[key.split()[0]] += count
        return found


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


class TestSharedArchive:
    @pytest.mark.parametrize(
        ("name", "form", "in_json"),
        [*zip(NAMES, ("gz", "plain", "xz"), (False, True, False), strict=True), (NAMES[0], "zst", True)],
    )
    def test_a_rotated_log_is_of_the_logger_in_its_name(
        self, taker: Taker, cluster: Cluster, name: str, form: str, in_json: bool
    ) -> None:
        """Whether its begin was read while it was live, or nothing of it."""
        live = Live(taker, cluster.source())
        for seen in (True, False):
            for logger in LOGGERS:
                for log in BY_PATH:
                    cluster.write(logger, log, 3, in_json=in_json)
            if seen:
                live.poll(times=2)
            for logger in reversed(LOGGERS):
                for log in BY_PATH:
                    cluster.write(logger, log, 2, in_json=in_json)
                    cluster.rotate(logger, log, name if seen else name.replace("11", "13"), form)
            live.poll(times=2)
            live.restart()
            live.poll(times=2)
            assert live.by_sensor == cluster.by_sensor
        assert not live.taken.skipped

    @pytest.mark.parametrize(("name", "form"), [*zip(ANONYMOUS, ("plain", "gz", "zst"), strict=True)])
    def test_without_a_name_in_it_is_of_the_one_whose_log_it_goes_on(
        self, taker: Taker, cluster: Cluster, name: str, form: str
    ) -> None:
        live = Live(taker, cluster.source())
        for hour, logger in enumerate(reversed(LOGGERS)):
            for log in BY_PATH:
                cluster.write(logger, log, 3)
            live.poll()
            for log in BY_PATH:
                cluster.write(logger, log, 2)
                cluster.rotate(logger, log, name.replace("11", f"1{hour}"), form)
            live.poll(times=2)
        live.restart()
        live.poll()
        assert live.by_sensor == cluster.by_sensor

    def test_that_nothing_is_known_of_counts_once(self, taker: Taker, cluster: Cluster) -> None:
        live = Live(taker, cluster.source())
        cluster.write("logger-2", "dns", 5)
        cluster.rotate("logger-2", "dns", ANONYMOUS[0])
        live.poll(times=2)
        live.restart()
        live.poll()
        assert live.by_sensor.total() == 5

    def test_of_two_sources(self, taker: Taker, cluster: Cluster) -> None:
        sources = [
            ZeekSource(cluster.spool / logger, sensor=f"fra-{number}", archive=cluster.archive)
            for number, logger in enumerate(LOGGERS, start=1)
        ]
        live = Live(taker, *sources)
        for logger in LOGGERS:
            cluster.write(logger, "dns", 5)
            cluster.rotate(logger, "dns", NAMES[0])
        cluster.write("logger-2", "dns", 1)
        live.poll(times=2)
        assert live.by_sensor == {"fra-1": 5, "fra-2": 6}

    def test_short_logs_of_two_that_are_the_same_are_two(self, taker: Taker, cluster: Cluster) -> None:
        """One record without a uid: the folders, and the names, say whose it is."""
        log = "dnsvigil_capture"
        live = Live(taker, cluster.source())
        for name in (NAMES[0], NAMES[0].replace("11", "13")):
            for logger in LOGGERS:
                (cluster.spool / logger / f"{log}.log").write_bytes(package_header(log) + package_line(log))
            if name == NAMES[0]:
                live.poll()
            for logger in LOGGERS:
                cluster.rotate(logger, log, name)
            live.poll(times=2)
        # What was rotated before anything of it was read begins like that of the hour before, and counts once.
        assert live.by_sensor == {"logger-1": 1, "logger-2": 1}

    def test_empty_logs_are_no_records(self, taker: Taker, cluster: Cluster) -> None:
        live = Live(taker, cluster.source())
        for logger in LOGGERS:
            (cluster.spool / logger / "dns.log").write_bytes(HEADER)
        live.poll()
        for logger in LOGGERS:
            with (cluster.spool / logger / "dns.log").open("ab") as stream:
                stream.write(line_for("dns", LOGGERS.index(logger), 1, False))
        live.poll()
        assert live.by_sensor == {"logger-1": 1, "logger-2": 1}


def write(folder: Path, count: int = 5, name: str = "dns.log") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(HEADER + b"".join(log_lines(count)))
    return path


class TestTwoWays:
    """A file that is found in two ways."""

    def test_folder_configured_twice(self, taker: Taker, tmp_path: Path) -> None:
        folder = write(tmp_path / "a" / "current").parent
        live = Live(taker, ZeekSource(folder, sensor="one"), ZeekSource(folder, sensor="two"))
        live.poll(times=2)
        assert live.by_sensor == {"one": 5}

    def test_globs_that_overlap(self, taker: Taker, tmp_path: Path) -> None:
        write(tmp_path / "zeek-a" / "current")
        live = Live(taker, ZeekSource(tmp_path / "zeek-*" / "current"), ZeekSource(tmp_path / "*" / "cur*"))
        live.poll(times=2)
        assert live.by_sensor == {"zeek-a": 5}

    @pytest.mark.parametrize("kind", ["folder", "file", "hard"])
    def test_links(self, taker: Taker, tmp_path: Path, kind: str) -> None:
        path = write(tmp_path / "spool" / "zeek")
        current = tmp_path / "logs" / "current"
        current.parent.mkdir()
        if kind == "folder":
            current.symlink_to(path.parent)
        else:
            current.mkdir()
            link = os.link if kind == "hard" else os.symlink
            link(path, current / "dns.log")
        live = Live(taker, ZeekSource(current, sensor="one"), ZeekSource(path.parent, sensor="two"))
        live.poll(times=2)
        write(path.parent, 9)
        live.poll(times=2)
        live.restart()
        live.poll()
        assert live.by_sensor == {"one": 9}

    def test_a_copy_beside_the_live_file(self, taker: Taker, cluster: Cluster) -> None:
        live = Live(taker, cluster.source())
        path = write(cluster.spool / "logger-2")
        live.poll()
        shutil.copy(path, cluster.archive / "dns.2023-11-14.log")
        write(path.parent, 9)
        live.poll(times=2)
        (cluster.archive / "dns.log.gz").write_bytes(gzip.compress(path.read_bytes()))
        live.poll(times=2)
        assert live.by_sensor == {"logger-2": 9}

    def test_a_folder_and_its_archive_that_are_one(self, taker: Taker, tmp_path: Path) -> None:
        folder = write(tmp_path / "zeek").parent
        write(folder, 3, "dns.1.log")
        live = Live(taker, ZeekSource(folder, archive=folder), ZeekSource(folder.parent / "*", archive=folder))
        live.poll(times=2)
        assert live.taken.read == 5  # the short one begins as the other does: it is a copy of it

    def test_another_name_for_the_sensor(self, taker: Taker, tmp_path: Path) -> None:
        path = write(tmp_path / "zeek" / "current")
        live = Live(taker, ZeekSource(path.parent, sensor="before"))
        live.poll()
        live._sources = [ZeekSource(path.parent, sensor="after")]
        live.restart()
        live.poll()
        write(path.parent, 9)
        live.poll()
        assert live.by_sensor == {"before": 5, "after": 4}

    def test_live_logs_of_two_sensors_that_are_the_same_are_two(self, taker: Taker, tmp_path: Path) -> None:
        for name in "ab":
            write(tmp_path / name)
        live = Live(taker, ZeekSource(tmp_path / "*"))
        live.poll(times=2)
        write(tmp_path / "a", 9)
        live.restart()
        live.poll(times=2)
        assert live.by_sensor == {"a": 9, "b": 5}


class TestIngest:
    """A file that is given may have been followed, and the other way round."""

    def given(self, taker: Taker, path: Path, cursors: Cursors, *sources: ZeekSource) -> Counter[str]:
        file = pending_log(path, cursors, sources)
        found: Counter[str] = Counter()
        for batch in read_batches(file.path, file.cursor, True, file.log_type):
            found[batch.cursor.sensor] += len(taker.batches([batch]).rows)
            cursors.put(batch.cursor)
        return found

    @pytest.mark.parametrize("sensor", [None, "fra-1"])
    @pytest.mark.parametrize("form", ["plain", "gz"])
    def test_after_run(self, taker: Taker, tmp_path: Path, sensor: str | None, form: str) -> None:
        path = write(tmp_path / "zeek" / "current")
        live = Live(taker, ZeekSource(path.parent, sensor=sensor))
        live.poll()
        copy = tmp_path / "backup" / "of" / f"dns.{form}"
        copy.parent.mkdir(parents=True)
        copy.write_bytes(COMPRESS[form](path.read_bytes()))
        assert not self.given(taker, copy, live._cursors).total()
        assert not self.given(taker, path, live._cursors).total()

    @pytest.mark.parametrize("sensor", [None, "fra-1"])
    def test_before_run(
        self, taker: Taker, tmp_path: Path, sensor: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write(tmp_path / "zeek" / "current")
        monkeypatch.chdir(path.parent)
        cursors = Cursors([])
        assert self.given(taker, Path("dns.log"), cursors).total() == 5
        assert not self.given(taker, path, cursors)
        follower = Follower([ZeekSource(path.parent, sensor=sensor)], cursors, 0)
        (file,) = follower.pending()
        assert not list(read_batches(file.path, file.cursor, file.finished))

    def test_of_an_archive_that_is_configured_knows_the_sensors(self, taker: Taker, cluster: Cluster) -> None:
        paths = []
        for logger in LOGGERS:
            cluster.write(logger, "dns", 3)
            paths.append(cluster.rotate(logger, "dns", NAMES[0], "gz"))
        cursors = Cursors([])
        found = sum((self.given(taker, path, cursors, cluster.source()) for path in paths), Counter())
        assert found == cluster.by_sensor

    def test_one_record_of_each_of_two_sensors(self, taker: Taker, tmp_path: Path) -> None:
        """With a uid, the same record is a copy; without, it may be of either."""
        log, cursors = "dnsvigil_capture", Cursors([])
        for name in "ab":
            (tmp_path / name).mkdir()
            (tmp_path / name / "dns.log").write_bytes(as_json(tsv(ts=f"{START}.0")))
            (tmp_path / name / f"{log}.log").write_bytes(package_header(log) + package_line(log))
        counts = [
            self.given(taker, tmp_path / name / file, cursors).total()
            for file in ("dns.log", f"{log}.log")
            for name in "ab"
        ]
        assert counts == [1, 0, 1, 1]
