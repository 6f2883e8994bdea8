"""Weeks of a series as networks have them, with changes that are known: by how much, from when, and how long.

The daily shapes are drawn after what exchange points, access and campus networks publish: access is lowest at
four to five in the morning and highest at nine in the evening, by a factor of four to six, and has more in the daytime
of a weekend; an office follows its hours, with a dip at noon, and keeps a fifth at the weekend; machines know no day,
but have their jobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAY: Final = 288
WEEK: Final = 7 * DAY
TRAINING: Final = 4 * WEEK
MONDAY: Final = 1_709_510_400  # 4 March 2024, 00:00 UTC: with slot 0 on a Monday, no summer time in any week
SIZES: Final = (1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 0.8, 0.5, 0.2, 0.0)
SHIFTS: Final = (1.2, 1.5, 2.0, 3.0, 0.8, 0.5, 0.2)

# Hour by hour: a working day, Saturday, Sunday; None is "as the working day".
_HOURS: Final[dict[str, tuple[str, str | None, str | None]]] = {
    # for tuning
    "access": (
        "45 32 24 20 19 22 33 45 50 52 55 58 60 60 61 63 66 72 80 88 96 100 92 68",
        "55 40 29 23 20 21 26 36 48 58 65 69 71 71 71 72 74 78 83 89 94 96 90 72",
        "56 41 30 24 20 20 24 33 47 60 68 73 75 74 74 76 79 83 89 95 100 99 86 62",
    ),
    "office": (
        "12 11 11 11 12 14 22 48 85 98 100 96 78 84 97 95 86 62 38 26 20 17 15 13",
        "12 11 11 11 11 11 12 14 17 20 21 21 20 19 19 18 17 16 15 14 14 13 13 12",
        "12 11 11 11 11 11 11 12 13 15 16 16 16 16 16 16 16 16 16 15 15 15 14 13",
    ),
    "steady": (" ".join(["100"] * 24), None, None),
    "jobs": ("80 70 65 65 65 70 80 90 100 100 100 100 100 100 100 100 100 100 100 95 95 90 90 85", None, None),
    # for the report
    "homes": (
        "38 25 18 15 15 17 26 40 46 47 50 56 63 61 57 58 64 71 77 85 95 100 94 62",
        "50 36 26 19 17 17 20 28 41 54 64 71 76 74 70 68 70 74 79 85 90 92 88 70",
        "53 38 27 20 17 16 18 25 38 53 66 75 82 80 75 73 76 81 87 94 99 97 80 53",
    ),
    "campus": (
        "34 26 20 17 16 16 19 33 62 82 90 93 86 92 100 98 92 80 66 58 56 55 52 44",
        "35 28 22 18 16 15 15 17 22 28 33 36 37 38 39 40 41 42 42 43 45 46 44 40",
        "35 28 22 18 16 15 15 16 20 26 31 35 37 38 40 42 44 45 46 48 50 51 47 41",
    ),
    "mobile": (
        "40 28 21 17 17 24 45 75 80 74 73 77 84 80 77 79 86 95 100 97 93 88 76 58",
        "52 40 31 24 20 20 26 38 53 66 75 82 86 86 85 86 88 91 93 92 88 82 74 62",
        "53 42 32 25 21 19 22 31 45 59 70 78 83 83 82 83 86 90 93 92 88 80 69 53",
    ),
    "machines": (" ".join(["100"] * 24), None, None),
}
TUNING: Final = ("access", "office", "steady", "jobs")
REPORTED: Final = ("homes", "campus", "mobile", "machines")


@dataclass
class Weeks:
    """Series over the training weeks and one more, in which changes are known."""

    values: Floats  # [series, slot], NaN without data
    shapes: list[str]
    changes: list[tuple[int, int, int, float]]  # series, first slot, slot after the last, by what it is multiplied

    def calm(self) -> NDArray[np.bool_]:
        """Whether the noise of each series from slot to slot is below a tenth."""
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.abs(np.diff(np.log(self.values[:, :TRAINING]), axis=1))
        return np.asarray(np.median(np.nan_to_num(steps, nan=np.inf), axis=1) < 0.1 * 0.6745 * np.sqrt(2))


def shape(name: str) -> Floats:
    """A week of slots from Monday on, 1 on average."""
    work, saturday, sunday = ([float(hour) for hour in (day or _HOURS[name][0]).split()] for day in _HOURS[name])
    hours = np.array([*work * 5, *saturday, *sunday])
    slots = np.interp((np.arange(WEEK) + 0.5) / 12, np.arange(-1, 169) + 0.5, [hours[-1], *hours, hours[0]])
    return np.asarray(slots / slots.mean())


def make(shapes: tuple[str, ...], series: int, seed: int, holiday: bool = False, quiet: bool = False) -> Weeks:
    """Series without changes but in the training weeks, which have attacks and outages of their own.

    Volumes are two to two million events a slot. The noise is Poisson, of a rate that wanders by 2 to 10 % for about
    two hours, has another 1 to 5 % for each day and 1 to 6 % for each slot, and changes by -3 to 6 % a week; a third of
    the series counts something of which an event has many (bytes). Some slots are missing. ``holiday`` makes the
    Thursday of the fifth week a Sunday, ``quiet`` leaves out the attacks and outages.
    """
    rng = np.random.default_rng(seed)
    weeks = TRAINING // WEEK + 1
    slots = weeks * WEEK
    values = np.empty((series, slots))
    chosen = [shapes[number % len(shapes)] for number in range(series)]
    for number, name in enumerate(chosen):
        usual = np.tile(shape(name), weeks)
        if holiday:
            thursday = TRAINING + 3 * DAY
            usual[thursday : thursday + DAY] = usual[TRAINING - DAY : TRAINING]
        if name in ("jobs", "machines"):
            usual = _jobs(usual, rng)
        usual *= 10 ** rng.uniform(0.3, 6.3)
        usual *= (1 + rng.uniform(-0.03, 0.06)) ** (np.arange(slots) / WEEK)
        usual *= np.exp(_wander(slots, rng.uniform(0.02, 0.1), 24, rng))
        usual *= np.repeat(np.exp(rng.normal(0, rng.uniform(0.01, 0.05), weeks * 7)), DAY)
        usual *= np.exp(rng.normal(0, rng.uniform(0.01, 0.06), slots))
        if not quiet:
            _accidents(usual, rng)
        values[number] = rng.poisson(usual)
        if rng.random() < 1 / 3:
            values[number] = _sizes(values[number], rng)
    values[rng.random(values.shape) < 0.003] = np.nan
    for number in range(0, series, 2):
        gone = rng.integers(slots - 36)
        values[number, gone : gone + 36] = np.nan
    return Weeks(values, chosen, [])


def with_events(weeks: Weeks, seed: int) -> Weeks:
    """Change one to three slots, about each ten hours of the fifth week."""
    rng = np.random.default_rng(seed)
    for number in range(len(weeks.values)):
        sizes = iter(rng.permutation(np.repeat(SIZES, 2)))
        for start in range(TRAINING + 24, TRAINING + WEEK - 120, 96):
            if (size := next(sizes, None)) is None:
                break
            begin = start + int(rng.integers(48))
            _change(weeks, number, slice(begin, begin + int(rng.integers(1, 4))), float(size), rng)
    return weeks


def with_shifts(weeks: Weeks, seed: int) -> Weeks:
    """Change the level once for good, in the first three days of the fifth week."""
    rng = np.random.default_rng(seed)
    for number in range(len(weeks.values)):
        begin = TRAINING + int(rng.integers(3 * DAY))
        size = SHIFTS[number // len(set(weeks.shapes)) % len(SHIFTS)]
        _change(weeks, number, slice(begin, weeks.values.shape[1]), size, rng)
    return weeks


def sparse(series: int, seed: int) -> Weeks:
    """Series that have nothing in most slots: a few events a day or an hour, some of many packets."""
    rng = np.random.default_rng(seed)
    values = rng.poisson(10 ** rng.uniform(-3, -0.2, (series, 1)), (series, TRAINING + WEEK)).astype(np.float64)
    for number in range(0, series, 2):
        values[number] = _sizes(values[number], rng)
    return Weeks(values, ["sparse"] * series, [])


def _change(weeks: Weeks, number: int, slots: slice, size: float, rng: np.random.Generator) -> None:
    part = weeks.values[number, slots]
    part *= size
    known = ~np.isnan(part)
    if size > 1 and (part[known] < 1e6).all():  # the noise of a count that is changed is that of the new count
        part[known] = rng.poisson(part[known])
    weeks.changes.append((number, slots.start, slots.stop, size))


def _wander(slots: int, size: float, memory: float, rng: np.random.Generator) -> Floats:
    """A first-order autoregressive process with that standard deviation."""
    keep = np.exp(-1 / memory)
    steps = rng.normal(0, size * np.sqrt(1 - keep**2), slots)
    out = np.empty(slots)
    last = rng.normal(0, size)
    for slot, step in enumerate(steps):
        last = keep * last + step
        out[slot] = last
    return out


def _jobs(usual: Floats, rng: np.random.Generator) -> Floats:
    """Each hour's and each night's job, which now and then is a slot late, and bursts."""
    slots = np.arange(len(usual))
    late = (rng.random(len(usual)) < 0.1).astype(int)
    minute, night = int(rng.integers(12)), int(rng.integers(12, 72))
    usual = usual.copy()
    usual[(slots + late) % 12 == minute] *= rng.uniform(1.2, 2)
    usual[(slots + late) % DAY == night] *= rng.uniform(2, 6)
    return np.asarray(usual * np.exp(np.abs(rng.normal(0, rng.uniform(0.05, 0.4), len(usual)))))


def _accidents(usual: Floats, rng: np.random.Generator) -> None:
    """What went wrong in the training weeks: two attacks and an outage."""
    for size, slots in ((rng.uniform(3, 10), 12), (rng.uniform(2, 4), 72), (rng.uniform(0, 0.3), 24)):
        begin = int(rng.integers(TRAINING - slots))
        usual[begin : begin + slots] *= size


def _sizes(events: Floats, rng: np.random.Generator) -> Floats:
    """Sums of so many log-normal sizes, as bytes are of packets."""
    width = rng.uniform(0.3, 1.2)
    mean, variance = np.exp(width**2 / 2), (np.exp(width**2) - 1) * np.exp(width**2)
    many = np.maximum(events * mean + np.sqrt(events * variance) * rng.normal(size=len(events)), 0)
    for slot in np.flatnonzero((events > 0) & (events < 50)):
        many[slot] = np.exp(rng.normal(0, width, int(events[slot]))).sum()
    return np.asarray(np.round(many * 400))
