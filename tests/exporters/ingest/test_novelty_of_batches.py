"""Novel and listed traffic, through the intake."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.config.collector import Config, Detectors
from dnsvigil.detectors.runner import GROUP
from dnsvigil.engines.duckdb import Steps, queries
from dnsvigil.ingest import novelty as watch
from dnsvigil.ingest import seen, watcher
from dnsvigil.ingest.detection import DetectionSnapshot
from dnsvigil.ingest.hunt import HuntPart
from dnsvigil.ingest.intake import Intake
from dnsvigil.records import NOVEL, Cursor
from dnsvigil.sources.blocklists.domain_lists import DomainLists
from dnsvigil.sources.zeek.lines import count_lines, split
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.store import novelty as kept
from dnsvigil.store.novelty import DROPPED
from dnsvigil.store.store import Store
from exporters.zeeklogs import HEADER, START, tsv

CLIENT, OTHER = "198.51.100.7", "203.0.113.9"
HOUR = 3600
FIRST_HOUR = START // HOUR * HOUR
CODES = {"NOERROR": "0", "SERVFAIL": "2", "NXDOMAIN": "3", "REFUSED": "5"}


class Taking:
    """An intake on a store of its own, into which questions go."""

    def __init__(self, store: Store, config: Config) -> None:
        self.store = store
        self._config = config
        self._intake = Intake(store, config)

    def restart(self) -> None:
        self._intake.close()
        self._intake = Intake(self.store, self._config)

    def close(self) -> None:
        self._intake.close()

    def take(self, *lines: bytes, sensor: str = "zeek") -> None:
        body = b"".join(lines)
        chunks, _, skipped = split(HEADER + body, None, DNS)
        self._intake.ingest(
            [Batch(chunks, count_lines(body), skipped, Cursor(sensor, sensor, 0, "", 0, b"", ""), 0, DNS)]
        )

    def flush(self) -> None:
        self._intake.flush()

    def reload_lists(self) -> None:
        (part,) = (part for part in self._intake._parts if isinstance(part, watch.NoveltyPart))
        assert part._lists
        part._lists.lists.reload()

    def rows(self, what: str) -> list[tuple[Any, ...]]:
        return self.store.rows(f"SELECT {what} FROM novel {'GROUP BY ALL' if '(' in what else ''} ORDER BY ALL")

    @property
    def detection(self) -> DetectionSnapshot:
        return self._intake.snapshot().of(DetectionSnapshot)

    @property
    def novelty(self) -> watch.NoveltySnapshot:
        return self._intake.snapshot().of(watch.NoveltySnapshot)


def asked(  # noqa: PLR0917
    name: str, second: float = 0, client: str = CLIENT, rcode: str = "NOERROR", answers: str = "-", qtype: str = "1"
) -> bytes:
    return tsv(
        ts=f"{FIRST_HOUR + second:.6f}",
        id_orig_h=client,
        query=name,
        rcode_name=rcode,
        rcode=CODES[rcode],
        qtype=qtype,
        answers=answers,
        TTLs=",".join("60" for _ in answers.split(",")) if answers != "-" else "-",
    )


@pytest.fixture
def config() -> Config:
    return Config()


@pytest.fixture
def taking(tmp_path: Path, config: Config) -> Iterator[Taking]:
    with Store(tmp_path) as store, closing(Taking(store, config)) as made:
        yield made


def test_a_name_is_new_once_and_for_who_asked_first(taking: Taking) -> None:
    taking.take(asked("a.b-rare.com", 5, OTHER), asked("a.b-rare.com", 4), asked("a.b-rare.com", 61))
    taking.take(asked("a.b-rare.com", 70, OTHER), asked("c.b-rare.com", 70, OTHER))
    assert taking.rows("domain, client, newly_observed, minutes, first_seen, last_seen, queries, names, samples") == [
        ("b-rare.com", CLIENT, True, 0b11, at(4), at(61), 2, 1, ["a.b-rare.com"]),
        ("b-rare.com", OTHER, True, 0b1, at(5), at(5), 1, 0, None),
        ("b-rare.com", OTHER, True, 0b10, at(70), at(70), 2, 1, ["c.b-rare.com"]),
    ]


def test_of_a_domain_that_is_not_newly_observed_only_new_names_are_noted(taking: Taking) -> None:
    taking.take(asked("www.google.com", 1), asked("x7.google.com", 2), asked("www.google.com", 3, OTHER))
    taking.take(asked("www.google.com", 4), asked("x8.google.com", 5, OTHER))
    assert taking.rows("domain, client, newly_observed, queries, names") == [
        ("google.com", CLIENT, False, 2, 2),
        ("google.com", OTHER, False, 1, 0),  # in the same batch as who asked first
        ("google.com", OTHER, False, 1, 1),
    ]


def test_only_labels_and_answers_that_were_never_there_carry_information(taking: Taking) -> None:
    taking.take(
        asked("4.3.2.1.b-list.com", answers="127.0.0.2"),
        asked("1.3.2.4.b-list.com", answers="127.0.0.2"),
        asked(r"\xff\x00ab.4.b-list.com", answers=r"TXT 5 h\xffllo", qtype="16"),
        asked("4.c-other.com"),
    )
    sums = "domain, sum(names), sum(labels), sum(label_bytes), sum(answer_bytes), sum(text_names), sum(design_names)"
    assert taking.store.rows(f"SELECT {sums} FROM novel GROUP BY ALL ORDER BY ALL") == [
        ("b-list.com", 3, 5, 8, len("127.0.0.2") + len("TXT 5 hxllo"), 1, 2),
        ("c-other.com", 1, 1, 1, 0, 0, 0),
    ]


def test_an_answer_is_told_from_a_label_of_the_same_text(taking: Taking) -> None:
    taking.take(asked("ns1.b-rare.com", answers="ns1", qtype="2"))
    assert taking.rows("labels, label_bytes, answer_bytes") == [(1, 3, 3)]


def test_of_several_answers_to_a_new_name_the_first_counts(taking: Taking) -> None:
    taking.take(
        asked("x.b-rare.com", 3, answers="192.0.2.1"),
        asked("x.b-rare.com", 1),
        asked("x.b-rare.com", 2, answers="2001:db8::1", qtype="28"),
    )
    assert taking.rows("answer_bytes") == [(len("2001:db8::1"),)]


@pytest.mark.parametrize(
    ("answer", "design"),
    [
        ("127.0.0.2,127.0.0.4", 1),
        ("127.0.0.2,192.0.2.1", 0),
        ("TXT 20 v=spf1 include:x -all", 1),
        ("TXT 14 V=DKIM1; p=MIG", 1),
        ("TXT 40 ds9f8j2903rjsdf", 0),
        ("TXT 9 k=rsa; p=MIGf", 1),
        ("-", 0),
    ],
)
def test_answers_tell_look_ups_that_are_long_by_design(taking: Taking, answer: str, design: int) -> None:
    taking.take(asked("x.b-list.com", answers=answer))
    assert taking.rows("design_names") == [(design,)]


def test_addresses_of_newly_observed_domains_are_kept(taking: Taking) -> None:
    taking.take(
        asked("a.b-rare.com"),
        asked("b.b-rare.com", answers="c.b-rare.com,192.0.2.1,2001:db8::1"),
        asked("www.google.com", answers="192.0.2.7"),
        asked("a.c-rare.com"),
    )
    assert taking.rows("domain, addresses") == [
        ("b-rare.com", ["192.0.2.1", "2001:db8::1"]),
        ("c-rare.com", None),
        ("google.com", None),
    ]


def test_names_of_one_label_and_of_reverse_zones_have_one_domain(taking: Taking) -> None:
    taking.take(
        asked("qwxzjkv", rcode="NXDOMAIN"),
        asked("wpad", rcode="NXDOMAIN"),
        asked("4.3.2.1.in-addr.arpa", rcode="NXDOMAIN", qtype="12"),
        asked("8.b.d.0.1.0.0.2.ip6.arpa", qtype="12"),
        asked("."),
    )
    assert taking.rows("domain, newly_observed, names, failed_names, labels, label_bytes") == [
        (".", False, 3, 2, 2, len("qwxzjkv") + len("wpad")),
        ("in-addr.arpa", False, 1, 1, 4, 4),
        ("ip6.arpa", False, 1, 0, 6, 6),
    ]


def test_a_domain_that_many_ask_for_is_newly_observed_no_more(taking: Taking) -> None:
    for ten in range(0, 200, 10):
        taking.take(*(asked("www.b-new.com", number, f"10.0.0.{number}") for number in range(ten, ten + 10)))
    ((clients, last),) = taking.rows("count(*), max(last_seen)")
    assert 50 < clients < 90
    taking.restart()
    taking.take(asked("www.b-new.com", 300), asked("www2.b-new.com", 300))
    assert taking.rows("count(*), max(last_seen)") == [(clients + 1, at(300))]
    assert last < at(150)


def test_after_a_day_a_domain_is_newly_observed_no_more(taking: Taking) -> None:
    taking.take(asked("www.b-new.com", 0))
    taking.take(asked("www.b-new.com", 23 * HOUR))
    taking.restart()
    taking.take(asked("www.b-new.com", 23.9 * HOUR))
    taking.take(asked("www.b-new.com", 24.1 * HOUR), asked("www.c-new.com", 24.1 * HOUR))
    assert taking.rows("domain, max(last_seen)") == [
        ("b-new.com", at(23.9 * HOUR)),
        ("c-new.com", at(24.1 * HOUR)),
    ]


def test_rows_add_up_to_the_truth_however_they_are_batched_and_restarted(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_MERGE_ROWS", 50)
    monkeypatch.setattr(kept, "_MERGED_AT_ONCE", 40)
    monkeypatch.setattr(watcher, "_SPAN", 60)
    dice = random.Random(5)
    lines: list[tuple[float, str, str, str]] = []
    for number in range(3000):
        name = f"h{dice.randrange(200)}.b{dice.randrange(5)}-rare.com"
        lines.append((3 * number, name, f"10.0.0.{dice.randrange(9)}", dice.choice(["NOERROR", "NXDOMAIN"])))
    truth: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    known: set[str] = set()
    for _, name, client, rcode in lines:
        count = truth[client, name.partition(".")[2]]
        count["queries"] += 1
        count["failures"] += rcode == "NXDOMAIN"
        count["names"] += name not in known
        known.add(name)
    with Store(tmp_path) as store, closing(Taking(store, config)) as taking:
        done = 0
        while done < len(lines):
            size = dice.randrange(1, 400)
            taking.take(*(asked(name, at, client, rcode) for at, name, client, rcode in lines[done : done + size]))
            done += size
            if dice.random() < 0.3:
                taking.restart()
        rows = store.rows("SELECT client, domain, sum(queries), sum(failures), sum(names) FROM novel GROUP BY ALL")
        assert {(client, domain): tuple(sums) for client, domain, *sums in rows} == {
            key: (count["queries"], count["failures"], count["names"]) for key, count in truth.items()
        }
        ((rows_kept, keys),) = store.rows(
            "SELECT count(*), count(DISTINCT (hour, client, domain, newly_observed)) FROM novel"
        )
        assert rows_kept <= keys + 200  # merged


def test_times_that_go_back_by_hours_land_in_their_hours(taking: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "_SPAN", 40)
    dice = random.Random(7)
    truth: Counter[datetime] = Counter()
    known: set[str] = set()
    for batch in range(8):
        lines = []
        for _ in range(200):
            when, name = (
                (5 - dice.randrange(5)) * HOUR + batch * 60 + dice.random(),
                f"h{dice.randrange(900)}.b-rare.com",
            )
            lines.append((when, name))
        for when, name in sorted(lines):
            if name not in known:
                truth[at(when // HOUR * HOUR)] += 1
            known.add(name)
        taking.take(*(asked(name, when) for when, name in lines))
    assert dict(taking.store.rows("SELECT hour, sum(names) FROM novel GROUP BY hour HAVING sum(names) > 0")) == truth
    assert taking.rows("sum(queries)") == [(1600,)]


@pytest.mark.parametrize("clients", [1, 60_000])
def test_a_batch_of_nothing_but_new_names_needs_little_memory(tmp_path: Path, config: Config, clients: int) -> None:
    names = 60_000
    text = ",".join(f"TXT 100 {letter * 100}" for letter in "ab")
    lines = (
        asked(
            f"{'x' * 50}{number}.b{number}-rare.com",
            number / 100,
            f"2001:db8:0:{number % clients:x}::1",
            answers=text,
            qtype="16",
        )
        for number in range(names)
    )
    with Store(tmp_path, max_memory="110MB") as store, closing(Taking(store, config)) as taking:
        taking.take(*lines)
        taking.flush()
        what = "sum(queries)::BIGINT, sum(names)::BIGINT, sum(labels)::BIGINT, sum(answer_bytes)::BIGINT"
        assert taking.rows(what) == [(names, names, names, 2 * names * len("TXT 100 ") + 200 * names)]
        assert store.rows("SELECT count(DISTINCT client) FROM novel") == [(clients,)]


def test_an_hour_with_more_rows_than_memory_has_room_for_is_merged(tmp_path: Path) -> None:
    rows = 400_000
    with Store(tmp_path, max_memory="150MB") as store:
        tables = kept.NovelTables(store, 10**9)
        hour = at(0)
        with store.transaction():
            store.rows(
                "INSERT INTO novel BY NAME SELECT ?::TIMESTAMP AS hour, 'c' || n % 100000 AS client,"
                " true AS newly_observed,"
                " 'd' || n || '.com' AS domain, 1 AS queries, ['x' || hash(n) || '.com', 'y' || n] AS samples"
                " FROM range(?) AS r(n)",
                hour,
                rows,
            )
        with store.transaction():
            assert tables.merge([hour]) == rows
        with store.transaction():
            store.rows("INSERT INTO novel FROM novel")
        with store.transaction():
            assert tables.merge([hour]) == rows
        what = "sum(queries), min(len(samples)), max(len(samples))"
        assert store.rows(f"SELECT {what} FROM novel") == [(2 * rows, 2, 2)]


def test_names_are_known_again_after_a_start(taking: Taking) -> None:
    taking.take(asked("www.b-rare.com", 0))
    taking.restart()
    taking.take(asked("www.b-rare.com", 1), asked("w2.b-rare.com", 2))
    assert taking.rows("sum(names)") == [(2,)]


def test_hashes_of_another_version_of_the_engine_are_forgotten(
    taking: Taking, caplog: pytest.LogCaptureFixture
) -> None:
    taking.take(asked("www.b-rare.com", 0))
    taking.store.rows("UPDATE meta SET value = '5' WHERE key = 'engine_hashes'")
    taking.restart()
    assert "what is new is learned anew" in caplog.text
    assert taking.store.rows("SELECT count(*) FROM seen_names") == [(0,)]
    taking.take(asked("www.b-rare.com", 1))
    assert taking.rows("domain, newly_observed, names, first_seen") == [("b-rare.com", True, 1, at(1))]
    caplog.clear()
    taking.restart()
    assert not caplog.text


def test_two_stores_know_a_name_by_different_hashes(tmp_path: Path, config: Config) -> None:
    found = []
    for name in ("one", "other"):
        with Store(tmp_path / name) as store, closing(Taking(store, config)) as taking:
            taking.take(asked("www.b-rare.com", 0))
            found.append({hash for (hash,) in store.rows("SELECT hash FROM seen_names")})
    assert len(found[0]) == len(found[1]) == 3  # of the name, its domain and its label
    assert not found[0] & found[1]


def test_a_batch_without_anything_new_runs_no_further_query(taking: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    of = {name for name in queries("novelty") if name != "asked"}
    for way, names in (("fill", slice(1, 2)), ("append", slice(0, 1))):
        run = getattr(Steps, way)
        monkeypatch.setattr(
            Steps, way, lambda self, *given, run=run, names=names: (ran.extend(given[names]), run(self, *given))
        )
    taking.take(asked("www.example.com", 0))
    assert of & set(ran) == {"noted", "sum_novel"}
    ran.clear()
    taking.take(asked("www.example.com", 1, OTHER), asked("www.example.com", 2))
    assert not of & set(ran)
    assert taking.rows("client, queries") == [(CLIENT, 1)]


def test_a_name_that_is_asked_for_text_later_counts_as_text(taking: Taking) -> None:
    """In one batch, in another, and after a start; the answers to text count, whatever else was answered before."""
    sums = "sum(names)::INT, sum(text_names)::INT, sum(answered_names)::INT, sum(answer_bytes)::INT"
    taking.take(asked("x.b-rare.com", 1, answers="127.0.0.1"), asked("x.b-rare.com", 2, answers="TXT 2 ab", qtype="16"))
    assert taking.rows(sums) == [(1, 1, 1, 8)]
    taking.take(asked("y.b-rare.com", 3, rcode="NXDOMAIN"))
    taking.restart()
    taking.take(asked("y.b-rare.com", 4, answers="TXT 2 cd", qtype="16"))
    assert taking.rows(sums) == [(2, 2, 2, 16)]
    taking.take(asked("y.b-rare.com", 5, answers="TXT 2 ef", qtype="16"), asked("y.b-rare.com", 6))
    assert taking.rows(sums) == [(2, 2, 2, 16)]  # known by now


def test_text_that_comes_later_below_a_domain_that_is_not_newly_observed_counts(taking: Taking) -> None:
    taking.take(asked("x7.google.com", 1))
    taking.take(asked("x7.google.com", 2), asked("x7.google.com", 3, OTHER, answers="TXT 2 ab", qtype="16"))
    rows = taking.rows("client, names, text_names, answered_names, labels, answer_bytes")
    assert rows == [(CLIENT, 1, 0, 0, 1, 0), (OTHER, 0, 1, 1, 0, 8)] or rows[0] == (CLIENT, 0, 1, 1, 0, 8)


@pytest.mark.parametrize("batches", [1, 5])
def test_what_decides_about_a_domain_are_failures_against_answers(taking: Taking, batches: int) -> None:
    """Queries for mail, and those that nothing answers, say neither."""
    lines = [
        asked("b-rare.com", 1, qtype="15", rcode="NXDOMAIN"),
        asked("b-rare.com", 2, rcode="REFUSED"),
        asked("b-rare.com", 3, rcode="SERVFAIL"),
        asked("b-rare.com", 4, rcode="NXDOMAIN"),
        asked("c-rare.com", 5, answers="192.0.2.1"),
    ]
    for first in range(0, 5, 5 // batches):
        taking.take(*lines[first : first + 5 // batches])
    sums = "domain, sum(queries)::INT, sum(failures)::INT, sum(missing)::INT, sum(resolved)::INT"
    assert taking.rows(sums) == [("b-rare.com", 4, 2, 1, 0), ("c-rare.com", 1, 0, 0, 1)]


def test_a_name_that_was_answered_once_has_not_failed(taking: Taking) -> None:
    taking.take(asked("x.b-rare.com", 1, rcode="NXDOMAIN"), asked("x.b-rare.com", 2, answers="TXT 2 ab", qtype="16"))
    assert taking.rows("names, failed_names, answered_names, failures") == [(1, 0, 1, 1)]


def test_clients_of_ipv6_are_prefixes_and_their_addresses_are_kept(tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "bad.txt").write_text("bad-domain.com\n")
    config = Config(detectors=Detectors(lists=lists, client_prefixes={"2001:db8:8000::/33": 56}))
    clients = ["2001:db8::1", "2001:db8::2", "2001:db8:8000:1::1", "2001:db8:8000:2::1", "fe80::1", "fe80::2"]
    with Store(tmp_path / "state") as store, closing(Taking(store, config)) as taking:
        for second, client in enumerate(clients):
            taking.take(asked(f"x{second}.b-rare.com", second, client), asked("www.bad-domain.com", second, client))
        taking.flush()
        names = {"2001:db8::/64": clients[:2], "2001:db8:8000::/56": clients[2:4], "fe80::1": None, "fe80::2": None}
        for table in ("novel", "listed"):
            rows = store.rows(
                f"SELECT client, list_sort(list_distinct(flatten(list(sources)))) FROM {table} GROUP BY 1"
            )
            assert {client: sources or None for client, sources in rows} == names


def test_addresses_of_one_prefix_do_not_make_a_domain_popular(taking: Taking) -> None:
    for ten in range(0, 200, 10):
        taking.take(*(asked("www.b-new.com", each, f"2001:db8::{each:x}") for each in range(ten, ten + 10)))
    assert taking.rows("sum(queries)::INT") == [(200,)]


def test_a_flood_below_one_domain_leaves_the_clients_other_domains(
    taking: Taking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MAX_NAMES", 100)
    client = "2001:db8::1"
    taking.take(*(asked(f"x{n}.b-list.com", n / 10, client, answers="127.0.0.2") for n in range(150)))
    before = taking.store.rows("SELECT count(*) FROM seen_names")
    lines = [
        asked(f"y{n}.b-list.com", 62 + n / 10, f"2001:db8::{n:x}", answers="127.0.0.2", qtype="1") for n in range(500)
    ]
    taking.take(*lines, asked("x.c-rare.com", 63, client), asked("y0.b-list.com", 64, OTHER))
    assert taking.rows("domain, client, queries, names, sources")[0][:4] == ("*", "2001:db8::/64", 500, 500)
    assert ("c-rare.com", "2001:db8::/64", 1, 1) in taking.rows("domain, client, queries, names")
    assert ("b-list.com", OTHER, 1, 1) in taking.rows("domain, client, queries, names")
    assert ("b-list.com", "2001:db8::/64", 150) in taking.rows("domain, client, sum(queries)::INT")
    ((known,),) = taking.store.rows("SELECT count(*) FROM seen_names")
    assert known == before[0][0] + 5  # two names with a label each, and a domain
    assert dict(DROPPED.rows(taking.store.rows)) == {"flood": 500}


@pytest.mark.parametrize("rcode", ["NOERROR", "NXDOMAIN"])
def test_a_flood_of_domains_leaves_those_with_another_outcome_and_those_with_many_names(
    taking: Taking, monkeypatch: pytest.MonkeyPatch, rcode: str
) -> None:
    monkeypatch.setattr(watch, "MAX_DOMAINS", 100)
    answers = {"NOERROR": "192.0.2.1", "NXDOMAIN": "-"}
    other = "NXDOMAIN" if rcode == "NOERROR" else "NOERROR"
    taking.take(*(asked(f"b{n}-flood.com", n / 10, rcode=rcode, answers=answers[rcode]) for n in range(150)))
    taking.take(
        *(asked(f"d{n}-flood.com", 62 + n / 100, rcode=rcode, answers=answers[rcode]) for n in range(500)),
        *(asked(f"e{n}-rare.com", 68 + n / 10, rcode=other, answers=answers[other]) for n in range(5)),
        *(asked(f"x{n}.f-tunnel.com", 69 + n / 10, rcode=rcode, answers=answers[rcode]) for n in range(seen.ROOM_FROM)),
    )
    domains = {domain for (domain,) in taking.rows("domain")}
    assert {"*", "f-tunnel.com", *(f"e{n}-rare.com" for n in range(5))} <= domains
    assert not any(domain.startswith("d") for domain in domains)
    assert taking.rows("domain, queries")[0] == ("*", 500)
    taking.take(asked("x.g-flood.com", HOUR + 1, rcode=rcode))  # what it was does not hold for the next hour
    taking.take(asked("x.h-flood.com", HOUR + 62, rcode=rcode))
    assert ("h-flood.com", CLIENT) in taking.rows("domain, client")


def test_a_client_that_exhausts_even_that_is_counted_only(taking: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MAX_NAMES", 10)
    taking.take(*(asked(f"x{n}.b{n % 9}-flood.com", n / 10) for n in range(90)))
    taking.take(*(asked(f"y{n}.c-flood.com", 62 + n / 10) for n in range(50)), asked("x.d-other.com", 63, OTHER))
    rows = taking.rows("domain, client, queries")
    assert rows[0] == ("*", CLIENT, 50)
    assert rows[-1] == ("d-other.com", OTHER, 1)


def test_a_client_that_asks_for_the_same_again_and_again_is_not_busy(
    taking: Taking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MAX_DOMAINS", 3)
    for minute in range(6):
        taking.take(*(asked(f"x{minute}.b{n}-rare.com", 61 * minute + n) for n in range(3)))
    assert {domain for (domain,) in taking.rows("domain")} == {f"b{n}-rare.com" for n in range(3)}


def test_what_is_too_old_or_too_much_is_dropped_and_counted(taking: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    for hour in range(30):
        taking.take(*(asked(f"h{hour}x{n}.b-rare.com", hour * HOUR + n) for n in range(3)))
    assert taking.rows("min(hour), max(hour)") == [(at(5 * HOUR), at(29 * HOUR))]
    assert DROPPED.rows(taking.store.rows) == []  # it was their time
    monkeypatch.setattr(kept, "MAX_ROWS", 10)
    taking.take(asked("x.b-rare.com", 30 * HOUR))
    ((left,),) = taking.rows("count(*)")
    assert left <= 10
    dropped = dict(DROPPED.rows(taking.store.rows))["rows"]
    assert dropped > 0
    assert taking.novelty.rows == left


def test_newly_observed_domains_have_a_bound(taking: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "MAX_NEWLY_OBSERVED", 10)
    taking.take(*(asked(f"b{n}-rare.com", n) for n in range(15)))
    assert taking.rows("newly_observed, count(*)") == [(False, 5), (True, 10)]
    assert DROPPED.rows(taking.store.rows) == [("domains", 5)]
    assert taking.store.rows("SELECT count(*) FROM newly_observed_domains") == [(10,)]


def test_what_lists_have_is_noted(tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "bad.txt").write_text("bad-domain.com\ngoogle-bad.example\nnot a name !!\n")
    config = Config(detectors=Detectors(lists=lists))
    with Store(tmp_path / "state") as store, closing(Taking(store, config)) as taking:
        taking.take(
            asked("www.bad-domain.com", 1),
            asked("bad-domain.com", 61, rcode="NXDOMAIN"),
            asked("other.com", 1),
            asked("x.bad-domain.com", 2, OTHER),
        )
        columns = "client, entry, lists, minutes, first_seen, last_seen, queries, failures"
        rows = store.rows(f"SELECT {columns} FROM listed ORDER BY ALL")
        assert rows == [
            (CLIENT, "bad-domain.com", ["bad.txt"], 0b11, at(1), at(61), 2, 1),
            (OTHER, "bad-domain.com", ["bad.txt"], 0b1, at(2), at(2), 1, 0),
        ]
        (file,) = taking.novelty.lists
        assert (file.name, file.names, file.skipped.total()) == ("bad.txt", 2, 1)


def test_answers_that_lead_to_what_lists_have_are_noted(tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "bad.txt").write_text("203.0.113.7\n198.51.100.0/24\n2001:db8:7::/48\n10.0.0.0/8\nbad-domain.com\n")
    config = Config(detectors=Detectors(lists=lists))
    with Store(tmp_path / "state") as store, closing(Taking(store, config)) as taking:
        taking.take(
            asked("a.one.example", 1, answers="alias.example,192.0.2.1,203.0.113.7"),
            asked("b.two.example", 2, answers="203.0.113.8"),
            asked("c.three.example", 3, OTHER, answers="198.51.100.1,198.51.100.2", qtype="1"),
            asked("d.four.example", 4, OTHER, answers="2001:db8:7::1", qtype="28"),
            asked("e.five.example", 5, OTHER, answers="10.0.0.1"),
            asked("bad-domain.com", 6, OTHER, answers="198.51.100.9"),
            asked("f.six.example", 7, OTHER, rcode="NXDOMAIN"),
        )
        taking.take(asked("b.two.example", 61, answers="203.0.113.7"))
        rows = store.rows(
            "SELECT client, entry, sum(queries)::INT, list_sort(flatten(list(samples))) FROM listed"
            " GROUP BY client, entry ORDER BY ALL"
        )
        assert rows == sorted(
            [
                (CLIENT, "203.0.113.7", 2, ["a.one.example", "b.two.example"]),
                (OTHER, "198.51.100.0/24", 2, ["bad-domain.com", "c.three.example"]),
                (OTHER, "2001:db8:7::/48", 1, ["d.four.example"]),
                (OTHER, "bad-domain.com", 1, ["bad-domain.com"]),
            ]
        )


def test_a_name_is_looked_up_once_until_the_lists_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "bad.txt").write_text("bad-domain.com\n")
    looked_up: list[str] = []
    match = DomainLists.match
    monkeypatch.setattr(DomainLists, "match", lambda self, names: match(self, looked_up.extend(names) or names))
    monkeypatch.setattr(HuntPart, "evaluate", lambda *_: None)  # which looks at the lists as well
    config = Config(detectors=Detectors(lists=lists))
    with Store(tmp_path / "state") as store, closing(Taking(store, config)) as taking:
        for second in range(3):
            taking.take(*(asked(name, second) for name in ("good.example", "bad-domain.com", "x.later.example")))
        assert store.rows("SELECT entry, sum(queries) FROM listed GROUP BY ALL") == [("bad-domain.com", 3)]
        assert Counter(looked_up) == {"good.example": 1, "x.later.example": 1, "bad-domain.com": 3}
        (lists / "worse.txt").write_text("later.example\n")
        taking.reload_lists()
        taking.take(asked("x.later.example", 3), asked("good.example", 3))
        assert store.rows("SELECT entry, queries FROM listed WHERE entry <> 'bad-domain.com'") == [("later.example", 1)]


def test_lists_that_are_not_there_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = Config(detectors=Detectors(lists=tmp_path / "none"))
    with Store(tmp_path / "state") as store, closing(Taking(store, config)) as taking:
        taking.take(asked("x.bad-domain.com"))
        (file,) = taking.novelty.lists
        assert (file.name, file.error) == (str(tmp_path / "none"), "No such file or directory")
    assert caplog.text.count("cannot be read") == 1


def test_without_detectors_nothing_is_noted(tmp_path: Path) -> None:
    config = Config(detectors=Detectors(disabled=[*entry_points(group=GROUP).names]))
    with Store(tmp_path) as store, closing(Taking(store, config)) as taking:
        taking.take(asked("x.b-rare.com"))
        assert store.rows("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'novel'") == [(0,)]
        assert taking.detection == DetectionSnapshot()


def test_columns_are_those_of_the_record(taking: Taking) -> None:
    query = "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'novel' ORDER BY column_index"
    assert dict(taking.store.rows(query)) == NOVEL


def at(second: float) -> datetime:
    return datetime(1970, 1, 1) + timedelta(seconds=FIRST_HOUR + second)


def test_batches_leave_no_memory_behind(taking: Taking) -> None:
    def taken() -> int:
        ((size,),) = taking.store.rows("SELECT sum(memory_usage_bytes) FROM duckdb_memory() WHERE tag LIKE '%TABLE%'")
        return int(size)

    sizes = []
    for batch in range(16):
        taking.take(*(asked(f"{'x' * 60}{batch}.b{number}-rare.com", batch) for number in range(1000)))
        taking.store.rows("CHECKPOINT")
        sizes.append(taken())
    assert sizes[-1] < 1.5 * sizes[1]
