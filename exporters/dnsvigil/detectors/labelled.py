"""What a detector compares with labelled examples: those of the package, and the operator's own.

An example of the operator's own is what a finding compared (``compared`` in its evidence), with the label that somebody
else than the detector gave it: a dismissal, or a witness of its own. Nothing is learnt from what nobody labelled.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from dnsvigil.learning.default import models_folder
from dnsvigil.learning.examples import Example, load_examples, read_examples
from dnsvigil.learning.models import ModelError, Stamp, model_stamp
from dnsvigil.learning.nearest import Nearest, Votes
from dnsvigil.store.findings import Finding, is_text, select_findings
from dnsvigil.store.store import Read

DISMISSED: Final = "dismissed"
"""The kind of what was dismissed as harmless."""

COMPARED: Final = "compared"
"""The key of the evidence with the values that were compared, by who saw them."""

MAX_OWN: Final = 50
"""So many examples of each kind are learnt from at most, the newest: the package's should not be outvoted."""

_MAX_FINDINGS: Final = 2000
_FINDINGS: Final = "WHERE detector = ? AND contains(evidence, ?) ORDER BY last_seen DESC, id DESC LIMIT ?"

Witness = Callable[[Finding, str], str | None]
"""Returns the kind of what ``origin`` saw, as someone else confirms it; None if nobody does."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """The labelled examples of one detector."""

    detector: str
    file: Path  # those of the package
    weights: Mapping[str, float]  # how much a difference of one counts, by value
    harmless: Collection[str]  # kinds
    witness: Witness

    @cached_property
    def known(self) -> Sequence[Example]:
        """Return the examples of the package."""
        return read_examples(self.file, [*self.weights])

    def own(self, models: Path) -> list[Example]:
        """Return those of the operator's own. Raises :class:`~dnsvigil.learning.models.ModelError`."""
        return load_examples(models / self.detector, self.detector, [*self.weights])

    def nearest(self, own: Iterable[Example] = ()) -> Nearest:
        """Return what finds the nearest of all."""
        return Nearest([*self.known, *own], [*self.weights.values()])

    def learn(self, read: Read) -> list[Example]:
        """Return the examples in the findings of a store, the newest first, ``MAX_OWN`` of each kind at most."""
        counts: dict[tuple[str, str], int] = {}
        learnt = []
        for finding in select_findings(read, _FINDINGS, self.detector, f'"{COMPARED}"', _MAX_FINDINGS):
            for each in self._examples(finding):
                key = each.origin, each.kind
                counts[key] = counts.get(key, 0) + 1
                if counts[key] <= MAX_OWN:
                    learnt.append(each)
        return learnt

    def _examples(self, finding: Finding) -> Iterable[Example]:
        compared = finding.evidence.get(COMPARED)
        for origin, values in compared.items() if isinstance(compared, Mapping) else ():
            kind = self.witness(finding, origin)
            if finding.state == "dismissed":
                # A dismissal of what is confirmed says that it is meant to be so, and not that it looks harmless.
                kind = None if kind else DISMISSED
            if kind and (example := self.example(origin, kind, finding.subject, values)):
                yield example

    def example(self, origin: Any, kind: Any, name: Any, values: Any) -> Example | None:
        """Return an example with the values by name; None if these are not those of what ``origin`` sees."""
        if not all(map(is_text, (origin, kind, name))):
            return None
        pattern = next((each.values for each in self.known if each.origin == origin), None)
        if pattern is None or not isinstance(values, Mapping):
            return None
        row = [values.get(name) if like is not None else None for name, like in zip(self.weights, pattern, strict=True)]
        needed = [value for value, like in zip(row, pattern, strict=True) if like is not None]
        return Example(origin, kind, name, tuple(row)) if all(map(_is_number, needed)) else None

    def records(self, examples: Iterable[Example]) -> list[dict[str, Any]]:
        """Return examples as JSON has them."""
        return [
            {
                "origin": each.origin,
                "kind": each.kind,
                "name": each.name,
                "values": dict(zip(self.weights, each.values, strict=True)),
            }
            for each in examples
        ]

    def examples_in(self, records: Any) -> list[Example]:
        """Return the examples of :meth:`records`. Raises ``ValueError`` for what are none."""
        found = []
        for each in records if isinstance(records, list) else [None]:
            given = each if isinstance(each, Mapping) else {}
            example = self.example(*(given.get(key) for key in ("origin", "kind", "name", "values")))
            if example is None:
                raise ValueError(f"examples: expected those of {self.detector}, with origin, kind, name and values")
            found.append(example)
        return found


class Neighbours:
    """The nearest examples of a detector in the collector, where the operator's own may be replaced at any time."""

    def __init__(self, labelled: Labelled, state: Path) -> None:
        self._labelled = labelled
        self._models = models_folder(state)
        self._stamp: Stamp | None = None
        self._nearest: Nearest | None = None
        self.problem = ""

    @property
    def time(self) -> datetime | None:
        """Return when the operator's own were written, UTC without a zone; None without any."""
        return self._stamp.time if self._stamp else None

    def reload(self) -> None:
        """Load the operator's own if they are new. Ones that cannot be used are a problem, and left out."""
        stamp = model_stamp(self._models / self._labelled.detector)
        if self._nearest and stamp == self._stamp:
            return
        own: list[Example] = []
        self.problem = ""
        if stamp:
            try:
                own = self._labelled.own(self._models)
            except ModelError as error:
                self.problem = f"{error}; the examples of the package alone are used"
        self._nearest, self._stamp = self._labelled.nearest(own), stamp

    def votes(self, origin: str, values: Mapping[str, float | None]) -> Votes:
        """Return what the nearest examples are, next to what ``origin`` saw."""
        assert self._nearest
        return self._nearest.votes(origin, [values[name] for name in self._labelled.weights])


def rounded(values: Mapping[str, float | None]) -> dict[str, float]:
    """Return values for the evidence."""
    return {name: round(value, 4) for name, value in values.items() if value is not None}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
