"""The detection part of ``make bench``, with logs that are small."""

from __future__ import annotations

import re
from collections import namedtuple
from pathlib import Path

import pytest

from lab import provider

from . import detection
from .ingestion import WITHOUT_DETECTORS, Cost, ingest
from .ingestion import scan as bare_scan

Usage = namedtuple("Usage", "total used free")


def rows(printed: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in printed.splitlines() if re.match(r"\| \d", line)]


def test_a_row_for_each_log_and_a_day_by_the_last(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(detection, "RUNS", ((2_000, 2), (3_000, 1)))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    detection.main()
    out, err = capfd.readouterr()
    assert [row[:2] for row in rows(out)] == [["2,000", "new"], ["2,000", "known"], ["3,000", "new"]]
    assert re.findall(r"([\d,]+) records read, 0 skipped", err) == ["2,000"] * 4 + ["3,000"] * 2
    assert {len(row) for row in rows(out)} == {12}
    assert out.count("|\n") == 5  # all rows are of one table
    wall = [float(rows(out)[-1][place].removesuffix(" s")) for place in (4, 7)]
    day = re.search(r"A day of 820,000,000 .*: ([\d.]+) h without detectors, ([\d.]+) h with", out)
    assert day
    assert [float(hours) for hours in day.groups()] == pytest.approx(
        [seconds * 820_000 / 3 / 3600 for seconds in wall], rel=0.1
    )
    assert not list(tmp_path.iterdir())


def test_the_second_log_goes_into_the_stores_of_the_first_between_two_scans(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    taken = []

    def note(log: Path, state: Path, config: Path) -> tuple[Cost, float]:
        taken.append((log.read_bytes(), state, config.read_text()))
        return Cost(2, 1), 1

    monkeypatch.setattr(detection, "ingest", note)
    scans = iter([Cost(1, 2), Cost(1, 1)] * 2)
    monkeypatch.setattr(detection, "scan", lambda _: next(scans))
    assert [result.scan.cpu for result in detection.measure(tmp_path, 100, 2)] == [1, 1]  # the cheaper ones
    assert [config for *_, config in taken] == [WITHOUT_DETECTORS, "{}"] * 2
    first, _, second, _ = (log for log, *_ in taken)
    assert first != second
    assert taken[0][1] == taken[2][1] != taken[1][1] == taken[3][1]
    assert not list(tmp_path.glob("*.log"))


def test_ratios_are_of_cpu_and_a_day_is_of_wall_clock() -> None:
    result = detection.Result(Cost(0.2, 0.3), (Cost(5, 3), 400), (Cost(20, 12), 1_700))
    assert str(result) == "0.30 s | 3.0 s | 5.0 s | 400 MB | 12.0 s | 20.0 s | 1,700 MB | 4.00 | 0.100 | 0.025"
    assert ": 1.1 h without detectors, 4.6 h with" in detection.of_a_day(1_000_000, result)


def test_a_disk_without_room_is_said_and_ends_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**10, 0, 10**9))
    monkeypatch.setattr(detection, "RUNS", ((30_000_000, 1),))
    detection.main()
    out = capsys.readouterr().out
    assert "from 30,000,000 records on: 7.5 GB needed, 1.0 GB free" in out
    assert not rows(out)


def test_a_process_is_measured_and_one_that_fails_raises(tmp_path: Path) -> None:
    log, config = tmp_path / "dns.log", tmp_path / "dnsvigil.yml"
    provider.write(log, 1_000, 1)
    config.write_text(WITHOUT_DETECTORS)
    cost, peak = ingest(log, tmp_path / "state", config)
    assert cost.cpu > 0.2
    assert 50 < peak < 2_000
    assert bare_scan(log).cpu < cost.cpu
    with pytest.raises(RuntimeError, match="ended with"):
        ingest(tmp_path / "none.log", tmp_path / "state", config)
