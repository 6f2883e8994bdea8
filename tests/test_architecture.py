"""docs/architecture.md describes the tree that there is."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "exporters" / "dnsvigil"
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def floors() -> list[str]:
    """The floors of the page, from the top to the ground."""
    return [name.rstrip("/") for name in re.findall(r"^\| `([a-z]+(?:/|\.py))` \|", PAGE, re.MULTILINE)]


def layers() -> list[set[str]]:
    """The floors of the contract, those side by side together."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (found,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return [set(layer.split(" | ")) for layer in found if layer != "__main__"]


def test_every_floor_is_a_folder_and_no_module_is_loose():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == {floor for floor in floors() if "." not in floor}
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", "records"}


def test_the_page_and_the_contract_have_the_floors_in_the_same_order():
    left = [floor.removesuffix(".py") for floor in floors()]
    for layer in layers():
        assert set(left[: len(layer)]) == layer
        del left[: len(layer)]
    assert not left


def test_every_file_that_the_page_names_is_there():
    for name in re.findall(r"`([\w./-]+(?:/|\.(?:py|md|toml)))`", PAGE):
        assert (PACKAGE / name).exists() or (ROOT / name).exists(), name


def test_a_subject_has_the_same_name_on_every_floor():
    for subject in ("dns", "flows", "findings"):
        assert (PACKAGE / "ingest" / f"{subject}.py").exists()
        assert (PACKAGE / "exporter" / f"{subject}.py").exists()
