"""Searches for findings in a real store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from dnsvigil.store.finding_search import Search, Terms, search_findings
from dnsvigil.store.findings import Finding, Findings
from dnsvigil.store.store import Store

NOON = datetime(2026, 3, 1, 12)
SUBJECTS = (
    ("client", "192.0.2.7", "malware", "critical"),
    ("client", "192.0.2.130", "tunnel", "warning"),
    ("client", "2001:db8:0:7::/64", "malware", "warning"),
    ("domain", "a.example", "tunnel", "info"),
    ("domain", "b_c%.example", "tunnel", "info"),
    ("domain", "bxc.example", "tunnel", "info"),
    ("domain", "'; DROP TABLE findings; --", "tunnel", "info"),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("findings")) as store:
        kept = Findings(store)
        with store.transaction():
            for place, (kind, subject, detector, severity) in enumerate(SUBJECTS):
                when = NOON + timedelta(minutes=place)
                kept.put(Finding(detector, kind, subject, 0.9 - place / 10, severity, when, when, {}))
            kept.dismiss(4, "ours", NOON)
        yield store


def found(store: Store, **terms: str) -> list[int]:
    search = Search({name: Terms.parse(text) for name, text in terms.items()})
    findings, total = search_findings(store.read, search, most=100)
    assert total == len(findings)
    return sorted(each.id for each in findings)


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7]),
        ({"state": "open"}, [1, 2, 3, 5, 6, 7]),
        ({"state": "!open"}, [4]),
        ({"detector": "malware"}, [1, 3]),
        ({"detector": "malware,tunnel", "severity": "!info"}, [1, 2, 3]),
        ({"severity": "!info,!critical"}, [2, 3]),
        ({"subject": "192.0.2.7"}, [1]),
        ({"subject": "192.0.2.0/25"}, [1]),
        ({"subject": "192.0.2.9/24"}, [1, 2]),
        ({"subject": "!192.0.2.0/24", "subject_type": "client"}, [3]),
        ({"subject": "2001:db8::/32"}, [3]),
        ({"subject": "2001:db8:0:7::1"}, [3]),
        ({"subject": "2001:db8:0:7::/96"}, []),  # a part of the client only
        ({"subject": "0.0.0.0/0,::/0"}, [1, 2, 3]),
        ({"subject": "*.EXAMPLE"}, [4, 5, 6]),
        ({"subject": "b?c*.example"}, [5, 6]),
        ({"subject": "b_c%.example"}, [5]),
        ({"subject": "*_*"}, [5]),
        ({"subject": "*%*"}, [5]),
        ({"subject": "!*.example,!192.0.2.0/24"}, [3, 7]),
        ({"subject": "'; DROP TABLE findings; --"}, [7]),
        ({"subject": "\\"}, []),
        ({"subject": "999.0.2.0/24"}, []),
    ],
)
def test_terms_select(store, terms, expected):
    assert found(store, **terms) == expected


def test_the_order_is_that_asked_for(store):
    def numbers(sort: str, order: str) -> list[int]:
        return [each.id for each in search_findings(store.read, Search(), sort, order, most=100)[0]]

    assert numbers("severity", "desc") == [1, 2, 3, 4, 5, 6, 7]
    assert numbers("severity", "asc")[-1] == 1
    assert numbers("last_seen", "desc") == [7, 6, 5, 4, 3, 2, 1]
    assert numbers("score", "asc") == [7, 6, 5, 4, 3, 2, 1]
    page, total = search_findings(store.read, Search(), "last_seen", "desc", most=2, offset=3)
    assert ([each.id for each in page], total) == ([4, 3], 7)


def test_terms_are_bounded_and_can_be_taken_out():
    with pytest.raises(ValueError, match="at most 20 terms"):
        Terms.parse(",".join("x" * 21))
    terms = Terms.parse(" a, !b ,,!, c,!a")
    assert terms == Terms(("a", "c"), ("b", "a"))
    assert terms.without("a", unwanted=False) == "c,!b,!a"
    assert terms.without("a", unwanted=True) == "a,c,!b"
