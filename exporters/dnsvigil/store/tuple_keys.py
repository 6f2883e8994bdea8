"""The keys that the tuples of passive DNS are sorted by: texts of which what lies together begins alike.

A name is written with its labels reversed, ``com.example.www``, so that all below a domain are one range. Data begins
with a letter: ``a`` and ``b`` for addresses of IPv4 and IPv6 in digits of fixed length, so that a network is one range;
``n`` for names, with what stands before the name in the data after it; ``r`` for all else as it is. Each can be turned
back. :mod:`dnsvigil.features.passive_dns` makes the same in SQL.
"""

import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

IPV4, IPV6, NAME, RAW = "a", "b", "n", "r"

NAMED_TYPES: Final = ("AFSDB", "CNAME", "DNAME", "KX", "MX", "NS", "PTR", "RT", "SRV")
"""The types whose data ends in a name."""

NEGATIVE_TYPES: Final = ("NODATA", "NXDOMAIN")
"""What stands for the type where the answer was that there is no such type, or name."""

END: Final = "\x7f"
"""Greater than all that keys hold, which is printable ASCII."""

Range = tuple[str, str]
"""The lowest key, and what is above the highest."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def key_of_name(name: str) -> str:
    """Return the key of a name, which is in the form of ``qname``."""
    return ".".join(reversed(name.split(".")))


def name_of_key(key: str) -> str:
    """Return the name that a key stands for."""
    return ".".join(reversed(key.split(".")))


def key_of_address(address: Address) -> str:
    """Return the key of data that is an address."""
    if address.version == 4:
        return IPV4 + "".join(f"{octet:03}" for octet in address.packed)
    return IPV6 + address.packed.hex()


def key_of_data(rrtype: str, rdata: str) -> str:
    """Return the key of any data."""
    if rrtype in ("A", "AAAA"):
        try:
            return key_of_address(ip_address(rdata))
        except ValueError:
            return RAW + rdata
    if rrtype in NAMED_TYPES:
        before, _, name = rdata.rpartition(" ")
        return NAME + key_of_name(name) + (f" {before}" if before else "")
    return RAW + rdata


def data_of_key(key: str) -> str:
    """Return the data that a key stands for; addresses are in their shortest form."""
    return _DECODERS[key[:1]](key[1:])


def network_range(network: Network) -> tuple[str, str]:
    """Return the lowest key of the addresses in a network, and what is above the highest."""
    return key_of_address(network.network_address), key_of_address(network.broadcast_address) + END


def prefix_range(prefix: str) -> tuple[str, str]:
    """Return the lowest key that begins so, and what is above the highest."""
    return prefix, prefix + END


def united(ranges: Iterable[Range]) -> Sequence[Range]:
    """Return ranges, ascending, with those that overlap joined."""
    joined: list[Range] = []
    for low, high in sorted(ranges):
        if joined and low < joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], high)
        else:
            joined.append((low, high))
    return joined


def bailiwick_of(key: str, labels: int | None) -> str | None:
    """Return the zone that is the last ``labels`` labels of the name of a key, None where that is not known."""
    if labels is None:
        return None
    return ".".join(reversed(key.split(".")[:labels])) or "."


def _address4(digits: str) -> str:
    return f"{int(digits[:3])}.{int(digits[3:6])}.{int(digits[6:9])}.{int(digits[9:])}"


def _address6(digits: str) -> str:
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))


def _named(key: str) -> str:
    name, _, before = key.partition(" ")
    return f"{before} {name_of_key(name)}" if before else name_of_key(name)


_DECODERS: Final[dict[str, Callable[[str], str]]] = {IPV4: _address4, IPV6: _address6, NAME: _named, RAW: str}
