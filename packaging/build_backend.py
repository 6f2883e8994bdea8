"""Builds dnsvigil with setuptools; before that it makes the files that processes would make at their start.

These are the default model of the name score, the SQL of the expressions and the hashes of established domains. They
are made from the sources of dnsvigil, and from what its dependencies hold, so these are needed to build. The model is
made anew only when one of them is another. A source distribution has none of the files.
"""

import hashlib
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

PACKAGE = Path(__file__).resolve().parents[1] / "exporters" / "dnsvigil"
sys.path.insert(0, str(PACKAGE.parent))

SOURCES = (
    "features/names.py",
    "sources/warninglists.py",
    *(f"learning/{name}.py" for name in ("evaluate", "generators", "models", "namescore", "samples", "training")),
)
DEPENDENCIES = ("numpy", "pymispwarninglists", "scikit-learn", "scipy", "zxcvbn")


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Build a wheel, as PEP 517 has it."""
    make_model()
    make_kept()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Build a wheel for an editable installation, as PEP 660 has it."""
    make_model()
    make_kept()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def make_model() -> None:
    """Make the default model, unless the one that is there was made from just the same."""
    from dnsvigil.learning.default import default_model
    from dnsvigil.learning.training import STEPS, Lessons, train

    made_from = digest()
    if _made_from(default_model()) == made_from:
        return
    print("Training the default model of the name score, for about a minute")
    model = train(Lessons(), progress=lambda step: print(f"{STEPS.index(step) + 1}/{len(STEPS)} {step}", flush=True))
    model.facts["made_from"] = made_from
    model.save(default_model())


def make_kept() -> None:
    """Make the SQL of the expressions and the hashes of established domains, as the first start would."""
    from dnsvigil.engines import duckdb, established, kept

    kept.save(duckdb.FILE, duckdb.make_queries())
    kept.save(established.FILE, established.make_established())


def digest() -> str:
    """Return a hash of all that the model depends on."""
    content = hashlib.sha256()
    for name in SOURCES:
        content.update((PACKAGE / name).read_bytes())
    for name in DEPENDENCIES:
        content.update(f"{name} {version(name)}\n".encode())
    content.update(platform.python_version().encode())
    return content.hexdigest()


def _made_from(directory: Path) -> str | None:
    try:
        return json.loads((directory / "model.json").read_text(encoding="utf-8"))["facts"].get("made_from")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
