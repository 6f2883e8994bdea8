"""The build: a wheel has a default model, a source distribution has what makes one."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tarfile
import types
import zipfile
from pathlib import Path

import pytest

from dnsvigil.learning import default, training
from dnsvigil.learning.models import save_model

ROOT = Path(__file__).parents[1]


@pytest.fixture
def backend() -> types.ModuleType:
    pytest.importorskip("setuptools")
    spec = importlib.util.spec_from_file_location("build_backend", ROOT / "packaging" / "build_backend.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Trained:
    """What training gives, without the training."""

    def __init__(self) -> None:
        self.facts: dict[str, object] = {}

    def save(self, directory: Path) -> None:
        save_model(directory, "name-score", 1, {}, self.facts)


def test_the_model_is_made_once_for_the_same_sources(backend, tmp_path, monkeypatch):
    trainings = []
    monkeypatch.setattr(default, "default_model", lambda: tmp_path / "model")
    monkeypatch.setattr(training, "train", lambda *_, **__: trainings.append(1) or Trained())
    backend.make_model()
    backend.make_model()
    assert len(trainings) == 1
    facts = tmp_path / "model" / "model.json"
    assert json.loads(facts.read_text())["facts"] == {"made_from": backend.digest()}
    monkeypatch.setattr(backend, "DEPENDENCIES", ("numpy",))
    backend.make_model()
    assert len(trainings) == 2
    for broken in ("{", "[]", '{"facts": null}'):
        facts.write_text(broken)
        backend.make_model()
    facts.unlink()
    backend.make_model()
    assert len(trainings) == 6


def test_a_wheel_has_the_model_and_a_source_distribution_what_makes_it(tmp_path):
    pytest.importorskip("setuptools")
    tree = tmp_path / "tree"
    for name in ("docs", "exporters", "packaging"):
        ignored = shutil.ignore_patterns("name-score", "__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, tree / name)
    model = tree / "exporters" / "dnsvigil" / "learning" / "name-score"
    save_model(model, "name-score", 1, {}, {})
    program = """
import sys
sys.path.insert(0, "packaging")
import build_backend
build_backend.make_model = lambda: None
build_backend.build_sdist("dist")
build_backend.build_wheel("dist")
"""
    subprocess.run([sys.executable, "-c", program], cwd=tree, check=True, capture_output=True, timeout=120)
    (wheel,) = (tree / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        packed = {name: content.read(name) for name in content.namelist()}
    for path in model.iterdir():
        assert packed[f"dnsvigil/learning/name-score/{path.name}"] == path.read_bytes()
    assert {"dnsvigil/py.typed", "dnsvigil/engines/established.hashes", "dnsvigil/engines/queries.json"} <= set(packed)
    runbooks = {f"dnsvigil/runbooks/{path.name}": path.read_bytes() for path in (ROOT / "docs/runbooks").iterdir()}
    assert runbooks == {name: content for name, content in packed.items() if name.startswith("dnsvigil/runbooks/")}
    beside = [path for name in ("static", "templates") for path in (ROOT / "exporters/dnsvigil/web" / name).iterdir()]
    assert {f"dnsvigil/web/{path.parent.name}/{path.name}" for path in beside} <= set(packed)
    assert not [name for name in packed if not name.startswith(("dnsvigil/", "dnsvigil-"))]
    (source,) = (tree / "dist").glob("*.tar.gz")
    with tarfile.open(source) as content:
        names = {name.partition("/")[2] for name in content.getnames()}
    assert {"packaging/build_backend.py", "exporters/dnsvigil/learning/training.py", "pyproject.toml"} <= names
    assert {f"exporters/{name}" for name in runbooks} <= names
    assert not [name for name in names if any(each in name for each in ("name-score", "queries.json", ".hashes"))]
