"""What is usual for a series, and what is a spike, a drop or a shift, on series made for the purpose."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from dnsvigil.features.baseline import EVALUATED_ANOMALIES, HISTORY_SLOTS, WEEK_SLOTS, Evaluation, evaluate

Floats = NDArray[np.float64]

DAY = 288
NOW = 1_709_758_800  # Wednesday, 6 March 2024, 21:00 UTC
SERIES = 20


@pytest.fixture(autouse=True)
def _utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def usual(weekend: float = 1.0, series: int = SERIES) -> Floats:
    """A day that is four times higher at noon than at midnight, with log-normal and Poisson noise, up to NOW."""
    rng = np.random.default_rng(1)
    slots = NOW // 300 + np.arange(-HISTORY_SLOTS, 1)
    shape = 1 - 0.6 * np.cos(2 * np.pi * slots / DAY)
    shape = np.where((slots // DAY + 3) % 7 >= 5, weekend * shape, shape)  # the epoch began on a Thursday
    return rng.poisson(20_000 * shape * np.exp(rng.normal(0, 0.03, (series, len(slots))))).astype(np.float64)


def anomalies(evaluation: Evaluation, series: int = 0) -> list[str]:
    return [name for name, found in zip(EVALUATED_ANOMALIES, evaluation.anomalies[series], strict=True) if found]


def share(evaluation: Evaluation, name: str) -> float:
    return float(evaluation.anomalies[:, EVALUATED_ANOMALIES.index(name)].mean())


def evaluate_at(history: Floats, back: int) -> Evaluation:
    """Judge the slot so many before the last, with what would have been known then."""
    known = np.full_like(history, np.nan)
    known[:, back:] = history[:, : history.shape[1] - back]
    return evaluate(known, NOW - 300 * back)


def test_usual_values_are_near_the_baseline_and_no_anomaly():
    history = usual(series=200)
    evaluation = evaluate(history, NOW)
    assert not evaluation.anomalies.any()
    expected = 20_000 * (1 - 0.6 * np.cos(2 * np.pi * (NOW // 300 % DAY) / DAY))
    assert np.abs(np.median(evaluation.baseline) / expected - 1) < 0.01
    assert np.abs(evaluation.baseline / expected - 1).max() < 0.05
    assert np.median(evaluation.spread / expected) == pytest.approx(0.03, abs=0.015)
    assert (evaluation.value == history[:, -1]).all()
    assert (evaluation.history_seconds == HISTORY_SLOTS * 300).all()
    np.testing.assert_allclose(evaluation.deviation, (evaluation.value - evaluation.baseline) / evaluation.spread)


@pytest.mark.parametrize(
    ("times", "name"), [(1.5, "spike"), (2, "spike"), (10, "spike"), (0.7, "drop"), (0.2, "drop"), (0, "drop")]
)
def test_one_slot_is_enough(times, name):
    history = usual()
    history[:, -1] *= times
    evaluation = evaluate(history, NOW)
    assert share(evaluation, name) == 1
    assert evaluation.anomalies.sum() == SERIES
    assert (np.sign(evaluation.deviation) == np.sign(times - 1)).all()


def test_the_night_has_a_scale_of_its_own():
    history = usual()
    midnight = np.roll(history, 3 * 12, axis=1)
    midnight[:, -1] *= 2  # still less than half of what the day has
    assert share(evaluate(midnight, NOW + 3 * 3600), "spike") == 1


def test_a_level_that_lasts_is_a_shift_within_the_hour_and_later_the_baseline():
    history = usual()
    up, three_days = history.copy(), history.copy()
    up[:, -12:] *= 1.5
    assert share(evaluate(up, NOW), "shift_up") == 1
    assert share(evaluate(up, NOW), "spike") == 0
    early = history.copy()
    early[:, -3:] *= 1.5
    assert share(evaluate(early, NOW), "shift_up") == 0
    assert share(evaluate(early, NOW), "spike") == 1
    down = history.copy()
    down[:, -12:] *= 0.6
    assert share(evaluate(down, NOW), "shift_down") == 1
    three_days[:, -3 * DAY :] *= 2
    followed = evaluate(three_days, NOW)
    assert not followed.anomalies.any()
    np.testing.assert_allclose(followed.baseline, 2 * evaluate(history, NOW).baseline, rtol=0.1)
    three_days[:, -1] *= 2
    assert share(evaluate(three_days, NOW), "spike") == 1


def test_a_spike_that_is_over_says_nothing_more():
    history = usual()
    history[:, -13:-1] *= 5
    assert not evaluate(history, NOW).anomalies.any()


def wandering() -> Floats:
    """Days that differ by a third, but not from one slot to the next."""
    rng = np.random.default_rng(13)
    slots = np.arange(-HISTORY_SLOTS, 1)
    days = np.arange(-HISTORY_SLOTS, DAY, DAY)
    return np.stack([row * np.exp(np.interp(slots, days, rng.normal(0, 0.3, len(days)))) for row in usual()])


def test_where_days_differ_the_last_hour_tells_what_is_sudden():
    history = wandering()
    evaluation = evaluate(history, NOW)
    assert not evaluation.anomalies.any()
    as_before = np.abs(evaluation.value / evaluation.baseline - 1) < 0.15
    assert as_before.sum() >= 5
    for times, name in ((2.5, "spike"), (0.3, "drop")):
        changed = history.copy()
        changed[:, -1] *= times
        assert share(evaluate(changed[as_before], NOW), name) == 1


def test_where_the_last_hour_lies_off_going_back_is_not_sudden():
    history = wandering()
    history[:, -1] = evaluate(history, NOW).baseline
    for times in (0.8, 1.25):
        for off in (0.3, 3.0):
            back = history.copy()
            back[:, -13:-1] *= off
            back[:, -1] *= times
            assert not evaluate(back, NOW).anomalies.any(), (times, off)


def test_the_day_of_the_week_counts():
    history = usual(weekend=0.3)
    sunday = 3 * DAY  # before NOW
    assert not evaluate_at(history, sunday).anomalies.any()
    like_a_weekday = history.copy()
    like_a_weekday[:, -sunday - 1] /= 0.3
    assert share(evaluate_at(like_a_weekday, sunday), "spike") == 1
    like_a_sunday = history.copy()
    like_a_sunday[:, -1] *= 0.3
    assert share(evaluate(like_a_sunday, NOW), "drop") == 1


def test_weekdays_borrow_from_each_other():
    history = usual(weekend=0.3)
    history[:, : -1 - 9 * DAY] = np.nan  # one Wednesday, one weekend
    evaluation = evaluate(history, NOW)
    assert not evaluation.anomalies.any()
    history[:, -1] *= 4
    assert share(evaluate(history, NOW), "spike") == 1


def test_slow_growth_is_no_anomaly():
    weeks = np.arange(-HISTORY_SLOTS, 1) / WEEK_SLOTS
    for growth in (1.08, 0.92):
        history = np.round(usual() * growth**weeks)
        evaluation = evaluate(history, NOW)
        assert not evaluation.anomalies.any()
        assert np.median(evaluation.value / evaluation.baseline) == pytest.approx(1, abs=0.04)


def test_what_went_wrong_before_neither_moves_nor_widens():
    history = usual()
    clean = evaluate(history, NOW)
    for begin, slots, times in (
        (DAY, 12, 10),
        (DAY, 1, 1000),
        (3 * DAY, DAY, 0),
        (7 * DAY, 30, 5),
        (13 * DAY + 10, 16, 4),
    ):
        history[:, -begin - slots // 2 : -begin + slots // 2 + 1] *= times
    evaluation = evaluate(history, NOW)
    assert not evaluation.anomalies.any()
    np.testing.assert_allclose(evaluation.baseline, clean.baseline, rtol=0.05)
    assert np.median(evaluation.spread / clean.spread) < 1.5
    history[:, -1] *= 2
    assert share(evaluate(history, NOW), "spike") == 1


def test_silence_is_no_value_and_holes_are_left_out():
    history = usual()
    history[0, -1] = np.nan
    history[1, -5 * DAY : -1] = np.nan
    history[2, np.random.default_rng(3).random(history.shape[1] - 1).argsort()[:4000]] = np.nan
    history[3] = np.nan
    evaluation = evaluate(history, NOW)
    assert not evaluation.anomalies.any()
    assert np.isnan(evaluation.value[0])
    assert np.isnan(evaluation.deviation[0])
    assert evaluation.baseline[0] > 0
    assert np.isnan([evaluation.baseline[3], evaluation.spread[3], evaluation.deviation[3]]).all()
    assert evaluation.history_seconds[3] == 0
    assert evaluation.history_seconds[2] == (HISTORY_SLOTS - 4000) * 300
    history[1:3, -1] *= 2
    assert anomalies(evaluate(history, NOW), 1) == ["spike"]
    assert anomalies(evaluate(history, NOW), 2) == ["spike"]


def test_there_is_no_verdict_before_two_days_and_a_wider_one_in_the_first_week():
    history = usual()
    history[:, -1] *= 4
    for slots, verdict in (
        (1, False),
        (12, False),
        (DAY, False),
        (2 * DAY - 1, False),
        (2 * DAY, True),
        (6 * DAY, True),
    ):
        young = history.copy()
        young[:, : -1 - slots] = np.nan
        evaluation = evaluate(young, NOW)
        assert np.isfinite(evaluation.deviation).all() == verdict, slots
        assert np.isnan(evaluation.deviation).all() != verdict, slots
        assert share(evaluation, "spike") == verdict, slots
    dropped = usual()
    dropped[:, -1] *= 0.3
    dropped[:, : -1 - 6 * DAY] = np.nan
    assert not evaluate(dropped, NOW).anomalies.any()


def test_the_first_weekend_and_the_first_monday_are_no_anomaly():
    history = usual(weekend=0.2)
    first = history.copy()
    first[:, : -8 * DAY] = np.nan  # from the Tuesday on
    assert not evaluate_at(first, 4 * DAY).anomalies.any()  # Saturday
    first[:, : -5 * DAY] = np.nan  # from Friday evening on
    for back in (2 * DAY, DAY):
        assert np.isnan(evaluate_at(first, back).deviation).all()


def test_small_counts_have_the_room_that_chance_needs():
    rng = np.random.default_rng(5)
    history = rng.poisson(0.75, (300, HISTORY_SLOTS + 1)).astype(np.float64)
    history[:, -1] = 3
    assert not evaluate(history, NOW).anomalies.any()
    history[:, -1] = 45
    assert share(evaluate(history, NOW), "spike") == 1
    history = rng.poisson(0.75, history.shape) * 1500.0  # of bytes, one event is many
    history[:, -1] = 4500
    assert not evaluate(history, NOW, unit=1500).anomalies.any()
    history[:, -1] = 67_500
    assert share(evaluate(history, NOW, unit=1500), "spike") == 1


def test_what_comes_now_and_then_is_no_spike_but_ten_times_as_much_is():
    history = np.zeros((1, HISTORY_SLOTS + 1))
    history[0, [500, 1900, 3333, 5000, 6100, 7777, -1]] = 1000
    assert not evaluate(history, NOW).anomalies.any()
    history[0, -1] *= 10
    assert anomalies(evaluate(history, NOW)) == ["spike"]


def test_a_series_of_zeros_takes_a_few_events():
    history = np.zeros((3, HISTORY_SLOTS + 1))
    history[:, -1] = 3, 3 * 1500, 100
    evaluation = evaluate(history, NOW, unit=[1, 1500, 1])
    assert [anomalies(evaluation, series) for series in range(3)] == [[], [], ["spike"]]


def test_a_constant_series():
    history = np.full((3, HISTORY_SLOTS + 1), 1e6)
    history[:, -1] = 1.05e6, 2e6, 0
    evaluation = evaluate(history, NOW)
    assert [anomalies(evaluation, series) for series in range(3)] == [[], ["spike"], ["drop"]]
    assert np.isfinite(evaluation.deviation).all()


def test_ratios():
    rng = np.random.default_rng(7)
    history = rng.binomial(2000, 0.02, (SERIES, HISTORY_SLOTS + 1)) / 2000
    assert not evaluate(history, NOW).anomalies.any()
    history[:, -1] = 0.3
    assert share(evaluate(history, NOW), "spike") == 1


def test_jobs_at_night_are_usual_also_when_they_are_a_slot_late():
    history = usual()
    history[:, ::-DAY] *= 5  # the judged slot's time, each day
    assert not evaluate(history, NOW).anomalies.any()
    late = np.roll(history, 1, axis=1)
    late[:, -1] = history[:, -1]
    assert not evaluate(late, NOW).anomalies.any()
    history[:, -1] /= 5
    assert not evaluate(history, NOW).anomalies.any()
    history[:, -1] *= 20
    assert share(evaluate(history, NOW), "spike") == 1


def test_a_service_that_ended_or_began_is_told_and_then_usual():
    history = usual()
    history[:, -6 * DAY :] = 0
    evaluation = evaluate(history, NOW)
    assert not evaluation.anomalies.any()
    assert (evaluation.baseline == 0).all()
    history = usual()
    expected = evaluate(history, NOW).baseline
    history[:, : -5 * DAY] = 0
    evaluation = evaluate(history, NOW)
    assert not evaluation.anomalies.any()
    np.testing.assert_allclose(evaluation.baseline, expected, rtol=0.1)
    history[:, -1] *= 10
    assert share(evaluate(history, NOW), "spike") == 1


def test_summer_time_moves_the_day_with_the_clock(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    change = 1_711_846_800  # 31 March 2024, 01:00 UTC
    now = change + 2 * 86400 + 5 * 3600
    slots = now // 300 + np.arange(-HISTORY_SLOTS, 1)
    local = slots * 300 + np.where(slots * 300 < change, 3600, 7200)
    rng = np.random.default_rng(11)
    steep = 1000 * np.exp(2 * np.sin(2 * np.pi * local / 86400 - 1.5))
    history = rng.poisson(steep, (SERIES, len(slots))).astype(np.float64)
    evaluation = evaluate(history, now)
    assert not evaluation.anomalies.any()
    np.testing.assert_allclose(evaluation.baseline, steep[-1], rtol=0.08)


def test_every_series_is_judged_for_itself():
    history = usual(series=6)
    history[1, -1] *= 4
    history[2] /= 1000
    history[3] = np.nan
    together = evaluate(history, NOW)
    for series in range(6):
        alone = evaluate(history[series : series + 1], NOW)
        np.testing.assert_allclose(alone.deviation[0], together.deviation[series])
        assert (alone.anomalies[0] == together.anomalies[series]).all()


def test_the_history_is_left_as_it_was_and_must_have_its_length():
    history = usual(series=2)
    before = history.copy()
    evaluate(history, NOW)
    np.testing.assert_array_equal(history, before)
    assert evaluate(np.empty((0, HISTORY_SLOTS + 1)), NOW).anomalies.shape == (0, 4)
    with pytest.raises(ValueError, match=rf"\[series, {HISTORY_SLOTS + 1}\]"):
        evaluate(history[:, 1:], NOW)


def test_three_hundred_series_take_no_time_and_little_memory():
    import tracemalloc

    history = np.tile(usual(series=30), (10, 1))
    evaluate(history[:2], NOW)
    took = []
    for _ in range(3):
        started = time.process_time()
        evaluate(history, NOW)
        took.append(time.process_time() - started)
    assert min(took) < 0.3
    tracemalloc.start()
    evaluate(history, NOW)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * history.nbytes
