"""Passive DNS of real captures: the tuples inferred from dns.log beside what tshark decodes."""

import lzma
import shutil
import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config
from dnsvigil.store.store import Store
from exporters.ingest.taking import Taking
from exporters.tuples import all_tuples

CAPTURES = ("normal_00000_20230805150331", "normal_00017_20230805211952", "normal_00063_20230806144951")
DATA = {"1": ("A", "dns.a"), "28": ("AAAA", "dns.aaaa"), "5": ("CNAME", "dns.cname")}
FIELDS = ("dns.count.answers", "dns.resp.name", "dns.resp.type", *(field for _, field in DATA.values()))

Tuple = tuple[str, str, str]


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
@pytest.mark.parametrize("name", CAPTURES)
def test_tuples_are_those_that_tshark_decodes(shared_data: Path, tmp_path: Path, name: str) -> None:
    log = lzma.decompress((shared_data / "zeek-logs" / "from-pcap" / name / "dns.log.xz").read_bytes())
    with Store(tmp_path) as store, closing(Taking(store, Config())) as taking:
        taking.take("dns", log)
        found = Counter({(row["rrname"], row["rrtype"], row["rdata"]): row["count"] for row in all_tuples(store)})
    addresses, names = tshark(shared_data / "pcap-normal" / f"{name}.pcap.xz", tmp_path / "capture.pcap")
    # Half of the answers are without their queries, and names alone then do not show their type.
    assert addresses <= found <= addresses + names
    assert len(found) > 20_000


def tshark(packed: Path, capture: Path) -> tuple[Counter[Tuple], Counter[Tuple]]:
    """Return how often each tuple is in the answers of a capture that have addresses, and in those of names alone."""
    capture.write_bytes(lzma.decompress(packed.read_bytes()))
    command = ["tshark", "-r", capture, "-Y", "dns.flags.response == 1", "-T", "fields", "-E", "separator=/t"]
    command += ["-E", "aggregator= ", *(part for field in FIELDS for part in ("-e", field))]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    addresses: Counter[Tuple] = Counter()
    names: Counter[Tuple] = Counter()
    for line in output.splitlines():
        answers, owners, types, *data = line.split("\t")
        values = {number: iter(given.split()) for number, given in zip(DATA, data, strict=True)}
        records = list(zip(owners.split(), types.split(), strict=True))[: int(answers or 0)]
        tuples = [
            (owner.lower(), DATA[number][0], next(values[number]).lower())
            for owner, number in records
            if number in DATA
        ]
        (addresses if any(kind != "CNAME" for _, kind, _ in tuples) else names).update(tuples)
    return addresses, names
