"""What time it is by the records of several sensors, of which one may be wrong."""

from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config
from dnsvigil.config.collector import Store as Bounds
from dnsvigil.ingest.event_time import EventTime, Minute, newest_of
from dnsvigil.ingest.intake import Intake
from dnsvigil.ingest.records import SKIPPED
from dnsvigil.records import Cursor
from dnsvigil.sources.zeek.lines import count_lines, split
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.store.minutes import oldest_minute
from dnsvigil.store.store import Store
from exporters.zeeklogs import HEADER, START, tsv

NOON = datetime(2023, 11, 14, 12)
HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)
LATER = NOON + 1000 * DAY  # the wall clock, when it is a history that is read
SENSORS = ("a", "b", "c", "d", "e")


def busy(end: datetime, minutes: int = 10, records: int = 100) -> list[Minute]:
    """So many minutes up to a time, with as many records each."""
    return [Minute(end - number * MINUTE, records) for number in reversed(range(minutes))]


class TestBatch:
    @pytest.mark.parametrize(
        ("odd", "expected"),
        [
            ([], NOON),
            ([Minute(NOON + 20 * HOUR, 1)], NOON),
            ([Minute(NOON + 20 * HOUR, 30), Minute(NOON + 400 * DAY, 2)], NOON),
            ([Minute(NOON + 20 * HOUR, 600)], NOON + 20 * HOUR),
            ([Minute(NOON + 5 * MINUTE, 1)], NOON + 5 * MINUTE),
        ],
    )
    def test_a_few_records_far_ahead_are_not_its_newest(self, odd: list[Minute], expected: datetime) -> None:
        assert newest_of(busy(NOON) + odd) == expected

    def test_of_a_few_records_the_last_is(self) -> None:
        assert newest_of([Minute(NOON, 1), Minute(NOON + 3 * HOUR, 1)]) == NOON + 3 * HOUR


@pytest.mark.parametrize("offset", [-20 * HOUR, -400 * DAY, 20 * HOUR, 400 * DAY], ids=str)
@pytest.mark.parametrize("wrong", SENSORS)
def test_one_wrong_sensor_of_five(wrong: str, offset: timedelta) -> None:
    """Unless it is the first of which anything is read, whatever comes then; event time does not go back."""
    times = EventTime(NOON - HOUR)
    for minute in range(60):
        now = NOON + minute * MINUTE
        for sensor in SENSORS if wrong != "a" else reversed(SENSORS):
            own = now + (offset if sensor == wrong else timedelta())
            assert times.read(sensor, busy(own), LATER) == own
        assert times.newest == now


@pytest.mark.parametrize("records", [1, 20])
def test_a_clock_that_jumps_and_comes_back(records: int) -> None:
    times = EventTime(None)
    times.read("a", busy(NOON), LATER)
    assert times.read("a", busy(NOON + 20 * HOUR, 1, records), LATER) == NOON
    assert times.read("a", busy(NOON + 5 * MINUTE), LATER) == times.newest == NOON + 5 * MINUTE


def test_a_history_of_years_after_another() -> None:
    times = EventTime(NOON)
    for start in (NOON, NOON + 300 * DAY, NOON + 900 * DAY):
        for sensor in SENSORS:
            times.read(sensor, busy(start), LATER)
    assert times.newest == NOON + 900 * DAY


def test_live_the_wall_clock_is_right() -> None:
    """Also where one of two sensors, or two of three, are wrong; and after a pause at once."""
    times = EventTime(None)
    for sensor in "bc":
        times.read(sensor, busy(NOON - 20 * HOUR), NOON)
    times.read("a", busy(NOON), NOON)
    assert times.newest == NOON
    assert times.read("a", busy(NOON + 30 * MINUTE, 1, 1), NOON) == times.newest == NOON
    assert times.read("a", busy(NOON + 3 * HOUR, 1, 1), NOON + 3 * HOUR) == times.newest == NOON + 3 * HOUR
    assert times.read("a", busy(NOON - 2 * DAY), NOON + 3 * HOUR) == NOON + 3 * HOUR  # a log of the past


class TestTooOld:
    """A record from before what the store keeps is skipped, for that reason."""

    def take(self, intake: Intake, *seconds: float) -> dict[str, int]:
        body = b"".join(tsv(ts=f"{START + second:.6f}", uid=f"C{second}") for second in seconds)
        chunks, _, skipped = split(HEADER + body, None, DNS)
        cursor = Cursor("1", "zeek", 0, "", 0, b"", "")
        return dict(intake.ingest([Batch(chunks, count_lines(body), skipped, cursor, 0, DNS)])[0].skipped)

    def test_and_nothing_else_is_forgotten(self, tmp_path: Path) -> None:
        day = 86400.0
        config = Config(store=Bounds(retention=type(Bounds().retention)(3 * day)))
        with Store(tmp_path) as store, closing(Intake(store, config)) as intake:
            assert not self.take(intake, *range(20))
            assert not self.take(intake, 10 * day, *range(20, 50))  # one is wrong
            assert not self.take(intake, *range(50, 60))
            assert oldest_minute(store) == datetime(2023, 11, 14, 22, 13)
            assert not self.take(intake, *(5 * day + second for second in range(200)))
            assert self.take(intake, 5 * day + 201, 60, 61) == {"too_old": 2}
        with Store(tmp_path) as store, closing(Intake(store, config)) as intake:
            assert self.take(intake, 62, 5 * day + 202) == {"too_old": 1}
            assert ("zeek", "too_old", 3) in SKIPPED.rows(store.rows)


def test_a_sensor_with_sparse_logs_holds_no_history_back() -> None:
    wall = datetime(2026, 1, 1)
    begin = datetime(2025, 6, 1)
    times = EventTime(None)
    times.read("pot", [Minute(begin, 5)], wall, sparse=True)
    assert times.newest == begin
    for hours in range(1, 30):
        times.read("fra", [Minute(begin + timedelta(hours=hours), 50)], wall)
    assert times.newest == begin + timedelta(hours=29)
    times.read("pot", [Minute(begin + timedelta(days=60), 5)], wall, sparse=True)
    assert times.newest == begin + timedelta(hours=29)
    times.read("pot", [Minute(wall - timedelta(minutes=1), 5)], wall, sparse=True)
    assert times.newest == wall - timedelta(minutes=1)
