"""MISP's lists of known, mostly harmless names, from pymispwarninglists."""

import json
from importlib.resources import files


def warning_list(name: str) -> list[str]:
    """Return the entries of a list by its folder's name, as they stand there but for dots in front."""
    path = files("pymispwarninglists").joinpath(f"data/misp-warninglists/lists/{name}/list.json")
    return [entry.lstrip(".") for entry in json.loads(path.read_text(encoding="utf-8"))["list"]]
