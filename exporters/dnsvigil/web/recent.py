"""What was made a moment ago, so that many viewers of a page cost hardly more than one."""

import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

_SECONDS: Final = 2.0

T = TypeVar("T")


class Recent:
    """Keeps what was made for two seconds. The keys are few: those of our pages, never what somebody asks for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, Any]] = {}

    def of(self, key: str, make: Callable[[], T]) -> T:
        """Return what was made for a key, or make it; others who ask for it meanwhile wait."""
        with self._lock:
            made, value = self._kept.get(key, (float("-inf"), None))
            if time.monotonic() - made > _SECONDS:
                value = make()
                self._kept[key] = (time.monotonic(), value)
            kept: T = value
            return kept
