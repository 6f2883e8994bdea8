"""What sampled names look like: the share of their octets that may be data, their density, and tunnel programs."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from dnsvigil.detectors.floods import Row, failed
from dnsvigil.detectors.sequences import pattern_of
from dnsvigil.engines.established import is_established
from dnsvigil.sources.public_suffixes import top_levels

PROBE: Final = 0.1
"""The share of failing names such as browsers send to detect a network that answers for names that do not exist."""

MAX_SAMPLES: Final = 24
"""How many names of a client below a domain are looked at."""

_MENTION: Final = 0.01
_HOST: Final = 16  # characters of a host's name before a popular domain
_SUFFIX_LABELS: Final = 2  # behind it, as part of the search suffix
_UUID: Final = 0.12
_NUMBERED_NAMES: Final = 0.05
_FAILING: Final = 0.98  # of a domain's names at least, for probes

_UUIDS: Final = re.compile(r"(?:^|\.)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?:\.|$)")
_PROBES: Final = re.compile(r"[a-z]{7,15}(?:\.[a-z]{2,8}){0,2}")
_ESCAPED: Final = re.compile(r"\\x([0-9a-f]{2})")
_HEX: Final = re.compile(r"[0-9a-f]{18,}")
_PING: Final = re.compile(r"p[a-z0-5]{6,8}")
_NUMBERED: Final = re.compile(r"[0-9a-fp]")


def names_below(row: Row) -> list[str]:
    """Return sampled names without their domain."""
    ending = len(row["domain"]) + 1
    names = [name[:-ending] for name in dict.fromkeys(row["samples"] or ()) if len(name) > ending]
    return names[:: len(names) // MAX_SAMPLES + 1]  # of all hours alike


def data_share(names: Sequence[str], domain: Row, *, probes: bool = True) -> tuple[float, list[str]]:
    """Return the share of the octets of names that may be data, by their shape, with the reasons.

    Failing names may be probes of browsers only with ``probes``.
    """
    if pattern_of(names, domain["names"]):
        return _NUMBERED_NAMES, ["numbered names, as of a scanner"]
    failing = failed(domain) >= _FAILING * max(domain["names"], 1)
    octets = carrying = 0.0
    why: Counter[str] = Counter()
    for name in names:
        share = 1.0
        if _UUIDS.search(name):
            share, reason = _UUID, "UUIDs, as of telemetry"
        elif failing and probes and _PROBES.fullmatch(name):
            share, reason = PROBE, "failing names of letters, as of browsers' probes"
        elif (before := _before_mention(name)) is not None:
            # A part no longer than a host's name is taken for one.
            share, reason = max(_MENTION, (before - _HOST) / len(name)), "popular domains, as behind a search suffix"
        octets += len(name)
        carrying += share * len(name)
        if share < 1:
            why[reason] += 1
    return (carrying / octets if octets else 1.0), [reason for reason, count in why.items() if 2 * count > len(names)]


def _before_mention(name: str) -> int | None:
    """Return how many characters precede a popular domain at or near the end of a name; None without one."""
    labels = name.split(".")
    for end in range(len(labels), max(len(labels) - _SUFFIX_LABELS, 1) - 1, -1):
        if labels[end - 1] not in top_levels():
            continue
        for begin in (end - 2, end - 3):
            if begin >= 0 and is_established(".".join(labels[begin:end])):
                return len(".".join(labels[:begin]))
    return None


def density(names: Sequence[str]) -> float:
    """Return the entropy of the octets in labels that occur once, over 8 bits: at least 1/8, and 4/8 for few octets."""
    labels = Counter(label for name in names for label in name.split("."))
    octets: Counter[str] = Counter()
    for label, times in labels.items():
        if times == 1:
            octets.update(_unescaped(label))
    total = sum(octets.values())
    if total < 16:
        return 0.5
    return max(-sum(n / total * math.log2(n / total) for n in octets.values()) / 8, 0.125)


def resembles(names: Sequence[str]) -> str | None:
    """Return the program whose names look like these, which are without the domain; None without one.

    dnscat2: only hexadecimal digits, with a packet's type as the fifth and sixth. iodine: bytes after a user's number,
    labels cut at 57 characters, or pings that begin with p. dns2tcp: words with an equals sign, or base64 that begins
    with the session's number and a zero.
    """
    whole = [_unescaped(name.replace(".", "")) for name in names]
    if len(whole) < 3:
        return None

    def most(found: Iterable[object]) -> bool:
        return sum(map(bool, found)) >= 0.75 * len(whole)

    if most(_HEX.fullmatch(name) and name[4:6] in ("00", "01", "02", "03", "ff") for name in whole):
        return "dnscat2"
    cut = [label for name in names for label in name.split(".")[:-1]]
    raw = any("\\x" in name for name in names) and most(_NUMBERED.match(name) for name in names)
    if raw or any(len(_unescaped(label)) == 57 for label in cut) or most(_PING.fullmatch(name) for name in names):
        return "iodine"
    if any(re.search(r"\.=(auth|resource|connect)$", name) for name in names):
        return "dns2tcp"
    ((beginning, count),) = Counter(name[:4] for name in whole).most_common(1)
    if count >= 0.75 * len(whole) and beginning[3:] == "a" and most(len(name) >= 10 for name in whole):
        return "dns2tcp"
    return None


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "\\" in text else text
