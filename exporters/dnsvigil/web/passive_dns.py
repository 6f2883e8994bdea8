"""What passive DNS has of a domain, a name, an address or a network, filtered, as far as a page shows it."""

import calendar
import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from dnsvigil.api import parameters
from dnsvigil.api.interface import TupleSource
from dnsvigil.api.parameters import refuse
from dnsvigil.api.passive_dns.lookup import Found, LimitedError, page, records, without_bailiwick
from dnsvigil.api.passive_dns.names import parse_name
from dnsvigil.api.passive_dns.question import ANY, Fences, Question, data_address, owner_name
from dnsvigil.engines.tuples import LookupTimeoutError
from dnsvigil.store.tuple_keys import NAMED_TYPES
from dnsvigil.web.lists import PER_PAGE, Listing, listing

FILTERS: Final = ("type", "bailiwick", "after", "before")
"""The parameters that narrow a list of records."""

TYPES: Final = ("A", "AAAA", "CNAME", "NS", "MX", "TXT", "PTR", "SOA", "SRV", "HTTPS", "CAA", "DNSKEY", "DS")
"""Types to choose from; a URL may have any."""

MAX_RECORDS: Final = 1000
"""How many records a page looks at; a list of more, nobody reads."""

COLUMNS: Final = ("last", "first", "count", "name", "type", "data")
"""What the list of records can be sorted by."""

_SECONDS: Final = 2.0
_SORTED_BY: Final[Mapping[str, Callable[["Record"], Any]]] = {
    "last": lambda each: each.last,
    "first": lambda each: each.first,
    "count": lambda each: each.count,
    "name": lambda each: each.name.split(".")[::-1],
    "type": lambda each: each.type,
    "data": lambda each: each.data,
}


@dataclass(frozen=True)
class Record:
    """A record, with when and how often it was seen; times are UTC."""

    name: str
    type: str
    before: str  # what stands in the data before its value, such as the preference of MX
    value: str
    kind: str | None  # of KINDS, where the value has a page
    first: datetime
    last: datetime
    count: int

    @property
    def data(self) -> str:
        """The data as a whole."""
        return f"{self.before}{self.value}"


@dataclass(frozen=True)
class History:
    """Records of passive DNS, and why they are not all; empty where they are."""

    records: Sequence[Record]
    limited: str = ""

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """When the first was seen first, and the last last."""
        if not self.records:
            return None
        return min(each.first for each in self.records), max(each.last for each in self.records)


def addresses_of(known: History) -> Sequence[str]:
    """Return the addresses in records, those that were seen last first."""
    last = sorted((each for each in known.records if each.kind == "address"), key=lambda each: each.last, reverse=True)
    return [*dict.fromkeys(each.value for each in last)]


def question_about(kind: str, value: str) -> Question:
    """Return what to ask for a value; ``kind`` is one of those that have records. Raises ``RequestError``."""
    try:
        if kind == "address":
            return data_address(str(ipaddress.ip_address(value)))
        if kind == "network":
            return data_address(str(ipaddress.ip_network(value, strict=False)))
        name = parse_name(value)
        return owner_name(name if kind == "name" or name == "." else f"*.{name}")
    except ValueError as error:
        refuse(str(error))


def narrowed(question: Question, given: Mapping[str, str]) -> Question:
    """Return a question with the filters of a request. Raises ``RequestError``."""
    after, before = (_seconds(given, name) for name in ("after", "before"))
    if after is not None and before is not None and after > before:
        refuse("after, before: the end lies before the begin")
    try:
        asked = question.with_type(given.get("type", ANY)).with_bailiwick(given.get("bailiwick"))
    except ValueError as error:
        refuse(f"type, bailiwick: {error}")
    return asked.within(Fences.between(after, before, strict=False))


def filters_of(given: Mapping[str, str]) -> dict[str, str]:
    """Return the filters of a request."""
    return {name: given[name] for name in FILTERS if name in given}


def history(source: TupleSource, question: Question, most: int = MAX_RECORDS) -> History:
    """Return what is known, in the order of the names or of the data. Raises ``StoreError``."""
    found, limited = [], ""
    try:
        deadline = time.monotonic() + _SECONDS
        for each in page(without_bailiwick(records(source.tuples, [question], deadline)), 0, most):
            if each:
                found.append(_record(each))
    except LookupTimeoutError:
        limited = f"The look-up took more than {_SECONDS:.0f} seconds: these are what was found until then."
    except LimitedError as error:
        more = len(found) == most
        limited = f"There are more: these are the first {most:,}." if more else f"{error}."
    return History(found, limited)


def listed(known: History, given: Mapping[str, str]) -> tuple[Listing, Sequence[Record]]:
    """Return the page of the list of records that a request wants. Raises ``RequestError``."""
    wanted = listing(given, COLUMNS).of(len(known.records))
    return wanted, ordered(known, wanted)[wanted.offset :][:PER_PAGE]


def ordered(known: History, wanted: Listing) -> Sequence[Record]:
    """Return all records in the order of a list."""
    return sorted(known.records, key=_SORTED_BY[wanted.sort], reverse=wanted.order == "desc")


def _seconds(given: Mapping[str, str], name: str) -> int | None:
    """Return a bound of time, in seconds since 1970; a day as a whole is inside."""
    if name not in given:
        return None
    when = parameters.time(given[name], name)
    if name == "before" and len(given[name]) == len("2026-01-31") and when.date() < when.date().max:
        when += timedelta(days=1, seconds=-1)
    return max(calendar.timegm(when.timetuple()), 0)


def _record(found: Found) -> Record:
    (data,) = found.rdata
    before, space, value = data.rpartition(" ") if found.rrtype in NAMED_TYPES else ("", "", data)
    kind = "address" if found.rrtype in ("A", "AAAA") else "name" if found.rrtype in NAMED_TYPES else None
    times = (_time(found.time_first), _time(found.time_last))
    return Record(found.rrname, found.rrtype, before + space, value, kind, *times, found.count)


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
