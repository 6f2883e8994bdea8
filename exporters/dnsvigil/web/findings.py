"""The list of findings: filters in the URL, sorted and paged by the server, and the same list as CSV and JSON."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from flask import Response

from dnsvigil.api.finding_text import sentence
from dnsvigil.api.interface import RequestError
from dnsvigil.api.parameters import only, refuse
from dnsvigil.records import FINDING_STATES, SEVERITIES
from dnsvigil.store.finding_search import COLUMNS, COMPARED, SORTS, Comparison, Search, Terms, search_findings
from dnsvigil.store.findings import KEPT
from dnsvigil.web.exports import csv_file, json_file
from dnsvigil.web.lists import PER_PAGE, listing
from dnsvigil.web.masks import masked
from dnsvigil.web.page import Asked, View
from dnsvigil.web.records import shown_record

_ANY_STATE: Final = "all"
_FILTERS: Final = (*COLUMNS, *COMPARED)
_FACETS: Final = ("state", "severity", "detector")
_FIELDS: Final = (
    *("id", "severity", "score", "detector", "subject_type", "subject", "state", "why", "until"),
    *("first_seen", "last_seen", "count", "what"),
)
_LIKE_ADDRESS: Final = re.compile(r"[0-9A-Fa-f.:/*?]*[*?][0-9A-Fa-f.:/*?]*")
_FACET_COUNTS: Final = "SELECT state, severity, detector, count(*) FROM findings GROUP BY ALL"


def findings(asked: Asked) -> View:
    """Return the page of the list."""
    given = only(asked.given, *_FILTERS, "sort", "order", "page")
    shown = listing(given, [*SORTS])
    search = _search(asked, given)
    found, total = search_findings(
        asked.backend.read, search, shown.sort, shown.order, most=PER_PAGE, offset=shown.offset
    )
    if total <= shown.offset:
        shown = shown.of(total)
        found, total = search_findings(
            asked.backend.read, search, shown.sort, shown.order, most=PER_PAGE, offset=shown.offset
        )
    filters = {name: text for name, text in given.items() if name in _FILTERS}
    values = {
        "given": given,
        "filters": filters,
        "chips": list(_chips(filters)),
        "compared": COMPARED,
        "facets": _facets(asked, filters),
        "listing": shown.of(total),
        "findings": [_row(each.record(), asked) for each in found],
    }
    return View("findings.html", values)


def findings_csv(asked: Asked) -> Response:
    """Return the filtered list as CSV."""
    return csv_file("findings", _FIELDS, _exported(asked))


def findings_json(asked: Asked) -> Response:
    """Return the filtered list as JSON, with the evidence."""
    return json_file("findings", [*_exported(asked)])


def _search(asked: Asked, given: Mapping[str, str]) -> Search:
    """Return the search of a request. For who may not see addresses of clients it finds no less than their networks."""
    texts = {name: text for name, text in given.items() if name in COLUMNS}
    if texts.setdefault("state", FINDING_STATES[0]) == _ANY_STATE:
        del texts["state"]
    try:
        terms = {name: Terms.parse(text) for name, text in texts.items()}
        compared = {name: Comparison.parse_all(name, given[name]).values() for name in COMPARED if name in given}
    except ValueError as error:
        refuse(f"{error}")
    if not asked.viewer.sees_clients and "subject" in terms:
        wanted, unwanted = (tuple(map(_widened, some)) for some in (terms["subject"].wanted, terms["subject"].unwanted))
        terms["subject"] = Terms(wanted, unwanted)
    return Search({name: each for name, each in terms.items() if each != Terms()}, compared)


def _widened(term: str) -> str:
    if _LIKE_ADDRESS.fullmatch(term):
        reason = "Who may not see addresses of clients searches for networks, such as 192.0.2.0/24, not for patterns."
        raise RequestError(HTTPStatus.FORBIDDEN, reason)
    return masked(term)


def _chips(filters: Mapping[str, str]) -> Iterable[dict[str, Any]]:
    """Yield each term with the filters that are left without it."""
    for name, text in filters.items():
        if name in COMPARED:
            texts = [*Comparison.parse_all(name, text)]
            for term in texts:
                rest = dict(filters) | {name: ",".join(each for each in texts if each != term)}
                yield {"name": name.replace("_", " "), "term": term, "unwanted": False, "rest": rest}
            continue
        terms = Terms.parse(text)
        for some, unwanted in ((terms.wanted, False), (terms.unwanted, True)):
            for term in some:
                rest = dict(filters) | {name: terms.without(term, unwanted=unwanted)}
                yield {"name": name.replace("_", " "), "term": term, "unwanted": unwanted, "rest": rest}


def _facets(asked: Asked, filters: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the values of some columns, each with its count and the filters that it adds or excludes."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in _FACETS}
    for *values, count in asked.backend.read(_FACET_COUNTS):
        for name, value in zip(_FACETS, values, strict=True):
            counts[name][value] += count
    known = {"state": FINDING_STATES, "severity": tuple(reversed(SEVERITIES))}
    found = []
    for name in _FACETS:
        terms = Terms.parse(filters.get(name, FINDING_STATES[0] if name == "state" else ""))
        values = known.get(name) or sorted(counts[name])
        options = [
            {
                "value": value,
                "count": counts[name][value],
                "chosen": value in terms.wanted,
                "only": dict(filters) | {name: value},
                "but": dict(filters) | {name: f"!{value}"},
            }
            for value in values
        ]
        found.append({"name": name, "options": options})
    return found


def _row(record: dict[str, Any], asked: Asked) -> dict[str, Any]:
    return shown_record(record | {"what": sentence(record)}, asked)


def _exported(asked: Asked) -> Iterable[dict[str, Any]]:
    given = only(asked.given, *_FILTERS, "sort", "order")
    shown = listing(given, [*SORTS])
    found, _ = search_findings(asked.backend.read, _search(asked, given), shown.sort, shown.order, most=KEPT)
    return (_row(each.record(), asked) for each in found)
