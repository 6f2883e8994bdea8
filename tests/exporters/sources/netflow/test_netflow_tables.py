"""Flow files of real exporters and collectors, and damaged ones, read by a real nfdump into tables."""

from __future__ import annotations

import logging
import shutil
import struct
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import psutil
import pytest

from dnsvigil.sources.netflow import DamagedFileError, Dumper, NFDumpError, search_file, stream
from dnsvigil.sources.netflow.flow_file import UnfinishedFileError, is_flow_file
from dnsvigil.sources.netflow.services import SERVICES
from dnsvigil.sources.netflow.tables import FlowReader, Loaded
from lab import flows as lab
from lab import packets

pytestmark = pytest.mark.skipif(not shutil.which("nfdump"), reason="needs nfdump")

START = 1_700_000_000
SERVER, SERVER6, PUBLIC = "192.0.2.53", "2001:db8::53", "203.0.113.9"
Rows = Counter[tuple[Any, ...]]


@pytest.fixture
def reader() -> Iterator[FlowReader]:
    with duckdb.connect() as connection:
        reader = FlowReader(connection)
        yield reader
        reader.close()
        assert connection.execute("FROM duckdb_tables()").fetchall() == []
        assert connection.execute("SELECT * FROM duckdb_views() WHERE temporary AND NOT internal").fetchall() == []


def rows(reader: FlowReader, table: str) -> list[tuple[Any, ...]]:
    return reader._connection.execute(f"FROM {table}").fetchall()


def pairs(reader: FlowReader) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """What the pairs have of flows, packets and bytes, each way."""
    found = {row[:4]: row[4:10] for row in rows(reader, "flow_pairs")}
    assert len(found) == len(rows(reader, "flow_pairs"))
    return found


def totals(reader: FlowReader) -> tuple[int, int, int]:
    flows, packets, octets = zip(*(row[2:] for row in rows(reader, "flow_services")), strict=True)
    return sum(flows), sum(packets), sum(octets)


def capture(path: Path) -> tuple[int, int, Rows]:
    """Write a capture of DNS, IPv4 and IPv6, UDP and TCP, and some more; return its packets, their bytes, the pairs."""
    frames: list[packets.Frame] = []
    truth: Rows = Counter()

    def put(when: float, frame: bytes) -> int:
        frames.append((when, frame))
        return len(frame) - 14  # of the IP packet

    for number in range(40):
        server = SERVER6 if number % 2 else SERVER
        client = f"2001:db8:1::{number + 1:x}" if number % 2 else f"198.51.100.{number + 1}"
        for port in range(20_000, 20_003):
            flow = packets.Flow(client, port, server)
            key = (client, server, 53, "udp")
            asked = put(START + number / 10, flow.query(bytes(30 + number)))
            answered = put(START + number / 10 + 0.01, flow.response(bytes(200 + number)))
            for name, value in (("qf", 1), ("qp", 1), ("qb", asked), ("rf", 1), ("rp", 1), ("rb", answered)):
                truth[*key, name] += value
    for number in range(5):
        flow = packets.Flow(f"198.51.100.{number + 1}", 30_000, SERVER, 853)
        for when, frame in packets.tcp(flow, bytes(100), bytes(900), START + 10 + number):
            way = "q" if packets._packed(flow.client) == frame[26:30] else "r"
            truth[flow.client, SERVER, 853, "tcp", f"{way}p"] += 1
            truth[flow.client, SERVER, 853, "tcp", f"{way}b"] += put(when, frame)
        truth[flow.client, SERVER, 853, "tcp", "qf"] = truth[flow.client, SERVER, 853, "tcp", "rf"] = 1
    for when, frame in packets.tcp(packets.Flow("198.51.100.1", 40_000, PUBLIC, 443), bytes(500), bytes(90_000), START):
        put(when, frame)
    put(START, packets.udp(PUBLIC, 123, "198.51.100.1", 50_000, bytes(48)))
    put(START, packets.udp("198.51.100.1", 50_001, PUBLIC, 50_002, bytes(48)))
    packets.write(path, sorted(frames, key=lambda each: each[0]))
    return len(frames), sum(len(frame) - 14 for _, frame in frames), truth


def check_pairs(reader: FlowReader, truth: Rows) -> None:
    found: Rows = Counter()
    for key, values in pairs(reader).items():
        found.update(
            {(*key, name): value for name, value in zip(("qf", "qp", "qb", "rf", "rp", "rb"), values, strict=True)}
        )
    assert found == truth


def check_statistics(reader: FlowReader, file: Path) -> None:
    """Compare talkers and services with nfdump's own statistics."""
    for element in ("srcip", "dstip"):
        statistic = search_file(file, statistics=element, statistics_order="bytes", limit=10)
        expected = [(str(row[element]), row["flows"], row["packets"], row["bytes"]) for row in statistic]
        found = [row[1:] for row in rows(reader, "flow_talkers") if row[0] == element]
        # Those with as many bytes as the tenth have no order.
        least = expected[-1][3]
        assert {row for row in found if row[3] > least} == {row for row in expected if row[3] > least}
        assert sorted(row[3] for row in found) == sorted(row[3] for row in expected)
    known = {port: name for name, ports in SERVICES.items() for port in ports}
    services: defaultdict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(3, int))
    for row in search_file(file):
        name = {"ipv6-icmp": "icmp"}.get(str(row["prot"]), str(row["prot"]))
        protocol = name if name in ("tcp", "udp", "icmp") else "other"
        service = known.get(row["dstport"]) or known.get(row["srcport"]) or "other"
        services[protocol, service] += (row["flows"], row["packets"], row["bytes"])
    assert {row[:2]: row[2:] for row in rows(reader, "flow_services")} == {key: tuple(v) for key, v in services.items()}


@pytest.mark.skipif(bool(lab.why_not()), reason=lab.why_not())
def test_packets_through_softflowd_and_nfcapd(reader, tmp_path, caplog):
    count, octets, truth = capture(tmp_path / "lab.pcap")
    file = lab.export(tmp_path / "lab.pcap", tmp_path / "flows", ident="edge1")
    assert is_flow_file(file)
    loaded = reader.load(file)
    assert (loaded.damage, loaded.info.ident) == (None, "edge1")
    assert (loaded.info.packets, loaded.info.bytes) == (count, octets)
    assert totals(reader) == (loaded.flows, count, octets)
    assert loaded.flows == loaded.info.flows == 40 * 3 * 2 + 5 * 2 + 2 + 2
    assert loaded.info.first and loaded.info.last and loaded.info.first <= loaded.info.last
    check_pairs(reader, truth)
    check_statistics(reader, file)
    assert "takes longer" not in caplog.text


@pytest.mark.skipif(bool(lab.why_not()), reason=lab.why_not())
def test_a_capture_through_nfpcapd(reader, tmp_path):
    count, octets, truth = capture(tmp_path / "lab.pcap")
    loaded = reader.load(lab.from_capture(tmp_path / "lab.pcap", tmp_path / "flows"))
    assert (loaded.damage, loaded.info.ident) == (None, "")
    assert loaded.info.first == datetime.fromtimestamp(START, UTC).replace(tzinfo=None)
    assert totals(reader)[1:] == (count, octets)
    check_pairs(reader, truth)


@pytest.mark.skipif(bool(lab.why_not()), reason=lab.why_not())
def test_bidirectional_flows_count_each_way(reader, tmp_path):
    count, octets, truth = capture(tmp_path / "lab.pcap")
    loaded = reader.load(lab.export(tmp_path / "lab.pcap", tmp_path / "flows", "-b"))
    assert loaded.flows < 140
    assert totals(reader)[1:] == (count, octets)
    check_pairs(reader, truth)


@pytest.mark.skipif(bool(lab.why_not()), reason=lab.why_not())
def test_sampled_flows_are_as_nfcapd_has_scaled_them(reader, tmp_path):
    capture(tmp_path / "lab.pcap")
    file = lab.export(tmp_path / "lab.pcap", tmp_path / "flows", "-s", "4")
    loaded = reader.load(file)
    assert 0 < loaded.flows < 254
    assert totals(reader) == (loaded.info.flows, loaded.info.packets, loaded.info.bytes)
    check_statistics(reader, file)


def test_the_real_files(reader, shared_data, caplog):
    folder = shared_data / "netflow" / "chrispassas"
    for name, flows, dns in (
        ("testdata/nfcapd-large-bz2", 100_000, 1_075),
        ("devtestdata/nfcapd.sample", 3_018, 1_028),
    ):
        loaded = reader.load(folder / name)
        assert (loaded.flows, loaded.damage) == (flows, None)
        assert totals(reader) == (flows, loaded.info.packets, loaded.info.bytes)
        assert sum(row[0] + row[3] for key, row in pairs(reader).items() if key[2] == 53) == dns
        check_statistics(reader, folder / name)
    assert loaded.info.ident == "RB-QG-MW-SOLUCOES"
    assert loaded.info.sequence_failures == 53
    loaded = reader.load(folder / "testdata/nfcapd-empty")
    assert (loaded.flows, loaded.damage, loaded.info.first) == (0, None, None)
    assert [rows(reader, f"flow_{name}") for name in ("services", "pairs", "talkers")] == [[], [], []]
    loaded = reader.load(folder / "testdata/nfcapd-corrupt")
    assert loaded.flows == 0
    assert "Corrupt data file" in str(loaded.damage)
    assert reader.load(folder / "testdata/nfcapd-small-lzo").flows == 10
    assert "takes longer" not in caplog.text


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, lab.Flows]:
    parts = list(lab.resolver_traffic(START, 30_000, others=0.3))
    file = tmp_path_factory.mktemp("made") / "nfcapd.202311142210"
    assert lab.write(file, parts, lost=7) == 30_000
    return file, np.concatenate(parts)


def summed_up(flows: lab.Flows) -> dict[tuple[Any, ...], list[int]]:
    """The pairs, in plain Python."""
    found: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 6)
    for flow in flows:
        src, dst = (
            str(ip_address((int(high) << 64) + int(low))) if high else str(ip_address(int(low)))
            for high, low in (flow["src"], flow["dst"])
        )
        query = flow["dst_port"] in (53, 853)
        if not query and flow["src_port"] not in (53, 853):
            continue
        ends = (src, dst, int(flow["dst_port"])) if query else (dst, src, int(flow["src_port"]))
        row = found[*ends, {6: "tcp", 17: "udp"}[int(flow["proto"])]]
        for place, value in enumerate((1, int(flow["packets"]), int(flow["bytes"])), 0 if query else 3):
            row[place] += value
    return found


@pytest.mark.parametrize("at_once", [1 << 24, 1_500_000, 1_000])
def test_many_batches_add_up(reader, made, monkeypatch, at_once):
    file, flows = made
    monkeypatch.setattr(stream, "_BUFFER", at_once)
    loaded = reader.load(file)
    assert (loaded.flows, loaded.info.sequence_failures) == (30_000, 7)
    assert pairs(reader) == {key: tuple(values) for key, values in summed_up(flows).items()}
    check_statistics(reader, file)


def test_a_field_that_looks_like_the_head_of_a_record_is_none(reader, made, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(stream, "_BUFFER", 1_000)
    _, flows = made
    hostile = flows.copy()
    hostile["bytes"][::3] = 11 | 76 << 16
    hostile["packets"][::5] = 11 | 100 << 16
    file = tmp_path / "nfcapd.202311142215"
    lab.write(file, [hostile])
    assert reader.load(file).flows == len(hostile)
    assert "takes longer" not in caplog.text
    assert pairs(reader) == {key: tuple(values) for key, values in summed_up(hostile).items()}


def test_addresses_are_given_as_numbers_too(reader, made):
    reader.load(made[0])
    for client, server, *_, high, low, server_high, server_low in rows(reader, "flow_pairs"):
        for text, first, last in ((client, high, low), (server, server_high, server_low)):
            assert ip_address(text) in (ip_address(first << 64 | last), ip_address(first << 64 | last).ipv4_mapped)


def test_text_is_read_where_the_records_are_unknown(reader, made, tmp_path, caplog):
    file, _ = made
    reader.load(file)
    expected = [sorted(rows(reader, f"flow_{name}")) for name in ("services", "pairs", "talkers")]
    for change in (
        "head -c 60 {}",
        "tail -c +3 {}",
        "head -c 400000 {}",
        "cat {}; printf half-a-block",
    ):
        written = tmp_path / "written"
        stream = f'nfdump "$@" > {written}; {change.format(written)}'
        program = script(tmp_path / "nfdump", f'case "$*" in *stdout*) {stream};; *) exec nfdump "$@";; esac')
        with duckdb.connect() as connection:
            other = FlowReader(connection, program)
            assert other.load(file).damage is None
            found = [sorted(rows(other, f"flow_{name}")) for name in ("services", "pairs", "talkers")]
            other.close()
        assert found == expected
        assert "reading its text output instead" in caplog.text
        caplog.clear()


def changed(file: Path, to: Path, old: bytes, new: bytes, count: int = -1) -> Path:
    content = file.read_bytes()
    assert old in content
    to.write_bytes(content.replace(old, new, count))
    return to


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(([6], struct.pack("<HH3s", 77, 7, b"???")), id="anywhere"),
        pytest.param(([4, 36], b""), id="two sizes"),
        pytest.param((range(0, 160, 4), struct.pack("<HH4s", 77, 8, b"????")), id="many sizes"),
    ],
)
def test_unknown_elements_and_records_are_passed_over(reader, tmp_path, caplog, monkeypatch, form):
    """Elements 900 after the known ones, and records of type 77 between the others."""
    monkeypatch.setattr(stream, "_BUFFER", 1_000)
    lengths, other = form
    (flows,) = lab.resolver_traffic(START, 30_000)
    flows = flows[flows["src"][:, 0] == 0][:20_000]
    plain = tmp_path / "plain"
    lab.write(plain, [flows])
    content = plain.read_bytes()
    *_, appendix, _, blocks = struct.unpack_from("<HHIqBBHIqII", content)
    at = 40
    records = []
    for _ in range(blocks):
        count, size = struct.unpack_from("<II", content, at)
        records += [content[at + 12 + 76 * number :][:76] for number in range(count)]
        at += 12 + size
    parts = [bytearray() for _ in range(10)]
    for number, record in enumerate(map(bytearray, records)):
        if number % 3:
            length = lengths[number % len(lengths)]
            record[2:6] = struct.pack("<HH", 76 + 4 + length, 3)
            record.extend(struct.pack(f"<HH{length}s", 900, 4 + length, b"\x0b\0\x54\0" * length))  # like a head
        parts[number % 10] += record + other
    each = len(flows) // len(parts) * (2 if other else 1)
    out = b"".join(struct.pack("<IIHH", each, len(part), 3, 0) + part for part in parts)
    odd = tmp_path / "odd"
    head = content[:24] + struct.pack("<qII", 40 + len(out), 5 << 20, len(parts))
    odd.write_bytes(head + out + content[appendix:])
    reader.load(plain)
    expected = [sorted(rows(reader, f"flow_{name}")) for name in ("services", "pairs", "talkers")]
    loaded = reader.load(odd)
    assert (loaded.flows, loaded.damage) == (len(flows), None)
    assert "takes longer" not in caplog.text
    assert [sorted(rows(reader, f"flow_{name}")) for name in ("services", "pairs", "talkers")] == expected


def test_counts_that_cannot_be_do_not_stop_the_reading(reader, tmp_path):
    (flows,) = lab.resolver_traffic(START, 2_000)
    flows["bytes"][::2] = 2**64 - 1
    lab.write(tmp_path / "much", [flows])
    assert reader.load(tmp_path / "much").flows == 2_000
    assert sum(row[2] for row in pairs(reader).values()) == 1_000 * 2**42


def until_damage(file: Path) -> int:
    count = 0
    try:
        for row in search_file(file):
            count += row["flows"]
    except DamagedFileError:
        return count
    raise AssertionError("it is not damaged")


def test_damaged_files_give_what_can_be_read_and_lose_no_other(reader, made, tmp_path):
    file, _ = made
    whole = file.read_bytes()
    size = int.from_bytes(whole[44:48], "little")  # of the first block
    second = 40 + 12 + size
    damages = {
        "empty": b"",
        "short": whole[:20],
        "half": whole[: len(whole) // 2],
        "text": b"this is no flow file, but some text\n" * 20,
        "block": whole[:second] + b"\xff\xff\xff\xff" + whole[second + 4 :],
        "record": whole[: second + 14] + b"\xff\xff" + whole[second + 16 :],
        "appendix": whole[:-100],
    }
    for name, content in damages.items():
        (tmp_path / name).write_bytes(content)
        loaded = reader.load(tmp_path / name)
        assert loaded.damage, name
        assert loaded.flows == until_damage(tmp_path / name), name
        assert loaded.flows == sum(row[2] for row in rows(reader, "flow_services")), name
    assert loaded.flows == 30_000  # only the sums are gone
    assert reader.load(file).flows == 30_000
    reader.load(tmp_path / "record")
    assert 0 < totals(reader)[0] < 30_000


def test_files_in_the_making_are_told_from_others(reader, made, tmp_path, caplog):
    file, _ = made
    shutil.copy(file, tmp_path / "nfcapd.current.4711")
    (tmp_path / "begun").write_bytes(
        bytes(struct.pack("<HHIqBBHIqII", 0xA50C, 2, 0x01070100, START, 0, 0, 0, 0, 0, 0, 0))
    )
    for name in ("nfcapd.current.4711", "begun"):
        with pytest.raises(UnfinishedFileError, match="still being written"):
            reader.load(tmp_path / name)
    lab.write(tmp_path / "nothing", [])
    loaded = reader.load(tmp_path / "nothing")
    assert (loaded.flows, loaded.damage, loaded.info.last) == (0, None, None)
    assert not caplog.messages
    (tmp_path / "notes.txt").write_text("no flows")
    (tmp_path / "tiny").write_text("")
    assert [is_flow_file(path) for path in (file, tmp_path / "begun", tmp_path / "notes.txt", tmp_path / "tiny")] == [
        True,
        True,
        False,
        False,
    ]
    with pytest.raises(OSError):
        is_flow_file(tmp_path / "gone")


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_what_says_nothing_about_the_file_is_an_error_to_try_again_after(made, tmp_path):
    file, _ = made
    programs = {
        "Is it installed": (file, str(tmp_path / "none")),
        "ended by signal 9": (
            file,
            script(tmp_path / "a", 'case "$*" in *-I*) exec nfdump "$@";; *) kill -9 $$;; esac'),
        ),
    }
    with duckdb.connect() as connection:
        for message, (path, program) in programs.items():
            reader = FlowReader(connection, program)
            with pytest.raises(NFDumpError, match=message) as caught:
                reader.load(path)
            assert not isinstance(caught.value, DamagedFileError)
            reader.close()
        reader = FlowReader(connection)
        with pytest.raises(NFDumpError, match="No such file"):
            reader.load(tmp_path / "gone")
        assert isinstance(reader.load(file), Loaded)
        reader.close()


def test_a_killed_nfdump_is_never_half_a_file(made, tmp_path):
    """Killed while it writes: what had come must not pass for all."""
    file, _ = made
    written = tmp_path / "written"
    half = f'nfdump "$@" > {written}; head -c 1048640 {written}; kill -9 $$'
    killed = script(
        tmp_path / "nfdump", f'case "$*" in *-I*) exec nfdump "$@";; *stdout*) {half};; *) kill -9 $$;; esac'
    )
    with duckdb.connect() as connection:
        reader = FlowReader(connection, killed)
        with pytest.raises(NFDumpError, match="signal 9"):
            reader.load(file)
        reader.close()


def test_where_memory_is_used_up_nothing_goes_on(made):
    with duckdb.connect(config={"memory_limit": "2MB", "temp_directory": ""}) as connection:
        reader = FlowReader(connection)
        with pytest.raises(duckdb.OutOfMemoryException):
            reader.load(made[0])
        assert not psutil.Process().children()
        connection.execute("SET memory_limit = '400MB'")
        assert reader.load(made[0]).flows == 30_000
        reader.close()


def test_streams_are_ended_when_nobody_reads_on(made, caplog):
    dumper = Dumper()
    dumper.set_where(filename=made[0])
    with caplog.at_level(logging.WARNING), dumper.stream() as stream:
        assert stream.read(2) == b"\x0c\xa5"
        assert len(stream.read()) > 30_000 * 76
    assert not caplog.messages
    with pytest.raises(RuntimeError), dumper.stream() as stream:
        raise RuntimeError


def test_no_nfdump_is_left_when_we_are_killed(made):
    """It could be written to for ever: nfdump holds the other end of its output open as well."""
    file, _ = made
    code = (
        "import sys; from dnsvigil.sources.netflow import Dumper; dumper = Dumper();"
        f"dumper.set_where(filename={str(file)!r}); stream = dumper.stream(); stream.__enter__().read(2);"
        "print('reading', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reading:
        assert reading.stdout.readline() == b"reading\n"
        (nfdump,) = psutil.Process(reading.pid).children()
        assert nfdump.name() == "nfdump"
        reading.kill()
    nfdump.wait(10)
