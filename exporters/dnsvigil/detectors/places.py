"""What addresses are counted by: autonomous systems as far as the operator's tables have them, else networks."""

import logging
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from dnsvigil.sources.networks import Networks, NetworkTableError, networks_of
from dnsvigil.store.tuple_keys import IPV4, data_of_key

log = logging.getLogger(__name__)

NO_TABLE: Final = (
    "domains.networks in the configuration has no table of AS numbers: networks (/16, /32 of IPv6) count in their place"
)

_PREFIX: Final = {True: 7, False: 9}  # characters of a key, of IPv4 or not: a letter, and 16 or 32 bits


class Places:
    """The autonomous system or network, and the country, of each address key."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Take the operator's tables, which are read once there is an address."""
        self._paths = paths
        self._networks: Networks | None = None
        self._known: dict[str, str] = {}
        self._countries: dict[str, str | None] = {}
        self.none = not paths
        """Whether there is no table at all."""
        self.problem = ""

    def learn(self, keys: Iterable[str]) -> None:
        """Look these keys up; all others are forgotten."""
        wanted = set(keys)
        if self._networks is None and self._paths and wanted:
            self._read()
        new = [key for key in wanted if key not in self._known]
        self._known = {key: place for key, place in self._known.items() if key in wanted}
        self._countries = {key: self._countries[key] for key in self._known}
        asns: Sequence[int | None] = [None] * len(new)
        countries: Sequence[str | None] = [None] * len(new)
        if self._networks and new:
            asns, countries = self._networks.places([data_of_key(key) for key in new])
        for key, asn, country in zip(new, asns, countries, strict=True):
            self._known[key] = network_of(key) if asn is None else f"AS{asn}"
            self._countries[key] = country

    def of(self, key: str) -> str:
        """Return ``AS`` and a number, or else the begin of the key that is the network's."""
        return self._known[key]

    def country(self, key: str) -> str | None:
        """Return the code of the country, None where no table has it."""
        return self._countries[key]

    @property
    def unit(self) -> str:
        """What is counted, in words."""
        return "autonomous systems" if self._networks else "networks"

    def _read(self) -> None:
        try:
            self._networks = networks_of(self._paths)
        except (OSError, NetworkTableError) as error:
            self.problem = f"domains.networks: {error}; until a restart, networks count in the place of AS numbers"
            self._paths = ()


def network_of(key: str) -> str:
    """Return the begin of an address key that is its network's: /16, of IPv6 /32."""
    return key[: _PREFIX[key.startswith(IPV4)]]


def is_global(key: str) -> bool:
    """Return whether the address of a key is one of the Internet's."""
    return ip_address(data_of_key(key)).is_global
