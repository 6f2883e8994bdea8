"""What the collector says of folders that are not there, of the files that it reads, and of those that it does not."""

import logging
import shutil
from collections import Counter
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config, Detectors, NetflowSource, Sources, ZeekSource
from dnsvigil.config.types import NamePattern
from dnsvigil.sources.availability import Availability
from exporters.running import collecting_here, eventually, get, sample, samples, write_config
from exporters.sources.zeek.test_follower import Live
from exporters.zeeklogs import COMPRESS, HEADER, Taker, as_json, header_of, log_lines, package_header, package_line

LINES = log_lines(12)


def write(path: Path, *lines: bytes, in_json: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = b"".join(map(as_json, lines)) if in_json else HEADER + b"".join(lines)
    path.write_bytes(COMPRESS[path.suffix[1:]](content) if path.suffix[1:] in COMPRESS else content)
    return path


class TestFiles:
    """Names of logs that are configured."""

    def test_only_those_are_read(self, taker: Taker, tmp_path: Path) -> None:
        current, archive = tmp_path / "a" / "current", tmp_path / "a" / "2023-11-14"
        write(current / "json_streaming_dns.log", *LINES[:3], in_json=True)
        write(current / "json_streaming_dns.1.log", *LINES[3:5], in_json=True)
        write(archive / "json_streaming_dns.2.log.gz", *LINES[5:9], in_json=True)
        write(current / "dns.log", *LINES[:3])  # the same records, as Zeek writes both
        log = "dnsvigil_pdns"
        (current / f"json_streaming_{log}.log").write_bytes(package_header(log) + package_line(log))
        live = Live(taker, ZeekSource(current, files=[NamePattern("json_streaming_dns*.log")]))
        live.poll(times=2)
        assert live.by_log == {"dns": 9, log: 1}
        shutil.move(current / "json_streaming_dns.log", archive / "json_streaming_dns.3.log")
        live.poll(times=2)
        live.restart()
        live.poll()
        assert live.by_log == {"dns": 9, log: 1}

    def test_that_end_with_a_date_go_on_as_they_grow(self, taker: Taker, tmp_path: Path) -> None:
        live = Live(taker, ZeekSource(tmp_path, files=[NamePattern("dns_*")]))
        for number, day in enumerate(("20260130", "20260131")):
            write(tmp_path / f"dns_{day}.log", *LINES[6 * number : 6 * number + 3])
            live.poll()
            write(tmp_path / f"dns_{day}.log", *LINES[6 * number : 6 * number + 6])
            live.poll()
        assert live.by_log == {"dns": 12}


def test_a_log_that_is_not_read_is_named_once(taker: Taker, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    live = Live(taker, ZeekSource(tmp_path / "current"))
    unread = write(tmp_path / "current" / "json_streaming_dns.log", *LINES[:3], in_json=True)
    for day in (30, 31):
        write(tmp_path / "2026-01-31" / f"dns_202601{day}.log.gz", *LINES[:3])
    (tmp_path / "current" / "conn.log").write_bytes(header_of("ts", "uid", path="conn") + b"1\tC\n")
    (tmp_path / "current" / "empty.log").touch()
    write(tmp_path / "current" / "dns.log", LINES[0])
    live.poll(times=3)
    said = [record.getMessage().split(" is a ")[0] for record in caplog.records if "not read" in record.getMessage()]
    assert said == [str(unread), str(tmp_path / "2026-01-31" / "dns_20260130.log.gz")]
    assert live.by_log == {"dns": 1}


def test_the_log_says_once_which_files_are_read(taker: Taker, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    live = Live(taker, ZeekSource(tmp_path / "fra-1" / "current"))
    path = tmp_path / "fra-1" / "current" / "dns.log"
    for count in (1, 2, 3):
        write(path, *LINES[:count])
        live.poll(times=2)
    assert caplog.messages == [f"reading {path}, a current log of sensor fra-1"]


def test_changes_of_folders_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    zeek = [ZeekSource(tmp_path / "zeek", archive=tmp_path / "archive"), ZeekSource(tmp_path / "*" / "current")]
    sources = Sources(zeek, [NetflowSource(tmp_path / "flows")])
    looking = Availability(Config(sources=sources, detectors=Detectors(lists=tmp_path / "lists")))
    for _ in range(3):
        assert Counter(looking.look().values()) == {False: 5}
    assert [message.split("; ")[0] for message in caplog.messages] == [
        f"sources.zeek[0].path: {tmp_path}/zeek does not exist",
        f"sources.zeek[0].archive: {tmp_path}/archive does not exist",
        f"sources.zeek[1].path: {tmp_path}/*/current no folder matches",
        f"detectors.lists: {tmp_path}/lists does not exist",
    ]
    caplog.clear()
    (tmp_path / "zeek").mkdir()
    (tmp_path / "lists").touch()
    for _ in range(2):
        assert Counter(looking.look().values()) == {False: 4, True: 1}
    assert caplog.messages == [
        f"sources.zeek[0].path: {tmp_path}/zeek can be read again",
        f"detectors.lists: {tmp_path}/lists is not a folder; nothing is read from there until it can be",
    ]


def test_the_collector_shows_what_it_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnsvigil.collector.daemon._LOOK_SECONDS", 0.2)
    good, missing = tmp_path / "zeek" / "current", tmp_path / "none"
    sources = {"zeek": [{"path": str(good)}, {"path": str(missing)}]}
    with collecting_here(write_config(tmp_path, sources=sources), tmp_path / "state") as daemon:

        def available(path: Path) -> float | None:
            metrics = samples(get(f"{daemon.server.url}/metrics"))
            return metrics.get(sample("dnsvigil_source_available", source="zeek", path=str(path)))

        eventually(lambda: available(good) == 1)
        assert available(missing) == 0
        missing.mkdir()
        eventually(lambda: available(missing) == 1)
