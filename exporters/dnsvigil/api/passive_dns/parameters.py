"""The parameters that look-ups have in all forms. What is wrong with them is a ``ValueError``."""

import re
from collections.abc import Mapping
from typing import Final

from dnsvigil.api.passive_dns.question import Fences

DEFAULT_RESULTS: Final = 10_000
"""How many results a look-up gives where it does not say how many."""

MAX_RESULTS: Final = 1_000_000
"""How many results a look-up gives at most."""

MAX_OFFSET: Final = 3_000_000
"""How many results a look-up passes over at most."""

FENCES: Final = ("time_first_before", "time_first_after", "time_last_before", "time_last_after")


class OffsetError(ValueError):
    """A look-up cannot pass over so many results."""


def fences(given: Mapping[str, str], now: float) -> Fences:
    """Return the bounds of times: seconds since 1970, or if negative, until ``now``, which is in seconds since 1970."""
    bounds = {name: whole(given, name) for name in FENCES if name in given}
    return Fences(**{name: round(now) + bound if bound < 0 else bound for name, bound in bounds.items()})


def results(given: Mapping[str, str]) -> int:
    """Return the limit of results; 0 and all above stand for the maximum."""
    limit = whole(given, "limit", DEFAULT_RESULTS)
    if limit < 0:
        raise ValueError("limit: expected 0 or more")
    return min(limit or MAX_RESULTS, MAX_RESULTS)


def offset(given: Mapping[str, str]) -> int:
    """Return how many results to pass over."""
    first = whole(given, "offset")
    if not 0 <= first <= MAX_OFFSET:
        raise OffsetError(f"offset: expected 0 to {MAX_OFFSET}")
    return first


def whole(given: Mapping[str, str], name: str, default: int = 0) -> int:
    """Return the whole number that a parameter has."""
    text = given.get(name)
    if text is None:
        return default
    if not re.fullmatch("-?[0-9]{1,15}", text):
        raise ValueError(f"{name}: expected a whole number")
    return int(text)
