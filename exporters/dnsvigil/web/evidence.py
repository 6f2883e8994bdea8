"""The evidence of a finding: what of it can be drawn, and what of it has a page of its own."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from markupsafe import Markup

from dnsvigil.api.finding_text import label_of, verdict_text
from dnsvigil.store.flow_series import series
from dnsvigil.store.novelty import activity_of
from dnsvigil.web import svg
from dnsvigil.web.page import Asked

_KIND_OF: Final = {
    "domains": "domain",
    "names": "name",
    "samples": "name",
    "name_servers": "name",
    "clients": "client",
    "client_addresses": "client",
}
"""Keys of lists whose entries have pages, with the kind of these."""

_DRAWN: Final = ("kinds", "technique")
_DISTANCE: Final = re.compile(r"(.+?) \(?([0-9]+\.[0-9]+)\)?")
_NEIGHBOURS: Final = ("neighbours", "nearest")
_TECHNIQUE: Final = re.compile(r"(T[0-9]{4})(?:\.([0-9]{3}))?(?: .*)?")
_HOURS: Final = timedelta(hours=24)
_MOST: Final = 3  # series that are drawn
_ROWS: Final = 20  # of a timeline


@dataclass(frozen=True)
class Track:
    """A row of a timeline: when something was active."""

    domain: str
    picture: Markup
    queries: int
    failures: int


@dataclass(frozen=True)
class Pictures:
    """What of a finding's evidence is drawn."""

    weights: Sequence[tuple[str, float, Markup]] = ()
    neighbours: Sequence[tuple[str, float, Markup]] = ()
    series: Sequence[tuple[str, Markup]] = ()
    timeline: Sequence[Track] = ()
    begin: datetime | None = None  # of the timeline, as its end
    end: datetime | None = None


def technique(evidence: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the technique of MITRE ATT&CK in the evidence, and the URL of its page."""
    text = evidence.get("technique")
    found = _TECHNIQUE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    path = "/".join(filter(None, found.groups()))
    return found[0], f"https://attack.mitre.org/techniques/{path}/"


def linked(evidence: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Return the lists of names and addresses: label, kind and entries."""
    return [(label_of(key), kind, evidence[key]) for key, kind in _KIND_OF.items() if _is_texts(evidence.get(key))]


def unlinked(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rest of the evidence, which is shown in words."""
    return {
        key: value
        for key, value in evidence.items()
        if key not in _DRAWN and not (key in _KIND_OF and _is_texts(value))
    }


def pictures(record: Mapping[str, Any], evidence: Mapping[str, Any], asked: Asked) -> Pictures:
    """Return what can be drawn of a finding as JSON has it; ``evidence`` is what the viewer may see of its own."""
    tracks, begin, end = _timeline(record, asked)
    return Pictures(_weights(evidence), _neighbours(evidence), _series(evidence, asked), tracks, begin, end)


def _weights(evidence: Mapping[str, Any]) -> list[tuple[str, float, Markup]]:
    """Return the kinds of evidence, each with its part of the score."""
    kinds = evidence.get("kinds")
    numbers = {kind: value for kind, value in _items(kinds) if _is_number(value)}
    top = max(map(abs, numbers.values()), default=1.0) or 1.0
    return [
        (str(kind).replace("_", " "), value, svg.meter(abs(value), f"{value}", top=top, against=value < 0))
        for kind, value in numbers.items()
    ]


def _neighbours(evidence: Mapping[str, Any]) -> list[tuple[str, float, Markup]]:
    """Return what is nearest in the space of features, with the distance, the nearest first."""
    texts = [text for key in _NEIGHBOURS if _is_texts(evidence.get(key)) for text in evidence[key]]
    found = [(match[1], float(match[2])) for text in texts if (match := _DISTANCE.fullmatch(text))]
    top = max((distance for _, distance in found), default=1.0) or 1.0
    found.sort(key=lambda pair: pair[1])
    return [(name, away, svg.meter(away, f"at a distance of {away}", top=top)) for name, away in found]


def _series(evidence: Mapping[str, Any], asked: Asked) -> list[tuple[str, Markup]]:
    """Return the series of flows that verdicts in the evidence are about, over the last day, with baselines."""
    found = []
    verdicts = evidence.get("verdicts")
    verdicts = [each for each in verdicts if isinstance(each, Mapping)] if isinstance(verdicts, list) else []
    for verdict in verdicts[:_MOST]:
        names = ("exporter", "protocol", "service", "resolver", "measure")
        given = {name: verdict[name] for name in names if isinstance(verdict.get(name), str)}
        if "measure" in given:
            for each in series(asked.backend.read, _HOURS, **given)[:1]:
                found.append((verdict_text(verdict), _drawn(each["points"], verdict_text(verdict))))
    return found


def _drawn(points: Sequence[Mapping[str, Any]], title: str) -> Markup:
    odd = [place for place, point in enumerate(points) if point["anomalies"]]
    ends = (points[0]["slot"], points[-1]["slot"]) if points else ("", "")
    values, baseline = ([point[name] for point in points] for name in ("value", "baseline"))
    return svg.series(values, title, baseline=baseline, marks=odd, labels=ends)


def _timeline(record: Mapping[str, Any], asked: Asked) -> tuple[list[Track], datetime | None, datetime | None]:
    """Return when each domain of the evidence was asked for, by the client or by all, and the span of all."""
    domains = record["evidence"].get("domains")
    if not _is_texts(domains):
        return [], None, None
    client = record["subject"] if record["subject_type"] == "client" else None
    active = activity_of(asked.backend.read, domains[:_ROWS], client)
    every = sorted(minute for each in active.values() for minute in each.minutes)
    if not every:
        return [], None, None
    begin, end = every[0], every[-1] + timedelta(minutes=1)
    length = (end - begin) / timedelta(minutes=1)
    tracks = []
    for domain, each in active.items():
        places = [(minute - begin) / timedelta(minutes=1) / length for minute in each.minutes]
        picture = svg.track(places, 1 / length, f"active in {len(places)} minutes")
        tracks.append(Track(domain, picture, each.queries, each.failures))
    return tracks, begin, end


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    yield from value.items() if isinstance(value, Mapping) else ()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)
