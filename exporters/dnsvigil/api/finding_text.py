"""Findings in words: one sentence of what happens, then the numbers with their units."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from dnsvigil.sources.blocklists.addresses import length_of

Record = Mapping[str, Any]
"""A finding as the API gives it."""

_NAMED: Final = 3  # of a list that stands in a sentence
_BRIEF: Final = 2  # of a list that stands in one line
_WHAT: Final = 500  # characters of a detector's own sentence
_MEASURES: Final = ("flows", "packets", "bytes")

_LABELS: Final = {
    "bits_per_octet": "information in names",
    "bytes_for_half": "bytes for a score of 0.5",
    "bytes_up_per_second": "sent",
    "bytes_down_per_second": "received",
    "clients_asking": "clients that ask",
    "connected_to": "answered addresses that it connected to",
    "failing": "failing domains",
    "expected": "failing domains expected",
    "flows_sampled": "flows show one packet in",
    "flows_since": "flows searched for these since",
    "hours": "window",
    "kinds": "weight of evidence",
    "label_bytes": "bytes in names",
    "mean_name_octets": "mean length of names",
    "minutes_active": "active",
    "neighbours": "most like malware's",
    "moving_since": "moving since",
    "never_connected_to": "answered addresses that it never connected to",
    "benign_neighbours": "most like benign",
    "resembles": "looks like the program",
    "seconds": "failing within",
    "slot": "slot of five minutes from",
    "technique": "ATT&CK technique",
    "weighed_down": "counted less, being",
}
"""Labels of keys of the evidence; the label of any other key is the key with spaces."""

_UNITS: Final = {
    "bits_per_octet": "bits per byte",
    "hours": "h",
    "mean_name_octets": "bytes",
    "minutes_active": "min",
    "names_per_minute": "per minute",
    "seconds": "s",
}


def sentence(finding: Record) -> str:
    """Return what happens, in one sentence: the text ``what`` of the evidence, or else one of ours."""
    evidence = _mapping(finding.get("evidence"))
    own = evidence.get("what")
    if isinstance(own, str) and own.strip():
        return own.strip()[:_WHAT]
    subject = f"{finding['subject_type']} {finding['subject']}"
    known = _SENTENCES.get(str(finding["detector"]))
    if known and (text := known(f"{subject[:1].upper()}{subject[1:]}", str(finding["subject"]), evidence)):
        return text
    shown = brief(evidence)
    shown = f": {shown[:_WHAT]}{'…' * (len(shown) > _WHAT)}" if shown else ""
    return f"The detector {finding['detector']} reports the {subject}{shown}."


def details(evidence: Any) -> list[tuple[str, str]]:
    """Return the numbers and names of the evidence as pairs of label and text, without the sentence ``what``."""
    given = {key: value for key, value in _mapping(evidence).items() if key != "what"}
    return [(label_of(key), text) for key, value in given.items() for text in _lines(key, value)]


def brief(evidence: Any) -> str:
    """Return evidence in one line: of each list the first few, and how many there are."""
    if isinstance(evidence, Mapping):
        return "; ".join(f"{label_of(key)} {brief(value)}" for key, value in evidence.items())
    if isinstance(evidence, list):
        rest = f", … ({len(evidence):,})" if len(evidence) > _BRIEF else ""
        return ", ".join(map(brief, evidence[:_BRIEF])) + rest
    return number(evidence)


def verdict_text(verdict: Record) -> str:
    """Return what is unusual in a series of flows, in one line."""
    measure = str(verdict.get("measure", "value"))
    place = [verdict.get(name) for name in ("exporter", "resolver", "protocol", "service")]
    of = " of " + "/".join(str(part) for part in place if part) if any(place) else ""
    usual = f" instead of {number(verdict['baseline'], measure)}" if verdict.get("baseline") is not None else ""
    kinds = _names(verdict.get("anomalies"))
    return f"{measure}{of} {number(verdict.get('value'), measure)}{usual}" + (f" ({kinds})" if kinds else "")


def label_of(key: Any) -> str:
    """Return the label of a key of the evidence."""
    return _LABELS.get(str(key), str(key).replace("_", " "))


def number(value: Any, key: str = "") -> str:
    """Return a value, rounded, with the unit of its key."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if "bytes" in key.split("_"):
        return _bytes(value) + ("/s" if key.endswith("per_second") else "")
    unit = _UNITS.get(key)
    return f"{_rounded(value)} {unit}" if unit else _rounded(value)


def _rounded(value: float) -> str:
    if isinstance(value, int) or value.is_integer():
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _bytes(value: float) -> str:
    size, unit = float(value), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if abs(size) < 1000:
            break
        size, unit = size / 1000, larger
    return f"{_rounded(size)} {unit}"


def _lines(key: str, value: Any) -> Iterator[str]:
    """Yield the lines of one key: several for a list of mappings or lists, else one."""
    if isinstance(value, Mapping):
        yield ", ".join(f"{label_of(name)} {_inline(name, part)}" for name, part in value.items()) or "none"
    elif isinstance(value, list) and any(isinstance(part, Mapping | list) for part in value):
        for part in value:
            yield from _lines(key, part)
    elif isinstance(value, list):
        yield ", ".join(number(part, key) for part in value) or "none"
    else:
        yield number(value, key)


def _inline(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{label_of(name)} {_inline(name, part)}" for name, part in value.items()) + ")"
    if isinstance(value, list):
        return " ".join(_inline(key, part) for part in value)
    return number(value, key)


# One for each detector: the subject with its type, the subject, the evidence


def _malware(who: str, subject: str, evidence: Record) -> str:
    clients, listed = evidence.get("clients"), _listed(evidence)
    if isinstance(clients, int) and listed:
        did = "were led to" if length_of(subject) else "asked for"
        return f"{_count(clients, 'client')} {did} {subject}, which is on {listed}."
    if isinstance(clients, int):
        who = _count(clients, "client")
        return f"{who} behave as if the same malware ran on them: they ask for the same domains, such as {subject}."
    parts = []
    if failing := evidence.get("failing"):
        within = f" within {number(evidence['seconds'], 'seconds')}" if evidence.get("seconds") else ""
        usual = f", where {number(evidence['expected'])} would be usual" if evidence.get("expected") is not None else ""
        parts.append(f"it asked for {_count(failing, 'domain')} that failed{within}{usual}")
    if listed:
        entries = [str(hit.get("entry")) for hit in _records(evidence["listed"])]
        names = [each for each in entries if not length_of(each)]
        verbs = {"asked for": names, "was led to": [each for each in entries if each not in names]}
        hits = " and ".join(f"it {verb} {_names(some)}" for verb, some in verbs.items() if some)
        parts.append(f"{hits}, on {listed}")
    if "new_names" in evidence and "queries" in evidence:
        failed = f", of which {number(evidence['failures'])} failed" if "failures" in evidence else ""
        return f"{who} asked for more new names than are kept: {_count(evidence['queries'], 'query')}{failed}."
    return f"{who} behaves as if malware ran on it{': ' if parts else ''}{', and '.join(parts)}."


def _tunnel(who: str, _: str, evidence: Record) -> str:
    domains = _names(evidence.get("domains"))
    much = f" about {number(evidence['bytes'], 'bytes')}" if "bytes" in evidence else " data"
    where = f" in names of {domains}" if domains else " in names"
    hours = f" within {number(evidence['hours'], 'hours')}" if "hours" in evidence else ""
    like = f"; it looks like {evidence['resembles']}" if isinstance(evidence.get("resembles"), str) else ""
    if who.startswith("Client"):
        return f"{who} sends{much} out through DNS{where}{hours}{like}."
    clients = evidence.get("clients_asking")
    senders = _count(clients, "client") if isinstance(clients, int) else "Clients"
    return f"{senders} send{'s' if clients == 1 else ''}{much} out through DNS{where}{hours}{like}."


def _nfsen(_: str, subject: str, evidence: Record) -> str:
    verdicts = _records(evidence.get("verdicts"))
    parts = [verdict_text(verdict) for verdict in verdicts[:_NAMED]]
    more = f", and {len(verdicts) - _NAMED} more" if len(verdicts) > _NAMED else ""
    if parts:
        return f"NfSen's alert {subject} fired: {'; '.join(parts)}{more}."
    counts = _mapping(evidence.get("now"))
    flows = ", ".join(f"{_rounded(counts[name])} {name}" for name in _MEASURES if name in counts)
    return f"NfSen's alert {subject} fired{f': {flows} in five minutes' if flows else ''}."


_SENTENCES: Final = {"malware": _malware, "tunnel": _tunnel, "nfsen": _nfsen}


def _mapping(value: Any) -> Record:
    return value if isinstance(value, Mapping) else {}


def _records(value: Any) -> list[Record]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _listed(evidence: Record) -> str:
    given = [hit.get("lists") for hit in _records(evidence.get("listed"))]
    lists = list(dict.fromkeys(str(name) for lists in given if isinstance(lists, list) for name in lists))
    return f"{'the list' if len(lists) == 1 else 'the lists'} {_names(lists)}" if lists else ""


def _names(names: Any) -> str:
    given = [str(name) for name in names] if isinstance(names, Sequence) and not isinstance(names, str) else []
    more = f" and {len(given) - _NAMED} more" if len(given) > _NAMED else ""
    return ", ".join(given[:_NAMED]) + more


def _count(count: Any, what: str) -> str:
    many = what.removesuffix("y") + "ies" if what.endswith("y") else f"{what}s"
    return f"{number(count)} {what if count == 1 else many}"
