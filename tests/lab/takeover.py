"""A zone whose name server lies in a domain that lapses, and that an attacker registers; and the same zone moved.

Unbound resolves from the root on, by real servers (NSD). Each phase is captured with an empty cache, since days pass in
between: they are put into the capture's times. Both ways begin with a past of five days.

- ``taken over``: the domain does not exist for a day, and is then delegated to the attacker, who answers for the zone.
- ``moved``: the owner gives the name server an address in another network, with the same zone.
"""

from __future__ import annotations

import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from . import fourresolvers
from .capture import Capture
from .namespaces import Namespaces
from .openresolver import wait_for_answer
from .pcaps import joined, packets

TOOLS = ("ip", "nsd", "unbound", "dig", "dnsperf", "tcpdump", "zeek")
RESOLVER, CLIENT, OTHER_SIDE = "203.0.113.10", "203.0.113.100", "198.51.100.10"
ROOTS, SERVER, NEW_SERVER = fourresolvers.SERVERS, "203.0.113.54", "198.51.100.66"
OPTIONS = {"DNSVigilPoisoning::resolvers": f"{{{RESOLVER}/32, {OTHER_SIDE}/32}}"}
ZONE, LAPSING = "bank.com", "lapsing.net"
WAYS = ("taken over", "moved")
START = 1_700_000_000.0
"""When the zone is answered from the new address."""

_DAY = 86_400.0
_SECONDS = 2.0  # until a server has read its zones again
_MINUTES = 12  # for which the last phase goes on, a minute at a time
_SOA = "@ 60 SOA ns.example.com. hostmaster.example.com. 1 3600 600 86400 1"


@dataclass(frozen=True)
class Done:
    """The capture, and how many packets come from the new server in each minute from START on."""

    pcap: Path
    per_minute: int


def make(folder: Path, way: str) -> Done:
    """Do one of WAYS. Raises LabError where something does not work."""
    with Namespaces() as net:
        net.bridge("net")
        net.host("root", {"net": [f"{address}/24" for address in ROOTS]})
        net.host("client", {"net": [f"{CLIENT}/24"]})
        net.host("unbound", {"net": [f"{RESOLVER}/24", f"{OTHER_SIDE}/24"]})
        for host, at in (("old", SERVER), ("new", NEW_SERVER)):
            net.host(host, {"net": [f"{at}/24"]})
            (folder / host).mkdir()
            hosts = at if way == "taken over" else SERVER
            addresses = [f"{name} 2 A {hosts}" for name in ("www", *(f"m{number}" for number in range(40)))]
            _write(folder / host / ZONE, ZONE, *addresses)
            _write(folder / host / LAPSING, LAPSING, f"ns1 2 A {at}")
            fourresolvers.start_nsd(net, host, folder / host, (at,), {ZONE: ZONE, LAPSING: LAPSING})
            wait_for_answer(net, "unbound", at, f"www.{ZONE}")
        own = folder / "root"
        own.mkdir()
        _delegate(own, SERVER)
        server = fourresolvers.start_nsd(net, "root", own, ROOTS, {".": "root"})
        wait_for_answer(net, "unbound", ROOTS[0], ZONE)
        past = _phase(net, folder / "past")
        phases = [(past, START - days * _DAY) for days in (6, 5, 4, 3, 2)]
        for name, address in (("gone", ""), ("now", NEW_SERVER)):
            if not address and way == "moved":
                continue
            _delegate(own, address)
            server.send_signal(signal.SIGHUP)
            time.sleep(_SECONDS)
            capture = _phase(net, folder / name)
            if address:
                phases += [(capture, START + 60 * minute) for minute in range(_MINUTES)]
            else:
                phases += [(capture, START - 3600 * hours) for hours in range(24, 0, -3)]
        answers = sum(frame[26:30] == socket.inet_aton(NEW_SERVER) for _, frame in packets(capture))
        return Done(joined(phases, folder / "all.pcap"), answers)


def _write(file: Path, origin: str, *records: str) -> None:
    file.write_text("\n".join([f"$ORIGIN {origin}.", _SOA, f"@ 2 NS ns1.{LAPSING}.", *records]) + "\n")


def _delegate(own: Path, address: str) -> None:
    """Write the root zone: the domain of the name server is delegated to an address, or does not exist."""
    domain = [f"{LAPSING}. 2 NS ns1.{LAPSING}.", f"ns1.{LAPSING}. 2 A {address}"] if address else []
    root = [". 60 NS ns.example.com.", f"ns.example.com. 60 A {ROOTS[0]}", f"{ZONE}. 2 NS ns1.{LAPSING}.", *domain]
    soa = _SOA.replace(" 1 ", f" {int(time.time())} ", 1)  # a server reads a zone again if its serial is new
    (own / "root").write_text("\n".join(["$ORIGIN .", soa, *root]) + "\n")


def _phase(net: Namespaces, folder: Path) -> Path:
    """Ask a resolver that knows nothing for the zone's names and its name server; return the capture."""
    folder.mkdir()
    resolver = fourresolvers.start(net, "unbound", folder, RESOLVER)
    wait_for_answer(net, "client", RESOLVER, "ns.example.com")
    capture = Capture(net, "net", folder)
    lines = [f"m{number}.{ZONE} A" for number in range(40)] + [f"ns1.{LAPSING} A", f"www.{ZONE} A"] * 10
    (folder / "questions").write_text("\n".join(lines) + "\n")
    words = ["dnsperf", "-s", RESOLVER, "-d", str(folder / "questions"), "-Q", "15", "-t", "2"]
    net.start("client", words, folder / "dnsperf").wait(60)
    capture.stop()
    resolver.stop()
    return capture.file
