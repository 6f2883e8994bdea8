"""Small DNS servers that no packaged server can be told to be; run by the lab on hosts of its own.

    python -m lab.responder sloppy ADDRESS                  authoritative, but says that it also recurses
    python -m lab.responder proxy ADDRESS UPSTREAM [FROM]   asks UPSTREAM, hands its answer on (from address FROM)
    python -m lab.responder relay ADDRESS UPSTREAM          passes questions on under the asker's address

Needs the standard library only; a relay needs root.
"""

from __future__ import annotations

import socket
import struct
import sys

_AA, _RA, _QR = 0x0400, 0x0080, 0x8000


def packet(source: tuple[str, int], target: tuple[str, int], payload: bytes, ttl: int = 64) -> bytes:
    """Return an IPv4 packet with UDP in it; the kernel fills in what is zero. UDP over IPv4 needs no checksum."""
    length = 8 + len(payload)
    udp = struct.pack("!HHHH", source[1], target[1], length, 0)
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(target[0])
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, ttl, 17, 0) + addresses + udp + payload


def question_end(message: bytes) -> int:
    """Return where the first question of a message ends."""
    at = 12
    while message[at]:
        at += message[at] + 1
    return at + 5


def sloppy(question: bytes) -> bytes:
    """Return an answer with one address, with AA and RA set."""
    flags = struct.unpack("!H", question[2:4])[0] | _QR | _AA | _RA
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 300, 4) + socket.inet_aton("192.0.2.3")
    header = question[:2] + struct.pack("!HHHHH", flags, 1, 1, 0, 0)
    return header + question[12 : question_end(question)] + record


def main() -> None:
    kind, address, *others = sys.argv[1:]
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) if kind == "relay" else None
    sender = server
    if kind == "proxy" and len(others) > 1:
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind((others[1], 53))
    while True:
        question, asker = server.recvfrom(4096)
        if kind == "sloppy":
            server.sendto(sloppy(question), asker)
        elif raw:
            raw.sendto(packet(asker, (others[0], 53), question), (others[0], 0))
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
                upstream.settimeout(2)
                upstream.sendto(question, (others[0], 53))
                sender.sendto(upstream.recv(4096), asker)


if __name__ == "__main__":
    main()
