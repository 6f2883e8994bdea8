"""Addresses: what their text looks like, and the networks that they lie in."""

from typing import Final

import ibis
import ibis.expr.types as ir

_OCTET: Final = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4: Final = rf"^({_OCTET}\.){{3}}{_OCTET}$"
_IPV6: Final = r"^([0-9a-fA-F]{0,4}:){2,8}[0-9a-fA-F]{0,4}$"

LEVELS: Final = {4: (8, 16, 24), 6: (32, 48, 64)}
"""The lengths of the prefixes of each family, the shortest first."""

_DIGIT_BITS: Final = {4: 8 / 3, 6: 4}  # of a key: three decimal digits are an octet


def is_ipv4(text: ir.StringValue) -> ir.BooleanValue:
    """Return whether a text is an address of IPv4."""
    return text.re_search(_IPV4)


def is_ipv6(text: ir.StringValue) -> ir.BooleanValue:
    """Return whether a text is an address of IPv6, without octets in decimal."""
    groups = text.split(":").filter(lambda part: part != "").length()
    halves = text.split("::").length()
    known = ibis.cases((halves == 1, groups == 8), (halves == 2, groups < 8), else_=False)
    return text.re_search(_IPV6) & ~text.contains(":::") & known


def network(address: ir.StringValue, family: int, level: int) -> ir.StringValue:
    """Return the network of an address, which is a key of :mod:`dnsvigil.store.tuple_keys`, at a level of ``LEVELS``.

    Two addresses of one family have the same exactly where they are in the same network.
    """
    return address.left(1 + round(LEVELS[family][level] / _DIGIT_BITS[family]))
