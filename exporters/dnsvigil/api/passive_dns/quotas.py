"""How many look-ups each API key has left today."""

import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Final

from dnsvigil.config.collector import ApiKey

_DAY: Final = 86400


class Quotas:
    """Counts the look-ups of API keys, anew from midnight UTC on, and from each start of the collector on."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._limits = {key.name: key.daily_limit for key in keys}
        self._used: Counter[str] = Counter()
        self._day = 0
        self._lock = threading.Lock()

    def take(self, name: str | None) -> bool:
        """Count a look-up with a key, None for one without; return whether the key has any left."""
        limit = self._limits.get(name) if name else None
        if name is None or limit is None:
            return True
        with self._lock:
            self._begin_day()
            self._used[name] += self._used[name] <= limit
            return self._used[name] <= limit

    def rate(self, name: str | None) -> dict[str, int | str]:
        """Return what DNSDB calls the rate: the limit, what is left, and when it begins anew, seconds since 1970."""
        limit = self._limits.get(name) if name else None
        if name is None or limit is None:
            return {"reset": "n/a", "limit": "unlimited", "remaining": "n/a"}
        with self._lock:
            self._begin_day()
            left = max(limit - self._used[name], 0)
            return {"reset": (self._day + 1) * _DAY, "limit": limit, "remaining": left}

    def _begin_day(self) -> None:
        if (today := int(time.time() // _DAY)) != self._day:
            self._day = today
            self._used.clear()
