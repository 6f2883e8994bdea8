"""Sweeps: clients that ask for the names of addresses one after the other, as worms and scanners do.

A log analyser, or a mail server, asks for the names of the addresses that it meets, which do not follow each other.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

from dnsvigil.config.types import Network
from dnsvigil.detectors.abuse.amounts import Amount, Hour, Usual
from dnsvigil.detectors.abuse.spam import ALONE, TRADE, queries_of_others
from dnsvigil.detectors.detector import Anomaly
from dnsvigil.detectors.techniques import GATHER_DNS, REMOTE_SYSTEM_DISCOVERY
from dnsvigil.records import REVERSE
from dnsvigil.store.client_lookups import SWEEP

_HALF: Final = 64  # successive addresses
_MARGIN: Final = 3  # so many times what is usual is needed besides
_CRITICAL: Final = 0.9


class Sweeps:
    """Tells sweeps of the operator's own networks from those of others'."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = [ip_network(network) for network in networks]

    def sweep(self, hour: Hour, usual: Usual) -> Anomaly | None:
        """Return what the look-ups of a client in an hour say of a sweep; None without any of one."""
        found = hour.get(REVERSE)
        if not found:
            return None
        expected = usual.of(found.client, REVERSE)
        successive = found.amount / (1 + queries_of_others(hour) / TRADE)
        score = successive / (successive + _HALF + _MARGIN * expected)
        if not usual.days:
            score = min(score, ALONE)
        severity = "critical" if score >= _CRITICAL else "warning"
        evidence = self._evidence(found, expected, usual.days)
        return Anomaly("client", found.client, score, severity, found.first_seen, found.last_seen, evidence, SWEEP)

    def _evidence(self, found: Amount, expected: int, days: int) -> dict[str, Any]:
        networks = [str(_network(zone)) for zone in found.samples]
        inside = sum(self._inside(zone) for zone in found.samples) * 2 >= len(found.samples)
        several = f"in {found.keys:,} networks such as {networks[0]}" if found.keys > 1 else f"in {networks[0]}"
        return {
            "what": f"Client {found.client} asks for the names of addresses one after the other: {found.amount:,}"
            f" {several} within an hour, where {expected or 'none'} are usual. It may look for hosts to attack.",
            "domains": [],
            "successive_addresses": found.amount,
            "usual_successive_addresses": expected,
            "networks_swept": found.keys,
            "networks": networks,
            "queries": found.queries,
            "failures": found.failures,
            "days_known": days,
            "technique": REMOTE_SYSTEM_DISCOVERY if inside else GATHER_DNS,
        }

    def _inside(self, zone: str) -> bool:
        network = _network(zone)
        address = ip_address(network.network_address)
        return address.is_private or any(address in own for own in self._networks)


def _network(zone: str) -> IPv4Network | IPv6Network:
    """Return the network of a reverse zone of 256 addresses."""
    labels = zone.split(".")[:-2][::-1]
    if len(labels) == 3:
        return ip_network(f"{'.'.join(labels)}.0/24")
    digits = "".join(labels) + "00"
    return ip_network(f"{':'.join(digits[at : at + 4] for at in range(0, 32, 4))}/120")
