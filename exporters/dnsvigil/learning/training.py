"""Trains the name score on all sources, and measures it on names that were held back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from dnsvigil.features.names import label_of
from dnsvigil.learning import namescore
from dnsvigil.learning.evaluate import Figures, evaluate, generated
from dnsvigil.learning.generators import FAMILIES
from dnsvigil.learning.namescore import NameModel, Progress
from dnsvigil.learning.samples import Benign, english_words, popular_domains, share

STEPS: Final = ("names", *namescore.STEPS, "figures")
"""The steps of training, in order."""

_TAUGHT: Final = 0.75  # of the names of a list
_MAX_TESTED: Final = 20_000  # benign names for the figures


@dataclass(frozen=True)
class Lessons:
    """Training data beside that of the dependencies."""

    popular: Sequence[str] = ()  # benign domains of the operator's own, the most popular first
    dismissed: Sequence[str] = ()  # domains that were found and are harmless
    listed: Mapping[str, Sequence[str]] = field(default_factory=dict)  # malware's domains, by family


def train(lessons: Lessons, seed: int = 0, progress: Progress = lambda step: None) -> NameModel:
    """Return a name score, with its figures on names that it was not trained on among its facts.

    The same lessons, dependencies and seed give the same model. ``progress`` is called with each of ``STEPS`` as it
    begins. Raises ``ValueError`` for too few domains.
    """
    progress("names")
    benign, english = Benign.divide([*popular_domains(), *lessons.popular]), english_words()
    teachers = set(benign.neighbours)
    model = NameModel.train(
        benign,
        english,
        families=FAMILIES,
        listed=parted(lessons.listed, taught=True),
        popular=[domain for domain in lessons.popular if domain in teachers],
        dismissed=lessons.dismissed,
        seed=seed,
        progress=progress,
    )
    progress("figures")
    tested = benign.test[:: len(benign.test) // _MAX_TESTED + 1]
    figures = evaluate(model, generated(model, benign, english, FAMILIES), tested)
    model.facts["figures"] = {"generated": figures.record()}
    if held_out := parted(lessons.listed, taught=False):
        model.facts["figures"]["listed"] = evaluate(model, held_out, tested).record()
    own = sorted(set(benign.test) & set(lessons.popular))
    if own:
        above = float((model.scores(own) > figures.threshold).mean())
        model.facts["figures"]["popular"] = {"names": len(own), "above_threshold": round(above, 4)}
    return model


def parted(listed: Mapping[str, Sequence[str]], taught: bool) -> dict[str, list[str]]:
    """Return the names of lists that are for training, or those that are held back for figures."""
    parts = {
        family: [domain for domain in domains if (share(label_of(domain), "listed") < _TAUGHT) == taught]
        for family, domains in listed.items()
    }
    return {family: domains for family, domains in parts.items() if domains}


def figures_of(model: NameModel, listed: Mapping[str, Sequence[str]]) -> dict[str, Figures]:
    """Return a model's figures on all benign names held back: with generators under other seeds, and with lists.

    Of lists only names that are held back count, if the model has learned from such a family's. Raises ``ValueError``
    where nothing is left of them.
    """
    benign, english = Benign.divide(popular_domains()), english_words()
    found = {"generated": evaluate(model, generated(model, benign, english, FAMILIES), benign.test)}
    if listed:
        seen = model.facts["listed"]
        known = {family: domains for family, domains in listed.items() if family in seen}
        unseen = {family: domains for family, domains in listed.items() if family not in seen}
        found["listed"] = evaluate(model, unseen | parted(known, taught=False), benign.test)
    return found
