"""Flow files of a real nfpcapd and nfcapd, read by a real nfdump."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from pathlib import Path

import psutil
import pytest

from dnsvigil.sources import netflow
from dnsvigil.sources.netflow import DamagedFileError, Dumper, NFDumpError, flow_files, search_file
from exporters import pcap
from exporters.running import eventually
from lab.capture import Capture
from lab.namespaces import Namespaces, why_not

pytestmark = pytest.mark.skipif(
    not (shutil.which("nfdump") and shutil.which("nfpcapd")), reason="needs nfdump with nfpcapd"
)

START = 1_237_808_940  # 2009-03-23 11:49:00 UTC
QUERIES = 60
QUERY_BYTES, ANSWER_BYTES = 56, 98  # of an IP packet
ROW = "2023-11-14 22:13:20.123|2023-11-14 22:13:20.456|17|192.0.2.1|1024|192.0.2.53|53|1|2|3|4|0|0|1|80|1|0|0"
SERVER, CLIENT = IPv4Address("192.0.2.53"), IPv4Address("198.51.100.7")


@pytest.fixture(autouse=True)
def in_utc(monkeypatch):
    local_time(monkeypatch, "UTC")
    yield
    monkeypatch.undo()
    time.tzset()


def local_time(monkeypatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()


def capture(folder: Path, start: int = START, queries: int = QUERIES) -> Path:
    """A flow file of so many queries and answers, one of each a second."""
    folder.mkdir(parents=True, exist_ok=True)
    pcap.write(folder / "dns.pcap", ([b"%d" % n, b"example"] for n in range(10, 10 + queries)), start)
    command = ["nfpcapd", "-r", "dns.pcap", "-w", ".", "-t", "36000"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    (folder / "dns.pcap").unlink()
    (file,) = folder.glob("nfcapd.*")
    return file


@pytest.fixture(scope="module")
def flows(tmp_path_factory) -> Path:
    return capture(tmp_path_factory.mktemp("flows"))


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def pretending(path: Path, script: str) -> Dumper:
    """A dumper whose nfdump is a shell script."""
    return Dumper(executable_path=str(program(path / "bin" / "nfdump", script)))


@pytest.fixture
def ssh(tmp_path, monkeypatch) -> Path:
    """A stand-in for ssh, which hands the words over as ssh does: put together, to a shell. Return its log."""
    log = tmp_path / "ssh.log"
    program(tmp_path / "path" / "ssh", f'shift\necho "$1" >> {log}\nshift\nexec sh -c "$*"')
    monkeypatch.setenv("PATH", f"{tmp_path}/path:{os.environ['PATH']}")
    return log


def test_rows_say_what_was_in_the_packets(flows):
    rows = sorted(search_file(flows), key=lambda row: (row["first"], row["dstport"]))
    assert len(rows) == 2 * QUERIES
    for number, (query, answer) in enumerate(zip(rows[::2], rows[1::2], strict=True)):
        common = {"prot": "udp", "flags": 0, "tos": 0, "af": 2, "packets": 1, "flows": 1}
        none = dict.fromkeys(("srcas", "dstas", "input", "output", "out_packets", "out_bytes"), 0)
        asked = datetime.fromtimestamp(START + number)
        port = 10_000 + number
        assert query == common | none | {
            "first": asked,
            "last": asked,
            "srcip": CLIENT,
            "srcport": port,
            "dstip": SERVER,
            "dstport": 53,
            "bytes": QUERY_BYTES,
        }
        assert (answer["srcip"], answer["srcport"], answer["dstport"]) == (SERVER, 53, port)
        assert answer["bytes"] == ANSWER_BYTES
        assert answer["first"] == datetime.fromtimestamp(START + number + 0.012)


PYNFDUMP_SCRIPT = """
d = pynfdump.Dumper("profiles", sources=["podium"], remote_host="glenn")
d.set_where(start="2009-03-23 11:00")
ip = "192.0.2.53"

records = d.search("dst ip %s" % ip)
for r in records:
    print(r["last"], r["dstip"], r["dstport"], r["bytes"])

records = d.search("dst ip %s" % ip, aggregate="dstip, dstport")
for r in records:
    print(r["last"], r["dstip"], r["dstport"], r["bytes"])

records = d.search("dst ip %s" % ip, aggregate=["dstip", "dstport"])
for r in records:
    print(r["last"], r["dstip"], r["dstport"], r["bytes"])

for r in d.search("", statistics="port", statistics_order="bytes", limit=1):
    print(r["port"], r["bytes"])
"""


def test_a_script_written_for_pynfdump_runs_with_only_its_import_changed(flows, tmp_path, ssh):
    folder = tmp_path / "profiles" / "live" / "podium" / "2009" / "03" / "23"
    folder.mkdir(parents=True)
    shutil.copy(flows, folder / "nfcapd.200903231100")
    shutil.copy(flows, folder / "nfcapd.200903231055")
    (tmp_path / "script.py").write_text("from dnsvigil.sources import netflow as pynfdump\n" + PYNFDUMP_SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
    )
    *each, aggregated, again, statistic = done.stdout.splitlines()
    assert sorted(each) == [f"2009-03-23 11:49:{n:02} 192.0.2.53 53 {QUERY_BYTES}" for n in range(QUERIES)]
    assert aggregated == again == f"2009-03-23 11:49:59 192.0.2.53 53 {QUERIES * QUERY_BYTES}"
    assert statistic == f"53 {QUERIES * (QUERY_BYTES + ANSWER_BYTES)}"
    assert ssh.read_text().split() == ["glenn"] * 4


def test_aggregates_keep_what_they_are_asked_to(flows):
    both = sorted(search_file(flows, aggregate="srcip, proto"), key=lambda row: row["bytes"])
    assert [(row["srcip"], row["prot"], row["flows"], row["bytes"]) for row in both] == [
        (CLIENT, "udp", QUERIES, QUERIES * QUERY_BYTES),
        (SERVER, "udp", QUERIES, QUERIES * ANSWER_BYTES),
    ]
    assert {(row["dstip"], row["srcport"], row["dstport"]) for row in both} == {(IPv4Address("0.0.0.0"), 0, 0)}
    (net,) = search_file(flows, "src port 53", aggregate=["srcip4/16"])
    assert (net["srcip"], net["packets"]) == (IPv4Address("192.0.0.0"), QUERIES)
    connections = list(search_file(flows, aggregate=True))
    assert len(connections) == 2 * QUERIES
    assert connections[0]["srcport"] + connections[0]["dstport"] > 10_000


def test_statistics_have_the_element_under_its_own_name(flows):
    first, second = search_file(flows, statistics="srcip", statistics_order="bytes")
    assert first == {
        "af": 2,
        "first": datetime.fromtimestamp(START),
        "last": datetime.fromtimestamp(START + QUERIES - 1),
        "prot": "ip",
        "srcip": SERVER,
        "flows": QUERIES,
        "packets": QUERIES,
        "bytes": QUERIES * ANSWER_BYTES,
        "pps": 1,
        "bps": 8 * QUERIES * ANSWER_BYTES // (QUERIES - 1),
        "bpp": ANSWER_BYTES,
    }
    assert second["srcip"] == CLIENT
    (protocol,) = search_file(flows, statistics="proto")
    assert (protocol["proto"], protocol["prot"], protocol["flows"]) == (17, "udp", 2 * QUERIES)
    assert list(search_file(flows, "port 1", statistics="port")) == []


def test_limits_count_what_comes_out(flows):
    assert len(list(search_file(flows, "dst port 53", limit=7))) == 7
    aggregated = list(search_file(flows, aggregate="dstip", limit=1))
    assert [row["flows"] for row in aggregated] == [QUERIES]
    assert len(list(search_file(flows, statistics="dstport", limit=12))) == 12
    assert len(list(search_file(flows, statistics="dstport"))) == 10


def test_filter_files_and_totals(flows, tmp_path):
    filter_file = tmp_path / "filter"
    filter_file.write_text("src port 53 and bytes > 90\n")
    assert len(list(search_file(flows, filterfile=filter_file))) == QUERIES
    stats = netflow.flow_stats_file(flows)
    assert (stats["flows"], stats["flows_udp"], stats["first"]) == (2 * QUERIES, 2 * QUERIES, START)
    assert stats["ident"] == "none"


def test_times_stay_apart_when_the_clock_is_put_back(tmp_path, monkeypatch):
    summer, winter = 1_698_539_400, 1_698_543_000  # 02:30 in Berlin, and 02:30 again
    files = [capture(tmp_path / str(start), start, 1) for start in (summer, winter)]
    local_time(monkeypatch, "Europe/Berlin")
    for start, file in zip((summer, winter), files, strict=True):
        for row in search_file(file, "dst port 53"):
            assert (row["first"].hour, row["first"].minute) == (2, 30)
            assert row["first"].timestamp() == start
        (row,) = search_file(file, statistics="proto")
        assert row["first"].timestamp() == start


def test_files_are_found_by_time_in_the_folders_of_nfsen(flows, tmp_path):
    for name in ("a/2009/03/23", "b/2009/03/23"):
        folder = tmp_path / "live" / name
        folder.mkdir(parents=True)
        for minute in ("1150", "1155", "1200"):
            shutil.copy(flows, folder / f"nfcapd.20090323{minute}")
    both = Dumper(str(tmp_path), sources="a, b")
    found = {}
    for start, end in ((None, None), ("2009-03-23 11:55", None), ("2009-03-23T11:50", datetime(2009, 3, 23, 11, 55))):
        both.set_where(start=start, end=end)
        found[str(start), str(end)] = sum(1 for _ in both.search())
    assert [count // (2 * QUERIES) for count in found.values()] == [6, 4, 4]
    both.set_where(dirfiles=tmp_path / "live" / "a" / "2009" / "03" / "23")
    with pytest.raises(NFDumpError, match=r"nfcapd\.200903231152"):
        missing = Dumper(str(tmp_path), sources=["a"])
        missing.set_where(start="2009-03-23 11:52")
        list(missing.search())


def test_profiles_of_nfsen(tmp_path, ssh):
    (tmp_path / "dns").mkdir()
    (tmp_path / "live").mkdir()
    (tmp_path / "notes.txt").write_text("no profile")
    (tmp_path / "dns" / "profile.dat").write_text(
        "# written by hand\n \nname = dns\ntcreate = 1237808940\ndescription = \nfilter = port = 53\n"
        "channel = questions:+:1:#ff0000:upstream1\nchannel = answers:-:1:#00ff00:upstream1:upstream2\n"
    )
    for host in (None, "nfsen.example"):
        dumper = Dumper(str(tmp_path), profile="dns", remote_host=host)
        assert {"dns", "live"} <= set(dumper.list_profiles())
        assert "notes.txt" not in dumper.list_profiles()
        data = dumper.get_profile_data()
        assert data["sourcelist"] == ["questions", "answers"]
        assert (data["name"], data["tcreate"], data["filter"]) == ("dns", 1_237_808_940, "port = 53")
        with pytest.raises(NFDumpError, match=r"live/profile\.dat"):
            dumper.get_profile_data("live")


def test_nothing_is_left_to_the_remote_shell(flows, tmp_path, ssh):
    odd = tmp_path / "it's $(touch broken) ; here"
    shutil.copy(flows, odd)
    dumper = Dumper(remote_host="collector")
    dumper.set_where(filename=odd)
    assert len(list(dumper.search("dst port 53 and (proto udp or proto tcp)"))) == QUERIES
    with pytest.raises(NFDumpError, match=r"nfdump on collector.*syntax error"):
        list(dumper.search("port 53; touch broken"))
    assert not (tmp_path / "broken").exists()
    assert not Path("broken").exists()
    (tmp_path / "path" / "ssh").write_text("#!/bin/sh\necho 'ssh: connect to host collector: refused' >&2\nexit 255\n")
    with pytest.raises(NFDumpError, match="connect to host collector: refused"):
        list(dumper.search())


def test_standard_input_can_be_searched_more_than_once(flows):
    script = (
        "from dnsvigil.sources.netflow import Dumper\nd = Dumper()\nd.set_where(stdin=True)\n"
        "print(sum(1 for _ in d.search('dst port 53')), sum(1 for _ in d.search()))"
    )
    # cat makes it a pipe, in which nothing can seek
    done = subprocess.run(
        f'cat {flows} | {sys.executable} -c "{script}"', shell=True, check=True, capture_output=True, timeout=60
    )
    assert done.stdout.split() == [b"%d" % QUERIES, b"%d" % (2 * QUERIES)]


@pytest.mark.parametrize(
    ("where", "search", "message"),
    [
        ({}, {"query": "port port"}, "syntax error at 'port'"),
        ({}, {"query": "-x foo"}, "syntax error"),
        ({}, {"statistics": "foo"}, "foo"),
        ({}, {"aggregate": "foo"}, "foo"),
        ({}, {"filterfile": "/nonexistent/filter"}, "/nonexistent/filter"),
        ({"filename": "/nonexistent/nfcapd"}, {}, "/nonexistent/nfcapd"),
        ({"dirfiles": "/nonexistent"}, {}, "/nonexistent"),
    ],
)
def test_what_nfdump_says_against_a_search_is_passed_on(flows, where, search, message):
    dumper = Dumper()
    dumper.set_where(**(where or {"filename": flows}))
    with pytest.raises(NFDumpError, match=message) as caught:
        list(dumper.search(**search))
    assert not isinstance(caught.value, DamagedFileError)


def test_arguments_that_do_not_go_together():
    dumper = Dumper()
    with pytest.raises(NFDumpError, match="not both"):
        dumper.search(aggregate="srcip", statistics="srcip")
    for where in ({"end": "2024-01-01"}, {"start": "2024-01-01", "filename": "x"}, {"dirfiles": "x", "stdin": True}):
        with pytest.raises(NFDumpError, match="one of"):
            dumper.set_where(**where)
    with pytest.raises(NFDumpError, match='"yesterday" is not a time'):
        dumper.set_where(start="yesterday")
    with pytest.raises(NFDumpError, match="another host"):
        Dumper(remote_host="x").set_where(stdin=True)


def test_a_source_whose_folder_vanished_is_reported_after_the_rows_of_the_others(flows, tmp_path):
    (tmp_path / "live" / "here").mkdir(parents=True)
    shutil.copy(flows, tmp_path / "live" / "here" / "nfcapd.200903231149")
    rows, error = until_error(Dumper(str(tmp_path), sources=["here", "gone"]))
    assert len(rows) == 2 * QUERIES
    assert "live/gone" in str(error)


def until_error(dumper: Dumper, filename: Path | None = None) -> tuple[list[netflow.Flow], NFDumpError | None]:
    if filename:
        dumper.set_where(filename=filename)
    rows = []
    try:
        for row in dumper.search():
            rows.append(row)
    except NFDumpError as error:
        return rows, error
    return rows, None


def test_damaged_files_give_what_can_be_read_and_then_an_error(flows, tmp_path):
    whole = flows.read_bytes()
    at = whole.index((1000 * (START + 40)).to_bytes(8, "little"))
    damages = {
        "empty": (b"", 0),
        "short": (whole[:20], 0),
        "truncated": (whole[: len(whole) // 2], 0),
        "text": (b"this is no flow file, but some text\n" * 20, 0),
        # the sizes of the element that holds this time
        "record": (whole[: at - 4] + b"\xff\xff\xff\xff" + whole[at:], None),
        # this time lies in a year that there is not
        "time": (whole[:at] + b"\xff\xff\xff\xff\xff\xff\xff\x3f" + whole[at + 8 :], 2 * QUERIES - 1),
    }
    for name, (content, expected) in damages.items():
        (tmp_path / name).write_bytes(content)
        rows, error = until_error(Dumper(), tmp_path / name)
        assert isinstance(error, DamagedFileError), name
        if expected is not None:
            assert len(rows) == expected, name
        else:
            assert 0 < len(rows) < 2 * QUERIES


def test_a_damaged_file_among_others_is_never_passed_over(flows, tmp_path):
    for minute in range(3):
        shutil.copy(flows, tmp_path / f"nfcapd.20090323115{minute}")
    (tmp_path / "nfcapd.200903231151").write_bytes(flows.read_bytes()[:500])
    dumper = Dumper()
    dumper.set_where(dirfiles=tmp_path)
    rows, error = until_error(dumper)
    assert len(rows) == 2 * QUERIES
    assert isinstance(error, DamagedFileError)
    assert "nfcapd.200903231151" in str(error)
    one_by_one = [until_error(Dumper(), file) for file in flow_files(tmp_path)]
    assert [(len(rows), type(error)) for rows, error in one_by_one] == [
        (2 * QUERIES, type(None)),
        (0, DamagedFileError),
        (2 * QUERIES, type(None)),
    ]


def test_the_real_files(shared_data, caplog):
    folder = shared_data / "netflow" / "chrispassas"
    expected = {"testdata/nfcapd-large-bz2": (100_000, 1_075), "devtestdata/nfcapd.sample": (3_018, 1_028)}
    for name, counts in expected.items():
        searches = (search_file(folder / name), search_file(folder / name, "port 53"))
        assert tuple(sum(1 for _ in rows) for rows in searches) == counts
    # nfdump has something to say about each of thousands of old records
    assert len(caplog.messages) < 20
    assert until_error(Dumper(), folder / "testdata/nfcapd-empty") == ([], None)
    rows, error = until_error(Dumper(), folder / "testdata/nfcapd-corrupt")
    assert rows == []
    assert isinstance(error, DamagedFileError)
    assert "Corrupt data file" in str(error)


def test_rows_add_up_to_the_statistics_of_nfdump(shared_data):
    file = shared_data / "netflow" / "chrispassas" / "testdata" / "nfcapd-large-bz2"
    some = "ipv6 or port 53 or proto icmp"
    packets: Counter[IPv4Address | IPv6Address] = Counter()
    octets: Counter[IPv4Address | IPv6Address] = Counter()
    flows: Counter[IPv4Address | IPv6Address] = Counter()
    pings = 0
    for row in search_file(file, some):
        packets[row["srcip"]] += row["packets"]
        octets[row["srcip"]] += row["bytes"]
        flows[row["srcip"]] += 1
        pings += row["prot"] == "icmp" and row["dstport"] == 8 * 256
    assert {ip.version for ip in flows} == {4, 6}
    statistics = list(search_file(file, some, statistics="srcip", statistics_order="bytes", limit=500))
    assert len(statistics) == 500
    for row in statistics:
        ip = row["srcip"]
        assert (row["flows"], row["packets"], row["bytes"]) == (flows[ip], packets[ip], octets[ip])
        assert row["af"] == (2 if ip.version == 4 else 10)
    assert pings == sum(1 for _ in search_file(file, "proto icmp and icmp-type 8 and icmp-code 0")) > 100
    for aggregated in search_file(file, "ipv6", aggregate="srcip6/64", limit=50):
        assert aggregated["af"] == 10
        assert aggregated["dstip"] == IPv6Address("::")


def test_an_nfdump_that_is_missing_or_another_program(tmp_path):
    assert "Is it installed?" in str(until_error(Dumper(executable_path=str(tmp_path / "nfdump")))[1])
    other = pretending(tmp_path, 'echo "2023-11-14 22:13:20.123|17|192.0.2.1"')
    rows, error = until_error(other)
    assert rows == []
    assert "cannot be read" in str(error)


def test_the_folder_of_nfdump_is_enough(flows):
    nfdump = shutil.which("nfdump")
    assert nfdump
    rows, error = until_error(Dumper(executable_path=str(Path(nfdump).parent)), flows)
    assert (len(rows), error) == (2 * QUERIES, None)


def test_an_nfdump_that_is_killed_half_way(tmp_path):
    rows, error = until_error(pretending(tmp_path, f"echo '{ROW}'; echo '{ROW}'; kill -9 $$"))
    assert len(rows) == 2
    assert "ended by signal 9" in str(error)
    assert not isinstance(error, DamagedFileError)
    rows, error = until_error(pretending(tmp_path, f"echo '{ROW}'; kill -11 $$"))
    assert len(rows) == 1
    assert isinstance(error, DamagedFileError)


def test_other_versions_write_flags_missing_times_and_icmp_otherwise(tmp_path):
    cells = ROW.split("|")
    cells[1], cells[2], cells[6], cells[11] = "0000-00-00 00:00:00.000", "1    ", "   3.1", "CE.AP.SF"
    old, new = pretending(tmp_path / "a", f"echo '{'|'.join(cells)}'"), pretending(tmp_path / "b", f"echo '{ROW}'")
    (row,) = old.search()
    assert (row["last"], row["prot"]) == (datetime.fromtimestamp(0), "icmp")
    assert (row["dstport"], row["flags"]) == (3 * 256 + 1, 0b11011011)
    (row,) = new.search()
    assert (row["prot"], row["flags"], row["srcas"], row["output"]) == ("udp", 0, 1, 4)
    assert row["first"] == datetime(2023, 11, 14, 22, 13, 20, 123_000)


def test_aggregated_rows_are_asked_only_for_what_they_keep(tmp_path):
    # as nfdump 1.7.5 and later insist
    refusing = f"""
case "$*" in *%pr*|*%sp*|*%sas*) echo "Output token not allowed with current aggregation"; exit 1;; esac
echo '{"|".join(ROW.split("|")[column] for column in (0, 1, 13, 14, 15, 5, 6))}'
"""
    (row,) = pretending(tmp_path, refusing).search(aggregate="dstip,dstport")
    assert (row["dstip"], row["dstport"], row["packets"], row["bytes"], row["flows"]) == (SERVER, 53, 1, 80, 1)
    assert (row["prot"], row["srcip"], row["srcport"]) == ("ip", IPv4Address("0.0.0.0"), 0)


def test_messages_are_counted_and_never_stop_the_rows(tmp_path, caplog):
    script = f"""
i=0
while [ $i -lt 3000 ]; do
    echo "Skip unknown record type 9" >&2; echo >&2; echo "Record: $i Time error - last < first" >&2
    i=$((i + 1))
done
echo '{ROW}'; echo 'No matching flows'
i=0
while [ $i -lt 30 ]; do echo "odd message $i" >&2; i=$((i + 1)); done
"""
    with caplog.at_level(logging.WARNING):
        assert len(list(pretending(tmp_path, script).search())) == 1
    assert "nfdump: Skip unknown record type 9 (3000 times)" in caplog.messages
    assert "nfdump: record Time error - last < first (3000 times)" in caplog.messages
    assert "nfdump: other messages (12 times)" in caplog.messages
    assert len(caplog.messages) == 21


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def test_closing_the_iterator_ends_nfdump_and_memory_does_not_grow(tmp_path):
    assert not children()
    endless = pretending(tmp_path, f"exec yes '{ROW}'")
    tracemalloc.start()
    try:
        rows = endless.search()
        assert sum(row["bytes"] for row in islice(rows, 20_000)) == 20_000 * 80
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert len(children()) == 1
    rows.close()
    assert not children()
    for _ in pretending(tmp_path, f"echo '{ROW}'; exec sleep 500").search():
        break
    assert not children()


def test_files_in_the_making_are_left_alone(tmp_path):
    names = ["nfcapd.202403310155", "nfcapd.20240331015530", "nfcapd.202403310200", "nfcapd.202403310205+0200"]
    (tmp_path / "2024" / "03").mkdir(parents=True)
    for name in [*names, "nfcapd.current.4711", "nfcapd.current", "nfcapd.202403310200.tmp", ".nfstat"]:
        (tmp_path / "2024" / "03" / name).touch()
    assert [path.name for path in flow_files(tmp_path)] == names
    with pytest.raises(NFDumpError, match="gone"):
        flow_files(tmp_path / "gone")


ANSWERER = """
import socket, threading
def serve(family, address):
    server = socket.socket(family, socket.SOCK_DGRAM)
    server.bind((address, 53))
    while True:
        _, peer = server.recvfrom(512)
        server.sendto(b"a" * 200, peer)
threading.Thread(target=serve, args=(socket.AF_INET6, "2001:db8::53"), daemon=True).start()
serve(socket.AF_INET, "192.0.2.53")
"""
ASKER = """
import socket
for family, address in ((socket.AF_INET, "192.0.2.53"), (socket.AF_INET6, "2001:db8::53")):
    for _ in range(20):
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(1)
            for _ in range(3):
                for attempt in range(20):
                    try:
                        client.sendto(b"q" * 40, (address, 53))
                        client.recv(512)
                        break
                    except OSError:
                        pass
"""


def test_from_the_wire_through_softflowd_and_nfcapd(tmp_path):
    if reason := why_not(["ip", "tcpdump", "softflowd", "nfcapd"]):
        pytest.skip(reason)
    folder = tmp_path / "flows"
    folder.mkdir()
    with Namespaces() as net:
        net.bridge("dns")
        net.host("server", {"dns": ["192.0.2.53/24", "2001:db8::53/64"]})
        net.host("client", {"dns": ["192.0.2.7/24", "2001:db8::7/64"]})
        captured = Capture(net, "dns", tmp_path)
        net.start("server", [sys.executable, "-c", ANSWERER], tmp_path / "server.log")
        net.call("client", [sys.executable, "-c", ASKER])
        packets = captured.stop()
        started = time.time()
        nfcapd = ["nfcapd", "-w", str(folder), "-p", "9995", "-b", "127.0.0.1", "-t", "3600"]
        collector = net.start("server", [*nfcapd, "-P", str(tmp_path / "pid")], tmp_path / "nfcapd.log")
        eventually(lambda: any(folder.iterdir()))
        softflowd = [
            "softflowd",
            "-d",
            "-6",
            "-r",
            str(captured.file),
            "-n",
            "127.0.0.1:9995",
            "-v",
            "10",
            "-A",
            "milli",
        ]
        net.call("server", [*softflowd, "-c", "none"])
        assert flow_files(folder) == []
        time.sleep(0.5)  # until nfcapd has taken in what softflowd sent last
        collector.stop()
    (file,) = flow_files(folder)
    rows = list(search_file(file))
    assert packets >= 240
    assert sum(row["packets"] for row in rows) == packets
    assert Counter(row["af"] for row in rows) == {2: 40, 10: 40}
    assert all(abs(row["first"].timestamp() - started) < 60 for row in rows)
    for statistic in search_file(file, statistics="ip"):
        same = [row for row in rows if statistic["ip"] in (row["srcip"], row["dstip"])]
        assert statistic["flows"] == len(same) == 40
        assert statistic["packets"] == sum(row["packets"] for row in same)
        assert statistic["bytes"] == sum(row["bytes"] for row in same)
    assert netflow.flow_stats_file(file)["packets"] == packets
