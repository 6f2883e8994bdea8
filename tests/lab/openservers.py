"""Real servers of which some are open to all: resolvers, forwarders of both kinds, closed and authoritative ones.

Two networks with a router between them, where the sensor and the exporter of flows stand: 203.0.113.0/24 is outside,
with clients, the authoritative servers of the root and example.com, and a public resolver; 198.51.100.0/24 is the
operator's own. One of the open resolvers is abused for some seconds: one address asks it for a large answer again and
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from . import fourresolvers
from .capture import Capture
from .namespaces import Namespaces, Process
from .openresolver import program, start_nsd, wait_for_answer

TOOLS: Final = ("ip", "nsd", "unbound", "named", "kresd", "dnsmasq", "dig", "dnsperf", "tcpdump")
INSIDE: Final = "198.51.100.0/24"
CLIENTS: Final = tuple(f"203.0.113.{number}" for number in range(101, 107))
VICTIM: Final = "203.0.113.99"
PUBLIC: Final = "203.0.113.9"
"""A public resolver outside, to which forwarders forward."""

UNBOUND, NAMED, KRESD, DNSMASQ = (f"198.51.100.{number}" for number in (10, 11, 12, 13))
"""Resolvers that are open to all; dnsmasq forwards to the public resolver."""
ROUTER: Final = "198.51.100.20"
"""A home router: hands queries on to the public resolver, and the answers back."""
TRANSPARENT: Final = "198.51.100.21"
"""Passes queries on to the open Unbound under their clients' addresses."""
CLOSED_UNBOUND, CLOSED_NAMED = "198.51.100.30", "198.51.100.31"
OWN_NSD, OWN_NAMED = "198.51.100.40", "198.51.100.41"
"""Authoritative for own.example."""

OPEN: Final = (UNBOUND, NAMED, KRESD, DNSMASQ, ROUTER, TRANSPARENT)
ABUSED: Final = NAMED
SHUT: Final = (CLOSED_UNBOUND, CLOSED_NAMED, OWN_NSD, OWN_NAMED)
QUERIES: Final = 6
"""Of each client to each host."""
ABUSES: Final = 4000
"""Queries in the victim's name."""
OPTIONS: Final = {"Site::local_nets": f"{{{INSIDE}}}", "Site::private_address_space_is_local": "F"}

_GATEWAYS: Final = ("203.0.113.254", "198.51.100.254")
_HOSTS: Final = {
    "named": NAMED, "kresd": KRESD, "unbound": UNBOUND, "dnsmasq": DNSMASQ, "router": ROUTER, "relay": TRANSPARENT,
    "closed": CLOSED_UNBOUND, "refusing": CLOSED_NAMED, "own": OWN_NSD, "auth": OWN_NAMED,
}  # fmt: skip


def make(folder: Path) -> Path:
    """Ask every host as strangers do, and return the capture at the border.

    Raises LabError where something does not work.
    """
    with Namespaces() as net:
        _connect(net)
        _start(net, folder)
        capture = Capture(net, "outside", folder)
        asking = [_ask(net, folder, client, host) for host in _HOSTS.values() for client in CLIENTS]
        for dnsperf in asking:
            dnsperf.wait(60)
        _abuse(net, folder).wait(60)
        capture.stop()
        return capture.file


def _connect(net: Namespaces) -> None:
    net.bridge("outside", f"{_GATEWAYS[0]}/24")
    net.bridge("inside", f"{_GATEWAYS[1]}/24")
    net.call("wire", ["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])
    net.host("clients", {"outside": [f"{address}/24" for address in (*CLIENTS, VICTIM)]})
    net.host("authority", {"outside": [f"{address}/24" for address in fourresolvers.SERVERS]})
    net.host("public", {"outside": [f"{PUBLIC}/24"]})
    for host, address in _HOSTS.items():
        net.host(host, {"inside": [f"{address}/24"]})
        net.route(host, "default", "via", _GATEWAYS[1])
    for host in ("clients", "authority", "public"):
        net.route(host, "default", "via", _GATEWAYS[0])


def _start(net: Namespaces, folder: Path) -> None:
    large = " ".join(f'"{letter * 200}"' for letter in "abcde")
    fourresolvers.start_authority(net, folder, f"large 86400 TXT {large}")
    wait_for_answer(net, "authority", fourresolvers.SERVERS[0], "example.com")
    for resolver in ("unbound", "named", "kresd"):
        fourresolvers.start(net, resolver, folder, _HOSTS[resolver])
    _start_unbound(net, "public", folder, PUBLIC, "allow")
    _start_unbound(net, "closed", folder, CLOSED_UNBOUND, "refuse")
    _start_named(net, "refusing", folder, CLOSED_NAMED)
    _start_named(net, "auth", folder, OWN_NAMED, "own.example")
    start_nsd(net, "own", folder, [OWN_NSD], "own.example")
    dnsmasq = ["dnsmasq", "--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root"]
    dnsmasq += ["--pid-file", f"--listen-address={DNSMASQ}", f"--server={PUBLIC}"]
    net.start("dnsmasq", dnsmasq, folder / "dnsmasq.log")
    net.start("router", program("responder", "proxy", ROUTER, PUBLIC), folder / "router.log")
    net.start("relay", program("responder", "relay", TRANSPARENT, UNBOUND), folder / "relay.log")
    for host in ("public", "unbound", "named", "kresd", "dnsmasq"):
        wait_for_answer(net, host, PUBLIC if host == "public" else _HOSTS[host], "example.com")
    for host in ("closed", "refusing", "own", "auth"):
        wait_for_answer(net, host, _HOSTS[host], "own.example")


def _start_unbound(net: Namespaces, host: str, folder: Path, address: str, others: str) -> None:
    own = folder / f"unbound-{host}"
    own.mkdir()
    (own / "hints").write_text(f". 86400 NS ns.example.com.\nns.example.com. 86400 A {fourresolvers.SERVERS[0]}\n")
    (own / "unbound.conf").write_text(
        f"server:\n  interface: {address}\n  access-control: 0.0.0.0/0 {others}\n  num-threads: 1\n"
        f'  username: ""\n  chroot: ""\n  pidfile: ""\n  directory: "{own}"\n  use-syslog: no\n  do-ip6: no\n'
        f'  module-config: "iterator"\n  root-hints: "{own}/hints"\nremote-control:\n  control-enable: no\n'
    )
    net.start(host, ["unbound", "-d", "-c", str(own / "unbound.conf")], own / "unbound.log")


def _start_named(net: Namespaces, host: str, folder: Path, address: str, zone: str = "") -> None:
    """Start BIND: with a zone it is authoritative, and else a resolver that is closed to the outside."""
    own = folder / f"named-{host}"
    own.mkdir()
    allowed = "recursion no;" if zone else f"recursion yes; allow-query {{ {INSIDE}; }};"
    text = (
        f'options {{ directory "{own}"; pid-file none; session-keyfile none; lock-file none; notify no;\n'
        f"listen-on {{ {address}; }}; listen-on-v6 {{ none; }}; dnssec-validation no; {allowed} }};\ncontrols {{ }};\n"
    )
    if zone:
        (own / "zone").write_text(
            f"$ORIGIN {zone}.\n$TTL 300\n@ SOA ns h 1 3600 600 86400 60\n@ NS ns\nns A {address}\n@ A 192.0.2.1\n"
            "* A 192.0.2.2\n"
        )
        text += f'zone "{zone}" {{ type primary; file "{own}/zone"; }};\n'
    (own / "named.conf").write_text(text)
    net.start(host, ["named", "-f", "-n", "1", "-c", str(own / "named.conf")], own / "named.log")


def _ask(net: Namespaces, folder: Path, client: str, address: str) -> Process:
    zone = "own.example" if address in (OWN_NSD, OWN_NAMED) else "d1.example.com"
    names = [f"h{client.rpartition('.')[2]}{number}.{zone} A" for number in range(QUERIES)]
    return _dnsperf(net, folder, f"{client}-{address}", ["-s", address, "-a", client, "-q", "1", "-Q", "20"], names)


def _abuse(net: Namespaces, folder: Path) -> Process:
    options = ["-s", ABUSED, "-a", VICTIM, "-e", "-q", "50", "-Q", "2000", "-n", str(ABUSES)]
    return _dnsperf(net, folder, "abuse", options, ["large.example.com TXT"])


def _dnsperf(net: Namespaces, folder: Path, name: str, options: Sequence[str], queries: Sequence[str]) -> Process:
    data = folder / f"{name}.txt"
    data.write_text("\n".join(queries) + "\n")
    times = [] if "-n" in options else ["-n", "1"]
    command = ["dnsperf", "-d", str(data), "-t", "1", "-b", "64", *times, *options]
    return net.start("clients", command, folder / f"{name}.log")
