"""``python -m evaluation.files FILE...``: the evaluation on series of your own, as they are and with known spikes.

A file has lines of ``time,value`` (ISO 8601, UTC), five minutes apart; the first line may be a heading. Each slot is
evaluated by those before it, in the time zone of the machine.
"""

from __future__ import annotations

import csv
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from dnsvigil.features.baseline import EVALUATED_ANOMALIES, HISTORY_SLOTS, evaluate

from .weeks import DAY, SIZES, TRAINING, WEEK, Floats


def read(path: Path) -> tuple[int, Floats]:
    """Return the time of the first slot, and the values; slots without a line are NaN."""
    slots = {}
    with path.open(newline="") as lines:
        for line in csv.reader(lines):
            try:
                at = datetime.fromisoformat(line[0]).replace(tzinfo=UTC)
                slots[int(at.timestamp()) // 300] = float(line[1])
            except (ValueError, IndexError):
                continue
    first = min(slots)
    values = np.full(max(slots) - first + 1, np.nan)
    values[np.array(list(slots)) - first] = list(slots.values())
    return first * 300, values


def evaluate_file(path: Path) -> None:
    """Print what is found in a file, and how many of the spikes and drops of one slot that are added."""
    start, values = read(path)
    padded = np.concatenate([np.full(HISTORY_SLOTS, np.nan), values])
    weeks, episodes = len(values) / WEEK, []
    last = dict.fromkeys(EVALUATED_ANOMALIES, -DAY)
    hits = {size: [0, 0] for size in SIZES}
    for slot in range(len(values)):
        history = padded[slot : slot + HISTORY_SLOTS + 1]
        tries = np.array([1.0, *SIZES]) if slot >= TRAINING and slot % 12 == 0 else np.array([1.0])
        rows = np.repeat(history[None], len(tries), axis=0)
        rows[:, -1] *= tries
        evaluation = evaluate(rows, start + 300 * slot)
        for column, name in enumerate(EVALUATED_ANOMALIES):
            if evaluation.anomalies[0, column]:
                if slot - last[name] > 6:
                    at = datetime.fromtimestamp(start + 300 * slot, UTC)
                    times = evaluation.value[0] / evaluation.baseline[0]
                    episodes.append(f"{at:%a %d %b %Y %H:%M} {name} ×{times:.2f}")
                last[name] = slot
        if not evaluation.anomalies[0].any():
            for row, size in enumerate(tries[1:], 1):
                hits[size][0] += bool(evaluation.anomalies[row, :2].any())
                hits[size][1] += 1
    print(f"{path.name}: {weeks:.1f} weeks, {len(episodes)} anomalies", *episodes, sep="\n  ")
    print("  found of spikes and drops of one slot:", *(f"×{size:g} {n / m:.0%}" for size, (n, m) in hits.items() if m))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        evaluate_file(Path(argument))
