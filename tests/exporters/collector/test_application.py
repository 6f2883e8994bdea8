"""What the collector serves is its own: nothing of Flask's defaults is in it."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing

import pytest
from flask import Blueprint, request

from dnsvigil.collector.application import application
from dnsvigil.httpd.server import Server


def failing() -> str:
    raise RuntimeError("<secret>")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("FLASK_DEBUG", "1")
    blueprint = Blueprint("test", __name__)
    for method, path, view in (
        ("GET", "/page", lambda: "here\n"),
        ("POST", "/page", lambda: "posted\n"),
        ("GET", "/folder/", lambda: request.host),
        ("GET", "/fails", failing),
    ):
        blueprint.add_url_rule(path, f"{method} {path}", view, methods=[method], provide_automatic_options=False)
    with Server(application([blueprint]), "127.0.0.1:0") as running:
        yield running


def ask(server: Server, method: str, path: str, **headers: str) -> tuple[int, str, dict[str, str], str]:
    with closing(http.client.HTTPConnection(*server.address, timeout=20)) as connection:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.reason, dict(response.getheaders()), response.read().decode()


@pytest.mark.parametrize("path", ["/", "/page/", "/folder", "/folder//", "/static/x", "/x%00", "/%2e%2e/page", "/PAGE"])
def test_a_path_that_is_not_there_is_not_found_and_redirects_nowhere(server: Server, path: str) -> None:
    status, reason, headers, body = ask(server, "GET", path)
    assert (status, reason, body) == (404, "Not Found", "Not Found\n")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "Location" not in headers


def test_slashes_before_a_path_make_another(server: Server) -> None:
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "//page", "SERVER_NAME": "x", "SERVER_PORT": "1"}
    statuses: list[str] = []
    server.app(environ | {"wsgi.url_scheme": "http"}, lambda status, *_: statuses.append(status))
    assert statuses == ["404 Not Found"]


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PURGE", "TRACE"])
def test_only_the_methods_of_a_path_are_allowed(server: Server, method: str) -> None:
    status, reason, headers, body = ask(server, method, "/page")
    assert (status, reason, body) == (405, "Method Not Allowed", "Method Not Allowed\n")
    assert headers["Allow"] == "GET, HEAD, POST"


def test_head_has_no_body(server: Server) -> None:
    status, _, headers, body = ask(server, "HEAD", "/page")
    assert (status, headers["Content-Length"], body) == (200, "5", "")


def test_a_defect_is_logged_once_and_its_text_not_shown(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    status, _, headers, body = ask(server, "GET", "/fails")
    assert (status, body) == (500, "Internal Server Error\n")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert [record.levelname for record in caplog.records].count("ERROR") == 1


@pytest.mark.parametrize("host", ["a..b", "[::1", "x" * 300, "a:b:c", "<script>"])
def test_whatever_host_is_asked_for_the_path_alone_counts(server: Server, host: str) -> None:
    assert ask(server, "GET", "/page", Host=host)[::3] == (200, "here\n")


def test_no_cookie_is_set(server: Server) -> None:
    assert "Set-Cookie" not in ask(server, "GET", "/page", Cookie="session=x")[2]
