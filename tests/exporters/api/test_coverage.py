"""What it is worth that a picture shows nothing."""

from __future__ import annotations

from typing import Any

import pytest

from dnsvigil.api.coverage import of_findings, of_flows, working


def picture(**parts: Any) -> dict[str, Any]:
    return {
        "time": "2026-03-01T12:00:30Z",
        "current": True,
        "detectors": [{"detector": "malware", "state": "running"}],
        "sensors": [{"sensor": "tap1", "source": "zeek", "state": "ok"}],
        "folders": [{"source": "zeek", "path": "/zeek", "problem": None}],
        "flows": {"slot": "2026-03-01T11:50:00Z", "series": 4, "learning": 0, "unusual": []},
    } | parts


def detectors(*states: str) -> list[dict[str, str]]:
    return [{"detector": f"d{number}", "state": state} for number, state in enumerate(states)]


@pytest.mark.parametrize(
    ("parts", "doubt", "learning"),
    [
        ({}, "", False),
        ({"detectors": []}, "no detector is enabled", False),
        ({"current": False}, "there are no new records", False),
        ({"detectors": detectors("running", "failing", "lacking")}, "not all detectors run: d1, d2", False),
        ({"detectors": detectors(*["not_running"] * 7)}, "d3, d4 and 2 more", False),
        ({"detectors": detectors("learning", "not_running")}, "not all detectors run: d1", False),
        ({"detectors": detectors("running", "learning")}, "some detectors still learn: d1", True),
        ({"sensors": [{"sensor": "tap1", "source": "zeek", "state": "silent"}]}, "nothing new from tap1 (zeek)", False),
        ({"folders": [{"source": "zeek", "path": "/zeek", "problem": "is not there"}]}, "from /zeek", False),
    ],
)
def test_no_finding_proves_something_only_where_all_look_at_current_records(parts, doubt, learning):
    found = of_findings(picture(**parts))
    assert doubt in found.doubt
    assert bool(found.doubt) == bool(doubt)
    assert found.learning == learning


@pytest.mark.parametrize(
    ("flows", "doubt"),
    [
        ({}, ""),
        ({"slot": None}, "no flow was evaluated yet"),
        ({"slot": "2026-03-01T11:40:00Z"}, "the newest flows are those of 2026-03-01T11:40:00Z"),
        ({"learning": 1}, "1 of 4 series still learn"),
    ],
)
def test_flows_prove_something_only_where_they_are_of_now_and_have_baselines(flows, doubt):
    whole = picture()
    found = of_flows(whole | {"flows": whole["flows"] | flows})
    assert doubt in found.doubt
    assert bool(found.doubt) == bool(doubt)


def test_who_learns_works():
    assert working(picture(detectors=detectors("running", "learning", "lacking", "failing"))) == 2
