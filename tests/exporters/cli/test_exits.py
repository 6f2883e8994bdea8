"""Exit statuses: one table has them for all commands, and every command is where the options say."""

from __future__ import annotations

import argparse
import builtins
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

import dnsvigil
from dnsvigil.cli.errors import CommandError, UsageError
from dnsvigil.cli.main import EXITS, main
from dnsvigil.cli.options import parser
from dnsvigil.cli.ownership import OwnerError
from dnsvigil.engines.pandas import allow_pandas
from dnsvigil.store.store import EngineError, LayoutError

LIGHT = """
import sys
from contextlib import suppress
from dnsvigil.cli.main import main

with suppress(SystemExit):
    main()
heavy = {"duckdb", "ibis", "numpy", "pandas", "flask", "cheroot", "sklearn"}
print(sorted(name for name in heavy if sys.modules.get(name)), file=sys.stderr)
"""
"""Runs a command, and prints what it has loaded of what takes long."""


def commands(of: argparse.ArgumentParser) -> Iterator[str]:
    if of.get_default("command"):
        yield of.get_default("command")
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from commands(each)


def test_every_command_has_its_function() -> None:
    found = list(commands(parser()))
    assert len(found) > 12
    for name in found:
        file, function = name.split(".")
        assert callable(getattr(importlib.import_module(f"dnsvigil.cli.{file}"), function)), name


def test_every_exception_of_the_table_is_one() -> None:
    """The table has names, which a renamed class would leave behind."""
    allow_pandas()
    ours = [
        importlib.import_module(each.name)
        for each in pkgutil.walk_packages(dnsvigil.__path__, "dnsvigil.")
        if not each.name.endswith("__main__")
    ]
    for name in EXITS:
        found = [getattr(each, name) for each in (builtins, *ours) if hasattr(each, name)]
        assert found, name
        assert all(issubclass(each, BaseException) for each in found)


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (CommandError("no\x1b[31m"), 1, "dnsvigil: no\\x1b[31m\n"),
        (OwnerError("not yours"), 1, "dnsvigil: not yours\n"),
        (UsageError("wrong"), 2, "dnsvigil: wrong\n"),
        (EngineError("broken"), 1, "dnsvigil: broken\n"),
        (LayoutError("newer"), 2, "dnsvigil: newer\n"),
        (
            ModuleNotFoundError("x", name="duckdb"),
            1,
            "dnsvigil: duckdb is not installed; this command needs dnsvigil[collector]\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_a_command_raises_is_one_line_and_a_status(error, status, text, monkeypatch, capsys) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr("dnsvigil.cli.zones.zones", fail)
    assert main(["zones"]) == status
    assert capsys.readouterr().err == text


def test_a_defect_is_a_traceback(monkeypatch) -> None:
    def fail(*_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr("dnsvigil.cli.zones.zones", fail)
    with pytest.raises(ZeroDivisionError):
        main(["zones"])


@pytest.mark.parametrize(
    ("words", "asks"),
    [
        ("--help", False),
        ("check-config", False),
        ("findings", True),
        ("zones", True),
        ("set-aside", True),
        ("metrics", True),
        ("flows series", True),
    ],
)
def test_what_takes_long_to_import_is_left_out_where_it_is_not_needed(words: str, asks: bool, tmp_path: Path) -> None:
    (tmp_path / "dnsvigil.yml").touch()
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:  # refuses all requests, which is an answer
        Thread(target=server.serve_forever).start()
        url = ["--url", f"http://127.0.0.1:{server.server_port}"] if asks else []
        command = [sys.executable, "-c", LIGHT, "-c", tmp_path / "dnsvigil.yml", *words.split(), *url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        server.shutdown()
    assert ("answers 501" in done.stderr) == asks
    assert done.stderr.splitlines()[-1] == "[]"
