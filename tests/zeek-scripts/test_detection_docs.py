"""docs/zeek-detection.md tells every option, with its default, and every column of the two detecting scripts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "zeek-detection.md").read_text()


def script(name: str) -> str:
    """Return the text of a script, or of all files of a folder."""
    place = ROOT / "zeek-scripts"
    paths = sorted((place / name).glob("*.zeek")) or [place / f"{name}.zeek"]
    return "".join(path.read_text() for path in paths)


@pytest.mark.parametrize("name", ["open-resolver", "poisoning"])
def test_every_option_is_told_with_its_default(name: str) -> None:
    module = re.findall(r"^module (\w+);", script(name), re.MULTILINE)[-1]
    options = re.findall(r"^\toption (\w+)[^=\n]*= (.*);", script(name), re.MULTILINE)
    table = PAGE.split(f"| option of `{module}` |")[1].split("\n\n")[0]
    told = re.findall(r"^\| `(\w+)` \| `?([^`|]+?)`? \|", table, re.MULTILINE)
    assert told == [(option, "none" if default == "{}" else default) for option, default in options]


@pytest.mark.parametrize("name", ["open-resolver", "poisoning"])
def test_every_column_is_told(name: str) -> None:
    columns = re.findall(r"^\t\t(\w+): .*&log", script(name), re.MULTILINE)
    assert len(columns) > 10
    assert [column for column in columns if f"`{column}`" not in PAGE] == []
