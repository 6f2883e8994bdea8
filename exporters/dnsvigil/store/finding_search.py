"""A search for findings: terms with NOT, wildcards and networks, comparisons, sorted and in pages."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any, Final, Literal, Self

from dnsvigil.store.findings import BY_WEIGHT, Finding, Unreadable, select_findings, subjects_of
from dnsvigil.store.store import Read
from dnsvigil.system.addresses import Network, begin_of, is_in

SORTS: Final[Mapping[str, str]] = {
    "severity": "",  # with the score, as lists of findings always were
    "score": "score",
    "last_seen": "last_seen",
    "first_seen": "first_seen",
    "detector": "detector",
    "subject": "subject",
    "count": "count",
}
"""By what findings can be sorted, with the expression."""

COLUMNS: Final = ("state", "detector", "severity", "subject_type", "subject")
"""What terms can be about."""

COMPARED: Final[Mapping[str, str]] = {
    "score": "0.7",
    "count": "100",
    "first_seen": "2026-01-31",
    "last_seen": "2026-01-31",
}
"""What comparisons can be about, with an example of a value."""

MAX_TERMS: Final = 20

_COMPARISON: Final = re.compile(r"(>=|<=|>|<|=)\s*(\S.*)")


@dataclass(frozen=True)
class Terms:
    """What a column should be like: one of ``wanted``, if there are any, and none of ``unwanted``.

    A term is a value; of a subject also a network, or a pattern with ``*`` for any characters and ``?`` for one.
    """

    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the terms in a text, with commas between them and ``!`` before those that are not wanted.

        Raises ``ValueError``.
        """
        given = [term.strip() for term in text.split(",") if term.strip(" !")]
        if len(given) > MAX_TERMS:
            raise ValueError(f"expected at most {MAX_TERMS} terms")
        unwanted = [term[1:].strip() for term in given if term.startswith("!")]
        return cls(tuple(term for term in given if not term.startswith("!")), tuple(unwanted))

    def without(self, term: str, *, unwanted: bool) -> str:
        """Return the text of these terms without one of them."""
        wanted = [each for each in self.wanted if unwanted or each != term]
        return ",".join([*wanted, *(f"!{each}" for each in self.unwanted if not unwanted or each != term)])


@dataclass(frozen=True)
class Comparison:
    """What a column must be, such as at least 0.7. Times are UTC without a zone."""

    operator: str
    value: float | datetime

    @classmethod
    def parse_all(cls, column: str, text: str) -> Mapping[str, Self]:
        """Return the comparisons in a text, with commas between them, by their texts. Raises ``ValueError``."""
        given = [term.strip() for term in text.split(",") if term.strip()]
        if len(given) > MAX_TERMS:
            raise ValueError(f"expected at most {MAX_TERMS} terms")
        return {term: cls._parse(column, term) for term in given}

    @classmethod
    def _parse(cls, column: str, term: str) -> Self:
        with suppress(ValueError, OverflowError):
            if match := _COMPARISON.fullmatch(term):
                return cls(match[1], _value(column, match[2]))
        raise ValueError(f"{column}: expected comparisons such as >={COMPARED[column]}")


@dataclass(frozen=True)
class Search:
    """Which findings are searched for: the terms, and the comparisons that all hold, of each column."""

    terms: Mapping[str, Terms] = field(default_factory=dict)
    comparisons: Mapping[str, Iterable[Comparison]] = field(default_factory=dict)

    def condition(self, read: Read) -> tuple[str, list[Any]]:
        """Return the condition in SQL, and what is bound in it."""
        parts, bound = [], []
        for column, terms in self.terms.items():
            for some, negation in ((terms.wanted, ""), (terms.unwanted, "NOT ")):
                if some:
                    part, values = _any_of(read, column, some)
                    parts.append(f"{negation}({part})")
                    bound += values
        for column, comparisons in self.comparisons.items():
            for each in comparisons:
                parts.append(f"{column} {each.operator} ?")
                bound.append(each.value)
        return f"WHERE {' AND '.join(parts) or 'true'}", bound


def search_findings(
    read: Read,
    search: Search,
    sort: str = "severity",
    order: Literal["asc", "desc"] = "desc",
    *,
    most: int,
    offset: int = 0,
    unreadable: Unreadable | None = None,
) -> tuple[list[Finding], int]:
    """Return some of the findings that are searched for, and how many there are in all."""
    condition, bound = search.condition(read)
    ((total,),) = read(f"SELECT count(*) FROM findings {condition}", *bound)
    by = f"{SORTS[sort]} {order}, {BY_WEIGHT}" if SORTS[sort] else BY_WEIGHT
    if not SORTS[sort] and order == "asc":
        by = BY_WEIGHT.replace(" DESC", " ASC")
    page = f"{condition} ORDER BY {by} LIMIT ? OFFSET ?"
    return select_findings(read, page, *bound, most, offset, unreadable=unreadable), int(total)


def _any_of(read: Read, column: str, terms: Iterable[str]) -> tuple[str, list[Any]]:
    """Return the condition that a column is like any of these terms."""
    if column != "subject":
        return f"list_contains(?, {column})", [[*terms]]
    exact: list[str] = []
    patterns: list[str] = []
    networks: list[Network] = []
    for term in terms:
        if "*" in term or "?" in term:
            patterns.append(_like(term))
        elif "/" in term and (network := _network(term)):
            networks.append(network)
        else:
            exact += subjects_of(term)
    exact += _inside(read, networks)
    likes = [r"subject ILIKE ? ESCAPE '\'"] * len(patterns)
    return " OR ".join(["list_contains(?, subject)", *likes]), [exact, *patterns]


def _value(column: str, text: str) -> float | datetime:
    """Return what a column is compared with. Raises ``ValueError``, and ``OverflowError`` for a time."""
    if column.endswith("_seen"):
        when = datetime.fromisoformat(text)
        return when.astimezone(UTC).replace(tzinfo=None) if when.tzinfo else when
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _like(term: str) -> str:
    """Return a pattern of a shell as one of SQL."""
    for character in "\\%_":
        term = term.replace(character, f"\\{character}")
    return term.replace("*", "%").replace("?", "_")


def _network(term: str) -> Network | None:
    try:
        return ip_network(term, strict=False)
    except ValueError:
        return None


def _inside(read: Read, networks: Sequence[Network]) -> list[str]:
    """Return the subjects that are addresses or networks inside one of these."""
    if not networks:
        return []
    query = "SELECT DISTINCT subject FROM findings WHERE list_bool_or([starts_with(subject, b) FOR b IN ?::VARCHAR[]])"
    subjects = (subject for (subject,) in read(query, [*map(begin_of, networks)]))
    return [subject for subject in subjects if any(is_in(subject, each) for each in networks)]
