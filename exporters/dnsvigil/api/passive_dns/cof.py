"""Look-ups in the Common Output Format: the API's own, one question or many, and CIRCL's."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from dnsvigil.api.interface import Objects, Parameters, Stream, TupleSource
from dnsvigil.api.parameters import only, only_keys, refuse
from dnsvigil.api.passive_dns.bulk import together
from dnsvigil.api.passive_dns.forms import cof
from dnsvigil.api.passive_dns.lookup import Asked, page, records
from dnsvigil.api.passive_dns.parameters import FENCES, MAX_RESULTS, fences, offset, results
from dnsvigil.api.passive_dns.question import Question, anything, data_address, data_name
from dnsvigil.config.collector import Config

_OPTIONS: Final = ("rdata", "rrtype", "bailiwick", "limit", "offset", *FENCES)
_SENSORS: Final = "SELECT number, sensor FROM passive_dns_sensors ORDER BY sensor"


def lookup(source: TupleSource, _: Config, asked: Parameters) -> Stream:
    """Return the records of a name, an address, a network or a range of addresses."""
    given = only(asked, "query", *_OPTIONS)
    if "query" not in given:
        refuse("query: expected a name, an address or a network")
    try:
        return Stream(_found(source, [_question(given["query"], given)], given))
    except ValueError as error:
        refuse(str(error))


def lookup_many(source: TupleSource, _: Config, content: Parameters) -> Stream:
    """Return the records of many names, addresses and networks, each once. Those that are wrong are left out."""
    only_keys(content, "queries", *_OPTIONS)
    queries = content.get("queries")
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        refuse("queries: expected a list of texts")
    given = {name: str(value) for name, value in content.items() if name != "queries" and value is not None}
    questions: list[Question] = []
    problems: list[str] = []
    try:
        anything(".").with_type(given.get("rrtype")).with_bailiwick(given.get("bailiwick"))
        for query in dict.fromkeys(queries):
            try:
                questions.append(_question(query, given))
            except ValueError as error:
                problems.append(str(error))
        return Stream(_found(source, together(questions), given), problems)
    except ValueError as error:
        refuse(str(error))


def circl(source: TupleSource, query: str, rrtype: str | None) -> Objects:
    """Return the records of a name, an address, a network or a range of addresses. Raises ``ValueError``."""
    return _found(source, [anything(query).with_type(rrtype)], {"limit": str(MAX_RESULTS)})


def _question(text: str, given: Mapping[str, str]) -> Question:
    question = _in_data(text) if given.get("rdata", "").lower() in ("1", "true") else anything(text)
    question = question.with_type(given.get("rrtype")).with_bailiwick(given.get("bailiwick"))
    return question.within(fences(given, time.time()))


def _in_data(text: str) -> Question:
    try:
        return data_address(text)
    except ValueError:
        return data_name(text)


def _found(source: TupleSource, questions: Sequence[Asked], given: Mapping[str, str]) -> Objects:
    first, most = offset(given), results(given)
    sensors = dict(source.read(_SENSORS))
    return _records(source, questions, first, most, sensors)


def _records(
    source: TupleSource, questions: Iterable[Asked], first: int, most: int, sensors: Mapping[int, str]
) -> Iterator[Mapping[str, Any] | None]:
    for each in page(records(source.tuples, questions), first, most):
        yield None if each is None else cof(each, sensors)
