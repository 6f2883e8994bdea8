"""``python -m evaluation names``: the name score by family, and how fast it is."""

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from dnsvigil.learning.default import default_model
from dnsvigil.learning.evaluate import read_families
from dnsvigil.learning.generators import FAMILIES
from dnsvigil.learning.namescore import HELD_OUT_SEEDS, NameModel
from dnsvigil.learning.samples import Benign, popular_domains
from dnsvigil.learning.training import figures_of

REAL: Final = Path(__file__).parents[3] / "shared" / "data" / "domains-dga"
"""Real lists, which no model is trained on, beside the project."""

_CORES: Final = 2
_AT_ONCE: Final = 10_000  # names
_ROUNDS: Final = 4


def main() -> None:
    """Print the figures."""
    model = NameModel.load(default_model())
    print(f"Name score: {len(FAMILIES)} generators, {len(HELD_OUT_SEEDS)} seeds of each that it was not trained on")
    real = read_families(REAL) if REAL.is_dir() else {}
    for part, figures in figures_of(model, real).items():
        print(f"\n{part}\n{figures.table()}")
    if not real:
        print(f"\nno real lists in {REAL}")
    rates = [_names_a_second(cores) for cores in range(1, _CORES + 1)]
    print("\nnames/s: " + ", ".join(f"{rate:,.0f} on {cores}" for cores, rate in enumerate(rates, 1)) + " cores")


def _names_a_second(processes: int) -> float:
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        list(pool.map(_score, [1] * processes))  # they start, and load
        begin = time.perf_counter()
        scored = sum(pool.map(_score, [_ROUNDS] * processes))
        return scored / (time.perf_counter() - begin)


_ready: list[tuple[NameModel, list[str]]] = []


def _score(rounds: int) -> int:
    if not _ready:
        names = Benign.divide(popular_domains()).test
        chosen = np.random.default_rng(0).permutation(len(names))[:_AT_ONCE]
        _ready.append((NameModel.load(default_model()), [names[i] for i in chosen]))
    ((model, names),) = _ready
    with threadpool_limits(1):
        return sum(len(model.scores(names)) for _ in range(rounds))
