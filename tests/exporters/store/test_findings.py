"""Findings in a real store."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.records import SEVERITIES
from dnsvigil.store import finding_events
from dnsvigil.store import findings as module
from dnsvigil.store.finding_events import events_of
from dnsvigil.store.findings import (
    DROPPED,
    SUPPRESSED,
    Finding,
    Findings,
    count_open,
    dismissed_domains,
    finding_with,
    findings_in,
)
from dnsvigil.store.store import Store

NOON = datetime(2026, 3, 1, 12)
MINUTE = timedelta(minutes=1)


def finding(subject="192.0.2.1", when=NOON, **parts) -> Finding:
    given = {"detector": "nfsen", "subject_type": "resolver", "score": 0.5, "severity": "warning", "evidence": {}}
    return Finding(**given | {"subject": subject, "first_seen": when, "last_seen": when} | parts)


def put(store: Store, *found: Finding) -> list[int]:
    findings = Findings(store)
    with store.transaction():
        return [findings.put(each) for each in found]


def close_quiet(store: Store, now: datetime) -> int:
    findings = Findings(store)
    with store.transaction():
        return findings.close_quiet(now)


def test_what_is_found_again_is_one_finding(tmp_path):
    with Store(tmp_path) as store:
        first, again, late, other, another = put(
            store,
            finding(score=0.4, severity="critical", evidence={"bytes": 1}),
            finding(when=NOON + MINUTE, score=0.9, evidence={"bytes": 2, "names": ["a", "\x1b[31m"]}),
            finding(when=NOON - MINUTE, score=0.1, severity="info", evidence={"bytes": 3}),
            finding("192.0.2.2"),
            finding(detector="other"),
        )
    assert first == again == late
    assert len({first, other, another}) == 3
    with Store(tmp_path) as store:
        assert finding_with(store.rows, first) == Finding(
            detector="nfsen",
            subject_type="resolver",
            subject="192.0.2.1",
            score=0.9,
            severity="critical",
            first_seen=NOON - MINUTE,
            last_seen=NOON + MINUTE,
            evidence={"bytes": 2, "names": ["a", "\x1b[31m"]},
            count=3,
            id=first,
        )
        assert finding_with(store.rows, 1_000_000) is None


def test_findings_put_at_once_are_those_put_one_by_one(tmp_path):
    dice = random.Random(4)
    domains = [f"{letter}.example" for letter in "abcdefgh"]
    found = [
        finding(
            f"192.0.2.{dice.randrange(12)}",
            NOON + dice.randrange(90) * MINUTE,
            detector=dice.choice(["malware", "tunnel"]),
            score=dice.random(),
            severity=dice.choice(SEVERITIES),
            evidence={"domains": dice.sample(domains, dice.randrange(5)), "n": number},
        )
        for number in range(120)
    ]
    kept = []
    for name, size in (("alone", 1), ("together", 60)):
        with Store(tmp_path / name) as store:
            for dismissed in put(store, *found[:4]):
                dismiss(store, dismissed)
            findings = Findings(store)
            numbers = []
            for begin in range(4, len(found), size):
                with store.transaction():
                    numbers += findings.put_all(found[begin : begin + size])
            kept.append(
                (
                    numbers,
                    store.rows("FROM findings ORDER BY id"),
                    store.rows("FROM total_findings_suppressed ORDER BY ALL"),
                )
            )
    assert kept[0] == kept[1]
    assert None in kept[0][0]
    assert len({*kept[0][0]}) < len(kept[0][0]) / 2


def test_the_worst_comes_first(tmp_path):
    with Store(tmp_path) as store:
        put(
            store,
            *(
                finding(f"{severity} {score}", score=score, severity=severity)
                for severity in SEVERITIES
                for score in (0, 1)
            ),
        )
        shown = [(each.severity, each.score) for each in findings_in(store.rows, "open")]
        assert [each.severity for each in findings_in(store.rows, "open", 2)] == [SEVERITIES[-1]] * 2
    assert shown == [(severity, score) for severity in reversed(SEVERITIES) for score in (1, 0)]


def test_a_finding_closes_when_it_is_quiet_and_comes_back_as_another(tmp_path):
    with Store(tmp_path) as store:
        (old, other) = put(store, finding(), finding("192.0.2.2", NOON + MINUTE))
        assert close_quiet(store, NOON + module.QUIET) == 0
        assert close_quiet(store, NOON + module.QUIET + MINUTE) == 1
        assert [each.id for each in findings_in(store.rows, "open")] == [other]
        (closed,) = findings_in(store.rows, "closed")
        assert (closed.id, closed.state, closed.why) == (old, "closed", "quiet")
        (new,) = put(store, finding(when=NOON + 3 * module.QUIET))
        assert new not in (old, other)
        assert finding_with(store.rows, new).count == 1


def test_what_is_rolled_back_was_not_found(tmp_path):
    with Store(tmp_path) as store:
        findings = Findings(store)
        with pytest.raises(ZeroDivisionError), store.transaction():
            findings.put(finding())
            1 / 0  # noqa: B018
        assert findings_in(store.rows, "open") == []


def test_their_number_is_bounded_and_open_ones_stay_longest(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 5)
    with Store(tmp_path) as store:
        put(store, *(finding(f"old {n}", NOON + n * MINUTE) for n in range(3)))
        close_quiet(store, NOON + timedelta(days=1))
        put(store, *(finding(f"new {n}", NOON - n * MINUTE) for n in range(3)))
        assert {each.subject for each in findings_in(store.rows, "closed")} == {"old 1", "old 2"}
        put(store, *(finding(f"newer {n}") for n in range(4)))
        assert findings_in(store.rows, "closed") == []
        kept = {each.subject for each in findings_in(store.rows, "open")}
        assert kept == {"new 0", *(f"newer {n}" for n in range(4))}
        assert DROPPED.rows(store.rows) == [("closed", 3), ("open", 2)]


def test_open_findings_are_counted_and_nobody_makes_labels_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MAX_DETECTORS", 2)
    with Store(tmp_path) as store:
        put(store, *(finding(f"a{n}") for n in range(3)), finding(severity="critical"), finding("gone", NOON - MINUTE))
        put(store, *(finding(f"b{n}", detector="b") for n in range(2)), *(finding(detector=f"d{n}") for n in range(3)))
        close_quiet(store, NOON + module.QUIET)
        assert count_open(store.rows) == {
            ("nfsen", "critical"): 1,
            ("nfsen", "warning"): 3,
            ("b", "warning"): 2,
            ("other", "warning"): 3,
        }


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("detector", ""),
        ("detector", "a b"),
        ("detector", "a" * 65),
        ("detector", 'a"'),
        ("subject_type", "house"),
        ("subject", ""),
        ("subject", "x" * 1025),
        ("subject", "\ud800"),
        ("score", 1.01),
        ("score", -0.01),
        ("score", math.nan),
        ("severity", "bad"),
        ("evidence", {"x": math.inf}),
        ("evidence", {"x": object()}),
        ("evidence", {"x": "y" * (16 << 10)}),
    ],
)
def test_a_part_that_makes_no_sense_is_named(part, value):
    with pytest.raises(ValueError, match=part):
        finding(**{part: value})


def test_hostile_text_is_only_text(tmp_path):
    subjects = ["'; DROP TABLE findings; --", "\x00\x1b]0;x\x07", "ü\u202e", "x" * 1024, "%s {} $1"]
    with Store(tmp_path) as store:
        put(store, *(finding(subject, evidence={subject: [subject]}) for subject in subjects))
        found = findings_in(store.rows, "open")
    assert {each.subject for each in found} == set(subjects)
    assert all(each.evidence == {each.subject: [each.subject]} for each in found)


def test_the_record_is_what_it_is_documented_to_be():
    record = finding(id=7, why="quiet", state="closed", evidence={"a": 1}).record()
    assert record == {
        "id": 7,
        "detector": "nfsen",
        "subject_type": "resolver",
        "subject": "192.0.2.1",
        "score": 0.5,
        "severity": "warning",
        "first_seen": "2026-03-01T12:00:00Z",
        "last_seen": "2026-03-01T12:00:00Z",
        "evidence": {"a": 1},
        "count": 1,
        "state": "closed",
        "why": "quiet",
        "until": None,
    }
    page = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    assert [name for name in record if f"`{name}`" not in page] == []


# Decay and dismissals

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def dismiss(store: Store, number: int, why="a scanner of ours", now=NOON, **more: Any) -> Finding | None:
    findings = Findings(store)
    with store.transaction():
        return findings.dismiss(number, why, now, **more)


def test_a_score_is_half_of_what_it_was_after_an_hour(tmp_path):
    def score() -> float:
        return finding_with(store.rows, number).score

    with Store(tmp_path) as store:
        (number,) = put(store, finding(score=0.8))
        put(store, finding(when=NOON + HOUR / 2, score=0.1))
        assert score() == pytest.approx(0.8 / 2**0.5)
        put(store, finding(when=NOON + HOUR, score=0.1))
        assert score() == pytest.approx(0.4)
        put(store, finding(when=NOON - HOUR, score=0.9))  # late, and so long ago
        assert score() == pytest.approx(0.4)
        put(store, finding(when=NOON, score=1))
        assert score() == pytest.approx(0.5)
        put(store, finding(when=NOON + HOUR, score=0.6))
        assert score() == 0.6
        put(store, finding(when=datetime(1971, 1, 1), score=1))  # nothing is left of it
        assert score() == 0.6


def test_what_is_dismissed_is_not_found_again_for_a_month(tmp_path):
    with Store(tmp_path) as store:
        number, other = put(store, finding(evidence={"domains": ["a.example"]}), finding("192.0.2.2"))
        dismissed = dismiss(store, number)
        assert (dismissed.id, dismissed.state, dismissed.why) == (number, "dismissed", "a scanner of ours")
        assert finding_with(store.rows, number) == dismissed
        assert [each.id for each in findings_in(store.rows, "open")] == [other]
        assert put(store, finding(when=NOON + HOUR), finding(when=NOON + 30 * DAY, severity="info")) == [None, None]
        assert finding_with(store.rows, number) == dismissed
        others = put(
            store,
            finding("192.0.2.3"),
            finding(subject_type="client"),
            finding(detector="other"),
            finding(severity="critical"),  # worse than what was dismissed
            finding(when=NOON + 30 * DAY + MINUTE),
        )
        assert None not in others
        assert SUPPRESSED.rows(store.rows) == [("nfsen", 2)]


def test_what_is_found_after_the_end_of_its_dismissal_is_open_again(tmp_path):
    with Store(tmp_path) as store:
        (number,) = put(store, finding())
        dismissed = dismiss(store, number, by="alice", until=NOON + DAY)
        assert dismissed.record()["until"] == f"{NOON + DAY:%Y-%m-%dT%H:%M:%SZ}"
        assert put(store, finding(when=NOON + DAY)) == [None]
        assert put(store, finding(when=NOON + DAY + MINUTE)) == [number]
        found = finding_with(store.rows, number)
        assert (found.state, found.why, found.until, found.count) == ("open", None, None, 2)
        done = [(event.done_by, event.action, event.text) for event in events_of(store.rows, number)]
        assert done == [("dnsvigil", "expired", None), ("alice", "dismissed", "a scanner of ours")]


@pytest.mark.parametrize("until", [NOON, NOON - DAY, NOON + 3654 * DAY])
def test_a_dismissal_ends_in_the_future_and_within_reason(tmp_path, until):
    with Store(tmp_path) as store:
        (number,) = put(store, finding())
        with pytest.raises(ValueError, match="until: expected a time to come, within 3,653 days"):
            dismiss(store, number, until=until)
        assert events_of(store.rows, number) == []


def test_what_people_did_is_kept_as_long_as_the_finding(tmp_path, monkeypatch):
    with Store(tmp_path) as store:
        first, second = put(store, finding("a"), finding("b", when=NOON + MINUTE))
        findings = Findings(store)
        with store.transaction():
            assert findings.note(first, "asked the customer", NOON, by="bob").id == first
            findings.note(second, "x" * 1024, NOON, by="bob")
            assert findings.note(99, "nothing", NOON) is None
            for text in ("", " ", "x" * 1025, "\ud800"):
                with pytest.raises(ValueError, match="text: expected 1 to 1,024 characters"):
                    findings.note(first, text, NOON)
        assert [event.text for event in events_of(store.rows, first)] == ["asked the customer"]
        monkeypatch.setattr(module, "KEPT", 2)
        put(store, finding("c", when=NOON + MINUTE))
        assert (events_of(store.rows, first), len(events_of(store.rows, second))) == ([], 1)
        monkeypatch.setattr(finding_events, "KEPT_EVENTS", 2)
        with store.transaction():
            for hours in (3, 1, 2):
                findings.note(second, f"{hours}", NOON + hours * HOUR)
        assert [event.text for event in events_of(store.rows, second)] == ["3", "2"]


def test_a_dismissal_holds_for_what_rests_on_the_same_domains(tmp_path):
    def found(*domains: object, subject="192.0.2.9", **parts: object) -> Finding:
        return finding(subject, evidence={"domains": list(domains)}, **parts)

    with Store(tmp_path) as store:
        for number, domains in enumerate((["a.example", "b.example"], ["c.example"])):
            dismiss(store, put(store, found(*domains, subject=f"192.0.2.{number}"))[0])
        for like in (["a.example"], ["a.example", "x.example"], ["a.example", "c.example", "x.example", "y.example"]):
            assert put(store, found(*like)) == [None], like
        for unlike in (["x.example"], [], ["a.example", "x.example", "y.example"], ["a.example", *"xyzxyz"]):
            assert put(store, found(*unlike, subject="-".join(unlike) or "-"))[0], unlike
        assert put(store, found("a.example", detector="other"))[0]
        assert put(store, found("a.example", severity="critical"))[0]
        assert put(store, finding("no list", evidence={"domains": "a.example"}))[0]
        assert put(store, finding("odd ones", evidence={"domains": [1, None, "\ud800", {}, "x"]}))[0]


def test_domains_of_dismissed_findings_are_learned(tmp_path, monkeypatch):
    with Store(tmp_path) as store:
        Findings(store)
        assert dismissed_domains(store.rows) == []
        first, other, none = put(
            store,
            finding(evidence={"domains": [f"{n}.example" for n in range(9)]}),
            finding("b", evidence={"domains": ["0.example", "new.example"]}),
            finding("c"),
        )
        dismiss(store, first)
        assert dismissed_domains(store.rows) == [f"{n}.example" for n in range(5)]
        dismiss(store, other, now=NOON + HOUR)
        dismiss(store, none, now=NOON + 2 * HOUR)
        assert dismissed_domains(store.rows)[:3] == ["0.example", "new.example", "1.example"]
        monkeypatch.setattr(module, "_MAX_LEARNED", 2)
        assert dismissed_domains(store.rows) == ["0.example", "new.example"]


def test_dismissals_are_bounded_and_say_why(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DISMISSALS", 2)
    with Store(tmp_path) as store:
        numbers = put(store, *(finding(f"{n}") for n in range(3)))
        for hours, number in enumerate(numbers):
            dismiss(store, number, now=NOON + hours * HOUR)
        assert put(store, *(finding(f"{n}") for n in range(3)))[1:] == [None, None]
        assert dismiss(store, 1_000_000) is None
        for why in ("", "  ", "x" * 1025, "\ud800"):
            with pytest.raises(ValueError, match="why"):
                dismiss(store, numbers[0], why)
        assert dismiss(store, numbers[0], "again, for '; DROP TABLE findings; --").why.endswith("--")
