"""The keys of a configuration file: types from the dataclasses, defaults and meanings from the table in ``docs/``."""

import dataclasses
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roff import bold, inline_of, italic, lines, term

from dnsvigil.config.types import (
    Address,
    Duration,
    Listen,
    NamePattern,
    Network,
    Program,
    ServerAddress,
    Size,
    SparkMaster,
    Url,
    ZoneName,
)

_TYPES: dict[Any, str] = {
    bool: "true or false",
    int: "number",
    float: "number",
    str: "text",
    Path: "path",
    Program: "path",
    Duration: "duration",
    Size: "size",
    SparkMaster: "Spark master",
    Listen: "address and port",
    Address: "address",
    ServerAddress: "address",
    NamePattern: "pattern",
    Network: "network",
    Url: "URL",
    ZoneName: "zone",
}

_DEFAULTS = {
    "needed": "Required.",
    "none": "",
    "one of three": "One of **process**, **unit** and **pidfile** is required.",
}


def around_keys(page: str) -> tuple[str, str]:
    """Return the text around the table of the keys in a page of ``docs/``: the description, and sections below it."""
    found = re.search(r"^## Configuration\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    before, _, rest = (found[1] if found else page.partition("\n")[2]).partition("\n| key |")
    after, heading, sections = rest.partition("\n\n")[2].partition("## ")
    return f"{before}\n\n{after}", re.sub(r"^## ", "# ", heading + sections, flags=re.MULTILINE)


def keys(page: str, config: type) -> Iterator[str]:
    """Yield the keys of a configuration, in the order of its dataclasses, by section.

    Raises ``KeyError`` for one that is not in the table, or whose type has no name here.
    """
    rows = _rows(page)
    section = ""
    for key, hint in _keys(config):
        default, meaning = rows[key]
        if "." in key and key.partition(".")[0].removesuffix("[]") != section:
            section = key.partition(".")[0].removesuffix("[]")
            yield f'.SS "The section {section}"'
        said = "" if "By default" in meaning else _DEFAULTS.get(default, f"Default: {default}.")
        yield from term(f"{bold(key)} ({italic(_type(hint))})", lines(inline_of(f"{meaning} {said}".rstrip())))


def _rows(page: str) -> dict[str, tuple[str, str]]:
    """Return default and meaning by key."""
    cells = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    return {name.strip("`"): (default, meaning) for name, default, meaning in (row for row in cells if len(row) == 3)}


def _keys(config: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        key, hint = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from _keys(typing.cast(type, hint), f"{key}.")
            continue
        yield key, hint
        for item in typing.get_args(hint):
            if dataclasses.is_dataclass(item):
                yield from _keys(typing.cast(type, item), f"{key}[].")


def _type(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return _type(arguments[0])
    if origin is list:
        item = "mapping" if dataclasses.is_dataclass(arguments[0]) else _type(arguments[0])
        return "list" if item == "text" else f"list of {item}{'es' if item.endswith('s') else 's'}"
    if origin is dict:
        return "mapping"
    if origin is typing.Literal:
        return f"{', '.join(arguments[:-1])} or {arguments[-1]}"
    return _TYPES[hint]
