"""Where addresses are: the AS numbers and countries of the operator's tables, which are read beside all else."""

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dnsvigil.sources.networks import Networks, NetworkTableError, networks_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """What an address belongs to, as far as a table has it."""

    asn: int | None = None
    country: str | None = None


class Places:
    """The operator's tables. The first look-up has them read by another thread, and finds nothing yet."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None
        self._networks: Networks | None = None
        self.lacking = "" if paths else "domains.networks in the configuration names no table of AS numbers."
        """Why nothing is known; empty where it is."""

    def of(self, addresses: Iterable[str]) -> Mapping[str, Place]:
        """Return where each address is."""
        wanted = [*dict.fromkeys(addresses)]
        with self._lock:
            if self._paths and self._reader is None:
                self.lacking = "The tables of AS numbers are being read; look again in a few seconds."
                self._reader = threading.Thread(target=self._read, name="places", daemon=True)
                self._reader.start()
        if self._networks is None:
            return dict.fromkeys(wanted, Place())
        found = zip(*self._networks.places(wanted), strict=True)
        return {address: Place(*each) for address, each in zip(wanted, found, strict=True)}

    def _read(self) -> None:
        try:
            self._networks = networks_of(self._paths)
        except (OSError, NetworkTableError) as error:
            log.warning("domains.networks: %s", error)
            self.lacking = f"The tables of AS numbers cannot be read: {error}."
        else:
            self.lacking = ""
