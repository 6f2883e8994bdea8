"""Distinguishes floods of random names from tunnels in the queries below a domain, and reports them.

A tunnel has a way back, or names that carry much. The names of a flood are short, arrive fast or from many clients, and
no data comes back. docs/detectors/tunnel.md has the rule.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dnsvigil.detectors.detector import Anomaly
from dnsvigil.detectors.techniques import SERVICE_EXHAUSTION
from dnsvigil.records import NOVEL_COUNTS

Row = dict[str, Any]

NAME: Final = "flood"
"""The name that floods are reported under."""

MANY: Final = 10
"""The number of clients of a domain from which on a flood need not be fast."""

_SHORT: Final = 24  # octets of new labels in a name at most, on average, that carry little
_FAST: Final = 10  # names a minute at least; a leak in short names is slower
_UNANSWERED: Final = 0.9  # of the names at least, if the clients are many and slow
_TEXT_BACK: Final = 0.05  # of the answered names at least have types whose answers can carry anything
_ANSWER_BACK: Final = 4  # octets of new answers at least, for each answered name
_PER_CLIENT: Final = 0.004  # more of a flood is needed for each further client
_LED: Final = 2 / 3  # of all names, which make the finding one client's own
_CRITICAL: Final = 3_000  # names a minute
_SHOWN_CLIENTS: Final = 20
_SHOWN_DOMAINS: Final = 10
_SHOWN: Final = 6  # samples

_COUNTER: Final = re.compile(r"[0-9a-f]{1,6}")
_DATA: Final = 9  # characters at least of a label that may hold data beside a counter
_BEGINNING: Final = 3  # characters that all names of a session begin with
_MIN_SAMPLES: Final = 4
_MIN_SHARE: Final = 0.75  # of the samples


@dataclass(frozen=True)
class Flood:
    """What one client sends of a flood below one domain."""

    row: Row
    names: int
    weighed: float  # the same, less those that may be something else
    samples: Sequence[str]  # whole names

    @property
    def rate(self) -> float:
        """Return the names a minute, from the first to the last."""
        seconds = (self.row["last_seen"] - self.row["first_seen"]).total_seconds()
        return float(self.names / max(seconds / 60, 1))


def flooding(row: Row, domain: Row, names: Sequence[str]) -> int:
    """Return how many of the names that a client queried below a domain are a flood's: all, some, or none.

    ``names`` are samples, without the domain. ``domain`` has the domain's sums without tunnels, and as ``leading`` the
    number of names of the client with most.
    """
    count, answered = int(row["names"]), int(row["answered_names"])
    lost = count - answered
    back = way_back(row)
    if back and 2 * lost < count:
        return 0
    flood = lost if back else count
    unanswered = domain["names"] - domain["answered_names"] >= _UNANSWERED * domain["names"]
    many = row["clients"] >= MANY and unanswered and domain["leading"] < _LED * domain["names"]
    fast = flood >= _FAST * max(int(row["active"]), 1)
    if many and not way_back(domain):
        return flood
    short = row["label_bytes"] <= _SHORT * count
    return flood if short and (fast or many) and not has_structure(names) else 0


def way_back(row: Row) -> bool:
    """Return whether answers may carry data."""
    # Block lists answer, too, and so does mail policy; neither carries data.
    answered = row["answered_names"] - row["design_names"]
    text = min(row["text_names"], answered)
    return bool(answered > 0 and (text > _TEXT_BACK * answered or row["answer_bytes"] >= _ANSWER_BACK * answered))


def failed(row: Row) -> int:
    """Return how many names do not exist; some failed at first, and were answered with text later."""
    return int(min(row["failed_names"], max(row["names"] - row["answered_names"], 0)))


def has_structure(names: Sequence[str]) -> bool:
    """Return whether names look like a session's: data beside a counter, or after a common beginning."""
    if len(names) < _MIN_SAMPLES:
        return False
    numbered = 0
    for name in names:
        labels = name.split(".")
        counters = [label for label in labels if _COUNTER.fullmatch(label)]
        numbered += bool(counters) and any(len(label) >= _DATA for label in labels)
    ((_, alike),) = Counter(name[:_BEGINNING] for name in names).most_common(1)
    return numbered >= _MIN_SHARE * len(names) or alike >= _MIN_SHARE * len(names)


def without_flood(row: Row, flood: int) -> Row | None:
    """Return a row without the names of a flood; None if nothing is left.

    All names are assumed to have the same share of the octets of labels.
    """
    left = row["names"] - flood
    if not flood or left <= 0:
        return None if flood else row
    part = left / row["names"]
    shares = {name: round(row[name] * part) for name in ("queries", "labels", "label_bytes")}
    bounded = {name: min(row[name], left) for name in ("text_names", "design_names", "answered_names")}
    return {**row, **shares, **bounded, "names": left, "failed_names": 0, "failures": 0}


def anomalies(
    floods: Iterable[Flood], domains: Mapping[str, Row], left: Mapping[str, int], hours: float, half: float
) -> list[Anomaly]:
    """Return floods by client if most of a flood is one client's, and else by domain.

    ``domains`` has the sums over all clients, of which only some are among the floods; ``left`` has the number of names
    of each domain that are no flood's. ``half`` names make a score of one half. For many clients it takes more, as each
    queries a name that fails now and then.
    """
    by_domain: defaultdict[str, list[Flood]] = defaultdict(list)
    for flood in floods:
        by_domain[flood.row["domain"]].append(flood)
    by_client: defaultdict[str, list[Flood]] = defaultdict(list)
    found = []
    for name, members in by_domain.items():
        shown = sum(flood.names for flood in members)
        whole = max(domains[name]["names"] - left.get(name, 0), shown)
        leading = max(members, key=lambda flood: flood.names)
        if leading.names >= _LED * whole:
            by_client[leading.row["client"]].append(leading)
        else:
            found.append(_anomaly(("domain", name), members, whole / shown, hours, half))
    for client, members in by_client.items():
        found.append(_anomaly(("client", client), members, 1.0, hours, half))
    return found


def _anomaly(subject: tuple[str, str], floods: Iterable[Flood], scale: float, hours: float, half: float) -> Anomaly:
    """Return these floods as one anomaly. The whole flood is ``scale`` times as large."""
    members = sorted(floods, key=lambda flood: -flood.names)
    names = round(scale * sum(flood.names for flood in members))
    weighed = sum(flood.weighed for flood in members) * scale
    sums = {name: sum(int(flood.row[name]) for flood in members) for name in NOVEL_COUNTS}
    rate = sum(flood.rate for flood in members) * scale
    clients = members[0].row["clients"] if subject[0] == "domain" else 1
    half *= 1 + _PER_CLIENT * (clients - 1)
    domains = list(dict.fromkeys(flood.row["domain"] for flood in members))
    below = domains[0] if len(domains) == 1 else f"{len(domains)} domains"
    who = f"Client {subject[1]} sends" if subject[0] == "client" else f"{clients:,} clients send"
    answered = min(sums["answered_names"] / max(sums["names"], 1), 1)
    evidence: dict[str, Any] = {
        "what": f"{who} a flood of random names below {below}: {names:,} names, {answered:.0%} of them answered.",
        "domains": domains[:_SHOWN_DOMAINS],
        "clients": list(dict.fromkeys(flood.row["client"] for flood in members))[:_SHOWN_CLIENTS],
        "technique": SERVICE_EXHAUSTION,
        "clients_asking": clients,
        "hours": hours,
        "flood_names": names,
        "names_per_minute": round(rate, 1),
        "mean_name_octets": round(sums["label_bytes"] / max(sums["names"], 1), 1),
        **sums,
        "samples": [name for flood in members for name in flood.samples[:_SHOWN]][:_SHOWN],
    }
    if sources := [source for flood in members for source in flood.row["sources"] or ()]:
        evidence["client_addresses"] = list(dict.fromkeys(sources))[:_SHOWN_DOMAINS]
    return Anomaly(
        *subject,
        weighed / (weighed + half),
        "critical" if rate >= _CRITICAL else "warning",
        min(flood.row["first_seen"] for flood in members),
        max(flood.row["last_seen"] for flood in members),
        evidence,
        NAME,
    )
