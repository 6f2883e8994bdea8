"""``dnsvigil top``: the page on a terminal and in a pipe, its keys, and a collector that goes away and comes back."""

from __future__ import annotations

import copy
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import urwid

from dnsvigil.cli.errors import CommandError
from dnsvigil.cli.top_lines import View, lines
from dnsvigil.cli.top_screen import Page
from dnsvigil.httpd.access import TOKEN_FILE
from exporters.running import collecting, eventually, line, write_config
from exporters.zeeklogs import HEADER

HOSTILE = "evil\x1b[31m\x9b2J.example"
ESCAPED = r"evil\x1b[31m\x9b2J.example"


def zone(server: str, name: str, queries: int, failures: int, state: str) -> dict[str, Any]:
    ratio = failures / queries
    numbers = {"queries": queries, "failures": failures, "failure_ratio": ratio}
    limits = {"failure_ratio_threshold": 0.1, "min_queries": 100}
    return {"server": server, "dns_zone": name, "state": state, "reasons": {"servfail": failures}} | numbers | limits


def detector(name: str, state: str, **texts: Any) -> dict[str, Any]:
    empty = {"evaluated": "2026-03-01T12:00:00Z", "problems": [], "lacks": [], "learning": None, "limits": []}
    return {"detector": name, "state": state, "runs": 1, "failures": 0} | empty | texts


PICTURE: dict[str, Any] = {
    "time": "2026-03-01T12:00:30Z",
    "version": "1.0",
    "from": "2026-03-01T11:55:00Z",
    "to": "2026-03-01T12:00:00Z",
    "current": True,
    "problems": [],
    "servers": [
        {"server": "cache1", "queries": 1000, "failures": 130, "failing_zones": 1, "failure_ratio": 0.13},
    ],
    "zone_states": {"failing": 1, "ok": 2, "few_queries": 0},
    "zones": [
        zone("cache1", HOSTILE, 200, 100, "failing"),
        zone("cache1", "aa.example", 500, 20, "ok"),
        zone("cache1", "bb.example", 300, 10, "ok"),
    ],
    "sensors": [
        {
            "source": "zeek",
            "sensor": "tap1",
            "newest_event": "2026-03-01T12:00:00Z",
            "last_read": "2026-03-01T12:00:20Z",
            "lag_bytes": 0,
            "lag_seconds": 0.0,
            "state": "ok",
        }
    ],
    "capture": [],
    "folders": [{"source": "zeek", "path": "/zeek", "problem": None}],
    "detectors": [detector("malware", "running"), detector("tunnel", "learning", learning="every name is new")],
    "findings": {"total": 0, "by_severity": {"critical": 0, "warning": 0, "info": 0}, "worst": []},
    "flows": {"slot": None, "series": 0, "learning": 0, "unusual": []},
}


def picture(**parts: Any) -> dict[str, Any]:
    return copy.deepcopy(PICTURE) | parts


def text(page: Page, columns: int = 100, rows: int = 50) -> str:
    """What the page shows on a terminal of this size."""
    return "\n".join(each.decode().rstrip() for each in page.render((columns, rows), focus=True).text)


def since(page: Page) -> datetime:
    """Since when it says that there is no answer; today, or yesterday before midnight."""
    found = re.search(r"NO ANSWER since (\S+) UTC", text(page))
    assert found
    now = datetime.now(UTC)
    time_ = datetime.combine(now, datetime.strptime(found[1], "%H:%M:%S").time(), UTC)
    return time_ - timedelta(days=time_ > now)


def styles(page: Page) -> set[str]:
    """The names of the styles of what it shows below the heading."""
    canvas = page.render((100, 50), focus=True)
    return {str(attribute) for row in [*canvas.content()][1:-1] for attribute, _, _ in row}


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keypress((100, 50), key)


@pytest.fixture
def page() -> Page:
    shown = Page("http://127.0.0.1:9953")
    shown.take(picture())
    return shown


def test_the_page_has_what_the_picture_has(page):
    shown = text(page)
    assert "Everything runs" in shown
    assert "Zones: 1 failing, 2 ok, 0 too few queries" in shown
    assert "50.0%" in shown and "FAILING" in shown and "servfail 100" in shown
    assert "Detectors: 1 learning, 1 running" in shown
    assert "every name is new" in shown
    assert "Not known: no source of flows is configured." in shown
    assert "Not known: no sensor has the Zeek package." in shown
    assert "30 seconds ago" in shown


def test_hostile_names_are_escaped(page):
    assert ESCAPED in text(page)
    wanted = {"id": 7, "detector": "x", "severity": "critical", "subject": HOSTILE, "what": f"{HOSTILE} acts."}
    found = {"total": 2, "by_severity": {"critical": 2}, "worst": [wanted | {"last_seen": "2026-03-01T12:00:00Z"}]}
    page.take(picture(findings=found, problems=[{"severity": "critical", "what": HOSTILE, "runbook": HOSTILE}]))
    shown = text(page)
    assert f"#7 critical, 30 seconds ago: {ESCAPED} acts." in shown
    assert "1 other finding: dnsvigil findings" in shown
    assert "\x1b" not in shown and "\x9b" not in shown
    page.take(CommandError(HOSTILE))
    assert ESCAPED in text(page) and "\x1b" not in text(page)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"detectors": [detector("malware", "running")]}, "None."),
        (
            {"detectors": [detector("malware", "running"), detector("tunnel", "not_running")]},
            "None, but this proves nothing: not all detectors run: tunnel.",
        ),
        ({}, "None; some detectors still learn: tunnel."),
        ({"current": False}, "None, but this proves nothing: there are no new records to find anything in."),
        ({"detectors": []}, "None, but this proves nothing: no detector is enabled."),
    ],
)
def test_nothing_found_and_not_running_never_look_alike(parts, said):
    found = lines(picture(**parts), View())
    place = found.index(("title", "Open findings: 0 critical, 0 warning, 0 info"))
    style, text = found[place + 1]
    assert text == said
    assert (style == "good") == (said == "None.")


@pytest.mark.parametrize(
    ("flows", "said"),
    [
        ({}, "None."),
        ({"learning": 2}, "None; 2 of 3 series still learn what is usual."),
        (
            {"slot": "2026-03-01T11:30:00Z"},
            "None, but this proves nothing: the newest flows are those of 2026-03-01T11",
        ),
    ],
)
def test_old_flows_and_those_of_now_never_look_alike(flows, said):
    newest = {"slot": "2026-03-01T11:55:00Z", "series": 3, "learning": 0, "unusual": []}
    style, text = lines(picture(flows=newest | flows), View())[-1]
    assert text.startswith(said)
    assert (style == "good") == (said == "None.")


def test_a_banner_stands_first_where_something_does_not_run(page):
    problem = {"severity": "critical", "what": "Nothing is read from /zeek.", "runbook": "DnsvigilNoLogs"}
    page.take(picture(problems=[problem]))
    shown = text(page).splitlines()
    assert shown[1] == "CRITICAL Nothing is read from /zeek. (DnsvigilNoLogs)"
    assert "Everything runs" not in text(page)


def test_s_sorts_by_what_the_last_line_names(page):
    def zones() -> list[str]:
        return [each.split()[1] for each in text(page).splitlines() if each.startswith("cache1") and ".example" in each]

    assert "sort: failure ratio" in text(page)
    assert zones() == [ESCAPED, "aa.example", "bb.example"]
    press(page, "s", "s", "s")
    assert "sort: zone" in text(page)
    press(page, "s", "s", "s", "s")
    assert "sort: queries" in text(page)
    assert zones() == [ESCAPED, "aa.example", "bb.example"]  # what fails stays above


def test_a_filter_leaves_rows_and_never_the_banner(page):
    problem = {"severity": "critical", "what": "Nothing is read from /zeek.", "runbook": "DnsvigilNoLogs"}
    page.take(picture(problems=[problem]))
    press(page, "/", *"BB.ex")
    assert "filter: BB.ex" in text(page)
    assert "bb.example" in text(page) and "aa.example" not in text(page)
    assert "Nothing is read from /zeek." in text(page)
    assert "Nothing here matches the filter." in text(page)
    press(page, "enter")
    assert "/ filter: BB.ex" in text(page) and "aa.example" not in text(page)
    press(page, "/", "q", "esc")
    assert "aa.example" in text(page)


def test_p_pauses_and_then_shows_the_newest(page):
    press(page, "p")
    page.take(picture(version="2.0"))
    assert "dnsvigil 1.0" in text(page) and "PAUSED" in text(page)
    press(page, "p")
    assert "dnsvigil 2.0" in text(page) and "PAUSED" not in text(page)


def test_a_new_picture_leaves_the_page_where_it_was_scrolled_to(page):
    def first() -> str:
        return text(page, 100, 12).splitlines()[1]

    first()
    for _ in range(2):
        page.keypress((100, 12), "page down")
    scrolled = first()
    assert not scrolled.startswith("Everything runs")
    page.take(picture())
    assert first() == scrolled


def test_what_comes_while_it_is_paused_counts_from_when_it_came(page):
    press(page, "p")
    before = datetime.now(UTC).replace(microsecond=0)
    page.take(CommandError("refused"))
    after = datetime.now(UTC)
    assert "NO ANSWER" not in text(page) and "PAUSED" in text(page)
    time.sleep(1.1)
    press(page, "p")
    assert before <= since(page) <= after


def test_the_last_picture_stays_grey_while_the_collector_is_away(page):
    assert "critical" in styles(page)
    page.take(CommandError("no collector answers at http://127.0.0.1:9953: Connection refused"))
    shown = text(page)
    assert since(page) <= datetime.now(UTC) and "Connection refused" in shown
    assert "This is the last picture." in shown and "aa.example" in shown
    assert styles(page) <= {"old", "away", "None"}
    page.take(picture())
    assert "NO ANSWER" not in text(page) and "critical" in styles(page)


def test_without_any_picture_nothing_looks_well():
    page = Page("http://127.0.0.1:9953")
    assert "Asking the collector" in text(page)
    page.take(CommandError("refused"))
    assert "There is no picture yet." in text(page)
    assert "Everything runs" not in text(page) and "None." not in text(page)


@pytest.mark.parametrize("columns", [20, 60, 80, 200])
def test_a_page_fits_each_terminal(page, columns):
    assert max(map(len, text(page, columns).splitlines())) <= columns
    text(page, 200)
    assert max(map(len, text(page, columns, 3).splitlines())) <= columns


def test_q_ends_it_but_not_inside_a_filter(page):
    press(page, "/", "q")
    press(page, "enter")
    with pytest.raises(urwid.ExitMainLoop):
        press(page, "q")


# The whole command


@pytest.fixture
def collector(tmp_path) -> Iterator[Path]:
    """The configuration of a collector that runs, with a zone that fails."""
    config = write_config(tmp_path, zones={"min_queries": 50})
    now = time.time() - 30
    records = [line(now + i / 1000, "www.shop.example", rcode="2" if i % 2 else "0") for i in range(200)]
    (tmp_path / "zeek" / "current" / "dns.log").write_bytes(HEADER + b"".join(records))
    with collecting(config, tmp_path / "state") as running:
        url = running.url
        eventually(lambda: "shop.example" in running.get("/api/zones"))
        eventually(lambda: "dnsvigil_last_event" in running.get("/metrics"))
        (tmp_path / "url").write_text(url)
        yield config


def command(config: Path, *words: str) -> list[str]:
    folder = config.parent
    where = ("--url", (folder / "url").read_text(), "--token-file", str(folder / "state" / TOKEN_FILE))
    return [
        sys.executable,
        "-m",
        "dnsvigil",
        "-c",
        str(config),
        "--state",
        str(folder / "state"),
        "top",
        *words,
        *where,
    ]


def test_a_pipe_gets_one_picture_without_colours(collector):
    shown = subprocess.run(command(collector), capture_output=True, check=True, stdin=subprocess.DEVNULL)
    assert b"\x1b" not in shown.stdout
    assert b"shop.example" in shown.stdout and b"FAILING" in shown.stdout
    found = json.loads(subprocess.run(command(collector, "--json"), capture_output=True, check=True).stdout)
    assert found["zone_states"]["failing"] == 1


def test_a_pipe_without_a_collector_fails(tmp_path):
    config = write_config(tmp_path)
    (tmp_path / "url").write_text("http://127.0.0.1:1")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / TOKEN_FILE).touch(0o600)
    (tmp_path / "state" / TOKEN_FILE).write_text("x" * 30)
    done = subprocess.run(command(config), capture_output=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert b"no collector answers at http://127.0.0.1:1" in done.stderr
    assert not done.stdout


class Terminal:
    """A program in a real terminal, that of tmux."""

    def __init__(self, folder: Path, *words: str, environment: str = "") -> None:
        self._tmux = ["tmux", "-f", "/dev/null", "-S", str(folder / "tmux")]
        program = f"{environment} {shlex.join(words)}; echo ended with $?; sleep 60"
        self.tmux("new-session", "-d", "-x", "100", "-y", "40", program)

    def tmux(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], capture_output=True, check=True, text=True).stdout

    def screen(self, *options: str) -> str:
        return self.tmux("capture-pane", "-p", *options)

    def shows(self, wanted: str) -> str:
        """Wait until the screen has a text; return the screen."""
        return eventually(lambda: shown if wanted in (shown := self.screen()) else "")


@pytest.fixture
def terminal(tmp_path) -> Iterator[Any]:
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    opened = []

    def open_(*words: str, environment: str = "") -> Terminal:
        opened.append(Terminal(tmp_path, *words, environment=environment))
        return opened[-1]

    yield open_
    for each in opened:
        each.tmux("kill-server")


def test_on_a_real_terminal(collector, terminal):
    shown = terminal(*command(collector), environment="env -u NO_COLOR LANG=C.UTF-8")
    shown.shows("shop.example")
    assert "\x1b[" in shown.screen("-e")
    shown.tmux("resize-window", "-x", "60", "-y", "20")
    eventually(lambda: max(map(len, shown.screen().splitlines())) <= 60 and "q quit" in shown.screen())
    shown.tmux("send-keys", "/", "nothing", "Enter")
    shown.shows("Nothing here matches the filter.")
    shown.tmux("send-keys", "q")
    shown.shows("ended with 0")


def test_no_color_is_no_colour(collector, terminal):
    shown = terminal(*command(collector), environment="env NO_COLOR=1 LANG=C.UTF-8")
    shown.shows("shop.example")
    drawn = shown.screen("-e")
    assert not {f"\x1b[{code}m" for code in range(30, 50)} & {
        f"{part.partition('m')[0]}m" for part in drawn.split("\n")
    }
    assert all(f"\x1b[{code}m" not in drawn for code in (*range(30, 39), *range(40, 49)))


def test_a_collector_that_goes_away_and_comes_back(tmp_path, terminal):
    config = write_config(tmp_path)
    state = tmp_path / "state"
    with collecting(config, state) as running:
        url = running.url
        (tmp_path / "url").write_text(url)
        eventually(lambda: "dnsvigil_build_info" in running.get("/metrics"))
        shown = terminal(*command(config), environment="env LANG=C.UTF-8")
        shown.shows("NOT RUNNING")
        running.kill()
        shown.shows("NO ANSWER since")
        assert "This is the last picture." in shown.screen()
    config.write_text(config.read_text().replace("127.0.0.1:0", url.removeprefix("http://")))
    with collecting(config, state) as running:
        assert running.url == url
        eventually(lambda: "NO ANSWER" not in shown.screen() and "NOT RUNNING" in shown.screen())
