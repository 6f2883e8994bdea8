"""The systemd units, their users and the configuration files of the Debian packages, as their readers take them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dnsvigil.config.collector import Config, Sources, ZeekSource
from dnsvigil.config.yaml_file import load
from dnsvigil.resolver.config import Config as ResolverConfig

DEBIAN = Path(__file__).parents[2] / "packaging" / "debian"
CONF = DEBIAN / "conf"
SERVICES = sorted(DEBIAN.glob("*.service"))
MOST_EXPOSED = 20  # tenths

systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="Debian has it in the package systemd")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@systemd
@pytest.mark.parametrize("unit", [*SERVICES, *DEBIAN.glob("*.timer")], ids=lambda path: path.name)
def test_systemd_finds_no_fault(unit: Path, tmp_path: Path) -> None:
    for each in (*SERVICES, unit):  # a timer needs its service beside it
        text = each.read_text()
        for program in set(re.findall(r"/usr/bin/(dnsvigil[\w-]*)", text)):
            stub = tmp_path / program
            stub.write_text("#!/bin/sh\n")
            stub.chmod(0o755)
        (tmp_path / each.name).write_text(text.replace("/usr/bin/dnsvigil", f"{tmp_path}/dnsvigil"))
    done = run("systemd-analyze", "verify", "--man=no", tmp_path / unit.name)
    of_ours = [line for line in done.stderr.splitlines() if "dnsvigil" in line]
    assert of_ours == []


@systemd
@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_a_service_is_exposed_little(unit: Path) -> None:
    done = run("systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={MOST_EXPOSED}", unit)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_a_service_runs_as_a_user_that_its_package_makes(unit: Path) -> None:
    (user,) = re.findall(r"^User=(.+)$", unit.read_text(), re.MULTILINE)
    package = "dnsvigil-resolver-exporter" if "resolver" in unit.name else "dnsvigil"
    users = re.findall(r"^u (\S+)", (DEBIAN / f"{package}.sysusers").read_text(), re.MULTILINE)
    assert users == [user]


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="Debian has it in the package systemd")
@pytest.mark.parametrize("file", sorted(DEBIAN.glob("*.sysusers")), ids=lambda path: path.name)
def test_systemd_understands_the_users(file: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    done = run("systemd-sysusers", f"--root={tmp_path}", file)
    assert done.returncode == 0, done.stderr
    made = (tmp_path / "etc" / "passwd").read_text()
    assert re.findall(r"^u (\S+)", file.read_text(), re.MULTILINE) == [line.split(":")[0] for line in made.splitlines()]


def test_the_configuration_files_say_what_holds_anyway() -> None:
    zeek = ZeekSource(Path("/opt/zeek/logs/current"), sensor="zeek")
    assert load(CONF / "dnsvigil.yml", Config) == Config(sources=Sources(zeek=[zeek]))
    assert load(CONF / "resolver.yml", ResolverConfig) == ResolverConfig()


@pytest.mark.parametrize(("name", "into"), [("dnsvigil.yml", Config), ("resolver.yml", ResolverConfig)])
def test_what_is_commented_out_may_be_used(name: str, into: type, tmp_path: Path) -> None:
    # A comment in words has one space after its mark.
    text = re.sub(r"^( *)#(?! \S|$)", r"\1", (CONF / name).read_text(), flags=re.MULTILINE)
    assert "\n#" in text
    (tmp_path / name).write_text(text)
    assert load(tmp_path / name, into) != load(CONF / name, into)


@pytest.mark.skipif(not shutil.which("apparmor_parser"), reason="Debian has it in the package apparmor")
@pytest.mark.parametrize("profile", sorted((DEBIAN / "apparmor").iterdir()), ids=lambda path: path.name)
def test_apparmor_understands_the_profile_that_a_unit_names(profile: Path) -> None:
    done = run("apparmor_parser", "--skip-kernel-load", "--skip-cache", profile)
    assert done.returncode == 0, done.stderr
    unit = (DEBIAN / f"{profile.name}.service").read_text()
    assert f"\nAppArmorProfile=-{profile.name}\n" in unit
    assert f"\nprofile {profile.name} " in profile.read_text()
