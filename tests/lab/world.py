"""The lab's small Internet: addresses, zones, and the zone files that hold them together.

All addresses and names are those set aside for documentation (RFC 5737, RFC 3849, RFC 2606). Clients and resolvers
share 198.51.100.0/24 and 2001:db8:c::/64; resolvers and authoritative servers share 203.0.113.0/24 and
2001:db8:a::/64. 192.0.2.0/24 and 2001:db8:dead::/64 are dark: packets to them vanish.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = (1, "a.root-servers.example")
TLD = (2, "a.tld-servers.example")
TLDS = ("com", "net", "org", "example", "arpa")
LAME = 9
"""The host number of a server that is authoritative for nothing, and refuses whatever it is asked."""
DARK = ("192.0.2.53", "2001:db8:dead::53")
TTL = 30
HOSTS = 60
"""Each zone has the names h0 ... h59, beside www, mail and the like."""


@dataclass(frozen=True)
class Resolver:
    """One recursive resolver: its host's name, and its addresses on either side."""

    name: str
    number: int

    @property
    def clients(self) -> tuple[str, str]:
        """The IPv4 and the IPv6 address that clients ask."""
        return f"198.51.100.{self.number}", f"2001:db8:c::{self.number}"

    @property
    def upstream(self) -> tuple[str, str]:
        """The IPv4 and the IPv6 address from which it asks the world."""
        return f"203.0.113.{self.number + 150}", f"2001:db8:a::{self.number + 150}"


UNBOUND = Resolver("unbound", 53)
BIND = Resolver("bind", 54)
RESOLVERS = (UNBOUND, BIND)


@dataclass(frozen=True)
class Zone:
    """One zone and the host number of its server on the upstream network.

    ``served`` is the group of zones that share a server process; "" stands for a zone that no server has, whatever
    its parent says.
    """

    name: str
    number: int
    served: str = "main"
    wildcard: bool = False

    @property
    def addresses(self) -> tuple[str, str]:
        """The addresses of its server."""
        if self.name == "dark.example":
            return DARK
        return server_addresses(self.number)


def server_addresses(number: int) -> tuple[str, str]:
    """Return the addresses of the authoritative server with this host number."""
    return f"203.0.113.{number}", f"2001:db8:a::{number}"


ODD = "odd.example"
"""The zone of all awkward names."""
SILENT = "quiet.drop.example"
"""Both resolvers drop queries for names below this one, as a policy would."""

ZONES = (
    Zone("example.com", 10),
    Zone("example.net", 11),
    Zone("example.org", 12),
    Zone("shop.example", 13),
    Zone("news.example", 14),
    Zone("mail.example", 15),
    Zone("cdn.example", 16, wildcard=True),
    Zone("flood.example", 17),
    Zone("drop.example", 18, wildcard=True),
    Zone(ODD, 19, wildcard=True),
    Zone("xn--bcher-kva.example", 20),
    Zone("100.51.198.in-addr.arpa", 21),
    Zone("bank.example", 22, served="doomed"),
    Zone("lame.example", LAME, served=""),
    Zone("dark.example", 0, served=""),
)
_ZONE_NAMES = sorted((zone.name for zone in ZONES), key=len, reverse=True)


def zone_of(name: str) -> str | None:
    """Return the zone that a name (in whatever case, with or without final dot) lies in, None for none."""
    name = name.rstrip(".").lower()
    for zone in _ZONE_NAMES:
        if name == zone or name.endswith("." + zone):
            return zone
    return None


def write_zones(folder: Path) -> dict[str, Path]:
    """Write every zone's file, and return them by the zone's name ("." for the root)."""
    contents = {".": _root()}
    contents |= {tld: _tld(tld) for tld in TLDS}
    contents |= {zone.name: _zone(zone) for zone in ZONES if zone.served}
    files = {}
    for name, lines in contents.items():
        files[name] = folder / f"{'root' if name == '.' else name}.zone"
        files[name].write_text("\n".join(lines) + "\n")
    return files


def root_hints() -> str:
    """Return the root hints that lead a resolver to the lab's own root."""
    number, name = ROOT
    return "\n".join([f". 3600 NS {name}.", *_host(f"{name}.", server_addresses(number))]) + "\n"


def _host(name: str, addresses: tuple[str, str]) -> list[str]:
    return [f"{name} 3600 A {addresses[0]}", f"{name} 3600 AAAA {addresses[1]}"]


def _start(origin: str, server: str) -> list[str]:
    return [
        f"$ORIGIN {origin}",
        f"$TTL {TTL}",
        f"@ SOA {server}. hostmaster.{server}. 1 3600 600 86400 10",
        f"@ 3600 NS {server}.",
    ]


def _root() -> list[str]:
    lines = _start(".", ROOT[1])
    for number, name in (ROOT, TLD):
        lines += _host(f"{name}.", server_addresses(number))
    return lines + [f"{tld}. 3600 NS {TLD[1]}." for tld in TLDS]


def _tld(tld: str) -> list[str]:
    lines = _start(f"{tld}.", TLD[1])
    if tld == "example":
        for number, name in (ROOT, TLD):
            lines += _host(f"{name}.", server_addresses(number))
    for zone in ZONES:
        if zone.name.endswith("." + tld):
            lines.append(f"{zone.name}. 3600 NS ns1.{zone.name}.")
            lines += _host(f"ns1.{zone.name}.", zone.addresses)
    return lines


def _zone(zone: Zone) -> list[str]:
    lines = _start(f"{zone.name}.", f"ns1.{zone.name}")
    lines += _host("ns1", zone.addresses)
    if zone.name.endswith(".arpa"):
        return lines + [f"{number} PTR client{number}.example.net." for number in range(1, 255)]
    for number, host in enumerate(["@", "mail", "api", *(f"h{index}" for index in range(HOSTS))]):
        lines += [f"{host} A 203.0.113.{number + 100}", f"{host} AAAA 2001:db8:a:1::{number + 1:x}"]
    lines += [
        "www CNAME api",
        "@ MX 10 mail",
        "@ MX 20 mail.example.net.",
        '@ TXT "v=spf1 mx -all" "a second, comma and \\"quotes\\""',
        '_dmarc TXT "v=DMARC1; p=none"',
        "_sip._tcp SRV 10 5 5060 api",
        "@ HTTPS 1 . alpn=h2,h3",
        '@ CAA 0 issue "ca.example"',
        # What fails of a healthy zone: names that are delegated to a server that does not have them.
        "bad 3600 NS ns.bad",
        *_host("ns.bad", server_addresses(LAME)),
    ]
    if zone.wildcard:
        lines += ["* A 203.0.113.99", "* AAAA 2001:db8:a:1::99", '* TXT "any name will do"']
    return lines
