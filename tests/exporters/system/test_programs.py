"""Which program is started, whatever lies in the current folder and in PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dnsvigil.cli.main import main
from dnsvigil.sources.netflow import Dumper, NFDumpError, search_file
from dnsvigil.system import programs
from lab.flows import resolver_traffic, write

NFDUMP = shutil.which("nfdump")
needs_nfdump = pytest.mark.skipif(not NFDUMP, reason="needs nfdump")
DEBIAN = "/usr/local/bin:/usr/bin:/bin"


def program(path: Path, script: str = "exit 0", mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)
    return path


@pytest.fixture
def trap(tmp_path, monkeypatch) -> Path:
    """The current folder, full of programs that leave a file called ``ran``; return that file's path."""
    here = tmp_path / "here"
    for name in ("nfdump", "setpriv", "perl", "ssh", "env", "ls", "cat"):
        for place in (here / "bin" / name, here / name / name):
            program(place, f"echo {name} >> {tmp_path}/ran")
    monkeypatch.chdir(here)
    return tmp_path / "ran"


@pytest.fixture
def flows(tmp_path) -> Path:
    write(tmp_path / "nfcapd.202403231100", resolver_traffic(1_711_191_600, 10))
    return tmp_path / "nfcapd.202403231100"


@pytest.mark.parametrize("entry", ["", ".", "bin", "./nfdump", "~/bin", "nfdump", "../here/bin"])
@pytest.mark.parametrize("order", ["{0}:{1}", "{1}:{0}", "{0}"])
def test_entries_of_path_that_are_not_absolute_are_passed_over(entry, order, trap, monkeypatch):
    monkeypatch.setenv("PATH", order.format(entry, "/usr/bin:/bin"))
    if order == "{0}":
        with pytest.raises(programs.ProgramError, match=r"sh is in no folder of PATH .*Is it installed\?"):
            programs.find("sh")
    else:
        assert programs.find("sh") == "/usr/bin/sh"
    with pytest.raises(programs.ProgramError, match="ssh-look-alike"):
        program(trap.parent / "here" / "bin" / "ssh-look-alike")
        programs.find("ssh-look-alike")


def test_a_folder_and_a_file_that_is_not_executable_are_no_programs(tmp_path, monkeypatch):
    (tmp_path / "one" / "nfdump").mkdir(parents=True)
    program(tmp_path / "two" / "nfdump", mode=0o644)
    found = program(tmp_path / "three" / "nfdump")
    monkeypatch.setenv("PATH", f"{tmp_path}/one:{tmp_path}/two:{tmp_path}/three")
    assert programs.find("nfdump") == str(found)
    assert programs.find(str(found)) == str(found)
    for wrong in (tmp_path / "one" / "nfdump", tmp_path / "two" / "nfdump", "three/nfdump", "./nfdump"):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(programs.ProgramError, match="not the absolute path of an executable file"):
            programs.find(str(wrong))


def test_what_a_program_would_load_from_the_current_folder_is_not_handed_on(monkeypatch):
    monkeypatch.setenv("PATH", ":/usr/bin:bin")
    monkeypatch.setenv("PERL5LIB", "lib:")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib::.")
    monkeypatch.setenv("PERL_USE_UNSAFE_INC", "1")
    found = programs.environment()
    assert (found["PATH"], found["LD_LIBRARY_PATH"]) == ("/usr/bin", "/opt/lib")
    assert not {"PERL5LIB", "PERL_USE_UNSAFE_INC"} & found.keys()
    assert found.keys() < os.environ.keys()


@needs_nfdump
@pytest.mark.parametrize("path", [f":{DEBIAN}", f"bin:{DEBIAN}", f"{DEBIAN}:", f".:nfdump:{DEBIAN}"])
def test_flows_are_read_whatever_the_current_folder_holds(path, trap, flows, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", path)
    assert list(search_file(flows))
    assert Dumper(str(flows.parent)).list_profiles()
    assert main(["flows", "top", "--json", str(flows)]) == 0
    assert main(["--state", str(tmp_path / "state"), "ingest", str(flows)]) == 0
    with pytest.raises(NFDumpError):  # the real ssh, which knows no such host
        list(Dumper(remote_host="host.invalid").search())
    assert not trap.exists()


@needs_nfdump
def test_flows_lie_in_a_folder_called_nfdump(flows, tmp_path, monkeypatch, capsys):
    """As /var/cache/nfdump of Debian's package does, seen from /var/cache."""
    folder = tmp_path / "cache" / "nfdump"
    folder.mkdir(parents=True)
    shutil.copy(flows, folder)
    monkeypatch.chdir(folder.parent)
    for path in (folder, Path("nfdump"), Path()):
        assert main(["flows", "top", "--json", str(path)]) == 0
        assert "bytes" in capsys.readouterr().out


@needs_nfdump
def test_the_configuration_names_nfdump(flows, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    config = tmp_path / "dnsvigil.yml"
    words = ["-c", str(config), "--state", str(tmp_path / "state")]
    config.write_text("{}\n")
    assert main([*words, "flows", "top", str(flows)]) == 1
    config.write_text("flows:\n  nfdump: nfdump\n")
    assert main([*words, "flows", "top", str(flows)]) == 2
    assert f"{config}:2: flows.nfdump: expected an absolute path" in capsys.readouterr().err
    config.write_text(f"flows:\n  nfdump: {NFDUMP}\n")
    assert main([*words, "flows", "top", "--json", str(flows)]) == 0


def test_python_m_loads_nothing_from_the_current_folder(tmp_path):
    (tmp_path / "yaml.py").write_text(f"open('{tmp_path}/ran', 'w')\nraise SystemExit(9)\n")
    ended = subprocess.run([sys.executable, "-m", "dnsvigil", "--version"], cwd=tmp_path, check=False)
    assert ended.returncode == 0
    assert not (tmp_path / "ran").exists()
