"""The inputs on which the engine failed: the one that it fails on alone, for the second time, is set aside."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dnsvigil.store.set_aside import SetAside


@dataclass(frozen=True)
class Input:
    """A file that is read. A log that has grown is the same."""

    kind: str  # of dnsvigil.store.set_aside.KINDS
    path: Path
    stamp: tuple[int, ...] = field(compare=False)


class Suspects:
    """What the engine failed on since it last took it; the store is closed and opened again after each failure."""

    def __init__(self) -> None:
        self._suspects: set[Input] = set()
        self._guilty: list[tuple[Input, str]] = []

    def __contains__(self, suspect: Input) -> bool:
        """Whether the engine has failed on this, or on a round in which it was: it is to be tried alone."""
        return suspect in self._suspects

    def blame(self, inputs: Sequence[Input], error: Exception) -> None:
        """Take note that the engine failed on these inputs together."""
        if len(inputs) == 1 and inputs[0] in self:
            self._guilty.append((inputs[0], str(error)))
            self._suspects.clear()
        else:
            self._suspects.update(inputs)

    def clear(self, inputs: Iterable[Input]) -> None:
        """Take note that the engine took these inputs."""
        self._suspects.difference_update(inputs)

    def set_aside(self, set_aside: SetAside) -> None:
        """Set aside what failed twice. Raises :class:`dnsvigil.store.store.StoreError`."""
        for guilty, reason in self._guilty:
            set_aside.put(guilty.kind, guilty.path, reason, guilty.stamp)
        set_aside.flush()
        self._guilty.clear()
