"""What was never seen before: hashes in bounded memory, and the domains first asked for not long ago."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnsvigil.engines.established import Hashes, within

Times = NDArray[np.int64]  # microseconds since the epoch, UTC

NEWLY_OBSERVED_FOR: Final = 24 * 3600 * 10**6
"""How long a domain counts as newly observed after its first query, in microseconds."""

MAX_NEWLY_OBSERVED: Final = 1_000_000
"""How many newly observed domains are remembered, in 24 bytes each."""

POPULAR_BITS: Final = 40
"""A domain that set so many of 64 bits, one for each client, is asked for by many: by linear counting (Whang et al.
1990, "A linear-time probabilistic counting algorithm for database applications") by -64 ln(24/64), some 63."""

_RECENT: Final = 1 << 16


class Novelty:
    """Which hashes were never met before.

    There are two generations of up to ``capacity`` each, in eight bytes a hash. What is met again in the older one
    counts as met in the newer, too; when that is full the older is forgotten. So what is met often is never new again.
    """

    def __init__(self, capacity: int, known: Mapping[int, Hashes]) -> None:
        """Go on with the generations that are ``known``, each with its hashes in any order."""
        self._capacity = capacity
        self.generation = max(known, default=0)
        self._main = np.sort(known.get(self.generation, np.zeros(0, np.uint64)))
        self._recent = np.zeros(0, np.uint64)
        self._older = np.sort(known.get(self.generation - 1, np.zeros(0, np.uint64)))
        self._added: list[tuple[int, Hashes]] = []

    def __len__(self) -> int:
        return len(self._main) + len(self._recent)

    def unseen(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Return which of the hashes are new, each of them as often as it is there; from now on none is."""
        if not len(hashes):
            return np.zeros(0, np.bool_)
        asked, places = np.unique(hashes, return_inverse=True)
        here = within(asked, self._main) | within(asked, self._recent)
        new = ~here & ~within(asked, self._older)
        if not here.all():
            self._add(asked[~here])
        return np.asarray(new[places.reshape(-1)])

    def drain(self) -> list[tuple[int, Hashes]]:
        """Return what was added since the last call, each with its generation."""
        added, self._added = self._added, []
        return added

    def _add(self, hashes: Hashes) -> None:
        if len(self) + len(hashes) > self._capacity and len(self):
            self._older = _merged(self._main, self._recent)
            self._main = self._recent = np.zeros(0, np.uint64)
            self.generation += 1
        self._recent = _merged(self._recent, hashes)
        self._added.append((self.generation, hashes))
        if len(self._recent) > _RECENT:
            self._main, self._recent = _merged(self._main, self._recent), np.zeros(0, np.uint64)


class NewlyObserved:
    """The domains that were first asked for not long ago, and by how many clients."""

    def __init__(self, hashes: Hashes, first_seen: Times, clients: Hashes) -> None:
        """Go on with those known: ``clients`` has one bit for each client that asked, of 64."""
        order = np.argsort(hashes)
        self._hashes, self._first_seen, self._clients = hashes[order], first_seen[order], clients[order]

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, hashes: Hashes, first_seen: Times) -> int:
        """Take new domains, ascending and none that is there, while there is room; return how many of the first."""
        room = max(MAX_NEWLY_OBSERVED - len(self), 0)
        taken, since = hashes[:room], first_seen[:room]
        places = np.searchsorted(self._hashes, taken)
        self._hashes = np.insert(self._hashes, places, taken)
        self._first_seen = np.insert(self._first_seen, places, since)
        self._clients = np.insert(self._clients, places, np.zeros(len(taken), np.uint64))
        return len(taken)

    def contains(self, hashes: Hashes, at: Times) -> NDArray[np.bool_]:
        """Return which of the domains are newly observed at these times."""
        if not len(self):
            return np.zeros(len(hashes), np.bool_)
        places = self._places(hashes)
        newly_observed: NDArray[np.bool_] = (self._hashes[places] == hashes) & (
            at - self._first_seen[places] < NEWLY_OBSERVED_FOR
        )
        return newly_observed

    def meet(self, hashes: Hashes, clients: Hashes) -> Hashes:
        """Note the clients of domains, each once, by their bits; return, and forget, the domains that many ask for."""
        if not len(self):
            return np.zeros(0, np.uint64)
        places = self._places(hashes)
        known = self._hashes[places] == hashes
        self._clients[places[known]] |= clients[known]
        bits = np.unpackbits(self._clients[places[known]].view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1)
        popular = places[known][bits >= POPULAR_BITS]
        gone: Hashes = self._hashes[popular]
        self._keep(np.delete(np.arange(len(self)), popular))
        return gone

    def forget(self, before: int) -> None:
        """Drop the domains first asked for before a time."""
        self._keep(np.flatnonzero(self._first_seen >= before))

    def _keep(self, places: NDArray[np.intp]) -> None:
        if len(places) < len(self):
            self._hashes, self._first_seen = self._hashes[places], self._first_seen[places]
            self._clients = self._clients[places]

    def _places(self, hashes: Hashes) -> NDArray[np.intp]:
        places: NDArray[np.intp] = np.searchsorted(self._hashes, hashes)
        return np.minimum(places, len(self) - 1)


def _merged(one: Hashes, other: Hashes) -> Hashes:
    """Return both, which are ascending and have nothing in common, ascending."""
    if len(one) < len(other):
        one, other = other, one
    return np.insert(one, np.searchsorted(one, other), other)
