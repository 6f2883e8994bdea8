"""Pages of a collector that runs, as their HTML."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from urllib.parse import quote, urljoin, urlsplit

import pytest

from dnsvigil.collector.daemon import Daemon
from dnsvigil.httpd import runbooks
from dnsvigil.httpd.access import TOKEN_FILE
from dnsvigil.store.store import Store, StoreError
from dnsvigil.web.finding import runbook_of
from dnsvigil.web.routes import PAGES
from exporters.running import collecting_here, eventually, write_config
from exporters.web.looking import HOSTILE, MANY, Looker, collecting, started, write_log


@pytest.fixture(scope="module")
def daemon(tmp_path_factory) -> Iterator[Daemon]:
    with collecting(tmp_path_factory.mktemp("pages")) as running:
        yield running


@pytest.fixture(scope="module")
def anybody(daemon) -> Looker:
    return Looker(daemon.server)


@pytest.fixture(scope="module")
def analyst(daemon) -> Looker:
    """Somebody who has signed in with the token."""
    looker = Looker(daemon.server)
    assert looker.sign_in((daemon.folder / TOKEN_FILE).read_text().strip()).status == 303
    return looker


class Page(HTMLParser):
    """What a browser would see of a page: its tags, the addresses in them and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def addresses(self) -> set[str]:
        return {value for _, given in self.tags for name in ("href", "src", "action") if (value := given.get(name))}


def page(looker: Looker, path: str, status: int = 200) -> Page:
    answer = looker.get(path)
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return Page(answer.body)


SHOWN = [
    "/",
    "/?refresh=off",
    "/findings",
    "/findings/1",
    "/findings/2",
    "/findings/3",
    "/findings?state=all",
    "/sign-in",
]


@pytest.mark.parametrize("path", SHOWN)
@pytest.mark.parametrize("who", ["anybody", "analyst"])
def test_a_page_asks_nobody_else_and_runs_nothing_of_others(request, path, who):
    looker: Looker = request.getfixturevalue(who)
    answer = looker.get(path)
    shown = Page(answer.body)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert (answer.headers["X-Frame-Options"], answer.headers["Cache-Control"]) == ("deny", "no-store")
    for tag, given in shown.tags:
        assert tag not in ("style", "iframe", "object", "base"), tag
        assert not [name for name in given if name == "style" or name.startswith("on")], (tag, given)
        assert tag != "script" or given["src"].startswith("static/refresh.js")
    outside = {each for each in shown.addresses() if urlsplit(each).scheme}
    assert all(each.startswith("https://attack.mitre.org/techniques/T1568/002/") for each in outside)
    alike = {re.sub(r"\d+", "1", each): each for each in shown.addresses() - outside}
    for each in alike.values():
        target = urlsplit(urljoin(path, each))
        assert not target.netloc, each
        if target.path.startswith(("/static", "/findings", "/runbooks", "/-/")) or target.path == "/":
            asked = f"{target.path}?{target.query}" if target.query else target.path
            assert looker.get(asked).status in (200, 405), each  # 405: where forms are sent


@pytest.mark.parametrize("path", ["/", "/findings?state=all", "/findings/3", f"/findings?subject={quote(HOSTILE)}"])
def test_hostile_text_is_text(analyst, path):
    shown = page(analyst, path)
    visible = HOSTILE.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
    raw = analyst.get(path).body
    assert visible in unescape(raw).replace("\n", " "), raw
    assert "\x1b" not in raw
    assert "\u202e" not in raw
    assert "{{ 7 * 7 }}" in unescape(raw)
    assert [given for tag, given in shown.tags if tag == "script" and "src" not in given] == []


def test_now_says_what_fails_and_what_was_found(anybody):
    shown = page(anybody, "/").text
    assert "shop.example" in shown
    assert re.search(r"33\.3\s%", shown)
    assert "servfail 100" in shown
    assert re.search(r"1\s+open critical finding\b", shown)
    assert f"All {MANY + 3} open findings" in shown
    assert "Not known: no flow was evaluated yet." in shown


def test_what_does_not_run_is_said_and_nothing_looks_like_peace(tmp_path):
    gone = tmp_path / "gone"
    sources = {"zeek": [{"path": str(gone)}]}
    config = write_config(tmp_path, sources=sources, detectors={"disabled": ["malware", "tunnel"]})
    with collecting_here(config, tmp_path / "state") as daemon:
        shown = page(started(daemon), "/")
        assert "Not everything runs" in shown.text
        assert str(gone) in shown.text
        assert "No DNS query was ever read" in shown.text
        classes = [given.get("class") or "" for _, given in shown.tags]
        assert "nothing" not in classes, "a check mark where nobody could look"
        assert not [each for each in classes if each.startswith("tile good")]
        shown = page(started(daemon), "/findings")
        assert "No finding is open. But there are no new records to find anything in." in shown.text
        assert "nothing" not in [given.get("class") for _, given in shown.tags]


def test_zones_with_too_few_queries_to_evaluate_are_no_good_news(tmp_path):
    config = write_config(tmp_path, zones={"min_queries": 10_000})
    write_log(tmp_path)
    with collecting_here(config, tmp_path / "state") as daemon:
        looker, why = started(daemon), "Not known: no zone had enough queries in these minutes."
        eventually(lambda: why in looker.get("/").body)
        shown = page(looker, "/")
        assert "0\n    zones over the threshold, of 0 with enough queries" in shown.text
        classes = [given.get("class") or "" for _, given in shown.tags]
        assert next(each for each in classes if each.startswith("tile ")) == "tile unknown"


def test_a_list_is_filtered_sorted_and_paged_by_the_server(anybody):
    def numbers(path: str) -> list[int]:
        shown = page(anybody, path)
        found = [re.fullmatch(r"findings/(\d+)", each or "") for each in (given.get("href") for _, given in shown.tags)]
        return [int(each[1]) for each in found if each]

    assert numbers("/findings")[:3] == [1, 3, 4]
    assert len(numbers("/findings")) == 50
    last = numbers("/findings?page=3")
    assert (len(last), last[-1]) == (MANY + 3 - 100, MANY + 3)
    assert numbers("/findings?page=9999") == last
    assert numbers("/findings?sort=score&order=asc")[:2] == [MANY + 3, MANY + 2]
    assert numbers("/findings?severity=!warning") == [1]
    assert numbers("/findings?detector=malware,poisoning") == [1, 2]
    assert numbers("/findings?subject=192.0.2.0/24") == [1, 2]
    assert numbers("/findings?state=closed") == []
    assert numbers("/findings?score=>=0.9&sort=score&order=asc") == [4, 3, 1]
    assert numbers("/findings?score=>=0.7,<0.75&detector=poisoning") == [2]
    assert numbers("/findings?count=>1") == []
    assert numbers("/findings?last_seen=<2020-01-01") == []
    assert len(numbers("/findings?last_seen=>=2020-01-01T00:00:00Z")) == 50
    shown = page(anybody, "/findings?score=%3E%3D0.7,%3C0.75&detector=poisoning")
    chips = [given["href"] for _, given in shown.tags if "chip" in (given.get("class") or "")]
    assert "findings?score=%3C0.75&detector=poisoning" in chips
    shown = page(anybody, "/findings?severity=critical&detector=!tunnel")
    assert "severity: critical" in shown.text
    assert "detector: not tunnel" in shown.text
    chips = [given for _, given in shown.tags if "chip" in (given.get("class") or "")]
    assert [given["href"] for given in chips] == ["findings?detector=%21tunnel", "findings?severity=critical"]
    assert "No finding matches" in page(anybody, "/findings?subject=nobody.example").text


def test_the_list_goes_out_as_csv_without_formulas_and_as_json(analyst):
    answer = analyst.get("/findings.csv?detector=other")
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="dnsvigil-findings-')
    (row,) = csv.DictReader(io.StringIO(answer.body))
    assert row["subject"] == HOSTILE.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
    everything = analyst.get("/findings.csv?state=all").body
    assert not re.search(r"(^|,)\"?[=+@\t\r-][^,]", everything, re.MULTILINE)
    found = json.loads(analyst.get("/findings.json?detector=other").body)
    assert [each["subject"] for each in found] == [HOSTILE]
    assert found[0]["evidence"]["names"] == [HOSTILE]
    assert len(json.loads(analyst.get("/findings.json").body)) == MANY + 3


@pytest.mark.parametrize("begin", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_a_cell_is_never_a_formula(begin):
    from dnsvigil.web.exports import _cell

    assert _cell(begin).startswith("'")
    assert _cell(-0.5) == -0.5


def test_evidence_is_drawn_and_said(analyst):
    answer = analyst.get("/findings/1")
    shown = Page(answer.body)
    for text in ("behaves as if malware ran on it", "What the score is made of", "burst", "6.1", "192.0.2.77", "41"):
        assert text in shown.text, text
    assert "https://attack.mitre.org/techniques/T1568/002/" in shown.addresses()
    assert "../runbooks/DnsvigilClientInfected" in shown.addresses()
    nearest = Page(analyst.get("/findings/2").body).text
    assert nearest.index("guessing") < nearest.index("ordinary")


def test_every_finding_has_a_runbook_that_is_there():
    import yaml

    rules = yaml.safe_load(
        (runbooks.FOLDER.resolve().parents[1] / "rules/prometheus/dnsvigil-detection-alerts.yml").read_text()
    )
    by_detector = {
        found[1]: rule["alert"]
        for group in rules["groups"]
        for rule in group["rules"]
        if (found := re.search(r'dnsvigil_finding_score\{detector="(\w+)"(?!, subject_type)', rule.get("expr", "")))
    }
    assert len(by_detector) > 6
    for detector, alert in by_detector.items():
        named = runbook_of({"detector": detector, "subject_type": "client"})
        assert named in runbooks.names()
        assert alert.startswith(named) or detector == "malware", detector
    assert runbook_of({"detector": "malware", "subject_type": "domain"}) in runbooks.names()
    assert runbook_of({"detector": "another", "subject_type": "domain"}) in runbooks.names()


# Bad input

WRONG = [
    ("/?x=1", 400),
    ("/findings?page=0", 400),
    ("/findings?page=x", 400),
    ("/findings?page=99999999", 400),
    ("/findings?sort=nothing", 400),
    ("/findings?order=up", 400),
    ("/findings?severity=a&severity=b", 400),
    ("/findings?detector=" + ",".join("x" * 21), 400),
    ("/findings?subject=%ff", 400),
    ("/findings?score=0.7", 400),
    ("/findings?score=>=high", 400),
    ("/findings?score=>=nan", 400),
    ("/findings?score=>=0);--", 400),
    ("/findings?last_seen=>=yesterday", 400),
    ("/findings?last_seen=>=0001-01-01T00:00:00%2B14:00", 400),
    ("/findings?count=" + ",".join([">1"] * 21), 400),
    ("/findings/999999", 404),
    ("/findings/99999999999999999999", 400),
    ("/findings/x", 404),
    ("/lookup", 400),
    ("/lookup?q=", 400),
    ("/lookup?q=a..b", 400),
    ("/lookup?q=" + "x" * 2000, 400),
    ("/nothing", 404),
    ("/static/../app.py", 404),
    ("/static/nothing.css", 404),
]


@pytest.mark.parametrize(("path", "status"), WRONG)
def test_a_url_made_by_hand_gets_a_page_that_says_what_is_wrong(anybody, path, status):
    shown = page(anybody, path, status)
    assert f"{status} " in shown.text
    assert "Traceback" not in shown.text


def test_who_is_no_browser_gets_a_line_of_text(anybody):
    answer = anybody.get("/nothing", Accept="*/*")
    assert (answer.status, answer.body) == (404, "Not Found\n")
    assert "dnsvigil_build_info" in anybody.get("/metrics", Accept="*/*").body


@pytest.mark.parametrize(
    ("text", "location"),
    [("#1", "findings/1"), (" #0012 ", "findings/12")],
)
def test_a_look_up_leads_to_the_page(anybody, text, location):
    answer = anybody.get(f"/lookup?q={quote(text)}")
    assert (answer.status, answer.headers["Location"]) == (303, location)


def test_a_store_that_cannot_be_read_is_a_page_that_comes_again(anybody, daemon, monkeypatch, caplog):
    def failing(*_: object) -> None:
        raise StoreError("no space")

    monkeypatch.setattr(Store, "read", failing)
    answer = anybody.get("/findings")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert "cannot be read or written now" in answer.body
    assert "no space" not in answer.body


def test_a_collector_that_starts_says_so_on_a_page(anybody, daemon, monkeypatch):
    monkeypatch.setattr(type(daemon.site.pages), "ready", False)
    for path in ("/", "/findings", "/findings/1", "/lookup?q=a.example"):
        answer = anybody.get(path)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5"), path
        assert "The collector opens its store." in answer.body


def test_every_page_is_documented():
    from pathlib import Path

    text = (Path(__file__).parents[3] / "docs" / "web.md").read_text()
    for each in PAGES:
        assert f"`{each.path.partition('<')[0].rstrip('/') or '/'}" in text, each.path


def test_files_beside_the_pages_are_kept_by_browsers(anybody):
    (address,) = {each for each in page(anybody, "/").addresses() if "style.css" in each}
    answer = anybody.get(f"/{address}")
    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["Cache-Control"]
    assert "url(" not in answer.body
    assert "@import" not in answer.body


# Triage


def test_a_finding_is_dismissed_noted_and_reopened_and_the_history_says_by_whom(analyst):
    given = {"form_token": analyst.get("/findings/100").form_token()}
    answer = analyst.post("/findings/100/dismiss", given | {"why": f"ours {HOSTILE}", "days": "7"})
    assert (answer.status, answer.headers["Location"]) == (303, "../100")
    assert analyst.post("/findings/100/note", given | {"text": "asked"}).status == 303
    shown = page(analyst, "/findings/100").text
    assert re.search(r"State\s*dismissed until \d{4}-", shown)
    assert re.search(r"noted: asked\s+token, ", shown)
    assert re.search(r"dismissed until [^:]+:\d+:\d+ UTC: ours", shown)
    assert analyst.post("/findings/100/reopen", given).status == 303
    assert re.search(r"State\s*open", page(analyst, "/findings/100").text)
    eventually(lambda: "asked" in analyst.get("/findings/100").body)


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/findings/1/dismiss", {"why": " ", "days": "7"}, 400),
        ("/findings/1/dismiss", {"why": "x", "days": "8"}, 400),
        ("/findings/1/dismiss", {"why": "x" * 1025}, 400),
        ("/findings/1/note", {}, 400),
        ("/findings/1/reopen", {"x": "y"}, 400),
        ("/findings/999999/note", {"text": "x"}, 404),
    ],
)
def test_a_form_that_makes_no_sense_changes_nothing(analyst, path, fields, status):
    token = {"form_token": analyst.get("/findings/1").form_token()}
    assert analyst.post(path, token | fields).status == status
    assert "Nobody has done anything" in analyst.get("/findings/1").body
