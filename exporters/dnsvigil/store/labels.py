"""Labels in the store: which servers and zones have a label of their own, and how heavy the candidates are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dnsvigil.store.store import Store

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS labels (kind VARCHAR, label VARCHAR, shown BOOLEAN, weight DOUBLE);
"""


@dataclass(frozen=True)
class Labels:
    """The labels of one kind: those that are shown, and the weights of the candidates."""

    shown: list[str]
    weights: dict[str, float]


def read_labels(store: "Store", kind: str) -> Labels:
    """Return what is known of the labels of one kind."""
    rows = store.rows("SELECT label, shown, weight FROM labels WHERE kind = ? ORDER BY weight DESC, label", kind)
    return Labels([label for label, shown, _ in rows if shown], {label: weight for label, _, weight in rows})


def put_labels(store: "Store", kind: str, shown: Iterable[str], weights: Mapping[str, float]) -> None:
    """Keep which labels of a kind are shown, and how heavy the candidates are."""
    shown = set(shown)
    names = [*weights, *(label for label in shown if label not in weights)]
    store.rows("DELETE FROM labels WHERE kind = ?", kind)
    store.rows(
        "INSERT INTO labels SELECT ?, unnest(?::VARCHAR[]), unnest(?::BOOLEAN[]), unnest(?::DOUBLE[])",
        kind,
        names,
        [name in shown for name in names],
        [float(weights.get(name, 0)) for name in names],
    )
