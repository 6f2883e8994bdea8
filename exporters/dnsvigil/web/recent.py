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
        self._kept: dict[str, tuple[float, Any]] = {}
        self._making: dict[str, threading.Lock] = {}

    def of(self, key: str, make: Callable[[], T]) -> T:
        """Return what was made for a key, or make it. While one request makes it anew, the others get the last one."""
        self._renew(key, make)
        kept: T = self._kept[key][1]
        return kept

    def _renew(self, key: str, make: Callable[[], Any]) -> None:
        known = self._kept.get(key)
        if known and time.monotonic() - known[0] < _SECONDS:
            return
        making = self._making.setdefault(key, threading.Lock())
        if not making.acquire(blocking=known is None):
            return
        try:
            if self._kept.get(key) is known:  # else somebody has just made it
                self._kept[key] = (time.monotonic(), make())
        finally:
            making.release()
