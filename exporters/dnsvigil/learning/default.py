"""The directories of the name score models: the package's own, and the operator's."""

from pathlib import Path


def default_model() -> Path:
    """Return the directory of the model that was made when the package was built."""
    return Path(__file__).with_name("name-score")


def trained_model(state: Path) -> Path:
    """Return the directory in the state folder to which ``dnsvigil train`` writes its model."""
    return state / "models" / "name-score"
