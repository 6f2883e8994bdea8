"""What the README.Debian files and the manual pages tell operators to type and to write does what they say."""

import fnmatch
import importlib
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dnsvigil.config.collector import Config
from dnsvigil.config.yaml_file import load
from dnsvigil.store.migrations import VERSION

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "packaging/debian"
RULES = ROOT / "rules/prometheus"
READMES = sorted(DEBIAN.glob("*.README.Debian"))


def examples(page: Path) -> Iterator[str]:
    """The indented blocks of a page."""
    for block in re.findall(r"(?:^(?: {4}.*)?\n)+", page.read_text() + "\n", re.MULTILINE):
        if block.strip():
            yield textwrap.dedent(block).strip()


def rule_files() -> list[list[str]]:
    """What the README.Debian of the rules has Prometheus load, in each of its examples."""
    written = "\n\n".join(examples(DEBIAN / "dnsvigil-rules.README.Debian"))
    found = re.findall(r"^rule_files:\n(?:  - .*\n?)+", written, re.MULTILINE)
    return [yaml.safe_load(each)["rule_files"] for each in found]


def installed() -> set[str]:
    """The files that the packages have, and their folders."""
    found = set()
    for listing in [*DEBIAN.glob("*.install"), *DEBIAN.glob("*.docs")]:
        documents = f"usr/share/doc/{listing.stem}"
        for line in listing.read_text().splitlines():
            pattern, folder = line.split() if listing.suffix == ".install" else (line, documents)
            for source in ROOT.glob(re.sub("^debian/", "packaging/debian/", pattern)):
                files = [source, *(source.rglob("*") if source.is_dir() else ())]
                found |= {f"/{folder}/{file.relative_to(source.parent)}" for file in files}
    return found | {str(parent) for path in found for parent in Path(path).parents}


def test_paths_that_pages_name_are_in_the_packages(tmp_path: Path) -> None:
    subprocess.run([sys.executable, DEBIAN / "manpages", tmp_path], check=True)
    there = installed()
    pages = [*READMES, *tmp_path.iterdir(), ROOT / "docs/install.md", *(DEBIAN / "conf").iterdir()]
    named = {
        (page.name, path.rstrip("/."))
        for page in pages
        for path in re.findall(
            r"(?<![\w.])/(?:usr/share/(?:dnsvigil|doc|icinga2)|usr/lib/nagios|etc/nagios-plugins)[\w./*^\[\]-]*",
            page.read_text().replace("\\", ""),
        )
    }
    assert len(named) > 20
    for page, path in named:
        assert fnmatch.filter(there, path.replace("[^", "[!")), (page, path)


def test_every_command_can_be_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DEBIAN / "manpages"))
    parsers = {parser.prog: parser for parser in importlib.import_module("parsers").programs()}
    pages = [*READMES, *(DEBIAN / "manpages/pages").glob("*.md")]
    lines = [line for page in pages for block in examples(page) for line in block.splitlines()]
    commands = [
        part.strip() for line in lines for part in re.split(r"\||&&", line.removeprefix("runuser -u dnsvigil -- "))
    ]
    typed = [words for command in commands if (words := _words(command)) and words[0] in parsers]
    assert {words[0] for words in typed} == set(parsers)
    for program, *arguments in typed:
        parsers[program].parse_args(arguments)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a line of a longer command, of none of ours
        return []


def test_configurations_have_no_mistake(tmp_path: Path) -> None:
    pages = [*READMES, DEBIAN / "manpages/pages/dnsvigil.yml.md"]
    found = [block for page in pages for block in examples(page) if block.startswith(("sources:", "listen:"))]
    assert len(found) >= 3
    for block in found:
        (tmp_path / "dnsvigil.yml").write_text(block)
        load(tmp_path / "dnsvigil.yml", Config)


def test_each_choice_of_rules_has_the_files_that_it_says() -> None:
    everything = {path.name for path in RULES.glob("dnsvigil-*.yml")}
    resolver = {name for name in everything if "resolver" in name}
    runbooks = {"dnsvigil-runbooks.yml"}
    expected = [everything, everything - resolver, resolver | runbooks, everything - runbooks]
    # Prometheus writes the complement of a set of characters as [^...], Python as [!...].
    patterns = [[Path(each.replace("[^", "[!")) for each in choice] for choice in rule_files()]
    packaged = "/usr/share/dnsvigil-rules/prometheus"
    found = [
        {path.name for each in choice if str(each.parent) == packaged for path in RULES.glob(each.name)}
        for choice in patterns
    ]
    assert found == expected


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool")
@pytest.mark.parametrize("choice", rule_files())
def test_prometheus_takes_each_choice_of_rules(tmp_path: Path, choice: list[str]) -> None:
    shutil.copy(RULES / "dnsvigil-runbooks.yml", tmp_path)
    there = [
        each.replace("/usr/share/dnsvigil-rules/prometheus", str(RULES)).replace("/etc/prometheus", str(tmp_path))
        for each in choice
    ]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"rule_files": there}))
    checked = subprocess.run(
        ["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.count("SUCCESS") >= 3


def test_the_news_are_of_this_layout_of_the_store() -> None:
    assert f"which is layout {VERSION} now" in " ".join((DEBIAN / "dnsvigil.NEWS").read_text().split())
