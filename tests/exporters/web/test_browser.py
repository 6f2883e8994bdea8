"""The pages in a real browser: Chromium opens and uses them, and axe-core looks for barriers."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from dnsvigil.httpd.access import TOKEN_FILE
from dnsvigil.web import now
from dnsvigil.web.page import KINDS
from dnsvigil.web.routes import PAGES
from exporters.running import line
from exporters.web.looking import HOSTILE, VALUES, collecting, put_flows, write_groups

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: chromium)")

WIDE, PHONE, WALL = (1400, 900), (390, 800), (2560, 1440)

FOLDER = Path(__file__).parents[3] / "docs" / "pictures"
STRUCTURE = FOLDER / "structure.json"
PICTURES = {
    "now": "/",
    "findings": "/findings",
    "domain": "/domain?q=shop.example",
    "server": "/server?q=192.0.2.53&range=1h",
    "flows": "/flows?range=1h",
    "groups": "/groups",
}

Opening = Callable[..., Page]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[tuple[str, str]]:
    """The URL of a collector, and its token."""
    with collecting(tmp_path_factory.mktemp("browser")) as daemon:
        put_flows(daemon)
        write_groups(daemon.folder)
        yield daemon.server.url, (daemon.folder / TOKEN_FILE).read_text().strip()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])  # root has no sandbox
        yield launched
        launched.close()


@contextmanager
def looking(browser: Browser, url: str, size: tuple[int, int] = WIDE, **options: object) -> Iterator[Page]:
    """Give a page of a browser of its own; in the end nothing may have gone wrong in it, or to another host."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, base_url=url, **options)
    page = context.new_page()
    wrong: list[str] = []

    def said(kind: str, text: str) -> None:
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            wrong.append(text)

    def answered(status: int, kind: str, address: str) -> None:
        if status >= (500 if kind == "document" else 400):  # a page may say that there is nothing
            wrong.append(f"{status} {address}")

    page.on("console", lambda message: said(message.type, message.text))
    page.on("response", lambda each: answered(each.status, each.request.resource_type, each.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
    page.on("request", lambda request: None if request.url.startswith(url) else wrong.append(request.url))
    try:
        yield page
    finally:
        context.close()
    assert wrong == []


def sign_in(page: Page, token: str) -> None:
    page.goto("/sign-in")
    page.get_by_label("The token of this collector").fill(token)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def addresses() -> list[str]:
    """The addresses of all pages."""
    found = [page.path for page in PAGES if page.method == "GET" and not page.shows and "." not in page.path]
    found = [path.replace("<int:number>", "1") for path in found if path != "/lookup"]
    shown = {page.shows: page.path for page in PAGES if page.shows}
    return [*found, "/findings/3", "/nothing", *(f"{path}?q={quote(VALUES[kind])}" for kind, path in shown.items())]


def barriers(page: Page, rules: list[str] | None) -> list[str]:
    """What axe-core finds serious, by these rules or all."""
    wanted = {"runOnly": rules} if rules else {}
    found = Axe().run(page, options={"resultTypes": ["violations"], **wanted}).response["violations"]
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary']}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def test_no_page_has_barriers_or_is_too_wide_for_a_phone(browser, site):
    url, token = site
    assert set(VALUES) >= set(KINDS)
    of_looks = ["color-contrast", "scrollable-region-focusable", "target-size"]
    for scheme, size, rules in (("light", WIDE, None), ("dark", PHONE, of_looks)):
        with looking(browser, url, size, color_scheme=scheme) as page:
            sign_in(page, token)
            for address in addresses():
                page.goto(address)
                assert barriers(page, rules) == [], (scheme, address)
                assert page.evaluate("document.documentElement.scrollWidth") <= size[0], address
                assert page.evaluate("document.querySelectorAll('h1').length") == 1, address


def test_an_analyst_filters_pages_looks_up_and_dismisses(browser, site):
    url, token = site
    with looking(browser, url) as page:
        sign_in(page, token)
        page.get_by_role("link", name="Findings", exact=True).click()
        expect(page.locator("tbody tr")).to_have_count(50)
        page.get_by_role("link", name="Next").click()
        expect(page.get_by_text("51 to 100 of 123 findings")).to_be_visible()
        page.get_by_role("link", name=re.compile("^tunnel 120")).click()
        page.get_by_role("textbox", name="Subject").fill("198.51.100.0/28, !198.51.100.3")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator("tbody tr")).to_have_count(14)
        page.get_by_role("link", name="Remove the filter subject not 198.51.100.3").click()
        expect(page.locator("tbody tr")).to_have_count(15)
        page.get_by_label("Score", exact=True).fill(">=0.87")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator("tbody tr")).to_have_count(10)
        page.get_by_role("link", name="Remove the filter score >=0.87").click()
        page.get_by_role("link", name="Score", exact=True).click()
        expect(page.get_by_role("columnheader", name="Score")).to_have_attribute("aria-sort", "descending")
        page.locator("tbody tr").first.get_by_role("link").first.click()
        expect(page.get_by_text("sends about 812 kB out through DNS")).to_be_visible()
        page.get_by_label("Reason").fill(f"ours {HOSTILE}")
        page.get_by_label("For").select_option("7 days")
        page.get_by_role("button", name="Dismiss").click()
        expect(page.get_by_role("button", name="Reopen")).to_be_visible()
        page.get_by_label("Note").fill("asked the customer")
        page.get_by_role("button", name="Add the note").click()
        expect(page.get_by_text("asked the customer")).to_be_visible()
        page.get_by_role("button", name="Reopen").click()
        expect(page.get_by_role("button", name="Dismiss")).to_be_visible()
        page.get_by_role("searchbox").fill("#1")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Finding 1", exact=True)).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("link", name="Sign in")).to_be_visible()
        expect(page.get_by_text("192.0.2.77")).to_have_count(0)


def test_an_analyst_goes_from_value_to_value(browser, site):
    url, token = site
    with looking(browser, url) as page:
        sign_in(page, token)
        page.get_by_role("link", name="Groups").click()
        page.get_by_role("link", name="CDN").click()
        page.get_by_role("link", name="Distance from the centre").click()
        page.get_by_role("link", name="Next").click()
        page.get_by_role("link", name="shop.example").click()
        page.get_by_text("21 more features").click()
        expect(page.get_by_text("distinct autonomous systems of the addresses", exact=True)).to_be_visible()
        records = page.get_by_role("region", name="Passive DNS")
        expect(records.locator("tbody tr")).to_have_count(5)
        expect(records.get_by_text("bücher.shop.example")).to_be_visible()
        page.get_by_label("Type", exact=True).fill("MX")
        page.get_by_label("Seen on or before").fill("2099-12-31")
        records.get_by_role("button", name="Filter").click()
        expect(records.locator("tbody tr")).to_have_count(1)
        with page.expect_download() as download:
            records.get_by_role("link", name="CSV").click()
        assert "10 mail.shop.example" in Path(download.value.path()).read_text()
        records.get_by_role("link", name="mail.shop.example").click()
        expect(page.get_by_role("heading", name="What points to it")).to_be_visible()
        page.get_by_role("link", name="shop.example", exact=True).first.click()
        page.get_by_role("link", name="As a zone on our servers").click()
        page.get_by_role("link", name="192.0.2.53").click()
        page.get_by_role("link", name="7d").click()
        expect(page.get_by_role("heading", name="Server 192.0.2.53")).to_be_visible()
        page.get_by_role("link", name="Flows").click()
        page.get_by_label("Service", exact=True).select_option("dns")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("heading", name="Bytes by exporter")).to_be_visible()
        page.get_by_role("link", name="Earlier").click()
        page.get_by_role("link", name="Newest").click()
        page.get_by_role("link", name="198.51.100.1").click()
        expect(page.get_by_role("heading", name="Address 198.51.100.1")).to_be_visible()
        page.get_by_role("link", name="198.51.100.0/24").click()
        expect(page.get_by_role("heading", name="Network 198.51.100.0/24")).to_be_visible()


def test_live_follows_the_log_until_it_is_paused(browser, site, tmp_path_factory):
    url, token = site
    log = next(tmp_path_factory.getbasetemp().glob("browser*/zeek/current/dns.log"))
    with looking(browser, url) as page:
        sign_in(page, token)
        page.get_by_role("link", name="Live").click()
        page.get_by_label("Name", exact=True).fill("live.example")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("status")).to_have_text("Following the records that match.")
        for name in ("<i>one</i>.live.example", "elsewhere.example", "two.live.example"):
            with log.open("ab") as file:
                file.write(line(time.time(), name))
        expect(page.locator("tbody tr")).to_have_count(2, timeout=20_000)
        expect(page.get_by_role("link", name="<i>one</i>.live.example")).to_be_visible()
        page.get_by_role("button", name="Pause").click()
        with log.open("ab") as file:
            file.write(line(time.time(), "three.live.example"))
        page.wait_for_timeout(1500)
        expect(page.locator("tbody tr")).to_have_count(2)
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("status")).to_have_text("Following the records that match.")


def test_now_looks_again_until_it_is_paused(browser, site, monkeypatch):
    monkeypatch.setattr(now, "REFRESH_SECONDS", 1)
    url, _ = site
    with looking(browser, url) as page:
        page.goto("/")
        stamp = page.locator(".stamp time")
        first = stamp.text_content()
        expect(stamp).not_to_have_text(first or "", timeout=20_000)
        page.get_by_role("link", name="Pause").click()
        expect(page.get_by_role("link", name="Resume")).to_be_visible()
        paused = stamp.text_content()
        page.wait_for_timeout(2500)
        assert stamp.text_content() == paused
        page.get_by_role("link", name="Resume").click()
        with page.expect_request(lambda request: request.resource_type == "fetch"):
            pass


def test_a_collector_that_does_not_answer_is_said(browser, site, monkeypatch):
    monkeypatch.setattr(now, "REFRESH_SECONDS", 1)
    url, _ = site
    context = browser.new_context(base_url=url)
    page = context.new_page()
    page.goto("/")
    context.set_offline(True)
    expect(page.get_by_role("alert")).to_have_text("The collector does not answer. What stands below is old.")
    context.set_offline(False)
    expect(page.get_by_role("alert")).to_have_count(0, timeout=20_000)
    context.close()


def test_pages_show_without_scripts_and_on_paper_and_by_keyboard(browser, site):
    url, _ = site
    with looking(browser, url, java_script_enabled=False) as page:
        page.goto("/")
        expect(page.get_by_role("heading", name="Zones over their thresholds")).to_be_visible()
        page.get_by_role("link", name="Findings", exact=True).click()
        page.get_by_role("link", name=re.compile("^critical 1")).click()
        expect(page.locator("tbody tr")).to_have_count(1)
        page.emulate_media(media="print")
        expect(page.get_by_role("navigation", name="Pages", exact=True)).to_be_hidden()
        page.emulate_media(media="screen")
        page.goto("/findings")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()


def test_a_wall_screen_is_filled(browser, site):
    url, _ = site
    with looking(browser, url, WALL) as page:
        page.goto("/")
        box = page.locator("main").bounding_box()
        assert box
        assert box["width"] == WALL[0]
        assert float(page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)")) > 18


def test_pictures_in_the_documentation_are_of_these_pages(browser, site):
    """``make pictures`` takes them; what a page had then, in headings and columns, is kept beside them."""
    url, token = site
    taken = json.loads(STRUCTURE.read_text()) if STRUCTURE.exists() else {}
    found = {}
    with looking(browser, url, (1200, 850)) as page:
        sign_in(page, token)
        for name, address in PICTURES.items():
            page.goto(address)
            parts = page.locator("main h1, main .card h2, main .card th").all_text_contents()
            found[name] = [*dict.fromkeys(re.sub(r"\s+", " ", part).strip() for part in parts)]
            if os.environ.get("DNSVIGIL_PICTURES"):
                page.locator("li, tr", has_text="<script>").evaluate_all("all => all.forEach(each => each.remove())")
                take(page, FOLDER / f"{name}.png")
    if os.environ.get("DNSVIGIL_PICTURES"):
        STRUCTURE.write_text(f"{json.dumps(found, indent=1)}\n")
        return
    assert found == taken, "pages have changed since their pictures were taken: run make pictures"
    text = (FOLDER.parent / "web.md").read_text()
    for name in PICTURES:
        assert (FOLDER / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"](pictures/{name}.png)" in text
    assert {path.stem for path in FOLDER.glob("*.png")} == {*PICTURES}


def take(page: Page, path: Path) -> None:
    """Take a picture of what is visible, in few colours, which is a third of the size."""
    from PIL import Image

    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
