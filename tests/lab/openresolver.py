"""A network with hosts that serve DNS to strangers, and with some that only look as if they did.

Two networks with a router between them, which is where the sensor stands: 203.0.113.0/24 is the outside, with two
askers and an authoritative server; 198.51.100.0/24 is the operator's own.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from .capture import Capture
from .namespaces import LabError, Namespaces

TOOLS = ("ip", "nsd", "unbound", "dig", "tcpdump", "zeek")
INSIDE = "198.51.100.0/24"
ASKERS = ("203.0.113.7", "203.0.113.8")
AUTHORITY = "203.0.113.53"
OPEN = "198.51.100.10"
"""Unbound, open to all."""
PUBLIC = "198.51.100.11"
"""Unbound, open to all on purpose."""
CLOSED = "198.51.100.12"
"""Unbound, closed to strangers."""
OWN_AUTHORITY = "198.51.100.13"
"""NSD with a zone of its own: answers with AA, without RA."""
SLOPPY_AUTHORITY = "198.51.100.14"
"""An authoritative server that sets RA as well."""
PROXY = "198.51.100.20"
"""Asks the open resolver and hands its answer on, as the usual home router does."""
ELSEWHERE = "198.51.100.21"
"""The same, but its answers leave from another address."""
ELSEWHERE_FROM = "198.51.100.22"
RELAY = "198.51.100.23"
"""Passes the question on under the asker's address, so that the open resolver answers the asker."""
ALL = (OPEN, PUBLIC, CLOSED, OWN_AUTHORITY, SLOPPY_AUTHORITY, PROXY, ELSEWHERE, RELAY)
QUESTIONS = 2
"""From each asker to each host."""
OPTIONS = {
    "Site::local_nets": f"{{{INSIDE}}}",
    # The networks set aside for documentation, all of the lab's, are private ones to Zeek.
    "Site::private_address_space_is_local": "F",
    "DNSVigilOpenResolver::public_resolvers": f"{{{PUBLIC}/32}}",
}
_GATEWAYS = ("203.0.113.254", "198.51.100.254")


def make(folder: Path) -> Path:
    """Ask every host as strangers do, and return the capture at the border.

    Raises LabError where something does not work.
    """
    with Namespaces() as net:
        _connect(net)
        _start(net, folder)
        capture = Capture(net, "outside", folder)
        for number in range(QUESTIONS):
            for index in range(len(ASKERS)):
                _ask_all(net, f"asker{index}", number, folder)
        capture.stop()
        return capture.file


def _connect(net: Namespaces) -> None:
    net.bridge("outside", f"{_GATEWAYS[0]}/24")
    net.bridge("inside", f"{_GATEWAYS[1]}/24")
    net.call("wire", ["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])
    for index, asker in enumerate(ASKERS):
        net.host(f"asker{index}", {"outside": [f"{asker}/24"]})
    net.host("authority", {"outside": [f"{AUTHORITY}/24"]})
    net.host("unbound", {"inside": [f"{OPEN}/24", f"{PUBLIC}/24"]})
    net.host("closed", {"inside": [f"{CLOSED}/24"]})
    net.host("own", {"inside": [f"{OWN_AUTHORITY}/24"]})
    net.host("sloppy", {"inside": [f"{SLOPPY_AUTHORITY}/24"]})
    net.host("proxy", {"inside": [f"{PROXY}/24"]})
    net.host("elsewhere", {"inside": [f"{ELSEWHERE}/24", f"{ELSEWHERE_FROM}/24"]})
    net.host("relay", {"inside": [f"{RELAY}/24"]})
    for host in ("asker0", "asker1", "authority"):
        net.route(host, "default", "via", _GATEWAYS[0])
    for host in ("unbound", "closed", "own", "sloppy", "proxy", "elsewhere", "relay"):
        net.route(host, "default", "via", _GATEWAYS[1])


def _start(net: Namespaces, folder: Path) -> None:
    start_nsd(net, "authority", folder, [AUTHORITY], "example.com")
    start_nsd(net, "own", folder, [OWN_AUTHORITY], "own.example")
    _start_unbound(net, "unbound", folder, [OPEN, PUBLIC], "0.0.0.0/0 allow")
    _start_unbound(net, "closed", folder, [CLOSED], f"{INSIDE} allow")
    for host, words in {
        "sloppy": ["sloppy", SLOPPY_AUTHORITY],
        "proxy": ["proxy", PROXY, OPEN],
        "elsewhere": ["proxy", ELSEWHERE, OPEN, ELSEWHERE_FROM],
        "relay": ["relay", RELAY, OPEN],
    }.items():
        net.start(host, program("responder", *words), folder / f"{host}.log")
    for host, address, name in (
        ("authority", AUTHORITY, "example.com"),
        ("own", OWN_AUTHORITY, "own.example"),
        ("unbound", OPEN, "example.com"),
        ("closed", CLOSED, "localhost"),
        ("sloppy", SLOPPY_AUTHORITY, "own.example"),
        ("unbound", PROXY, "example.com"),
    ):
        wait_for_answer(net, host, address, name)


def program(module: str, *words: str) -> list[str]:
    """Return the command that runs one of the lab's own programs on a host."""
    return ["env", f"PYTHONPATH={Path(__file__).parents[1]}", sys.executable, "-m", f"lab.{module}", *words]


def wait_for_answer(net: Namespaces, host: str, address: str, name: str) -> None:
    """Ask until an answer comes. Raises LabError where none does in 15 s."""
    deadline = time.monotonic() + 15
    while True:
        try:
            net.call(host, ["dig", "+tries=1", "+time=1", f"@{address}", name])
            return
        except LabError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def start_nsd(net: Namespaces, host: str, folder: Path, addresses: list[str], zone: str) -> None:
    """Start NSD on a host with one zone, in which every name exists."""
    own = folder / f"nsd-{host}"
    own.mkdir()
    (own / "zone").write_text(
        f"$ORIGIN {zone}.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 10\n@ NS ns\n"
        f"ns A {addresses[0]}\n@ A 192.0.2.1\n*.none TXT none\n* A 192.0.2.2\n"
    )
    lines = ["server:", *(f"  ip-address: {address}" for address in addresses)]
    lines += ["  server-count: 1", '  username: ""', '  chroot: ""', '  database: ""', '  pidfile: ""']
    lines += [f'  zonesdir: "{own}"', f'  zonelistfile: "{own}/zone.list"', f'  xfrdfile: "{own}/xfrd.state"']
    lines += [f'  xfrdir: "{own}"', "  rrl-ratelimit: 0", "remote-control:", "  control-enable: no"]
    lines += ["zone:", f'  name: "{zone}"', '  zonefile: "zone"']
    (own / "nsd.conf").write_text("\n".join(lines) + "\n")
    net.start(host, ["nsd", "-d", "-c", str(own / "nsd.conf")], own / "nsd.log")


def _start_unbound(net: Namespaces, host: str, folder: Path, addresses: list[str], allowed: str) -> None:
    own = folder / f"unbound-{host}"
    own.mkdir()
    lines = ["server:", *(f"  interface: {address}" for address in addresses), f"  access-control: {allowed}"]
    lines += ["  num-threads: 1", '  username: ""', '  chroot: ""', '  pidfile: ""', f'  directory: "{own}"']
    lines += ["  use-syslog: no", "  do-ip6: no", '  module-config: "iterator"', "remote-control:"]
    lines += ["  control-enable: no", "stub-zone:", '  name: "example.com"', f"  stub-addr: {AUTHORITY}"]
    (own / "unbound.conf").write_text("\n".join(lines) + "\n")
    net.start(host, ["unbound", "-d", "-c", str(own / "unbound.conf")], own / "unbound.log")


def _ask_all(net: Namespaces, asker: str, number: int, folder: Path) -> None:
    digs = {}
    for host in ALL:
        name = "www.own.example" if host in (OWN_AUTHORITY, SLOPPY_AUTHORITY) else f"h{number}.example.com"
        log = folder / f"{asker}-{number}-{host}.log"
        digs[host] = net.start(asker, ["dig", "+tries=1", "+time=1", f"@{host}", name], log)
    for host, dig in digs.items():
        try:
            dig.wait(10)
        except LabError:
            # dig takes no answer from another address than it asked.
            if host not in (ELSEWHERE, RELAY):
                raise
