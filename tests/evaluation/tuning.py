"""What the constants of the baseline, and the better Holt-Winters, were chosen with: shapes and seeds of their own.

``python -m evaluation.tuning`` tries Holt-Winters with many constants, prints the best, and the tables of these series.
"""

from __future__ import annotations

import heapq
from dataclasses import replace
from itertools import product

import numpy as np

from .flows import Found, Task, found, report, score
from .rivals import HoltWinters
from .weeks import DAY, SIZES, TUNING, WEEK

TASKS = [
    Task(kind, TUNING, 1_000 + 10 * n + part)
    for n, kind in enumerate(("clean", "events", "shifts", "sparse"))
    for part in (0, 1)
]


def goodness(clean: Found, events: Found) -> float:
    """Mean over the sizes of the F1 measure, were there one change in each series and week."""
    hits = [(events.delays[events.sizes == size] < np.inf).mean() for size in SIZES]
    return float(np.mean([2 * hit / (1 + hit + clean.rate()) for hit in hits]))


def main() -> None:
    """Tune and print."""
    clean, events = (task.weeks() for task in TASKS if task.kind in ("clean", "events") and task.seed % 10 == 0)
    tried = []
    for alpha, beta, gamma, season in product((0.005, 0.02, 0.1, 0.3), (0, 0.0035), (0.1, 0.3), (DAY, WEEK)):
        model = HoltWinters(alpha, beta, gamma, season=season)
        errors = [model.errors(weeks.values) for weeks in (clean, events)]
        for delta, (failures, window) in product((3, 4, 5, 6, 8, 10, 14, 20), ((1, 1), (2, 3), (7, 9))):
            model = replace(model, delta=delta, failures=failures, window=window)
            scores = [score(weeks, model.verdicts(error)) for weeks, error in zip((clean, events), errors, strict=True)]
            tried.append((goodness(*scores), scores[0].rate(), str(model)))
    for good, rate, best in heapq.nlargest(5, tried):
        print(f"F1 {good:.3f}, false alarms {rate:.3f}: {best}")
    print()
    report(found(TASKS))


if __name__ == "__main__":
    main()
