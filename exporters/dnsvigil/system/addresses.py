"""Whether texts are addresses in a network, for many texts: parsing each with ``ipaddress`` takes far longer."""

import socket
from ipaddress import IPv4Network, IPv6Network
from typing import Final

Network = IPv4Network | IPv6Network

_FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


def is_in(text: str, network: Network) -> bool:
    """Return whether a text is an address or a network, ``192.0.2.0/24``, inside a network."""
    address, slash, length = text.partition("/")
    try:
        packed = socket.inet_pton(_FAMILIES[network.version], address)
    except (OSError, ValueError):
        return False
    if slash and not (length.isascii() and length.isdigit() and int(length[:4]) >= network.prefixlen):
        return False
    return network.network_address.packed <= packed <= network.broadcast_address.packed


def begin_of(network: Network) -> str:
    """Return what each address in a network begins with as text."""
    first, last = str(network.network_address), str(network.broadcast_address)
    alike = next((i for i, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    begin, zeros, _ = first[:alike].partition("::")
    return f"{begin}:" if begin and zeros else begin  # zeros may stand for themselves, too
