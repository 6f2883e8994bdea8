"""Ranges of time in a URL: ``range`` is a preset, ``to`` the end; arrows lead to the range before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dnsvigil.api import parameters
from dnsvigil.api.parameters import one_of

RANGES: Final[Mapping[str, timedelta]] = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "35d": timedelta(days=35),
}
"""The presets."""

_STEPS: Final = {
    "1h": timedelta(minutes=5),
    "6h": timedelta(minutes=5),
    "24h": timedelta(minutes=10),
    "7d": timedelta(hours=1),
    "35d": timedelta(hours=4),
}
_DEFAULT: Final = "24h"
_FIRST: Final = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Series:
    """Values at equal steps of time."""

    values: Sequence[float | None]
    begin: datetime
    end: datetime  # of the last step

    @property
    def labels(self) -> tuple[str, str]:
        """The labels of the ends."""
        return f"{self.begin:%Y-%m-%d %H:%M}", f"{self.end:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class Range:
    """A span of time in steps, in UTC. The last step ends with it, so that no step is half empty."""

    name: str
    begin: datetime
    end: datetime  # exclusive
    newest: datetime  # up to which there is data

    @property
    def step(self) -> timedelta:
        """The time from one point to the next."""
        return _STEPS[self.name]

    @property
    def earlier(self) -> str:
        """The end of the range before this, as ``to`` has it."""
        return _text(self.begin)

    @property
    def later(self) -> str | None:
        """The end of the range after this; None where there is nothing newer."""
        return _text(self.end + (self.end - self.begin)) if self.end < self.newest else None

    @property
    def to(self) -> str | None:
        """The parameter that leads here; None for the range up to the newest."""
        return _text(self.end) if self.end < self.newest else None

    def series(self, points: Mapping[datetime, float], missing: float | None = 0.0) -> Series:
        """Return the values at the begins of steps, ``missing`` where there is none."""
        steps = (self.end - self.begin) // self.step
        return Series([points.get(self.begin + i * self.step, missing) for i in range(steps)], self.begin, self.end)


def range_of(given: Mapping[str, str], newest: datetime) -> Range:
    """Return the range that a request wants, by default the day up to the ``newest`` data.

    Raises :class:`dnsvigil.api.interface.RequestError`.
    """
    one_of(given, "range", RANGES)
    name = given.get("range", _DEFAULT)
    end = newest
    if "to" in given:
        wanted = parameters.time(given["to"], "to").replace(second=0, microsecond=0)
        end = min(max(wanted, _FIRST + RANGES[name]), newest)
    return Range(name, end - RANGES[name], end, newest)


def _text(when: datetime) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"
