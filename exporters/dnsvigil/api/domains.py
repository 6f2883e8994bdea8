"""A domain with its features, beside all other domains, and what the table of all domains is made from."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from dnsvigil.api.interface import Answer, Parameters, Reader, RequestError, Tables, TupleSource
from dnsvigil.api.parameters import only, refuse
from dnsvigil.config.collector import Config
from dnsvigil.features.popular import known_domains
from dnsvigil.store.domains import read_hours

_NEAREST: Final = 10
_MAX_NAME: Final = 1024  # characters: 255 octets, each of which may be written with four


def domain(source: TupleSource, _: Config, asked: Parameters) -> Answer:
    """Return the features of a registered domain, its group, what all domains have, and the domains most like it.

    All are of the table that ``dnsvigil domains cluster`` made last.
    """
    from dnsvigil.learning.domains import matrix, nearest
    from dnsvigil.learning.scaling import Scaling
    from dnsvigil.store.domain_file import DomainFile, DomainFileError, domain_file

    name = only(asked, "domain").get("domain", "").lower().rstrip(".") or "."
    if "domain" not in asked or len(name) > _MAX_NAME:
        refuse("domain: expected a registered domain")
    try:
        file = DomainFile(domain_file(source.folder))
        found = file.around(name)
    except FileNotFoundError:
        text = "no table of domains was made yet; run dnsvigil domains cluster"
        raise RequestError(HTTPStatus.CONFLICT, text) from None
    except DomainFileError as error:
        raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)) from error
    facts = file.facts
    made = _text(facts.made)
    if found is None:
        raise RequestError(
            HTTPStatus.NOT_FOUND,
            f"{name} is not in the table of {made}: until then there was no query for it, and no answer about it",
        )
    table, place = found
    ((row,), names) = table.slice(place, 1).to_pylist(), table["domain"]
    columns = {each: table[each].to_numpy() for each in facts.features}
    near = nearest(Scaling.of_facts(facts).rows(matrix(columns)), place, _NEAREST)
    group = next(each for each in facts.groups if each.id == row["group"])
    return Answer(
        {
            "domain": name,
            "made": made,
            "domains": file.domains,
            "features": {"first_seen": _time(row["first_seen"]), "last_seen": _time(row["last_seen"])}
            | {each: row[each] for each in facts.features},
            "group": {"id": group.id, "name": group.name, "domains": group.domains, "features": group.features},
            "distance": row["distance"],
            "statistics": facts.statistics,
            "nearest": [{"domain": names[each].as_py(), "distance": distance} for each, distance in near],
        }
    )


def hours(source: TupleSource, _: Config, asked: Parameters) -> Tables:
    """Return the summaries of domains by the hour."""
    only(asked)
    return Tables(read_hours(source.read_tables))


def tuples(source: TupleSource, _: Config, asked: Parameters) -> Tables:
    """Return the tuples of passive DNS, but for negative answers, in the form of the store."""
    only(asked)
    return Tables(source.tuples.encoded("names"))


def known(reader: Reader, _: Config, asked: Parameters) -> Answer:
    """Return names that are known for something, by what that is."""
    only(asked)
    return Answer(known_domains(reader.read))


def _time(seconds: Any) -> str | None:
    return None if seconds is None else _text(datetime.fromtimestamp(seconds, UTC))


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
