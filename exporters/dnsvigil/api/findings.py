"""Findings: the list, one finding, findings of other programs, dismissals and their reversal."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

from dnsvigil.api.changes import result
from dnsvigil.api.interface import Answer, Parameters, Reader, RequestError, Writer
from dnsvigil.api.parameters import id_in, id_of, number, one_of, only, only_keys, refuse, time
from dnsvigil.config.collector import Config
from dnsvigil.records import SEVERITIES, SUBJECT_TYPES, utc_now
from dnsvigil.store.finding_events import events_of
from dnsvigil.store.findings import (
    COMMAND,
    KEPT,
    LISTED,
    STATES,
    Finding,
    Findings,
    Wanted,
    count_findings,
    finding_with,
    list_findings,
)
from dnsvigil.store.store import Store

_EPOCH: Final = datetime(1970, 1, 1)
_EARLY: Final = timedelta(hours=1)  # by which another machine's clock may be ahead
_NO_SUCH: Final = "there is no such finding"
_KEYS: Final[dict[str, type | tuple[type, ...]]] = {
    "detector": str,
    "subject_type": str,
    "subject": str,
    "score": (int, float),
    "severity": str,
    "evidence": dict,
}


def findings(reader: Reader, _: Config, asked: Parameters) -> Answer:
    """Return findings, the worst first, or the one with an ``id``."""
    given = only(asked, "state", "id", "detector", "severity", "subject_type", "subject", "since", "limit")
    one_of(given, "state", (*STATES, "all"))
    one_of(given, "severity", SEVERITIES)
    one_of(given, "subject_type", SUBJECT_TYPES)
    if "id" in given:
        return _one(reader, id_in(given["id"]))
    most = int(number(given.pop("limit", str(LISTED)), "limit", KEPT))
    since = time(given.pop("since"), "since") if "since" in given else None
    state = given.pop("state", "open")
    wanted = Wanted(None if state == "all" else state, since=since, **given)
    total = count_findings(reader.read, wanted)
    return Answer([each.record() for each in list_findings(reader.read, wanted, most)], total=total)


def submit(writer: Writer, config: Config, content: Parameters) -> Answer:
    """Put another program's finding into the store; its id is null if a dismissal suppresses it."""
    finding = _finding(content)
    if finding.subject_type in ("server", "resolver"):
        finding = replace(finding, subject=config.servers.label_of(finding.subject))
    if finding.subject_type == "client" and (client := config.detectors.client_of(finding.subject)) != finding.subject:
        evidence = {"client_addresses": [finding.subject], **finding.evidence}
        try:
            finding = replace(finding, subject=client, evidence=evidence)
        except ValueError as error:
            refuse(str(error))

    def put(store: Store) -> Answer:
        kept = Findings(store)
        with store.transaction():
            number = kept.put(finding)
        return Answer({"id": number}, 200 if number is None else 201)

    return result(writer.submit(put), Answer({"id": None}, 202))


def dismiss(writer: Writer, _: Config, content: Parameters, by: str = COMMAND) -> Answer:
    """Dismiss a finding, and suppress similar ones; ``by`` is the name of who does it."""
    only_keys(content, "id", "why", "until")
    number, why = id_of(content), _text(content, "why")
    until = time(content["until"], "until") if content.get("until") is not None else None
    return _change(writer, lambda kept: kept.dismiss(number, why, _now(), by=by, until=until))


def note(writer: Writer, _: Config, content: Parameters, by: str = COMMAND) -> Answer:
    """Note a text on a finding."""
    only_keys(content, "id", "text")
    number, text = id_of(content), _text(content, "text")
    return _change(writer, lambda kept: kept.note(number, text, _now(), by=by))


def reopen(writer: Writer, _: Config, content: Parameters, by: str = COMMAND) -> Answer:
    """Undo a dismissal."""
    only_keys(content, "id")
    number = id_of(content)
    return _change(writer, lambda kept: kept.reopen(number, _now(), by=by), HTTPStatus.CONFLICT)


def _change(
    writer: Writer, change: Callable[[Findings], Finding | None], refused: HTTPStatus = HTTPStatus.BAD_REQUEST
) -> Answer:
    """Change a finding; ``refused`` is the status where it cannot be changed like that."""

    def task(store: Store) -> Answer:
        kept = Findings(store)
        with store.transaction():
            return _changed(change(kept))

    try:
        return result(writer.submit(task), Answer([], 202))
    except ValueError as error:
        raise RequestError(refused, str(error)) from None


def _one(reader: Reader, number: int) -> Answer:
    unreadable: list[str] = []
    found = finding_with(reader.read, number, lambda _, reason: unreadable.append(reason))
    if unreadable:
        raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, f"finding {number} cannot be read: {unreadable[0]}")
    if found is None:
        raise RequestError(HTTPStatus.NOT_FOUND, _NO_SUCH)
    events = [event.record() for event in events_of(reader.read, number)]
    return Answer([found.record() | {"events": events}], total=1)


def _changed(found: Finding | None) -> Answer:
    return Answer([found.record()]) if found else Answer({"error": _NO_SUCH}, 404)


def _finding(content: Parameters) -> Finding:
    only_keys(content, *_KEYS, "time")
    for name, kind in _KEYS.items():
        if not isinstance(content.get(name), kind) or isinstance(content[name], bool):
            refuse(f"{name}: missing, or of the wrong kind")
    now = _now()
    when = time(content["time"], "time") if content.get("time") is not None else now
    if when > now + _EARLY:
        refuse("time: it is still to come")
    if when < _EPOCH:
        refuse("time: it is before 1970")
    try:
        return Finding(**{name: content[name] for name in _KEYS}, first_seen=when, last_seen=when)
    except ValueError as error:
        refuse(str(error))


def _text(content: Parameters, name: str) -> str:
    text = content.get(name)
    if not isinstance(text, str):
        refuse(f"{name}: expected a text")
    return text


def _now() -> datetime:
    return utc_now().replace(microsecond=0)
