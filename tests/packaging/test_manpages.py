"""The manual pages: one for each command and file, complete, and without anything that man warns of."""

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dnsvigil.cli.options import parser as dnsvigil_parser
from dnsvigil.config.collector import Config
from dnsvigil.resolver.config import Config as ResolverConfig
from test_documentation import keys

ROOT = Path(__file__).parents[2]
WRITER = ROOT / "packaging/debian/manpages"
needs_man = pytest.mark.skipif(not shutil.which("man") or not shutil.which("mandoc"), reason="needs man-db and mandoc")


def write(folder: Path, epoch: int = 1_700_000_000) -> Path:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    subprocess.run([sys.executable, WRITER, folder], check=True, env=environment, cwd=folder.parent)
    return folder


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("manpages") / "written")


def shown(page: Path) -> str:
    """What a reader sees, its spaces as one each."""
    environment = {**os.environ, "MANWIDTH": "200", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""}
    text = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", page], check=True, env=environment, capture_output=True, text=True
    )
    assert text.stderr == "", page
    return " ".join(text.stdout.split())


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (found,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from options(command)
        else:
            yield action


def test_every_command_and_file_has_a_page(pages: Path) -> None:
    commands = [f"dnsvigil-{name}.1" for name in subparsers(dnsvigil_parser())]
    others = ["dnsvigil-resolver-exporter.1", "check_dnsvigil.1", "check-nfsen.1", "dnsvigil.1"]
    assert {page.name for page in pages.iterdir()} == {
        *commands,
        *others,
        "dnsvigil.yml.5",
        "dnsvigil-resolver.yml.5",
    }


@needs_man
def test_man_and_mandoc_find_nothing_wrong(pages: Path) -> None:
    for page in pages.iterdir():
        assert shown(page)
    found = subprocess.run(["mandoc", "-T", "lint", *pages.iterdir()], capture_output=True, text=True, check=False)
    assert found.stdout + found.stderr == ""


@needs_man
@pytest.mark.parametrize("name", subparsers(dnsvigil_parser()))
def test_a_command_has_all_its_options_with_their_help(pages: Path, name: str) -> None:
    text = shown(pages / f"dnsvigil-{name}.1")
    for action in options(subparsers(dnsvigil_parser())[name]):
        said = str(action.help) % {**vars(action), "prog": ""}
        assert f"{said[1:].rstrip('.')}." in text
        for option in action.option_strings:
            assert option in text
        assert all(str(choice) in text for choice in action.choices or ())


@needs_man
@pytest.mark.parametrize(("page", "config"), [("dnsvigil.yml.5", Config), ("dnsvigil-resolver.yml.5", ResolverConfig)])
def test_a_configuration_file_has_all_its_keys_with_their_defaults(pages: Path, page: str, config: type) -> None:
    text = shown(pages / page)
    for key, default in keys(config):
        explained = re.search(
            rf" {re.escape(key)} \(([^)]+)\) (.*?)(?= [a-z_.\[\]]+ \([^)]+\) [A-Z]| [A-Z]{{4,}} )", text
        )
        assert explained, key
        if isinstance(default, int | float | bool) and type(default) in (int, float, bool):
            assert f"Default: {str(default).lower()}." in explained[2], key


@needs_man
def test_each_page_has_what_a_reader_expects(pages: Path) -> None:
    for page in pages.glob("*.1"):
        text = shown(page)
        for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "SEE ALSO"):
            assert f" {section} " in text, page
        assert " EXAMPLES " in text or page.name == "dnsvigil-set-aside.1"


def test_pages_that_others_refer_to_are_there(pages: Path) -> None:
    for page in pages.iterdir():
        referred = re.findall(r"\\fB((?:dnsvigil|check)[^ ]*?)\\fR\((\d)\)", page.read_text())
        for name, section in referred:
            assert (pages / f"{name.replace(chr(92), '')}.{section}").exists(), (page.name, name)


def test_configuration_pages_refer_to_the_documentation_of_their_package(pages: Path) -> None:
    for name, package in (("dnsvigil.yml.5", "dnsvigil"), ("dnsvigil-resolver.yml.5", "dnsvigil-resolver-exporter")):
        text = (pages / name).read_text().replace("\\", "")
        assert f"fB/usr/share/doc/{package}/web-config.mdfR" in text


def test_pages_are_the_same_each_time_and_have_the_date_of_the_source(pages: Path, tmp_path: Path) -> None:
    again = write(tmp_path / "again")
    assert {page.name: page.read_bytes() for page in again.iterdir()} == {
        page.name: page.read_bytes() for page in pages.iterdir()
    }
    assert '"2023-11-14"' in (pages / "dnsvigil.1").read_text().splitlines()[0]


def test_options_can_be_copied_from_every_page(pages: Path) -> None:
    for page in pages.iterdir():
        assert not re.search(r"(?<![\\\w])-+\w", page.read_text().partition(".SH SYNOPSIS")[2]), page.name


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        (".NS is no request", ["\\&.NS is no request"]),
        ("    'x' \\\n    .y", [".RS 4", ".EX", "\\(aqx\\(aq \\e", "\\&.y", ".EE", ".RE"]),
        ("- `KEY`: its *meaning*", [".TP", "\\fBKEY\\fR", "its \\fImeaning\\fR"]),
        ("- one\n- two", [".IP \\(bu 2", "one", ".IP \\(bu 2", "two"]),
        ("**well-kept**(1)", ["\\fBwell\\-kept\\fR(1)"]),
        ("one\n\ntwo", ["one", ".PP", "two"]),
        ("see [the API](/doc/api.md#x)", ["see the API (\\fB/doc/api.md\\fR)"]),
        ("see [api.md](/doc/api.md) and [below](#x)", ["see \\fB/doc/api.md\\fR and below"]),
        ("with `--a-b` and /etc/x-y, well-kept", ["with \\fB\\-\\-a\\-b\\fR and /etc/x\\-y, well-kept"]),
    ],
)
def test_markdown_becomes_man(monkeypatch: pytest.MonkeyPatch, markdown: str, expected: list[str]) -> None:
    monkeypatch.syspath_prepend(str(WRITER))
    assert importlib.import_module("roff").blocks(markdown) == expected


def test_markdown_without_a_form_in_man_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(WRITER))
    with pytest.raises(ValueError, match="blockquote_open has no form"):
        importlib.import_module("roff").blocks("> quoted")
