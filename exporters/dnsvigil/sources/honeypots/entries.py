"""The list of the names that attackers of honeypots use, for look-ups as in the operator's own lists."""

from collections.abc import Iterable, Mapping
from typing import Final

from dnsvigil.sources.blocklists.domain_lists import Listed, tails

LIST: Final = "honeypot"
"""The list of names from downloads and commands; behind a blank stands the sensor."""

NEIGHBOURS: Final = "honeypot neighbour"
"""The list of names that share an address with such a host; behind `` of `` stands the host."""


class HoneypotNames:
    """The names; each lies in the lists that say where it comes from."""

    def __init__(self) -> None:
        self._lists: Mapping[str, tuple[str, ...]] = {}
        self.version = 0
        """A greater number once the names are others."""

    def __len__(self) -> int:
        return len(self._lists)

    def replace(self, lists: Mapping[str, tuple[str, ...]]) -> None:
        """Have these names, each with its lists, in place of all that there are."""
        if lists != self._lists:
            self._lists = lists
            self.version += 1

    def match(self, names: Iterable[str]) -> dict[str, Listed]:
        """Return the names that are on the list or lie in a domain on it, with the longest such entry."""
        found = {}
        for name in names:
            entry = next((tail for tail in tails(name) if tail in self._lists), None)
            if entry:
                found[name] = Listed(entry, self._lists[entry])
        return found


def of_honeypots(lists: Iterable[str]) -> bool:
    """Return whether only honeypots have an entry, which is on these lists."""
    return all(name.startswith(LIST) for name in lists)


def is_neighbour(lists: Iterable[str]) -> bool:
    """Return whether an entry is on these lists as a neighbour alone."""
    return all(name.startswith(NEIGHBOURS) for name in lists)
