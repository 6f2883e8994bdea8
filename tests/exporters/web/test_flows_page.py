"""The page of flows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from exporters.web.sites import SCRIPT, Pages, fill, in_order, serving

NEWEST = datetime(2026, 3, 4, 12, 55)  # a Wednesday
SLOT = timedelta(minutes=5)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """An hour of two exporters with a service each; the last slot of one stands out."""
    folder = tmp_path_factory.mktemp("flows")
    with serving(fill(folder, {}), folder / "state") as pages:
        run = pages.behind.store.connection.execute
        for back in range(12):
            slot = NEWEST - back * SLOT
            for exporter, service, size in (("r1", "dns", 1000), (f"r2 {SCRIPT}", "http", 10)):
                run(
                    "INSERT INTO slot_services VALUES (?, ?, 'udp', ?, 5, 50, ?, 1)",
                    [slot, exporter, service, size * 2**10 if not back and service == "dns" else size],
                )
            anomalies = [] if back else ["spike"]
            run(
                "INSERT INTO flow_verdicts VALUES (?, 'r1', 'udp', 'dns', NULL, 'bytes', 1, 990, 1, 1, ?, 1)",
                [slot, anomalies],
            )
            for number in range(12):
                talker = f"198.51.100.{number}"
                run("INSERT INTO slot_talkers VALUES (?, 'r1', 'srcip', ?, 1, 1, ?, 1)", [slot, talker, 100 - number])
        yield pages


def dots(text: str) -> int:
    return text.count('class="mark"')


def test_services_are_stacked_beside_their_baseline_and_by_hour(pages):
    text = pages.text("/flows", range="1h")
    assert in_order(text, ["Bytes by service", "dns", f"{11 * 1000 + 1000 * 1024:,}", "http", ">120<"])
    assert dots(text) == 1
    assert "Wed 12:00 UTC" in text
    assert "Tue 12:00 UTC" not in text
    assert text.count('class="g0" points') == 2
    text = pages.text("/flows", exporter="r1", service="dns", range="1h")
    assert "Bytes by exporter" in text
    assert len(re.findall(r'class="baseline" d="M', text)) == 1
    assert dots(pages.text("/flows", service="http", range="1h")) == 0


def test_top_talkers_are_ranked_with_the_rest_as_one_and_masked(pages):
    text = pages.text("/flows", range="1h")
    assert in_order(text, [f'href="address?q=198.51.100.{number}"' for number in range(10)])
    assert in_order(text, ["2 more", f"{12 * (90 + 89):,}"])
    text = pages.text("/flows", proved=False, range="1h")
    assert 'href="network?q=198.51.100.0%2F24"' in text
    assert "198.51.100.1<" not in text


def test_a_range_or_a_filter_with_nothing_says_so_and_leads_on(pages):
    for query in ({"exporter": "r3"}, {"to": "2026-03-01T00:00:00Z"}, {"service": SCRIPT}):
        assert "There are no flows of this kind in this range." in pages.text("/flows", **query)
    text = pages.text("/flows", to="2026-03-04T12:30:00Z", range="1h")
    assert in_order(text, ['aria-label="Earlier"', 'aria-label="Later"', "Newest"])


@pytest.mark.parametrize("query", [{"measure": "bits"}, {"element": "x"}, {"range": "2h"}, {"to": "x"}, {"q": "x"}])
def test_a_url_made_by_hand_is_refused(pages, query):
    pages.text("/flows", 400, **query)


def test_without_flows_the_page_says_what_to_do(tmp_path):
    with serving(fill(tmp_path, {}), tmp_path / "state") as empty:
        assert "sources.netflow" in empty.text("/flows")
