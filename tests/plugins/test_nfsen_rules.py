"""Filters, profile and alerts for NfSen, and the script that adds them, against a stand-in of nfsend."""

from __future__ import annotations

import re
import shutil
import socketserver
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.flows import FLOW, resolver_traffic, write

ROOT = Path(__file__).parents[2]
RULES = ROOT / "rules" / "nfsen"
DEFINED = tomllib.loads((RULES / "dnsvigil.toml").read_text())
NETWORKS = ("--network", "192.0.2.0/24", "--network", "2001:db8::/32", "--server", "192.0.2.53")


class Nfsend:
    """An nfsend that keeps filters, profiles and alerts, and answers the way NfSen's does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.filters: dict[str, list[str]] = {}
        self.profiles: dict[str, dict[str, Any]] = {"live": {"status": "OK", "channels": {}}}
        self.alerts: dict[str, dict[str, Any]] = {}
        self.plugin = True
        self.changes = 0
        nfsend = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 1774951500 nfsend v0.1 ready \n")
                lines: list[str] = []
                for raw in self.rfile:
                    if (line := raw.decode().rstrip("\n")) != ".":
                        lines.append(line)
                        continue
                    if lines == ["quit"]:
                        self.wfile.write(b".\nOK Bye Bye\n")
                        return
                    self.wfile.write(nfsend.answer(lines[0], lines[1:]).encode())
                    lines = []

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self._server = Server(str(path), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def answer(self, command: str, lines: list[str]) -> str:
        given: dict[str, Any] = {}
        for line in lines:
            found = re.fullmatch(r"\s*([^\s]+)\s*=\s*(.*)", line)
            assert found, line
            assert re.match(r"[._\w]\w[\w\-_]+", found[1])
            if found[1].startswith("_"):
                given.setdefault(found[1][1:], []).append(found[2])
            else:
                given[found[1]] = found[2]
        try:
            answered = getattr(self, command.replace("-", "_"))(given)
        except ValueError as error:
            return f".\nERR {error}\n"
        shown = "".join(f"{name}={value}\n" for name, value in answered or [])
        return f".Command is '{command}' binary mode: 0\n.Key: 'a', value: 'b=c'\n{shown}.\nOK command completed.\n"

    def get_filterlist(self, _: dict[str, Any]) -> list[tuple[str, str]]:
        return [("_list", name) for name in self.filters]

    def get_filter(self, given: dict[str, Any]) -> list[tuple[str, str]]:
        return [("_filter", line) for line in self.filters[given["filter"]]]

    def add_filter(self, given: dict[str, Any]) -> None:
        if given["filtername"] in self.filters and "overwrite" not in given:
            raise ValueError(f"filter '{given['filtername']}' already exists!")
        self.filters[given["filtername"]] = given["filter"]
        self.changes += 1

    def get_profilelist(self, _: dict[str, Any]) -> list[tuple[str, str]]:
        return [("_profiles", f"./{name}") for name in self.profiles]

    def get_profile(self, given: dict[str, Any]) -> list[tuple[str, str]]:
        profile = self.profiles[given["profile"]]
        channels = [
            ("_channel", f"{name}:{each['sign']}:#000000:1:peer1") for name, each in profile["channels"].items()
        ]
        return [("status", profile["status"]), *channels]

    def add_profile(self, given: dict[str, Any]) -> None:
        if given["profile"] in self.profiles:
            raise ValueError("profile already exists\n")
        assert given["shadow"] == "1"
        self.profiles[given["profile"]] = {"status": "new", "channels": {}}
        self.changes += 1

    def get_channelfilter(self, given: dict[str, Any]) -> list[tuple[str, str]]:
        return [("_filter", line) for line in self.profiles[given["profile"]]["channels"][given["channel"]]["filter"]]

    def add_channel(self, given: dict[str, Any]) -> None:
        channels = self.profiles[given["profile"]]["channels"]
        if given["channel"] in channels:
            raise ValueError("channel already exists.")
        channels[given["channel"]] = given
        self.changes += 1

    def modify_channel(self, given: dict[str, Any]) -> None:
        self.profiles[given["profile"]]["channels"][given["channel"]].update(given)
        self.changes += 1

    def commit_profile(self, given: dict[str, Any]) -> None:
        self.profiles[given["profile"]]["status"] = "OK"
        self.changes += 1

    def get_alertlist(self, _: dict[str, Any]) -> list[tuple[str, str]]:
        return [("_alertlist", name) for name in self.alerts]

    def get_alert(self, given: dict[str, Any]) -> list[tuple[str, str]]:
        pairs = [(name, value) for name, value in self.alerts[given["alert"]].items() if name != "filter"]
        return [
            (f"_{name}" if isinstance(value, list) else name, each)
            for name, value in pairs
            for each in (value if isinstance(value, list) else [value])
        ]

    def get_alertfilter(self, given: dict[str, Any]) -> list[tuple[str, str]]:
        return [("_alertfilter", f"{line}\n") for line in self.alerts[given["alert"]]["filter"]]

    def add_alert(self, given: dict[str, Any]) -> None:
        if not self.plugin:
            raise ValueError("Plugin 'DnsVigil' does not exists or has no alert condition function")
        if given["alert"] in self.alerts:
            raise ValueError("alert already exists")
        self.alerts[given["alert"]] = given
        self.changes += 1

    def modify_alert(self, given: dict[str, Any]) -> None:
        self.alerts[given["alert"]].update(given)
        self.changes += 1

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def nfsend(tmp_path: Path) -> Iterator[Nfsend]:
    nfsend = Nfsend(tmp_path / "nfsen.comm")
    yield nfsend
    nfsend.close()


def add(nfsend: Nfsend, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", RULES / "add-to-nfsen", "--socket", nfsend.path, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def filters(*words: str) -> dict[str, str]:
    """All filters there are, in nfdump's language, by where they belong."""
    own = "src port 53 and (src net 192.0.2.0/24 or src net 2001:db8::/32) and not (dst net 192.0.2.0/24 or"
    own += " dst net 2001:db8::/32) and not (src ip 192.0.2.53)"
    found = {f"filter {name}": text for name, text in DEFINED["filters"].items()}
    found |= {f"channel {name}": each["filter"] for name, each in DEFINED["profile"]["channels"].items()}
    found |= {f"alert {name}": each["filter"] for name, each in DEFINED["alerts"].items()}
    return {name: own if "_OWN" in text else text for name, text in found.items()}


def test_everything_is_added_once(nfsend):
    first = add(nfsend, *NETWORKS)
    assert (first.returncode, first.stderr) == (0, "")
    assert all(line.endswith(": added") for line in first.stdout.splitlines())
    assert nfsend.filters.keys() == DEFINED["filters"].keys()
    profile = nfsend.profiles[DEFINED["profile"]["name"]]
    assert (profile["status"], profile["channels"].keys()) == ("OK", DEFINED["profile"]["channels"].keys())
    assert nfsend.alerts.keys() == DEFINED["alerts"].keys()
    stored = {f"filter {name}": lines for name, lines in nfsend.filters.items()}
    stored |= {f"channel {name}": each["filter"] for name, each in profile["channels"].items()}
    stored |= {f"alert {name}": each["filter"] for name, each in nfsend.alerts.items()}
    assert {name: " ".join(lines) for name, lines in stored.items()} == filters()
    changes = nfsend.changes
    again = add(nfsend, *NETWORKS)
    assert (again.returncode, nfsend.changes) == (0, changes)
    assert all(line.endswith(": exists") for line in again.stdout.splitlines())


def test_alerts_ask_the_plugin_or_compare_a_sum_and_always_call_the_plugin(nfsend):
    add(nfsend, *NETWORKS)
    for name, alert in nfsend.alerts.items():
        assert (alert["action_type"], alert["action_plugin"], alert["status"]) == ("4", "DnsVigil", "enabled"), name
    assert nfsend.alerts["dns-change"]["type"] == "2"
    assert nfsend.alerts["dns-change"]["condition"] == ["DnsVigil"]
    assert nfsend.alerts["dns-open-resolvers"]["type"] == "0"
    assert nfsend.alerts["dns-open-resolvers"]["condition"] == ["0:0:0:0:0:100:0"]


def test_what_needs_networks_is_left_out_without_them_and_added_later(nfsend):
    first = add(nfsend)
    assert first.returncode == 0
    assert "alert dns-open-resolvers: skipped, because it needs --network" in first.stdout
    assert "dns-open-resolver-candidates" not in nfsend.filters
    assert "alert dns-open-resolvers: added" in add(nfsend, *NETWORKS).stdout


def test_what_someone_changed_is_kept_unless_told_otherwise(nfsend):
    add(nfsend, *NETWORKS)
    channel = nfsend.profiles["dns"]["channels"]["answers_tcp"]
    nfsend.filters["dns-tcp"] = ["proto tcp and port 53"]
    channel["filter"] = ["proto tcp"]
    nfsend.alerts["dns-change"]["trigger_number"] = "3"
    nfsend.alerts["any-change"]["status"] = "disabled"
    changes = nfsend.changes
    kept = add(nfsend, *NETWORKS)
    assert (kept.returncode, nfsend.changes) == (0, changes)
    assert "filter dns-tcp: exists with other settings; kept (--replace overwrites it)" in kept.stdout
    assert kept.stdout.count("; kept (") == 3
    replaced = add(nfsend, "--replace", *NETWORKS)
    assert replaced.stdout.count(": changed\n") == 3
    assert nfsend.filters["dns-tcp"] == [DEFINED["filters"]["dns-tcp"]]
    assert " ".join(channel["filter"]) == DEFINED["profile"]["channels"]["answers_tcp"]["filter"]
    assert nfsend.alerts["dns-change"]["trigger_number"] == "1"
    assert nfsend.alerts["any-change"]["status"] == "disabled"


def test_a_profile_that_is_half_there_is_finished(nfsend):
    nfsend.profiles["dns"] = {"status": "new", "channels": {}}
    done = add(nfsend)
    assert done.returncode == 0
    assert "profile dns: exists" in done.stdout
    assert nfsend.profiles["dns"]["status"] == "OK"
    assert nfsend.profiles["dns"]["channels"].keys() == DEFINED["profile"]["channels"].keys()


def test_what_nfsen_refuses_is_told_and_the_rest_is_added(nfsend):
    nfsend.plugin = False
    done = add(nfsend)
    assert done.returncode == 1
    assert "alert any-change: NfSen reports an error: Plugin 'DnsVigil' does not exists" in done.stderr
    assert "start of profile dns: added" in done.stdout


def test_without_nfsend_it_says_what_is_missing(tmp_path):
    command = [sys.executable, RULES / "add-to-nfsen", "--socket", tmp_path / "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path / 'none'}: No such file or directory; is nfsend running?\n"
    wrong = subprocess.run(
        [*command, "--network", "192.0.2.1/24"], capture_output=True, text=True, timeout=60, check=False
    )
    assert wrong.returncode == 2


def nfdump(*words: str | Path) -> subprocess.CompletedProcess[str]:
    if not shutil.which("nfdump"):
        pytest.skip("nfdump is not installed")
    return subprocess.run(["nfdump", *words], capture_output=True, text=True, timeout=60, check=False)


def counted(path: Path, text: str) -> int:
    """How many flows of a file nfdump lets through."""
    found = re.search(r"total flows: (\d+)", nfdump("-r", path, "-o", "line", text).stdout)
    assert found
    return int(found[1])


def test_nfdump_and_nfsen_take_every_filter():
    for name, text in filters().items():
        assert nfdump("-Z", text).returncode == 0, name
        assert re.fullmatch(r"[\s!-~]+", text), name
        assert not re.search(r"['\"`;\\]", text), name


def test_each_dns_flow_is_in_one_channel(tmp_path):
    path = tmp_path / "nfcapd.202603311205"
    write(path, resolver_traffic(1_774_951_500, 20_000, others=0.2))
    channels = [counted(path, each["filter"]) for each in DEFINED["profile"]["channels"].values()]
    dns = counted(path, "port in [53 853]")
    assert 10_000 < dns < 20_000
    assert sum(channels) == dns
    questions, answers = (counted(path, DEFINED["filters"][f"dns-{name}"]) for name in ("questions", "answers"))
    assert questions + answers == dns
    assert counted(path, DEFINED["filters"]["dns-tcp"]) > 0


def test_open_resolvers_and_amplification_are_found(tmp_path):
    flows = np.zeros(5, FLOW)
    flows["packets"], flows["bytes"], flows["proto"] = 1, 1400, 17
    flows["first"] = flows["last"] = 1_774_951_500_000
    flows["src_port"], flows["dst_port"] = 53, 4000
    own, known, other = 0xC0000207, 0xC0000235, 0xCB007107  # 192.0.2.7, 192.0.2.53, 203.0.113.7
    flows["src"][:, 1] = [own, known, other, own, own]
    flows["dst"][:, 1] = [other, other, own, known, other]
    flows["bytes"][4] = 90
    path = tmp_path / "nfcapd.202603311205"
    write(path, [flows])
    assert counted(path, filters()["filter dns-open-resolver-candidates"]) == 2
    assert counted(path, filters()["alert dns-open-resolvers"]) == 2
    assert counted(path, filters()["filter dns-amplification"]) == 4


def test_the_plugin_knows_the_series_of_alerts_that_there_are():
    plugin = (ROOT / "plugins" / "nfsen" / "DnsVigil.pm").read_text()
    named = set(re.findall(r"^ +'([\w-]+-change)' +=> \{", plugin, re.MULTILINE))
    assert named == {"any-change", "dns-change", "dns-tcp-change"}
    assert named <= DEFINED["alerts"].keys()
