"""A program that is killed again and again, and goes on each time where it was."""

import random
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

MAX_KILLS = 30


def killed_until_done(command: Sequence[str | Path], whole: float, dice: random.Random) -> int:
    """Run a program that takes ``whole`` seconds undisturbed, and kill it until it ends; return how often."""
    kills = 0
    while True:
        process = subprocess.Popen(command)
        with suppress(subprocess.TimeoutExpired):
            if kills == MAX_KILLS or process.wait(dice.uniform(0.2, 0.5) * whole) == 0:
                assert process.wait() == 0
                return kills
        process.kill()
        assert process.wait() == -signal.SIGKILL
        kills += 1
