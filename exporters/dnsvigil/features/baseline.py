"""Each series of flows against its own past: what is usual at this time of the day and week, and is the newest slot so.

What is usual comes from the same time of the 28 days before, each day brought to the present level; how far a value may
lie from it, from how far those days lie from each other, or where the last hour was as usual, from how they vary
within. All of it is medians and quantiles over days, so a day on which something was wrong neither moves what is usual
nor makes it wider. docs/flow-spikes.md has the formulas, what they are taken from, and how well they do.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dnsvigil.records import FLOW_ANOMALIES, FLOW_SLOT_SECONDS

DAY_SLOTS: Final = 86400 // FLOW_SLOT_SECONDS
WEEK_SLOTS: Final = 7 * DAY_SLOTS
HISTORY_DAYS: Final = 28
HISTORY_SLOTS: Final = HISTORY_DAYS * DAY_SLOTS
"""Slots before the judged one that are looked at."""

EVALUATED_ANOMALIES: Final = FLOW_ANOMALIES[:4]
"""What the columns of :attr:`Judgement.anomalies` stand for."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_HOUR: Final = 3600 // FLOW_SLOT_SECONDS
_HOURS: Final = HISTORY_DAYS * 24
_NEAR: Final = 24  # slots up to the judged one whose past shows how much this time of the day varies
_LASTING: Final = 12  # slots, of which most lie off when the level has shifted
_CARRIED: Final = 0.2  # of what the last hour lies off: 5.5 of these spreads are a little more than it does
_LEVEL_HOURS: Final = 72  # that the present level is taken from, so it has changed once more than half of them have
_CHANGED: Final = 1.5  # times the level: days of this week that differ by more from the present are of another time

_LIMIT: Final = {"spike": 5.5, "drop": 4.5, "shift": 4.0}  # spreads
_ALIKE: Final = 4.0  # the same day of the week counts so many times another of its kind
_MIN_DAYS: Final = 2
_RELATIVE_FLOOR: Final = 0.03  # of the baseline; smaller changes do not matter
_STRANGE_FLOOR: Final = 0.2  # while this day of the week has not been seen, or few hours twice
_PAIRED_HOURS: Final = 168
_normal: Final = NormalDist().inv_cdf
_SPARSE: Final = 0.5  # zeros among the slots, from where on the time of the day says little


@dataclass(frozen=True)
class Evaluation:
    """The result of :func:`evaluate`: arrays with a row for each series, NaN where nothing is known."""

    value: Floats
    """The judged slot's, in the unit of the series, as the next two."""
    baseline: Floats
    """The expected value."""
    spread: Floats
    """One standard deviation (or what stands for it) to the side of the baseline on which the value lies."""
    deviation: Floats
    """(value - baseline) / spread; NaN while learning and without a value."""
    history_seconds: Floats
    """How much of the 28 days has data."""
    anomalies: Bools
    """[series, 4]: :data:`JUDGED_ANOMALIES`."""


def evaluate(history: ArrayLike, slot: int, unit: ArrayLike = 1.0) -> Evaluation:
    """Judge the last column of ``history``.

    ``history`` is [series, HISTORY_SLOTS + 1], oldest slot first, NaN where there is no data. ``slot`` is the begin of
    the last column in Unix time; days of the week and summer time are those of the machine's time zone. ``unit``, one
    or [series], is what one event adds to a value, for series that have seen too few events to tell; series that never
    leave 0 to 1 and have values between are ratios, and have none.

    A series is learning, without a verdict, until it has two days of the judged one's kind (Monday to Friday, or
    weekend; a weekend may be judged by other days, but not the other way round). ValueError for another shape.
    """
    past = np.asarray(history, dtype=np.float64)
    if past.ndim != 2 or past.shape[1] != HISTORY_SLOTS + 1:
        raise ValueError(f"the history must be [series, {HISTORY_SLOTS + 1}], not {list(past.shape)}")
    with np.errstate(divide="ignore", invalid="ignore"):
        return _evaluate(past, slot, np.broadcast_to(np.asarray(unit, dtype=np.float64), past.shape[:1]))


def _evaluate(past: Floats, slot: int, unit: Floats) -> Evaluation:
    value = past[:, -1].copy()
    columns, weekdays, today = _same_time(slot)
    near = past[:, columns.clip(0, HISTORY_SLOTS)]  # [series, day, slot up to the one after], the judged day first
    near[:, (columns < 0) | (columns > HISTORY_SLOTS)] = np.nan
    hours, *daily = _days(past)
    weeks = _weeks(hours)
    near[:, 1:] *= _scales(hours, weeks)[:, :, None]
    seen = np.isfinite(near[:, 1:, -2])
    weights = _weights(seen, weekdays, today)
    days = (seen & (weights > 0)).sum(axis=1)
    near[:, 1:][weights == 0] = np.nan

    baselines = _weighted_median(near[:, 1:], weights)  # [series, slot]
    beside = baselines[:, -3:]  # a job that starts a slot early or late is no anomaly
    near, baselines = near[:, :, :-1], baselines[:, :-1]
    baseline = baselines[:, -1]
    event, mean, reached = _events(past, unit, daily)
    soft = (0.1 * mean + event + np.finfo(float).tiny)[:, None]
    # How far every slot lies off its own baseline, as if the baseline were that of the judged slot.
    off = (near - baselines[:, None]) * ((baseline[:, None] + soft) / (baselines + soft))[:, None]

    own = np.isfinite(near[:, 1:][:, weekdays == today]).any(axis=(1, 2))
    few = np.sqrt((1 + 1.57 / days) * days / np.maximum(days - 1, 1))  # 1.57/n: variance of a median of n
    hourly = _hourly(hours, weeks)
    strange = ~own | (np.isfinite(hourly).sum(axis=(1, 2)) < _PAIRED_HOURS)
    relative = np.where(strange, _STRANGE_FLOOR, _RELATIVE_FLOOR) * baseline
    counted = np.sqrt(event * np.maximum(baseline, mean) + event**2)

    lasting = _median(off[:, :, -_LASTING:], least=_LASTING // 2 + 1)  # [series, day]
    side = np.where(value < baseline, -1.0, 1.0)
    wander = np.nan_to_num(_sigma(hourly * side[:, None, None])) * baseline
    between = np.maximum(_aside(off[:, 1:], side), wander)
    within = _aside(off[:, 1:] - lasting[:, 1:, None], side) + _CARRIED * np.abs(lasting[:, 0])
    floors = [relative, counted, np.where(side > 0, reached / 4, 0)]
    spread = few * np.max([np.fmin(between, within), *floors], axis=0)  # within is NaN where the last hour is
    learning = days < _MIN_DAYS
    deviation = np.where(learning, np.nan, (value - baseline) / spread)
    highest = np.fmax.reduce(beside, axis=1)
    over = np.where(learning, np.nan, (value - highest) / spread * (baseline + soft[:, 0]) / (highest + soft[:, 0]))
    under = (np.fmin.reduce(beside, axis=1) - baseline) / spread - deviation

    side = np.where(lasting[:, 0] < 0, -1.0, 1.0)
    wander = np.nan_to_num(_aside(hourly, side)) * baseline
    shift = lasting[:, 0] / few / np.max([_aside(lasting[:, 1:, None], side), wander, relative, counted / 2], axis=0)
    shift[learning | ~(off[:, 0, -1] * side > np.abs(lasting[:, 0]) / 2)] = np.nan  # it is over, or was never

    up, down = shift > _LIMIT["shift"], shift < -_LIMIT["shift"]
    return Evaluation(
        value=value,
        baseline=np.where(learning, np.nan, baseline),
        spread=np.where(learning, np.nan, spread),
        deviation=deviation,
        history_seconds=np.isfinite(past[:, :-1]).sum(axis=1) * float(FLOW_SLOT_SECONDS),
        anomalies=np.stack([(over > _LIMIT["spike"]) & ~up, (under > _LIMIT["drop"]) & ~down, up, down], axis=1),
    )


def _same_time(slot: int) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Columns [day, slot] of this local time and a slot more, from the judged day back, and the days of the week."""
    now = time.localtime(slot)
    ends, weekdays = [HISTORY_SLOTS], []
    for day in range(1, HISTORY_DAYS + 1):
        then = time.localtime(slot - day * 86400)
        ends.append(HISTORY_SLOTS - day * DAY_SLOTS + (now.tm_gmtoff - then.tm_gmtoff) // FLOW_SLOT_SECONDS)
        weekdays.append((now.tm_wday - day) % 7)
    return np.array(ends)[:, None] + np.arange(1 - _NEAR, 2), np.array(weekdays), now.tm_wday


def _weights(seen: Bools, weekdays: NDArray[np.intp], today: int) -> Floats:
    """How much each day says of today [series, day]."""
    kind = (weekdays >= 5) == (today >= 5)
    weights = np.broadcast_to(np.where(weekdays == today, _ALIKE, kind * 1.0), seen.shape).copy()
    if today >= 5:
        weights[(seen & kind).sum(axis=1) < _MIN_DAYS] = 1
    return weights


def _days(past: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean of each whole hour before the judged slot; mean, share of zeros and highest value of each whole day.

    NaN where half of an hour, or three quarters of a day, have no data.
    """
    before = past[:, :-1]
    valid = np.isfinite(before)
    filled = np.where(valid, before, 0)
    counts = valid.reshape(len(past), _HOURS, _HOUR).astype(np.float32) @ np.ones(_HOUR, np.float32)
    sums = filled.reshape(len(past), _HOURS, _HOUR) @ np.ones(_HOUR)
    hours = np.where(counts > _HOUR // 2, sums / counts, np.nan)
    counts = counts.reshape(len(past), HISTORY_DAYS, 24).sum(axis=2)
    counts[counts <= DAY_SLOTS // 4] = np.nan
    zeros = np.count_nonzero((before == 0).reshape(len(past), HISTORY_DAYS, DAY_SLOTS), axis=2) / counts
    means = sums.reshape(len(past), HISTORY_DAYS, 24).sum(axis=2) / counts
    return hours, means, zeros, filled.reshape(len(past), HISTORY_DAYS, DAY_SLOTS).max(axis=2)


def _weeks(hours: Floats) -> list[Floats]:
    """What brings the level of this week, the last one, and so on to the present; compared are the same days."""
    end = hours.shape[1]
    now = hours[:, end - _LEVEL_HOURS :]
    starts = [end - _LEVEL_HOURS - back * 168 for back in (1, 2, 3)]
    return [np.ones(len(hours)), *(_level(now, hours[:, start : start + _LEVEL_HOURS]) for start in starts)]


def _scales(hours: Floats, weeks: list[Floats]) -> Floats:
    """What brings each day before to the present level [series, day]; NaN where that cannot be."""
    end, scales = hours.shape[1], []
    for day in range(1, HISTORY_DAYS + 1):
        if day < 7:  # both against the week before
            stop = end - 24 * day + 12
            since = weeks[1] / _level(hours[:, stop - 24 : stop], hours[:, stop - 192 : stop - 168])
            same = np.isnan(since) | ((since < _CHANGED) & (since > 1 / _CHANGED))
            scales.append(np.where(same, 1.0, since))
        else:
            scales.append(weeks[min(day // 7, 3)])
    made = np.stack(scales, axis=1)
    made[np.isinf(made)] = np.nan  # there was no traffic then, so there is nothing to compare with
    return made


def _hourly(hours: Floats, weeks: list[Floats]) -> Floats:
    """How far whole hours lie off the same hour of the other weeks, as a share of it [series, day, hour].

    It is NaN where there is but one week, and made greater by what a median of two to four takes from it.
    """
    scaled = hours.reshape(len(hours), 4, 168) * np.stack(weeks[::-1], axis=1)[:, :, None]
    scaled[~np.isfinite(scaled)] = np.nan
    count = np.isfinite(scaled).sum(axis=1)[:, None]
    few = np.where(count > 1, np.sqrt(count / np.maximum(count - 1, 1)), np.nan)
    off = scaled / _median(scaled.transpose(0, 2, 1))[:, None] - 1
    return np.asarray((off * few).reshape(len(hours), HISTORY_DAYS, 24))


def _level(now: Floats, then: Floats) -> Floats:
    """Median ratio of hours; 1 where too few have both, or where one hour in ten has nothing."""
    both = np.isfinite(now) & np.isfinite(then)
    pairs = both.sum(axis=1)
    busy = np.maximum((both & (now > 0)).sum(axis=1), (both & (then > 0)).sum(axis=1))
    return np.where((pairs >= now.shape[1] / 3) & (busy >= 0.9 * pairs), _median(now / then), 1.0)


def _events(past: Floats, unit: Floats, daily: Sequence[Floats]) -> tuple[Floats, Floats, Floats]:
    """Size of an event, mean of a slot, and what a sparse series reaches on several days."""
    means, zeros, highest = daily
    mean, free = np.nan_to_num(_quantile(means, 0.5)), np.nan_to_num(_quantile(zeros, 0.5))
    top = highest.max(axis=1)
    ratio = (top > 0) & (top <= 1)
    ratio[ratio] = ((past[ratio] > 0) & (past[ratio] < 1)).any(axis=1)
    # A Poisson process of n events a slot leaves exp(-n) of the slots without one.
    event = np.where((free > 0.02) & (free < 1), mean / -np.log(free), 0)
    third = np.sort(highest, axis=1)[:, -3]
    return np.maximum(event, np.where(ratio, 0, unit)), mean, np.where(free > _SPARSE, third, 0)


def _aside(off: Floats, side: Floats) -> Floats:
    """Standard deviation to one side, of what lies off by [series, day, slot]: what a normal distribution would have.

    It is the largest of three: that of all slots, of the farthest slot of each day, and of the last slot of each day.
    """
    aside = off * side[:, None, None]
    return np.asarray(
        np.max(
            [
                _sigma(aside),
                _quantile(np.fmax.reduce(aside, axis=2), 0.75) / _normal(0.75 ** (1 / aside.shape[2])),
                _quantile(aside[:, :, -1], 0.85) / _normal(0.85),
            ],
            axis=0,
        )
    )


def _sigma(aside: Floats) -> Floats:
    return _quantile(aside.reshape(len(aside), aside.shape[1] * aside.shape[2]), 0.75) / _normal(0.75)


def _quantile(values: Floats, share: float) -> Floats:
    """Quantile along the last axis of what is not NaN."""
    ordered = np.sort(values, axis=-1)  # NaN last
    count = np.isfinite(ordered).sum(axis=-1, keepdims=True)
    place = np.rint(share * np.maximum(count - 1, 0)).astype(np.intp)
    return np.asarray(np.take_along_axis(ordered, place, axis=-1)[..., 0])


def _median(values: Floats, least: int = 1) -> Floats:
    """Median along the last axis of what is not NaN; NaN for fewer than ``least``."""
    ordered = np.sort(values, axis=-1)
    count = (~np.isnan(ordered)).sum(axis=-1, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=-1)
    high = np.take_along_axis(ordered, np.minimum(count // 2, values.shape[-1] - 1), axis=-1)
    return np.where(count >= least, (low + high) / 2, np.nan)[..., 0]


def _weighted_median(values: Floats, weights: Floats) -> Floats:
    """Weighted median over the days of [series, day, slot] with weights [series, day]; NaN for no day."""
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    weight = np.take_along_axis(np.broadcast_to(weights[:, :, None], values.shape), order, axis=1)
    sums = np.cumsum(np.where(np.isnan(ordered), 0, weight), axis=1)
    half = sums[:, -1:] / 2
    low = np.take_along_axis(ordered, (sums >= half - 1e-9).argmax(axis=1)[:, None], axis=1)[:, 0]
    high = np.take_along_axis(ordered, (sums > half + 1e-9).argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.where(half[:, 0] > 0, (low + high) / 2, np.nan)
