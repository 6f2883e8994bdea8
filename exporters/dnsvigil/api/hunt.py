"""The hunt by command: indicators are looked up in all of passive DNS, and hits become findings."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any, Final

from dnsvigil.api.changes import result
from dnsvigil.api.interface import Backend, Objects, Parameters, Reader, Stream
from dnsvigil.api.parameters import only_keys, refuse
from dnsvigil.api.passive_dns.lookup import SECONDS, LimitedError, deadline_of
from dnsvigil.api.passive_dns.question import anything
from dnsvigil.config.collector import Config
from dnsvigil.detectors.retro_hunt import finding
from dnsvigil.engines.hunt import Hit, Hunt, Indicator
from dnsvigil.records import utc_now
from dnsvigil.store.findings import Findings
from dnsvigil.store.store import Store
from dnsvigil.store.tuple_keys import name_of_key

_STEP: Final = 0.2  # seconds, between two signs of life
_SINCE: Final = """
    SELECT min(time_first) FROM (
        SELECT time_first FROM passive_dns_new UNION ALL SELECT time_first FROM passive_dns_files WHERE tuples > 0
    )
"""
_DROPPED: Final = "SELECT coalesce(sum(tuples), 0) FROM total_passive_dns_dropped"


def hunt(backend: Backend, _: Config, content: Parameters) -> Stream:
    """Return a record for each indicator, found or not. Indicators that are wrong are left out."""
    only_keys(content, "indicators")
    given = content.get("indicators")
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        refuse("indicators: expected a list of texts")
    indicators: dict[str, Indicator] = {}
    problems: list[str] = []
    for text in given:
        try:
            indicator = _indicator(text)
            indicators[indicator.text] = indicator
        except ValueError as error:
            problems.append(str(error))
    return Stream(_hunt(backend, [*indicators.values()]), problems)


def _indicator(text: str) -> Indicator:
    question = anything(text)
    (low, _), *more = question.ranges
    if question.pattern is not None or not low:
        raise ValueError(f"{text!a}: expected a name, *.name, an address or a network")
    if question.order == "names":
        return Indicator(f"{'*.' if more else ''}{name_of_key(low)}", "names", question.ranges)
    network = text if "-" in text else str(ip_network(text, strict=False))
    return Indicator(network.removesuffix("/32").removesuffix("/128"), "rdata", question.ranges)


def _hunt(backend: Backend, indicators: Sequence[Indicator]) -> Objects:
    history = _history(backend)
    tuples = backend.tuples
    running = Hunt(tuples, indicators)
    deadline = deadline_of(tuples)
    while not (complete := running.step(_STEP)) and time.monotonic() < deadline:
        yield None
    hits = {each.text: (each, running.hits[each.text]) for each in indicators if each.text in running.hits}
    numbers = _put(backend, [*hits.values()])
    missing = len(running.unreadable)
    nothing = False if complete and not missing else None
    for each in indicators:
        found = hits.get(each.text)
        yield {
            "indicator": each.text,
            "found": True if found else nothing,
            **({**_seen(found[1]), "finding": numbers.get(each.text)} if found else {}),
            **history,
        }
    if not complete:
        raise LimitedError(f"the hunt took more than {SECONDS:.0f} s, so there may be more")
    if missing:
        files = "1 file" if missing == 1 else f"{missing} files"
        raise LimitedError(f"{files} of passive DNS cannot be read, so there may be more")


def _history(reader: Reader) -> Mapping[str, Any]:
    """Return since when there is passive DNS, and how many tuples are in it no more."""
    ((since,),), ((dropped,),) = reader.read(_SINCE), reader.read(_DROPPED)
    return {"history_since": None if since is None else _time(since), "tuples_dropped": int(dropped)}


def _seen(hit: Hit) -> Mapping[str, Any]:
    return {
        "first_seen": _time(hit.time_first),
        "last_seen": _time(hit.time_last),
        "count": hit.count,
        "records": [*hit.records],
    }


def _put(backend: Backend, hits: Sequence[tuple[Indicator, Hit]]) -> Mapping[str, int | None]:
    """Make findings of hits; return their ids, without those that are made later. A dismissed one has None."""
    now = utc_now().replace(microsecond=0)
    found = [finding(indicator, hit, (), now) for indicator, hit in hits]

    def put(store: Store) -> list[int | None]:
        kept = Findings(store)
        with store.transaction():
            return kept.put_all(found)

    if not found:
        return {}
    numbers = result(backend.submit(put), list[int | None]())
    return dict(zip((indicator.text for indicator, _ in hits), numbers, strict=False))


def _time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
