"""The windows of time over which tunnels are evaluated."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final


@dataclass(frozen=True)
class Window:
    """A window of hours, how often it is evaluated, and what makes a score of one half in it."""

    length: timedelta
    every: timedelta
    half: float  # bytes of a tunnel
    flood_half: float  # names of a flood


WINDOWS: Final = (
    Window(timedelta(hours=2), timedelta(minutes=1), 800, 300),
    Window(timedelta(hours=7), timedelta(minutes=5), 1400, 1000),
    Window(timedelta(hours=24), timedelta(minutes=15), 5000, 3000),
)
