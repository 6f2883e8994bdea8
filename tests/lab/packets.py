"""Captures made byte by byte: DNS messages over UDP and TCP, as no program would send them, or by the million."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

Frame = tuple[float, bytes]
"""When (seconds since the epoch), and an Ethernet frame."""

_UDP, _TCP = 17, 6
_SYN, _ACK, _FIN = 2, 16, 1
_SEGMENT = 1400


@dataclass(frozen=True)
class Flow:
    """A client's address and port, and a server's; addresses as text, of one family."""

    client: str
    client_port: int
    server: str
    server_port: int = 53

    def query(self, message: bytes) -> bytes:
        """Return the frame of a UDP datagram to the server."""
        return udp(self.client, self.client_port, self.server, self.server_port, message)

    def response(self, message: bytes) -> bytes:
        """Return the frame of a UDP datagram from the server."""
        return udp(self.server, self.server_port, self.client, self.client_port, message)


def write(path: Path, frames: Iterable[Frame]) -> int:
    """Write a capture in pcap's classic form (microseconds, Ethernet) and return the number of frames."""
    count = 0
    with path.open("wb", buffering=1 << 20) as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 1))
        for when, frame in frames:
            seconds, micros = divmod(round(when * 1_000_000), 1_000_000)
            out.write(struct.pack("<4I", seconds, micros, len(frame), len(frame)) + frame)
            count += 1
    return count


def udp(source: str, source_port: int, target: str, target_port: int, payload: bytes) -> bytes:
    """Return the frame of one UDP datagram."""
    head = struct.pack("!4H", source_port, target_port, 8 + len(payload), 0)
    checksum = _transport_checksum(source, target, _UDP, head + payload) or 0xFFFF
    return _ip(source, target, _UDP, head[:6] + struct.pack("!H", checksum) + payload)


def tcp(flow: Flow, queries: bytes, responses: bytes, start: float, step: float = 0.001) -> Iterator[Frame]:
    """Yield a whole TCP connection, a frame each ``step`` seconds: handshake, all queries, all responses, end.

    Messages carry their two octets of length already, so that these can be wrong.
    """
    sent = {True: 1000, False: 5000}  # the next sequence number, of the client (True) and of the server
    steps: list[tuple[bool, int, bytes]] = [(True, _SYN, b""), (False, _SYN | _ACK, b""), (True, _ACK, b"")]
    for client, data in ((True, queries), (False, responses)):
        steps += [(client, _ACK, data[at : at + _SEGMENT]) for at in range(0, len(data), _SEGMENT)]
    steps += [(True, _FIN | _ACK, b""), (False, _FIN | _ACK, b""), (True, _ACK, b"")]
    for number, (client, flags, data) in enumerate(steps):
        ends = [(flow.client, flow.client_port), (flow.server, flow.server_port)]
        (source, source_port), (target, target_port) = ends if client else reversed(ends)
        acknowledged = sent[not client] if flags & _ACK else 0
        head = struct.pack(
            "!HHIIBBHHH", source_port, target_port, sent[client], acknowledged, 5 << 4, flags, 65535, 0, 0
        )
        checksum = _transport_checksum(source, target, _TCP, head + data)
        head = head[:16] + struct.pack("!H", checksum) + head[18:]
        yield start + number * step, _ip(source, target, _TCP, head + data)
        sent[client] += len(data) + bool(flags & (_SYN | _FIN))


def _ip(source: str, target: str, protocol: int, payload: bytes) -> bytes:
    if ":" in source:
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + _packed(source) + _packed(target)
        return bytes(12) + b"\x86\xdd" + head + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0)
    head += _packed(source) + _packed(target)
    return bytes(12) + b"\x08\x00" + head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + payload


@lru_cache(100_000)
def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def _transport_checksum(source: str, target: str, protocol: int, segment: bytes) -> int:
    return _checksum(_packed(source) + _packed(target) + struct.pack("!II", len(segment), protocol) + segment)


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    # The sum in ones' complement is the rest on division by 65,535.
    return 0xFFFF ^ (int.from_bytes(data, "big") % 0xFFFF or 0xFFFF * any(data))
