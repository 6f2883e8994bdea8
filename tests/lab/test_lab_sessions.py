"""Made-up sessions and populations: the same for a seed, of the shapes that they state, and readable as dns.log."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from dnsvigil.learning.generators import FAMILIES, Lexicon
from dnsvigil.records import Cursor
from dnsvigil.sources.zeek.lines import split
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.sources.zeek.parser import Parser
from dnsvigil.sources.zeek.reader import Batch
from lab import evasions, infected, lookalikes, tunnels, zeeklog
from lab.population import Population, addresses, busyness
from lab.transactions import (
    MICROSECONDS,
    NXDOMAIN,
    UNANSWERED,
    Asked,
    Session,
    Transactions,
    escaped,
    lines,
    mixed,
    number_of,
    write,
)

START = 1_700_000_000
WORDS = tuple(first + last for first in ("apple", "river", "stone", "green") for last in ("house", "table", "light"))
LEXICON = Lexicon((WORDS,), ("wikipedia", "example", "weather"))
FAMILY = {family.name: family for family in FAMILIES}
NAMES = [f"{'www.' * (index % 3 == 0)}name{index}.com" for index in range(5000)]


class Reader:
    """The project's own reader of dns.log."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(config={"threads": 1})
        self._parser = Parser(self._connection)

    def close(self) -> None:
        self._parser.close()
        self._connection.close()

    def read(self, log: bytes, columns: str = "qname, qtype, rcode, client, answers") -> list[tuple[Any, ...]]:
        """Return columns of the records in the order of their time; none may be skipped."""
        chunks, _, skipped = split(log, None, DNS)
        cursor = Cursor("1", "zeek", 0, "", 0, b"", "")
        (loaded,) = self._parser.load([Batch(chunks, 0, Counter(), cursor, 0, DNS)])
        assert loaded.records == log.count(b"\n") - log.count(b"\n#") - log.startswith(b"#")
        assert not skipped + loaded.skipped
        return self._connection.execute(f"SELECT {columns} FROM {DNS.view} ORDER BY ts, uid").fetchall()

    def records(self, part: Transactions) -> list[tuple[Any, ...]]:
        return self.read(zeeklog.header(START) + lines(part))


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()


def by_client(session: Session) -> dict[str, Transactions]:
    rows = session.transactions
    return {client: rows[rows.client == client] for client in session.clients}


def labels(session: Session) -> list[str]:
    (domain,) = session.domains
    assert all(name.endswith(f".{domain}") for name in session.transactions.qname)
    return [name.removesuffix(f".{domain}") for name in session.transactions.qname]


def infect(family: str, habit: str, **values: Any) -> Session:
    given = {"seed": 5, "start": START, "hours": 4} | values
    return infected.infected(
        FAMILY[family], LEXICON, ["198.51.100.1", "198.51.100.2"], habit=infected.HABITS[habit], **given
    )


class TestLines:
    def test_are_read_as_what_they_say(self, reader: Reader) -> None:
        rows = [
            Asked(START + 1.25, "198.51.100.1", "a.example", "A", answers="b.example,192.0.2.1", ttl=60, rtt=0.5),
            Asked(START, "2001:db8::1", "no.example", "AAAA", NXDOMAIN),
            Asked(START + 2, "198.51.100.1", "x.example", "PRIVATE", UNANSWERED),
        ]
        log = zeeklog.header(START) + lines(Transactions.of(rows))
        seen = reader.read(log, "epoch(ts)::DOUBLE, client, qname, qtype, rcode, answers, ttls, rtt_seconds, ra")
        assert seen == [
            (START, "2001:db8::1", "no.example", 28, 3, None, None, None, False),
            (START + 1.25, "198.51.100.1", "a.example", 1, 0, ["b.example", "192.0.2.1"], [60, 60], 0.5, True),
            (START + 2, "198.51.100.1", "x.example", 65399, None, None, None, None, False),
        ]
        assert len(set(reader.read(log, "uid"))) == 3

    def test_odd_bytes_come_through(self, reader: Reader) -> None:
        raw = bytes(range(256)).replace(b"\n", b"")
        row = Asked(START, "198.51.100.1", f"{escaped(raw[200:240])}.example", "TXT", answers=escaped(raw))
        ((name, *_, answers),) = reader.records(Transactions.of([row]))
        assert name.startswith(r"\xc9") and len(answers) == 1

    def test_a_file_has_the_order_of_time_and_a_header(self, tmp_path: Path, reader: Reader) -> None:
        population = Population(addresses(50), NAMES, per_day=20_000)
        session = infect("locky", "burst", hours=0.5, start=START + 20, staggered=0)
        count = write(tmp_path / "dns.log", mixed(population.slices(START, 0.05, 30), [session]))
        plain = sum(len(part) for part in population.slices(START, 0.05, 30))
        assert count == plain + len(session.transactions)
        log = (tmp_path / "dns.log").read_bytes()
        assert len(reader.read(log)) == count
        times = [float(line.split(b"\t")[0]) for line in log.splitlines() if not line.startswith(b"#")]
        assert times == sorted(times)


class TestInfected:
    @pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
    def test_every_family_fails_and_then_reports(self, family: Any) -> None:
        for rows in by_client(infect(family.name, "both addresses")).values():
            failing = set(rows.qname[rows.rcode == NXDOMAIN])
            answering = Counter(rows.qname[(rows.rcode == 0) & (rows.qtype == 1)])
            assert len(failing) >= 8
            # The most frequent is the day's, or yesterday's, master.
            assert max(answering.values()) > 5
            assert rows.qname[-1] == max(answering, key=lambda name: answering[name])

    def test_the_same_for_a_seed_and_others_for_another(self) -> None:
        one, same, other = (lines(infect("necurs", "steady", seed=seed).transactions) for seed in (1, 1, 2))
        assert one == same != other

    def test_clients_of_a_botnet_have_names_in_common(self) -> None:
        first, second = by_client(infect("qakbot", "shuffled")).values()
        together = set(first.qname) & set(second.qname)
        assert len(together) > 0.5 * min(len(set(first.qname)), len(set(second.qname)))
        assert list(first.qname[:20]) != list(second.qname[:20])

    def test_a_slow_one_asks_once_a_minute(self) -> None:
        for rows in by_client(infect("ranbyus", "slow", registered=False)).values():
            gaps = np.diff(rows.ts) / MICROSECONDS
            assert 50 < np.median(gaps) < 70

    def test_reports_are_periodic_with_jitter(self) -> None:
        for rows in by_client(infect("murofet-a", "burst", hours=2, start=START + 7200)).values():
            reports = rows.ts[rows.qname == rows.qname[-1]] / MICROSECONDS
            assert len(reports) > 10
            assert all(269 <= gap <= 331 for gap in np.diff(reports))

    def test_names_change_with_the_day_where_the_family_has_that(self) -> None:
        midnight = START // infected.DAY * infected.DAY + infected.DAY
        dated, fixed = (infect(name, "burst", start=midnight - 7200) for name in ("locky", "ramnit"))
        for session, share in ((dated, 0), (fixed, 1)):
            rows = session.transactions
            before, after = (set(rows.qname[where]) for where in (rows.ts < midnight * 1e6, rows.ts > midnight * 1e6))
            assert bool(before & after) == share


class TestTunnels:
    def test_all_are_read_and_the_names_are_names(self, reader: Reader) -> None:
        made = tunnels.quick("198.51.100.3", "tunnel.com", seed=1, start=START, phases=[tunnels.Phase(20, 1500, 500)])
        assert len(made) == 29
        for session in made:
            assert len(session.transactions) > 30, session.what
            for name, *_, answers in reader.records(session.transactions):
                octets = re.sub(r"\\x..", "?", name)
                assert len(octets) <= 253 and max(map(len, octets.split("."))) <= 63
                assert octets == octets.lower() and answers

    def test_the_same_for_a_seed_and_others_for_another(self) -> None:
        def of(seed: int) -> bytes:
            sessions = tunnels.quick("198.51.100.3", "tunnel.com", seed=seed, start=START, phases=tunnels.IDLE)
            return b"".join(lines(session.transactions) for session in sessions)

        assert of(1) == of(1) != of(2)

    def test_iodine_has_its_forms(self) -> None:
        session = tunnels.iodine("198.51.100.3", "t.com", seed=1, start=START, qtype="TXT", encoding="base32")
        assert set(session.transactions.qtype) == {number_of("TXT")}
        first = "".join(label[0] for label in labels(session))
        assert re.fullmatch("vlizysr{5}n[0p]+", first)
        assert all(re.fullmatch("[a-z0-5.]+", label[5:]) for label in labels(session) if label[0] == "0")
        idle = tunnels.iodine("198.51.100.3", "t.com", seed=1, start=START, phases=tunnels.IDLE).transactions
        pings = np.array([name.startswith("p") for name in idle.qname])
        assert np.median(np.diff(idle.ts[pings])) == pytest.approx(4 * MICROSECONDS, rel=0.05)

    def test_dnscat2_polls_each_second_in_hexadecimal(self) -> None:
        session = tunnels.dnscat2("198.51.100.3", "t.com", seed=1, start=START, phases=tunnels.IDLE)
        idle = labels(session)[3:]
        assert {len(label) for label in idle} == {34} and len(set(idle)) == len(idle) > 500
        assert all(re.fullmatch("[0-9a-f]{4}01[0-9a-f]{28}", label) for label in idle)
        assert len(set(session.transactions.qtype)) == 3

    def test_dns2tcp_connects_and_then_has_short_names(self) -> None:
        session = tunnels.dns2tcp("198.51.100.3", "t.com", seed=1, start=START, phases=tunnels.IDLE, qtype="KEY")
        words = [label.rpartition("=")[2] for label in labels(session)[:4]]
        assert words == ["auth", "auth", "resource", "connect"]
        assert {len(label) for label in labels(session)[4:]} == {10}

    @pytest.mark.parametrize(
        ("make", "bits"),
        [(tunnels.iodine, 7), (tunnels.dnscat2, 4), (tunnels.dns2tcp, 6)],
    )
    def test_a_busy_tunnel_carries_what_it_should(self, make: Any, bits: int) -> None:
        phases = (tunnels.Phase(60, 2000, 2000),), (tunnels.Phase(60),)
        busy, idle = (make("198.51.100.3", "t.com", seed=1, start=START, phases=each) for each in phases)
        assert len(busy.transactions) > 5 * len(idle.transactions)
        carried = sum(len(re.sub(r"\\x..", "?", label)) for label in labels(busy)) * bits / 8
        assert 60 * 2000 < carried < 60 * 2000 * 1.5

    @pytest.mark.parametrize("encoding", ["hex", "base32", "base64url"])
    @pytest.mark.parametrize("jitter", [0.3, 1])
    def test_a_leak_has_its_rate(self, encoding: str, jitter: float, reader: Reader) -> None:
        session = tunnels.leak(
            ["198.51.100.1", "198.51.100.2"],
            ["one.com", "two.com"],
            seed=1,
            start=START,
            hours=10,
            encoding=encoding,
            jitter=jitter,
        )
        rows = session.transactions
        assert len(rows) * 10 / 600 == pytest.approx(10, rel=0.1)
        assert len(set(rows.qname)) == len(rows) == len(reader.records(rows))
        assert Counter(name.split(".")[-2] for name in rows.qname).keys() == {"one", "two"}
        assert len(session.clients) == 2

    def test_a_leak_too_big_for_a_name_is_refused(self) -> None:
        with pytest.raises(ValueError, match="characters"):
            tunnels.leak(["198.51.100.1"], ["one.com"], seed=1, start=START, hours=1, chunk=150)


class TestLookalikes:
    @pytest.mark.parametrize("kind", lookalikes.KINDS)
    def test_every_practice_is_read_and_is_the_same_for_a_seed(self, kind: str, reader: Reader) -> None:
        def of(seed: int) -> Session:
            return lookalikes.lookalike(
                kind, ["198.51.100.1", "198.51.100.2"], NAMES, seed=seed, start=START, hours=0.5
            )

        rows = of(1).transactions
        assert len(rows) == len(reader.records(rows)) > 0
        assert lines(rows) == lines(of(1).transactions) != lines(of(2).transactions)
        assert rows.ts[0] >= START * MICROSECONDS and rows.ts[-1] < (START + 1800) * MICROSECONDS
        assert max(map(len, rows.qname)) <= 253
        assert max(len(label) for name in rows.qname for label in name.split(".")) <= 63

    @pytest.mark.parametrize(
        ("kind", "low", "high"),
        [("search suffixes", 0.4, 0.7), ("block lists", 0.6, 0.9), ("reverse", 0.4, 0.6), ("guest network", 0.4, 0.65)],
    )
    def test_as_much_fails_as_is_stated(self, kind: str, low: float, high: float) -> None:
        rows = lookalikes.lookalike(kind, ["198.51.100.1"], NAMES, seed=1, start=START, hours=2).transactions
        assert low < (rows.rcode == NXDOMAIN).mean() < high

    def test_everyday_gives_shares_of_the_clients(self) -> None:
        clients = addresses(1000)
        shares = {"typos": 0.1, "heartbeats": 0.05}
        given = list(lookalikes.everyday(clients, NAMES, seed=1, start=START, hours=3, shares=shares))
        seen = {kind: {one for made in given if made.what == kind for one in made.clients} for kind in shares}
        assert 90 <= len(seen["typos"]) <= 101 and 45 <= len(seen["heartbeats"]) <= 51
        assert seen["typos"] | seen["heartbeats"] <= set(clients)


class TestEvasions:
    def test_a_botnet_deals_its_names_out(self) -> None:
        clients = [f"198.51.100.{number}" for number in range(1, 41)]
        session = evasions.dealt(FAMILY["locky"], LEXICON, clients, seed=1, start=START, hours=2, names=200)
        rows = session.transactions
        failing = rows[rows.rcode == NXDOMAIN]
        assert len(set(failing.qname)) == len(failing) == 199
        assert max(Counter(failing.client).values()) == 5
        assert set(rows.client[rows.rcode == 0]) == set(clients)

    def test_a_client_goes_through_very_many_names(self, reader: Reader) -> None:
        made = list(evasions.rotating("198.51.100.1", seed=1, start=START, names=50_000, per_second=2000))
        rows = Transactions.join(made)
        assert len(set(rows.qname)) == len(rows) == 50_000
        assert (rows.ts[-1] - rows.ts[0]) / MICROSECONDS == pytest.approx(25, rel=0.01)
        assert len(reader.records(made[0])) == len(made[0])
        below = Transactions.join(list(evasions.rotating("198.51.100.1", seed=1, start=START, names=99, below="a.com")))
        assert all(name.endswith(".a.com") for name in below.qname)

    def test_names_that_look_like_others(self) -> None:
        session = evasions.disguised(["198.51.100.1"], "known.com", NAMES, seed=1, start=START, hours=1)
        names = [name.removesuffix(".known.com") for name in session.transactions.qname]
        assert len(set(names)) == len(names) > 50
        assert any("._domainkey" in name for name in names) and any(".in-addr.arpa" in name for name in names)

    def test_a_client_that_moves_within_its_prefix(self) -> None:
        session = evasions.disguised(["198.51.100.1"], "known.com", NAMES, seed=1, start=START, hours=1)
        moving = evasions.moving(session)
        assert len(moving.clients) == len(session.transactions)
        assert {str(ip_network((client, 64), strict=False)) for client in moving.clients} == {"2001:db8:77:1::/64"}

    def test_letters_types_and_queries_before(self) -> None:
        session = evasions.disguised(["198.51.100.1"], "known.com", NAMES, seed=1, start=START, hours=1)
        rows = session.transactions
        cased = evasions.mixed_case(session).transactions.qname
        assert [name.lower() for name in cased] == [*rows.qname] and any(name != name.lower() for name in cased)
        assert set(evasions.of_type(session, "AAAA").transactions.qtype) == {28}
        both = evasions.after_another(session, qtype="MX", rcode=UNANSWERED, seconds=0.25).transactions
        before = both[both.qtype == 15]
        assert [*before.qname] == [*rows.qname] and set(before.rcode) == {UNANSWERED}
        assert set((rows.ts - before.ts).tolist()) == {MICROSECONDS // 4}
        assert len(both) == 2 * len(rows)


class TestPopulation:
    def test_the_same_for_a_seed_and_others_for_another(self, reader: Reader) -> None:
        def of(seed: int) -> bytes:
            return b"".join(map(lines, Population(addresses(100), NAMES, seed=seed).slices(START, 0.5)))

        assert of(1) == of(1) != of(2)
        assert len(reader.read(zeeklog.header(START) + of(1))) > 100

    def test_has_its_rate_its_day_and_its_popularity(self) -> None:
        population = Population(addresses(500), NAMES, per_day=2000)
        slices = list(population.slices(START // 86400 * 86400, 24, 3600))
        rows = Transactions.join(slices)
        assert len(rows) == pytest.approx(500 * 2000, rel=0.03)
        assert len(slices[20]) > 1.5 * len(slices[4])
        assert np.mean([busyness(hour * 3600) for hour in range(24)]) == pytest.approx(1)
        asked = Counter(name.removeprefix("www.").split(".")[-2] for name in rows.qname)
        assert asked["name0"] > 20 * asked["name1000"] > 0
        assert {1, 28, 65, 16} <= set(rows.qtype)

    def test_a_dead_name_is_dead_for_everyone_and_for_good(self) -> None:
        rows = Transactions.join(list(Population(addresses(500), NAMES, per_day=2000, dead=0.1).slices(START, 8, 3600)))
        # The most popular thousand are never dead.
        rare = np.array([int(name.split(".")[-2].removeprefix("name")) > 1000 for name in rows.qname])
        dead = set(rows.qname[rows.rcode == NXDOMAIN])
        answered = set(rows.qname[(rows.rcode == 0) & rare])
        assert dead and not dead & answered
        assert len(dead) / len(dead | answered) == pytest.approx(0.1, abs=0.03)

    def test_slices_join_without_a_seam_and_in_order(self) -> None:
        population = Population(addresses(200), NAMES, per_day=5000)
        end = START * MICROSECONDS
        for part in population.slices(START, 0.2, 60):
            assert (np.diff(part.ts) >= 0).all()
            assert part.ts[0] >= end
            end += 60 * MICROSECONDS
            assert part.ts[-1] < end

    def test_addresses_are_as_many_as_asked_for_and_in_their_shortest_form(self) -> None:
        import ipaddress

        made = addresses(70_000)
        assert len(set(made)) == 70_000
        assert all(str(ipaddress.ip_address(one)) == one for one in made[::97])
        with pytest.raises(ValueError, match="clients"):
            addresses(0)
