"""``dnsvigil pdns compact`` on one machine: what it refuses, and what is left by a call that was killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.cli import compact
from dnsvigil.cli.main import main
from exporters.ingest.test_passive_dns import PDNS, row
from exporters.kills import killed_until_done
from exporters.running import write_config
from exporters.zeeklogs import START, package_header

MONTH = 31 * 86400
Run = Callable[..., tuple[int, str]]


class Killed(BaseException):
    """What nothing catches."""


@pytest.fixture
def run(tmp_path: Path, capsys: Any) -> Run:
    config = write_config(tmp_path)

    def run(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        status = main(["-c", str(config), *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out or err

    return run


@pytest.fixture
def archive(tmp_path: Path, run: Run) -> Path:
    """Return an archive of three months, with a record of its own in each, and one that is in all."""
    for number in range(3):
        log = tmp_path / "logs" / f"{PDNS}.{number}.log"
        log.parent.mkdir(exist_ok=True)
        rows = [row(number * MONTH, rrname=name) for name in (f"m{number}.example", "all.example")]
        log.write_bytes(package_header(PDNS) + b"".join(rows))
        os.utime(log, (START, START))
        assert run("archive", "--output", tmp_path / "archive", log)[0] == 0
    return tmp_path / "archive"


def test_a_call_that_was_killed_goes_on_with_its_month(
    tmp_path: Path, run: Run, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, replaced = compact._replace, []

    def once(*arguments: Any) -> None:
        if replaced:
            raise Killed  # what is written is not listed
        replaced.append(replace(*arguments))

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(compact, "_replace", once)
        run("pdns", "compact", "--output", killed, archive)
    assert len([*(killed / "passive-dns").iterdir()]) == 4
    again = run("pdns", "compact", "--output", killed, archive)
    assert again == (0, "2 months compacted, 4 tuples; 1 month had nothing new\n")
    assert run("pdns", "compact", "--output", whole, archive) == (0, "3 months compacted, 6 tuples\n")
    found = []
    for state in (killed, whole):
        assert len([*(state / "passive-dns").iterdir()]) == 6
        found.append(run("--state", state, "pdns", "lookup", "*.example", "--json"))
    assert found[0] == found[1]
    assert found[0][1].count("\n") == 4
    assert '"count": 3' in found[0][1]


def test_killed_at_any_instant_each_tuple_is_there_once(tmp_path: Path, run: Run, archive: Path) -> None:
    command = [sys.executable, "-m", "dnsvigil", "pdns", "compact", str(archive), "--output"]
    begin = time.monotonic()
    subprocess.run([*command, tmp_path / "whole"], check=True)
    taken = time.monotonic() - begin
    assert killed_until_done([*command, tmp_path / "killed"], taken, random.Random(5)) >= 3
    found = []
    for state in (tmp_path / "whole", tmp_path / "killed"):
        assert len([*(state / "passive-dns").iterdir()]) == 6
        found.append(run("--state", state, "pdns", "lookup", "*.example", "--json"))
    assert found[0] == found[1]


def test_what_the_archive_has_dropped_is_not_lost(tmp_path: Path, run: Run, archive: Path, caplog: Any) -> None:
    state = tmp_path / "state"
    look_up = ("--state", state, "pdns", "lookup", "*.example", "--json")
    run("pdns", "compact", "--output", state, archive)
    before = run(*look_up)
    (dropped,) = archive.glob("tuples/day=2023-11-*/*/*")
    content = dropped.read_bytes()
    dropped.unlink()
    assert run("pdns", "compact", "--output", state, archive) == (
        0,
        "0 months compacted, 0 tuples; 2 months had nothing new\n",
    )
    log = tmp_path / "logs" / f"{PDNS}.new.log"
    log.write_bytes(package_header(PDNS) + row(1, rrname="new.example"))
    os.utime(log, (START, START))
    run("archive", "--output", archive, log)
    left = "0 months compacted, 0 tuples; 2 months had nothing new; 1 month left as before\n"
    assert run("pdns", "compact", "--output", state, archive) == (1, left)
    assert "2023-11: the archives have new files of this month, but some of those" in caplog.text
    assert run(*look_up) == before
    dropped.write_bytes(content)
    assert run("pdns", "compact", "--output", state, archive)[0] == 0
    assert '"new.example' in run(*look_up)[1]


def test_what_is_no_archive_and_what_a_collector_has_is_refused(tmp_path: Path, run: Run, archive: Path) -> None:
    state = tmp_path / "collector"
    status, err = run("pdns", "compact", "--output", state, tmp_path / "logs")
    assert (status, err) == (2, f"dnsvigil: {tmp_path}/logs: there is no archive\n")
    assert not state.exists()
    assert run("--state", state, "ingest", tmp_path / "logs")[0] == 0
    before = run("--state", state, "pdns", "lookup", "*.example", "--json")
    status, err = run("pdns", "compact", "--output", state, archive)
    assert status == 2
    assert "it has passive DNS of a collector; give a folder of its own" in err
    assert run("--state", state, "pdns", "lookup", "*.example", "--json") == before


def test_a_folder_that_is_no_day_is_named(tmp_path: Path, run: Run, archive: Path, caplog: Any) -> None:
    (day,) = archive.glob("tuples/day=2023-11-*")
    day.rename(day.with_name("day=someday"))
    assert run("pdns", "compact", "--output", tmp_path / "state", archive)[1] == "2 months compacted, 4 tuples\n"
    assert "left out, as its folder is no day" in caplog.text
