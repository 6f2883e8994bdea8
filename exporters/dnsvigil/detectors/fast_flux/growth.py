"""How the addresses of one name grow over networks, and the score of that.

docs/detectors/fast_flux.md has the formula.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dnsvigil.detectors.fast_flux.queries import Host

HALF: Final = 15.0
"""So many new networks make a score of one half, where addresses are even over them and go on growing."""

_AT_ONCE: Final = 60  # seconds from the first answer on in which addresses are those that a name begins with
_MAX_TTL: Final = 3600  # seconds: with more, a name cannot change its addresses fast
_POOL: Final = 60  # networks: no service that takes turns over its own hosts has so many


@dataclass(frozen=True)
class Growth:
    """What became of a name's addresses from ``first`` to ``last``, in seconds since 1970."""

    addresses: int
    networks: int  # or autonomous systems
    new: int  # of these, that came after the beginning
    evenness: float  # of addresses over networks: the probability that two of them lie in different ones
    lasting: float  # of growth: the share of addresses that came in the second half of the time, twice, at most 1
    ttl: int | None  # seconds, the largest
    first: int
    last: int

    @property
    def score(self) -> float:
        """Return the score: of ``new`` as far as addresses are even, go on growing, and have a short TTL."""
        lasting = max(self.lasting, min(self.networks / _POOL, 1.0))
        weighed = self.new * self.evenness * lasting
        return weighed / (weighed + HALF) * min(1.0, _MAX_TTL / max(self.ttl or 0, 1))

    def joined(self, other: "Growth") -> float:
        """Return the score of two names that are one net, as of two signs that do not depend on each other."""
        return 1 - (1 - self.score) * (1 - other.score)


def growth(hosts: Sequence[Host], network_of: Callable[[str], str]) -> Growth | None:
    """Return the growth of a name's addresses, which are in the order of their time; None without any.

    The evenness is the index of Simpson (1949, "Measurement of diversity"), 1 - sum(p^2) over the networks' shares p:
    unlike a quotient of counts, it does not depend on how long the name was watched.
    """
    if not hosts:
        return None
    first, last = min(host.first for host in hosts), max(host.last for host in hosts)
    sizes: Counter[str] = Counter()
    new = late = 0
    for host in hosts:
        network = network_of(host.key)
        new += not sizes[network] and host.first > first + _AT_ONCE
        late += host.first > (first + last) / 2
        sizes[network] += 1
    total = len(hosts)
    return Growth(
        total,
        len(sizes),
        new,
        1 - math.fsum((size / total) ** 2 for size in sizes.values()),
        min(2 * late / total, 1.0),
        max((host.ttl for host in hosts if host.ttl is not None), default=None),
        first,
        last,
    )
