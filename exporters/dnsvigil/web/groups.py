"""The pages of the groups of domains: all of them in the plane, and one with its members."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import duckdb

from dnsvigil.api.interface import RequestError
from dnsvigil.api.parameters import only, refuse
from dnsvigil.records import DOMAIN_FEATURES
from dnsvigil.store.domain_file import DomainFile, DomainFileError, Facts, Group, Plane, domain_file
from dnsvigil.web.lists import PER_PAGE, Listing, listing
from dnsvigil.web.page import Asked, View

_COLUMNS: Final = ("queries", "distance", "domain")
_MEMBERS: Final = """
    SELECT domain, queries, distance FROM read_parquet(?) WHERE "group" = ?
    ORDER BY {} {} NULLS LAST, domain LIMIT ? OFFSET ?
"""


@dataclass(frozen=True)
class Change:
    """How a group has changed since the table before."""

    before: int | None  # domains; None: there was no such group
    came: Sequence[tuple[int, int]]  # the id of the group that domains were in, 0 for none, and how many
    left: Sequence[tuple[int, int]]  # the id of the group that they are in


def groups(asked: Asked) -> View:
    """Return the page of all groups."""
    only(asked.given)
    facts = _file(asked).facts
    places = _places(facts)
    values: dict[str, Any] = {
        "facts": facts,
        "changes": {group.id: _change(facts, group) for group in facts.groups},
        "gone": [name for number, name in _names(facts).items() if number not in places],
        "features": DOMAIN_FEATURES,
    }
    return View("groups.html", values | (_drawn(facts.plane, places) if facts.plane else {}))


def _drawn(plane: Plane, places: Mapping[int, int]) -> dict[str, Any]:
    """Return what is drawn of a plane: points and marks have the place of their group."""
    centres = {int(number): point for number, point in plane.centres.items()}
    former = {int(number): point for number, point in plane.former.items()}
    return {
        "points": [(x, y, places.get(number, 0)) for x, y, number in plane.points],
        "marks": [(*point, places[number], str(places[number] + 1)) for number, point in centres.items()],
        "moves": [(*former[number], *point) for number, point in centres.items() if number in former],
    }


def group(asked: Asked) -> View:
    """Return the page of a group. Its status is 404 where there is no group of this id."""
    wanted = only(asked.given, "q", "sort", "order", "page").get("q", "")
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) < 10):
        refuse("q: expected the id of a group")
    file = _file(asked)
    found = next((each for each in file.facts.groups if each.id == int(wanted)), None)
    if found is None:
        reason = f"No group has the id {int(wanted)}: the next run of dnsvigil domains cluster may end a group."
        raise RequestError(HTTPStatus.NOT_FOUND, reason)
    listed = listing(asked.given, _COLUMNS).of(found.domains)
    values = {
        "group": found,
        "facts": file.facts,
        "names": _names(file.facts),
        "current": _places(file.facts),
        "change": _change(file.facts, found),
        "features": DOMAIN_FEATURES,
        "listing": listed,
        "members": _members(asked, found, listed),
    }
    return View("group.html", values)


def _members(asked: Asked, group: Group, listed: Listing) -> list[tuple[str, int, float]]:
    """Return a page of the members of a group, with their queries and their distances from the centre."""
    path = domain_file(asked.backend.folder)
    query = _MEMBERS.format(listed.sort, listed.order)
    try:
        return asked.backend.read(query, str(path), group.id, PER_PAGE, listed.offset)
    except duckdb.Error as error:
        reason = f"{path} cannot be read: {error}. Run dnsvigil domains cluster."
        raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, reason) from error


def _file(asked: Asked) -> DomainFile:
    try:
        return DomainFile(domain_file(asked.backend.folder))
    except FileNotFoundError:
        reason = "No table of domains was made yet; run dnsvigil domains cluster."
        raise RequestError(HTTPStatus.CONFLICT, reason) from None
    except DomainFileError as error:
        raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from error


def _places(facts: Facts) -> Mapping[int, int]:
    """Return the place of each group, by its id."""
    return {group.id: place for place, group in enumerate(facts.groups)}


def _names(facts: Facts) -> Mapping[int, str]:
    """Return the name of each group of now and before, by its id."""
    former = facts.former.groups if facts.former else {}
    return {int(number): name for number, (name, _) in former.items()} | {each.id: each.name for each in facts.groups}


def _change(facts: Facts, group: Group) -> Change | None:
    """Return how a group has changed; None where there was no table before."""
    if facts.former is None:
        return None
    before = facts.former.groups.get(str(group.id))
    moves: Sequence[Any] = facts.former.moves
    came = [(old, domains) for old, new, domains in moves if new == group.id != old]
    left = [(new, domains) for old, new, domains in moves if old == group.id != new]
    return Change(before[1] if before else None, _most(came), _most(left))


def _most(moves: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    return sorted(moves, key=lambda each: -each[1])
