"""Writes what the detector found: one sentence for the operator, and the numbers behind it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dnsvigil.detectors.passive_dns import time_of
from dnsvigil.detectors.poisoning.history import MEANINGS, Change
from dnsvigil.detectors.poisoning.injection import Injection
from dnsvigil.detectors.poisoning.neighbours import Kind
from dnsvigil.detectors.poisoning.sequential import ALARM, Tests
from dnsvigil.detectors.poisoning.windows import COUNTS, Row
from dnsvigil.detectors.techniques import ADVERSARY_IN_THE_MIDDLE, COMPROMISED_DNS_SERVER
from dnsvigil.store.tuple_keys import data_of_key, name_of_key
from dnsvigil.system.terminal import counted

_SHOWN: Final = 10


def of_zone(rows: Sequence[Row], tests: Tests, changes: Sequence[Change], kind: Kind, loss: float) -> dict[str, Any]:
    """Return the evidence of signs in one zone, or at one resolver, with the rows that were tested."""
    where = f"Resolver {rows[0].resolver}" + (f", zone {rows[0].zone}" if rows[0].zone else "")
    counts = {name: total for name in COUNTS if (total := sum(row.signs[name] for row in rows))}
    answers = sum(row.responses for row in rows)
    said = ", ".join(f"{counted(counts[name], noun)} {how}" for name, (noun, how) in _COUNTED.items() if name in counts)
    return {
        "what": f"{where}: {said or 'odd answers'} among {counted(answers, 'answer')}. {_landing(rows, changes)}",
        "domains": [rows[0].zone] if rows[0].zone else [],
        "kind": kind.name,
        "kind_confidence": round(kind.confidence, 2),
        "neighbours": [f"{name} {distance:.2f}" for name, distance in kind.neighbours],
        "technique": ADVERSARY_IN_THE_MIDDLE,
        "resolver": rows[0].resolver,
        "landed": any(change.landed for change in changes),
        "clients_got_it": any(change.landed and change.cached for change in changes),
        "signs": counts,
        "queries": sum(row.queries for row in rows),
        "answers": answers,
        "nats": round(tests.sum, 1),
        "alarm_at_nats": round(ALARM, 1),
        "alarm_after_signs": tests.until_alarm,
        "alarm_at": f"{tests.alarm.isoformat()}Z" if tests.alarm else None,
        "loss": round(loss, 3),
        "names": _some(rows, "names"),
        "servers": _some(rows, "servers"),
        "records": _some(rows, "records"),
        "changes": [describe(change) for change in changes[:_SHOWN]],
    }


def of_change(zone: str, changes: Sequence[Change]) -> dict[str, Any]:
    """Return the evidence of a zone whose data left its past, without a sign on the wire."""
    best = changes[0]
    return {
        "what": f"Zone {zone} may have been taken over: {describe(best)}. If its owner knows of no move, flush the zone"
        " from the caches of all resolvers.",
        "domains": [zone],
        "kind": "takeover",
        "technique": COMPROMISED_DNS_SERVER,
        "names": [name_of_key(change.key) for change in changes[:_SHOWN]],
        "clients_got_it": any(change.cached for change in changes),
        "answers": sum(change.answers for change in changes),
        "changes": [describe(change) for change in changes[:_SHOWN]],
    }


def of_injection(found: Injection) -> dict[str, Any]:
    """Return the evidence of an address that turned up for unrelated names."""
    names = [name_of_key(key) for key in found.names]
    return {
        "what": f"Address {data_of_key(found.rkey)} suddenly turned up in answers for"
        f" {counted(len(found.domains), 'domain')} that have nothing to do with each other, such as {names[0]}:"
        " somebody may forge answers on the path. Compare with answers over another path, and flush these names.",
        "domains": list(found.domains[:_SHOWN]),
        "kind": "injection",
        "technique": ADVERSARY_IN_THE_MIDDLE,
        "address": data_of_key(found.rkey),
        "names": names[:_SHOWN],
        "domains_affected": len(found.domains),
        "domains_with_other_answers_since": found.going_on,
        "networks_of_other_answers": found.homes,
        "names_with_odd_ttl": found.odd_ttls,
        "answers": found.answers,
    }


def describe(change: Change) -> str:
    """Return in words how a name left its past."""
    name, had = name_of_key(change.key), change.new[0] if change.new else None
    why = "; ".join(MEANINGS[sign] for sign in change.signs)
    if had is None:
        return f"{name}: {why}"
    kind = "NS" if had.rkey.startswith("n") else "A" if had.rkey.startswith("a") else "AAAA"
    if change.kind == "NS" and kind != "NS":
        name = f"a name server of {name}"
    since = f"{time_of(min(each.first for each in change.new)):%Y-%m-%d %H:%M} UTC"
    return f"{name} has {kind} {data_of_key(had.rkey)} since {since} in {counted(change.answers, 'answer')} ({why})"


def _landing(rows: Sequence[Row], changes: Sequence[Change]) -> str:
    landed = [change for change in changes if change.landed]
    if landed:
        who = "clients get it from a cache" if any(change.cached for change in landed) else "it was accepted"
        return f"Forged data landed, and {who}: {describe(landed[0])}. Flush it from the resolver's cache now."
    if changes:
        return f"Perhaps forged data landed: {describe(changes[0])}. Flush the name from the cache, and check it."
    if not any(row.records for row in rows):
        return "Whether forged data landed is not known, as the sensor has no records of it: check the zone's answers."
    return "No forged data is in accepted answers so far. Check that the resolver validates, and uses random ports."


def _some(rows: Sequence[Row], column: str) -> list[str]:
    found = (value for row in reversed(rows) for value in getattr(row, column) or ())
    return list(dict.fromkeys(found))[:_SHOWN]


_COUNTED: Final[Mapping[str, tuple[str, str]]] = {
    "wrong_id": ("answer", "with a wrong id"),
    "wrong_port": ("answer", "to a wrong port"),
    "conflicting_answers": ("second answer", "that contradict the first"),
    "out_of_bailiwick": ("answer", "with records of other zones"),
    "odd_fragments": ("fragment", "that contradict others"),
    "icmp_unreachable": ("packet", "to closed ports"),
}
