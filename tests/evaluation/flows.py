"""Spikes, drops and level shifts in flow series: dnsvigil's evaluation beside Holt-Winters and fixed thresholds.

Prints the tables of docs/flow-spikes.md. The series come from shapes and seeds that nothing was tuned on; what the
constants were chosen with is in ``evaluation.tuning``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnsvigil.features.baseline import HISTORY_SLOTS, evaluate

from . import rivals
from .rivals import HoltWinters, Verdicts
from .weeks import (
    DAY,
    MONDAY,
    REPORTED,
    SHIFTS,
    SIZES,
    TRAINING,
    WEEK,
    Floats,
    Weeks,
    make,
    sparse,
    with_events,
    with_shifts,
)

QUIET: Final = 6
"""Slots between two alarms that are two."""
ECHO: Final = 12
"""Slots after a change, in which an alarm is not a false one."""
BATCH: Final = 28
"""Series in one task."""


def evaluated(values: Floats, first: int = TRAINING, start: int = MONDAY) -> Verdicts:
    """Judge every slot from ``first`` on as the collector does, one after the other; 2 and -2 are shifts."""
    verdicts = np.zeros(values.shape, np.int8)
    missing = max(HISTORY_SLOTS - first, 0)
    padded = np.pad(values, ((0, 0), (missing, 0)), constant_values=np.nan)
    for slot in range(first, values.shape[1]):
        end = slot + missing + 1
        said = evaluate(padded[:, end - HISTORY_SLOTS - 1 : end], start + 300 * slot).anomalies
        spike, drop, up, down = said.astype(np.int8).T
        verdicts[:, slot] = spike - drop + 2 * up - 2 * down
    return verdicts


DETECTORS: Final[dict[str, Callable[[Floats], Verdicts]]] = {
    "dnsvigil": evaluated,
    "Holt-Winters, RRDtool's defaults": HoltWinters(),
    "Holt-Winters, tuned": rivals.TUNED,
    "99.9th percentile": rivals.percentile,
    "twice the mean": rivals.twice_the_mean,
}


@dataclass(frozen=True)
class Found:
    """What a detector found of the changes in some series."""

    sizes: Floats
    delays: Floats  # slots to the first verdict in the right direction, inf for none
    told: Floats  # slots until it was called a shift, inf for never
    calm: NDArray[np.bool_]  # whether the series has little noise
    alarms: int  # false ones
    series_weeks: float  # in which nothing was changed

    @classmethod
    def all(cls, parts: list[Found]) -> Found:
        """Put together what was found in several sets of series."""
        sizes, delays, told, calm = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("sizes", "delays", "told", "calm")
        )
        return cls(
            sizes, delays, told, calm, sum(part.alarms for part in parts), sum(part.series_weeks for part in parts)
        )

    def rate(self) -> float:
        """False alarms for each series and week."""
        return self.alarms / self.series_weeks


def score(weeks: Weeks, verdicts: Verdicts, first: int = TRAINING, last: int | None = None) -> Found:
    """Hold the verdicts of slots ``first`` to ``last`` against the changes; alarms that are near each other are one."""
    free = np.zeros(weeks.values.shape, bool)
    free[:, first:last] = True
    delays, told = [], []
    for series, begin, end, size in weeks.changes:
        said = verdicts[series, begin:end] * (1 if size > 1 else -1)
        delays.append(_first(said > 0))
        told.append(_first(said > 1))
        free[series, begin : end + ECHO] = False
    alarms = 0
    for row in (verdicts != 0) & free:
        at = np.flatnonzero(row)
        alarms += int(len(at) > 0) + int((np.diff(at) > QUIET).sum())
    changed = [series for series, *_ in weeks.changes]
    sizes = np.array([size for *_, size in weeks.changes])
    calm = weeks.calm()[changed]
    return Found(sizes, np.array(delays), np.array(told), calm, alarms, free.sum() / WEEK)


def _first(said: NDArray[np.bool_]) -> float:
    return float(said.argmax()) if said.any() else np.inf


@dataclass(frozen=True)
class Task:
    """Some series of a kind."""

    kind: str
    shapes: tuple[str, ...]
    seed: int

    def weeks(self) -> Weeks:
        """Make them."""
        match self.kind:
            case "events":
                return with_events(make(self.shapes, BATCH, self.seed), self.seed)
            case "shifts":
                return with_shifts(make(self.shapes, BATCH, self.seed), self.seed)
            case "sparse":
                return sparse(BATCH, self.seed)
            case _:
                return make(
                    self.shapes, BATCH, self.seed, holiday=self.kind == "holiday", quiet=self.kind == "beginning"
                )

    def __call__(self) -> dict[str, Found]:
        """Return what each detector finds in them."""
        weeks = self.weeks()
        if self.kind == "beginning":
            verdicts = evaluated(weeks.values[:, : 2 * WEEK], first=DAY)
            weeks.values = weeks.values[:, : 2 * WEEK]
            return {
                "days 3 to 7": score(weeks, verdicts, 2 * DAY, WEEK),
                "second week": score(weeks, verdicts, WEEK),
            }
        return {name: score(weeks, detect(weeks.values)) for name, detect in DETECTORS.items()}


def found(tasks: list[Task]) -> dict[str, dict[str, Found]]:
    """Run the tasks on all cores; by kind and detector."""
    parts: dict[str, dict[str, list[Found]]] = {}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for task, of_detectors in zip(tasks, pool.map(Task.__call__, tasks), strict=True):
            for name, part in of_detectors.items():
                parts.setdefault(task.kind, {}).setdefault(name, []).append(part)
    return {kind: {name: Found.all(some) for name, some in by_name.items()} for kind, by_name in parts.items()}


def table(first: str, heads: Iterable[object], rows: Iterable[tuple[str, Iterable[str]]]) -> None:
    """Print a table as Markdown."""
    heads = list(heads)
    print(f"| {first} |", *(f"{head} |" for head in heads))
    print("|---|" + "---:|" * len(heads))
    for name, cells in rows:
        print(f"| {name} |", *(f"{cell} |" for cell in cells))
    print()


def share(part: NDArray[np.bool_]) -> str:
    """Of what there is, how much is true."""
    return f"{part.mean():.0%}" if len(part) else "-"


def precision(recall: float, false_alarms: float) -> str:
    """Of the alarms in a week that has one such change in each series, how many are for it."""
    return f"{recall / (recall + false_alarms):.0%}" if recall else "-"


def report(by_kind: dict[str, dict[str, Found]]) -> None:
    """Print the tables."""
    print("False alarms for each series and week:\n")
    kinds = [kind for kind in ("clean", "events", "sparse", "holiday") if kind in by_kind]
    table("", kinds, ((name, (f"{by_kind[kind][name].rate():.3f}" for kind in kinds)) for name in by_kind["clean"]))
    for title, only in (("All series", False), ("Series with less than 10 % of noise", True)):
        print(f"{title}: share of the changes of one to three slots that are found in their first slot:\n")
        events = by_kind["events"]
        hits = {
            name: [part.delays[(part.sizes == size) & (part.calm | (not only))] == 0 for size in SIZES]
            for name, part in events.items()
        }
        heads = [f"×{size:g} ({len(hit)})" for size, hit in zip(SIZES, next(iter(hits.values())), strict=True)]
        table("", heads, ((name, map(share, of_sizes)) for name, of_sizes in hits.items()))
    print("Precision, were there one such change in each series and week (all series):\n")
    clean = by_kind["clean"]
    table(
        "",
        (f"×{size:g}" for size in SIZES),
        (
            (name, (precision((part.delays[part.sizes == size] == 0).mean(), clean[name].rate()) for size in SIZES))
            for name, part in events.items()
        ),
    )
    print("Level shifts: found within a day, median delay in slots of those found; and so for being called a shift:\n")
    shifts = by_kind["shifts"]
    rows = []
    for name, part in shifts.items():
        delays = {name: part.delays}
        if (part.told < np.inf).any():
            delays[f"{name}, as a shift"] = part.told
        for label, of in delays.items():
            cells = []
            for size in SHIFTS:
                in_time = of[part.sizes == size]
                soon = in_time[in_time < DAY]
                cells.append(f"{len(soon) / len(in_time):.0%}, {np.median(soon):.0f}" if len(soon) else "0%")
            rows.append((label, cells))
    table("", (f"×{size:g}" for size in SHIFTS), rows)
    if "beginning" in by_kind:
        print("Without history, false alarms for each series and week:\n")
        table(
            "", by_kind["beginning"], [("dnsvigil", (f"{part.rate():.3f}" for part in by_kind["beginning"].values()))]
        )


def main() -> None:
    """Judge series that nothing was tuned on."""
    started = time.monotonic()
    counts = {"clean": 4, "events": 2, "shifts": 2, "sparse": 1, "holiday": 1, "beginning": 1}
    tasks = [
        Task(kind, REPORTED, 91_000 + 100 * n + part) for n, kind in enumerate(counts) for part in range(counts[kind])
    ]
    report(found(tasks))
    print(f"{len(tasks) * BATCH} series; {time.monotonic() - started:.0f} s")
