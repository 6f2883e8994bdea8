"""Commands to copy: what a real shell and the real programs make of hostile values."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config, NetflowSource, Sources
from dnsvigil.web.copy_as import commands

HOSTILE = [
    "www.example.com",
    "$(touch owned).example",
    "`touch owned`.example",
    "'; touch owned #.example",
    '"quoted"\\back.example',
    "a b/c.example",
    "-rf.example",
    r"\xff\x00\x0a.example",
    "!!{a,b}*?~.example",
    "\u202eelpmaxe",
]
STOCK = Config()


def command(kind: str, value: str, program: str, config: Config = STOCK) -> str:
    (found,) = [each.text for each in commands(kind, value, config) if each.program == program]
    return found


def run(text: str, folder: Path, **programs: str) -> str:
    """Return what a shell prints for a command, with these scripts in the place of programs."""
    for name, script in programs.items():
        path = folder / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    path = f"{folder}:/usr/bin:/bin"
    done = subprocess.run(["/bin/sh", "-c", text], cwd=folder, env={"PATH": path}, capture_output=True, check=True)
    assert not (folder / "owned").exists()
    return done.stdout.decode()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_shell_gives_dnsdbq_the_name_and_runs_nothing(tmp_path, name):
    shown = run(command("name", name, "dnsdbq"), tmp_path, dnsdbq='for each; do printf "%s\\n" "$each"; done')
    option, owner = shown.removesuffix("\n").split("\n")
    assert option == "-r"
    assert "/" not in owner  # after which dnsdbq would read a type
    assert owner.endswith(".")


@pytest.mark.parametrize("name", HOSTILE)
def test_awk_finds_the_name_in_a_log_and_no_other(tmp_path, name):
    rows = [f"1\t198.51.100.1\t192.0.2.53\t{each}\tA\tNOERROR\t-" for each in (name, f"h.{name}", "other.example")]
    (tmp_path / "dns.log").write_text("".join(f"{row}\n" for row in rows))
    assert run(command("name", name, "zeek-cut"), tmp_path, zeek_cut="cat").splitlines() == rows[:1]
    assert run(command("domain", name, "zeek-cut"), tmp_path, zeek_cut="cat").splitlines() == rows[:2]


@pytest.mark.parametrize("value", ["192.0.2.1", "2001:db8::1", "192.0.2.0/24", "2001:db8::/32"])
def test_nfdump_reads_the_filter(tmp_path, value):
    if not shutil.which("nfdump"):
        pytest.skip("no nfdump")
    config = Config(sources=Sources(netflow=[NetflowSource(Path("/flows/$(touch owned) 'x'"))]))
    text = command("network" if "/" in value else "address", value, "nfdump", config)
    program, option, folder, condition = shlex.split(text)
    assert (program, option, folder) == ("nfdump", "-R", "/flows/$(touch owned) 'x'")
    subprocess.run(["nfdump", "-Z", condition], check=True, capture_output=True)


def test_a_name_is_looked_for_in_flows_by_its_addresses():
    addresses = [f"192.0.2.{number}" for number in range(30)] + ["2001:db8::1"]
    (found,) = [each.text for each in commands("domain", "example.com", STOCK, addresses) if each.program == "nfdump"]
    assert shlex.split(found)[3].split(" or ") == [f"host {each}" for each in addresses[:20]]
    assert {each.program for each in commands("name", "a.example", STOCK, addresses)} == {
        *("dnsdbq", "nfdump", "zeek-cut", "PromQL"),
    }


def test_dnsdbq_takes_the_options():
    if not shutil.which("dnsdbq"):
        pytest.skip("no dnsdbq")
    for kind, value in (("name", "-rf.example"), ("domain", "example.com"), ("address", "2001:db8::1")):
        words = shlex.split(command(kind, value, "dnsdbq"))
        done = subprocess.run([*words, "-h"], check=False, capture_output=True, text=True)
        assert "error" not in done.stderr.lower(), done.stderr


def test_prometheus_reads_the_expressions(tmp_path):
    if not shutil.which("promtool"):
        pytest.skip("no promtool")
    values = [*HOSTILE, 'x"} or vector(1) #', "new\nline", "192.0.2.1"]
    kinds = ("domain", "name", "zone", "server")
    shown = [each for value in values for kind in kinds for each in commands(kind, value, STOCK)]
    shown += commands("address", "2001:db8::1", STOCK)
    found = [each.text for each in shown if each.program == "PromQL"]
    rules = {"groups": [{"name": "g", "rules": [{"record": f"r{i}", "expr": each} for i, each in enumerate(found)]}]}
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.json"], check=False, capture_output=True)
    assert f"{len(found)} rules found" in done.stdout.decode(), done.stderr
