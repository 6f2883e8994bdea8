"""Sampled names with what they got for an answer."""

import re
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

    @property
    def names_its_address(self) -> bool:
        """Whether the name has its address in it, as those of dynamic addresses do."""
        if self.address is None:
            return False
        octets = self.address.packed
        if octets.hex() in re.sub(r"[^0-9a-f]", "", self.name):
            return True
        numbers = [int(number) for number in re.findall(r"\d+", self.name)]
        return self.address.version == 4 and all(octet in numbers for octet in octets)


def received_in(row: Row) -> list[Received]:
    """Return the column ``received`` of a row of :func:`dnsvigil.features.leaks.carried`, each name once."""
    texts = (text.split("\t") for text in row["received"] or ())
    found = {name: Received(name, int(ttl) if ttl else None, answers) for name, ttl, *answers in texts}
    return [each for each in found.values() if each.answers]


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
