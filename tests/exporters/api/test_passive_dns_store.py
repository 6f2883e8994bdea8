"""Look-ups in a store: what they find is what the same questions find in a list of the tuples."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.api.passive_dns.bulk import together
from dnsvigil.api.passive_dns.forms import dnsdb
from dnsvigil.api.passive_dns.lookup import records
from dnsvigil.api.passive_dns.question import Fences, Question, anything, data_name, owner_name
from dnsvigil.cli.main import main
from dnsvigil.engines.tuples import TupleReader
from dnsvigil.store.store import Store
from dnsvigil.store.tuple_keys import NEGATIVE_TYPES
from exporters.api.fake_tuples import FakeReader, Tuple, keys, some
from exporters.running import collecting_here, get, write_config
from exporters.zeeklogs import HEADER, package_header, package_line, tsv

PDNS = "dnsvigil_pdns"
KEY = "d41d8cd98f00b204e9800998ecf8427e"
TUPLES = [each for each in some(3, 1500) if each.rrtype not in NEGATIVE_TYPES]
QUESTIONS = [
    *map(
        owner_name,
        ("example.com", ".", "com", "*.com", "*.example.com", "+.com", "+", "www.*", "a.+", "\\xff", "b-c.net"),
    ),
    *map(data_name, ("example.com", "*.com", "+.net", "www.*", "mail.+", ".", "com")),
    *map(anything, ("192.0.1.3", "192.0.0.0/23", "2001:db8::/126", "2001:db8::7", "0.0.0.0/0", "192.0.0.5-192.0.1.2")),
    owner_name("*").with_type("MX"),
    owner_name("*").with_type("ANY-DNSSEC"),
    owner_name("*").with_type("TYPE65280"),
    owner_name("*.com").with_bailiwick("com"),
    owner_name("*").with_bailiwick("."),
    owner_name("*").within(Fences(time_last_after=1_650_000_000)),
    owner_name("*").within(Fences(time_first_after=1_650_000_000, time_last_before=1_690_000_000)),
]


def line(each: Tuple) -> bytes:
    times = {"ts": each.time_last, "time_first": each.time_first, "time_last": each.time_last}
    texts = {"rrname": each.rrname, "rrtype": each.rrtype, "rdata": each.rdata, "bailiwick": each.bailiwick or "-"}
    return package_line(
        PDNS, **{name: f"{time}.000000" for name, time in times.items()}, **texts, count=str(each.count)
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A configuration, and the folder of a store with the tuples."""
    folder = tmp_path_factory.mktemp("store")
    keys: dict[str, Any] = {"api": {"keys": [{"name": "soc", "sha256": sha256(KEY.encode()).hexdigest()}]}}
    config = write_config(folder, passive_dns={"retention": "36500d"}, store={"retention": "36500d"}, **keys)
    (folder / f"{PDNS}.log").write_bytes(package_header(PDNS) + b"".join(map(line, TUPLES)))
    nowhere = tsv(ts="1699999999.000000", query="nothing.example.com", rcode="3", rcode_name="NXDOMAIN", answers="-")
    (folder / "dns.log").write_bytes(HEADER + nowhere)
    for log in folder.glob("*.log"):
        assert main(["-c", str(config), "--state", str(folder / "state"), "ingest", str(log)]) == 0
    return config, folder / "state"


@pytest.fixture
def reader(filled) -> Iterator[TupleReader]:
    with Store(filled[1], read_only=True) as store:
        yield TupleReader(lambda: store)


def test_the_store_finds_what_a_list_finds(reader):
    plain = FakeReader(TUPLES, chunk=500)
    for question in QUESTIONS:
        found = [each for each in records(reader, [question]) if each]
        expected = [each for each in records(plain, [question]) if each]
        assert keys(found) == keys(expected), question
        assert sorted((f.rrname, f.rdata, f.count, f.time_first, f.time_last) for f in found) == sorted(
            (f.rrname, f.rdata, f.count, f.time_first, f.time_last) for f in expected
        )
        assert [(f.rrname, f.rrtype, f.rdata) for f in found] == [(f.rrname, f.rrtype, f.rdata) for f in expected]


def test_many_questions_find_the_same_in_a_store(reader):
    plain = FakeReader(TUPLES, chunk=500)
    plain_ones: list[Question] = QUESTIONS[:23]
    for questions in (plain_ones, [*plain_ones, *(anything(f"{number}.example") for number in range(500))]):
        found, expected = ([f for f in records(each, together(questions)) if f] for each in (reader, plain))
        assert keys(found) == keys(expected)


def test_a_name_that_does_not_exist_has_no_records(reader):
    assert not [each for each in records(reader, [owner_name("nothing.example.com")]) if each]
    negative = reader.chunks("names", "com.example.nothing", "com.example.nothing\0", negative=True)
    assert sum(chunk.num_rows for chunk in negative) == 1, "which is known all the same"


@pytest.mark.skipif(not shutil.which("dnsdbq"), reason="needs dnsdbq")
def test_dnsdbq_asks_a_running_collector(filled):
    config, state = filled
    plain = FakeReader(TUPLES, chunk=500)
    with collecting_here(config, state) as daemon:
        get(f"{daemon.server.url}/-/ready")
        environment = {
            "DNSDB_API_KEY": KEY,
            "DNSDB_SERVER": daemon.server.url,
            "HOME": "/nonexistent",
            "PATH": "/usr/bin",
        }

        def dnsdbq(*arguments: str) -> set[tuple[str, str, str]]:
            command = ["dnsdbq", "-u", "dnsdb2", "-l", "0", "-p", "json", *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
            assert done.stderr == ""
            found = map(json.loads, done.stdout.splitlines())
            return {(each["rrname"], each["rrtype"], rdata) for each in found for rdata in each["rdata"]}

        for arguments, question in (
            (["-r", "*.com"], owner_name("*.com")),
            (["-r", "+.com", "-t", "MX"], owner_name("+.com").with_type("MX")),
            (["-r", "www.*"], owner_name("www.*")),
            (["-n", "*.example.com"], data_name("*.example.com")),
            (["-i", "192.0.0.0/23"], anything("192.0.0.0/23")),
            (["-r", "*", "-A", "1650000000"], owner_name("*").within(Fences(time_last_after=1_650_000_000))),
        ):
            expected = [dnsdb(each) for each in records(plain, [question]) if each]
            assert expected
            assert dnsdbq(*arguments) == {(e["rrname"], e["rrtype"], rdata) for e in expected for rdata in e["rdata"]}
