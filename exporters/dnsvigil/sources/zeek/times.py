"""The times of records: every form that Zeek and the shippers of its logs write, as one SQL expression.

A number is seconds, milliseconds, microseconds or nanoseconds since 1970. Its size decides which: between 1990 and 2100
the four ranges lie far apart. A text is ISO 8601 or RFC 3339; without an offset it is UTC, which is what Zeek writes.
Anything else is NULL, and its record is skipped.
"""

from datetime import datetime, timedelta
from typing import Final

RELATIVE: Final = timedelta(days=365)
"""A time as near to 1970 as this counts from the start of a capture."""

_EPOCH: Final = datetime(1970, 1, 1)
FIRST: Final = 631_152_000
"""The first good time, 1990-01-01, in seconds."""

LAST: Final = 4_102_444_800
"""The time up to which a number is one of seconds, 2100-01-01, in seconds."""

_CLOCK: Final = r"\d{4}-\d\d-\d\d[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
_UTC: Final = _CLOCK + r"(?:\.\d{1,9})?Z?"
_ISO: Final = (
    f"^({_CLOCK.replace('[T ]', '[Tt ]')})"
    r"(?:[.,](\d{1,9}))? ?(?:Z|z|UTC|GMT|([+-])([01]\d|2[0-3]):?([0-5]\d)?)?$"
)


def number(text: str) -> str:
    """Return the expression of the number in ``text``, for :func:`time`; NULL where it is none."""
    return f"TRY_CAST({text} AS DOUBLE)"


def seconds(number: str) -> str:
    """Return the expression of the time that is ``number`` seconds since 1970."""
    return f"make_timestamp(CAST(round({number} * 1e6) AS BIGINT))"


def time(text: str, number: str, start: datetime | None = None) -> str:
    """Return the expression of the time in ``text``, of which ``number`` is the number: UTC, to the microsecond.

    With ``start``, when a capture began, only times that count from there are read.
    """
    near = f"{number} BETWEEN 0 AND {RELATIVE // timedelta(seconds=1)}"
    if start:
        micros = (
            f"CASE WHEN {number} IS NULL THEN {_iso(text)} WHEN {near} THEN CAST(round({number} * 1e6) AS BIGINT) END"
        )
        moved = f"m + {(start - _EPOCH) // timedelta(microseconds=1)}"
        near = f"m BETWEEN 0 AND {RELATIVE // timedelta(microseconds=1)}"
        return f"make_timestamp(list_transform([{micros}], lambda m: if({near}, {moved}, NULL))[1])"
    # What Zeek writes by default comes first: the other branches cost nothing then.
    return (
        f"make_timestamp(CASE WHEN {_between(number, 1)} THEN CAST(round({number} * 1e6) AS BIGINT)"
        f" WHEN {number} IS NULL THEN {_iso(text)}"
        f" WHEN {_between(number, 10**3)} THEN CAST(round({number} * 1e3) AS BIGINT)"
        f" WHEN {_between(number, 10**6)} THEN CAST(round({number}) AS BIGINT)"
        # Nanoseconds of today have more digits than a DOUBLE.
        f" WHEN {_between(number, 10**9)} THEN if(regexp_full_match({text}, '[0-9]+'),"
        f" TRY_CAST({text} AS BIGINT) // 1000, CAST(round({number} / 1e3) AS BIGINT))"
        # Read, so that the record is skipped as one whose time counts from the start of a capture.
        f" WHEN {near} THEN CAST(round({number} * 1e6) AS BIGINT) END)"
    )


def is_relative(time: str) -> str:
    """Return the condition that a time counts from the start of a capture."""
    return f"{time} BETWEEN TIMESTAMP '{_EPOCH}' AND TIMESTAMP '{_EPOCH + RELATIVE}'"


def relative_seconds(text: str) -> float | None:
    """Return the seconds since the start of a capture for the text of a time; None for any other time."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (datetime.fromisoformat(text).replace(tzinfo=None) - _EPOCH).total_seconds()
        except ValueError:
            return None
    return seconds if 0 <= seconds <= RELATIVE.total_seconds() else None


def _iso(text: str) -> str:
    # DuckDB's own cast is fast, but reads 24:00 and more that may stand behind a time.
    in_utc = f"epoch_us(TRY_CAST({text} AS TIMESTAMP))"
    parts = f"regexp_extract({text}, '{_ISO}', ['clock', 'fraction', 'sign', 'hours', 'minutes'])"
    micros = (
        "epoch_us(TRY_CAST(replace(upper(p.clock), 'T', ' ') AS TIMESTAMP))"
        " + CAST(rpad(left(p.fraction, 6), 6, '0') AS BIGINT)"
        " - if(p.sign = '', 0, CAST(p.sign || '1' AS BIGINT) * 60000000"
        " * (60 * CAST(p.hours AS BIGINT) + coalesce(TRY_CAST(p.minutes AS BIGINT), 0)))"
    )
    any_zone = f"list_transform([{parts}], lambda p: {micros})[1]"
    return f"CASE WHEN regexp_full_match({text}, '{_UTC}') THEN {in_utc} ELSE {any_zone} END"


def _between(number: str, unit: int) -> str:
    return f"{number} BETWEEN {FIRST * unit} AND {LAST * unit}"
