"""The command ``dnsvigil``. Exit status: 0 done, 1 failed, 2 wrong usage or configuration."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from dnsvigil.cli.errors import UsageError
from dnsvigil.cli.options import parser
from dnsvigil.config.collector import DEFAULT_PATH, Client, Config, load_config
from dnsvigil.config.yaml_file import ConfigError, Invalid
from dnsvigil.engines.pandas import leave_out_pandas
from dnsvigil.system.files import reason_of
from dnsvigil.system.terminal import log_to_stderr, printable


def _nothing(_: object) -> Iterable[object]:
    return ()


def _reason(error: Exception) -> Iterable[object]:
    return (reason_of(error),)


EXITS: Final[dict[str, tuple[int, Callable[[Any], Iterable[object]]]]] = {
    "BrokenPipeError": (0, _nothing),  # whoever reads, such as head, has had enough
    "KeyboardInterrupt": (130, _nothing),
    "OSError": (1, _reason),
    "ModuleNotFoundError": (
        1,
        lambda error: (f"{error.name} is not installed; this command needs dnsvigil[collector]",),
    ),
    "CommandError": (1, _reason),
    "StoreError": (1, _reason),
    "SparkError": (1, _reason),
    "ModelError": (1, _reason),
    "NFDumpError": (1, _reason),
    "LayoutError": (2, _reason),  # of no use to try again, as the next two
    "UsageError": (2, _reason),
    "ConfigError": (2, lambda error: error.mistakes),
}
"""The exit status for an exception, and the lines to print, by the name of its class or of the next above it.

The names spare all commands the import of what only some can raise. What is not here is a defect, with a traceback.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command in ``arguments`` (default: the process's own); return the exit status."""
    # A stream that the caller has closed goes nowhere; Python has none for it.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 (as long as the process)
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a locale has no characters for
    try:
        try:
            return _main(arguments)
        finally:
            sys.stdout.flush()  # here, where an error of it is caught
    except (Exception, KeyboardInterrupt) as error:
        names = (each.__name__ for each in type(error).__mro__)
        status, lines_of = next((EXITS[name] for name in names if name in EXITS), (None, _nothing))
        if status is None:
            raise
        for line in lines_of(error):
            print(f"dnsvigil: {printable(str(line))}", file=sys.stderr)
        if isinstance(error, OSError):  # mostly of standard output, on a disk that is full
            _discard_output()
        return status


def _main(arguments: list[str] | None) -> int:
    options = parser().parse_args(arguments)
    log_to_stderr(options.log_level)
    for name, value in vars(options).items():
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):  # as a path it might exist
            raise UsageError(f"{name.replace('_', '-')}: {value!r} is not UTF-8")
    file, function = options.command.split(".")
    leave_out_pandas()
    config = _with_client(load_config(options.config), options) if options.needs_config else Config()
    return int(getattr(import_module(f"dnsvigil.cli.{file}"), function)(options, config))


def _discard_output() -> None:
    """Have what is left to write go nowhere, as Python would complain at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())


def _with_client(config: Config, options: argparse.Namespace) -> Config:
    """Return the configuration with the options of the command line for the collector. Raises ``ConfigError``."""
    names = [each.name for each in fields(Client)]
    given = {name: value for name in names if (value := getattr(options, name, None)) is not None}
    if "token_file" in given and "username" not in given:
        given |= {"username": None, "password_file": None}
    try:
        return replace(config, client=replace(config.client, **given)) if given else config
    except Invalid as error:
        raise ConfigError(options.config or DEFAULT_PATH, None, f"client.{error.key}", str(error)) from error
