"""The detector of open resolvers: from the sensor's log and from flow files to findings, and the reports of scans."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config, Detectors, Flows
from dnsvigil.config.types import Network
from dnsvigil.detectors.detector import Anomaly, Context
from dnsvigil.detectors.open_resolver import detector as open_resolver
from dnsvigil.detectors.open_resolver import flows as open_flows
from dnsvigil.detectors.open_resolver.detector import NO_FLOWS, NO_NETWORKS, NO_SENSOR, OpenResolver
from dnsvigil.detectors.open_resolver.flows import OwnFlows, _is_own
from dnsvigil.detectors.open_resolver.harm import MAX_OF_FLOWS, harm_of, score_of
from dnsvigil.detectors.open_resolver.kinds import LABELLED
from dnsvigil.detectors.open_resolver.traffic import FLOWS, SENSOR, Counts, Seen
from dnsvigil.ingest.flows import FlowsPart
from dnsvigil.ingest.intake import Intake
from dnsvigil.ingest.scans import Scans
from dnsvigil.records import utc_now
from dnsvigil.sources.netflow.follower import pending_file
from dnsvigil.sources.shadowserver.columns import scanned_host
from dnsvigil.store.findings import QUIET, Findings, findings_in
from dnsvigil.store.scanned_hosts import ScannedHosts
from dnsvigil.store.store import Store
from evaluation.detection import all_but
from exporters.flowfiles import SLOT, OneWay, asking, write_flows
from exporters.ingest.taking import Taking
from exporters.shadowserver import report, row
from exporters.zeeklogs import START as EPOCH
from exporters.zeeklogs import package_line, tsv

BEGIN = datetime(2023, 11, 14, 22, 13, 20)
LOG, CAPTURE = "dnsvigil_open_resolver", "dnsvigil_capture"
HOST, OTHER, NEW = "198.51.100.53", "198.51.100.54", "2001:db8:1::53"
NETWORKS = Flows(networks=[Network("198.51.100.0/24"), Network("2001:db8:1::/48")])
CONFIG = Config(detectors=Detectors(disabled=all_but("open_resolver"), top=1000), flows=NETWORKS)


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    with Store(tmp_path) as store, closing(Taking(store, CONFIG)) as taking:
        yield taking


def seen(seconds: float, host: str = HOST, **values: object) -> bytes:
    """A row of the sensor's log about five minutes that end so many seconds after the start."""
    first, last = f"{EPOCH + seconds - 290:.6f}", f"{EPOCH + seconds - 5:.6f}"
    given = {"ts": f"{EPOCH + seconds:.6f}", "time_first": first, "time_last": last, "host": host}
    return package_line(LOG, **given | {name: str(value) for name, value in values.items()})


def evaluated(store: Store, after: timedelta, config: Config = CONFIG) -> dict[str, Anomaly]:
    detector = OpenResolver(Context(store.path.parent, config))
    return {each.subject: each for each in detector.evaluate(store.rows, BEGIN + after)}


HOUR = timedelta(hours=1)
IDLE = {"askers": 3, "returning_askers": 0, "queries": 4, "responses": 4, "query_bytes": 160, "response_bytes": 240}
ABUSED = {
    "askers": 2, "returning_askers": 2, "queries": 300_000, "responses": 300_000,
    "query_bytes": 12_000_000, "response_bytes": 900_000_000,
}  # fmt: skip


class TestSensor:
    def test_an_idle_open_host_is_a_finding_and_an_abused_one_is_a_worse_one(self, taking: Taking) -> None:
        idle = [seen(minute * 60, OTHER, **IDLE) for minute in range(5, 60, 5)]
        abused = [seen(minute * 60, **(ABUSED if minute > 40 else IDLE)) for minute in range(5, 60, 5)]
        taking.take(LOG, *idle, *abused)
        found = evaluated(taking.store, HOUR)
        assert found.keys() == {HOST, OTHER}
        assert found[HOST].score > 0.7 > found[OTHER].score >= 0.5
        assert (found[HOST].severity, found[OTHER].severity) == ("critical", "warning")
        worst = found[HOST].evidence
        assert worst["what"] == (
            f"Host {HOST} is used for reflection: 600,000 responses with 1.8 GB to 2 outside addresses in 15 minutes,"
            " 75.0 bytes for each byte of the queries."
        )
        assert worst["looks_like"] == "abused for reflection" and worst["technique"].startswith("T1498.002")
        assert len(worst["nearest"]) == 5 and worst["nearest"][0].startswith("abused for reflection: ")
        assert "technique" not in found[OTHER].evidence
        assert (
            found[OTHER]
            .evidence["what"]
            .startswith(f"Host {OTHER} answers recursive queries of 3 outside clients: 44 responses with 2.6 kB in ")
        )

    def test_a_forwarder_is_named_with_who_resolves_for_it(self, taking: Taking) -> None:
        taking.take(LOG, seen(300, kind="forwarder", answered_from="192.0.2.8", **IDLE))
        found = evaluated(taking.store, HOUR)[HOST].evidence
        assert "and has 192.0.2.8 resolve them" in found["what"]
        assert found["looks_like"] == "customer forwarder" and found["sensor"]["resolved_by"] == "192.0.2.8"

    def test_who_comes_back_counts(self, taking: Taking) -> None:
        taking.take(LOG, *(seen(n * 300, **IDLE | {"returning_askers": 3}) for n in (1, 2, 3)))
        taking.take(LOG, *(seen(n * 300, OTHER, **IDLE) for n in (1, 2, 3)))
        found = evaluated(taking.store, HOUR)
        assert found[HOST].score > found[OTHER].score
        assert "3 outside clients (3 returning)" in found[HOST].evidence["what"]

    def test_a_host_stays_open_for_a_day_after_its_last_answer(self, taking: Taking) -> None:
        taking.take(LOG, seen(300, **IDLE))
        assert evaluated(taking.store, 20 * HOUR)[HOST].last_seen == BEGIN + 20 * HOUR
        assert HOST not in evaluated(taking.store, 25 * HOUR)

    def test_a_dismissed_one_is_reported_again_only_if_it_is_abused(self, taking: Taking) -> None:
        taking.take(LOG, seen(300, **IDLE))
        (finding,) = findings_in(taking.store.rows, "open")
        findings = Findings(taking.store)
        with taking.store.transaction():
            assert finding.id and findings.dismiss(finding.id, "on purpose", BEGIN + timedelta(minutes=5))
        taking.take(LOG, seen(3600, **IDLE))
        assert not findings_in(taking.store.rows, "open")
        taking.take(LOG, seen(7200, **ABUSED))
        assert [each.severity for each in findings_in(taking.store.rows, "open")] == ["critical"]

    def test_it_is_critical_only_while_it_is_abused(self, taking: Taking) -> None:
        severities = []
        for rows in (seen(300, **ABUSED), seen(600, **ABUSED)), (seen(3600, OTHER, **IDLE),), (seen(7200, **ABUSED),):
            taking.take(LOG, *rows)
            (finding,) = (each for each in findings_in(taking.store.rows, "open") if each.subject == HOST)
            severities.append((finding.severity, "used for reflection" in finding.evidence["what"]))
        assert severities == [("critical", True), ("warning", False), ("critical", True)]
        assert finding.count > 2  # of one finding, which stays open

    def test_state_is_new_for_a_day_and_still_open_then(self, taking: Taking) -> None:
        findings = Findings(taking.store)
        states = []
        for hours in (1, 20, 40):
            taking.take(LOG, seen(hours * 3600 - 600, **IDLE))
            with taking.store.transaction():
                findings.close_quiet(BEGIN + (hours - 0.5) * HOUR - QUIET)
            found = evaluated(taking.store, hours * HOUR)[HOST]
            states.append(found.evidence["state"])
        (finding,) = findings_in(taking.store.rows, "open")
        assert states == ["new", "new", "still open"]
        assert finding.first_seen == BEGIN + HOUR - timedelta(seconds=890)

    def test_more_hosts_than_are_listed_are_a_finding_and_hide_no_abused_one(
        self, taking: Taking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(open_resolver, "MAX_HOSTS", 20)
        taking.take(LOG, *(seen(300, f"198.51.100.{n}", **IDLE) for n in range(100, 200)), seen(600, **ABUSED))
        taking.take(CAPTURE, package_line(CAPTURE, ts=f"{EPOCH + 600:.6f}", dropped_open_resolver="7"))
        found = evaluated(taking.store, HOUR / 4)
        assert len(found) == 21 and found[HOST].severity == "critical"
        assert found["*"].score > 0.5
        assert found["*"].evidence["what"] == (
            "101 hosts of your networks seem to be open, but only 20 are listed. The sensors had no room for 7 open"
            " hosts and queries from outside in an hour. A flood may hide open resolvers."
        )

    def test_what_a_sensor_had_no_room_for_is_a_finding(self, taking: Taking) -> None:
        taking.take(CAPTURE, package_line(CAPTURE, dropped_open_resolver="7"))
        assert evaluated(taking.store, HOUR / 2)["*"].evidence["what"].startswith("The sensors had no room for 7 ")
        assert not evaluated(taking.store, 3 * HOUR)

    def test_rows_alone_are_evaluated_as_they_come(self, taking: Taking) -> None:
        taking.take(LOG, seen(300, **IDLE))
        assert [each.subject for each in findings_in(taking.store.rows, "open")] == [HOST]

    def test_an_old_sensor_knows_nothing_of_who_comes_back(self, taking: Taking) -> None:
        taking.take(LOG, seen(300, **IDLE | {"returning_askers": "-"}))
        assert "returning_askers" not in evaluated(taking.store, HOUR)[HOST].evidence["sensor"]


def exchange(host: str, client: str, queries: int, size: int) -> list[OneWay]:
    """What a client asks, and as many answers of a size."""
    question = asking(client, host, packets=queries, bytes=70 * queries)
    return [question, replace(question.back, bytes=size * queries)]


def take_flows(store: Store, folder: Path, slots: Sequence[Sequence[OneWay]], config: Config = CONFIG) -> datetime:
    """Have the collector read flow files; return when the last slot ends."""
    begin = EPOCH // SLOT * SLOT
    with closing(FlowsPart(store, config)) as part:
        for number, flows in enumerate(slots):
            part.ingest(pending_file(write_flows(folder, begin + number * SLOT, flows)))
        assert part.newest
        return part.newest


class TestFlows:
    def slots(self, count: int = 12) -> list[list[OneWay]]:
        """An abused host, an open one that asks others, and a name server."""
        found = []
        for number in range(count):
            flows = exchange(HOST, "203.0.113.7", 300_000, 3000)
            flows += exchange(OTHER, f"203.0.{number}.9", 1, 86) + exchange(OTHER, f"203.1.{number}.9", 1, 86)
            flows += exchange("192.0.2.53", OTHER, 60, 170)
            for client in range(40):
                flows += exchange("198.51.100.55", f"192.88.99.{client}", 2, 190)
            found.append(flows)
        return found

    def test_show_an_abused_host_and_an_open_one_but_no_name_server(self, taking: Taking, tmp_path: Path) -> None:
        now = take_flows(taking.store, tmp_path / "flows", self.slots())
        found = evaluated(taking.store, now - BEGIN)
        assert {host for host, each in found.items() if each.score >= 0.5} == {HOST, OTHER}
        assert found[HOST].severity == "critical"
        assert found[OTHER].score < found[HOST].score <= MAX_OF_FLOWS
        assert found["198.51.100.55"].evidence["looks_like"] == "authoritative server"
        assert "Flows cannot show whether it recurses." in found[OTHER].evidence["what"]
        assert found[OTHER].evidence["unknown_by_flows"]
        assert found[OTHER].evidence["flows"]["askers"] == 24
        assert found[OTHER].evidence["flows"]["servers_queried"] == 1

    @pytest.mark.parametrize(
        ("lengths", "added", "refers"),
        [
            (range(60, 80), [408, 408, 408, 392], True),
            (range(60, 80), [408, 16, 32, 78], False),
            (range(60, 80), [32], False),
            ([60] * 20, [408], False),
        ],
        ids=["a referral", "answers that vary", "small answers", "one name"],
    )
    def test_who_adds_the_same_to_every_query_may_refer_to_the_root(
        self, taking: Taking, tmp_path: Path, lengths: Sequence[int], added: Sequence[int], refers: bool
    ) -> None:
        flows = exchange("192.0.2.53", HOST, 20, 170) + exchange(HOST, "198.51.100.77", 9, 900)
        for number, length in enumerate(lengths):
            question = asking(f"203.0.113.{number}", HOST, bytes=length)
            flows += [question, replace(question.back, bytes=length + added[number % len(added)])]
        now = take_flows(taking.store, tmp_path / "flows", [flows])
        found = evaluated(taking.store, now - BEGIN)[HOST]
        assert ("added_bytes" in found.evidence["flows"]) is refers
        if refers:
            assert found.score < 0.5
            assert found.evidence["looks_like"] == "closed resolver"
            assert found.evidence["flows"]["added_bytes"] == [392, 408]
            assert "adds 392 or 408 bytes to the queries of 20 outside clients" in found.evidence["what"]

    def test_of_own_clients_are_not_from_outside(self, taking: Taking, tmp_path: Path) -> None:
        flows = exchange(HOST, "198.51.100.77", 9, 200) + exchange(HOST, "203.0.113.7", 1, 86)
        flows += exchange(NEW, "2001:db8:1:7::7", 9, 200) + exchange(NEW, "2001:db8:2::7", 1, 86)
        now = take_flows(taking.store, tmp_path / "flows", [flows])
        found = evaluated(taking.store, now - BEGIN)
        assert [found[host].evidence["flows"]["askers"] for host in (HOST, NEW)] == [1, 1]

    def test_who_comes_back_in_another_hour_returns(self, taking: Taking, tmp_path: Path) -> None:
        slots = [exchange(HOST, "203.0.113.7", 1, 86) + exchange(HOST, f"203.0.{n}.9", 1, 86) for n in range(14)]
        now = take_flows(taking.store, tmp_path / "flows", slots)
        flows = evaluated(taking.store, now - BEGIN)[HOST].evidence["flows"]
        assert (flows["askers"], flows["returning_askers"]) == (15, 1)

    def test_of_a_host_with_too_many_clients_those_of_one_slot_count(
        self, taking: Taking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(open_flows, "MAX_ASKERS", 50)
        now = take_flows(taking.store, tmp_path / "flows", self.slots(6))
        found = evaluated(taking.store, now - BEGIN)
        known = {host: each.evidence["flows"].get("returning_askers") for host, each in found.items()}
        assert known == {HOST: 0, OTHER: 0, "198.51.100.55": None}
        assert found["198.51.100.55"].evidence["flows"]["askers"] == 40
        assert found["198.51.100.55"].score < 0.5

    def test_what_is_hit_by_answers_is_a_victim_and_no_finding(self, taking: Taking, tmp_path: Path) -> None:
        hit = [OneWay(f"203.0.113.{n}", 53, HOST, 4444, packets=2000, bytes=2_800_000) for n in range(50)]
        now = take_flows(taking.store, tmp_path / "flows", [hit])
        found = evaluated(taking.store, now - BEGIN)[HOST]
        assert found.evidence["looks_like"] == "victim of reflection" and found.score < 0.5

    def test_without_any_log_are_evaluated_when_they_come(self, tmp_path: Path) -> None:
        with Store(tmp_path / "state") as store, closing(Intake(store, CONFIG)) as intake:
            now = take_flows(store, tmp_path / "flows", self.slots())
            assert intake.evaluate_flows(now)
            assert {each.subject for each in findings_in(store.rows, "open")} == {HOST, OTHER}

    def test_are_evaluated_with_the_logs_and_apart_where_these_are_behind(self, taking: Taking, tmp_path: Path) -> None:
        now = take_flows(taking.store, tmp_path / "flows", self.slots())
        taking.take("dns", tsv(ts=f"{EPOCH + 1800:.6f}"))
        assert not taking.intake.evaluate_flows(BEGIN + HOUR / 2)
        assert taking.intake.evaluate_flows(now)
        assert {each.subject for each in findings_in(taking.store.rows, "open")} == {HOST, OTHER}
        # What logs are evaluated at is another time.
        assert taking.store.meta("evaluated", "") < now.isoformat()

    def test_and_a_sensor_together_are_one_finding_with_both(self, taking: Taking, tmp_path: Path) -> None:
        taking.take(LOG, seen(300, OTHER, **IDLE))
        now = take_flows(taking.store, tmp_path / "flows", self.slots())
        found = evaluated(taking.store, now - BEGIN)[OTHER]
        assert found.evidence["seen_by"] == ["sensor", "flows"] and "unknown_by_flows" not in found.evidence
        assert found.score >= 0.5


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("198.51.100.0", True),
        ("198.51.100.255", True),
        ("198.51.101.0", False),
        ("98.51.100.7", False),
        ("2001:db8:1::7", True),
        ("2001:db8:1:ffff:ffff:ffff:ffff:ffff", True),
        ("2001:db8:2::", False),
        ("2001:db8::1", False),
        ("::1", False),
        ("::", False),
    ],
)
def test_own_addresses_are_told_from_others_in_sql(address: str, own: bool, tmp_path: Path) -> None:
    networks = OwnFlows(NETWORKS.networks)._networks
    with Store(tmp_path) as store:
        assert store.rows(f"SELECT {_is_own('client', networks)} FROM (SELECT ? AS client)", address) == [(own,)]


def scanned(store: Store, when: datetime, **values: str) -> None:
    """Put what a report has of the host into a store, however long ago it is."""
    hosts = ScannedHosts(store)
    with store.transaction():
        hosts.put([scanned_host(row(when, HOST, **values), when)])


class TestScans:
    def test_a_host_that_a_scan_alone_found_is_listed_with_the_scan_s_times(self, tmp_path: Path) -> None:
        now = utc_now()
        path = report(tmp_path, row(now - 2 * HOUR, HOST), row(now - 30 * HOUR, HOST))
        with Store(tmp_path / "state") as store, closing(Intake(store, CONFIG)) as intake:
            Scans(store, CONFIG).ingest(path)
            intake.evaluate_flows(now)
            (found,) = findings_in(store.rows, "open")
        assert (found.subject, found.evidence["seen_by"]) == (HOST, ["scan"])
        assert found.evidence["scan"]["last_seen"] == f"{now - 2 * HOUR:%Y-%m-%dT%H:%M:%SZ}"
        assert found.evidence["scan"]["first_seen"] == f"{now - 30 * HOUR:%Y-%m-%dT%H:%M:%SZ}"
        assert f"{found.first_seen:%Y-%m-%d %H:%M:%S}" == f"{now - 30 * HOUR:%Y-%m-%d %H:%M:%S}"
        assert "as a scan found at" in found.evidence["what"] and found.score >= 0.5

    def test_a_host_that_later_reports_do_not_name_is_closed(self, tmp_path: Path) -> None:
        now = utc_now()
        with Store(tmp_path / "state") as store, closing(Intake(store, CONFIG)):
            Scans(store, CONFIG).ingest(report(tmp_path, row(now - 60 * HOUR, HOST), row(now - 60 * HOUR, OTHER)))
            assert evaluated(store, now - BEGIN).keys() == {HOST, OTHER}
            Scans(store, CONFIG).ingest(report(tmp_path, row(now - HOUR, OTHER), name="next.csv"))
            assert evaluated(store, now - BEGIN).keys() == {OTHER}

    def test_a_host_that_both_saw_carries_both_times(self, taking: Taking) -> None:
        scanned(taking.store, BEGIN - HOUR, min_amplification="12.5")
        taking.take(LOG, seen(300, **IDLE))
        found = evaluated(taking.store, HOUR)[HOST]
        assert found.evidence["seen_by"] == ["sensor", "scan"]
        assert found.evidence["scan"]["last_seen"] < found.evidence["sensor"]["first_answer"]
        assert found.first_seen == BEGIN - HOUR


class TestInput:
    def detector(self, config: Config = CONFIG) -> OpenResolver:
        return OpenResolver(Context(Path(), config))

    def test_who_does_not_look_is_a_limit(self, taking: Taking, tmp_path: Path) -> None:
        detector = self.detector()
        detector.evaluate(taking.store.rows, BEGIN)
        assert detector.limits() == [NO_SENSOR, NO_FLOWS]
        taking.take(CAPTURE, package_line(CAPTURE))
        blind = self.detector(Config())
        now = take_flows(taking.store, tmp_path / "flows", [exchange(HOST, "203.0.113.7", 1, 86)])
        blind.evaluate(taking.store.rows, now)
        assert blind.limits() == [NO_NETWORKS]

    def test_what_does_not_come_any_more_is_lacking(self, taking: Taking, tmp_path: Path) -> None:
        detector = self.detector()
        assert detector.lacks(taking.store.rows, BEGIN + HOUR) == []
        taking.take(CAPTURE, package_line(CAPTURE))
        now = take_flows(taking.store, tmp_path / "flows", [exchange(HOST, "203.0.113.7", 1, 86)])
        scanned(taking.store, BEGIN)
        assert detector.lacks(taking.store.rows, now) == []
        assert detector.lacks(taking.store.rows, now + 2 * HOUR) == ["open-resolver log", "flows"]
        assert detector.lacks(taking.store.rows, now + timedelta(days=8)) == [
            "open-resolver log",
            "flows",
            "recent scans",
        ]


class TestLikeness:
    def test_of_a_reference_is_its_own_kind(self) -> None:
        nearest = LABELLED.nearest()
        for each in LABELLED.known:
            assert nearest.votes(each.origin, each.values).kind == each.kind

    def test_the_score_grows_with_each_part_of_the_harm(self) -> None:
        idle = Seen(HOST, SENSOR, BEGIN, BEGIN, 1, Counts(1, 1, 1, 1, 40, 60), Counts(), 1, 0, 0.0)
        more = [
            replace(idle, hours=20),
            replace(idle, askers=300),
            replace(idle, returning=30),
            replace(idle, day=Counts(1, 1, 1, 1, 40, 2400)),
            replace(idle, day=Counts(1, 1, 1, 10**6, 4 * 10**7, 6 * 10**7)),
        ]
        least = score_of(harm_of([idle]), True, 1.0)
        assert all(score_of(harm_of([each]), True, 1.0) > least for each in more)
        assert score_of(harm_of([replace(idle, origin=FLOWS)]), False, 0.9) < 0.5 < least
