"""Sampled names with what they got for an answer."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address

from dnsvigil.detectors.floods import Row


@dataclass(frozen=True)
class Received:
    """A name, and what it got for an answer."""

    name: str
    ttl: int | None
    answers: Sequence[str]

    @cached_property
    def address(self) -> IPv4Address | IPv6Address | None:
        """Return the first address, None where there is none."""
        return next((found for answer in self.answers if (found := _address(answer))), None)

    @property
    def target(self) -> str | None:
        """Return the name that the answers begin with, None where they begin with an address."""
        return None if _address(self.answers[0]) else self.answers[0]

    @cached_property
    def beside_address(self) -> str | None:
        """Return what the name has beside its first address, as that of a dynamic host; None where it is not in it."""
        if self.address is None:
            return None
        octets = self.address.packed
        beside, count = re.subn("[-.]?".join(f"{octet:02x}" for octet in octets), "", self.name, count=1)
        if count:
            return beside
        if self.address.version == 6:
            return None
        parts = re.split(r"(\d+)", self.name)
        for octet in octets:
            place = next((place for place, part in enumerate(parts) if part.isdecimal() and int(part) == octet), None)
            if place is None:
                return None
            parts[place] = ""
        return "".join(parts)


def received_in(row: Row) -> list[Received]:
    """Return the column ``received`` of a row of :func:`dnsvigil.features.leaks.carried`, each name once."""
    texts = (text.split("\t") for text in row["received"] or ())
    found = {name: Received(name, int(ttl) if ttl else None, answers) for name, ttl, *answers in texts}
    return [each for each in found.values() if each.answers]


def without_addresses(received: Sequence[Received]) -> list[Received]:
    """Return those whose names are more than their address: what is beside it in a single name may be data."""
    alike = Counter(each.beside_address for each in received)
    return [each for each in received if each.beside_address is None or alike[each.beside_address] == 1]


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
