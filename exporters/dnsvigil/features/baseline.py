"""Compares the newest slot of each series of flows with the past of the series.

The baseline is the value at the same time of day on the 28 days before, each scaled to the present level. The spread
comes from how much those days differ from each other or, if the last hour was as usual, from how much they vary within.
Both are medians and quantiles over days, so one bad day neither moves the baseline nor widens the spread.
docs/flow-spikes.md has the formulas with their sources, and the figures.
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
"""How many slots before the evaluated one are used."""

EVALUATED_ANOMALIES: Final = FLOW_ANOMALIES[:4]
"""The columns of :attr:`Evaluation.anomalies`."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_HOUR: Final = 3600 // FLOW_SLOT_SECONDS
_HOURS: Final = HISTORY_DAYS * 24
_WEEK_HOURS: Final = 168
_NEAR: Final = 24  # slots up to the evaluated one, whose past shows how much this time of day varies
_SHIFT: Final = 12  # slots, most of which deviate once the level has shifted
_CARRIED: Final = 0.2  # share of the last hour's deviation that widens the spread: a lasting one is no spike at 5.5
_LEVEL_HOURS: Final = 72  # that give the present level, which so follows a change once half of them have passed
_CHANGED: Final = 1.5  # ratio to the present level from which on the days of this week are scaled

_LIMIT: Final = {"spike": 5.5, "drop": 4.5, "shift": 4.0}  # spreads
_SAME_WEEKDAY: Final = 4.0  # weight of the same day of the week; another of its kind has 1
_MIN_DAYS: Final = 2
_RELATIVE_FLOOR: Final = 0.03  # smallest spread, as a share of the baseline: smaller changes do not matter
_UNFAMILIAR_FLOOR: Final = 0.2  # the same, before this day of the week was seen or many hours were seen twice
_FAMILIAR_HOURS: Final = 168  # hours seen in two weeks or more
_SPARSE: Final = 0.5  # share of zeros among the slots, above which the time of day says little
_normal: Final = NormalDist().inv_cdf


@dataclass(frozen=True)
class Evaluation:
    """The result of :func:`evaluate`: arrays with a row for each series, NaN where nothing is known."""

    value: Floats
    """The value of the evaluated slot, in the unit of the series, as the next two."""
    baseline: Floats
    """The expected value."""
    spread: Floats
    """The estimated standard deviation, on the side of the baseline on which the value lies."""
    deviation: Floats
    """(value - baseline) / spread; NaN while learning and without a value."""
    history_seconds: Floats
    """The time with data in the 28 days."""
    anomalies: Bools
    """[series, 4]: whether each of :data:`EVALUATED_ANOMALIES` is there."""


def evaluate(history: ArrayLike, slot: int, unit: ArrayLike = 1.0) -> Evaluation:
    """Evaluate the last column of ``history``.

    ``history`` is [series, HISTORY_SLOTS + 1], oldest slot first, NaN where there is no data. ``slot`` is the begin of
    the last column in Unix time; days of the week and summer time are those of the machine's time zone. ``unit``, one
    number or [series], is what one event adds to a value, for series with too few events to estimate it. A series that
    never leaves 0 to 1 and has values in between is a ratio, to which ``unit`` does not apply.

    A series is learning, without a verdict, until it has two days of the evaluated day's kind (Monday to Friday, or
    weekend; other days may stand in for a weekend, but not the other way round). Raises ``ValueError`` for another
    shape.
    """
    past = np.asarray(history, dtype=np.float64)
    if past.ndim != 2 or past.shape[1] != HISTORY_SLOTS + 1:
        raise ValueError(f"the history must be [series, {HISTORY_SLOTS + 1}], not {list(past.shape)}")
    with np.errstate(divide="ignore", invalid="ignore"):
        return _evaluate(past, slot, np.broadcast_to(np.asarray(unit, dtype=np.float64), past.shape[:1]))


@dataclass(frozen=True)
class _Past:
    """What the past says about each series at this time of day."""

    off: Floats  # [series, day, slot]: deviations from each slot's baseline, at the scale of the evaluated slot
    baseline: Floats
    highest: Floats  # of the baselines of the evaluated slot and those beside it, as a job may start early or late
    lowest: Floats
    days: NDArray[np.intp]  # how many have a part in the baseline
    hourly: Floats  # [series, day, hour]: relative deviations of whole hours
    soft: Floats  # added to a baseline before it scales: few events give no reliable ratio
    relative: Floats  # the smallest spreads by the baseline, by the number of events, by what a sparse series reaches
    counted: Floats
    reached: Floats


def _evaluate(past: Floats, slot: int, unit: Floats) -> Evaluation:
    value = past[:, -1].copy()
    known = _past(past, slot, unit)
    days, off, baseline = known.days, known.off, known.baseline
    few = np.sqrt((1 + 1.57 / days) * days / np.maximum(days - 1, 1))  # 1.57/n: variance of a median of n
    lasting = _median(off[:, :, -_SHIFT:], least=_SHIFT // 2 + 1)  # [series, day]
    learning = days < _MIN_DAYS

    spread = few * _spread(known, lasting, np.where(value < baseline, -1.0, 1.0))
    deviation = np.where(learning, np.nan, (value - baseline) / spread)
    scale = (baseline + known.soft) / (known.highest + known.soft)
    over = np.where(learning, np.nan, (value - known.highest) / spread * scale)
    under = (known.lowest - baseline) / spread - deviation

    side = np.where(lasting[:, 0] < 0, -1.0, 1.0)
    shift = lasting[:, 0] / few / _shift_spread(known, lasting, side)
    ended = ~(off[:, 0, -1] * side > np.abs(lasting[:, 0]) / 2)
    shift[learning | ended] = np.nan
    up, down = shift > _LIMIT["shift"], shift < -_LIMIT["shift"]
    return Evaluation(
        value=value,
        baseline=np.where(learning, np.nan, baseline),
        spread=np.where(learning, np.nan, spread),
        deviation=deviation,
        history_seconds=np.isfinite(past[:, :-1]).sum(axis=1) * float(FLOW_SLOT_SECONDS),
        anomalies=np.stack([(over > _LIMIT["spike"]) & ~up, (under > _LIMIT["drop"]) & ~down, up, down], axis=1),
    )


def _past(past: Floats, slot: int, unit: Floats) -> _Past:
    columns, weekdays, today = _same_time(slot)
    near = past[:, columns.clip(0, HISTORY_SLOTS)]  # [series, day, slot up to the one after], the evaluated day first
    near[:, (columns < 0) | (columns > HISTORY_SLOTS)] = np.nan
    hours, *daily = _days(past)
    weeks = _weeks(hours)
    near[:, 1:] *= _scales(hours, weeks)[:, :, None]
    seen = np.isfinite(near[:, 1:, -2])
    weights = _weights(seen, weekdays, today)
    near[:, 1:][weights == 0] = np.nan

    baselines = _weighted_median(near[:, 1:], weights)  # [series, slot]
    beside = baselines[:, -3:]
    near, baselines = near[:, :, :-1], baselines[:, :-1]
    baseline = baselines[:, -1]
    event, mean, reached = _events(past, unit, daily)
    soft = 0.1 * mean + event + np.finfo(float).tiny
    scale = (baseline + soft)[:, None] / (baselines + soft[:, None])
    hourly = _hourly(hours, weeks)
    this_weekday = np.isfinite(near[:, 1:][:, weekdays == today]).any(axis=(1, 2))
    unfamiliar = ~this_weekday | (np.isfinite(hourly).sum(axis=(1, 2)) < _FAMILIAR_HOURS)
    return _Past(
        off=(near - baselines[:, None]) * scale[:, None],
        baseline=baseline,
        highest=np.fmax.reduce(beside, axis=1),
        lowest=np.fmin.reduce(beside, axis=1),
        days=(seen & (weights > 0)).sum(axis=1),
        hourly=hourly,
        soft=soft,
        relative=np.where(unfamiliar, _UNFAMILIAR_FLOOR, _RELATIVE_FLOOR) * baseline,
        counted=np.sqrt(event * np.maximum(baseline, mean) + event**2),
        reached=reached / 4,
    )


def _spread(known: _Past, lasting: Floats, side: Floats) -> Floats:
    """Return the standard deviation of a single slot, to one side."""
    wander = np.nan_to_num(_sigma(known.hourly * side[:, None, None])) * known.baseline
    between = np.maximum(_aside(known.off[:, 1:], side), wander)
    within = _aside(known.off[:, 1:] - lasting[:, 1:, None], side) + _CARRIED * np.abs(lasting[:, 0])
    floors = [known.relative, known.counted, np.where(side > 0, known.reached, 0)]
    return np.asarray(np.max([np.fmin(between, within), *floors], axis=0))  # within is NaN where the last hour is


def _shift_spread(known: _Past, lasting: Floats, side: Floats) -> Floats:
    """Return the standard deviation of a level, to one side."""
    wander = np.nan_to_num(_aside(known.hourly, side)) * known.baseline
    between = _aside(lasting[:, 1:, None], side)
    return np.asarray(np.max([between, wander, known.relative, known.counted / 2], axis=0))


def _same_time(slot: int) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Return the columns [day, slot] of this local time and one slot after, from today back, and the weekdays."""
    now = time.localtime(slot)
    ends, weekdays = [HISTORY_SLOTS], []
    for day in range(1, HISTORY_DAYS + 1):
        then = time.localtime(slot - day * 86400)
        ends.append(HISTORY_SLOTS - day * DAY_SLOTS + (now.tm_gmtoff - then.tm_gmtoff) // FLOW_SLOT_SECONDS)
        weekdays.append((now.tm_wday - day) % 7)
    return np.array(ends)[:, None] + np.arange(1 - _NEAR, 2), np.array(weekdays), now.tm_wday


def _weights(seen: Bools, weekdays: NDArray[np.intp], today: int) -> Floats:
    """Return the weights of the days before [series, day]."""
    kind = (weekdays >= 5) == (today >= 5)
    weights = np.broadcast_to(np.where(weekdays == today, _SAME_WEEKDAY, kind * 1.0), seen.shape).copy()
    if today >= 5:
        weights[(seen & kind).sum(axis=1) < _MIN_DAYS] = 1
    return weights


def _days(past: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the mean of each whole hour before the slot; mean, share of zeros and highest value of each whole day.

    They are NaN where half of an hour, or three quarters of a day, have no data.
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
    """Return the factors from the levels of this week, the last one, and so on to the present, by the same weekdays."""
    end = hours.shape[1]
    now = hours[:, end - _LEVEL_HOURS :]
    starts = [end - _LEVEL_HOURS - back * _WEEK_HOURS for back in (1, 2, 3)]
    return [np.ones(len(hours)), *(_level(now, hours[:, start : start + _LEVEL_HOURS]) for start in starts)]


def _scales(hours: Floats, weeks: list[Floats]) -> Floats:
    """Return the factors from each day before to the present level [series, day]; NaN where there is none."""
    end, scales = hours.shape[1], []
    for day in range(1, HISTORY_DAYS + 1):
        if day < 7:  # by the ratios of both to the week before
            stop = end - 24 * day + 12
            since = weeks[1] / _level(
                hours[:, stop - 24 : stop], hours[:, stop - 24 - _WEEK_HOURS : stop - _WEEK_HOURS]
            )
            same = np.isnan(since) | ((since < _CHANGED) & (since > 1 / _CHANGED))
            scales.append(np.where(same, 1.0, since))
        else:
            scales.append(weeks[min(day // 7, 3)])
    made = np.stack(scales, axis=1)
    made[np.isinf(made)] = np.nan  # there was no traffic then
    return made


def _hourly(hours: Floats, weeks: list[Floats]) -> Floats:
    """Return the relative deviations of whole hours from the same hour of all weeks [series, day, hour].

    They are NaN where there is only one week, and corrected for what a median of two to four takes from them.
    """
    scaled = hours.reshape(len(hours), 4, _WEEK_HOURS) * np.stack(weeks[::-1], axis=1)[:, :, None]
    scaled[~np.isfinite(scaled)] = np.nan
    count = np.isfinite(scaled).sum(axis=1)[:, None]
    few = np.where(count > 1, np.sqrt(count / np.maximum(count - 1, 1)), np.nan)
    off = scaled / _median(scaled.transpose(0, 2, 1))[:, None] - 1
    return np.asarray((off * few).reshape(len(hours), HISTORY_DAYS, 24))


def _level(now: Floats, then: Floats) -> Floats:
    """Return the median ratio of hours; 1 where too few hours have both, or where one in ten has no traffic."""
    both = np.isfinite(now) & np.isfinite(then)
    pairs = both.sum(axis=1)
    busy = np.maximum((both & (now > 0)).sum(axis=1), (both & (then > 0)).sum(axis=1))
    return np.where((pairs >= now.shape[1] / 3) & (busy >= 0.9 * pairs), _median(now / then), 1.0)


def _events(past: Floats, unit: Floats, daily: Sequence[Floats]) -> tuple[Floats, Floats, Floats]:
    """Return the size of an event, the mean of a slot, and what a sparse series reaches on its third highest day."""
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
    """Return the standard deviation of [series, day, slot] to one side, by quantiles as if they were normal.

    It is the largest of three: of all slots, of the farthest slot of each day, and of the last slot of each day.
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
    """Return a quantile along the last axis, without NaN."""
    ordered = np.sort(values, axis=-1)  # NaN last
    count = np.isfinite(ordered).sum(axis=-1, keepdims=True)
    place = np.rint(share * np.maximum(count - 1, 0)).astype(np.intp)
    return np.asarray(np.take_along_axis(ordered, place, axis=-1)[..., 0])


def _median(values: Floats, least: int = 1) -> Floats:
    """Return the median along the last axis, without NaN; NaN for fewer than ``least`` values."""
    ordered = np.sort(values, axis=-1)
    count = (~np.isnan(ordered)).sum(axis=-1, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=-1)
    high = np.take_along_axis(ordered, np.minimum(count // 2, values.shape[-1] - 1), axis=-1)
    return np.where(count >= least, (low + high) / 2, np.nan)[..., 0]


def _weighted_median(values: Floats, weights: Floats) -> Floats:
    """Return the weighted medians over days of [series, day, slot], with weights [series, day]; NaN without any day."""
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    weight = np.take_along_axis(np.broadcast_to(weights[:, :, None], values.shape), order, axis=1)
    sums = np.cumsum(np.where(np.isnan(ordered), 0, weight), axis=1)
    half = sums[:, -1:] / 2
    low = np.take_along_axis(ordered, (sums >= half - 1e-9).argmax(axis=1)[:, None], axis=1)[:, 0]
    high = np.take_along_axis(ordered, (sums > half + 1e-9).argmax(axis=1)[:, None], axis=1)[:, 0]
    return np.where(half[:, 0] > 0, (low + high) / 2, np.nan)
