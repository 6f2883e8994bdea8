"""Several lists of domains as one."""

from collections.abc import Iterable
from typing import Protocol

from dnsvigil.sources.blocklists.domain_lists import Listed


class NameLists(Protocol):
    """Lists that names can be looked up in."""

    @property
    def version(self) -> int:
        """A greater number once the entries are others."""

    @property
    def has_addresses(self) -> bool:
        """Whether there are addresses or networks among the entries."""

    def __len__(self) -> int:
        """Return the number of entries."""

    def match(self, names: Iterable[str]) -> dict[str, Listed]:
        """Return the names and addresses that are on a list or lie in an entry of one, with the longest such entry."""


class JoinedLists:
    """Lists that are one after the other, which is itself what they are."""

    def __init__(self, *lists: NameLists) -> None:
        self._lists = lists

    @property
    def version(self) -> int:
        """A greater number once the entries of any are others."""
        return sum(each.version for each in self._lists)

    @property
    def has_addresses(self) -> bool:
        """Whether any has addresses or networks among its entries."""
        return any(each.has_addresses for each in self._lists)

    def __len__(self) -> int:
        return sum(map(len, self._lists))

    def match(self, names: Iterable[str]) -> dict[str, Listed]:
        """Return what all lists together have; an entry that several have is on the lists of all."""
        whole = list(names)
        found: dict[str, Listed] = {}
        for lists in self._lists:
            for name, hit in lists.match(whole).items():
                known = found.get(name, hit)
                if known.entry == hit.entry:
                    found[name] = Listed(hit.entry, tuple(sorted({*known.lists, *hit.lists})))
                else:
                    found[name] = max(known, hit, key=lambda each: len(each.entry))
        return found
