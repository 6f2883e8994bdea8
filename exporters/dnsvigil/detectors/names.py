"""The name score of domains, with the model that the operator trained or else the package's own."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from dnsvigil.learning.default import default_model, trained_model
from dnsvigil.learning.models import ModelError, Stamp, model_stamp
from dnsvigil.learning.namescore import NameModel

_MAX_SCORES: Final = 200_000
_MAX_REASONS: Final = 4  # names whose neighbours are computed in one run


class NameScores:
    """The model, which may be replaced at any time, and the scores of domains so far."""

    def __init__(self, state: Path) -> None:
        self._trained = trained_model(state)
        self._stamp: Stamp | None = None
        self._model: NameModel | None = None
        self._looks: dict[str, float] = {}
        self._reasons: dict[str, Any] = {}
        self._room = 0  # for more reasons in this run
        self.problem = ""
        self.scored = 0
        self.time: datetime | None = None
        self.reload()

    def reload(self) -> None:
        """Load the operator's model if it is new, and the package's own if there is none or it cannot be read.

        Raises :class:`~dnsvigil.learning.models.ModelError` where the package has none either.
        """
        self._room = _MAX_REASONS
        stamp = model_stamp(self._trained)
        if self._model is not None and stamp == self._stamp:
            return
        model, directory, self.problem = None, self._trained, ""
        if stamp:
            try:
                model = _loaded(directory, stamp)
            except ModelError as error:
                self.problem = f"{error}; the model of the package is used"
        if model is None:
            directory = default_model()
            model = _loaded(directory, model_stamp(directory))
        self._model, self._stamp = model, stamp
        made = model_stamp(directory)
        self.time = made.time if made else None
        self._looks.clear()
        self._reasons.clear()

    def score(self, domains: Iterable[str]) -> None:
        """Score the domains that have no score yet."""
        new = sorted(set(domains) - self._looks.keys())
        if not new:
            return
        if len(self._looks) + len(new) > _MAX_SCORES:
            self._looks.clear()
            self._reasons.clear()
            new = sorted(set(domains))
        assert self._model
        self.scored += len(new)
        # The model's rates go down to 1 in 2000.
        looks = [-math.log(max(1 - score, 1e-4)) for score in self._model.scores(new).tolist()]
        self._looks |= zip(new, looks, strict=True)

    def look(self, domain: str) -> float:
        """Return minus the logarithm of the share of benign names that look at least as much like malware's."""
        return self._looks.get(domain, 0.0)

    def reasons(self, domains: Sequence[str]) -> dict[str, Any]:
        """Return the families nearest to some domains, and the nearest names of both kinds."""
        assert self._model
        families: Counter[str] = Counter()
        generated, benign = list[str](), list[str]()
        for domain in domains:
            if domain not in self._reasons and self._room:
                self._reasons[domain] = self._model.reasons(domain)
                self._room -= 1
            if domain not in self._reasons:
                continue  # in a later run
            reasons = self._reasons[domain]
            families.update(dict(reasons.families))
            generated += [f"{near.name} ({near.family})" for near in reasons.generated[:2]]
            benign += [near.name for near in reasons.benign[:1]]
        return {
            "families": [family for family, _ in families.most_common(5)],
            "neighbours": list(dict.fromkeys(generated)),
            "benign_neighbours": list(dict.fromkeys(benign)),
        }


@lru_cache(maxsize=1)
def _loaded(directory: Path, stamp: Stamp | None) -> NameModel:
    """Return the model as it is with this stamp: once for all detectors, as it takes 60 MB."""
    return NameModel.load(directory)
