"""Tries inputs at one door, and keeps those that something fails of."""

import faulthandler
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from fuzz.doors import DOORS, Door

LONGEST = 30.0
"""Seconds that one input may take."""

WARM = 30
"""Inputs after which memory is what the door needs."""


@dataclass
class Result:
    """What came of a door's inputs."""

    inputs: int = 0
    slowest: float = 0.0  # seconds
    growth: float = 1.0  # memory at the end, as a multiple of what it was when warm
    failures: list[str] = field(default_factory=list)


def campaign(
    name: str, folder: Path, seed: int, *, seconds: float = 0, inputs: int = 0, exit_on_hang: bool = False
) -> Result:
    """Try ``inputs``, or for ``seconds``. The one under way is ``folder/NAME.now``; those that fail are kept there."""
    rng = random.Random(f"{name} {seed}")
    work = folder / name
    work.mkdir(parents=True)
    door = DOORS[name](work)
    result = Result()
    warm = 0
    deadline = time.monotonic() + seconds
    while result.inputs < inputs or time.monotonic() < deadline:
        data = door.make(rng)
        now = folder / f"{name}.now"
        now.write_bytes(data)
        begun = time.monotonic()
        with _watched(exit_on_hang):
            try:
                door.take(data)
            except Exception as error:  # whatever it is, it is a finding
                kept = folder / f"{name}.{seed}.{result.inputs}"
                kept.write_bytes(data)
                result.failures.append(f"{kept.name}: {type(error).__name__}: {str(error)[:300]}")
                door.close()
                door = _again(name, folder, result.inputs)
        result.inputs += 1
        result.slowest = max(result.slowest, time.monotonic() - begun)
        warm = psutil.Process().memory_info().rss if result.inputs == WARM else warm
    door.close()
    result.growth = psutil.Process().memory_info().rss / warm if warm else 1.0
    if result.slowest > LONGEST:
        result.failures.append(f"an input took {result.slowest:.0f} s")
    if result.growth > 2:
        result.failures.append(f"memory grew {result.growth:.1f}-fold")
    return result


def _again(name: str, folder: Path, number: int) -> Door:
    work = folder / f"{name}-{number}"
    work.mkdir()
    return DOORS[name](work)


@contextmanager
def _watched(exit_on_hang: bool) -> Iterator[None]:
    if exit_on_hang:
        faulthandler.dump_traceback_later(2 * LONGEST, exit=True)
    try:
        yield
    finally:
        if exit_on_hang:
            faulthandler.cancel_dump_traceback_later()
