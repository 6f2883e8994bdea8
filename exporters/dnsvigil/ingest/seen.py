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


ROOM_FROM: Final = 8
"""A client that asks for too many domains has room for one more when it has asked for so many names below it."""

_PLACES: Final = 2**20


class Seen:
    """A set of hashes, in eight bytes each.

    They lie in ascending arrays, each at least twice as long as the next: to add some costs no copy of all.
    """

    def __init__(self, hashes: Hashes) -> None:
        """Begin with these, in any order."""
        self._levels = [np.sort(hashes)]

    def __len__(self) -> int:
        return sum(map(len, self._levels))

    def contains(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Return which of the hashes, which are ascending, are in the set."""
        found = np.zeros(len(hashes), np.bool_)
        for level in self._levels:
            left = np.flatnonzero(~found)
            found[left] = within(hashes[left], level)
        return found

    def add(self, hashes: Hashes) -> None:
        """Add hashes that are ascending and not in the set."""
        while self._levels and len(self._levels[-1]) < 2 * len(hashes):
            hashes = np.concatenate([self._levels.pop(), hashes])
            hashes.sort()
        self._levels.append(hashes)


class Novelty:
    """Which hashes were never met before.

    There are two generations of up to ``capacity`` each. What is met again in the older one counts as met in the newer,
    too; when that is full the older is forgotten. So what is met often is never new again.
    """

    def __init__(self, capacity: int, known: Mapping[int, Hashes]) -> None:
        """Go on with the generations that are ``known``, each with its hashes in any order."""
        self._capacity = capacity
        self.generation = max(known, default=0)
        nothing = np.zeros(0, np.uint64)
        self._newer = Seen(known.get(self.generation, nothing))
        self._older = Seen(known.get(self.generation - 1, nothing))
        self._added: list[tuple[int, Hashes]] = []

    def __len__(self) -> int:
        return len(self._newer)

    def unseen(self, hashes: Hashes) -> NDArray[np.bool_]:
        """Return which of the hashes are new, each of them as often as it is there; from now on none is."""
        order = np.argsort(hashes)
        ascending = hashes[order]
        absent = np.flatnonzero(~self._newer.contains(ascending))
        missing = ascending[absent]
        new = np.zeros(len(hashes), np.bool_)
        new[order[absent]] = ~self._older.contains(missing)
        if len(missing):
            self._add(missing[np.flatnonzero(np.diff(missing, prepend=~missing[:1]))])
        return new

    def drain(self) -> list[tuple[int, Hashes]]:
        """Return what was added since the last call, each with its generation."""
        added, self._added = self._added, []
        return added

    def _add(self, hashes: Hashes) -> None:
        if len(self) + len(hashes) > self._capacity and len(self):
            self._older, self._newer = self._newer, Seen(hashes[:0])
            self.generation += 1
        self._newer.add(hashes)
        self._added.append((self.generation, hashes))


class Crowd:
    """The domains of clients that ask for too many: which of them are asked for so much that they have room.

    Names are counted in ``2 ** 20`` places by the hash of client and domain, in four bytes each. Two that share a place
    have room too early, and never too late.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(0, np.uint32)

    def begin(self) -> None:
        """Forget what was counted."""
        self._counts = np.zeros(0, np.uint32)

    def without_room(self, hashes: Hashes, names: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Count the names of domains; return which domains have had fewer than ``ROOM_FROM``."""
        if not len(self._counts):
            self._counts = np.zeros(_PLACES, np.uint32)
        places = hashes % np.uint64(_PLACES)
        np.add.at(self._counts, places, names.astype(np.uint32))
        few: NDArray[np.bool_] = self._counts[places] < ROOM_FROM
        return few


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
        if not len(taken):
            return 0
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
        if len(popular):
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
