"""The runbooks that both programs serve: every alert's link opens, and nothing else does."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from dnsvigil.httpd.routes import routes
from dnsvigil.httpd.runbooks import runbook_routes
from dnsvigil.httpd.server import Server
from exporters.httpd.support import hashed, write
from exporters.resolver.exporting import Exporter
from exporters.running import CollectorProcess, write_config

ROOT = Path(__file__).parents[3]
RUNBOOKS = {path.stem: path.read_text() for path in (ROOT / "docs" / "runbooks").glob("*.md")}
LINKS = {
    rule["alert"]: rule["annotations"]["runbook_url"].rpartition("}}")[2]
    for path in (ROOT / "rules" / "prometheus").glob("dnsvigil-*.yml")
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}

Get = Callable[[str], tuple[int, str]]


def asking(url: str) -> Get:
    """A function that returns what the server at ``url`` answers for a path, which is sent as it is."""
    host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")

    def get(path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        connection.putrequest("GET", path)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        return response.status, body

    return get


@pytest.fixture(scope="module", params=["collector", "resolver exporter"])
def get(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Get]:
    folder = tmp_path_factory.mktemp("program")
    if request.param == "collector":
        collector = CollectorProcess(write_config(folder), folder / "state")
        try:
            yield asking(collector.url)
        finally:
            collector.kill()
    else:
        with Exporter(folder, {"collectors": {"probe": {"enabled": False}}}) as exporter:
            yield asking(exporter.url)


def test_the_link_of_every_alert_opens_its_runbook(get: Get) -> None:
    assert len(LINKS) > 50
    for alert, path in LINKS.items():
        status, page = get(f"/runbooks{path}")
        assert status == 200, alert
        assert f"<h1>{alert}</h1>" in page
        assert "<h2>What to do</h2>" in page


def test_pages_are_listed_and_their_links_open(get: Get) -> None:
    status, page = get("/runbooks/")
    assert status == 200
    assert set(re.findall(r'<li><a href="(\w+)">', page)) == RUNBOOKS.keys()
    assert get("/runbooks")[0] == 308
    assert 'href="runbooks/"' in get("/")[1]
    for name in RUNBOOKS:
        _, page = get(f"/runbooks/{name}")
        for link in set(re.findall(r'href="([^"]*)"', page)) - {"./"}:
            assert link in RUNBOOKS or link.startswith("https://"), (name, link)
        assert "](" not in page


@pytest.mark.parametrize(
    "path",
    [
        "/runbooks/nothing",
        "/runbooks/../metrics",
        "/runbooks/../../pyproject.toml",
        "/runbooks/%2e%2e/%2e%2e/etc/passwd",
        "/runbooks/..%2f..%2f..%2fetc%2fpasswd",
        "/runbooks//etc/passwd",
        "/runbooks/DnsvigilNoLogs/",
        "/runbooks/DnsvigilNoLogs.md",
        "/runbooks/DnsvigilNoLogs%00",
        "/runbooks/dnsvigilnologs",
        "/runbooks/*",
    ],
)
def test_what_is_no_runbook_is_not_found(get: Get, path: str) -> None:
    assert get(path) == (404, "Not Found\n")


def test_code_in_runbooks_is_a_block_of_its_own(get: Get) -> None:
    for name, text in RUNBOOKS.items():
        page = get(f"/runbooks/{name}")[1]
        assert page.count("<pre><code") == len(re.findall(r"^ *```\w", text, re.MULTILINE)), name


def test_with_a_password_runbooks_need_it_too(tmp_path: Path) -> None:
    web_config = write(tmp_path / "web.yml", f"basic_auth_users:\n  alice: {hashed('secret')}\n")
    with Server(routes(runbook_routes()), "127.0.0.1:0", web_config) as server:
        assert asking(server.url)("/runbooks/DnsvigilNoLogs") == (401, "Unauthorized\n")
