"""Which records ask a DNS server, and which are look-ups of local names that no server is there for.

A sensor on a local network sees multicast DNS, LLMNR and NetBIOS names in the same log. Whoever is asked there is no
DNS server: a group, a whole network, or any host that happens to be called so.
"""

from collections.abc import Collection, Sequence
from ipaddress import IPv4Network, ip_network
from typing import Final

import ibis
import ibis.expr.types as ir

_PROTOCOLS: Final = {137: "netbios", 5353: "mdns", 5355: "llmnr"}
_MULTICAST: Final = r"^(22[4-9]|23[0-9])\.|^ff[0-9a-f]{2}:"  # RFC 5771, RFC 4291
_UNSPECIFIED: Final = r"^0\.|^[0:]+$"

LOCAL_KINDS: Final = (*sorted(_PROTOCOLS.values()), "port", "multicast", "broadcast", "unspecified")
"""What else than a DNS server can be asked: a protocol of local names, another port that is left out, or an address
that is no host's."""


def broadcast_addresses(networks: Collection[str]) -> list[str]:
    """Return the broadcast addresses of the networks, in CIDR notation, that have one."""
    found = (ip_network(network) for network in networks)
    return sorted(
        str(each.broadcast_address) for each in found if isinstance(each, IPv4Network) and each.prefixlen < 31
    )


def address_kind(server: ir.StringValue, broadcast: Sequence[str]) -> ir.StringValue:
    """Return multicast, broadcast or unspecified for an address that is no host's, NULL for all others.

    ``broadcast`` are the addresses of whole networks.
    """
    address = server.lower().re_replace("^::ffff:", "")
    return ibis.cases(
        (address.re_search(_MULTICAST), "multicast"),
        (address.isin(["255.255.255.255", *broadcast]), "broadcast"),
        (address.re_search(_UNSPECIFIED), "unspecified"),
    )


def local_names(records: ir.Table, ports: Sequence[int], broadcast: Sequence[str]) -> ir.Table:
    """Return each ``server`` and ``server_port`` that is no DNS server's, with its ``kind`` and its ``queries``.

    ``ports`` are those on which no DNS server listens.
    """
    t = records.group_by("server", "server_port").agg(queries=records.count())
    kind = address_kind(t.server, broadcast)
    if ports:
        of_port = ibis.cases(*((t.server_port == port, _PROTOCOLS.get(port, "port")) for port in ports))
        kind = ibis.coalesce(of_port, kind)
    return t.mutate(kind=kind).filter(lambda named: named.kind.notnull())
