"""The evaluation's own parts: what they say can be believed."""

from __future__ import annotations

import numpy as np
import pytest

from . import rivals
from .flows import evaluated, precision, score
from .rivals import HoltWinters
from .weeks import MONDAY, REPORTED, TRAINING, TUNING, WEEK, Weeks, make, shape, with_events, with_shifts


def test_shapes_are_weeks_and_nothing_is_both_tuned_and_reported_on() -> None:
    assert not set(TUNING) & set(REPORTED)
    for name in TUNING + REPORTED:
        week = shape(name)
        assert week.shape == (WEEK,)
        assert week.mean() == pytest.approx(1)
        assert week.min() > 0
    office = shape("office")
    assert office[:1440].mean() > 2 * office[1440:].mean()  # it begins on a Monday, as slot 0 does
    assert (MONDAY // 86400 + 3) % 7 == 0


def test_changes_are_where_they_are_said_to_be() -> None:
    usual = make(("steady",), 4, seed=3)
    changed = with_events(make(("steady",), 4, seed=3), seed=3)
    assert len(changed.changes) > 60
    touched = np.zeros(usual.values.shape, bool)
    for series, begin, end, _ in changed.changes:
        assert begin >= TRAINING
        assert 1 <= end - begin <= 3
        touched[series, begin:end] = True
    same = np.isclose(usual.values, changed.values, equal_nan=True)
    assert same[~touched].all()
    shifted = with_shifts(make(("steady",), 7, seed=3), seed=3)
    assert {end for *_, end, _ in shifted.changes} == {TRAINING + WEEK}


def test_the_score() -> None:
    weeks = Weeks(np.ones((2, TRAINING + WEEK)), ["flat"] * 2, [(0, TRAINING + 100, TRAINING + 103, 2.0)])
    verdicts = np.zeros(weeks.values.shape, np.int8)
    assert score(weeks, verdicts).delays.tolist() == [np.inf]
    verdicts[0, TRAINING + 101] = -1  # the wrong way
    assert score(weeks, verdicts).delays.tolist() == [np.inf]
    verdicts[0, TRAINING + 102] = 2
    verdicts[0, TRAINING + 110] = 1  # its echo
    verdicts[1, TRAINING + 50 : TRAINING + 60] = 1
    verdicts[1, TRAINING + 64] = -1  # one alarm with the one before
    verdicts[1, TRAINING + 80] = 1
    found = score(weeks, verdicts)
    assert found.delays.tolist() == found.told.tolist() == [2]
    assert found.alarms == 2
    assert found.rate() == pytest.approx(2 / (2 - 15 / WEEK))
    assert precision(0.9, 0.1) == "90%"


def test_rivals_find_what_is_plain_and_are_quiet_otherwise() -> None:
    slots = np.arange(TRAINING + WEEK)
    values = 1000 - 300 * np.cos(2 * np.pi * slots / 288) + np.random.default_rng(1).normal(0, 10, (2, len(slots)))
    values[0, TRAINING + 500 : TRAINING + 520] *= 4
    values[1, 300:310] = np.nan
    for detect in (HoltWinters(), rivals.TUNED, rivals.percentile, rivals.twice_the_mean):
        verdicts = detect(values)
        assert (verdicts[0, TRAINING + 500 : TRAINING + 520] == 1).any(), detect
        assert (verdicts[:, TRAINING : TRAINING + 400] != 0).mean() < 0.02, detect
    first = HoltWinters().verdicts(np.array([[0.0] * 9 + [9.0] * 9]))
    assert first[0].tolist() == [0] * 15 + [1] * 3  # seven of nine


def test_judged_is_one_slot_after_the_other() -> None:
    weeks = make(("access",), 2, seed=9)
    weeks.values[0, TRAINING + 30] *= 20
    verdicts = evaluated(weeks.values[:, : TRAINING + 40])
    assert verdicts[0, TRAINING + 30] == 1
    assert np.count_nonzero(verdicts) == 1
    weeks.values[:, TRAINING + 31 :] = np.nan  # what comes later does not matter
    assert (evaluated(weeks.values[:, : TRAINING + 40])[:, : TRAINING + 31] == verdicts[:, : TRAINING + 31]).all()
