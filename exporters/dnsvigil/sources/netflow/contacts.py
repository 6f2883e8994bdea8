"""Who exchanges packets with some addresses, by nfdump's own filter."""

import tempfile
from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from pathlib import Path
from typing import Final, NamedTuple

from dnsvigil.sources.blocklists.addresses import covering
from dnsvigil.sources.netflow.dumper import search_file
from dnsvigil.sources.netflow.process import NFDumpError

MAX_ROWS: Final = 100_000
"""How many connections are read of a file, which take two seconds of CPU; more are those with popular addresses."""

_ELEMENTS: Final = ("srcip", "srcport", "dstip", "dstport")


class Contact(NamedTuple):
    """What a client exchanged with an address."""

    client: str
    address: str
    entry: str | None  # the address itself or a network, as it is listed
    flows: int
    bytes_sent: int
    bytes_received: int


def contacts(path: Path, watched: Mapping[str, bool], nfdump: str) -> list[Contact]:
    """Return the contacts of a file, those with most bytes first.

    ``watched`` are addresses and networks in the form of :mod:`ipaddress`, with whether they are listed. Who has the
    higher port is the client: scans and visits that come from one of them are left out. What nfdump reads before it
    fails counts.
    """
    flows: Counter[tuple[str, str]] = Counter()
    sent: Counter[tuple[str, str]] = Counter()
    received: Counter[tuple[str, str]] = Counter()
    entries = _Entries(watched)
    with tempfile.NamedTemporaryFile("w", prefix="dnsvigil-filter-", encoding="ascii") as file:
        # More than a command line can have.
        file.write(f"ip in [ {' '.join(entries.disjoint())} ]")
        file.flush()
        try:
            for flow in search_file(
                path, filterfile=file.name, aggregate=_ELEMENTS, limit=MAX_ROWS, executable_path=nfdump
            ):
                source, target = (str(flow["srcip"]), flow["srcport"]), (str(flow["dstip"]), flow["dstport"])
                ends = ((source, target, sent, received), (target, source, received, sent))
                for (client, port), (address, served), up, down in ends:
                    if served <= port and entries.has(address):
                        flows[client, address] += flow["flows"]
                        up[client, address] += flow["bytes"]
                        down[client, address] += flow["out_bytes"]
        except NFDumpError:
            pass  # the file's own reader has said so
    pairs = sorted(flows, key=lambda pair: (-sent[pair] - received[pair], pair))
    return [Contact(*pair, entries.listed(pair[1]), flows[pair], sent[pair], received[pair]) for pair in pairs]


class _Entries:
    """What is watched, by the addresses in it."""

    def __init__(self, watched: Mapping[str, bool]) -> None:
        self._watched = watched
        self._networks = [ip_network(entry) for entry in watched]
        self._lengths = {(network.version, network.prefixlen) for network in self._networks}
        self._found: dict[str, list[str]] = {}

    def disjoint(self) -> list[str]:
        """Return the same addresses as networks apart: nfdump takes no heed of one that overlaps another."""
        old = [each for each in self._networks if isinstance(each, IPv4Network)]
        new = [each for each in self._networks if isinstance(each, IPv6Network)]
        return [str(each) for each in (*collapse_addresses(old), *collapse_addresses(new))]

    def has(self, address: str) -> bool:
        """Return whether an address is watched."""
        return bool(self._of(address))

    def listed(self, address: str) -> str | None:
        """Return the smallest listed entry that an address lies in."""
        return next((entry for entry in self._of(address) if self._watched[entry]), None)

    def _of(self, address: str) -> list[str]:
        if address not in self._found:
            self._found[address] = [entry for entry in covering(address, self._lengths) if entry in self._watched]
        return self._found[address]
