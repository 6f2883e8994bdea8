"""Where a source puts what fails unexpectedly, so that everything else is read."""

from collections.abc import Sequence
from typing import Protocol


class Aside(Protocol):
    """What :class:`dnsvigil.store.set_aside.SetAside` does, as far as sources need it."""

    def put(self, kind: str, subject: object, reason: BaseException | str, stamp: Sequence[int] = ()) -> None:
        """Set something aside; ``stamp`` is what changes when a file does."""

    def holds(self, kind: str, subject: object, stamp: Sequence[int]) -> bool:
        """Return whether a file is set aside as it is now."""

    def release(self, kind: str, subject: object) -> None:
        """Note that something can be used after all."""
