"""The list of the hosts that attackers of honeypots use, for look-ups as in the operator's own lists."""

from collections.abc import Iterable, Mapping
from typing import Final

from dnsvigil.sources.blocklists.addresses import Length, covering, length_of
from dnsvigil.sources.blocklists.domain_lists import Listed, tails

LIST: Final = "honeypot"
"""The list of hosts from downloads and commands; behind a blank stands the sensor."""

NEIGHBOURS: Final = "honeypot neighbour"
"""The list of names that share an address with such a host; behind `` of `` stands the host."""


class HoneypotHosts:
    """The names and addresses; each lies in the lists that say where it comes from."""

    def __init__(self) -> None:
        self._lists: Mapping[str, tuple[str, ...]] = {}
        self.version = 0
        """A greater number once the hosts are others."""
        self._lengths: frozenset[Length] = frozenset()

    @property
    def has_addresses(self) -> bool:
        """Whether there are addresses among the hosts."""
        return bool(self._lengths)

    def __len__(self) -> int:
        return len(self._lists)

    def replace(self, lists: Mapping[str, tuple[str, ...]]) -> None:
        """Have these hosts, each with its lists, in place of all that there are."""
        if lists != self._lists:
            self._lists = lists
            self._lengths = frozenset(length for host in lists if (length := length_of(host)))
            self.version += 1

    def match(self, names: Iterable[str]) -> dict[str, Listed]:
        """Return the names and addresses that are on the list or lie in a domain on it, with the longest such entry."""
        found = {}
        for name in names:
            entries = (*covering(name, self._lengths), *tails(name))
            entry = next((each for each in entries if each in self._lists), None)
            if entry:
                found[name] = Listed(entry, self._lists[entry])
        return found


def of_honeypots(lists: Iterable[str]) -> bool:
    """Return whether only honeypots have an entry, which is on these lists."""
    return all(name.startswith(LIST) for name in lists)


def is_neighbour(lists: Iterable[str]) -> bool:
    """Return whether an entry is on these lists as a neighbour alone."""
    return all(name.startswith(NEIGHBOURS) for name in lists)
