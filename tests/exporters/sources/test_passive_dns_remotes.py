"""Other passive DNS services, for which the own look-ups stand in: they have the same API."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from dnsvigil.cli.main import main
from dnsvigil.httpd.access import keep_token
from dnsvigil.httpd.server import Server
from dnsvigil.sources.passive_dns import circl, dnsdb
from dnsvigil.sources.passive_dns.remote import Asked, RemoteError
from dnsvigil.store.findings import Finding, Findings
from dnsvigil.store.store import Store
from exporters.api.test_passive_dns_api import DAY, KEY, NOW, TUPLES, Failing, FakeReader, serving
from exporters.httpd.support import hashed, write
from exporters.running import write_config

pytest.importorskip("dnsdb2")
pytest.importorskip("pypdns")
pytest.importorskip("requests_ratelimiter")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dnsvigil"


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader(TUPLES, chunk=100)


@pytest.fixture
def server(tmp_path, reader) -> Iterator[Server]:
    with serving(tmp_path, reader) as server:
        yield server


@pytest.fixture
def with_password(tmp_path, reader) -> Iterator[Server]:
    web = write(tmp_path / "web.yml", yaml.safe_dump({"basic_auth_users": {"ops": hashed("secret")}}))
    with serving(tmp_path, reader, web_config=web) as server:
        yield server


def test_dnsdb_is_asked_for_names_addresses_and_data(server):
    def found(asked: Asked) -> set[tuple[str, str, str]]:
        return {(each["rrname"], each["rrtype"], each["rdata"]) for each in dnsdb.records(server.url, KEY, asked)}

    assert found(Asked("example.com", False, rrtype="A", bailiwick="com")) == {("example.com", "A", "192.0.2.2")}
    assert found(Asked("192.0.2.0/24", True)) == {("example.com", "A", "192.0.2.1"), ("example.com", "A", "192.0.2.2")}
    assert found(Asked("ns1.example.net", False, in_data=True)) == {("example.com", "NS", "ns1.example.net")}
    assert found(Asked("mail.example.com", False, in_data=True)) == {("example.com", "MX", "10 mail.example.com")}
    assert found(Asked("example.com", False, rrtype="A", fences={"time_first_before": NOW - 6 * DAY})) == {
        ("example.com", "A", "192.0.2.1")
    }
    (one,) = dnsdb.records(server.url, KEY, Asked("10.0.0.1", True))
    assert one == {
        "rrname": "host.example.org",
        "rrtype": "A",
        "rdata": "10.0.0.1",
        "time_first": NOW,
        "time_last": NOW,
        "count": 1,
        "origin": server.url,
    }


def test_circl_is_asked_for_names_and_addresses(with_password):
    def found(asked: Asked) -> set[tuple[str, str, str]]:
        answer = circl.records(f"{with_password.url}/pdns/query", "ops", "secret", asked)
        return {(each["rrname"], each["rrtype"], each["rdata"]) for each in answer}

    assert found(Asked("10.0.0.1", True)) == {("host.example.org", "A", "10.0.0.1")}
    assert found(Asked("example.com", False, rrtype="NS")) == {("example.com", "NS", "ns1.example.net")}
    assert found(Asked("example.com", False, rrtype="MX")) == {("example.com", "MX", "10 mail.example.com")}
    for what in ("*.example.com", "192.0.2.0/24", "example.+"):
        with pytest.raises(RemoteError, match="names and addresses only"):
            found(Asked(what, False))
    with pytest.raises(RemoteError, match="there may be more"):
        found(Asked("example.com", False, limit=1))
    with pytest.raises(RemoteError, match="password is not accepted"):
        list(circl.records(f"{with_password.url}/pdns/query", "ops", "wrong", Asked("example.org", False)))


def test_an_answer_is_remembered_and_the_key_is_not(server, reader, cache):
    for _ in range(2):
        assert len(list(dnsdb.records(server.url, KEY, Asked("10.0.0.1", True)))) == 1
    assert len(reader.asked) == 1
    (file,) = cache.iterdir()
    assert KEY.encode() not in file.read_bytes()
    assert cache.stat().st_mode & 0o77 == 0


def test_an_answer_that_is_not_whole_is_not_remembered(tmp_path):
    reader = Failing(RuntimeError("a defect"))
    with serving(tmp_path, reader) as server:
        for _ in range(2):
            with pytest.raises(RemoteError, match="DNSDB: the answer is not complete: a fault of the server"):
                list(dnsdb.records(server.url, KEY, Asked("example.com", False)))
        assert len(reader.asked) == 2


def test_errors_say_what_is_wrong(server):
    for key, asked, reason in (
        ("wrong", Asked("example.com", False), "the API key is not accepted"),
        (KEY, Asked("a..b", False), "a..b"),
        (KEY, Asked("a.*.b", False), "DNSDB: it answers 400 Bad Request"),
        (KEY, Asked("*.example.com", False, limit=1), "there may be more"),
    ):
        with pytest.raises(RemoteError, match=reason) as raised:
            list(dnsdb.records(server.url, key, asked))
        assert KEY not in str(raised.value)
    with pytest.raises(RemoteError, match="DNSDB: it cannot be reached"):
        list(dnsdb.records("http://127.0.0.1:1", KEY, Asked("example.com", False)))
    with pytest.raises(RemoteError, match="CIRCL: it cannot be reached"):
        list(circl.records("http://127.0.0.1:1", "ops", "secret", Asked("example.com", False)))


@pytest.mark.parametrize("package", ["dnsdb2", "requests_cache", "requests_ratelimiter"])
def test_a_package_that_is_missing_is_named(server, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RemoteError, match=rf"{package} is not installed; install dnsvigil\[remote\]"):
        list(dnsdb.records(server.url, KEY, Asked("example.com", False)))


def test_the_command_shows_them_side_by_side(tmp_path, server, capsys):
    key = write(tmp_path / "key", f"{KEY}\n")
    key.chmod(0o600)
    # The collector itself is also the DNSDB.
    token = tmp_path / "api-token"
    keep_token(token)
    remote = {"url": server.url, "key_file": str(key)}
    config = write_config(tmp_path, client={"url": server.url, "token_file": str(token)}, dnsdb=remote)
    command = ["-c", str(config), "--state", str(tmp_path), "pdns", "lookup"]
    assert main([*command, "10.0.0.1", "--dnsdb"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("source")
    assert [row.split()[0] for row in rows] == ["dnsdb", "dnsvigil"]
    assert len({tuple(row.split()[1:9]) for row in rows}) == 1  # but for our own remarks
    assert main([*command, "10.0.0.1", "--circl"]) == 2
    assert "set circl.username" in capsys.readouterr().err
    key.write_text("wrong\n")
    assert main([*command, "192.0.2.1", "--dnsdb"]) == 1
    out, complaints = capsys.readouterr()
    assert "192.0.2.1" in out
    assert complaints == "dnsvigil: DNSDB: the API key is not accepted\n"


def test_a_finding_says_when_they_saw_its_domain_first(tmp_path, server, with_password, capsys):
    key, password = write(tmp_path / "key", f"{KEY}\n"), write(tmp_path / "password", "secret\n")
    for file in (key, password):
        file.chmod(0o600)
    state = tmp_path / "state"
    about = [("domain", "example.com", {}), ("client", "198.51.100.7", {"domains": ["never.example", "example.com"]})]
    about += [("client", "198.51.100.8", {"domains": "example.com"}), ("domain", "other.example", {})]
    with Store(state) as store:
        findings = Findings(store)
        now = datetime(2026, 1, 1)
        with store.transaction():
            findings.put_all(
                [Finding("test", kind, subject, 1, "info", now, now, more) for kind, subject, more in about]
            )
    remote = {
        "dnsdb": {"url": server.url, "key_file": str(key)},
        "circl": {"url": f"{with_password.url}/pdns/query", "username": "ops", "password_file": str(password)},
    }
    config = write_config(tmp_path, client={"url": "http://127.0.0.1:1"}, **remote)

    def show(*arguments: str, status: int = 0) -> tuple[str, str]:
        assert main(["-c", str(config), "--state", str(state), "findings", "show", *arguments]) == status
        return tuple(capsys.readouterr())

    first = min(each.time_first for each in TUPLES if each.rrname == "example.com")
    time = f"{datetime.fromtimestamp(first, UTC):%Y-%m-%dT%H:%M:%SZ}"
    out, complaints = show("1", "--dnsdb", "--circl")
    assert f"first seen by DNSDB  {time} (example.com)\nfirst seen by CIRCL  {time} (example.com)\n" in out
    assert complaints == ""
    (found,) = json.loads(show("2", "--dnsdb", "--circl", "--json")[0])
    assert found["first_seen_by"] == {"domain": "never.example", "DNSDB": "never", "CIRCL": "never"}
    assert "first seen by" not in show("1")[0]
    assert "first_seen_by" not in show("1", "--json")[0]
    out, complaints = show("3", "--dnsdb", status=1)
    assert "198.51.100.8" in out
    assert complaints == "dnsvigil: the finding is about no domain, so nobody was asked about one\n"
    # What does not answer leaves the finding, and the other's answer, as they are
    key.write_text("wrong\n")
    out, complaints = show("4", "--dnsdb", "--circl", status=1)
    assert "first seen by DNSDB" not in out
    assert "first seen by CIRCL  never (other.example)\n" in out
    assert complaints == "dnsvigil: DNSDB: the API key is not accepted\n"
    config = write_config(tmp_path, client={"url": "http://127.0.0.1:1"})
    assert show("1", "--dnsdb", status=2)[1] == "dnsvigil: --dnsdb: set dnsdb.key_file in the configuration\n"
