"""Captures of DNS over UDP, byte by byte, for names that no library would send."""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

_CLIENT, _SERVER = bytes([198, 51, 100, 7]), bytes([192, 0, 2, 53])
_A_TXT_RECORD = struct.pack("!HHHIH", 0xC00C, 16, 1, 300, 9) + b'\x08x,y\\z\t"\xff'


def write(path: Path, names: Iterable[Sequence[bytes]], start: int) -> None:
    """Write a query and an answer for each name, given as labels, one a second from ``start`` on.

    The transaction's number is that of the name, from 0 on.
    """
    with path.open("wb") as stream:
        stream.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, labels in enumerate(names):
            question = b"".join(bytes([len(label)]) + label for label in labels) + b"\0" + struct.pack("!HH", 16, 1)
            query = struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + question
            answer = struct.pack("!6H", number, 0x8180, 1, 2, 0, 0) + question + 2 * _A_TXT_RECORD
            port = 10_000 + number
            for micros, packet in (
                (0, _packet(_CLIENT, _SERVER, port, 53, query)),
                (12_300, _packet(_SERVER, _CLIENT, 53, port, answer)),
            ):
                stream.write(struct.pack("<4I", start + number, micros, len(packet), len(packet)) + packet)


def _packet(source: bytes, target: bytes, source_port: int, target_port: int, data: bytes) -> bytes:
    udp = struct.pack("!4H", source_port, target_port, 8 + len(data), 0) + data
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, source, target)
    total = sum(struct.unpack("!10H", head))
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return bytes(12) + b"\x08\x00" + head[:10] + struct.pack("!H", checksum) + head[12:] + udp
