"""Labelled examples: of which kind something is known to be, and the values that it is compared by.

The package has files of them, and the operator's own ones make a model folder.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from dnsvigil.learning.models import ModelError, load_model, save_model

VERSION: Final = 1


@dataclass(frozen=True)
class Example:
    """One example; it is compared with what the same ``origin`` saw."""

    origin: str
    kind: str
    name: str  # what it is an example of: those of one name are much alike, and are held out together
    values: tuple[float | None, ...]  # None: not known


def read_examples(path: Path, features: Sequence[str]) -> list[Example]:
    """Return the examples of a file with the columns origin, kind, variant, and the features."""
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    if head != ["origin", "kind", "variant", *features]:
        raise ValueError(f"{path}: expected the columns origin, kind, variant, {', '.join(features)}")
    return [
        Example(origin, kind, name, tuple(float(text) if text else None for text in texts))
        for origin, kind, name, *texts in rows
    ]


def save_examples(
    directory: Path, detector: str, features: Sequence[str], examples: Sequence[Example], facts: Mapping[str, Any]
) -> None:
    """Write examples of a detector as a model. Raises ``OSError``."""
    texts = [[each.origin, each.kind, each.name] for each in examples]
    arrays = {
        "texts": np.array(texts, dtype=np.str_).reshape(len(examples), 3),
        "values": np.array([each.values for each in examples], dtype=np.float64).reshape(len(examples), len(features)),
    }
    save_model(directory, _kind(detector), VERSION, arrays, {**facts, "features": list(features)})


def load_examples(directory: Path, detector: str, features: Sequence[str]) -> list[Example]:
    """Return the examples of a model. Raises :class:`ModelError`, also if it has other features."""
    arrays, facts = load_model(directory, _kind(detector), VERSION)
    if facts["features"] != list(features):
        raise ModelError(f"{directory}: a model of other features than this program's; run dnsvigil train")
    rows = zip(arrays["texts"].tolist(), arrays["values"].tolist(), strict=True)
    return [
        Example(origin, kind, name, tuple(None if np.isnan(value) else value for value in values))
        for (origin, kind, name), values in rows
    ]


def _kind(detector: str) -> str:
    return f"{detector}-examples"
