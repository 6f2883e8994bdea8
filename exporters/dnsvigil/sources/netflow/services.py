"""The protocols and services that flows are counted by."""

from functools import reduce
from operator import or_
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

PROTOCOLS: Final = ("tcp", "udp", "icmp", "other")
"""The protocols that are counted by name; ICMPv6 counts as icmp."""

"""The protocols with names of their own; that of ICMPv6 is icmp."""

SERVICES: Final = {
    "dns": (53,),
    "dot": (853,),
    "mdns": (5353,),
    "https": (443,),
    "http": (80, 8080),
    "ntp": (123,),
    "ssh": (22,),
    "telnet": (23,),
    "smtp": (25, 465, 587),
    "snmp": (161, 162),
    "ldap": (389, 636),
    "smb": (137, 138, 139, 445),
    "rdp": (3389,),
    "sip": (5060, 5061),
    "memcached": (11211,),
    "ssdp": (1900,),
    "chargen": (19,),
    "netflow": (2055, 9995, 9996),
    "other": (),
}
"""The ports of each service. A flow belongs to the service of its destination port, else of its source port."""

DNS_PORTS: Final = (53, 853)
"""A flow to one of these carries queries; a flow from one of them, and to none of them, carries responses."""

OTHER: Final = len(SERVICES) - 1
"""The index of the last service, to which every other port belongs."""

SERVICE_OF_PORT: Final = np.full(65_536, OTHER, "u1")
"""By port, the index of its service."""

for _index, _ports in enumerate(SERVICES.values()):
    SERVICE_OF_PORT[list(_ports)] = _index

PROTOCOL_OF_NUMBER: Final = np.full(256, PROTOCOLS.index("other"), "u1")
"""By IP protocol number, the index of its protocol."""

PROTOCOL_OF_NUMBER[[6, 17, 1, 58]] = [PROTOCOLS.index(name) for name in ("tcp", "udp", "icmp", "icmp")]

HAS_PORTS: Final = np.zeros(256, bool)
"""By IP protocol number, whether it has ports; in the fields for ports all others have something else, such as ICMP."""

HAS_PORTS[[6, 17, 33, 132, 136]] = True


def is_dns_port(ports: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which ports are among :data:`DNS_PORTS`."""
    return reduce(or_, (ports == port for port in DNS_PORTS))  # np.isin takes six times as long
