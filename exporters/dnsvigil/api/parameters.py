"""Checks the parameters of requests. All functions raise :class:`RequestError` with what is expected."""

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NoReturn

from dnsvigil.api.interface import Parameters, RequestError


def refuse(message: str) -> NoReturn:
    """Refuse a request that is wrong."""
    raise RequestError(HTTPStatus.BAD_REQUEST, message) from None


def only(asked: Parameters, *names: str) -> dict[str, Any]:
    """Return the parameters of a query, which may have these names only."""
    if unknown := asked.keys() - set(names):
        refuse(f"unknown parameter {min(unknown)!r}; there are {', '.join(names)}")
    return dict(asked)


def only_keys(content: Parameters, *names: str) -> None:
    """Refuse a body with other keys than these."""
    if unknown := content.keys() - set(names):
        refuse(f"unknown key {min(unknown)!r}")


def number(text: str, name: str, most: float) -> float:
    """Return the number above 0, and at most ``most``, in a text."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= most:
        refuse(f"{name}: expected a number above 0, and at most {most:,}")
    return value


def one_of(asked: Parameters, name: str, known: Iterable[str]) -> None:
    """Refuse a parameter that has none of the known values."""
    if name in asked and asked[name] not in known:
        refuse(f"{name}: expected one of {', '.join(known)}")


def id_in(text: str) -> int:
    """Return the number of a finding in a text."""
    value = int(text) if re.fullmatch("[0-9]{1,18}", text) else 0
    return value or refuse("id: expected the number of a finding")


def id_of(content: Parameters) -> int:
    """Return the number of a finding in a body."""
    value = content.get("id")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
        refuse("id: expected the number of a finding")
    return value


def time(text: Any, name: str) -> datetime:
    """Return the time in a text, in UTC without a zone; a time without a zone is in UTC."""
    try:
        when = datetime.fromisoformat(text)
        return when.astimezone(UTC).replace(tzinfo=None) if when.tzinfo else when
    except (TypeError, ValueError, OverflowError):
        refuse(f"{name}: expected one such as 2026-01-31T12:00:00Z")
