"""What is asked that is no DNS server: other protocols of names, and addresses that are no host's."""

from collections.abc import Collection, Sequence
from ipaddress import IPv4Network, ip_network
from typing import Final

import duckdb

from dnsvigil.engines.duckdb import cases, is_in, macro
from dnsvigil.system.sql import literal

_PROTOCOLS: Final = {137: "netbios", 5353: "mdns", 5355: "llmnr"}

LOCAL_KINDS: Final = (*sorted(_PROTOCOLS.values()), "port", "multicast", "broadcast", "unspecified")
"""What else than a DNS server can be asked: a protocol of local names, another port that is left out, or an address
that is no host's."""


def broadcast_addresses(networks: Collection[str]) -> list[str]:
    """Return the broadcast addresses of the networks, in CIDR notation, that have one."""
    found = (ip_network(network) for network in networks)
    return sorted(
        str(each.broadcast_address) for each in found if isinstance(each, IPv4Network) and each.prefixlen < 31
    )


def define_broadcast(connection: duckdb.DuckDBPyConnection, function: str, addresses: Collection[str]) -> None:
    """Define which addresses are those of all hosts of a network, for the function of that name."""
    macro(connection, f"{function}(address)", is_in("address", ["255.255.255.255", *addresses]))


def define_local_protocols(connection: duckdb.DuckDBPyConnection, ports: Sequence[int]) -> None:
    """Define the ports on which no DNS server listens."""
    kinds = {str(port): literal(_PROTOCOLS.get(port, "port")) for port in ports}
    macro(connection, "local_protocol(port)", cases("port", kinds))
