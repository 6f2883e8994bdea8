"""SIGKILL at any instant: nothing is lost, and nothing counted twice."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from dnsvigil.store.store import Store
from exporters.running import (
    DYING,
    Samples,
    Writer,
    collecting,
    eventually,
    get,
    has_ingested,
    ingested,
    passive_dns,
    sample,
    samples,
    totals,
    write_config,
)

SEED = 20


def test_killed_fifty_times_the_totals_are_the_truth(tmp_path: Path) -> None:
    config, state = write_config(tmp_path), tmp_path / "state"
    with collecting(config, state) as first:
        # What lies in the archive before the first start is left alone, so the log begins after it.
        eventually(lambda: first.listening() and "dnsvigil_store_size_bytes" in first.get("/metrics"))
    writer = Writer(tmp_path / "zeek", rate=15_000, rotate=5)
    writer.start()
    dice = random.Random(SEED)
    lives = [*[die_in_start_up] * 24, *[die_at_work] * 12, *[die_at_a_commit] * 14]
    dice.shuffle(lives)
    try:
        for live in lives:
            live(config, state, dice)
    finally:
        expected = writer.stop()

    with collecting(config, state) as last:
        records = expected[sample("dnsvigil_records_ingested_total", source="zeek")]
        eventually(lambda: has_ingested(last.get("/metrics"), expected), 90)
        time.sleep(2)  # for whatever else it might read
        text = last.get("/metrics")
        assert last.terminate() == 0
    assert differences(expected, totals(text)) == {}
    assert samples(text)[sample("dnsvigil_files_lost_total", source="zeek")] == 0

    undisturbed = tmp_path / "undisturbed"
    run("--state", undisturbed, "ingest", tmp_path / "zeek")
    assert differences(expected, totals(run("--state", undisturbed, "metrics"))) == {}
    assert summed(state) == summed(undisturbed)
    assert summed(state)[0] == records
    tuples = passive_dns(state)
    assert tuples == passive_dns(undisturbed)  # with those that dns.log has
    assert {key: tuples[key] for key in writer.tuples} == writer.tuples


def die_in_start_up(config: Path, state: Path, dice: random.Random) -> None:
    with collecting(config, state):
        time.sleep(dice.uniform(0, 1.5))


def die_at_work(config: Path, state: Path, dice: random.Random) -> None:
    with collecting(config, state) as collector:
        url = f"{collector.url}/metrics"
        eventually(lambda: ingested(get(url)))
        time.sleep(dice.uniform(0, 1.2))


def die_at_a_commit(config: Path, state: Path, dice: random.Random) -> None:
    with collecting(config, state, "-c", f"{DYING}sys.exit(main())", str(dice.randrange(8))) as collector:
        assert collector.process.wait(30) == -signal.SIGKILL, collector.stderr()


def differences(expected: Samples, found: Samples) -> dict[object, tuple[float | None, float | None]]:
    keys = {*expected, *found}
    return {key: (expected.get(key), found.get(key)) for key in keys if expected.get(key) != found.get(key)}


def run(*arguments: object) -> str:
    command = [sys.executable, "-m", "dnsvigil", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def summed(state: Path) -> list[int]:
    """Return the sums of the summaries, which no metric shows."""
    columns = ["types: records", "zones: queries", "failures: failures", "zones: nxdomain"]
    columns += ["latencies: records", "latencies: rtt"]
    with Store(state) as store:
        return [
            store.rows(f"SELECT sum({column})::BIGINT FROM minute_{table}")[0][0]
            for table, column in (each.split(": ") for each in columns)
        ] + [store.rows(f"SELECT sum({each})::BIGINT FROM domain_hours")[0][0] for each in ("queries", "nxdomain")]
