"""The addresses and networks of lists, as texts of one form: answers that lie in them are on the list."""

from collections.abc import Collection, Iterator
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network
Length = tuple[int, int]
"""The version of IP, and the length of a prefix."""

_SHORTEST: Final = {4: 8, 6: 16}  # a shorter prefix would have half of the world on the list
_WHOLE: Final = {4: 32, 6: 128}
# Lists of bogons have these, and so do the answers of any local zone.
_LOCAL: Final = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
    "224.0.0.0/3", "::/16", "fc00::/7", "fe80::/10", "ff00::/8",
)  # fmt: skip


def network_of(word: str) -> Network | None:
    """Return the network that a word is; for an address, which may have a port, that of the address alone."""
    for text in (word, word.rpartition(":")[0]):
        try:
            return ip_network(text, strict=False)
        except ValueError:
            continue
    return None


def entry_of(network: Network) -> str:
    """Return the text of a network as lists are looked up by, which is that of its address where it has but one."""
    return str(network.network_address if network.prefixlen == _WHOLE[network.version] else network)


def is_usable(network: Network) -> bool:
    """Return whether an answer in the network says anything: not for local networks and very large ones."""
    local = any(network.overlaps(each) for each in _local() if each.version == network.version)
    return network.prefixlen >= _SHORTEST[network.version] and not local


def length_of(entry: str) -> Length | None:
    """Return the version and length of an entry that is a network or an address, None for a name."""
    if ":" not in entry and not entry[-1:].isdigit():
        return None
    try:
        network = ip_network(entry)
    except ValueError:  # a name in a top-level domain that ends in a digit
        return None
    return network.version, network.prefixlen


def covering(address: str, lengths: Collection[Length]) -> Iterator[str]:
    """Yield the entries that an address may lie in, longest prefix first; of a network itself, nothing for names."""
    if "/" in address:
        yield address
    if not lengths or not (":" in address or address[-1:].isdigit()):
        return
    try:
        version, number = (found := ip_address(address)).version, int(found)
    except ValueError:
        return
    for length in sorted((each for of, each in lengths if of == version), reverse=True):
        bits = _WHOLE[version] - length
        yield str(found) if not bits else f"{type(found)(number >> bits << bits)}/{length}"


@cache
def _local() -> list[Network]:
    return [ip_network(text) for text in _LOCAL]
