"""``dnsvigil pdns hunt``: of a running collector, and of a store where none runs."""

import io
import json
import shutil
from hashlib import sha256
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from dnsvigil.api import hunt as api
from dnsvigil.api.passive_dns import lookup
from dnsvigil.cli.main import main
from dnsvigil.store.passive_dns import FOLDER
from exporters.cli.test_pdns_command import NEWEST, PDNS, ROWS, row
from exporters.running import collecting, write_config
from exporters.zeeklogs import package_header

KEY = "d41d8cd98f00b204e9800998ecf8427e"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration, and a store."""
    folder = tmp_path_factory.mktemp("hunt")
    path = write_config(folder)
    time = NEWEST + 7200
    later = row(time, time, ts=f"{time}.0", rrname="later.example", rrtype="A", rdata="203.0.113.1")
    for name, rows in ((f"{PDNS}.1", ROWS), (f"{PDNS}.2", [later])):  # an hour later there is a file of tuples
        log = folder / f"{name}.log"
        log.write_bytes(package_header(PDNS) + b"".join(rows))
        assert main(["-c", str(path), "--state", str(folder / "state"), "ingest", str(log)]) == 0
    return folder


class Command:
    """Runs the command on a copy of the store."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.state = folder / "state"
        self.config = folder / "dnsvigil.yml"
        self.url = "http://127.0.0.1:1"

    def run(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        self._capsys.readouterr()
        options = ["-c", str(self.config), "--state", str(self.state)]
        assert main([*options, *arguments, "--url", self.url]) == status
        return tuple(self._capsys.readouterr())

    def __call__(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        return self.run("pdns", "hunt", *arguments, status=status)

    def records(self, *arguments: str, status: int = 0) -> dict[str, dict]:
        found = json.loads(self(*arguments, "--json", status=status)[0])
        return {each["indicator"]: each for each in found}

    def findings(self) -> list[dict]:
        return json.loads(self.run("findings", "--status", "all", "--detector", "hunt", "--json")[0])


@pytest.fixture(params=["store", "collector"])
def hunt(filled, request, capsys, tmp_path):
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    command = Command(tmp_path, capsys)
    if request.param == "store":
        yield command
        return
    with collecting(command.config, command.state) as collector:
        collector.get("/-/ready")
        command.url = collector.url
        yield command


def test_hits_become_findings_and_nothing_found_is_said(hunt, tmp_path, monkeypatch):
    found = hunt.records("Example.COM.", "*.example.org", "192.0.2.0/31", "2001:db8::1", "nothing.example")
    assert [(name, each["found"]) for name, each in found.items()] == [
        ("example.com", True),
        ("*.example.org", True),
        ("192.0.2.0/31", True),
        ("2001:db8::1", False),
        ("nothing.example", False),
    ]
    example = found["example.com"]
    assert (example["count"], example["first_seen"]) == (4, "2023-11-14T22:13:20Z")
    assert sorted(example["records"]) == ["example.com A 192.0.2.1", "example.com A 192.0.2.2"]
    assert 'a\\x1b[31mb.example.org TXT "\\xc3"' in found["*.example.org"]["records"]
    assert found["192.0.2.0/31"]["records"] == ["example.com A 192.0.2.1"]
    assert found["nothing.example"] == {
        "indicator": "nothing.example",
        "found": False,
        "history_since": "2023-11-14T22:13:20Z",
        "tuples_dropped": 0,
    }
    findings = {each["subject"]: each for each in hunt.findings()}
    assert {name: each["subject_type"] for name, each in findings.items()} == {
        "example.com": "domain",
        "example.org": "domain",
        "192.0.2.0/31": "host",
    }
    assert findings["example.com"]["id"] == example["finding"]
    assert findings["192.0.2.0/31"]["evidence"]["what"].startswith("Passive DNS has 192.0.2.0/31, which was hunted for")
    # As a table, and of a file
    file = tmp_path / "indicators"
    file.write_text("# ours\n192.0.2.2\n\n*.example.org\n")
    out, said = hunt("www.example.net", "--file", str(file))
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["www.example.net", "no"],
        ["192.0.2.2", "yes"],
        ["*.example.org", "yes"],
    ]
    assert out.replace("\n", "").isprintable()
    assert said == "dnsvigil: passive DNS reaches back to 2023-11-14T22:13:20Z\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("mail.example.com\n"))
    assert hunt.records("--file", "-")["mail.example.com"]["found"] is True
    # What is dismissed makes no finding
    number = findings["192.0.2.0/31"]["id"]
    hunt.run("findings", "dismiss", str(number), "--why", "ours")
    assert hunt.records("192.0.2.0/31")["192.0.2.0/31"]["finding"] is None


def test_wrong_indicators_are_reported_and_the_others_looked_up(hunt):
    out, said = hunt("www.*", "a..b", "mail.example.com", "+.com", "*", status=1)
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["mail.example.com"]
    complaints = said.splitlines()[1:]
    assert len(complaints) == 4
    assert complaints[0] == "dnsvigil: 'www.*': expected a name, *.name, an address or a network"


def test_what_could_not_be_read_is_not_taken_for_nothing(hunt):
    path = next((hunt.state / FOLDER).glob("*.names.parquet"))
    path.write_bytes(path.read_bytes()[:-50])
    found = hunt.records("nothing.example", "192.0.2.1", status=1)
    assert (found["nothing.example"]["found"], found["192.0.2.1"]["found"]) == (None, True)
    out, said = hunt("nothing.example", status=1)
    assert out.splitlines()[1].split()[:3] == ["nothing.example", "not", "known"]
    assert "1 file of passive DNS cannot be read, so there may be more" in said


def test_a_hunt_that_takes_too_long_is_not_complete(filled, capsys, tmp_path, monkeypatch):
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(lookup, "SECONDS", 0.0)
    monkeypatch.setattr(api, "SECONDS", 0.0)
    monkeypatch.setattr(api, "_STEP", -1.0)
    hunt = Command(tmp_path, capsys)
    found = hunt.records("nothing.example", status=1)
    assert found["nothing.example"]["found"] is None
    assert "the hunt took more than 0 s, so there may be more" in hunt("nothing.example", status=1)[1]


def test_wrong_usage(filled, capsys, tmp_path):
    hunt = Command(filled, capsys)
    assert hunt(status=2)[1] == "dnsvigil: give an indicator, or --file FILE\n"
    assert "No such file" in hunt("--file", str(tmp_path / "missing"), status=2)[1]
    hunt.state = tmp_path / "nothing"
    assert "there is no store in" in hunt("example.com", status=1)[1]
    assert not hunt.state.exists()


def test_an_api_key_for_look_ups_does_not_open_the_hunt(filled, tmp_path, capsys):
    shutil.copytree(filled / "state", tmp_path / "state")
    keys = [{"name": "soc", "sha256": sha256(KEY.encode()).hexdigest()}]
    config = write_config(tmp_path, api={"keys": keys})
    with collecting(config, tmp_path / "state") as collector:
        collector.get("/-/ready")
        headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
        urlopen(Request(f"{collector.url}/api/pdns/lookup", b'{"queries": []}', headers)).close()
        with pytest.raises(HTTPError, match=r"40[13]"):
            urlopen(Request(f"{collector.url}/api/hunt", b'{"indicators": []}', headers))
