"""Flow files: of captures, through softflowd and nfcapd or through nfpcapd, and written by the million."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .namespaces import LabError, Process

Flows = NDArray[Any]
"""One-way flows, an array of ``FLOW``."""

FLOW: Final = np.dtype(
    [
        ("first", "u8"),  # milliseconds since the epoch, as the next
        ("last", "u8"),
        ("packets", "u8"),
        ("bytes", "u8"),
        ("src_port", "u2"),
        ("dst_port", "u2"),
        ("proto", "u1"),
        ("flags", "u1"),
        ("src", "u8", 2),  # the halves of an address; of IPv4 the upper one is 0, the lower one below 2**32
        ("dst", "u8", 2),
    ]
)
QUESTIONS_PER_SECOND: Final = 9_500
"""At the five resolvers of an operator with 820 million questions a day."""
CLIENTS: Final = 300_000

# nfdump's layout 2 (nffileV2.h, nfxV3.h): a header, blocks of records, and an appendix with the ident and the sums.
_HEADER: Final = struct.Struct("<HHIqBBHIqII")
_BLOCK: Final = struct.Struct("<IIHH")
_MAGIC, _LAYOUT, _WRITTEN_BY = 0xA50C, 2, 0x01070100
_BLOCK_BYTES, _LARGEST_BLOCK = 1 << 20, 5 << 20
_BLOCK_TYPE, _RECORD_TYPE, _IDENT, _SUMS = 3, 11, 0x8001, 0x8002
_GENERIC: Final = [
    ("generic_type", "u2"),
    ("generic_size", "u2"),
    *(("first", "u8"), ("last", "u8"), ("received", "u8"), ("packets", "u8"), ("bytes", "u8")),
    *(("src_port", "u2"), ("dst_port", "u2"), ("proto", "u1"), ("flags", "u1"), ("forwarding", "u1"), ("tos", "u1")),
]
_HEAD: Final = [
    *(("type", "u2"), ("size", "u2"), ("elements", "u2"), ("engine", "u2")),
    *(("exporter", "u2"), ("record_flags", "u1"), ("version", "u1")),
]
_RECORDS: Final = {
    2: np.dtype([*_HEAD, *_GENERIC, ("ip_type", "u2"), ("ip_size", "u2"), ("src", "u4"), ("dst", "u4")]),
    3: np.dtype([*_HEAD, *_GENERIC, ("ip_type", "u2"), ("ip_size", "u2"), ("src", "u8", 2), ("dst", "u8", 2)]),
}
_COPIED: Final = ("first", "last", "packets", "bytes", "src_port", "dst_port", "proto", "flags")


def why_not() -> str:
    """Return what :func:`export` and :func:`from_capture` lack on this machine, or nothing."""
    missing = [name for name in ("nfdump", "nfcapd", "nfpcapd", "softflowd") if not shutil.which(name)]
    return f"needs {', '.join(missing)}" if missing else ""


def export(pcap: Path, folder: Path, *options: str, ident: str = "lab") -> Path:
    """Let softflowd watch a capture and export to nfcapd, and return the flow file. Raises LabError.

    ``options`` are softflowd's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["nfcapd", "-w", str(folder), "-b", "127.0.0.1", "-p", str(port), "-t", "3600", "-I", ident]
    collector = Process([*command, "-P", str(folder / "pid")], folder / "nfcapd.log")
    try:
        deadline = time.monotonic() + 10
        while not list(folder.glob("nfcapd.current*")):
            if not collector.running or time.monotonic() > deadline:
                raise LabError(f"{collector} does not listen: {collector.tail()}")
            time.sleep(0.05)
        softflowd = ["softflowd", "-d", "-6", "-r", str(pcap), "-n", f"127.0.0.1:{port}", "-v", "10", "-A", "milli"]
        _run([*softflowd, "-c", "none", *options], folder)
        time.sleep(0.5)  # until nfcapd has taken in what softflowd sent last
    finally:
        collector.stop()
    (file,) = (path for path in folder.glob("nfcapd.2*"))
    return file


def from_capture(pcap: Path, folder: Path) -> Path:
    """Make a flow file of a capture of less than ten hours with nfpcapd. Raises LabError."""
    folder.mkdir(parents=True, exist_ok=True)
    _run(["nfpcapd", "-r", str(pcap), "-w", str(folder), "-t", "36000"], folder)
    (file,) = folder.glob("nfcapd.*")
    return file


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr[-500:]}")


def write(path: Path, parts: Iterable[Flows], ident: str = "lab", lost: int = 0) -> int:
    """Write a flow file as nfcapd of nfdump 1.7 leaves it, uncompressed, and return the number of flows.

    ``lost`` is the number of sequence failures that it tells.
    """
    sums = np.zeros(18, "u8")
    first, last, count, blocks = 2**63, 0, 0, 0
    with path.open("wb") as out:
        out.write(bytes(_HEADER.size))
        for flows in filter(len, parts):
            for block, records in _blocks(flows):
                out.write(block)
                out.write(records)
                blocks += 1
            sums[:15] += _sums(flows)
            first, last = min(first, int(flows["first"].min())), max(last, int(flows["last"].max()))
            count += len(flows)
        sums[15:] = first if count else 0, last, lost
        name = ident.encode() + b"\0"
        appendix = struct.pack("<HH", _IDENT, 4 + len(name)) + name
        appendix += struct.pack("<HH", _SUMS, 4 + sums.nbytes) + sums.tobytes()
        at = out.tell()
        out.write(_BLOCK.pack(2, len(appendix), _BLOCK_TYPE, 0) + appendix)
        out.seek(0)
        out.write(_HEADER.pack(_MAGIC, _LAYOUT, _WRITTEN_BY, last // 1000, 0, 0, 1, 0, at, _LARGEST_BLOCK, blocks))
    return count


def _blocks(flows: Flows) -> Iterator[tuple[bytes, bytes]]:
    old = flows["src"][:, 0] == 0
    ends = np.cumsum(np.where(old, _RECORDS[2].itemsize, _RECORDS[3].itemsize))
    content = np.zeros(ends[-1], "u1")
    for kind, chosen in ((2, old), (3, ~old)):
        layout = _RECORDS[kind]
        records = np.zeros(chosen.sum(), layout)
        records["type"], records["size"], records["elements"] = _RECORD_TYPE, layout.itemsize, 2
        records["version"] = 9
        records["generic_type"], records["generic_size"] = 1, 52
        records["ip_type"], records["ip_size"] = kind, 12 if kind == 2 else 36
        for name in _COPIED:
            records[name] = flows[name][chosen]
        records["received"] = records["last"]
        for name in ("src", "dst"):
            records[name] = flows[name][chosen, 1] if kind == 2 else flows[name][chosen]
        places = ends[chosen, None] - np.arange(layout.itemsize, 0, -1)
        content[places] = records.view("u1").reshape(-1, layout.itemsize)
    each = _BLOCK_BYTES // _RECORDS[3].itemsize
    for at in range(0, len(flows), each):
        last = min(at + each, len(flows))
        some = content[ends[at - 1] if at else 0 : ends[last - 1]].tobytes()
        yield _BLOCK.pack(last - at, len(some), _BLOCK_TYPE, 0), some


def _sums(flows: Flows) -> NDArray[Any]:
    """Return flows, bytes and packets, then each of them of TCP, UDP, ICMP and the rest."""
    proto = flows["proto"]
    tcp, udp, icmp = proto == 6, proto == 17, (proto == 1) | (proto == 58)
    kinds = (tcp, udp, icmp, ~(tcp | udp | icmp))
    sums = [len(flows), flows["bytes"].sum(), flows["packets"].sum()]
    sums += [kind.sum() for kind in kinds]
    sums += [flows[name][kind].sum() for name in ("bytes", "packets") for kind in kinds]
    return np.array(sums, "u8")


def resolver_traffic(start: int, flows: int | None = None, others: float = 0, seed: int = 1) -> Iterator[Flows]:
    """Yield five minutes from ``start`` (seconds) on of questions to resolvers, and their answers, as one-way flows.

    ``QUESTIONS_PER_SECOND`` of ``CLIENTS``, or so many ``flows``, of which a share of ``others`` is web traffic. A few
    clients ask much and most ask little, nearly always the same resolver; a fifth is IPv6, a fiftieth of the questions
    TCP.
    """
    rng = np.random.default_rng(seed)
    left = flows or 2 * 300 * QUESTIONS_PER_SECOND
    total = left
    while left > 0:
        size = min(left, 500_000)
        begin = 1000 * start + 300_000 * (total - left) // total
        yield _some(rng, size, begin, 300_000 * size // total + 1, others)
        left -= size


def _some(rng: np.random.Generator, count: int, begin: int, span: int, others: float) -> Flows:
    flows = np.zeros(count, FLOW)
    asked = np.arange(count) // 2  # a question and its answer stand together
    client = (CLIENTS * rng.random(count // 2 + 1) ** 2).astype("u8")[asked]
    server = (client + (rng.random(count // 2 + 1) < 0.05)[asked]) % 5
    port = rng.integers(1024, 65_536, count // 2 + 1, "u2")[asked]
    tcp = (rng.random(count // 2 + 1) < 0.02)[asked]
    web = (rng.random(count // 2 + 1) < others)[asked]
    when = begin + np.sort(rng.integers(0, span, count // 2 + 1))[asked]
    answer = np.arange(count) % 2 == 1
    new = client % 5 == 0
    ends = {}
    for name, lower in (
        ("client", client + 0x0A00_0000),
        ("server", np.where(web, 0xCB00_7100 + client % 251, 0xC633_6435 + server)),
    ):
        ends[name] = np.stack([np.where(new, 0x2001_0DB8_0000_0000, 0), lower], axis=1).astype("u8")
    flows["src"] = np.where(answer[:, None], ends["server"], ends["client"])
    flows["dst"] = np.where(answer[:, None], ends["client"], ends["server"])
    known = np.where(web, 443, 53)
    flows["src_port"] = np.where(answer, known, port)
    flows["dst_port"] = np.where(answer, port, known)
    flows["proto"] = np.where(tcp | web, 6, 17)
    flows["flags"] = np.where(tcp | web, 0x1B, 0)
    flows["packets"] = np.where(tcp | web, 5, 1)
    flows["bytes"] = flows["packets"] * np.where(answer, rng.integers(80, 500, count), rng.integers(55, 90, count))
    flows["first"] = when + answer * 12
    flows["last"] = flows["first"] + (flows["packets"] > 1) * 40
    return flows
