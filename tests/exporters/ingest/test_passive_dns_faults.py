"""Passive DNS that is killed or has no space left at any instant: nothing is lost, and nothing counts twice."""

import random
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config
from dnsvigil.ingest import compaction
from dnsvigil.store.passive_dns import FOLDER
from dnsvigil.store.store import Store
from exporters.ingest.taking import Taking
from exporters.ingest.test_passive_dns import HOUR, PDNS, levels, row
from exporters.kills import killed_until_done
from exporters.tuples import all_tuples
from exporters.zeeklogs import package_header

_INGEST = """
import sys
from dnsvigil.cli.main import main
from dnsvigil.ingest import passive_dns
passive_dns._MAX_WAITING = 100
sys.exit(main(["--log-level", "error", "--state", sys.argv[1], "ingest", sys.argv[2]]))
"""


def write_logs(folder: Path, hours: int) -> None:
    """Write a log of tuples, of which many come again, for each hour."""
    dice = random.Random(4)
    folder.mkdir()
    for hour in range(hours):
        rows = (
            row(
                hour * HOUR + i,
                rrname=f"h{dice.randrange(300)}.example",
                rdata=f"192.0.2.{dice.randrange(9)}",
                count=i + 1,
            )
            for i in range(150)
        )
        (folder / f"pdns.{hour:02}.log").write_bytes(package_header(PDNS) + b"".join(rows))


def test_killed_at_thirty_instants_the_tuples_are_those_of_an_undisturbed_store(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    write_logs(logs, 40)
    command = [sys.executable, "-c", _INGEST]
    begin = time.monotonic()
    subprocess.run([*command, tmp_path / "undisturbed", logs], check=True)
    whole = time.monotonic() - begin
    dice = random.Random(5)
    kills = killed_until_done([*command, tmp_path / "state", logs], whole, dice)
    assert kills >= 5
    with Store(tmp_path / "state") as store, Store(tmp_path / "undisturbed") as undisturbed:
        found = all_tuples(store)
        assert found == all_tuples(undisturbed)
        assert sum(each["count"] for each in found) == 40 * 150 * 151 // 2


def test_a_full_disk_stops_the_merging_and_the_old_files_serve_on(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(small_disk) as store, closing(Taking(store, Config())) as taking:
        for hour in range(3):
            taking.take(PDNS, *(row(hour * HOUR, rrname=f"{i}.example", rdata=f"192.0.2.{hour}") for i in range(5000)))
        before = all_tuples(store)
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as stream, suppress(OSError):
            while stream.write(b"\0" * 4096):
                pass
        files = sorted((small_disk / FOLDER).iterdir())
        (part,) = (part for part in taking.intake._parts if hasattr(part, "_compactor"))
        job = compaction.Compaction(part.tuples.files(), 2, part.tuples.files()[0].period)
        part._compactor._start(job)
        part._compactor._running[0].wait()
        assert part._compactor.step(taking.intake._newest) is None
        assert part._compactor.failures == 1
        assert sorted((small_disk / FOLDER).iterdir()) == files
        assert all_tuples(store) == before
        filler.unlink()
        monkeypatch.setattr(part._compactor, "_retry", 0.0)
        taking.take(PDNS, *(row(3 * 86400) for _ in range(30_000)))
        taking.intake.flush()
        assert levels(store) == [2, 2]
        assert len(all_tuples(store)) == len(before) + 1
