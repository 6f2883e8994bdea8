"""A burst of malware and a tunnel are found by the real detectors, though one of five sensors has a wrong clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from dnsvigil.config.collector import Config
from dnsvigil.ingest.intake import Intake
from dnsvigil.records import Cursor
from dnsvigil.sources.zeek.lines import count_lines, split
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.store.findings import findings_in
from dnsvigil.store.store import Store
from exporters.detectors.test_malware import FAMILY, LEXICON, NAMES
from lab import infected, tunnels, zeeklog
from lab.population import Population, addresses
from lab.transactions import MICROSECONDS, Transactions, lines

HISTORY = 1_718_000_000 // 86_400 * 86_400
HOURS = 0.8
STEP = 180
BURST, LEAK = 1500, 1800  # seconds after the begin
SENSORS = "abcde"
BOT, LEAKY = 7, 13  # numbers of clients; that of a sensor is the remainder

AHEAD = 20 * 3600

Shift = Callable[[int, Transactions], "np.ndarray[tuple[int], np.dtype[np.int64]] | int"]

CLOCKS: dict[str, Shift] = {
    "ahead": lambda _, part: AHEAD,
    "behind": lambda _, part: -AHEAD,
    "jumps to and fro": lambda step, part: AHEAD * (step % 3 == 1) - AHEAD * (step % 3 == 2),
    "jumps ahead": lambda step, part: AHEAD * (step * STEP >= BURST),
    "one record ahead": lambda step, part: np.where(np.arange(len(part)) == 0, AHEAD * (step == 5), 0),
}
"""By how many seconds the times of a sensor's records are wrong, in each step."""


def batch(part: Transactions, sensor: str) -> Batch:
    head = zeeklog.header(part.ts[0] / MICROSECONDS)
    body = lines(part)
    chunks, _, skipped = split(head + body, None, DNS)
    return Batch(chunks, count_lines(body), skipped, Cursor(sensor, sensor, 0, "", 0, b"", ""), 0, DNS)


@pytest.mark.parametrize(
    ("clock", "wrong", "live"),
    [
        ("ahead", "a", False),
        ("ahead", "e", True),
        ("behind", "e", False),
        ("jumps to and fro", "a", False),
        ("jumps ahead", "e", False),
        ("one record ahead", "c", False),  # that of the burst
    ],
)
def test_what_is_found_does_not_depend_on_one_clock(tmp_path: Path, clock: str, wrong: str, live: bool) -> None:
    start = int(time.time() - 3600 * HOURS) // STEP * STEP if live else HISTORY
    clients = addresses(40)
    people = Population(clients, NAMES, seed=3, per_day=400)
    bot, leaky = clients[BOT], clients[LEAKY]
    burst = infected.infected(FAMILY["locky"], LEXICON, [bot], seed=4, start=start + BURST, hours=0.2, staggered=0)
    tunnel = tunnels.dnscat2(leaky, "net-q.com", seed=1, start=start + LEAK)
    rows = Transactions.join([*people.slices(start, HOURS), burst.transactions, tunnel.transactions])
    rows = rows[: int(np.searchsorted(rows.ts, (start + 3600 * HOURS) * MICROSECONDS))]
    sensors = np.array([SENSORS[clients.index(client) % 5] for client in rows.client.tolist()])
    steps = (rows.ts // MICROSECONDS - start) // STEP
    records = 0
    with Store(tmp_path) as store, closing(Intake(store, Config())) as intake:
        for step in range(int(steps.max()) + 1):
            for sensor in SENSORS:
                part = rows[np.flatnonzero((steps == step) & (sensors == sensor))]
                if not len(part):
                    continue
                if sensor == wrong:
                    part.ts[:] += np.asarray(CLOCKS[clock](step, part), np.int64) * MICROSECONDS
                (found,) = intake.ingest([batch(part, sensor)])
                records += found.records + found.skipped.total()
                assert found.skipped.keys() <= ({"timestamp"} if live and sensor == wrong else set())
        intake.flush()
        opened = {(each.detector, each.subject) for each in findings_in(store.rows, "open")}
    assert records == len(rows)
    assert {("malware", bot), ("tunnel", leaky)} <= opened
    assert {subject for _, subject in opened if subject in clients} == {bot, leaky}
