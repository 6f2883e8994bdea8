"""The folders of the models: the package's own, and the operator's."""

from pathlib import Path
from typing import Final

NAME_SCORE: Final = "name-score"
"""The model of the name score in a folder of models."""


def default_model() -> Path:
    """Return the folder of the name score that was made when the package was built."""
    return Path(__file__).with_name(NAME_SCORE)


def models_folder(state: Path) -> Path:
    """Return the folder in the state folder to which ``dnsvigil train`` writes its models."""
    return state / "models"


def trained_model(state: Path) -> Path:
    """Return the folder in the state folder to which ``dnsvigil train`` writes the name score."""
    return models_folder(state) / NAME_SCORE
