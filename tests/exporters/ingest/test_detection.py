"""Detectors in the collector: when they judge, what becomes of what they say, and of their mistakes."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from dnsvigil.config.collector import Config, Detectors
from dnsvigil.detectors import runner
from dnsvigil.detectors.detector import Anomaly, Context, Detector
from dnsvigil.ingest.detection import DetectionSnapshot
from dnsvigil.store.findings import findings_in
from dnsvigil.store.store import Read, Store
from exporters.ingest.test_novelty_of_batches import CLIENT, HOUR, OTHER, Taking, asked, at


class Watching(Detector):
    """Scores each client by its new names, a tenth for each."""

    name = "watching"
    reads = ("novel",)
    evaluated: ClassVar[list[datetime]] = []

    def __init__(self, context: Context) -> None:
        self.context = context

    def evaluate(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        self.evaluated.append(now)
        query = "SELECT client, sum(names), min(first_seen), max(last_seen) FROM novel WHERE hour < ? GROUP BY client"
        for client, names, first, last in read(query, now):
            evidence = {"domains": ["rare.com"], "names": int(names)}
            yield Anomaly("client", client, min(int(names) / 10, 1), "warning", first, last, evidence)

    def counts(self) -> dict[str, int]:
        return {"names_scored": len(self.evaluated)}


class Hourly(Watching):
    name = "hourly"
    every = timedelta(hours=1)
    evaluated: ClassVar[list[datetime]] = []


class Unmade(Watching):
    def __init__(self, context: Context) -> None:
        raise OSError("no model")


class Raising(Watching):
    def evaluate(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        return read("SELECT nothing FROM nowhere")


class Odd(Watching):
    def evaluate(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        yield Anomaly("client", CLIENT, 0.9, "warning", now, now, {})
        yield Anomaly("nobody", CLIENT, 7.0, "dreadful", now, now, {})


class Lacking(Watching):
    reads = ("novel", "listed", "no such table; --")

    def lacks(self, read: Read, now: datetime) -> list[str]:
        return ["answers", "answers"] if read("SELECT 1 FROM novel HAVING sum(answered_names) = 0") else []


class Silent(Watching):
    def problems(self) -> list[str]:
        raise RuntimeError("lost")


DETECTORS = {
    "watching": Watching,
    "hourly": Hourly,
    "unmade": Unmade,
    "raising": Raising,
    "odd": Odd,
    "silent": Silent,
    "lacking": Lacking,
}


@pytest.fixture(autouse=True)
def _detectors(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    module = ModuleType("strange_detectors")
    vars(module).update({cls.__name__: cls for cls in DETECTORS.values()})
    monkeypatch.setitem(sys.modules, "strange_detectors", module)
    names = request.node.get_closest_marker("parametrize") and request.node.callspec.params.get("detectors")
    entries = [
        EntryPoint(name, f"strange_detectors:{cls.__name__}", runner.GROUP)
        for name, cls in DETECTORS.items()
        if name in (names or ["watching"])
    ]
    monkeypatch.setattr(runner, "entry_points", lambda group: entries if group == runner.GROUP else [])
    for cls in DETECTORS.values():
        cls.evaluated.clear()


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    with Store(tmp_path) as store, closing(Taking(store, Config(detectors=Detectors(top=2)))) as made:
        yield made


def names(count: int, second: float, client: str = CLIENT) -> list[bytes]:
    return [asked(f"n{second}x{n}y{len(client)}.b-rare.com", second, client) for n in range(count)]


def opened(taking: Taking) -> list[tuple[Any, ...]]:
    return [(each.detector, each.subject, each.score) for each in findings_in(taking.store.rows, "open")]


def test_each_minute_of_event_time_is_judged_once(taking: Taking) -> None:
    for second in (0, 20, 59, 61, 70, 200):
        taking.take(*names(1, second))
    assert Watching.evaluated == [at(0), at(61), at(200)]
    taking.restart()
    taking.take(*names(1, 220))
    assert Watching.evaluated == [at(0), at(61), at(200)]
    taking.take(*names(1, 30), *names(1, 241))
    assert Watching.evaluated[3:] == [at(241)]


@pytest.mark.parametrize("detectors", [["hourly", "watching"]])
def test_a_detector_is_asked_as_often_as_it_wants(taking: Taking, detectors: list[str]) -> None:
    for minute in range(0, 180, 10):
        taking.take(*names(1, minute * 60))
    assert Hourly.evaluated == [at(0), at(HOUR), at(2 * HOUR)]
    assert len(Watching.evaluated) == 18


def test_in_a_batch_of_hours_the_end_of_each_is_judged(taking: Taking) -> None:
    taking.take(*names(6, 100), *names(1, HOUR + 5, OTHER), *names(5, 3 * HOUR + 7, OTHER))
    assert Watching.evaluated == [at(HOUR), at(2 * HOUR), at(3 * HOUR + 7)]
    found = {(each.subject, each.first_seen, each.last_seen) for each in findings_in(taking.store.rows, "open")}
    assert found == {(CLIENT, at(100), at(100)), (OTHER, at(HOUR + 5), at(3 * HOUR + 7))}


def test_one_record_far_ahead_leaves_what_follows_to_be_judged(taking: Taking) -> None:
    taking.take(*names(9, 0))
    taking.take(*names(9, 30), asked("ahead.b-rare.com", 20 * HOUR, OTHER))
    taking.take(asked("ahead.c-rare.com", 20 * HOUR, OTHER))
    for minute in range(1, 4):
        taking.take(*names(4, 60 * minute, "10.0.0.1"))
    assert [now for now in Watching.evaluated if now < at(HOUR)] == [
        at(0),
        *(at(60 * minute) for minute in range(1, 4)),
    ]
    assert ("watching", "10.0.0.1", 1.0) in opened(taking)


@pytest.mark.parametrize("offset", [-20, 20])
@pytest.mark.parametrize("wrong", ["a", "c", "e"])
def test_one_sensor_whose_clock_is_wrong_hides_nothing(taking: Taking, wrong: str, offset: int) -> None:
    """Of nobody, be it the first or the last of which logs are read; nor of itself."""
    for minute in range(3):
        for sensor in "abcde":
            shift = offset * HOUR if sensor == wrong else 0
            client, second = f"10.0.0.{ord(sensor)}", 50 * HOUR + 60 * minute + 600 + shift
            taking.take(*(asked(f"{sensor}{minute}x{n}.b-rare.com", second, client) for n in range(4)), sensor=sensor)
    taking.flush()
    assert {found[1] for found in opened(taking)} == {f"10.0.0.{ord(sensor)}" for sensor in "abcde"}
    assert all(score == 1.0 for _, _, score in opened(taking))


def test_logs_of_sensors_that_are_read_one_after_the_other_are_all_judged(taking: Taking) -> None:
    for client in (CLIENT, OTHER):
        for hour in range(30):
            taking.take(*names(5 if hour == 3 else 1, hour * HOUR, client), sensor=client)
    assert {found[1] for found in opened(taking)} == {CLIENT, OTHER}


def test_scores_from_the_threshold_on_are_findings_and_the_highest_are_shown(taking: Taking) -> None:
    taking.take(*names(5, 1), *names(4, 1, OTHER), *names(1, 1, "10.0.0.1"))
    assert opened(taking) == [("watching", CLIENT, 0.5)]
    shown = taking.detection
    assert shown.scores == (("watching", "client", CLIENT, 0.5), ("watching", "client", OTHER, 0.4))
    (health,) = shown.detectors
    assert health.healthy
    assert (health.runs, health.failures, health.evaluated, health.counts) == (1, 0, at(1), {"names_scored": 1})
    assert dict(zip(runner.SCORE_BOUNDS, health.histogram, strict=False)) == {
        bound: int(bound in (0.1, 0.4, 0.5)) for bound in runner.SCORE_BOUNDS
    }
    assert health.score_sum == pytest.approx(1.0)
    taking.restart()
    assert taking.detection.scores == shown.scores  # before anything is judged anew


def test_a_threshold_can_be_another(tmp_path: Path) -> None:
    config = Config(detectors=Detectors(thresholds={"watching": 0.4}))
    with Store(tmp_path) as store, closing(Taking(store, config)) as taking:
        taking.take(*names(4, 1), *names(3, 1, OTHER))
        assert opened(taking) == [("watching", CLIENT, 0.4)]


def test_what_is_found_again_stays_one_finding(taking: Taking) -> None:
    for minute in range(3):
        taking.take(*names(3, 60 * minute))
    (found,) = findings_in(taking.store.rows, "open")
    assert (found.count, found.score, found.first_seen, found.last_seen) == (2, 0.9, at(0), at(120))


@pytest.mark.parametrize("detectors", [["watching", "unmade", "raising", "odd", "silent"]])
def test_a_detector_that_fails_harms_no_other_and_says_so(
    taking: Taking, detectors: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    for minute in range(3):
        taking.take(*names(5, 60 * minute))
    assert {found[0] for found in opened(taking)} == {"watching", "silent"}
    health = {each.name: each for each in taking.detection.detectors}
    assert {name: (each.runs, each.failures) for name, each in health.items()} == {
        "watching": (3, 0),
        "silent": (3, 0),
        "unmade": (0, 0),
        "raising": (3, 3),
        "odd": (3, 3),
    }
    assert health["watching"].healthy
    assert health["unmade"].problems == ("OSError: no model",)
    assert "nowhere" in health["raising"].problems[0]
    assert "subject_type" in health["odd"].problems[0]
    assert health["silent"].problems == ("RuntimeError: lost",)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "detector unmade cannot be used",
        "detector odd failed",
        "detector raising failed",
    ]


@pytest.mark.parametrize("detectors", [["lacking"]])
def test_a_detector_shows_on_how_much_it_ran_and_what_it_lacked(taking: Taking, detectors: list[str]) -> None:
    assert taking.detection.detectors[0].inputs == {}
    taking.take(*names(2, 0), asked("y.c-rare.com", 1))
    (health,) = taking.detection.detectors
    assert (health.inputs, health.lacks, health.healthy) == ({"novel": 2, "listed": 0}, ("answers",), True)
    taking.take(asked("x.b-rare.com", 70, answers="192.0.2.1"))
    assert taking.detection.detectors[0].lacks == ()


def test_an_unknown_detector_that_is_disabled_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = Config(detectors=Detectors(disabled=["wacthing"]))
    with Store(tmp_path) as store, closing(Taking(store, config)):
        assert "no detector 'wacthing' is installed; installed: watching" in caplog.text


def test_a_disabled_detector_is_not_asked(tmp_path: Path) -> None:
    config = Config(detectors=Detectors(disabled=["watching"]))
    with Store(tmp_path) as store, closing(Taking(store, config)) as taking:
        taking.take(*names(9, 1))
        assert not Watching.evaluated
        assert taking.detection == DetectionSnapshot()
