"""``dnsvigil pdns lookup``: of a running collector, and of a store where none runs."""

import io
import json
from pathlib import Path

import pytest

from dnsvigil.cli.main import main
from exporters.running import collecting, write_config
from exporters.zeeklogs import START, package_header, package_line

PDNS = "dnsvigil_pdns"
DAY = 86400
NEWEST = START + 10 * DAY


def row(first: float, last: float, **values: str) -> bytes:
    times = {"ts": f"{NEWEST:.6f}", "time_first": f"{first:.6f}", "time_last": f"{last:.6f}"}
    return package_line(PDNS, **times | values)


ROWS = [
    row(START, START + DAY, rrname="example.com", rrtype="A", rdata="192.0.2.1", bailiwick="example.com", count="3"),
    row(NEWEST - DAY, NEWEST, rrname="example.com", rrtype="A", rdata="192.0.2.2", bailiwick="example.com", count="1"),
    row(START, NEWEST, rrname="www.example.com", rrtype="CNAME", rdata="cdn.example.net", bailiwick="-", count="7"),
    row(START, NEWEST, rrname="a\\x1b[31mb.example.org", rrtype="TXT", rdata='"\\xc3"', bailiwick="-", count="1"),
    row(START, NEWEST, rrname="mail.example.com", rrtype="MX", rdata="10 mx.example.net", bailiwick="-", count="1"),
    row(START, NEWEST, rrname="rebound.example.org", rrtype="A", rdata="10.0.0.1", bailiwick="-", count="1"),
]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pdns")
    path = write_config(folder)
    log = folder / "zeek" / "current" / f"{PDNS}.log"
    log.write_bytes(package_header(PDNS) + b"".join(ROWS))
    assert main(["-c", str(path), "--state", str(folder / "state"), "ingest", str(log)]) == 0
    return path


class Command:
    """Runs the command."""

    def __init__(self, config: Path, capsys: pytest.CaptureFixture[str], url: str | None) -> None:
        self._config = config
        self._capsys = capsys
        self._more = ["--url", url] if url else []

    def __call__(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        state = str(self._config.parent / "state")
        self._capsys.readouterr()
        assert main(["-c", str(self._config), "--state", state, "pdns", "lookup", *arguments, *self._more]) == status
        return tuple(self._capsys.readouterr())

    def records(self, *arguments: str) -> list[dict]:
        out, complaints = self(*arguments, "--json")
        assert complaints == ""
        return [json.loads(line) for line in out.splitlines()]

    def data(self, *arguments: str) -> list[str]:
        return [record["rdata"] for record in self.records(*arguments)]


@pytest.fixture(params=["store", "collector"])
def lookup(config, request, capsys):
    if request.param == "store":
        yield Command(config, capsys, "http://127.0.0.1:1")
        return
    with collecting(config, config.parent / "state") as collector:
        collector.get("/-/ready")
        yield Command(config, capsys, collector.url)


def test_look_ups(lookup, tmp_path, monkeypatch):
    # As records
    (first, second) = lookup.records("example.com")
    assert first == {
        "rrname": "example.com",
        "rrtype": "A",
        "rdata": "192.0.2.1",
        "time_first": int(START),
        "time_last": int(START + DAY),
        "count": 3,
        "bailiwick": "example.com",
        "sensor_id": first["sensor_id"],
    }
    assert second["rdata"] == "192.0.2.2"
    assert lookup.data("Example.COM.", "--type", "a", "--bailiwick", "example.com.") == ["192.0.2.1", "192.0.2.2"]
    assert lookup.data("192.0.2.2") == ["192.0.2.2"]
    assert lookup.data("192.0.2.0/24") == ["192.0.2.1", "192.0.2.2"]
    assert lookup.data("+.example.com", "--type", "CNAME") == ["cdn.example.net"]
    assert lookup.data("*.example.net", "--rdata") == ["cdn.example.net", "10 mx.example.net"]
    assert lookup.data("www.*") == ["cdn.example.net"]
    # At times
    assert lookup.data("example.com", "--limit", "1", "--offset", "1") == ["192.0.2.2"]
    assert lookup.data("example.com", "--after", "1970-01-01T00:00:01Z") == ["192.0.2.1", "192.0.2.2"]
    assert lookup.data("example.com", "--before", "1970-01-01T00:00:01Z", "--strict") == []
    # As a table
    out, complaints = lookup("a\\027[31mb.example.org")
    head, line = out.splitlines()
    assert head.split()[:4] == ["first", "seen", "last", "seen"]
    assert line.isprintable()
    assert "a\\027[31mb.example.org" in line
    assert complaints == ""
    # Of a private address
    assert lookup.records("rebound.example.org")[0]["x_private_address"] is True
    assert "10.0.0.1 (private)" in lookup("rebound.example.org")[0]
    assert lookup("no.example") == ("", "passive DNS has nothing of that\n")
    # In part
    out, complaints = lookup("*.com", "--limit", "2", "--json")
    assert len(out.splitlines()) == 2
    assert complaints == "dnsvigil: the limit is reached, so there may be more: see --limit and --offset\n"
    # Many
    file = tmp_path / "names"
    file.write_text("# ours\nwww.example.com\n\n192.0.2.0/24\nwww.example.com\n")
    assert lookup.data("--bulk", str(file)) == ["cdn.example.net", "192.0.2.1", "192.0.2.2"]
    monkeypatch.setattr("sys.stdin", io.StringIO("mail.example.com\n"))
    assert lookup.data("--bulk", "-") == ["10 mx.example.net"]
    file.write_bytes(b"a..b\nmail.example.com\n\xff\n")
    out, complaints = lookup("--bulk", str(file), "--json", status=1)
    assert [json.loads(line)["rdata"] for line in out.splitlines()] == ["10 mx.example.net"]
    assert complaints == "dnsvigil: 'a..b' is no domain name: a dns label is empty\n"
    # Wrongly
    for arguments, reason in (
        (["a..b"], "no domain name"),
        (["example.com", "--type", "FOO"], "no type"),
        (["*.*"], "wildcard"),
        ([], "--bulk"),
        (["a", "--bulk", str(file)], "--bulk"),
        (["--bulk", str(tmp_path / "none")], "No such file"),
        (["--bulk", str(file), "--offset", "1"], "--offset"),
        (["a", "--strict"], "--after"),
        (["a", "--offset", "4000000"], "offset"),
    ):
        out, complaints = lookup(*arguments, status=2)
        assert out == ""
        assert reason in complaints


def test_a_question_larger_than_a_request_is_several(config, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("dnsvigil.cli.pdns._BODY", 100)
    file = tmp_path / "names"
    file.write_text("".join(f"{number}.example\n" for number in range(50)) + "www.example.com\nmail.example.com\n")
    lookup = Command(config, capsys, "http://127.0.0.1:1")
    assert sorted(lookup.data("--bulk", str(file))) == ["10 mx.example.net", "cdn.example.net"]
    out, complaints = lookup("--bulk", str(file), "--json", "--limit", "1")
    assert len(out.splitlines()) == 1
    assert "there may be more" in complaints


def test_without_a_store_nobody_can_be_asked(tmp_path, capsys):
    state = tmp_path / "none"
    command = ["-c", str(write_config(tmp_path)), "--state", str(state), "pdns", "lookup", "a"]
    assert main([*command, "--url", "http://127.0.0.1:1"]) == 1
    assert "no collector answers" in capsys.readouterr().err
    assert not state.exists()
