"""Tunnels and leaks: found in real captures and made-up ones, and not where names are long by design."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dnsvigil.config.collector import Config, Detectors
from dnsvigil.detectors.detector import Anomaly, Context
from dnsvigil.detectors.tunnel.detector import Tunnel
from dnsvigil.detectors.tunnel.shape import resembles
from dnsvigil.records import NOVEL
from dnsvigil.store.findings import Finding
from evaluation.detection import all_but, of_logs, of_parts, watch
from lab import evasions, floods, lookalikes, tunnels
from lab.population import addresses, popular_names
from lab.transactions import Session, Transactions

START = 1_718_000_000 // 86_400 * 86_400
NOW = datetime(2024, 6, 10, 12, 30)
CONFIG = Config(detectors=Detectors(disabled=all_but("tunnel"), top=1000))
HEX = "0123456789abcdef"

Judge = Callable[..., list[Anomaly]]


@pytest.fixture
def evaluate(tmp_path: Path) -> Iterator[Judge]:
    """Judge a table of these rows, each with the columns that matter."""
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE novel ({', '.join(f'{name} {kind}' for name, kind in NOVEL.items())})")

        def evaluated(rows: Iterable[dict[str, Any]], now: datetime = NOW) -> list[Anomaly]:
            filled = [list((_row() | row).values()) for row in rows]
            if filled:
                connection.executemany(f"INSERT INTO novel VALUES ({', '.join('?' * len(NOVEL))})", filled)
            detector = Tunnel(Context(tmp_path, Config()))
            found = list(
                detector.evaluate(lambda query, *bound: connection.execute(query, list(bound)).fetchall(), now)
            )
            for each in found:
                Finding("tunnel", *_values(each))  # raises where it cannot be one
            return found

        yield evaluated


def _values(each: Anomaly) -> tuple[Any, ...]:
    json.dumps(each.evidence, allow_nan=False)
    return (
        each.subject_type, each.subject, each.score, each.severity, each.first_seen, each.last_seen, each.evidence,
    )  # fmt: skip


def _row() -> dict[str, Any]:
    empty: dict[str, Any] = {name: 0 if kind == "BIGINT" else None for name, kind in NOVEL.items()}
    return empty | {
        "hour": NOW.replace(minute=0),
        "client": "198.51.100.7",
        "domain": "leaky-x.com",
        "newly_observed": True,
        "minutes": (1 << 30) - 1,
        "first_seen": NOW - timedelta(minutes=29),
        "last_seen": NOW - timedelta(minutes=1),
    }


def carrying(names: int, octets: int = 40, domain: str = "leaky-x.com", **values: Any) -> dict[str, Any]:
    """Return a row of so many names with labels of random hexadecimal."""
    samples = [
        f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 16**octets:0{octets}x}.{domain}" for number in range(1, 9)
    ]
    return {
        "domain": domain, "queries": names, "names": names, "labels": names, "label_bytes": octets * names,
        "samples": samples,
    } | values  # fmt: skip


class TestFinds:
    def test_every_capture_within_its_first_100_queries(self, shared_data: Path, tmp_path: Path) -> None:
        head, records, captures = b"", list[bytes](), {}
        folder = shared_data / "zeek-logs" / "from-pcap"
        for number, log in enumerate(sorted(folder.glob("*_*_*_*/dns.log.xz")), 1):
            if not log.parent.name.startswith(("dns2tcp", "dnscat", "iodine")):
                continue
            lines = lzma.decompress(log.read_bytes()).splitlines(keepends=True)
            head = b"".join(line for line in lines if line.startswith(b"#") and not line.startswith(b"#close"))
            cut = sorted((line for line in lines if not line.startswith(b"#")), key=lambda line: float(line.split()[0]))
            # All at once, so each with clients and a domain of its own, and then time goes on.
            first = [
                line.replace(b"192.168.0.", b"192.168.%d." % number).replace(
                    b"example.attack", b"example.attack%d" % number
                )
                for line in cut[:100]
            ]
            last = first[-1].split(b"\t")
            last[0] = b"%f" % (float(last[0]) + 120)
            last[9] = b"www.example.org"
            records += [*first, b"\t".join(last)]
            captures[f"192.168.{number}.30"] = log.parent.name
        assert len(captures) == 7
        (tmp_path / "dns.log").write_bytes(head + b"".join(records))
        watched = watch(of_logs([tmp_path / "dns.log"]), config=CONFIG)
        found = {one.finding.subject: one.finding for one in watched.found}
        assert set(found) == set(captures)
        for client, name in captures.items():
            program = name.split("_")[0].replace("dnscat", "dnscat2")
            assert found[client].evidence.get("resembles", program) == program
            (domain,) = found[client].evidence["domains"]
            assert all(sample.endswith((domain, "...")) for sample in found[client].evidence["samples"])

    def test_every_program_type_and_encoding_within_its_first_100_queries(self) -> None:
        sessions = []
        for made in tunnels.quick("10.1.2.3", "net-q.com", seed=7, start=START, phases=tunnels.IDLE):
            rows = made.transactions[:100]
            rows.client[:] = f"10.1.0.{len(sessions)}"
            sessions.append(Session(made.kind, made.what, rows, made.domains))
        found = watched(sessions, seconds=600)
        assert {one.subject for one in found} == {session.clients[0] for session in sessions}
        for one in found:
            session = sessions[int(one.subject.rpartition(".")[2])]
            assert one.evidence["domains"] == list(session.domains)
            assert one.evidence.get("resembles", session.what.split()[0]) == session.what.split()[0]

    def test_ten_bytes_a_minute_within_six_hours_over_clients_and_domains(self) -> None:
        leaks = []
        for number, (clients, domains) in enumerate(((1, 1), (1, 3), (3, 1), (3, 3), (4, 4))):
            leaks.append(
                tunnels.leak(
                    [f"10.{number}.0.{place}" for place in range(clients)],
                    [f"site{place}of{number}-x.com" for place in range(domains)],
                    seed=number,
                    start=START + 1000,
                    hours=6,
                    encoding="base64url",
                    numbered=False,
                    jitter=1.0,
                    exists=False,
                )
            )
        found = watched(leaks, seconds=1800)
        for leak in leaks:
            named = [one for one in found if set(one.evidence["domains"]) & set(leak.domains)]
            assert named, leak.clients
            assert all(set(one.evidence["clients"]) <= set(leak.clients) for one in named)
            assert all(one.subject in (*leak.clients, *leak.domains) for one in named)

    def test_what_only_comes_down(self, evaluate: Judge) -> None:
        rows = carrying(60, octets=4, text_names=60, answer_bytes=60 * 200)
        (found,) = evaluate([rows])
        assert found.score > 0.5
        assert found.evidence["bytes_down_per_second"] > 10 * found.evidence["bytes_up_per_second"]

    def test_a_client_among_many_that_ask_there(self, evaluate: Judge) -> None:
        crowd = [carrying(2, client=f"10.0.0.{number}") for number in range(1, 40)]
        (found,) = evaluate([*crowd, carrying(400)])
        assert (found.subject_type, found.subject) == ("client", "198.51.100.7")
        assert found.evidence["clients_asking"] == 40

    def test_a_group_is_one_finding(self, evaluate: Judge) -> None:
        rows = [
            carrying(40, client=f"10.0.0.{client}", domain=f"leaky{domain}-x.com")
            for client in range(4)
            for domain in range(3)
        ]
        (found,) = evaluate(rows)
        assert found.subject_type == "domain" and found.severity == "critical"
        assert len(found.evidence["domains"]) == 3 and len(found.evidence["clients"]) == 4

    def test_many_clients_that_carry_little_each(self, evaluate: Judge) -> None:
        (found,) = evaluate(carrying(60, client=f"10.0.{number // 256}.{number % 256}") for number in range(1000))
        assert (found.subject_type, found.subject) == ("domain", "leaky-x.com")
        assert found.evidence["clients_asking"] == 1000 and len(found.evidence["clients"]) == 20

    def test_what_is_only_counted_is_no_tunnel(self, evaluate: Judge) -> None:
        assert evaluate([{"domain": "*", "queries": 950_000, "failures": 950_000, "names": 950_000}]) == []


def test_answers_that_are_not_seen_are_lacking(tmp_path: Path) -> None:
    detector = Tunnel(Context(tmp_path, Config()))
    with duckdb.connect() as connection:
        columns = "TIMESTAMP '2024-06-10 12:00:00' AS hour, 999 AS names, 0 AS failures, 0 AS answered_names"
        connection.execute(f"CREATE TABLE novel AS SELECT {columns}")

        def lacks() -> list[str]:
            return [*detector.lacks(lambda query, *bound: connection.execute(query, list(bound)).fetchall(), NOW)]

        assert lacks() == []  # too few to tell
        connection.execute("UPDATE novel SET names = 1000")
        assert lacks() == ["answers"]
        connection.execute("UPDATE novel SET answered_names = 1")
        assert lacks() == []
        connection.execute("UPDATE novel SET hour = hour - INTERVAL 2 DAY")
        assert lacks() == ["names"]


class TestTellsApart:
    def test_look_ups_that_are_long_by_design(self) -> None:
        names = popular_names()
        sizes = {
            "block lists": 1, "antivirus": 2, "telemetry": 20, "mail policy": 4, "search suffixes": 20,
            "browser probes": 20, "reverse": 1, "service discovery": 20, "crawler": 1,
        }  # fmt: skip
        everyone = addresses(sum(sizes.values()))
        sessions = []
        for kind, size in sizes.items():
            clients, everyone = everyone[:size], everyone[size:]
            sessions.append(lookalikes.lookalike(kind, clients, names, seed=7, start=START, hours=1))
        assert not watched(sessions, seconds=1800)

    @pytest.mark.parametrize("name", ["knot-live", "normal_00017_20230805211952"])
    def test_real_traffic_without_tunnels(self, name: str, shared_data: Path) -> None:
        log = shared_data / "zeek-logs" / "from-pcap" / name / "dns.log.xz"
        assert not watch(of_logs([log]), config=CONFIG, seconds=300).found

    def test_answers_of_block_lists_weigh_little_not_nothing(self, evaluate: Judge) -> None:
        asked = carrying(2000, failed_names=1400, design_names=600)
        assert not [one for one in evaluate([asked]) if one.score >= 0.5]
        more = {
            name: 1000 * asked[name]
            for name in ("queries", "names", "labels", "label_bytes", "failed_names", "design_names")
        }
        (found,) = evaluate([asked | more])
        assert found.score > 0.5
        assert found.evidence["weighed_down"] == ["answers of a block list, a reputation service or mail policy"]

    def test_answers_of_block_lists_do_not_hide_text_beside_them(self, evaluate: Judge) -> None:
        asked = carrying(60, octets=4, design_names=60, answered_names=120, text_names=60, answer_bytes=60 * 200)
        (found,) = evaluate([asked])
        assert found.score > 0.5

    def test_names_that_failed_at_first_and_carry_text_later_have_not_failed(self, evaluate: Judge) -> None:
        letters = [f"{letter * 9}.leaky-x.com" for letter in "abcdefgh"]
        counts = {"failed_names": 100, "answered_names": 100, "design_names": 4, "text_names": 40, "samples": letters}
        rows = [carrying(100, octets=10, answer_bytes=100 * 200, **counts)]
        (found,) = evaluate(rows)
        assert found.score > 0.5 and "weighed_down" not in found.evidence

    def test_text_that_is_asked_for_below_names_of_long_ago(self, evaluate: Judge) -> None:
        (found,) = evaluate([carrying(0, text_names=60, answered_names=60, answer_bytes=60 * 200)])
        assert found.score > 0.5

    def test_a_client_that_is_a_prefix_has_its_addresses_in_the_evidence(self, evaluate: Judge) -> None:
        addresses = ["2001:db8::1", "2001:db8::2"]
        (found,) = evaluate([carrying(60, client="2001:db8::/64", sources=addresses)])
        assert (found.subject, found.evidence["client_addresses"]) == ("2001:db8::/64", addresses)

    @pytest.mark.parametrize("domain", ["printer.local", "x1.home.arpa", "office.internal", "ad.test"])
    def test_names_for_local_use_are_no_tunnel(self, domain: str, evaluate: Judge) -> None:
        rows = [carrying(2000, domain=domain, answered_names=2000, text_names=2000, answer_bytes=200_000)]
        assert not evaluate(rows)
        assert evaluate([carrying(2000, domain=f"{domain}.com")])

    @pytest.mark.parametrize(
        ("domain", "found"),
        [("spamhaus.org", False), ("google.com", False), ("ddns.net", True), ("2.ip6.arpa", True)],
    )
    def test_domains_that_are_known(self, domain: str, found: bool, evaluate: Judge) -> None:
        assert any(one.score >= 0.5 for one in evaluate([carrying(100, domain=domain)])) is found

    def test_names_below_no_top_level_domain_that_fail(self, evaluate: Judge) -> None:
        assert not evaluate([carrying(500, domain="office.nosuchtld", failed_names=500)])
        assert evaluate([carrying(500, domain="office.othertld", failed_names=100)])

    def test_uuids_and_popular_names_behind_a_suffix(self, evaluate: Judge) -> None:
        uuids = [f"{number:08x}-1234-4abc-8def-{number * 7919:012x}.leaky-x.com" for number in range(8)]
        searched = [f"{host}.google.com.leaky-y.com" for host in ("www", "mail", "api", "docs", "maps", "drive")]
        rows = [
            carrying(60, octets=36, samples=uuids),
            carrying(200, octets=12, domain="leaky-y.com", samples=searched),
        ]
        assert all(one.score < 0.5 for one in evaluate(rows))

    def test_many_domains_with_few_new_names_each(self, evaluate: Judge) -> None:
        assert not evaluate(carrying(2, octets=8, domain=f"shop{number}-x.com") for number in range(3000))


class TestBadInput:
    def test_nothing(self, evaluate: Judge) -> None:
        assert evaluate([]) == []

    def test_what_has_ended_is_no_finding(self, evaluate: Judge) -> None:
        seen = {"first_seen": NOW - timedelta(hours=3), "last_seen": NOW - timedelta(hours=2)}
        row = carrying(500, hour=NOW.replace(hour=10, minute=0), **seen)
        assert evaluate([row], NOW - timedelta(hours=1, minutes=30))
        assert not evaluate([])

    def test_names_of_any_octets(self, evaluate: Judge) -> None:
        domain = r"a'\x22;--\x00-x.com"
        odd = [rf"\xff\x00\x27'%s\x5c{number}.{domain}" for number in range(8)]
        (found,) = evaluate([carrying(500, domain=domain, samples=[*odd, domain, "", "x" * 1020 + f".{domain}"])])
        assert found.evidence["domains"] == [domain]
        (found,) = [one for one in evaluate([carrying(900, domain="none-x.com", samples=None)]) if one.score > 0.9]
        assert found.evidence["domains"][0] == "none-x.com"

    def test_names_as_long_as_can_be_fit_in_a_finding(self, evaluate: Judge) -> None:
        label = r"\xff" * 63
        samples = [f"{label}.{label}.{number}{label}"[:1000] + ".leaky-x.com" for number in range(200)]
        assert evaluate([carrying(500, samples=samples)])

    def test_a_row_by_parts_is_as_one(self, evaluate: Judge) -> None:
        whole = carrying(300)
        part = carrying(100)
        (one,) = evaluate([part, part, part])
        (other,) = evaluate([whole | {"client": "198.51.100.8", "domain": "leaky-z.com"}])[1:] or [one]
        assert one.score == pytest.approx(other.score, abs=0.05)
        assert one.evidence["names"] == 300 and one.evidence["minutes_active"] == 30


@pytest.mark.parametrize(
    ("names", "program"),
    [
        ([], None),
        (["www", "mail", "shop", "blog"], None),
        (["paaad5ca", "paaad5cq", "pabieaqq", "paaqebga"], "iodine"),
        (["33a201277f8e7fb9b16c", "3ce401c0b0eb7732102d", "495e01277fd334a903f8"], "dnscat2"),
        (["wwoaewawba", "wwoaaaalchjvb3qk", "wwoaagadba", "wwoabqagba"], "dns2tcp"),
        (["aaaaao", "rwiaaaakchjvb3qk", "aaaaafowaa.=auth"], "dns2tcp"),
        (
            [
                "a94afd4b7f8036536520028a0d5884e7",
                "97b476a5f32edf96c0da25705e41bed4",
                "5e1dfb9e3dae89c49cf10841ce47907c",
            ],
            None,
        ),
    ],
)
def test_resembles(names: list[str], program: str | None) -> None:
    assert resembles(names) == program


def watched(sessions: list[Session], seconds: float) -> list[Finding]:
    """Return what is found in sessions, two minutes after the last of them ends too."""
    rows = Transactions.join([session.transactions for session in sessions])
    after = rows[-1:]
    after.ts[:] += 120_000_000
    return [one.finding for one in watch(of_parts([rows, after]), config=CONFIG, seconds=seconds).found]


def failing(names: int, octets: int = 12, **values: Any) -> dict[str, Any]:
    """Return a row of so many short random names in half an hour that nothing answers."""
    return carrying(names, octets, failures=names, failed_names=names, **values)


class TestFloods:
    def test_random_names_are_a_flood_and_no_leak(self) -> None:
        sessions, expected = [], set()
        for number, (style, values) in enumerate(floods.STYLES.items()):
            client, one, many = f"10.1.{number}.1", f"victim{number}-x.com", f"target{number}-x.com"
            sessions.append(floods.flood([client], one, seed=1, start=START, names=1500, **values))
            expected.add(("flood", "client", client, one))
            if style != "a wildcard answers":  # names that exist, from many clients, may be any service's
                clients = [f"10.{number + 10}.0.{place}" for place in range(1, 201)]
                sessions.append(floods.flood(clients, many, seed=2, start=START, names=1500, **values))
                expected.add(("flood", "domain", many, many))
        found = watched(sessions, seconds=600)
        assert {(one.detector, one.subject_type, one.subject, *one.evidence["domains"]) for one in found} == expected
        assert len(found) == len(expected)
        for each in found:
            assert each.severity == "warning"
            assert each.evidence["flood_names"] == pytest.approx(1500, rel=0.05)
            assert "a flood of random names below" in each.evidence["what"]
            assert all(sample.endswith(each.evidence["domains"][0]) for sample in each.evidence["samples"])

    def test_a_flood_never_pages_as_a_leak_while_it_grows(self) -> None:
        clients = [f"10.2.0.{number + 1}" for number in range(100)]
        sessions = [
            floods.flood(["10.1.0.1"], "victim-x.com", seed=1, start=START, per_second=0.5),
            floods.flood(clients, "target-x.com", seed=2, start=START, per_second=0.5),
        ]
        assert {one.detector for one in watched(sessions, seconds=60)} == {"flood"}

    @pytest.mark.parametrize(
        ("chunk", "encoding", "numbered"),
        [(10, "hex", True), (20, "base32", False), (30, "base64url", False), (60, "hex", True)],
    )
    def test_names_that_carry_are_a_leak_though_none_exists(self, chunk: int, encoding: str, numbered: bool) -> None:
        leak = tunnels.leak(
            ["10.1.0.1"], ["leaky-x.com"], seed=3, start=START, hours=0.3, bytes_per_minute=60 * chunk, chunk=chunk,
            encoding=encoding, numbered=numbered, exists=False, jitter=1.0,
        )  # fmt: skip
        (found,) = watched([leak], seconds=60)
        assert (found.detector, found.subject) == ("tunnel", "10.1.0.1")

    @pytest.mark.parametrize("program", [tunnels.dnscat2, tunnels.iodine])
    @pytest.mark.parametrize("domain", ["net-q.com", "victim-x.com"])
    def test_a_tunnel_is_found_beside_a_flood_of_the_same_client(
        self, program: Callable[..., Session], domain: str
    ) -> None:
        tunnel = program("10.1.0.1", domain, seed=1, start=START)
        flood = floods.flood(["10.1.0.1"], "victim-x.com", seed=1, start=START)
        assert {one.detector for one in watched([tunnel, flood], seconds=60)} == {"tunnel", "flood"}

    def test_a_tunnel_hides_in_no_flood_of_others(self) -> None:
        clients = [f"10.2.{number // 200}.{number % 200 + 1}" for number in range(300)]
        tunnel = tunnels.dnscat2("10.1.0.1", "victim-x.com", seed=1, start=START)
        found = watched([tunnel, floods.flood(clients, "victim-x.com", seed=1, start=START)], seconds=60)
        assert {(one.detector, one.subject) for one in found} == {("tunnel", "10.1.0.1"), ("flood", "victim-x.com")}

    def test_more_names_than_are_kept(self) -> None:
        rows = Transactions.join(
            list(evasions.rotating("10.1.0.1", seed=1, start=START, names=70_000, per_second=500, below="victim-x.com"))
        )
        config = Config(detectors=Detectors(top=1000))
        found = watch(of_parts([rows]), config=config, seconds=60).found
        assert {(one.finding.detector, one.finding.subject) for one in found} == {("flood", "10.1.0.1")}

    def test_reversed_addresses_and_block_lists_are_none(self, evaluate: Judge) -> None:
        addresses = [f"{number}.{number + 7}.0.10.dnsbl-x.com" for number in range(8)]
        rows = failing(2000, octets=8, domain="dnsbl-x.com", samples=addresses, labels=2000)
        assert not [one for one in evaluate([rows, failing(5000, domain="spamhaus.org")]) if one.score >= 0.5]

    def test_a_finding_of_one_kind_does_not_hide_the_other(self, evaluate: Judge) -> None:
        found = evaluate([carrying(500, answered_names=500), failing(5000, domain="victim-x.com")])
        assert {(one.detector, one.subject) for one in found} == {(None, "198.51.100.7"), ("flood", "198.51.100.7")}
