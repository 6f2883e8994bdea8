"""What nobody should send, and what should not happen: each is a page that says what is the matter, with its status."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from dnsvigil.collector.daemon import Daemon
from dnsvigil.store.domain_file import domain_file
from dnsvigil.store.store import FILE_NAME, Store
from dnsvigil.web.page import Page
from dnsvigil.web.routes import PAGES
from exporters.httpd.support import hashed, write
from exporters.running import collecting_here, eventually, line, write_config
from exporters.web.looking import VALUES, Looker, put, started, write_groups, write_log
from exporters.web.sites import Pages, fill, serving
from exporters.web.test_roles import password
from exporters.zeeklogs import HEADER, START

GOOD = {path: {"q": VALUES[page.shows]} for page in PAGES if (path := page.path) and page.shows}
GOOD |= {
    "/lookup": {"q": "#1"},
    **{f"/passive-dns.{kind}": {"kind": "name", "q": "a.example"} for kind in ("csv", "json")},
}
NAMES = {
    *("q", "sort", "order", "page", "range", "to", "refresh", "type", "bailiwick", "after", "before", "kind"),
    *("state", "detector", "severity", "subject_type", "subject", "score", "count", "first_seen", "last_seen"),
    *("client", "server", "name", "qtype", "rcode", "exporter", "protocol", "service", "measure", "element"),
}
"""All parameters that a page takes."""

JUNK = ["\0", "-1", "9" * 400, "x" * 5000, "\u202e\u0661", "nan", "'\"><script>alert(1)</script>", ",!,*?%_\\"]
BEFORE = {"/findings/<int:number>": 404, "/groups": 409, "/group": 409, "/lookup": 303}
"""What pages answer before there is data, and are of no value."""

LOOKED_AT = [page for page in PAGES if page.method == "GET" and page.path != "/live.events"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    folder = tmp_path_factory.mktemp("junk")
    queries = [line(START + i, f"h{i}.shop.example") for i in range(9)]
    with serving(fill(folder, {"dns.log": HEADER + b"".join(queries)}), folder / "state") as pages:
        write_groups(folder / "state")
        yield pages


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    folder = tmp_path_factory.mktemp("empty")
    with serving(fill(folder, {}), folder / "state") as pages:
        yield pages


def path_of(page: Page) -> str:
    return page.path.replace("<int:number>", "1")


def ask(pages: Pages, path: str, text: str) -> tuple[int, str]:
    response: Any = pages.ask_as_written(path, text)
    return response.status_code, response.get_data(as_text=True)


def query_of(given: dict[str, str]) -> str:
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items())


@pytest.mark.parametrize("page", LOOKED_AT, ids=lambda page: page.path)
def test_no_parameter_of_a_page_can_be_made_by_hand_to_break_it(pages, page):
    path, good = path_of(page), GOOD.get(page.path, {})
    known = {name for name in NAMES if "unknown parameter" not in ask(pages, path, query_of(good | {name: "1"}))[1]}
    assert known >= good.keys()
    for name in sorted(known):
        for junk in JUNK:
            status, text = ask(pages, path, query_of(good | {name: junk}))
            assert status in (200, 303, 400, 404), (name, junk, text)
            assert "<script>alert" not in text.replace("&lt;script&gt;", "") or page.path.endswith(("csv", "json"))
            assert "\u202e" not in text
            assert "\0" not in text
        status, text = ask(pages, path, f"{query_of(good | {name: '1'})}&{name}=1")
        assert (status, "given twice" in text) == (400, True), name
        status, text = ask(
            pages, path, f"{query_of({other: good[other] for other in good if other != name})}&{name}=%ff"
        )
        assert (status, "UTF-8" in text) == (400, True), name
    status, text = ask(pages, path, query_of(good | {"nobody": "knows"}))
    assert (status, "unknown parameter" in text) == (400, True)
    assert ask(pages, path, "&".join(f"p{number}=1" for number in range(50)))[0] == 400


def test_every_parameter_is_tried(pages):
    accepted = {
        name
        for page in LOOKED_AT
        for name in NAMES
        if "unknown parameter" not in ask(pages, path_of(page), query_of(GOOD.get(page.path, {}) | {name: "1"}))[1]
    }
    assert accepted == NAMES
    told = " ".join(ask(pages, path_of(page), "nobody=1")[1] for page in LOOKED_AT)
    lists = re.findall(r"unknown parameter &#39;nobody&#39;; there are ([\w, ]*)", told)
    assert {name for each in lists for name in each.split(", ") if name} <= NAMES


@pytest.mark.parametrize("page", LOOKED_AT, ids=lambda page: page.path)
def test_before_there_is_data_a_page_says_so_and_nothing_looks_well(empty, page):
    status, text = ask(empty, path_of(page), query_of(GOOD.get(page.path, {})))
    assert status == BEFORE.get(page.path, 404 if page.shows else 200)
    assert 'class="nothing"' not in text or page.path in ("/domain", "/client")  # of lists, which are there
    assert "tile good" not in text
    if status == 404:
        assert "Nothing is known of this" in text or "There is nothing here" in text
    elif status == 409:
        assert "run dnsvigil domains cluster" in text


def test_a_table_of_domains_that_is_damaged_or_replaced_is_said(pages):
    path = domain_file(pages.behind.folder)
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"PAR1" + bytes(1000) + b"PAR1"):
        path.write_bytes(content)
        for address in ("/groups", "/group"):
            status, text = ask(pages, address, query_of(GOOD.get(address, {})))
            assert (status, "cannot be read" in text or "no table of domains" in text) == (500, True), text
        assert ask(pages, "/domain", "q=shop.example")[0] == 200
    path.write_bytes(whole)
    assert ask(pages, "/groups", "")[0] == 200


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    config = write_config(tmp_path)
    write_log(tmp_path)
    with collecting_here(config, tmp_path / "state") as running:
        started(running)
        put(running)
        yield running


def test_while_a_store_is_opened_again_pages_say_so_and_come_again(daemon):
    looker, closed, go_on = Looker(daemon.server), threading.Event(), threading.Event()

    def fail(store: Store) -> None:
        store.close()
        closed.set()
        go_on.wait(30)

    daemon.submit(fail)
    assert closed.wait(30)
    for path in ("/findings", "/findings/1", "/domain?q=shop.example", "/name?q=a.example", "/flows", "/server?q=x"):
        answer = looker.get(path)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5"), path
        assert "The store cannot be read or written now." in answer.body
    go_on.set()
    eventually(lambda: looker.get("/findings").status == 200)
    assert "192.0.2.0/24" in looker.get("/findings/1").body


def test_a_store_that_is_replaced_while_the_collector_runs_is_said(daemon):
    looker = Looker(daemon.server)
    assert "was replaced or removed" not in looker.get("/").body
    path = daemon.folder / FILE_NAME
    shutil.copy(path, path.with_suffix(".backup"))
    path.with_suffix(".backup").rename(path)
    eventually(lambda: "The file of the store was replaced or removed" in looker.get("/").body)
    assert looker.get("/findings").status == 200  # of the one that is open
    path.unlink()
    assert looker.get("/findings/1").status == 200


def test_a_user_who_is_removed_while_looking_sees_nothing_more(tmp_path):
    users = {name: hashed("secret") for name in ("alice", "bob")}
    web = write(tmp_path / "web.yml", yaml.safe_dump({"basic_auth_users": users}))
    with collecting_here(write_config(tmp_path, web_config_file=str(web)), tmp_path / "state") as daemon:
        alice = started(daemon, Authorization=password("alice"))
        bob = Looker(daemon.server, {"Authorization": password("bob")})
        put(daemon)
        form = {"form_token": bob.get("/findings/1").form_token(), "why": "ours"}
        web.write_text(yaml.safe_dump({"basic_auth_users": {"alice": users["alice"]}}))
        eventually(lambda: bob.get("/findings/1").status == 401)
        assert bob.post("/findings/1/dismiss", form).status == 401
        assert bob.get("/live.events").status == 401
        assert alice.get("/findings/1").status == 200
        assert "Nobody has done anything" in alice.get("/findings/1").body
