"""What the pages of a domain, a name, an address, a network, a client, a server and a zone have in common."""

import ipaddress
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from dnsvigil.api.finding_text import sentence
from dnsvigil.api.parameters import only, refuse
from dnsvigil.api.passive_dns.names import parse_name
from dnsvigil.records import FLOW_SLOT_SECONDS
from dnsvigil.store.findings import Finding, finding_with, findings_about
from dnsvigil.system.addresses import Network, begin_of, is_in
from dnsvigil.web.page import Asked
from dnsvigil.web.ranges import Series
from dnsvigil.web.records import shown_record
from dnsvigil.web.watch import picture

MAX_FINDINGS: Final = 20
"""How many findings a page lists."""

SLOT: Final = timedelta(seconds=FLOW_SLOT_SECONDS)
"""The step of series of flows."""

_ADDRESSES: Final = """
    SELECT id, subject FROM findings WHERE state = 'open' AND subject_type IN ('client', 'host', 'server', 'resolver')
    AND starts_with(subject, ?) ORDER BY last_seen DESC
"""
_MAX_POINTS: Final = 400  # of a series: more than the picture has columns of pixels, nobody sees


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
    """Return the findings about a subject, as the viewer may see them.

    Who may not see addresses of clients gets those about servers only where the subject is an address, which may also
    pass for a name: that there are others would say of a client what is masked elsewhere.
    """
    found = shown_findings(asked, findings_about(asked.backend.read, subject, MAX_FINDINGS))
    if asked.viewer.sees_clients or not _is_address(subject):
        return found
    return [each for each in found if each["subject_type"] in ("server", "resolver") and each["subject"] == subject]


def findings_in(asked: Asked, network: Network) -> list[dict[str, Any]]:
    """Return open findings about addresses and networks inside a network, as the viewer may see them."""
    rows = asked.backend.read(_ADDRESSES, begin_of(network))
    inside = (number for number, subject in rows if is_in(subject, network))
    found = (finding_with(asked.backend.read, number) for number in islice(inside, MAX_FINDINGS))
    return shown_findings(asked, (each for each in found if each))


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_interface(text))
    except ValueError:
        return False


def shown_findings(asked: Asked, found: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return findings with a sentence each, as the viewer may see them."""
    records = (each.record() for each in found)
    return [shown_record({**each, "what": sentence(each)}, asked) for each in records]


def rows(asked: Asked, table: str, query: str, *bound: Any) -> list[Any]:
    """Return the rows of a query over a table that may not be there, as where all detectors are disabled."""
    return asked.backend.read(query, *bound) if _is_there(asked, table) else []


def news_unseen(asked: Asked) -> str:
    """Return why it proves nothing that nothing new was asked for; nothing where it proves something."""
    if not _is_there(asked, "novel"):
        return "all detectors are disabled, so nobody looks for it"
    return "" if picture(asked)["current"] else "there are no new records"


def lists_unseen(asked: Asked) -> str:
    """Return why it proves nothing that no entry of a list was asked for; nothing where it proves something."""
    if asked.config.detectors.lists is None:
        return "detectors.lists in the configuration names no folder with lists"
    return news_unseen(asked)


def _is_there(asked: Asked, table: str) -> bool:
    return bool(asked.backend.read("FROM duckdb_tables() WHERE table_name = ?", table))


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
