"""The numbers behind the names of query types, classes and response codes, for logs without the numbers."""

from collections.abc import Mapping
from typing import Final

from dnsvigil.records import QTYPES, RCODES

TYPES: Final = {name: code for code, name in QTYPES.items()} | {
    "EID": 31,
    "NIMLOC": 32,
    "ATMA": 34,
    "SINK": 40,
    "RKEY": 57,
    "TALINK": 58,
    "UINFO": 100,
    "UID": 101,
    "GID": 102,
    "*": 255,
    "WINS": 65_281,
    "WINS_R": 65_282,
    "XPF": 65_422,
    "INTEGRITY": 65_521,
}
"""Name to number, as the next: names in upper case, an underscore for a hyphen."""

CLASSES: Final = {
    "C_INTERNET": 1,
    "C_CSNET": 2,
    "C_CHAOS": 3,
    "C_HESIOD": 4,
    "C_NONE": 254,
    "C_ANY": 255,
    "IN": 1,
    "CS": 2,
    "CH": 3,
    "HS": 4,
    "NONE": 254,
    "ANY": 255,
}

CODES: Final = {name: code for code, name in RCODES.items()} | {"NOTIMPL": 4, "BADSIG": 16}

_NUMBERED: Final = "^(?:TYPE|CLASS|RCODE|[A-Z]+-)?([0-9]{1,5})$"  # query-65, TYPE65, unassigned-11, unknown-4711


def number_of(text: str, numbers: Mapping[str, int]) -> str:
    """Return the expression of the number that the name in ``text`` stands for; NULL for a name that is not known."""
    names = ", ".join(f"'{name}': {number}" for name, number in numbers.items())
    name = f"upper({text})"
    return (
        f"coalesce(MAP {{{names}}}[replace({name}, '-', '_')],"
        f" TRY_CAST(regexp_extract({name}, '{_NUMBERED}', 1) AS USMALLINT))"
    )
