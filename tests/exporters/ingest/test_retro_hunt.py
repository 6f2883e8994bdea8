"""The retro hunt: new entries of lists are looked up in all of passive DNS, once, in small steps, over restarts."""

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dnsvigil.api.passive_dns.question import anything
from dnsvigil.config.collector import Config, Detectors
from dnsvigil.engines import hunt as engine
from dnsvigil.engines.hunt import Hunt, Indicator, entry
from dnsvigil.engines.tuples import TupleReader
from dnsvigil.ingest import hunt, new_entries, passive_dns
from dnsvigil.ingest.hunt import HuntPart
from dnsvigil.ingest.novelty import NoveltyPart
from dnsvigil.records import utc_now
from dnsvigil.store import tuple_file
from dnsvigil.store.findings import Finding, Wanted, list_findings
from dnsvigil.store.passive_dns import FOLDER
from dnsvigil.store.set_aside import entries
from dnsvigil.store.store import Store
from exporters.ingest.taking import Taking
from exporters.ingest.test_passive_dns import HOUR, PDNS, row
from exporters.tuples import all_tuples
from exporters.zeeklogs import START, tsv


class Hunting(Taking):
    """An intake with lists, which are as the tests write them, in a store with passive DNS."""

    def __init__(self, store: Store, lists: Path) -> None:
        super().__init__(store, Config(detectors=Detectors(lists=lists)))
        self.lists = lists
        self.time = 0

    def write(self, name: str, *entries: str) -> None:
        """Write a list, which has an entry that nobody asks for, and have it read."""
        (self.lists / name).write_text("\n".join(["quiet.example", *entries]))
        self.reload()

    def reload(self) -> None:
        part = next(each for each in self.intake._parts if isinstance(each, NoveltyPart))
        assert part.lists is not None
        part.lists.reload()

    @property
    def part(self) -> HuntPart:
        return next(each for each in self.intake._parts if isinstance(each, HuntPart))

    def round(self) -> None:
        """Take a record that has nothing to do with it, once the new entries are found."""
        self.time += 1
        self.take(PDNS, row(self.time, rrname="www.example.org", rdata="203.0.113.1"))
        self.part._new.wait()

    def hunt(self) -> None:
        """Take rounds until nothing waits: one finds the entries, one begins."""
        for _ in range(3):
            self.round()
        while self.value("dnsvigil_hunt_waiting_entries"):
            self.round()

    @property
    def findings(self) -> dict[str, Finding]:
        return {each.subject: each for each in list_findings(self.store.rows, Wanted(None, "hunt"))}

    def counts(self) -> tuple[float, ...]:
        return tuple(
            self.value("dnsvigil_hunt_entries_total", outcome=each) for each in ("found", "not_found", "incomplete")
        )


@pytest.fixture
def hunting(tmp_path: Path) -> Iterator[Hunting]:
    lists = tmp_path / "lists"
    lists.mkdir()
    with Store(tmp_path / "state") as store, closing(Hunting(store, lists)) as hunting:
        yield hunting


def fill(taking: Taking) -> None:
    """Have tuples in files, and others in the table."""
    taking.take(
        PDNS,
        row(-3 * HOUR, rrname="www.evil.example", rdata="192.0.2.66", count=2),
        row(-3 * HOUR, rrname="evil-x.example", rdata="192.0.2.67"),
        row(-3 * HOUR, rrname="notevil.example", rdata="192.0.2.68"),
    )
    taking.take(PDNS, row(-2 * HOUR, rrname="old.example", rdata="192.0.2.69", count=5))
    taking.take(PDNS, row(-10, rrname="evil.example", rdata="2001:db8::66", rrtype="AAAA", count=3))
    taking.take("dns", tsv(ts=f"{START - 5}.0", query="gone.example", rcode="3", rcode_name="NXDOMAIN", answers="-"))
    assert taking.store.rows("FROM passive_dns_files")
    assert taking.store.rows("FROM passive_dns_new")


def test_entries_of_a_first_list_are_hunted_once(hunting):
    fill(hunting)
    hunting.write("bad.txt", "evil.example", "gone.example")
    hunting.hunt()
    found = hunting.findings
    assert found.keys() == {"evil.example", "gone.example"}
    evil = found["evil.example"]
    assert (evil.subject_type, evil.severity) == ("domain", "warning")
    assert evil.evidence["what"] == (
        "Passive DNS has evil.example, which is on the list bad.txt: 5 answers from 2023-11-14 19:13 to"
        " 2023-11-14 22:13 UTC, such as www.evil.example A 192.0.2.66."
    )
    assert evil.evidence["lists"] == ["bad.txt"]
    assert set(evil.evidence["records"]) == {"www.evil.example A 192.0.2.66", "evil.example AAAA 2001:db8::66"}
    assert (evil.evidence["answers"], evil.evidence["first_in_history"]) == (5, "2023-11-14T19:13:20Z")
    assert f"{evil.first_seen:%H:%M:%S}" == "19:13:20"
    assert found["gone.example"].evidence["records"] == ["gone.example NXDOMAIN"]
    assert hunting.counts() == (2, 1, 0)
    # A restart hunts for nothing again
    hunting.restart()
    hunting.hunt()
    assert hunting.counts() == (2, 1, 0)
    # A list that changes is hunted for what is new, be it on others already
    hunting.write("worse.txt", "evil.example", "old.example")
    hunting.hunt()
    assert hunting.counts() == (3, 1, 0)
    assert hunting.findings["old.example"].evidence["lists"] == ["worse.txt"]
    assert hunting.findings["evil.example"].count == 1
    # What no list has any more is new when one has it again
    hunting.write("worse.txt")
    hunting.hunt()
    hunting.write("worse.txt", "old.example")
    hunting.hunt()
    assert hunting.counts() == (4, 1, 0)


def test_what_is_asked_for_since_a_list_is_there_is_no_hit(tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "bad.txt").write_text("evil.example\nold.example\n")
    with Store(tmp_path / "state") as store, closing(Hunting(store, lists)) as hunting:
        fill(hunting)
        hunting.hunt()
        assert hunting.findings == {}
        assert hunting.counts() == (0, 2, 0)
        hunting.write("worse.txt", "gone.example")
        hunting.take(PDNS, row(60, rrname="late.example"))
        hunting.write("worse.txt", "gone.example", "late.example")
        hunting.hunt()
        assert hunting.findings.keys() == {"gone.example", "late.example"}


def test_a_hunt_goes_on_over_rounds_and_a_restart(hunting, monkeypatch):
    monkeypatch.setattr(hunt, "SECONDS", 0.0)
    monkeypatch.setattr(new_entries, "MAX_WAVE", 2)
    fill(hunting)
    names = ["evil.example", "old.example", "gone.example", "evil-x.example", *(f"n{i}.example" for i in range(4))]
    hunting.write("bad.txt", *names)
    hunting.round()
    hunting.round()
    assert hunting.value("dnsvigil_hunt_waiting_entries") == 9
    assert hunting.counts() == (0, 0, 0)
    while sum(hunting.counts()) < 4:
        hunting.round()
    hunting.restart()
    hunting.reload()
    hunting.hunt()
    assert hunting.findings.keys() == {*names[:4]}
    assert hunting.counts() == (4, 5, 0)
    assert all(each.count == 1 for each in hunting.findings.values())


def test_what_cannot_be_read_is_not_taken_for_nothing(hunting):
    fill(hunting)
    path = next((hunting.store.path.parent / FOLDER).glob("*.names.parquet"))
    path.write_bytes(path.read_bytes()[:-50])
    hunting.write("bad.txt", "nothing.example", "evil.example")
    hunting.hunt()
    assert hunting.counts() == (1, 0, 2)
    hunting.store.set_aside.flush()
    assert [(each.kind, each.subject) for each in entries(hunting.store.rows)] == [("passive_dns", str(path))]


def test_a_list_that_cannot_be_read_any_more_is_not_hunted_again(hunting):
    fill(hunting)
    hunting.write("bad.txt", "evil.example")
    hunting.write("other.txt", "old.example")
    hunting.hunt()
    assert hunting.counts() == (2, 1, 0)
    (hunting.lists / "bad.txt").unlink()
    (hunting.lists / "bad.txt").symlink_to("/dev/null")
    hunting.write("third.txt")
    hunting.hunt()
    (hunting.lists / "bad.txt").unlink()
    hunting.write("bad.txt", "evil.example")
    hunting.hunt()
    assert hunting.counts() == (2, 1, 0)


def test_what_fails_unexpectedly_is_set_aside_and_the_rounds_go_on(hunting, monkeypatch):
    fill(hunting)
    monkeypatch.setattr(hunt, "finding", lambda *_: 1 / 0)
    hunting.write("bad.txt", "evil.example")
    for _ in range(4):
        hunting.round()
    assert hunting.store.set_aside.counts()["detector"] == 1
    assert hunting.counts() == (0, 0, 0)
    monkeypatch.undo()
    hunting.restart()
    hunting.hunt()
    assert hunting.counts() == (1, 1, 0)


def test_ingest_hunts_for_all_at_its_end(hunting, monkeypatch):
    monkeypatch.setattr(new_entries, "MAX_WAVE", 2)
    fill(hunting)
    for _ in range(3):
        hunting.round()
    hunting.write("bad.txt", "evil.example", "old.example", "gone.example")
    hunting.intake.flush()
    assert hunting.counts() == (3, 1, 0)


@pytest.mark.parametrize("seed", range(4))
def test_a_hunt_finds_what_a_look_at_every_tuple_finds(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(tuple_file, "ROWS", 8)
    monkeypatch.setattr(passive_dns, "_MAX_WAITING", 40)
    dice = random.Random(seed)
    labels = ["a", "b", "a-b", "x", "evil", "1"]

    def name() -> str:
        return ".".join([*(dice.choice(labels) for _ in range(dice.randrange(1, 4))), "example"])

    names = sorted({name() for _ in range(25)})
    texts = ["192.0.2.0/29", "192.0.2.3", "198.51.100.0/24", "192.0.0.0/16", "2001:db8::/127", "203.0.113.5"]
    indicators = [*map(entry, names)] + [Indicator(text, "rdata", anything(text).ranges) for text in texts]
    with Store(tmp_path) as store, closing(Taking(store, Config())) as taking:
        for batch in range(6):
            rows = []
            for _ in range(30):
                six = dice.random() < 0.3
                data = f"2001:db8::{dice.randrange(4)}" if six else f"192.0.2.{dice.randrange(16)}"
                rrtype = "AAAA" if six else "A"
                rows.append(row(batch * HOUR, rrname=name(), rrtype=rrtype, rdata=data, count=dice.randrange(9)))
            taking.take(PDNS, *rows)
        assert len(store.rows("FROM passive_dns_files")) > 1
        hunt_ = Hunt(TupleReader(lambda: store), indicators)
        steps = 1
        while not hunt_.step(0.0):
            steps += 1
        tuples = all_tuples(store)
    assert steps > 10
    for each in indicators:
        if each.order == "names":
            own = [t for t in tuples if t["rrname"] == each.text or t["rrname"].endswith(f".{each.text}")]
        else:
            own = [t for t in tuples if any(low <= t["rkey"] < high for low, high in each.ranges)]
        found = hunt_.hits.get(each.text)
        assert bool(found) == bool(own), each.text
        if found:
            times = (min(t["time_first"] for t in own), max(t["time_last"] for t in own))
            assert (found.time_first, found.time_last) == times
            assert found.count == sum(t["count"] for t in own)
            records = {f"{t['rrname']} {t['rrtype']} {t['rdata']}" for t in own}
            assert set(found.records) <= records
            assert len(found.records) >= min(len(records), engine.MAX_SAMPLES)


def test_many_samples_of_long_data_stay_within_the_evidence(tmp_path):
    text = '"' + "x" * 5000 + '"'
    with Store(tmp_path) as store, closing(Taking(store, Config())) as taking:
        rows = [row(rrname=f"h{i}.evil.example", rrtype="TXT", rdata=text, count=1) for i in range(20)]
        taking.take(PDNS, *rows)
        running = Hunt(TupleReader(lambda: store), [entry("evil.example")])
        assert running.step(10)
    finding = hunt.finding(entry("evil.example"), running.hits["evil.example"], ["l"] * 9, utc_now())
    assert len(finding.evidence["records"]) == engine.MAX_SAMPLES


def test_addresses_and_networks_of_a_list_are_hunted(hunting):
    fill(hunting)
    hunting.write("bad.txt", "192.0.2.66", "192.0.2.68/31", "2001:db8::/32", "198.51.100.1")
    hunting.hunt()
    found = hunting.findings
    assert found.keys() == {"192.0.2.66", "192.0.2.68/31", "2001:db8::/32"}
    assert {each.subject_type for each in found.values()} == {"host"}
    network = found["192.0.2.68/31"].evidence
    assert (network["answers"], network["lists"]) == (8, ["bad.txt"])
    assert hunting.counts() == (3, 2, 0)
