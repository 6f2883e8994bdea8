"""The token, and who may ask what."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import stat
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from flask import Blueprint

from dnsvigil.collector.application import application
from dnsvigil.collector.daemon import Daemon
from dnsvigil.config.collector import Config, load_config
from dnsvigil.httpd.access import TOKEN_FILE, Access, Token, is_loopback, keep_token
from dnsvigil.httpd.api_keys import ApiKeys
from dnsvigil.httpd.server import Server
from dnsvigil.store.store import Store
from exporters.httpd.support import Authority, hashed, write
from exporters.running import collecting_here, eventually, write_config

PAGE = Path(__file__).parents[3] / "docs" / "api.md"


def request(server: Server, key: str, *, context=None, **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of the answer to ``METHOD path`` or a path."""
    method, path = key.split(" ") if " " in key else ("GET", key)
    secure = http.client.HTTPSConnection
    made = secure(*server.address, context=context) if context else http.client.HTTPConnection(*server.address)
    with closing(made) as connection:
        body = b"{}" if method == "POST" else None
        given = {"Content-Type": "application/json"} if body else {}
        connection.request(method, path, body, given | headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()


# The token


def test_a_token_is_made_once_for_owner_and_group(tmp_path):
    path = tmp_path / "state" / TOKEN_FILE
    first = keep_token(path)
    assert re.fullmatch(r"[\w-]{43}", first)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [each.name for each in path.parent.iterdir()] == [TOKEN_FILE]
    assert keep_token(path) == first
    assert keep_token(tmp_path / "other") != first


def test_a_token_that_every_user_can_read_is_a_warning(tmp_path, caplog):
    path = tmp_path / TOKEN_FILE
    keep_token(path)
    assert not caplog.messages
    path.chmod(0o644)
    keep_token(path)
    assert caplog.messages == [f"{path} is open to every user of this machine: chmod o= {path}"]


@pytest.mark.parametrize("content", [b"", b"short\n", b"two words are no token at all\n", b"\xff" * 40, b"x" * 300])
def test_a_file_without_a_token_is_an_error_that_says_what_to_do(tmp_path, content):
    path = tmp_path / TOKEN_FILE
    path.write_bytes(content)
    with pytest.raises(OSError, match="remove it, and a new one is made") as caught:
        keep_token(path)
    assert str(path) in str(caught.value)
    config = write_config(tmp_path)
    path.rename(tmp_path / "mine")
    config.write_text(yaml.safe_dump({"api": {"token_file": str(tmp_path / "mine")}, "listen": "127.0.0.1:0"}))
    command = [sys.executable, "-m", "dnsvigil", "-c", config, "--state", tmp_path / "state", "run"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert "remove it, and a new one is made" in run.stderr


@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer ", "Bearer x", "Basic TOKEN", "TOKEN", "Bearer TOKENx", "Bearer \xe9"]
)
def test_nothing_but_the_token_proves_anything(tmp_path, given):
    token = Token(tmp_path / TOKEN_FILE)
    text = token.path.read_text().strip()
    assert token.proves(f"Bearer {text}")
    assert token.proves(f"bearer  {text} ")
    assert not token.proves(given and given.replace("TOKEN", text))


@pytest.mark.parametrize(
    ("listen", "is_one"),
    [("127.0.0.1:9953", True), ("[::1]:9953", True), ("localhost:1", True), (":9953", False), ("192.0.2.1:1", False)],
)
def test_a_loopback_address_is_known(listen, is_one):
    assert is_loopback(listen) == is_one


# Who may ask what

PROVEN = ("token", "password", "client certificate", "API key")
KEY = "d41d8cd98f00b204e9800998ecf8427e"
EXAMPLES = {
    "/runbooks/*": "/runbooks/",
    "/dnsdb/v2/*": "/dnsdb/v2/lookup/rrset/name/example.com",
    "/pdns/query/*": "/pdns/query/example.com",
}
"""Of the rows that are for several paths, one of these."""


def documented() -> dict[str, dict[str, bool]]:
    """The table in docs/api.md: by path, who may ask."""
    section = PAGE.read_text().partition("## Who may ask what")[2].partition("\n## ")[0]
    head, _, *rows = (
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    )
    assert head == ["path", "anonymous", *PROVEN]
    return {row[0]: dict(zip(head[1:], (cell == "yes" for cell in row[1:]), strict=True)) for row in rows}


def routes_of(tmp_path: Path) -> list[str]:
    daemon = Daemon(load_config(write_config(tmp_path)), tmp_path / "routes", Config)
    daemon.server.stop()
    rules = daemon.site.application.url_map.iter_rules()
    programs = [rule for rule in rules if not rule.endpoint.startswith("web.")]
    return [rule.rule if "GET" in rule.methods else f"POST {rule.rule}" for rule in programs]


def row_of(key: str) -> str:
    return "/runbooks/*" if key.startswith("/runbooks") else key.replace("<path:rest>", "*")


def test_the_table_has_every_path_and_no_other(tmp_path):
    assert {row_of(key) for key in routes_of(tmp_path)} == documented().keys()


@pytest.mark.parametrize("way", ["anonymous", *PROVEN])
def test_everybody_gets_what_the_table_says(tmp_path, way):
    token = keep_token(tmp_path / "state" / TOKEN_FILE)
    authorization = {"token": f"Bearer {token}", "password": "Basic b3BzOnNlY3JldA=="}.get(way)
    headers = {"Authorization": authorization} if authorization else {"X-API-Key": KEY} if way == "API key" else {}
    keys: dict[str, object] = {"api": {"keys": [{"name": "soc", "sha256": sha256(KEY.encode()).hexdigest()}]}}
    context = None
    if way == "password":
        web = write(tmp_path / "web.yml", yaml.safe_dump({"basic_auth_users": {"ops": hashed("secret")}}))
        keys["web_config_file"] = str(web)
    elif way == "client certificate":
        authority = Authority(tmp_path, "authority")
        (cert, key), client = authority.issue("server"), authority.issue("client")
        tls = {"cert_file": str(cert), "key_file": str(key), "client_ca_file": str(authority.path)}
        tls["client_auth_type"] = "RequireAndVerifyClientCert"
        keys["web_config_file"] = str(write(tmp_path / "web.yml", yaml.safe_dump({"tls_server_config": tls})))
        context = ssl.create_default_context(cafile=str(authority.path))
        context.load_cert_chain(*client)
    with collecting_here(write_config(tmp_path, **keys), tmp_path / "state") as daemon:

        def ask(key: str) -> tuple[int, dict[str, str], str]:
            return request(daemon.server, key, context=context, **headers)

        eventually(lambda: ask("/-/ready")[0] == 200)
        for key, who in documented().items():
            status, answer, body = ask(EXAMPLES.get(key, key))
            assert status < 500, key
            assert (status not in (401, 403)) == who[way], key
            assert (status == 403) == (not who[way] and key.startswith("/dnsdb/")), key
            if status == 401:
                assert answer["WWW-Authenticate"] == 'Bearer realm="dnsvigil"'
                assert str(tmp_path / "state" / TOKEN_FILE) in json.loads(body)["error"]


def test_the_token_is_as_good_as_a_password_and_nothing_else_is(tmp_path):
    web = write(tmp_path / "web.yml", yaml.safe_dump({"basic_auth_users": {"ops": hashed("secret")}}))
    with collecting_here(write_config(tmp_path, web_config_file=str(web)), tmp_path / "state") as daemon:
        token = keep_token(tmp_path / "state" / TOKEN_FILE)
        proven = {"Authorization": f"Bearer {token}"}
        eventually(lambda: request(daemon.server, "/-/ready", **proven)[0] == 200)
        assert request(daemon.server, "/api/findings", **proven)[0] == 200
        for path in ("/metrics", "/api/findings"):
            assert request(daemon.server, path)[0] == 401
            assert request(daemon.server, path, Authorization="Bearer x")[0] == 401


def test_users_who_may_only_view_change_nothing(tmp_path):
    users = {"basic_auth_users": {name: hashed("secret") for name in ("alice", "bob")}}
    web = write(tmp_path / "web.yml", yaml.safe_dump(users))
    config = write_config(
        tmp_path,
        web_config_file=str(web),
        web={"triage": ["alice"]},
        api={"client_addresses": "triage"},
    )
    with collecting_here(config, tmp_path / "state") as daemon:
        token = f"Bearer {keep_token(tmp_path / 'state' / TOKEN_FILE)}"
        alice, bob = (f"Basic {b64encode(f'{name}:secret'.encode()).decode()}" for name in ("alice", "bob"))
        eventually(lambda: request(daemon.server, "/-/ready", Authorization=bob)[0] == 200)
        clients = (
            "/api/findings",
            "/api/now",
            "/api/flows/talkers",
            "/api/domains/hours",
            "POST /api/hunt",
            "/metrics",
        )
        changes = [key for key in documented() if key.startswith("POST /api/f")]
        assert len(changes) == 5
        for key in (*clients, *changes):
            status, _, body = request(daemon.server, key, Authorization=bob)
            assert (status, "web.triage" in json.loads(body)["error"]) == (403, True), key
            for authorization in (alice, token):
                assert request(daemon.server, key, Authorization=authorization)[0] not in (401, 403), key
        for key in ("/api/zones", "/api/pdns/lookup"):
            assert request(daemon.server, key, Authorization=bob)[0] not in (401, 403), key


HASHED = ("/api/domains/hours", "/api/domains/tuples")  # hashes of client addresses, which can be reversed


def test_the_configuration_can_open_what_holds_clients_but_never_writing(tmp_path):
    config = write_config(tmp_path, api={"client_addresses": "everyone"})
    with collecting_here(config, tmp_path / "state") as daemon:
        eventually(lambda: request(daemon.server, "/-/ready")[0] == 200)
        for key in documented():
            if not key.startswith("/runbooks"):
                closed = key.startswith(("POST", *HASHED))
                assert (request(daemon.server, EXAMPLES.get(key, key))[0] == 401) == closed, key


# Browsers


@pytest.fixture
def guarded(tmp_path) -> Iterator[Server]:
    access = Access(tmp_path / TOKEN_FILE, ["/api/open", "/page"], loopback=True)
    blueprint = Blueprint("test", __name__)
    for path in ("/api/open", "/page", "/api/closed"):
        blueprint.add_url_rule(path, path, lambda: "here\n", methods=["GET", "POST"])
    with Server(application([blueprint], access), "127.0.0.1:0", token=Token(tmp_path / TOKEN_FILE)) as server:
        yield server


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 403),
        ("127.0.0.1.evil.example:9953", 403),
        ("localhost.evil.example", 403),
        ("[::1", 403),
        ("127.0.0.1:1", 200),
        ("localhost", 200),
        ("[::1]:9953", 200),
        (socket.gethostname(), 200),
    ],
)
def test_a_name_that_somebody_points_at_this_machine_opens_nothing(guarded, host, status):
    answer = request(guarded, "/api/open", Host=host)
    assert answer[0] == status
    if status == 403:
        assert "no name of this machine" in json.loads(answer[2])["error"]
    token = keep_token(guarded.token.path)
    assert request(guarded, "/api/open", Host=host, Authorization=f"Bearer {token}")[0] == 200
    assert request(guarded, "/page", Host=host)[0] == 200, "a proxy may keep the name it was asked by"


@pytest.mark.parametrize(
    ("origin", "status"), [("http://evil.example", 403), ("null", 403), ("http://[", 403), ("http://127.0.0.1:1", 200)]
)
def test_a_page_of_another_site_writes_nothing(guarded, origin, status):
    token = keep_token(guarded.token.path)
    headers = {"Authorization": f"Bearer {token}", "Host": "127.0.0.1:1"}
    assert request(guarded, "POST /api/closed", Origin=origin, **headers)[0] == status


# Before the store is open


def test_until_the_store_is_open_everything_says_when_to_ask_again(tmp_path, monkeypatch, caplog):
    may_open = threading.Event()
    opened = Store.__init__

    def opening(self, *arguments):
        may_open.wait(60)
        opened(self, *arguments)

    monkeypatch.setattr(Store, "__init__", opening)
    token = keep_token(tmp_path / "state" / TOKEN_FILE)
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        try:
            for key in documented():
                if key.startswith("/runbooks"):
                    continue
                status, headers, body = request(daemon.server, EXAMPLES.get(key, key), Authorization=f"Bearer {token}")
                waits = key != "/-/healthy"
                assert (status == 503) == waits, key
                if waits:
                    assert headers["Retry-After"] == "5"
                    assert "ask again" in (json.loads(body)["error"] if "/api" in key or "/pdns" in key else body)
        finally:
            may_open.set()
        eventually(lambda: request(daemon.server, "/-/ready")[0] == 200)
    assert "Traceback" not in caplog.text


# API keys


def test_a_key_takes_the_place_of_a_password_where_it_opens_a_path(tmp_path):
    web = write(tmp_path / "web.yml", yaml.safe_dump({"basic_auth_users": {"ops": hashed("secret")}}))
    digest = sha256(KEY.encode()).hexdigest()
    config = write_config(tmp_path, web_config_file=str(web), api={"keys": [{"name": "soc", "sha256": digest}]})
    with collecting_here(config, tmp_path / "state") as daemon:
        path = EXAMPLES["/dnsdb/v2/*"]
        eventually(lambda: request(daemon.server, path, **{"X-API-Key": KEY})[0] == 200)
        assert request(daemon.server, path)[0] == 401
        for wrong in ("", "x", digest, KEY + " x", KEY[:-1]):
            assert request(daemon.server, path, **{"X-API-Key": wrong})[0] == 401
        for other in ("/metrics", "/api/findings", "/dnsdb", "/dnsdb/v2", "/api/pdns"):
            assert request(daemon.server, other, **{"X-API-Key": KEY})[0] == 401


def test_keys_are_compared_by_their_hash_and_only_where_they_open_a_path():
    keys = ApiKeys({"a": sha256(b"1").hexdigest(), "b": sha256(b"2").hexdigest().upper()}, ["/x/", "/y/"])
    assert [keys.name_of(key, "/x/z") for key in (b"1", b"2", b"3", b"")] == ["a", "b", None, None]
    assert [keys.name_of(b"1", path) for path in ("/x/", "/y/", "/x", "/", "//x/", "/X/")] == ["a", "a", *[None] * 4]
    assert ApiKeys({}, ["/x/"]).name_of(b"1", "/x/") is None
