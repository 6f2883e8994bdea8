"""Values as text: times in UTC, numbers, and what is hostile made visible."""

from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup

from dnsvigil.system.terminal import printable

NOTHING: Final = "–"
"""Stands for a value that is not known."""

_STEPS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def visible(value: Any) -> Any:
    """Return what a template shows for a value.

    Control characters, those that turn the direction of text, and all others that cannot be seen are escaped.
    """
    if value is None:
        return NOTHING
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def moment(when: datetime | None) -> Markup | str:
    """Return a time in UTC, which has no zone, to the second."""
    if when is None:
        return NOTHING
    text = f"{when:%Y-%m-%dT%H:%M:%SZ}"
    return Markup('<time datetime="{}">{}</time>').format(text, f"{when:%Y-%m-%d %H:%M:%S} UTC")


def iso_moment(text: str | None) -> Markup | str:
    """Return a time as JSON has it."""
    if text is None:
        return NOTHING
    return moment(datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None))


def span(seconds: float) -> str:
    """Return a length of time in its largest unit, rounded down."""
    for length, unit in _STEPS:
        if seconds >= length:
            return f"{seconds // length:,.0f} {unit}"
    return "0 s"


def count(value: float | None) -> str:
    """Return a number of things."""
    return NOTHING if value is None else f"{value:,.0f}"


def percent(ratio: float | None) -> str:
    """Return a ratio as a percentage; what is not 0 never reads 0."""
    if ratio is None:
        return NOTHING
    return "< 0.1 %" if 0 < ratio < 0.001 else f"{ratio:.1%}".replace("%", " %")


def brief(value: float | None) -> str:
    """Return a number with as many digits as a person compares."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.3g}"


def date(when: datetime | None) -> str:
    """Return the day of a time."""
    return NOTHING if when is None else f"{when:%Y-%m-%d}"
