"""``dnsvigil check-config``: mistakes in the configuration, and what it names that is not there."""

import argparse
import os
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from dnsvigil.config.collector import DEFAULT_PATH, Config
from dnsvigil.config.yaml_file import ConfigError, Loaded, examine
from dnsvigil.httpd.web_config import load_web_config
from dnsvigil.sources.availability import no_sources, places, problem_of
from dnsvigil.system import programs
from dnsvigil.system.files import open_to_all
from dnsvigil.system.terminal import printable

_DENIED = "permission denied"
_SECRETS = (
    "api.token_file",
    "archive.pseudonym_key_file",
    "client.key_file",
    "client.password_file",
    "client.token_file",
)


def check_config(options: argparse.Namespace, _: Config) -> int:
    """Print all mistakes and warnings, each with file, line and key; return the exit status: 2 for a mistake."""
    path: Path = options.config or DEFAULT_PATH
    try:
        loaded = examine(path, Config)
    except ConfigError as error:
        _print(error)
        return 2
    mistakes = all_mistakes(path, loaded)
    warnings = list(_warnings(path, loaded, loaded.value)) if loaded.value is not None else []
    for mistake in mistakes:
        _print(mistake)
    for warning in warnings:
        _print(f"warning: {warning}")
    if mistakes:
        return 2
    if unseen := [warning for warning in warnings if _DENIED in str(warning)]:
        hint = "run this as the collector's user"
        print(f"{path}: no mistakes found, but not everything could be read, see the {len(unseen)} warnings; {hint}")
    else:
        print(f"{path}: no mistakes found")
    return 0


def _print(text: object) -> None:
    print(f"dnsvigil: {printable(str(text))}", file=sys.stderr)


def all_mistakes(path: Path, loaded: Loaded[Config]) -> list[ConfigError]:
    """Return what is wrong in a configuration, by line."""
    mistakes = list(loaded.mistakes)
    if loaded.value is not None:
        mistakes += _further_mistakes(path, loaded, loaded.value)
    return sorted(mistakes, key=lambda each: each.line or 0)


def _further_mistakes(path: Path, loaded: Loaded[Config], config: Config) -> Iterator[ConfigError]:
    """Yield what is wrong in the configuration beyond its form."""
    users: list[str] | None = []  # None: not known
    if config.web_config_file:
        users = None
        if not _denied(config.web_config_file):
            try:
                basic_auth = load_web_config(config.web_config_file).basic_auth
                users = basic_auth.names if basic_auth else []
            except ConfigError as error:
                yield from error.mistakes
    for number, user in enumerate(config.web.triage or ()):
        if users is not None and user not in users:
            key = "web.triage"
            text = f"no user {user!r} is among the basic_auth_users of web_config_file"
            yield ConfigError(path, loaded.lines.get(f"{key}[{number}]"), key, text)
    installed = sorted(entry_points(group="dnsvigil.detectors").names)
    disabled = [("detectors.disabled", f"[{number}]", name) for number, name in enumerate(config.detectors.disabled)]
    limited = [("detectors.thresholds", f".{name}", name) for name in config.detectors.thresholds]
    for key, part, name in disabled + limited:
        if name not in installed:
            text = f"no detector {name!r} is installed; there are {', '.join(installed)}"
            yield ConfigError(path, loaded.lines.get(key + part), key, text)
    key_file = config.archive.pseudonym_key_file
    if key_file and key_file.is_file() and os.access(key_file, os.R_OK):
        from dnsvigil.store.pseudonyms import PseudonymKeyError, read_key

        try:
            read_key(key_file)
        except PseudonymKeyError as error:
            key = "archive.pseudonym_key_file"
            yield ConfigError(path, loaded.lines.get(key), key, str(error))
    lists = config.detectors.lists
    if lists and not _denied(lists) and not lists.is_dir():
        key = "detectors.lists"
        yield ConfigError(path, loaded.lines.get(key), key, f"{lists} is not a folder")


def _warnings(path: Path, loaded: Loaded[Config], config: Config) -> Iterator[ConfigError]:
    """Yield what is not there, or cannot be read, now."""

    def warning(key: str, text: str) -> ConfigError:
        return ConfigError(path, loaded.lines.get(key), key, text)

    if not loaded.mistakes and (problem := no_sources(config)):
        yield warning("sources", problem)
    for place in places(config):
        problem = problem_of(place)
        if problem and (place.source != "lists" or _DENIED in problem):
            yield warning(place.key, f"{place.path} {problem}")
    if config.detectors.lists and os.access(config.detectors.lists, os.R_OK | os.X_OK):
        for file in sorted(config.detectors.lists.iterdir()):
            if file.is_file() and not os.access(file, os.R_OK):
                yield warning("detectors.lists", f"{file} cannot be read: {_DENIED}")
    if config.sources.netflow:
        try:
            programs.find(config.flows.nfdump or "nfdump")
        except programs.ProgramError as error:
            key = "flows.nfdump" if config.flows.nfdump else "sources.netflow"
            yield warning(key, f"flow files cannot be read: {error}")
    if config.web_config_file and _denied(config.web_config_file):
        yield warning("web_config_file", f"{config.web_config_file} cannot be read: {_DENIED}")
    for key, file in _files(config):
        if _denied(file):
            yield warning(key, f"{file} cannot be read: {_DENIED}")
        elif not file.is_file():
            yield warning(key, f"{file} is not a file")
        elif key in _SECRETS and (problem := open_to_all(file, file.stat())):
            yield warning(key, problem)
    archive = config.archive.path
    above = archive.parent if archive and not archive.exists() else archive  # the collector makes it
    for key, folder in (("flows.log", config.flows.log), ("archive.path", above)):
        if folder and not (folder.is_dir() and os.access(folder, os.W_OK)):
            yield warning(key, f"{folder} is not a folder that can be written to: {_why(folder)}")


def _files(config: Config) -> Iterator[tuple[str, Path]]:
    """Yield the files that must be there."""
    if config.api.token_file and config.api.token_file.exists():  # the collector makes it
        yield "api.token_file", config.api.token_file
    if config.archive.pseudonym_key_file:
        yield "archive.pseudonym_key_file", config.archive.pseudonym_key_file
    for name in ("ca_file", "cert_file", "key_file", "password_file", "token_file"):
        if file := getattr(config.client, name):
            yield f"client.{name}", file


def _denied(path: Path) -> bool:
    """Return whether this user may not look at a path."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return not os.access(path, os.R_OK)


def _why(folder: Path) -> str:
    if _denied(folder) or (folder.is_dir() and not os.access(folder, os.W_OK)):
        return _DENIED
    return "it is no folder" if folder.exists() else "it does not exist"
