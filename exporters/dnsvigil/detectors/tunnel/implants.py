"""Implants: clients that ask for names once each, below domains that nobody else asks for, and get no hosts in answer.

Volume is no evidence here: commands are short. docs/detectors/tunnel.md has the formula and what it was measured to
find.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from dnsvigil.detectors import floods
from dnsvigil.detectors.detector import Anomaly
from dnsvigil.detectors.floods import Row
from dnsvigil.detectors.techniques import DNS_COMMANDS
from dnsvigil.detectors.tunnel.received import Received, received_in, without_addresses
from dnsvigil.detectors.tunnel.shape import data_share, names_below
from dnsvigil.detectors.tunnel.standing import standing
from dnsvigil.records import MIN_LONELY_NAMES

Look = Callable[[Iterable[str]], list[float]]
"""Returns of each label minus the logarithm of the share of benign names that look at least as generated."""

_HALF: Final = 10  # names for a score of one half, whose answers are data
_LOOK: Final = 1.5  # from which on a label counts as generated
_BENIGN: Final = 0.3  # of a dozen benign names may look so: 0.22 do
_MAX_LOOKED: Final = 12  # labels of a client below a domain
_NAMES_ALONE: Final = 0.25  # weight of a generated name whose answers are no evidence
_ANSWERS_ALONE: Final = 0.1  # weight of odd answers to names that are not generated
_REPEATED: Final = 2.5  # queries for a name, of each type one, from which on it was asked again
_USUAL: Final = 0.5  # share of answers that are unlike all others, up to which it is no evidence ...
_ODD: Final = 0.9  # ... and from which on it is all of it
_MIN_RECEIVED: Final = 4
_PER_MINUTE: Final = 3  # names of an active minute that count, unless their answers are text
_MIN_TEXT: Final = 6  # octets of an address that are text
_MAX_DOMAINS: Final = 5  # of a client, that add up
_CRITICAL: Final = 0.9
_SHOWN: Final = 6


@dataclass(frozen=True)
class Channel:
    """What one client asks for below one domain, as an implant might."""

    row: Row
    received: Sequence[Received]
    names: float  # their number, each by its weight
    signs: Mapping[str, float]  # of the answers, 0 to 1


def anomalies(pairs: Iterable[Row], domains: Mapping[str, Row], look: Look, hours: float) -> list[Anomaly]:
    """Return the clients of which the rows by client and domain are evidence, with their scores."""
    by_client: defaultdict[str, list[Channel]] = defaultdict(list)
    for row in pairs:
        if row["names"] >= MIN_LONELY_NAMES and (channel := _channel(row, domains[row["domain"]], look)):
            by_client[row["client"]].append(channel)
    return [_anomaly(client, channels, hours) for client, channels in by_client.items()]


def _channel(row: Row, domain: Row, look: Look) -> Channel | None:
    share = standing(domain)[0]
    # Of a newly observed domain all queries are known.
    share *= min(_REPEATED * row["names"] / max(row["queries"], 1), 1)
    names = names_below(row)
    if share * row["names"] < 1 or not names:
        return None
    generated = _generated(names, look)
    answered = received_in(row)
    received = without_addresses(answered)
    signs = _signs(received, look) if len(received) >= _MIN_RECEIVED else {}
    if not signs and floods.flooding(row, row | {"leading": row["names"]}, names):
        return None
    text = signs.get("text in addresses", 0.0)
    odd = max(signs.values(), default=0.0)
    alone = _NAMES_ALONE * generated * data_share(names, domain)[0]
    # Answers concern the names that have one; in some of the samples they may be idle.
    weight = max(odd * (_ANSWERS_ALONE + (1 - _ANSWERS_ALONE) * generated), alone)
    # Whoever begins to watch many hosts asks for all of them at once.
    spread = min(row["names"], _PER_MINUTE * row["active"])
    if answered:  # a mail server looks up who sends to it
        spread *= len(received) / len(answered)
    return Channel(row, received, share * max(row["names"] * text, spread * weight), signs)


def _generated(names: Sequence[str], look: Look) -> float:
    """Return the share of names that look generated, by their longest label, beyond that of benign names."""
    labels = [max(name.split("."), key=len) for name in names[:_MAX_LOOKED]]
    share = sum(each >= _LOOK for each in look(labels)) / len(labels)
    return max((share - _BENIGN) / (1 - _BENIGN), 0)


def _signs(received: Sequence[Received], look: Look) -> dict[str, float]:
    """Return the signs that answers are data, those that there are, each from 0 to 1."""
    count = len(received)
    addresses = [address for each in received if (address := each.address)]
    targets = [target for each in received if (target := each.target)]
    ttls = [each.ttl for each in received if each.ttl is not None]
    networks = _apart([_network(address) for address in addresses], count)
    labels = [target.split(".")[0] for target in dict.fromkeys(targets)]
    signs = {
        "text in addresses": sum(map(_is_text, set(addresses))) / count,
        "addresses of unrelated networks": networks,
        "a TTL for each name": _apart(ttls, count),
        "a target for each name": _apart(targets, count) * (_generated(labels, look) if labels else 0),
    }
    return {sign: value for sign, value in signs.items() if value > 0}


def _apart(values: Sequence[object], count: int) -> float:
    """Return how far values, of so many answers, are all different."""
    different = (len(set(values)) - 1) / (count - 1)
    return min(max((different - _USUAL) / (_ODD - _USUAL), 0), 1)


def _network(address: IPv4Address | IPv6Address) -> bytes:
    return address.packed[: 2 if address.version == 4 else 4]


def _is_text(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address of IPv6, or all behind its prefix, is text: by chance one in 3,000 is."""
    octets = address.packed
    parts = (octets[begin:].rstrip(b"\0") for begin in (0, 4, 8)) if address.version == 6 else ()
    return any(len(part) >= _MIN_TEXT and part.isascii() and part.decode().isprintable() for part in parts)


def _anomaly(client: str, channels: Iterable[Channel], hours: float) -> Anomaly:
    ranked = sorted(channels, key=lambda channel: -channel.names)
    # Trackers of several vendors, or look-ups of several kinds, do not add up to an implant.
    silent = [channel for channel in ranked if not channel.signs][1:]
    most = [channel for channel in ranked if channel not in silent][:_MAX_DOMAINS]
    names = sum(channel.names for channel in most)
    score = names / (names + _HALF)
    rows = [channel.row for channel in most]
    return Anomaly(
        "client",
        client,
        score,
        "critical" if score >= _CRITICAL and any(channel.signs for channel in most) else "warning",
        min(row["first_seen"] for row in rows),
        max(row["last_seen"] for row in rows),
        _evidence(client, most, hours),
    )


def _evidence(client: str, channels: Sequence[Channel], hours: float) -> dict[str, Any]:
    rows = [channel.row for channel in channels]
    domains = [row["domain"] for row in rows]
    asked = sum(row["names"] for row in rows)
    below = domains[0] if len(domains) == 1 else f"{domains[0]} and {len(domains) - 1} more domains"
    signs = sorted(channels[0].signs.items(), key=lambda sign: -sign[1])
    answers = f", and the answers have {signs[0][0]}" if signs else ""
    sources = [source for row in rows for source in row["sources"] or ()]
    return {
        "what": f"Client {client} asks, each once, for {asked:,} names below {below}, which hardly anyone else asks "
        f"for{answers}, as an implant that reports or takes commands would.",
        "domains": domains,
        "clients": [client],
        "clients_asking": max(row["clients"] for row in rows),
        "hours": hours,
        "names": asked,
        "names_weighed": round(sum(channel.names for channel in channels), 1),
        "names_for_half": _HALF,
        "minutes_active": max(int(row["active"]) for row in rows),
        "answers": {sign: round(value, 2) for sign, value in signs},
        "newly_observed": any(row["newly_observed"] for row in rows),
        "technique": DNS_COMMANDS,
        "samples": [_shown(each) for channel in channels for each in channel.received[:_SHOWN]][:_SHOWN]
        or [name for row in rows for name in row["samples"]][:_SHOWN],
        **({"client_addresses": list(dict.fromkeys(sources))[:_SHOWN]} if sources else {}),
    }


def _shown(received: Received) -> str:
    ttl = "" if received.ttl is None else f" (TTL {received.ttl})"
    return f"{received.name} → {', '.join(received.answers)}{ttl}"
