"""Private addresses that public names have: a mistake of a zone's operator, or DNS rebinding."""

from ipaddress import ip_address, ip_network
from typing import Final

from dnsvigil.sources.public_suffixes import top_levels

PRIVATE: Final = (
    *map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")),  # RFC 1918, RFC 4193
    *map(ip_network, ("127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10")),  # loopback, link-local
    ip_network("100.64.0.0/10"),  # RFC 6598, shared by a provider's customers
)
"""Networks whose addresses have no meaning outside of one network or host."""


def is_private(rrname: str, rrtype: str, rdata: str) -> bool:
    """Return whether data is an address in ``PRIVATE`` though the name is below a top-level domain of the root zone."""
    if rrtype not in ("A", "AAAA") or rrname.rpartition(".")[2] not in top_levels():
        return False
    try:
        address = ip_address(rdata)
    except ValueError:
        return False
    return any(address in network for network in PRIVATE)
