"""The pages of groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from dnsvigil.store.domain_file import DomainFile, Former, Plane, domain_file, write_domains
from exporters.domain_tables import write_table
from exporters.web.sites import SCRIPT, Pages, fill, in_order, serving

MEMBERS = {f"d{number}.example": 4 for number in range(120)} | {f"{SCRIPT}.example": 9}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    folder = tmp_path_factory.mktemp("groups")
    config = fill(folder, {})
    with serving(config, folder / "state") as pages:
        yield pages


@pytest.fixture
def table(pages) -> Iterator[None]:
    """A table of two groups, one of which is new, after one of two."""
    state = pages.behind.folder
    path = write_table(state, MEMBERS, {4: "CDN", 9: f"high {SCRIPT}"})
    plane = Plane(
        [{"ips": 0.9, "ttls": -0.3}, {"queries": 0.7}],
        [(0.5, 1.5, 4), (3.0, -1.0, 9)],
        {"4": (0.5, 1.5), "9": (3, -1)},
        {"4": (1, 1)},
    )
    former = Former(
        "2026-03-01T03:04:05+00:00",
        {"4": ("CDN", 110), "5": ("gone", 20)},
        [(4, 4, 100), (5, 4, 15), (0, 4, 5), (4, 0, 10)],
    )
    facts = replace(DomainFile(path).facts, plane=plane, former=former)
    found = pq.read_table(path)
    write_domains(path, [found], found.schema, facts)
    yield
    path.unlink()


def test_groups_are_drawn_with_what_has_changed(pages, table):
    text = pages.text("/groups")
    assert text.count('r="2.5"') == 2  # domains
    assert text.count('class="move"') == 1
    assert in_order(text, ["To the right", "more distinct addresses; less distinct TTLs", "Upwards", "more queries"])
    assert in_order(text, ['href="group?q=4">CDN</a>', ">120<", "+10", 'href="group?q=9">high &lt;script&gt;', "new"])
    assert "Groups that are no more: gone." in text


def test_a_group_has_its_members_sorted_and_paged_and_where_they_came_from(pages, table):
    text = pages.text("/group", q="4")
    assert "1 to 50 of 120 domains" in text
    assert in_order(text, [f">d{number}.example<" for number in range(119, 69, -1)])  # as many queries as its number
    text = pages.text("/group", q="4", page="3", sort="queries", order="asc")
    assert 'rel="prev" href="group?q=4&amp;sort=queries&amp;order=asc&amp;page=2"' in text
    assert in_order(text, [f">d{number}.example<" for number in range(100, 120)])
    assert in_order(text, ["It had 110 domains on", "has 120 now"])
    assert in_order(
        text, ["Came from", "gone", ">15<", "not in the table", ">5<", "Went to", "not in the table", ">10<"]
    )
    assert "&lt;script&gt;alert(" in pages.text("/group", q="9")


@pytest.mark.parametrize(("query", "status"), [({}, 400), ({"q": "x"}, 400), ({"q": "7"}, 404), ({"q": "9" * 30}, 400)])
def test_a_group_that_is_not_there(pages, table, query, status):
    pages.text("/group", status, **query)


def test_without_a_table_the_page_says_what_to_do(pages):
    assert not domain_file(pages.behind.folder).exists()
    for path, query in (("/groups", {}), ("/group", {"q": "4"})):
        assert "run dnsvigil domains cluster" in pages.text(path, 409, **query)


def test_a_table_that_cannot_be_read_says_so(pages):
    path = domain_file(pages.behind.folder)
    path.write_bytes(b"PAR1 no table PAR1")
    try:
        assert "run dnsvigil domains cluster" in pages.text("/groups", 500)
    finally:
        path.unlink()


def test_a_table_of_a_former_version_has_no_plane(pages):
    path = write_table(pages.behind.folder, MEMBERS, {4: "CDN", 9: "other"})
    try:
        text = pages.text("/groups")
    finally:
        path.unlink()
    assert "the next run of <code>dnsvigil domains cluster</code> adds the plane" in text


def test_members_that_cannot_be_read_are_said(pages, table):
    path = domain_file(pages.behind.folder)
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    assert "Run dnsvigil domains cluster." in pages.text("/group", 500, q="4")
    assert pages.behind.read("SELECT 1") == [(1,)]
