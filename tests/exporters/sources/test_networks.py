"""Tables of networks: the formats that are read, overlaps, and what is wrong in a file."""

import gzip
import random
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest

from dnsvigil.sources.networks import Networks, NetworkTableError

ASN = b'1.0.0.0,1.0.0.255,13335,"Cloud, Inc."\n2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,64500,Example\n'
COUNTRY = b"1.0.0.0,1.0.0.127,AU\n1.0.0.128,1.0.0.255,CN\n2001:db8::,2001:db8::ff,NL\n"
NUMERIC = f"{int(IPv4Address('192.0.2.0'))},{int(IPv4Address('192.0.2.255'))},64501,x\n".encode()
PYASN = b"; IP-ASN32-DAT file\n; x\n198.51.100.0/24\t64502\n198.51.100.128/25\t64503\n2001:db9::/32\t64504\n"
CUT = gzip.compress(ASN, mtime=0)[:40]


def written(folder: Path, **files: bytes) -> list[Path]:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


def test_all_formats(tmp_path: Path) -> None:
    paths = written(tmp_path, a=ASN, b=gzip.compress(COUNTRY), c=NUMERIC, d=PYASN)
    networks = Networks(paths)
    known = {
        "1.0.0.0": (13335, "AU"),
        "1.0.0.255": (13335, "CN"),
        "1.0.1.0": (None, None),
        "0.255.255.255": (None, None),
        "2001:db8::": (64500, "NL"),
        "2001:db8::100": (64500, None),
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff": (64500, None),
        "192.0.2.7": (64501, None),
        "198.51.100.127": (64502, None),
        "198.51.100.128": (64503, None),
        "198.51.101.0": (None, None),
        "2001:db9:1::": (64504, None),
        "::": (None, None),
    }
    assert list(zip(*networks.places(list(known)), strict=True)) == list(known.values())
    assert networks.places([]) == ([], [])
    assert networks.skipped == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_smallest_network_counts(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    prefixes = {
        ip_network((0x0A000000 | dice.randrange(2**10), length), strict=False): number
        for number, length in enumerate(dice.choices((8, 22, 24, 26, 28, 30, 32), k=40))
    }
    (path,) = written(tmp_path, a="".join(f"{each}\t{number}\n" for each, number in prefixes.items()).encode())
    addresses = [f"10.0.{dice.randrange(5)}.{dice.randrange(256)}" for _ in range(500)]
    expected = []
    for address in addresses:
        inside = [each for each in prefixes if ip_address(address) in each]
        expected.append(prefixes[max(inside, key=lambda each: each.prefixlen)] if inside else None)
    assert Networks([path]).places(addresses)[0] == expected


def test_lines_that_are_no_network_are_counted(tmp_path: Path) -> None:
    lines = b"1.0.0.0\n1.0.0.9,1.0.0.0,1\nx,y,2\n1.0.0.0,1.0.0.1,Australia\n1.0.0.0/33\t5\n\n1.0.0.0/99\t5\n"
    networks = Networks(written(tmp_path, a=ASN + lines))
    assert networks.skipped == 6
    assert networks.places(["1.0.0.1"])[0] == [13335]


@pytest.mark.parametrize("content", [b"", b"domain,score\nexample.com,1\n", CUT, b"\xff\xfe,1,2\n"])
def test_a_file_without_networks_is_named(tmp_path: Path, content: bytes) -> None:
    paths = written(tmp_path, a=ASN, odd=content)
    with pytest.raises(NetworkTableError, match="odd"):
        Networks(paths)
    with pytest.raises(FileNotFoundError):
        Networks([tmp_path / "none"])
