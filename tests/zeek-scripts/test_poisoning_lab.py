"""A guessing attack in network namespaces, ordinary traffic of four resolvers, and captures from elsewhere."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab import fourresolvers, guessing, poisoners, sensor
from lab.namespaces import why_not
from lab.pcaps import packets, thinned, unpacked

SCRIPTS = ("poisoning", "open-resolver.zeek")
MAX_ATTACKS = 8
FORGED_HOPS = 57  # time to live of the packets that the lab forges
SIGNALS = (
    *("wrong_id", "wrong_port", "conflicting_answers", "unsolicited", "out_of_bailiwick", "forged_ns"),
    *("first_fragments", "icmp_unreachable", "ip_ttl_jumps"),
)


def need(tools: Sequence[str]) -> None:
    if reason := why_not(tools):
        pytest.skip(reason)


@pytest.fixture
def needs_zeek() -> None:
    if not shutil.which("zeek"):
        pytest.skip("zeek is not on the PATH")


@pytest.fixture(scope="module")
def attack(tmp_path_factory: pytest.TempPathFactory) -> guessing.Attack:
    """An attack in which no guess is right: from then on what is forged is what the sensor knows of the server."""
    need(guessing.TOOLS)
    for _ in range(MAX_ATTACKS):
        attack = guessing.make(tmp_path_factory.mktemp("guessing"))
        if not right_guesses(attack.pcap):
            return attack
    pytest.fail(f"in each of {MAX_ATTACKS} attacks a guess was right")


@pytest.fixture(scope="module")
def logs(attack: guessing.Attack) -> sensor.Logs:
    return sensor.run(attack.pcap, attack.pcap.parent / "zeek", guessing.OPTIONS, *SCRIPTS)


@pytest.fixture(scope="module")
def pcap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need([*fourresolvers.TOOLS, *fourresolvers.RESOLVERS])
    return fourresolvers.make(tmp_path_factory.mktemp("fourresolvers"))


def total(rows: list[sensor.Row], signal: str) -> int:
    return sum(row[signal] for row in rows)


def right_guesses(pcap: Path) -> int:
    """Return how many answers, forged ones all, have the id and the name of a question."""
    ends = [socket.inet_aton(address) for address in (guessing.RESOLVER, guessing.AUTHORITY)]
    asked: set[tuple[bytes, bytes]] = set()
    found = 0
    for _, frame in packets(pcap):
        source, target, dns = frame[26:30], frame[30:34], frame[42:]
        key = dns[:2], dns[12 : dns.find(b"\0", 12)].lower()
        if [source, target] == ends:
            asked.add(key)
        elif [target, source] == ends and frame[22] == FORGED_HOPS:
            found += key in asked
    return found


class TestGuessing:
    def test_row_comes_before_the_200th_forged_packet(self, attack: guessing.Attack, logs: sensor.Logs) -> None:
        rows = [row for row in logs.rows("dnsvigil_poisoning") if row.get("zone") == guessing.ZONE]
        first = min(row["ts"] for row in rows)
        assert attack.first - 0.1 < first < attack.first + 1
        assert first < attack.two_hundredth
        early = [row for row in rows if row["ts"] < attack.two_hundredth]
        assert 10 <= total(early, "wrong_id") < 200
        assert early[0]["sample_servers"] == [guessing.AUTHORITY]

    def test_rows_count_every_forged_packet(self, attack: guessing.Attack, logs: sensor.Logs) -> None:
        rows = logs.rows("dnsvigil_poisoning")
        wrong = total(rows, "wrong_id") + total(rows, "unsolicited")
        assert attack.sent - 20 <= wrong <= attack.sent
        assert total(rows, "forged_ns") >= attack.sent - 20
        # They come with another TTL, of the records and of the packets, than the server's own answers.
        assert total(rows, "ttl_jumps") >= attack.sent - 20
        assert total(rows, "ip_ttl_jumps") >= attack.sent - 20

    def test_attack_and_the_fixed_port_are_notices(self, logs: sensor.Logs) -> None:
        assert sorted(logs.notices()) == [
            ("DNSVigil::Poisoning_Guessing", guessing.AUTHORITY),
            ("DNSVigil::Predictable_Questions", guessing.RESOLVER),
        ]
        (whole,) = (row for row in logs.rows("dnsvigil_poisoning") if "zone" not in row)
        assert whole["port_entropy"] == 0
        assert whole["id_entropy"] > 12

    def test_without_options_the_resolver_is_found(self, attack: guessing.Attack, tmp_path: Path) -> None:
        options = {"Site::local_nets": f"{{{guessing.RESOLVER}/32}}"}
        logs = sensor.run(attack.pcap, tmp_path / "zeek", options, *SCRIPTS)
        assert ("DNSVigil::Poisoning_Guessing", guessing.AUTHORITY) in logs.notices()


class TestOtherAttacks:
    @pytest.mark.parametrize(
        ("attack", "sign", "records"),
        [
            ("random-ports", "wrong_port", "bank.example A 203.0.113.66"),
            ("scan", "icmp_unreachable", ""),
            ("injection", "conflicting_answers", ".evil A 192.0.2.2"),
            ("landing", "wrong_id", ".evil A 203.0.113.66"),
            ("fragments", "odd_fragments", ""),
            ("bailiwick", "out_of_bailiwick", "ns1.bank.example A 203.0.113.66"),
        ],
    )
    def test_has_its_sign_and_shows_what_was_forged(self, tmp_path: Path, attack: str, sign: str, records: str) -> None:
        need(poisoners.TOOLS)
        done = poisoners.make(tmp_path, attack)
        rows = sensor.run(done.pcap, tmp_path / "zeek", poisoners.OPTIONS, *SCRIPTS).rows("dnsvigil_poisoning")
        assert total(rows, sign) >= 10
        assert not records or any(text.endswith(records) for row in rows for text in row["sample_records"])
        quiet = [row for row in rows if row["ts"] < done.begun and "zone" in row]
        assert quiet == []


class TestOrdinaryTraffic:
    @pytest.mark.parametrize("resolvers", ["given", "found"])
    def test_four_resolvers_give_no_sign(self, pcap: Path, tmp_path: Path, resolvers: str) -> None:
        options = dict(fourresolvers.OPTIONS)
        if resolvers == "found":
            del options["DNSVigilPoisoning::resolvers"]
        logs = sensor.run(pcap, tmp_path / "zeek", options, *SCRIPTS)
        rows = logs.rows("dnsvigil_poisoning")
        assert logs.notices() == []
        assert logs.rows("dnsvigil_open_resolver") == []
        for address in fourresolvers.RESOLVERS.values():
            whole = [row for row in rows if row["resolver"] == address and "zone" not in row]
            assert total(whole, "queries") > 1000, address
            assert min(row["port_entropy"] for row in whole) > 12, address
            assert min(row["id_entropy"] for row in whole) > 12, address
        assert {signal: total(rows, signal) for signal in SIGNALS} == dict.fromkeys(SIGNALS, 0)
        # Missing names are many, and are counted, but are no Notice.
        assert total(rows, "nxdomain_storm") > 0

    @pytest.mark.parametrize("lost", [0.02, 0.3])
    def test_lossy_tap_is_no_attack(self, pcap: Path, tmp_path: Path, lost: float) -> None:
        lossy = thinned(pcap, tmp_path / "lossy.pcap", lost)
        logs = sensor.run(lossy, tmp_path / "zeek", fourresolvers.OPTIONS, *SCRIPTS)
        assert logs.notices() == []
        assert total(logs.rows("dnsvigil_poisoning"), "unsolicited") > 0


@pytest.mark.usefixtures("needs_zeek")
class TestCapturesFromElsewhere:
    @pytest.mark.parametrize(
        ("name", "signal"),
        [
            ("kaminsky_guessing_1.pcap.xz", "wrong_port"),
            ("out_of_bailiwick.pcap", "out_of_bailiwick"),
            ("frag.pcap", "first_fragments"),
        ],
    )
    def test_attack_has_a_row_in_time(self, shared_data: Path, tmp_path: Path, name: str, signal: str) -> None:
        pcap = unpacked(shared_data / "pcap-attack" / name, tmp_path)
        options = {"DNSVigilPoisoning::resolvers": "{192.168.1.1/32}"}
        logs = sensor.run(pcap, tmp_path / "zeek", options, *SCRIPTS)
        rows = logs.rows("dnsvigil_poisoning")
        first = min(row["ts"] for row in rows if row[signal])
        times = [when for when, _ in packets(pcap)]
        assert first < times[0] + 1
        # The first packets are questions.
        assert first <= times[min(201, len(times) - 1)] + 1e-6
        guessed = [("DNSVigil::Poisoning_Guessing", "192.168.1.3")]
        assert logs.notices() == (guessed if name.startswith("kaminsky") else [])

    @pytest.mark.parametrize("resolvers", ["{192.168.68.62/32, 192.168.0.10/32, 10.0.2.15/32}", "{}"])
    @pytest.mark.parametrize("folder", ["pcap-normal", "pcap-tunnel"])
    def test_no_notice_without_an_attack(self, shared_data: Path, tmp_path: Path, folder: str, resolvers: str) -> None:
        options = {"DNSVigilPoisoning::resolvers": resolvers} if resolvers != "{}" else {}
        found = sorted((shared_data / folder).rglob("*.pcap.?z"))
        assert len(found) > 1
        # One of each kind; the evaluation has all of them.
        found = [found[0], found[-1]]
        for number, packed in enumerate(found):
            pcap = unpacked(packed, tmp_path)
            logs = sensor.run(pcap, tmp_path / f"zeek{number}", options, *SCRIPTS)
            assert logs.notices() == [], packed
            pcap.unlink()
