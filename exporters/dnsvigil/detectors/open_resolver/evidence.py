"""The evidence: one sentence of what a host does, and the numbers that made its score."""

from datetime import datetime
from typing import Any, Final

from dnsvigil.detectors.labelled import COMPARED, rounded
from dnsvigil.detectors.open_resolver.host import Host, Verdict
from dnsvigil.detectors.open_resolver.kinds import PUBLIC
from dnsvigil.detectors.open_resolver.traffic import RECENT, Counts, Seen
from dnsvigil.detectors.techniques import REFLECTION
from dnsvigil.system.terminal import counted

_UNKNOWN_BY_FLOWS: Final = ["recursion (RA, AA)", "names and answers", "transparent forwarding", "who spoofs"]
_SCANNED: Final = (
    "protocol", "port", "severity", "hostname", "tag", "dns_version", "asn", "geo", "region", "city",
    "min_amplification", "p0f_genre", "p0f_detail", "naics", "hostname_source", "sector",
)  # fmt: skip


def evidence_of(host: Host, verdict: Verdict, state: str) -> dict[str, Any]:
    """Return the evidence, as JSON has it; ``state`` is ``new`` or ``still open``."""
    found: dict[str, Any] = {
        "what": sentence(host, verdict),
        "domains": [],
        "state": state,
        "seen_by": host.origins,
        **_of_traffic(host),
        **_of_likeness(verdict),
        COMPARED: {seen.origin: rounded(seen.values()) for seen in host.seen},
        "harm": {name: round(value, 2) for name, value in vars(verdict.harm).items()},
    }
    if verdict.abused:
        found["technique"] = REFLECTION
    if not host.sure:
        found["unknown_by_flows"] = _UNKNOWN_BY_FLOWS
    if host.scans:
        newest = max(host.scans, key=lambda scan: scan["last_seen"])
        found["scan"] = {
            "first_seen": _text(min(scan["first_seen"] for scan in host.scans)),
            "last_seen": _text(newest["last_seen"]),
            **{name: newest[name] for name in _SCANNED if newest[name] is not None},
        }
    return found


def sentence(host: Host, verdict: Verdict) -> str:
    """Return what happens, for an operator."""
    address = f"Host {host.address}"
    if not host.seen:
        last = max(scan["last_seen"] for scan in host.scans)
        return (
            f"{address} answers recursive queries of anybody, as a scan found at {_text(last)}. No sensor and no flow"
            " shows it."
        )
    busiest = max(host.seen, key=lambda each: each.day.response_bytes)
    if verdict.abused:
        now = max((each.now for each in host.seen), key=lambda counts: counts.response_bytes)
        return (
            f"{address} is used for reflection: {_amount(now)} to {now.askers:,} outside"
            f" {'address' if now.askers == 1 else 'addresses'} in {_span(busiest)}, {now.amplification:,.1f} bytes for"
            " each byte of the queries."
        )
    if not host.sure and busiest.added:
        return (
            f"{address} adds {' or '.join(map(str, busiest.added))} bytes to the queries of {_outside(busiest)},"
            f" whatever they ask for, as a closed resolver does that refers to the root: {_amount(busiest.day)} in"
            f" {_hours(busiest)}. Attackers can use it for reflection. Flows cannot show whether it recurses."
        )
    if not host.sure:
        return (
            f"{address} sends answers from port 53 to {_outside(busiest)}, as an open resolver does:"
            f" {_amount(busiest.day)} in {_hours(busiest)}. Flows cannot show whether it recurses."
        )
    return (
        f"{address} answers recursive queries {_for_whom(host, verdict)}: {_amount(busiest.day)} in {_hours(busiest)}."
    )


def _for_whom(host: Host, verdict: Verdict) -> str:
    seen = host.sensor or host.seen[0]
    whom = f"of {_outside(seen)}"
    if host.sensor and host.sensor.answered_from:
        return f"{whom} and has {host.sensor.answered_from} resolve them"
    if verdict.likeness and verdict.likeness.kind == PUBLIC:
        return f"{whom}, as a public resolver does"
    return whom


def _of_traffic(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for seen in host.seen:
        day, now = seen.day, seen.recent
        known = {
            "first_answer": _text(seen.first),
            "last_answer": _text(seen.last),
            "hours_with_answers": seen.hours,
            "askers": seen.askers,
            "returning_askers": seen.returning,
            "responses": day.responses,
            "query_bytes": day.query_bytes,
            "response_bytes": day.response_bytes,
            "amplification": round(day.amplification, 2),
            "recent_responses": now.responses,
            "recent_response_bytes": now.response_bytes,
            "recent_amplification": round(now.amplification, 2),
            "resolved_by": seen.answered_from,
            "servers_queried": seen.upstreams,
            "added_bytes": list(seen.added) or None,
            "samples": list(seen.names) or None,
        }
        found[seen.origin] = {name: value for name, value in known.items() if value is not None}
    return found


def _of_likeness(verdict: Verdict) -> dict[str, Any]:
    if verdict.likeness is None:
        return {}
    like = verdict.likeness
    neighbours = [f"{name} ({distance:.2f})" for name, distance in like.neighbours]
    return {"looks_like": like.kind, "open_share": round(like.share, 2), "nearest": neighbours}


def _outside(seen: Seen) -> str:
    number = f"{seen.askers:,} outside client{'s' * (seen.askers != 1)}"
    return f"{number} ({seen.returning:,} returning)" if seen.returning else number


def _amount(counts: Counts) -> str:
    return f"{counted(counts.responses, 'response')} with {_size(counts.response_bytes)}"


def _size(size: float) -> str:
    unit = "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:,.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"


def _span(seen: Seen) -> str:
    return f"{RECENT.total_seconds() / 60:.0f} minutes" if seen.recent.slots else _hours(seen)


def _hours(seen: Seen) -> str:
    return counted(seen.hours, "hour")


def _text(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
