"""The detector of cache poisoning: the sequential test, the past of answers, and the whole way from the logs."""

import random
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.config.collector import Config, Detectors, Domains
from dnsvigil.detectors.detector import Anomaly, Context
from dnsvigil.detectors.labelled import Neighbours
from dnsvigil.detectors.poisoning.detector import MAX_FINDINGS, Poisoning
from dnsvigil.detectors.poisoning.neighbours import FEATURES, LABELLED, kind
from dnsvigil.detectors.poisoning.sequential import bernoulli, whole_tests, zone_tests
from dnsvigil.store.findings import Findings, findings_in
from dnsvigil.store.store import Store
from evaluation.detection import all_but
from exporters.ingest.taking import Taking
from exporters.zeeklogs import START as EPOCH
from exporters.zeeklogs import package_line, tsv
from lab import poisonings
from lab.poisonings import Sensor

BEGIN = datetime(2023, 11, 14, 22, 13, 20)
DAY = 86_400
POISONING, PDNS, CAPTURE = "dnsvigil_poisoning", "dnsvigil_pdns", "dnsvigil_capture"
CONFIG = Config(detectors=Detectors(disabled=all_but("poisoning"), top=1000))
RESOLVER = poisonings.RESOLVER
SAMPLE = Path(poisonings.__file__).parent / "samples" / "zeek-package" / "dnsvigil_poisoning.log"
HINTS = ("forged_ns", "ttl_jumps", "ip_ttl_jumps")


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    with Store(tmp_path) as store, closing(Taking(store, CONFIG)) as taking:
        yield taking


def take(taking: Taking, rows: list[dict[str, str]], **options: str) -> None:
    taking.take(POISONING, *(package_line(POISONING, **row) for row in rows), **options)


def made(name: str, seed: int = 101, start: float = EPOCH) -> list[dict[str, str]]:
    return [*poisonings.rows(name, seed, start)]


def detector(taking: Taking, config: Config = CONFIG) -> Poisoning:
    return Poisoning(Context(taking.store.path.parent, config))


def evaluated(taking: Taking, seconds: float = 400, config: Config = CONFIG) -> dict[str, Anomaly]:
    found = detector(taking, config).evaluate(taking.store.rows, BEGIN + timedelta(seconds=seconds))
    return {each.subject: each for each in found}


def reported(taking: Taking, seconds: float = 400) -> dict[str, Anomaly]:
    return {subject: each for subject, each in evaluated(taking, seconds).items() if each.score >= 0.5}


def had(name: str, rrtype: str, rdata: str, seconds: float, **values: str) -> bytes:
    """Return the row of a tuple that was seen at a time, in seconds from the beginning."""
    at = f"{EPOCH + seconds:.6f}"
    given = {"ts": at, "time_first": at, "time_last": at, "ttl_min": "300", "ttl_max": "300", "count": "20"} | values
    return package_line(PDNS, rrname=name, rrtype=rrtype, rdata=rdata, bailiwick="-", **given)


def past(taking: Taking, *tuples: tuple[str, str, str], days: int = 5, until: float = 0, **values: str) -> None:
    """Let these tuples have been seen every hour for some days."""
    for day in range(-days, 0):
        taking.take(
            PDNS, *(had(*each, day * DAY + hour * 3600, **values) for hour in range(0, 24, 6) for each in tuples)
        )
    taking.take(PDNS, *(had(*each, until - 60, **values) for each in tuples))


def rows_of(rows: list[dict[str, str]], zone: str | None) -> list[Any]:
    return [row for row in map(poisonings.as_row, rows) if row.zone == zone]


class TestSequentialTest:
    @pytest.mark.parametrize("fixed", [True, False])
    def test_is_sure_of_guessing_within_twenty_packets(self, fixed: bool) -> None:
        for seed in range(100, 120):
            sensor = Sensor()
            poisonings.guessing(sensor, random.Random(seed), EPOCH, fixed=fixed)
            tests = zone_tests(rows_of(sensor.finish(), "bank.example"), 0.05)
            assert tests.until_alarm is not None and tests.until_alarm <= 20

    def test_takes_longer_where_packets_are_lost(self) -> None:
        rows = rows_of(made("guessing"), "bank.example")
        rows = [row._replace(signs=row.signs | dict.fromkeys(HINTS, 0)) for row in rows]
        at = [zone_tests(rows, usual) for usual in (0.05, 0.3)]
        assert 10 == at[0].until_alarm < at[1].until_alarm <= 100

    def test_does_not_count_the_sign_by_which_a_zone_was_chosen(self) -> None:
        sensor = Sensor()
        for number in range(50):
            sensor.answer(EPOCH + 400 * number, f"z{number}.example", "wrong_port")
        assert all(not zone_tests([row], 0.05).sum for row in map(poisonings.as_row, sensor.finish()) if row.zone)

    def test_raises_no_alarm_at_the_usual_share(self) -> None:
        dice = random.Random(3)
        alarms = 0
        for _ in range(2000):
            sensor = Sensor()
            for answer in range(60):
                signs = ["wrong_port"] if not answer or dice.random() < 0.05 else []
                sensor.answer(EPOCH + answer, "www.example", *signs)
            alarms += zone_tests(rows_of(sensor.finish(), "www.example"), 0.05).alarm is not None
        assert alarms == 0

    def test_hints_alone_raise_none(self) -> None:
        sensor = Sensor()
        for number in range(500):
            sensor.answer(
                EPOCH + number / 10, "www.example", "out_of_bailiwick", "forged_ns", "ttl_jumps", "ip_ttl_jumps"
            )
        tests = zone_tests(rows_of(sensor.finish(), "www.example"), 0.05)
        assert 0.3 < tests.score < 0.5

    def test_ratio_is_that_of_the_probabilities(self) -> None:
        assert bernoulli(1, 1, 0.05, 0.5) == pytest.approx(2.302585)
        assert bernoulli(0, 1, 0.05, 0.5) == pytest.approx(-0.641854)

    def test_usual_rate_of_a_resolver_is_learnt_from_quiet_rows_alone(self) -> None:
        def resolver(rate: int, hours: int) -> list[Any]:
            sensor = Sensor()
            for slot in range(hours * 12):
                for number in range(rate * 300 // 10):
                    sensor.other(EPOCH + slot * 300 + 10 * number / rate, "icmp_unreachable")
            return rows_of(sensor.finish(), None)

        assert not whole_tests(resolver(4, 10)).alarm
        assert whole_tests(resolver(100, 1)).alarm


class TestOnTheWire:
    def test_guessing_is_a_finding_of_its_resolver_and_zone(self, taking: Taking) -> None:
        take(taking, made("guessing"))
        (found,) = evaluated(taking).values()
        assert (found.subject_type, found.subject) == ("zone", f"bank.example at {RESOLVER}")
        assert found.score > 0.9 and found.severity == "warning"
        evidence = found.evidence
        assert evidence["what"].startswith(f"Resolver {RESOLVER}, zone bank.example: ")
        assert (evidence["kind"], evidence["landed"], evidence["domains"]) == ("guessing", False, ["bank.example"])
        assert evidence["alarm_after_signs"] <= 20
        assert evidence["records"] == ["ns.bank.example A 203.0.113.66"]

    @pytest.mark.parametrize("name", ["ordinary", "loss", "one direction", "bailiwick"])
    @pytest.mark.parametrize("seed", range(201, 206))
    def test_what_is_no_attack_for_sure_is_none(self, taking: Taking, name: str, seed: int) -> None:
        take(taking, made(name, seed))
        assert reported(taking) == {}

    @pytest.mark.parametrize("name", ["scan", "fragments", "injection"])
    def test_signs_of_the_resolver_as_a_whole_are_its_finding(self, taking: Taking, name: str) -> None:
        take(taking, made(name))
        found = reported(taking)[RESOLVER]
        assert found.subject_type == "resolver"
        assert found.evidence["kind"] == name

    def test_a_finding_ends_an_hour_after_the_last_sign(self, taking: Taking) -> None:
        take(taking, made("guessing"))
        assert reported(taking, 3500)
        assert not reported(taking, 4500)

    def test_a_dismissed_one_is_reported_again_only_if_data_landed(self, taking: Taking) -> None:
        past(taking, ("ns.bank.example", "A", "198.51.100.7"))
        take(taking, made("guessing"))
        (finding,) = findings_in(taking.store.rows, "open")
        findings = Findings(taking.store)
        with taking.store.transaction():
            assert finding.id and findings.dismiss(finding.id, "a test of ours", BEGIN)
        take(taking, made("guessing", start=EPOCH + 600))
        assert not findings_in(taking.store.rows, "open")
        taking.take(PDNS, had("ns.bank.example", "A", "203.0.113.66", 700))
        take(taking, made("guessing", start=EPOCH + 1200))
        assert [each.severity for each in findings_in(taking.store.rows, "open")] == ["critical"]

    def test_loss_at_the_sensor_lowers_the_weight(self, taking: Taking) -> None:
        take(taking, made("guessing")[:2])
        before = next(iter(evaluated(taking).values())).score
        lines = {"dns_queries": "1000", "dns_responses": "1000"}
        taking.take(CAPTURE, package_line(CAPTURE, unmatched_queries="200", unmatched_responses="200", **lines))
        assert max((each.score for each in evaluated(taking).values()), default=0) < before - 0.1

    def test_forged_answers_alone_are_no_loss(self, taking: Taking) -> None:
        take(taking, made("guessing")[:2])
        before = next(iter(evaluated(taking).values())).score
        values = {"dns_queries": "500", "dns_responses": "20500", "unmatched_responses": "20000"}
        taking.take(CAPTURE, package_line(CAPTURE, packets_dropped="0", unmatched_queries="0", **values))
        assert next(iter(evaluated(taking).values())).score == before

    def test_a_flood_of_signs_is_bounded_and_a_finding_and_hides_nothing_that_landed(self, taking: Taking) -> None:
        past(taking, ("www.bank.example", "A", "198.51.100.7"))
        sensor = Sensor()
        for number in range(300):
            poisonings.guessing(
                sensor, random.Random(number), EPOCH + number / 10, forged=40, zone=f"z{number}.example"
            )
        poisonings.guessing(sensor, random.Random(1), EPOCH + 40, forged=2000)
        take(taking, sensor.finish())
        taking.take(PDNS, had("ns.bank.example", "A", "203.0.113.66", 60))
        found = reported(taking)
        assert len(found) == MAX_FINDINGS + 1
        assert found[RESOLVER].evidence["kind"] == "flood"
        assert found[f"bank.example at {RESOLVER}"].severity == "critical"

    def test_two_sensors_that_see_the_same_count_once(self, taking: Taking) -> None:
        rows = made("guessing")[:2]
        take(taking, rows)
        before = next(iter(evaluated(taking).values())).score
        # The clock of the other one is three seconds ahead.
        moved = dict.fromkeys(("ts", "time_first", "time_last"), 3.0)
        other = [row | {name: f"{float(row[name]) + ahead:.6f}" for name, ahead in moved.items()} for row in rows]
        take(taking, other, sensor="other")
        assert next(iter(evaluated(taking).values())).score == before

    def test_logs_of_a_sensor_without_records_are_read(self, taking: Taking) -> None:
        take(taking, [row | {"sample_records": "-", "odd_fragments": "-"} for row in made("guessing")])
        (found,) = reported(taking).values()
        assert "is not known" in found.evidence["what"]


def test_the_log_of_a_real_attack_is_enough_within_twenty_packets(taking: Taking) -> None:
    _, *lines = [line for line in SAMPLE.read_bytes().splitlines(keepends=True) if not line.startswith(b"#close")]
    head = next(line for line in lines if line.startswith(b"#fields")).decode().rstrip().split("\t")[1:]
    rows = [line for line in lines if not line.startswith(b"#")]
    take(taking, [dict(zip(head, line.decode().rstrip("\n").split("\t"), strict=True)) for line in rows])
    ((newest,),) = taking.store.rows("SELECT max(ts) FROM poisoning")
    (found,) = detector(taking).evaluate(taking.store.rows, newest)
    assert found.subject == "example.com at 203.0.113.10" and found.score > 0.9
    assert found.evidence["alarm_after_signs"] == 10
    assert found.evidence["kind"] == "guessing"
    assert "ns.example.com A 203.0.113.66" in found.evidence["records"]


class TestThePast:
    def test_forged_data_that_landed_is_critical(self, taking: Taking) -> None:
        past(taking, ("ns.bank.example", "A", "198.51.100.7"))
        take(taking, made("guessing"))
        taking.take(PDNS, had("ns.bank.example", "A", "203.0.113.66", 30, ttl_min="86000", ttl_max="86400"))
        (found,) = reported(taking).values()
        assert found.severity == "critical" and found.evidence["landed"] and found.evidence["clients_got_it"]
        assert "Forged data landed, and clients get it" in found.evidence["what"]
        assert "ns.bank.example has A 203.0.113.66 since 2023-11-14 22:13 UTC" in found.evidence["what"]

    def test_an_answer_out_of_bailiwick_against_the_past_is_found(self, taking: Taking) -> None:
        past(taking, ("ns1.bank.example", "A", "198.51.100.7"))
        take(taking, made("bailiwick"))
        (found,) = reported(taking).values()
        assert found.subject == f"attacker.example at {RESOLVER}"
        assert "ns1.bank.example: wrong answers on the wire have data that the name never had" in found.evidence["what"]

    def test_one_about_a_name_without_a_past_is_found_if_it_landed(self, taking: Taking) -> None:
        take(taking, made("bailiwick"))
        assert reported(taking) == {}
        taking.take(PDNS, had("ns1.bank.example", "A", "203.0.113.66", 60))
        (found,) = reported(taking).values()
        assert found.severity == "critical" and found.evidence["landed"]

    def test_one_with_the_data_of_the_past_is_not(self, taking: Taking) -> None:
        past(taking, ("ns1.bank.example", "A", "203.0.113.66"))
        take(taking, made("bailiwick"))
        assert reported(taking) == {}

    def test_a_move_is_none(self, taking: Taking) -> None:
        past(taking, ("www.shop.example", "A", "198.51.100.7"), ("shop.example", "NS", "ns1.old.example"))
        new = [had("www.shop.example", "A", "203.0.113.9", 300), had("shop.example", "NS", "ns1.new.example", 300)]
        taking.take(PDNS, *new, *(had("www.shop.example", "A", "203.0.113.9", 300 + 60 * n) for n in range(5)))
        assert reported(taking, 900) == {}

    def test_fail_over_and_back_is_none(self, taking: Taking) -> None:
        past(taking, ("www.shop.example", "A", "198.51.100.7"))
        taking.take(
            PDNS, had("www.shop.example", "A", "203.0.113.9", 300), had("www.shop.example", "A", "198.51.100.7", 1500)
        )
        assert reported(taking, 1600) == {}

    def test_names_of_a_cdn_are_not_stable(self, taking: Taking) -> None:
        past(taking, *(("www.cdn.example", "A", f"198.{number}.100.7") for number in range(8)))
        taking.take(PDNS, had("www.cdn.example", "A", "203.0.113.9", 300, ttl_max="90000"))
        assert evaluated(taking) == {}

    def test_a_name_server_whose_domain_lapsed_is_a_take_over(self, taking: Taking) -> None:
        zone = ("bank.example", "NS", "ns1.lapsed.example")
        past(taking, zone, ("ns1.lapsed.example", "A", "198.51.100.7"), until=-3 * DAY, days=9)
        gone = [
            tsv(
                ts=f"{EPOCH - DAY + n}.0",
                query="ns1.lapsed.example",
                rcode="3",
                rcode_name="NXDOMAIN",
                answers="-",
                TTLs="-",
            )
            for n in range(5)
        ]
        taking.take("dns", *gone)
        taking.take(PDNS, had("ns1.lapsed.example", "A", "203.0.113.66", 0), had(*zone, 60))
        (found,) = reported(taking, 600).values()
        assert (found.subject_type, found.subject) == ("zone", "bank.example")
        assert "did not exist for a while" in found.evidence["what"]

    def test_an_address_that_turns_up_for_unrelated_names_is_injected(self, taking: Taking) -> None:
        names = [f"www.site{number}-x.com" for number in range(12)]
        homes = {name: f"{20 + number}.7.0.1" for number, name in enumerate(names)}
        past(taking, *((name, "A", home) for name, home in homes.items()))
        taking.take(PDNS, *(had(name, "A", "31.13.94.7", 100 + 10 * n, ttl_max="97") for n, name in enumerate(names)))
        taking.take(PDNS, *(had(name, "A", home, 900) for name, home in homes.items()))
        found = reported(taking, 1200)["31.13.94.7"]
        assert found.subject_type == "host"
        assert found.evidence["domains_affected"] == 12

    def test_a_new_address_of_one_network_is_not(self, taking: Taking) -> None:
        names = [f"www.site{number}-x.com" for number in range(12)]
        past(taking, *((name, "A", "20.7.0.1") for name in names))
        taking.take(PDNS, *(had(name, "A", "31.13.94.7", 100) for name in names))
        taking.take(PDNS, *(had(name, "A", "20.7.0.1", 900) for name in names))
        assert reported(taking, 1200) == {}


class TestWhatIsMissing:
    def test_without_the_package_it_is_a_limit(self, taking: Taking) -> None:
        taking.take("dns", tsv())
        poisoning = detector(taking)
        assert [*poisoning.evaluate(taking.store.rows, BEGIN)] == []
        assert poisoning.lacks(taking.store.rows, BEGIN) == []
        assert "no sensor" in poisoning.limits()[0] and "no table of AS numbers" in poisoning.limits()[1]

    @pytest.mark.parametrize(
        ("queries", "responses", "lacking"),
        [("0", "500", "queries of a resolver"), ("500", "0", "answers to a resolver")],
    )
    def test_one_direction_is_lacking(self, taking: Taking, queries: str, responses: str, lacking: str) -> None:
        take(taking, [made("ordinary")[-1] | {"zone": "-", "queries": queries, "responses": responses}])
        assert detector(taking).lacks(taking.store.rows, BEGIN + timedelta(hours=1)) == [lacking]

    def test_a_package_without_rows_has_no_sensor_upstream(self, taking: Taking) -> None:
        taking.take(CAPTURE, package_line(CAPTURE))
        poisoning = detector(taking)
        now = BEGIN + timedelta(hours=1)
        assert poisoning.lacks(taking.store.rows, now) == ["traffic between resolvers and servers"]
        assert [*poisoning.evaluate(taking.store.rows, now)] == [] and len(poisoning.limits()) == 1

    def test_a_file_that_cannot_be_read_is_a_problem(self, taking: Taking) -> None:
        past(taking, ("ns.bank.example", "A", "198.51.100.7"))
        take(taking, made("guessing"))
        for path in (taking.store.path.parent / "passive-dns").glob("*.names.parquet"):
            path.write_bytes(b"PAR1" + bytes(1000))
        poisoning = detector(taking)
        assert [*poisoning.evaluate(taking.store.rows, BEGIN + timedelta(seconds=400))]
        assert "cannot be read" in poisoning.problems()[0]

    def test_a_hole_in_the_table_of_as_numbers_counts_half(self, taking: Taking, tmp_path: Path) -> None:
        table = tmp_path / "asn.csv"
        table.write_text("198.51.0.0,198.51.255.255,64500,Provider\n")
        past(taking, ("www.shop-x.com", "A", "198.51.100.7"))
        new, old = (had("www.shop-x.com", "A", address, 300) for address in ("203.0.113.9", "198.51.100.7"))
        taking.take(PDNS, new, old, had("www.shop-x.com", "A", "198.51.100.7", 900))
        config = Config(detectors=CONFIG.detectors, domains=Domains(networks=[table]))
        by_table = evaluated(taking, 1000, config)["shop-x.com"].score
        assert by_table < evaluated(taking, 1000)["shop-x.com"].score < 0.5


class TestNeighbours:
    @pytest.fixture
    def neighbours(self, tmp_path: Path) -> Neighbours:
        neighbours = Neighbours(LABELLED, tmp_path)
        neighbours.reload()
        return neighbours

    def test_windows_are_those_that_the_lab_makes(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(poisonings, "TRAINING", range(1, 4))  # to make all of them takes long
        poisonings.main()
        rows = LABELLED.file.read_text().splitlines()
        some = [row for row in rows if row.split(",")[2] in ("variant", "seed 1", "seed 2", "seed 3")]
        assert capsys.readouterr().out.splitlines() == some

    @pytest.mark.parametrize("name", poisonings.KINDS)
    def test_windows_of_other_seeds_have_their_kind(self, neighbours: Neighbours, name: str) -> None:
        windows = [window for seed in range(301, 306) for window in poisonings.windows(name, seed)]
        right = sum(kind(neighbours, window).name == name for window in windows)
        assert right >= 0.8 * len(windows)

    def test_what_is_unlike_all_is_novel(self, neighbours: Neighbours) -> None:
        window = [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]
        assert kind(neighbours, dict(zip(FEATURES, window, strict=True))).name == "novel"
