"""What the pages of a domain, a name, an address, a network, a client, a server and a zone have in common."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from dnsvigil.api.finding_text import sentence
from dnsvigil.api.parameters import only, refuse
from dnsvigil.api.passive_dns.names import parse_name
from dnsvigil.store.findings import Finding, findings_about
from dnsvigil.web.page import Asked
from dnsvigil.web.records import shown_record

MAX_FINDINGS: Final = 20
"""How many findings a page lists."""

_MAX_POINTS: Final = 400  # of a series: more than the picture has columns of pixels, nobody sees


@dataclass(frozen=True)
class Series:
    """Values at equal steps of time."""

    values: Sequence[float | None]
    begin: datetime
    end: datetime  # of the last step

    @property
    def labels(self) -> tuple[str, str]:
        """The labels of the ends."""
        return f"{self.begin:%Y-%m-%d %H:%M}", f"{self.end:%Y-%m-%d %H:%M} UTC"


def value_of(asked: Asked, *others: str) -> str:
    """Return the value that a page is asked for, beside which there may be ``others`` and the parameters of a list."""
    value: str | None = only(asked.given, "q", "sort", "order", "page", *others).get("q")
    return value or refuse("q: expected what the page is about")


def name_of(asked: Asked, *others: str) -> str:
    """Return the name that a page is asked for."""
    try:
        return parse_name(value_of(asked, *others))
    except ValueError as error:
        refuse(str(error))


def findings(asked: Asked, subject: str) -> list[dict[str, Any]]:
    """Return the findings about a subject, as the viewer may see them."""
    return shown_findings(asked, findings_about(asked.backend.read, subject, MAX_FINDINGS))


def shown_findings(asked: Asked, found: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return findings with a sentence each, as the viewer may see them."""
    records = (each.record() for each in found)
    return [shown_record({**each, "what": sentence(each)}, asked) for each in records]


def rows(asked: Asked, table: str, query: str, *bound: Any) -> list[Any]:
    """Return the rows of a query over a table that may not be there, as where all detectors are disabled."""
    there = asked.backend.read("FROM duckdb_tables() WHERE table_name = ?", table)
    return asked.backend.read(query, *bound) if there else []


def series(points: Mapping[datetime, float], step: timedelta) -> Series | None:
    """Return sums at steps as a series, 0 where there is none; steps are put together where they are too many."""
    if not points:
        return None
    begin, last = min(points), max(points)
    together = -(-((last - begin) // step + 1) // _MAX_POINTS)
    values: list[float] = [0.0] * ((last - begin) // (step * together) + 1)
    for when, value in points.items():
        values[(when - begin) // (step * together)] += value
    return Series(values, begin, begin + len(values) * step * together)
