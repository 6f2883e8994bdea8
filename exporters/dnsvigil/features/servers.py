"""Which records ask a DNS server, and which are look-ups of local names that no server is there for.

A sensor on a local network sees multicast DNS, LLMNR and NetBIOS names in the same log. Whoever is asked there is no
DNS server: a group, a whole network, or any host that happens to be called so.
"""

from collections.abc import Callable
from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.functions import is_broadcast, local_protocol

_MULTICAST: Final = r"^(22[4-9]|23[0-9])\.|^ff[0-9a-f]{2}:"  # RFC 5771, RFC 4291
_UNSPECIFIED: Final = r"^0\.|^[0:]+$"


def address_kind(server: ir.StringValue, is_broadcast: Callable[[ir.StringValue], ir.BooleanValue]) -> ir.StringValue:
    """Return multicast, broadcast or unspecified for an address that is no host's, NULL for all others."""
    address = server.lower().re_replace("^::ffff:", "")
    return ibis.cases(
        (address.re_search(_MULTICAST), "multicast"),
        (is_broadcast(address), "broadcast"),
        (address.re_search(_UNSPECIFIED), "unspecified"),
    )


def servers(records: ir.Table) -> ir.Table:
    """Return each ``server`` and ``server_port`` with its ``queries``, and the ``kind`` of what is no DNS server's."""
    t = records.group_by("server", "server_port").agg(queries=records.count())
    return t.mutate(kind=ibis.coalesce(local_protocol(t.server_port), address_kind(t.server, is_broadcast)))


def local_names(servers: ir.Table) -> ir.Table:
    """Return those that are no DNS server's."""
    return servers.filter(servers.kind.notnull())
