"""One finding: its evidence drawn and in words, what people did with it, and the forms to dismiss, reopen and note."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from flask import Response

from dnsvigil.api import findings as api
from dnsvigil.api.finding_text import details, sentence
from dnsvigil.api.interface import Answer, RequestError
from dnsvigil.api.parameters import one_of, only
from dnsvigil.records import utc_now
from dnsvigil.store.findings import DISMISSED_FOR
from dnsvigil.web import evidence
from dnsvigil.web.masks import mask_texts
from dnsvigil.web.page import Asked, View
from dnsvigil.web.records import shown_record

DURATIONS: Final = {"1 day": 1, "7 days": 7, "30 days": DISMISSED_FOR.days, "1 year": 365}
"""How long a dismissal can last: the words, and days."""

_RUNBOOKS: Final = {
    "fan_out": "DnsvigilFanOut",
    "fast_flux": "DnsvigilFastFlux",
    "flood": "DnsvigilFlood",
    "honeypot": "DnsvigilClientAttacksHoneypot",
    "open_resolver": "DnsvigilOpenResolver",
    "poisoning": "DnsvigilPoisoning",
    "spam": "DnsvigilSpamBot",
    "sweep": "DnsvigilSweep",
    "tunnel": "DnsvigilTunnel",
}


def finding(asked: Asked, number: int) -> View:
    """Return the page of a finding."""
    only(asked.given)
    (record,) = api.findings(asked.backend, asked.config, {"id": str(number)}).content
    events = record.pop("events")
    shown = shown_record(record | {"what": sentence(record)}, asked)
    values = {
        "finding": shown,
        "runbook": runbook_of(record),
        "technique": evidence.technique(record["evidence"]),
        "pictures": evidence.pictures(record, shown["evidence"], asked),
        "linked": evidence.linked(shown["evidence"]),
        "details": details(evidence.unlinked(shown["evidence"])),
        "events": events if asked.viewer.sees_clients else mask_texts(events, lambda _: False),
        "durations": DURATIONS,
        "usual": DISMISSED_FOR.days,
    }
    return View("finding.html", values)


def runbook_of(record: Mapping[str, Any]) -> str:
    """Return the name of the runbook of the alert that a finding raises."""
    if record["detector"] == "malware":
        return "DnsvigilClientInfected" if record["subject_type"] == "client" else "DnsvigilMalwareGroup"
    return _RUNBOOKS.get(record["detector"], "DnsvigilFindingsOpen")


def dismiss(asked: Asked, number: int) -> Response:
    """Dismiss a finding for some days."""
    given = only(asked.given, "why", "days")
    one_of(given, "days", [str(days) for days in DURATIONS.values()])
    until = utc_now() + timedelta(days=int(given.get("days", DISMISSED_FOR.days)))
    content = {"why": given.get("why", ""), "until": until.isoformat(timespec="seconds")}
    return _changed(api.dismiss, asked, number, content)


def reopen(asked: Asked, number: int) -> Response:
    """Undo a dismissal."""
    only(asked.given)
    return _changed(api.reopen, asked, number, {})


def note(asked: Asked, number: int) -> Response:
    """Note a text on a finding."""
    return _changed(api.note, asked, number, {"text": only(asked.given, "text").get("text", "")})


def _changed(change: Callable[..., Answer], asked: Asked, number: int, content: Mapping[str, Any]) -> Response:
    """Make a change, and redirect to the finding."""
    answer = change(asked.backend, asked.config, {"id": number, **content}, asked.viewer.name)
    if answer.status == HTTPStatus.NOT_FOUND:
        raise RequestError(HTTPStatus.NOT_FOUND, f"There is no finding {number}.")
    return Response("", HTTPStatus.SEE_OTHER, {"Location": f"../{number}"})
