"""NfSen's page of dnsvigil: served by PHP within what NfSen does around it, read as XML, and rendered by Chromium."""

import html
import http.cookiejar
import json
import math
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

PLUGIN = Path(__file__).parents[2] / "plugins" / "nfsen" / "DnsVigil.php"
PAGE = Path(__file__).with_name("nfsen_page.php")
PHP = shutil.which("php")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-headless-shell")
NEWEST = datetime(2026, 11, 20, 12, 55, tzinfo=UTC)
WEEK = 7 * 86400
MARKUP = """"><script>document.title='owned'</script><img src=x onerror="document.title='owned'">'&amp;"""
HOSTILE = MARKUP + "\u202e\n\u00fc\U0001f4a3"

pytestmark = pytest.mark.skipif(PHP is None, reason="php is not installed (Debian: php-cli)")

Answers = dict[str, Any]


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def verdict(exporter: str = "border", measure: str = "packets", **parts: Any) -> dict[str, Any]:
    of = {} if "resolver" in parts else {"protocol": "udp", "service": "dns"}
    evaluated = {"value": 9000.0, "baseline": 4000.0, "spread": 180.0, "deviation": 27.8, "anomalies": []}
    return {"exporter": exporter, "measure": measure, **of, **evaluated, "history_seconds": 3 * WEEK, **parts}


def points(hours: int = 24, spike: float = 9000.0) -> list[dict[str, Any]]:
    """Return a day's curve, its baseline, a gap of half an hour, and a spike in the newest slot."""
    slots = []
    for back in range(hours * 12 - 1, -1, -1):
        usual = 3000 + 2000 * math.sin(back / 288 * 2 * math.pi)
        point = {"slot": iso(NEWEST - timedelta(minutes=5 * back)), "baseline": usual, "value": usual + back % 7 * 30}
        if not 60 <= back < 66:
            slots.append(point)
    return [*slots[:-1], {**slots[-1], "value": spike, "anomalies": ["spike"]}]


def carried(answer: Any) -> dict[str, Any]:
    """Return an answer in the pieces in which the backend sends it."""
    text = json.dumps(answer, separators=(",", ":"))
    return {"json": [text[at : at + 9999] for at in range(0, len(text), 9999)]}


def good(exporter: str = "border") -> Answers:
    talkers = [
        {"exporter": exporter, "element": element, "talker": talker, "flows": 3, "packets": 1234, "bytes": size}
        for element, talker, size in [
            ("srcip", "192.0.2.1", 100.0),
            ("srcip", "2001:db8::53", 5_000_000),
            ("dstip", "198.51.100.7", 7),
        ]
    ]
    finding = {
        "id": 1,
        "detector": "flow_spike",
        "subject_type": "series",
        "subject": f"{exporter} udp dns",
        "score": 0.93,
        "severity": "warning",
        "first_seen": iso(NEWEST),
        "last_seen": iso(NEWEST),
        "count": 2,
        "evidence": {"value": 9000, "names": ["a.example", "b.example"]},
        "state": "open",
    }
    verdicts = [
        verdict(exporter, anomalies=["spike", "shift_up"]),
        verdict(exporter, "bytes"),
        verdict(exporter, "tcp_ratio", resolver="192.0.2.53", value=0.03, baseline=0.025, spread=0.004, deviation=1.2),
        verdict("other", history_seconds=86400, baseline=None, spread=None, deviation=None),
    ]
    series = {"exporter": exporter, "protocol": "udp", "service": "dns", "measure": "packets", "points": points()}
    return {
        "DnsVigil::verdicts": carried({"slot": iso(NEWEST), "complete": True, "verdicts": verdicts}),
        "DnsVigil::series": carried({"slot_seconds": 300, "series": [series]}),
        "DnsVigil::talkers": carried({"slot": iso(NEWEST), "talkers": talkers}),
        "DnsVigil::findings": carried([finding]),
    }


class Site:
    """The page on a web server of PHP's own, in one session of NfSen."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/nfsen_page.php"
        self._folder = folder
        self._browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def get(self, answers: Answers, **chosen: str) -> ElementTree.Element:
        """Return the plugin's part of the page, of which every byte must be well-formed and free of PHP's notices."""
        self.answer(answers)
        query = urllib.parse.urlencode({f"dnsvigil_{name}": value for name, value in chosen.items()})
        with self._browser.open(f"{self.url}?{query}", timeout=20) as answer:
            text = answer.read().decode("ascii")
        assert not re.search(r"\b(Notice|Warning|Deprecated|Fatal error|Parse error)\b:?", text), text
        body = text[text.index("<body>") : text.index("</body>") + 7]
        return ElementTree.fromstring(body)

    def answer(self, answers: Answers) -> None:
        (self._folder / "asked").write_text("")
        (self._folder / "answers.json").write_text(json.dumps(answers))

    def asked(self) -> list[tuple[str, dict[str, str]]]:
        """Return the commands of the last page, with their arguments as the collector will see them."""
        lines = [json.loads(line) for line in (self._folder / "asked").read_text().splitlines()]
        decoded = urllib.parse.unquote
        return [(line["command"], {k: decoded(v) for k, v in line["arguments"].items()}) for line in lines]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Site]]:
    folder = tmp_path_factory.mktemp("nfsen")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"NFSEN_PLUGIN": str(PLUGIN), "NFSEN_ANSWERS": str(folder)}
    settings = ["-n", "-d", f"session.save_path={folder}", "-d", "date.timezone=Europe/Zurich"]
    extensions = ["-d", "extension=iconv"] if not _built_in("iconv") else []
    command = [str(PHP), *settings, *extensions, "-S", f"127.0.0.1:{port}", "-t", str(PAGE.parent)]
    with (folder / "log").open("w") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as php:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield lambda: Site(folder, port)
        php.terminate()


def _built_in(extension: str) -> bool:
    return extension in subprocess.run([str(PHP), "-n", "-m"], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def site(server: Callable[[], Site]) -> Site:
    return server()


def texts(page: ElementTree.Element, path: str) -> list[str]:
    return ["".join(element.itertext()).strip() for element in page.iterfind(path)]


def rows(page: ElementTree.Element, number: int) -> list[list[str]]:
    table = list(page.iter("table"))[number]
    return [["".join(cell.itertext()) for cell in row.iter("td")] for row in table.iter("tr")][1:]


def test_php_takes_the_file() -> None:
    checked = subprocess.run([str(PHP), "-n", "-l", str(PLUGIN)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_the_most_unusual_series_is_shown_with_talkers_and_findings(site: Site) -> None:
    page = site.get(good())
    assert site.asked() == [
        ("DnsVigil::verdicts", {}),
        (
            "DnsVigil::series",
            {"exporter": "border", "protocol": "udp", "service": "dns", "measure": "packets", "hours": "24"},
        ),
        ("DnsVigil::talkers", {"exporter": "border"}),
        ("DnsVigil::findings", {}),
    ]
    assert texts(page, ".//h3") == [
        "border: dns over udp, packets",
        "Unusual in the newest slot, 2026-11-20 13:55",
        "Top talkers of border in the slot 2026-11-20 13:55",
        "Open findings (1)",
    ]
    assert "9 k, usual 4 k ± 180, +27.8 spreads from it. spike, lasting rise" in " ".join(texts(page, ".//p"))
    assert rows(page, 0) == [["border", "dns over udp", "packets", "spike, lasting rise", "9 k", "4 k", "+27.8"]]
    assert rows(page, 1) == [
        ["2001:db8::53", "5 MB", "1.23 k", "3"],
        ["192.0.2.1", "100 B", "1.23 k", "3"],
    ]
    assert rows(page, 2) == [["198.51.100.7", "7 B", "1.23 k", "3"]]
    assert rows(page, 3)[0][:7] == [
        *["warning", "flow_spike", "series border udp dns", "0.93", "2026-11-20 13:55", "2026-11-20 13:55", "2"]
    ]
    assert rows(page, 3)[0][7] == 'value 9000names ["a.example","b.example"]'
    assert "Europe/Zurich (CET, UTC+01:00)" in texts(page, ".//p")[-1]
    assert not [e for e in page.iter() if e.tag in {"script", "img", "link", "iframe"}]
    assert "url(" not in "".join(texts(page, ".//style"))


def svg(page: ElementTree.Element) -> list[ElementTree.Element]:
    drawn = next(element for element in page.iter() if element.tag.endswith("}svg"))
    return list(drawn.iter())


def paths(page: ElementTree.Element, name: str) -> list[tuple[float, float]]:
    line = next(e.attrib["d"] for e in svg(page) if e.attrib.get("class") == name)
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", line)]


def test_the_drawing_is_to_scale(site: Site) -> None:
    page = site.get(good())
    labels = [(e.attrib.get("x"), e.attrib.get("y"), e.text) for e in svg(page) if e.tag.endswith("}text")]
    heights = {text: float(y) - 4 for x, y, text in labels if x == "74" and y and text}
    assert list(heights) == ["0", *(f"{n} k" for n in range(1, 10))]
    scale = (heights["0"] - heights["8 k"]) / 8000
    drawn = paths(page, "value")
    given = points()
    assert len(drawn) == len(given) == 282
    for (_, y), point in zip(drawn, given, strict=True):
        assert heights["0"] - y == pytest.approx(point["value"] * scale, abs=0.2)
    for (_, y), point in zip(paths(page, "baseline"), given, strict=True):
        assert heights["0"] - y == pytest.approx(point["baseline"] * scale, abs=0.2)
    # Noon in Zurich is 11:00 UTC, the newest slot 12:55 UTC.
    times = {text: float(x) for x, y, text in labels if y == "271" and x}
    assert {"12:00", "Fri 20 Nov", "18:00"} < set(times)
    per_slot = (times["12:00"] - times["Fri 20 Nov"]) / 144
    assert drawn[-1][0] - times["12:00"] == pytest.approx(23 * per_slot, abs=0.2)
    assert {"packets in five minutes", "time (CET)"} < {text for _, _, text in labels}
    [mark] = [e for e in svg(page) if e.tag.endswith("}circle")]
    assert (float(mark.attrib["cx"]), float(mark.attrib["cy"])) == drawn[-1]
    assert [title.text for title in mark] == ["2026-11-20 13:55: 9 k, usual 3 k, spike"]
    # The half hour without flows is a gap: two lines, not one.
    line = next(e.attrib["d"] for e in svg(page) if e.attrib.get("class") == "value")
    assert line.count("M") == 2


def test_what_is_chosen_is_shown_and_kept(site: Site) -> None:
    site.get(good(), exporter="border", series="resolver 192.0.2.53", measure="tcp_ratio", hours="168")
    wanted = {"exporter": "border", "resolver": "192.0.2.53", "measure": "tcp_ratio", "hours": "168"}
    assert site.asked()[1] == ("DnsVigil::series", wanted)
    page = site.get(good())
    assert site.asked()[1] == ("DnsVigil::series", wanted)
    chosen = [e.text for e in page.iter("option") if e.attrib.get("selected")]
    assert chosen == ["border", "resolver 192.0.2.53", "share of TCP", "a week"]
    assert "3 %, usual 2.5 % ± 0.4 %, +1.2 spreads" in " ".join(texts(page, ".//p"))
    # Of what is not there, only what is there is taken over.
    page = site.get(good(), exporter="other", series="'; DROP", measure="nonsense", hours="0")
    assert site.asked()[1][1]["exporter"] == "other"
    assert site.asked()[1][1]["hours"] == "24"
    assert "Still learning: there are 1.0 days of history, and two days of this kind" in " ".join(texts(page, ".//p"))
    with site._browser.open(f"{site.url}?dnsvigil_exporter[]=x&dnsvigil_hours[a]=1", timeout=20) as answer:
        assert b"Warning" not in answer.read()


def test_links_of_unusual_series_lead_to_them(site: Site) -> None:
    answers = good()
    odd = verdict("a b&c=d", "bytes", service="ntp", anomalies=["drop"], deviation=-99.0)
    newest = {"slot": iso(NEWEST), "complete": True, "verdicts": [verdict(anomalies=["spike"]), odd]}
    answers["DnsVigil::verdicts"] = carried(newest)
    page = site.get(answers, exporter="border")
    links = [e.attrib["href"] for e in page.iter("a")]
    assert [row[4:] for row in rows(page, 0)] == [["9 kB", "4 kB", "-99.0"], ["9 k", "4 k", "+27.8"]]
    chosen = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(links[0]).query))
    assert {"tab": "5", "sub_tab": "0"}.items() < chosen.items()
    site.get(answers, **{k.removeprefix("dnsvigil_"): v for k, v in chosen.items() if k.startswith("dnsvigil_")})
    assert site.asked()[1][1] == {
        "exporter": "a b&c=d",
        "protocol": "udp",
        "service": "ntp",
        "measure": "bytes",
        "hours": "24",
    }


def test_hostile_names_are_text(site: Site) -> None:
    answers = hostile()
    page = site.get(answers)
    assert not [e for e in page.iter() if e.tag in {"script", "img"}]
    assert not [name for e in page.iter() for name in e.attrib if name.startswith("on")]
    assert [e.attrib["value"] for e in page.iter("option") if "owned" in e.attrib["value"]]
    assert rows(page, 3)[0][2].endswith(MARKUP + "\\u{202E}\\u{000A}\u00fc\U0001f4a3")
    assert len(rows(page, 3)[1][7]) < 1000


def hostile() -> Answers:
    answers = good(HOSTILE)
    talkers = {"exporter": HOSTILE, "element": "srcip", "talker": HOSTILE, "bytes": 10**30}
    answers["DnsVigil::talkers"] = carried({"slot": HOSTILE, "talkers": [talkers]})
    finding = dict.fromkeys(["detector", "subject_type", "subject", "severity", "first_seen", "last_seen"], HOSTILE)
    long = {**finding, "evidence": {HOSTILE: "x" * 100_000}, "count": [], "score": "1"}
    answers["DnsVigil::findings"] = carried([{**finding, "evidence": {HOSTILE: [HOSTILE]}, "count": HOSTILE}, long])
    return answers


@pytest.mark.parametrize("wrong", [{"json": "{"}, {"json": ["[1,", "2"]}, {}, {"error": ["x"]}, {"json": '"text"'}])
def test_an_answer_that_cannot_be_read_is_said(site: Site, wrong: Answers) -> None:
    page = site.get({**good(), "DnsVigil::series": wrong})
    assert len(texts(page, ".//p[@class='trouble']")) == 1
    assert texts(page, ".//h3")[-1] == "Open findings (1)"


@pytest.mark.parametrize("odd", [{}, [], [1, "a", None, []], {"verdicts": 3}, {"verdicts": [{"exporter": []}]}])
def test_odd_shapes_bring_no_notice(site: Site, odd: Any) -> None:
    for command in good():
        site.get({**good(), command: carried(odd)})
    site.get(dict.fromkeys(good(), carried(odd)))


def test_no_backend_and_no_collector_are_told_apart(site: Site) -> None:
    page = site.get({})
    assert texts(page, ".//h3") == ["ERROR: nfsend: Plugin 'DnsVigil' unknown!"]
    assert "check-nfsen" in texts(page, ".//p[@class='trouble']")[0]
    assert len(site.asked()) == 1
    silent = {"error": "the collector at http://127.0.0.1:9953 does not answer: <connection refused>"}
    page = site.get(dict.fromkeys(good(), silent))
    assert texts(page, ".//p[@class='trouble']") == [f"No data: {silent['error']}"]
    assert len(site.asked()) == 1


def test_before_the_first_slot_the_page_says_so(site: Site) -> None:
    page = site.get({**good(), "DnsVigil::verdicts": {"error": "404 no series has been evaluated yet"}})
    assert any("No series yet" in text for text in texts(page, ".//p"))
    assert [command for command, _ in site.asked()] == ["DnsVigil::verdicts", "DnsVigil::findings"]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: chromium)")
def test_a_browser_renders_it_and_runs_nothing_of_it(site: Site, tmp_path: Path) -> None:
    site.answer(hostile())
    shot = tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    sized = ["--window-size=1200,1400", f"--screenshot={shot}", "--dump-dom"]
    rendered = subprocess.run(
        [str(CHROMIUM), *options, *sized, site.url], capture_output=True, text=True, timeout=120, check=True
    )
    assert "<title>NFSEN</title>" in rendered.stdout
    assert html.unescape(rendered.stdout).count("<svg") == 1
    assert "<circle" in rendered.stdout
    assert not re.search(r"<(script|img)\b", rendered.stdout)
    assert shot.stat().st_size > 20_000
