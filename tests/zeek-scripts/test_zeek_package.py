"""The Zeek package: its scripts, its logs' columns, its btests, and that zkg installs and tests it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
import zeek_traces

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = ROOT / "zeek-scripts"
SCRIPTS = sorted(PACKAGE.rglob("*.zeek"))
SAMPLES = ROOT / "tests" / "lab" / "samples" / "zeek-package"
TOOLS = Path(sysconfig.get_path("scripts"))
"""Where btest, zkg and zeekscript's programs are: beside the Python that runs this."""
ZEEK = shutil.which("zeek")

COLUMNS = {
    "dns": "query_bytes response_bytes answer_types edns_udp_size do ede",
    "dnsvigil_pdns": "ts node rrname rrtype rdata section bailiwick ttl_min ttl_max count time_first time_last",
    "dnsvigil_open_resolver": "ts node host kind answered_from askers returning_askers queries responses query_bytes"
    " response_bytes sample_names time_first time_last",
    "dnsvigil_poisoning": "ts node resolver zone time_first time_last queries responses wrong_id wrong_port"
    " conflicting_answers unsolicited out_of_bailiwick nxdomain_storm forged_ns first_fragments odd_fragments"
    " icmp_unreachable ttl_jumps ip_ttl_jumps port_entropy id_entropy sources sample_names sample_servers"
    " sample_records",
    "dnsvigil_capture": "ts node interval packets packets_dropped link_packets bytes dns_queries dns_responses"
    " unmatched_queries unmatched_responses malformed dropped_pdns dropped_open_resolver dropped_poisoning",
}
"""What the collector reads by name; of dns.log, the columns that the package adds."""

needs_zeek = pytest.mark.skipif(not ZEEK, reason="zeek is not on the PATH")


def run(*command: str | Path, cwd: Path = HERE, seconds: float = 300, **environment: str) -> str:
    """Run a program to its end and return all that it printed; fails with that where it fails."""
    # What belongs to this Python, what the system has, and beside Zeek itself the zeek-config that zkg wants.
    path = f"{TOOLS}{os.pathsep}{os.environ['PATH']}{os.pathsep}{Path(ZEEK or '').resolve().parent}"
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"PATH": path} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout[-6000:]}"
    return done.stdout


def lines_of(log: Path) -> list[str]:
    """Return a log's lines; names hold characters at which splitlines() would break them."""
    return log.read_text().rstrip("\n").split("\n")


class TestScripts:
    @pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.relative_to(PACKAGE)))
    def test_parse_and_are_formatted(self, script: Path) -> None:
        text = script.read_text()
        formatted = subprocess.run(
            [TOOLS / "zeek-format"], input=text, capture_output=True, text=True, timeout=60, check=False
        )
        assert formatted.returncode == 0, formatted.stderr
        assert formatted.stdout == text, f"zeek-format -i {script} changes it"

    def test_say_what_they_are_for(self) -> None:
        for script in SCRIPTS:
            if script.name != "__load__.zeek":
                assert script.read_text().startswith("##! "), script.name

    def test_load_all_parts(self) -> None:
        for load in (script for script in SCRIPTS if script.name == "__load__.zeek"):
            loaded = re.findall(r"^@load \./(\S+)$", load.read_text(), re.MULTILINE)
            parts = [part for part in load.parent.iterdir() if part.suffix == ".zeek" or (part / load.name).exists()]
            assert sorted(loaded) == sorted(part.stem for part in parts if part != load)

    def test_every_option_is_documented(self) -> None:
        pages = "".join((ROOT / "docs" / name).read_text() for name in ("zeek.md", "zeek-detection.md"))
        for script in SCRIPTS:
            module = "DNSVigil"
            for line in script.read_text().splitlines():
                if line.startswith("module "):
                    module = line.split()[1].rstrip(";")
                if line.startswith("\toption "):
                    name = line.split()[1].rstrip(":")
                    table = pages.partition(f"| option of `{module}` |")[2].partition("\n\n")[0]
                    assert f"\n| `{name}` |" in table, f"{module}::{name} is not in docs/"


class TestSamples:
    """Logs that the package wrote, kept for the collector's tests: they have the columns that the collector reads."""

    @pytest.mark.parametrize("name", COLUMNS)
    def test_tsv_has_the_columns(self, name: str) -> None:
        lines = lines_of(SAMPLES / f"{name}.log")
        (fields,) = [line.split("\t")[1:] for line in lines if line.startswith("#fields")]
        wanted = COLUMNS[name].split()
        assert fields[-len(wanted) :] == wanted
        assert name == "dns" or len(fields) == len(wanted)
        assert sum(not line.startswith("#") for line in lines) >= 5

    @pytest.mark.parametrize("name", COLUMNS)
    def test_json_has_the_same_records(self, name: str) -> None:
        records = [json.loads(line) for line in lines_of(SAMPLES / f"{name}.json")]
        rows = [line for line in lines_of(SAMPLES / f"{name}.log") if not line.startswith("#")]
        assert len(records) == len(rows)
        names = set().union(*records)
        if name != "dns":
            assert names <= set(COLUMNS[name].split())
        # Zeek leaves out of JSON what is unset, so a column is there in some record.
        assert {"query_bytes", "do"} <= names if name == "dns" else {"ts", "node"} <= names


class TestWithZeek:
    def test_traces_are_what_their_makers_make(self, tmp_path: Path) -> None:
        zeek_traces.main(tmp_path)
        for trace in tmp_path.iterdir():
            assert trace.read_bytes() == (zeek_traces.FOLDER / trace.name).read_bytes(), trace.name

    @needs_zeek
    def test_btests(self) -> None:
        run("btest", "-d", "-j", "2")

    @needs_zeek
    def test_columns_are_those_of_the_samples(self, tmp_path: Path) -> None:
        run("zeek", "-C", "-r", zeek_traces.FOLDER / "types.pcap", ROOT / "zeek-scripts", cwd=tmp_path)
        for name in ("dns", "dnsvigil_pdns", "dnsvigil_capture"):
            made, kept = (
                [line for line in lines_of(folder / f"{name}.log") if line[:7] in ("#fields", "#types\t")]
                for folder in (tmp_path, SAMPLES)
            )
            assert made == kept

    @needs_zeek
    def test_zkg_installs_and_tests_it(self, tmp_path: Path) -> None:
        """From a repository of its own, into folders of its own; then Zeek loads it as a package."""
        package = tmp_path / "dnsvigil"
        for part in ("zkg.meta", "zeek-scripts", "tests/zeek-scripts"):
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            (package / part).parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / part, package / part)
        author = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        run("git", "init", "-q", package)
        run("git", "add", "-A", cwd=package)
        run("git", *author, "commit", "-q", "-m", "package", cwd=package)
        state = tmp_path / "zkg"
        config = tmp_path / "config"
        config.write_text(
            f"[paths]\nstate_dir = {state}\nscript_dir = {state}/scripts\nplugin_dir = {state}/plugins\n"
            f"bin_dir = {state}/bin\nzeek_dist =\n"
        )
        zkg = ("zkg", "--configfile", str(config))
        said = run(*zkg, "test", str(package))
        assert "all tests passed" in said
        run(*zkg, "install", "--force", "--skiptests", str(package))
        logs = tmp_path / "logs"
        logs.mkdir()
        trace = zeek_traces.FOLDER / "types.pcap"
        paths = f"{state}/scripts:{zeek_path()}"
        run("zeek", "-C", "-r", trace, "packages", cwd=logs, ZEEKPATH=paths)
        assert (logs / "dnsvigil_pdns.log").exists()
        (logs / "dnsvigil_pdns.log").unlink()
        (logs / "dnsvigil_capture.log").unlink()
        run("zeek", "-C", "-r", trace, "dnsvigil/capture", cwd=logs, ZEEKPATH=f"{state}/scripts/packages:{zeek_path()}")
        assert not (logs / "dnsvigil_pdns.log").exists()
        assert (logs / "dnsvigil_capture.log").exists()


def zeek_path() -> str:
    """Return where Zeek looks for scripts unless told otherwise."""
    done = subprocess.run(["zeek", "--help"], capture_output=True, text=True, check=False, timeout=60)
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if "$ZEEKPATH" in line]
    return line.partition("(")[2].rstrip(")")
