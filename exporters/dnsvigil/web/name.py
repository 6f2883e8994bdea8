"""The page of a name: its records, what points to it, and the names below it."""

from http import HTTPStatus
from typing import Final

from dnsvigil.api.passive_dns.question import data_name, owner_name
from dnsvigil.sources.public_suffixes import domain_of
from dnsvigil.web import subject
from dnsvigil.web.copy_as import commands
from dnsvigil.web.page import Asked, View
from dnsvigil.web.passive_dns import FILTERS, addresses_of, filters_of, history, listed, narrowed

_MAX_BELOW: Final = 100
_MAX_POINTING: Final = 100


def name(asked: Asked) -> View:
    """Return the page. Its status is 404 where passive DNS has nothing of the name, and no finding is about it."""
    text = subject.name_of(asked, *FILTERS)
    filters = filters_of(asked.given)
    known = history(asked.backend, narrowed(owner_name(text), filters))
    listing, records = listed(known, asked.given)
    below = history(asked.backend, owner_name(f"+.{text}" if text != "." else "+"))
    pointing = history(asked.backend, data_name(text), _MAX_POINTING)
    names = dict.fromkeys(each.name for each in below.records)
    values = {
        "name": text,
        "domain": domain_of(text),
        "parent": text.partition(".")[2],
        "known": known,
        "listing": listing,
        "records": records,
        "filters": filters,
        "pointing": pointing,
        "below": [*names][:_MAX_BELOW],
        "more_below": bool(below.limited) or len(names) > _MAX_BELOW,
        "findings": subject.findings(asked, text),
        "commands": commands("name", text, asked.config, addresses_of(known)),
    }
    nothing = not (filters or known.records or names or values["findings"] or pointing.records)
    return View("name.html", values | {"nothing": nothing}, HTTPStatus.NOT_FOUND if nothing else HTTPStatus.OK)
