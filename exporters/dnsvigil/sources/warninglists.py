"""MISP's lists of known, mostly harmless names, from pymispwarninglists."""

import json
from typing import Final

from dnsvigil.sources.package_data import package_folder

_LISTS: Final = "data/misp-warninglists/lists"


def warning_list(name: str) -> list[str]:
    """Return the entries of a list by its folder's name, as they stand there but for dots in front."""
    path = package_folder("pymispwarninglists") / _LISTS / name / "list.json"
    return [entry.lstrip(".") for entry in json.loads(path.read_text(encoding="utf-8"))["list"]]
