"""The samples against the truth, a short run of the lab itself, replay, generation, and that nothing is left behind."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from lab import faults, make, namespaces, replay, traffic, truth, world, zeeklog
from lab.generate import Generated, Stream
from lab.questions import Question, awkward, ordinary

TESTS = Path(__file__).parents[1]
SAMPLES = Path(__file__).parent / "samples"
START = 1_700_000_000


@pytest.fixture(scope="module")
def needs_namespaces() -> None:
    if reason := namespaces.why_not(["ip"]):
        pytest.skip(reason)


def truth_of(folder: Path) -> truth.Truth:
    return cast(truth.Truth, json.loads((folder / "truth.json").read_text()))


def failing(made: truth.Truth, server: str, zone: str) -> float:
    counts = made["servers"][server][zone]
    return counts["rcodes"].get("SERVFAIL", 0) / counts["queries"]


class TestSamples:
    @pytest.mark.parametrize("name", ["dns.log.gz", "dns.json.gz"])
    def test_log_says_what_dnsperf_saw(self, name: str) -> None:
        """Per server, zone and outcome, to the record."""
        assert truth.differences(truth.tally(truth_of(SAMPLES)), truth.from_zeek(SAMPLES / name)) == []

    def test_both_forms_hold_the_same_records(self) -> None:
        same_records(SAMPLES / "dns.log.gz", SAMPLES / "dns.json.gz")

    def test_hold_the_faults_that_they_are_for(self) -> None:
        made = truth_of(SAMPLES)
        unbound, bind = world.UNBOUND.clients[0], world.BIND.clients[0]
        assert sum(zone["queries"] for server in made["servers"].values() for zone in server.values()) > 30_000
        assert failing(made, unbound, "shop.example") == pytest.approx(0.12, abs=0.003)
        assert failing(made, bind, "shop.example") == pytest.approx(0.01, abs=0.003)
        assert failing(made, bind, "news.example") == pytest.approx(0.08, abs=0.003)
        assert failing(made, unbound, "news.example") == pytest.approx(0.02, abs=0.003)
        assert failing(made, bind, "lame.example") == 1
        assert failing(made, unbound, "example.com") == 0
        assert made["servers"][bind]["flood.example"]["rcodes"]["NXDOMAIN"] >= 3000
        for server in (unbound, bind):
            silent = made["servers"][server]["drop.example"]
            assert silent["unanswered"] / silent["queries"] == pytest.approx(0.2, abs=0.01)

    def test_outage_shows_when_it_happened(self) -> None:
        (outage,) = [event for event in truth_of(SAMPLES)["events"] if "bank.example" in event["zones"]]
        before: Counter[str | None] = Counter()
        after: Counter[str | None] = Counter()
        for record in zeeklog.records(SAMPLES / "dns.log.gz"):
            # Resolvers go on giving answers that they remember: name servers for an hour, all else for its TTL.
            if truth.zone_or_outside(record["query"]) == "bank.example" and record["qtype_name"] not in {"NS", "*"}:
                if record["ts"] < outage["time"]:
                    before[record.get("rcode_name")] += 1
                elif record["ts"] > outage["time"] + 2 * world.TTL:
                    after[record.get("rcode_name")] += 1
        assert before["SERVFAIL"] == 0 < before["NOERROR"]
        assert set(after) == {"SERVFAIL"}
        assert after.total() > 100

    def test_hold_awkward_names_transports_and_types(self) -> None:
        seen = list(zeeklog.records(SAMPLES / "dns.log.gz"))
        names = {record.get("query", "") for record in seen}
        for label in ("a space", '"quoted"', "back\\slash", "com,ma", "tab\there", "nul\\x00here", "new\nline", "{}"):
            assert f"{label}.odd.example" in names
        assert "\\xff\\xfe.odd.example" in names
        assert "bücher.odd.example" in names
        assert "" in names
        assert "router" in names
        # 255 octets on the wire are 253 characters.
        assert max(len(name) for name in names if name.startswith("aaa")) == 253
        assert {record["proto"] for record in seen} == {"udp", "tcp"}
        assert {":" in record["id.orig_h"] for record in seen} == {True, False}
        wanted = {"A", "AAAA", "MX", "TXT", "PTR", "HTTPS", "SOA", "NS"}
        assert wanted <= {record.get("qtype_name") for record in seen}
        assert 255 in {record.get("qtype") for record in seen}

    def test_are_small(self) -> None:
        assert sum(file.stat().st_size for file in SAMPLES.iterdir()) <= 1_500_000


def same_records(tsv: Path, as_json: Path) -> None:
    """Hold the conversion from TSV to JSON against what Zeek itself wrote: times to the microsecond, all else exact."""
    for ours, zeeks in zip(zeeklog.records(tsv), zeeklog.records(as_json), strict=True):
        assert ours.keys() == zeeks.keys()
        for key, value in ours.items():
            assert value == (pytest.approx(zeeks[key], abs=1e-6) if key in {"ts", "rtt"} else zeeks[key])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a short run of the whole lab makes."""
    if reason := namespaces.why_not(make.TOOLS):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("lab") / "out"
    make.make(folder, seconds=make.SHORTEST_SECONDS)
    return folder


class TestRealRun:
    def test_zeek_says_what_dnsperf_saw(self, made: Path) -> None:
        told = truth_of(made)
        assert set(told["servers"]) == {address for resolver in world.RESOLVERS for address in resolver.clients}
        assert truth.differences(truth.tally(told), truth.from_zeek(made / "dns.log")) == []
        assert truth.differences(truth.tally(told), truth.from_zeek(made / "dns.json")) == []
        assert failing(told, world.UNBOUND.clients[0], "shop.example") == pytest.approx(0.12, abs=0.02)
        assert failing(told, world.BIND.clients[0], "bank.example") > 0

    def test_zeeks_json_is_as_the_lab_writes_it(self, made: Path) -> None:
        same_records(made / "dns.log", made / "dns.json")

    def test_upstream_sees_the_lame_server_refuse(self, made: Path) -> None:
        lame = world.server_addresses(world.LAME)
        refused = [record for record in zeeklog.records(made / "upstream-dns.log") if record["id.resp_h"] in lame]
        assert {record.get("rcode_name") for record in refused} == {"REFUSED"}

    def test_leaves_no_namespace(self, made: Path) -> None:
        assert own_namespaces(os.getpid()) == []


def own_namespaces(pid: int) -> list[str]:
    return [name for name in namespaces.existing() if name.startswith(f"{namespaces.PREFIX}{pid}-")]


_HOLD_A_NAMESPACE = """
import signal, sys, time
from pathlib import Path
from lab.namespaces import Namespaces
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
with Namespaces() as net:
    net.host("one", {})
    net.start("one", ["sleep", "600"], Path(sys.argv[1]))
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.usefixtures("needs_namespaces")
class TestNamespaces:
    @pytest.fixture
    def holder(self, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
        """Another process, with a namespace and a program in it."""
        command = [sys.executable, "-c", _HOLD_A_NAMESPACE, str(tmp_path / "sleep.log")]
        with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
            process.terminate()

    def test_hosts_on_a_bridge_reach_each_other(self) -> None:
        ask = "import socket; socket.create_connection(('{}', 5353), 5).close()"
        answer = (
            "import socket; socket.create_server(('::', 5353), family=socket.AF_INET6, dualstack_ipv6=True).accept()"
        )
        with namespaces.Namespaces() as net:
            net.bridge("clients")
            for number in (1, 2):
                net.host(f"host{number}", {"clients": [f"198.51.100.{number}/24", f"2001:db8:c::{number}/64"]})
            for address in ("198.51.100.2", "2001:db8:c::2"):
                server = net.start("host2", [sys.executable, "-c", answer], Path(os.devnull))
                wait_for(lambda: ":5353" in net.call("host2", ["ss", "-Hltn"]))
                net.call("host1", [sys.executable, "-c", ask.format(address)])
                server.wait(5)

    def test_are_gone_after_a_failure_with_all_that_ran_in_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(namespaces, "STOP_SECONDS", 0.5)
        started = []
        with pytest.raises(RuntimeError, match="on purpose"), namespaces.Namespaces() as net:
            net.bridge("clients")
            net.host("host", {"clients": ["198.51.100.1/24"]})
            # It ignores SIGTERM, and has a child that outlives it.
            script = "trap '' TERM; sleep 600 & echo $!; wait"
            started.append(net.start("host", ["bash", "-c", script], tmp_path / "log"))
            wait_for(lambda: (tmp_path / "log").read_text().strip())
            child = int((tmp_path / "log").read_text())
            raise RuntimeError("on purpose")
        assert not started[0].running
        wait_for(lambda: not runs(child))
        assert own_namespaces(os.getpid()) == []

    def test_are_gone_after_a_host_that_cannot_be_made(self) -> None:
        with pytest.raises(namespaces.LabError, match="address"), namespaces.Namespaces() as net:
            net.bridge("clients")
            net.host("host", {"clients": ["198.51.100.1/24", "no address"]})
        assert own_namespaces(os.getpid()) == []

    def test_are_gone_after_sigterm(self, holder: subprocess.Popen[str]) -> None:
        assert own_namespaces(holder.pid)
        holder.terminate()
        holder.wait(20)
        assert own_namespaces(holder.pid) == []

    def test_of_a_lab_that_was_killed_are_removed_by_the_next(self, holder: subprocess.Popen[str]) -> None:
        holder.kill()
        holder.wait(20)
        (left,) = {name.rsplit("-", 1)[0] for name in own_namespaces(holder.pid)}
        with namespaces.Namespaces() as net:
            assert net.prefix != left
            assert own_namespaces(holder.pid) == []

    def test_of_a_lab_that_runs_are_left_alone(self, holder: subprocess.Popen[str]) -> None:
        before = own_namespaces(holder.pid)
        with namespaces.Namespaces():
            pass
        assert own_namespaces(holder.pid) == before


def runs(pid: int) -> bool:
    """Whether a process is there, and is more than an entry that nobody has collected yet."""
    try:
        return "\nState:\tZ" not in Path("/proc", str(pid), "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


STREAMS = (
    Stream("198.51.100.53", "shop.example", 10, servfail=0.12),
    Stream("198.51.100.53", "news.example", 10, servfail=0.08),
    Stream("2001:db8:c::53", "shop.example", 5, nxdomain=0.3, unanswered=0.1),
)


class TestGenerate:
    @pytest.mark.parametrize(("name", "json"), [("dns.log", False), ("dns.log.gz", False), ("dns.json", True)])
    def test_log_says_what_its_truth_says(self, tmp_path: Path, name: str, json: bool) -> None:
        made = Generated(STREAMS, seconds=100, start=START, json=json)
        assert made.write(tmp_path / name) == 2500
        assert truth.from_zeek(tmp_path / name) == truth.tally(made.truth())

    def test_shares_are_exact(self) -> None:
        servers = Generated(STREAMS, seconds=100, start=START).truth()["servers"]
        assert servers["198.51.100.53"]["shop.example"]["rcodes"] == {"NOERROR": 880, "SERVFAIL": 120}
        assert servers["198.51.100.53"]["news.example"]["rcodes"] == {"NOERROR": 920, "SERVFAIL": 80}
        assert servers["2001:db8:c::53"]["shop.example"]["unanswered"] == 50
        assert servers["2001:db8:c::53"]["shop.example"]["rcodes"] == {"NOERROR": 300, "NXDOMAIN": 150}

    def test_time_goes_on_past_the_lines_made_one_by_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lab.generate.BLOCK_LINES", 250)
        made = Generated(STREAMS, seconds=33, start=START)
        assert made.write(tmp_path / "dns.log") == 825
        stamps = [record["ts"] for record in zeeklog.records(tmp_path / "dns.log")]
        assert stamps == sorted(stamps)
        assert START <= stamps[0] < START + 1 and START + 32 <= stamps[-1] < START + 33
        assert truth.from_zeek(tmp_path / "dns.log") == truth.tally(made.truth())

    def test_seed_decides(self) -> None:
        def lines(seed: int) -> bytes:
            return b"".join(Generated(STREAMS, seconds=5, start=START, seed=seed).chunks())

        assert lines(1) == lines(1) != lines(2)

    def test_columns_are_those_of_zeek(self, tmp_path: Path) -> None:
        Generated(STREAMS, seconds=1, start=START).write(tmp_path / "dns.log")
        assert zeeklog.read_columns(tmp_path / "dns.log") == zeeklog.read_columns(SAMPLES / "dns.log.gz")

    @pytest.mark.parametrize("streams", [[], [Stream("::1", "a.example", 1, servfail=0.6, nxdomain=0.6)]])
    def test_nonsense_is_an_error(self, streams: list[Stream]) -> None:
        with pytest.raises(ValueError, match=r"nothing to generate|sum to more than 1"):
            Generated(streams, seconds=1, start=START)


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = float(START) + 0.25

    def __call__(self) -> float:
        return self.now


class TestReplay:
    @pytest.fixture
    def log(self, tmp_path: Path) -> Path:
        """A log of 30 seconds, 25 records each."""
        path = tmp_path / "source" / "dns.log.gz"
        path.parent.mkdir()
        Generated(STREAMS, seconds=30, start=START - 1_000_000).write(path)
        return path

    def drive(self, clock: Clock, log: Path, into: Path, seconds: float = 1e9, **options: Any) -> None:
        """Replay until the log ends, or so many seconds have passed."""
        until = clock.now + seconds
        steps = replay.replay(log, into, clock=clock, **options)
        for pause in steps:
            assert 0 < pause <= 1
            if clock.now + pause > until:
                break
            clock.now += pause
        steps.close()

    def test_time_stamps_are_now_and_spaced_by_speed(self, log: Path, tmp_path: Path) -> None:
        clock = Clock()
        begun = clock.now
        self.drive(clock, log, tmp_path, speed=2)
        source = list(zeeklog.records(log))
        live = list(zeeklog.records(tmp_path / "current" / "dns.log"))
        assert clock.now == pytest.approx(begun + 15, abs=0.2)
        for old, new in zip(source, live, strict=True):
            assert new["ts"] - begun == pytest.approx((old["ts"] - source[0]["ts"]) / 2, abs=1e-5)
            assert {**new, "ts": 0} == {**old, "ts": 0}

    def test_lines_appear_when_they_fall_due(self, log: Path, tmp_path: Path) -> None:
        clock = Clock()
        begun = clock.now
        live = tmp_path / "current" / "dns.log"
        for pause in replay.replay(log, tmp_path, clock=clock):
            stamps = [float(line.split(b"\t")[0]) for line in zeeklog.lines(live)]
            assert begun <= stamps[-1] <= clock.now + 1e-6
            assert stamps[-1] > clock.now - 1
            assert live.read_bytes().endswith(b"\n")
            clock.now += pause
            if clock.now > begun + 5:
                break

    def test_a_late_record_stays_late(self, tmp_path: Path) -> None:
        """Zeek writes unanswered queries when it gives up on them: their time stamps lie before their neighbours'."""
        log = tmp_path / "source.log"
        (line,) = b"".join(Generated(STREAMS[:1], seconds=1, start=START).chunks()).splitlines(keepends=True)[:1]
        stamps = (b"100.000000", b"120.000000", b"105.000000")
        rest = line.partition(b"\t")[2]
        log.write_bytes(zeeklog.header(0) + b"".join(stamp + b"\t" + rest for stamp in stamps))
        clock = Clock()
        begun = clock.now
        self.drive(clock, log, tmp_path, seconds=30, loop=True)
        live = [record["ts"] - begun for record in zeeklog.records(tmp_path / "current" / "dns.log")]
        again = 20 + replay.FLUSH_SECONDS
        assert live == pytest.approx([0, 20, 5, again], abs=1e-5)

    def test_header_and_end_are_zeeks(self, log: Path, tmp_path: Path) -> None:
        clock = Clock()
        self.drive(clock, log, tmp_path)
        ours = (tmp_path / "current" / "dns.log").read_bytes().splitlines()
        with gzip.open(SAMPLES / "dns.log.gz") as stream:
            zeeks = stream.read().splitlines()
        for mine, theirs in zip(ours[:8], zeeks[:8], strict=True):
            assert mine == theirs or (mine.startswith(b"#open\t") and theirs.startswith(b"#open\t"))
        assert len(ours[-1]) == len(zeeks[-1])
        assert ours[-1].startswith(b"#close\t") and zeeks[-1].startswith(b"#close\t")

    @pytest.mark.parametrize("json", [False, True])
    def test_rotation_loses_nothing(self, log: Path, tmp_path: Path, json: bool) -> None:
        clock = Clock()
        into = tmp_path / "into"
        self.drive(clock, log, into, rotate=10, json=json)
        assert not (into / "current" / "dns.log").exists()
        rotated = sorted(into.glob("????-??-??/dns.*"))
        names = [
            time.strftime("dns.%H:%M:%S-", time.localtime(begin))
            + time.strftime("%H:%M:%S.log.gz", time.localtime(end))
            for begin, end in [
                (START, START + 10),
                (START + 10, START + 20),
                (START + 20, START + 30),
                (START + 30, START + 30),
            ]
        ]
        assert [file.name for file in rotated] == names
        assert {file.parent.name for file in rotated} == {time.strftime("%Y-%m-%d", time.localtime(START))}
        told = [record for file in rotated for record in zeeklog.records(file)]
        assert [record["query"] for record in told] == [record["query"] for record in zeeklog.records(log)]
        for file in rotated:
            lines = gzip.decompress(file.read_bytes()).splitlines()
            assert json or lines[-1].startswith(b"#close\t")
            assert json or lines[0].startswith(b"#separator ")
            assert (lines[0].startswith(b"{") and lines[-1].startswith(b"{")) == json

    def test_between_rotation_and_compression_the_plain_file_is_there(self, log: Path, tmp_path: Path) -> None:
        clock = Clock()
        into = tmp_path / "into"
        seen: dict[str, list[float]] = {".log": [], ".gz": []}
        for pause in replay.replay(log, into, rotate=10, compress_after=3, clock=clock):
            for file in into.glob("????-??-??/dns.*"):
                seen[file.suffix].append(clock.now)
            clock.now += pause
        assert START + 10 <= min(seen[".log"]) <= START + 11
        assert START + 13 <= min(seen[".gz"]) <= START + 14.1

    def test_loop_goes_on(self, log: Path, tmp_path: Path) -> None:
        clock = Clock()
        self.drive(clock, log, tmp_path, seconds=70, loop=True)
        stamps = [record["ts"] for record in zeeklog.records(tmp_path / "current" / "dns.log")]
        assert stamps == sorted(stamps)
        assert stamps[-1] - stamps[0] > 68
        assert len(stamps) == pytest.approx(70 * 25, rel=0.02)

    def test_what_an_earlier_run_left_is_archived(self, log: Path, tmp_path: Path) -> None:
        left = tmp_path / "current" / "dns.log"
        left.parent.mkdir()
        left.write_text("left behind\n")
        self.drive(Clock(), log, tmp_path, seconds=1)
        (archived,) = tmp_path.glob("????-??-??/dns.*.log.gz")
        assert gzip.decompress(archived.read_bytes()) == b"left behind\n"
        assert b"left behind" not in left.read_bytes()

    def test_replays_zeeks_json(self, tmp_path: Path) -> None:
        clock = Clock()
        begun = clock.now
        self.drive(clock, SAMPLES / "dns.json.gz", tmp_path, seconds=10, speed=20)
        live = list(zeeklog.records(tmp_path / "current" / "dns.log"))
        assert len(live) > 1000
        assert all(begun - 1 <= record["ts"] <= clock.now for record in live)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_command_ends_cleanly_on_a_signal(self, log: Path, tmp_path: Path, number: int) -> None:
        live = tmp_path / "live" / "current" / "dns.log"
        command = [sys.executable, "-m", "lab", "replay", str(log), "--into", str(tmp_path / "live"), "--loop"]
        before = time.time()
        with subprocess.Popen(command, cwd=TESTS) as process:
            try:
                wait_for(lambda: live.exists() and live.read_bytes().count(b"\n") > 20)
                process.send_signal(number)
                assert process.wait(10) == 0
            finally:
                process.kill()
        text = live.read_bytes()
        assert text.splitlines()[-1].startswith(b"#close\t")
        assert before - 1 <= next(zeeklog.records(live))["ts"] <= time.time()

    @pytest.mark.parametrize("content", [b"", b"no log\n", zeeklog.header(0)])
    def test_what_is_no_log_is_an_error(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "dns.log").write_bytes(content)
        with pytest.raises(ValueError, match=r"dns\.log: (neither|no records)"):
            next(replay.replay(tmp_path / "dns.log", tmp_path / "into"))

    @pytest.mark.parametrize("options", [{"speed": 0}, {"rotate": 0.5}])
    def test_nonsense_is_an_error(self, log: Path, tmp_path: Path, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"speed 0|rotate 0\.5"):
            next(replay.replay(log, tmp_path, **options))


class TestPlan:
    def test_every_share_holds_on_every_server(self) -> None:
        plans = traffic.plans(100, random.Random(3))
        for resolver in world.RESOLVERS:
            for server in resolver.clients:
                asked = [one for client, own in plans if client.server == server for one in own]
                of_shop = [one.name for one in asked if isinstance(one, Question) and in_zone(one, "shop.example")]
                share = {mix.zone: mix.failing for mix in traffic.MIXES[resolver.name]}["shop.example"]
                failing = sum(".bad." in name.lower() for name in of_shop)
                assert failing == pytest.approx(share * len(of_shop), abs=0.5)

    def test_silence_is_for_udp_and_nothing_is_lost_in_dealing(self) -> None:
        clients = [client for client in traffic.ORDINARY if client.server == world.UNBOUND.clients[0]]
        dice = random.Random(3)
        questions = [ordinary("example.com", dice) if index % 3 else faults.silent(dice) for index in range(801)]
        hands = traffic.deal(questions, clients)
        assert Counter(one for hand in hands for one in hand) == Counter(questions)
        silent = {client.tcp: sum(map(faults.is_silent, hand)) for client, hand in zip(clients, hands, strict=True)}
        assert silent[True] == 0 < silent[False]

    def test_awkward_names_fit_in_a_message(self) -> None:
        sizes = [len(one.message()) - 2 - 12 - 4 for one in awkward()]
        assert max(sizes) == 255
        assert len({one.labels for one in awkward()}) == len(sizes)


def in_zone(asked: Question, zone: str) -> bool:
    return world.zone_of(asked.name) == zone


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("WwW.Shop.Example.", "shop.example"),
        ("shop.example", "shop.example"),
        ("x.bad.shop.example", "shop.example"),
        ("notshop.example", None),
        ("example", None),
        (".", None),
        ("", None),
        ("a.quiet.drop.example", "drop.example"),
    ],
)
def test_zone_of(name: str, zone: str | None) -> None:
    assert world.zone_of(name) == zone
