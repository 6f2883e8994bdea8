"""Where name scores lie: the one that comes with the package, and the operator's own."""

from pathlib import Path


def default_model() -> Path:
    """Return the directory of the model that was made when the package was built."""
    return Path(__file__).with_name("name-score")


def trained_model(state: Path) -> Path:
    """Return the directory in the collector's folder where ``dnsvigil train`` leaves its model, if it did."""
    return state / "models" / "name-score"
