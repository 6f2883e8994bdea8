"""Captures in pcap's classic form: what is in them, and what a tap that loses packets would have taken of them."""

from __future__ import annotations

import gzip
import lzma
import random
import shutil
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path


def packets(pcap: Path) -> Iterator[tuple[float, bytes]]:
    """Yield the times and frames of a capture."""
    with pcap.open("rb") as stream:
        order = "<" if stream.read(24)[:4] == b"\xd4\xc3\xb2\xa1" else ">"
        while len(head := stream.read(16)) == 16:
            seconds, micros, length, _ = struct.unpack(f"{order}4I", head)
            yield seconds + micros / 1e6, stream.read(length)


def thinned(pcap: Path, into: Path, lost: float) -> Path:
    """Write a capture as a tap that loses this share of the packets would have taken it."""
    dice = random.Random(1)
    with pcap.open("rb") as stream, into.open("wb") as out:
        out.write(stream.read(24))
        while len(head := stream.read(16)) == 16:
            frame = stream.read(struct.unpack("<4I", head)[2])
            if dice.random() >= lost:
                out.write(head + frame)
    return into


def joined(pcaps: Iterable[tuple[Path, float]], into: Path) -> Path:
    """Write captures one after the other, each as if its first packet had come at a time (seconds since the epoch)."""
    with into.open("wb") as out:
        for pcap, begin in pcaps:
            if not out.tell():
                out.write(pcap.read_bytes()[:24])
            first = None
            for when, frame in packets(pcap):
                first = when if first is None else first
                seconds, rest = divmod(begin + when - first, 1)
                out.write(struct.pack("<4I", int(seconds), int(rest * 1e6), len(frame), len(frame)) + frame)
    return into


def unpacked(packed: Path, folder: Path) -> Path:
    """Return a capture without its compression."""
    if packed.suffix not in (".xz", ".gz"):
        return packed
    opener = lzma.open if packed.suffix == ".xz" else gzip.open
    pcap = folder / packed.stem
    with opener(packed) as stream, pcap.open("wb") as out:
        shutil.copyfileobj(stream, out)
    return pcap
