"""How much a domain's name looks like a generated one: a k-nearest-neighbours score of the name alone.

Names become points: their features (:mod:`dnsvigil.features.names`), through a projection that has learned to set
generated names apart from others, so that distances mean something for the question. The neighbours are benign names
and names of our own generators. With r(k) the distance to the k-th neighbour in a class, the density of a class in d
dimensions goes with 1 / r(k)^d (Loftsgaarden and Quesenberry, 1965, "A nonparametric estimate of a multivariate
density function"), so the logarithm of r(k) to the benign over r(k) to the generated is, but for d, that of the
likelihood ratio.
"""

import hashlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dnsvigil.engines.pandas import allow_pandas
from dnsvigil.features.names import Language, NameFeatures, label_of
from dnsvigil.learning.generators import FAMILIES, Family, Lexicon
from dnsvigil.learning.models import ModelError, load_model, save_model
from dnsvigil.learning.samples import Benign, known_words

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier

KIND: Final = "name-score"
VERSION: Final = 1
K: Final = 19
"""How many neighbours of each class estimate its density."""

TRAINING_SEEDS: Final = range(20)
HELD_OUT_SEEDS: Final = range(1000, 1010)
"""Seeds of the generators that no model is trained on."""

_PER_SEED: Final = 60
_MAX_LISTED: Final = len(TRAINING_SEEDS) * _PER_SEED  # of one family's list, as many as of a generator
_NEIGHBOURS: Final = 3000  # of each class
_MAX_POPULAR: Final = 1000  # of the operator's own, beside those
_NETWORKS: Final = 3
_AT_ONCE: Final = 512  # names whose neighbours are looked for
_HIDDEN: Final = (64, 8)
_ROUNDS: Final = ((2e-3, 9), (2e-4, 3))  # learning rate, and how often all names are seen with it
_BESIDE: Final = 0.3  # how much the other axes count beside that of the class
_MAX_TEACHERS: Final = 150_000  # benign names for the projection
_FARTHEST: Final = 5  # standard deviations; larger values carry no more information
_NEAREST: Final = np.float32(1e-2)  # distances below are taken as this: more is not sure in single precision
STEPS: Final = (
    "language",
    "generators",
    "features",
    *(f"network {number + 1}" for number in range(_NETWORKS)),
    "neighbours",
    "calibration",
)
"""The steps of training, in order."""

_RATES: Final = (1, 0.8, 0.6, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005)

Floats = NDArray[np.float32]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Neighbour:
    """A near name, the family of its generator (None: benign), and its distance."""

    name: str
    family: str | None
    distance: float


@dataclass(frozen=True)
class Reasons:
    """Why a name has its score: the nearest names of each class, nearest first, and the families of the K nearest."""

    score: float
    generated: list[Neighbour]
    benign: list[Neighbour]
    families: list[tuple[str, int]]  # most frequent first


class NameModel:
    """A trained score of names."""

    def __init__(self, arrays: dict[str, NDArray[Any]], facts: Any) -> None:
        """Take the arrays and facts of :meth:`train` or of a model directory."""
        self.facts = facts
        self._arrays = arrays
        self._features = NameFeatures(_language_of(arrays))
        self._project = _Projection(arrays)
        self._names = {kind: arrays[f"{kind}_names"] for kind in ("benign", "generated")}
        self._near = {kind: _Neighbours(arrays[f"{kind}_points"]) for kind in self._names}

    @classmethod
    def train(
        cls,
        benign: Benign,
        english: Sequence[str],
        *,
        families: Sequence[Family] = FAMILIES,
        listed: Mapping[str, Sequence[str]] | None = None,
        popular: Sequence[str] = (),
        dismissed: Sequence[str] = (),
        seed: int = 0,
        progress: Progress = lambda step: None,
    ) -> "NameModel":
        """Train on benign domains, generators, and lists of malware's domains by family, if there are.

        ``popular`` has benign domains of the operator's own, the most popular first, and ``dismissed`` harmless domains
        of findings: both are neighbours in any case. The same arguments give the same model. ``progress`` is called
        with each of ``STEPS`` as it begins. Raises ``ValueError`` for too few domains.
        """
        if min(len(benign.neighbours), len(benign.calibration)) < 10 * K:
            raise ValueError(f"{len(benign.neighbours)} benign domains are too few to train with")
        progress("language")
        labels = [label_of(domain) for domain in benign.language]
        language = Language.learn(labels, known_words(english))
        features = NameFeatures(language)
        progress("generators")
        lexicon = lexicon_of(labels, language.words, english)
        made = {family.name: family.names(TRAINING_SEEDS, _PER_SEED, lexicon) for family in families}
        draw = np.random.default_rng(seed)
        listed = listed or {}
        for family, domains in listed.items():
            some = draw.permutation(len(domains))[:_MAX_LISTED]
            made[family] = made.get(family, []) + [domains[i] for i in some]
        progress("features")
        taught = [benign.neighbours[i] for i in draw.permutation(len(benign.neighbours))[:_MAX_TEACHERS]]
        good = features.of([label_of(domain) for domain in taught])
        names = [name for family in made.values() for name in family]
        whose = [name for name, family in made.items() for _ in family]
        bad = features.of([label_of(name) for name in names])
        arrays = _arrays_of(language) | _learn_projection(good, bad, seed, progress)
        progress("neighbours")
        project = _Projection(arrays)
        extra = [*dismissed, *popular[:_MAX_POPULAR]]
        chosen = draw.permutation(len(taught))[:_NEIGHBOURS]
        arrays["benign_names"] = _texts([*extra, *(taught[i] for i in chosen)])
        arrays["benign_points"] = project(
            np.vstack([features.of([label_of(domain) for domain in extra]), good[chosen]])
        )
        spread = _evenly(whose, _NEIGHBOURS, draw)
        arrays["generated_names"] = _texts(names[i] for i in spread)
        arrays["generated_points"] = project(bad[spread])
        arrays["generated_families"] = _texts(whose[i] for i in spread)
        progress("calibration")
        arrays["ratios"] = np.zeros(len(_RATES), np.float32)
        ratios = cls(arrays, None).ratios(benign.calibration)
        arrays["ratios"] = np.quantile(ratios, [1 - rate for rate in _RATES]).astype(np.float32)
        facts = {
            "seed": seed,
            "families": dict.fromkeys(listed, "listed") | {family.name: family.kind for family in families},
            "benign": {part: _facts_of(domains) for part, domains in vars(benign).items() if part != "test"},
            "english": _facts_of(english),
            "generated": _facts_of(names),
            "listed": {family: _facts_of(domains) for family, domains in listed.items()},
            "popular": _facts_of(popular),
            "dismissed": _facts_of(dismissed),
        }
        return cls(arrays, facts)

    @property
    def words(self) -> list[str]:
        """Return the words that the features know, commonest first."""
        return [word.decode() for word in self._arrays["words"]]

    def save(self, directory: Path) -> None:
        """Write the model. Raises ``OSError``."""
        save_model(directory, KIND, VERSION, self._arrays, self.facts)

    @classmethod
    def load(cls, directory: Path) -> "NameModel":
        """Read a model. Raises :class:`~dnsvigil.learning.models.ModelError`."""
        arrays, facts = load_model(directory, KIND, VERSION)
        try:
            return cls(arrays, facts)
        except Exception as error:  # arrays that are missing, or of other shapes
            what = f"{type(error).__name__}: {error}"
            raise ModelError(f"{directory}: the model has not what it needs: {what}; run dnsvigil train") from error

    def ratios(self, domains: Sequence[str]) -> Floats:
        """Return for each registered domain the logarithm of r(k) to the benign over r(k) to the generated names."""
        return self._ratios(self._points(domains))

    def scores(self, domains: Sequence[str]) -> Floats:
        """Return for each registered domain its score in [0, 1].

        Of the benign names that the model was calibrated with, a share of 1 - score has the same score or more: 0.99
        is where one popular domain in a hundred lies.
        """
        return self.scores_of(self.ratios(domains))

    def scores_of(self, ratios: Any) -> Floats:
        """Return the scores that belong to what :meth:`ratios` gives."""
        # Between the rates that were measured their logarithm is taken as linear.
        rates = np.interp(ratios, self._arrays["ratios"], np.log(_RATES))
        return np.asarray(1 - np.exp(rates), np.float32)

    def reasons(self, domain: str, count: int = 5) -> Reasons:
        """Return why a domain has its score, with the nearest ``count`` names of each class."""
        points = self._points([domain])
        nearest: dict[str, list[Neighbour]] = {}
        families: Counter[str] = Counter()
        for kind in self._near:
            (distances,), (places,) = self._near[kind].nearest(points)
            names = [name.decode() for name in self._names[kind][places]]
            whose: list[str | None] = [None] * len(names)
            if kind == "generated":
                families.update(known := [name.decode() for name in self._arrays["generated_families"][places]])
                whose = list(known)
            nearest[kind] = [Neighbour(*found) for found in zip(names, whose, distances.tolist(), strict=True)][:count]
        score = float(self.scores_of(self._ratios(points))[0])
        return Reasons(score, nearest["generated"], nearest["benign"], families.most_common())

    def _points(self, domains: Sequence[str]) -> Floats:
        return self._project(self._features.of([label_of(domain) for domain in domains]))

    def _ratios(self, points: Floats) -> Floats:
        if not len(points):
            return np.zeros(0, np.float32)
        with threadpool_limits(1):  # beside a collector a second thread mostly waits for the first
            good, bad = (
                np.log(np.maximum(self._near[kind].farthest(points), _NEAREST)) for kind in ("benign", "generated")
            )
        ratios: Floats = (good - bad).astype(np.float32)
        return ratios


class _Neighbours:
    """The nearest of some points, by brute force: to the bit what scikit-learn's ``NearestNeighbors`` finds.

    That would cost a collector 165 MB and two seconds of CPU to load.
    """

    def __init__(self, points: Floats) -> None:
        self._points = points.astype(np.float32).astype(np.float64)
        self._squares = np.einsum("ij,ij->i", self._points, self._points)
        self._count = min(K, len(points))

    def nearest(self, points: Floats) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return for each of a few points the distances of its nearest, ascending, and their places."""
        squares = self._squared(points)
        places = np.argpartition(squares, self._count - 1, axis=1)[:, : self._count]
        near = np.take_along_axis(squares, places, axis=1)
        order = np.argsort(near, axis=1, kind="stable")
        return _root(np.take_along_axis(near, order, axis=1)), np.take_along_axis(places, order, axis=1)

    def farthest(self, points: Floats) -> NDArray[np.float64]:
        """Return for each point the distance of the last of its nearest."""
        last = self._count - 1
        parts = (self._squared(points[begin : begin + _AT_ONCE]) for begin in range(0, len(points), _AT_ONCE))
        return _root(np.concatenate([np.partition(part.astype(np.float32), last, axis=1)[:, last] for part in parts]))

    def _squared(self, points: Floats) -> NDArray[np.float64]:
        whose = points.astype(np.float64)
        squares: NDArray[np.float64] = whose @ self._points.T
        squares *= -2
        squares += np.einsum("ij,ij->i", whose, whose)[:, None]
        squares += self._squares
        return squares


def _root(squares: NDArray[Any]) -> NDArray[np.float64]:
    """Return the distances, in single precision as scikit-learn has them."""
    distances: NDArray[np.float64] = np.sqrt(np.maximum(squares, 0).astype(np.float32)).astype(np.float64)
    return distances


class _Projection:
    """From features to points, by networks that were trained to distinguish the classes.

    The first axis of a point is the logarithm of the odds that they say. The others are the units of their last hidden
    layers, each as wide as its part in the odds, so that of names with the same odds those of one make are near.
    """

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._center, self._scale, self._axes = arrays["center"], arrays["scale"], arrays["axes"]
        self._layers = [(arrays[f"weights_{n}"], arrays[f"bias_{n}"]) for n in range(len(_HIDDEN))]

    def __call__(self, features: Floats) -> Floats:
        values = _standard(features, self._center, self._scale)
        for weights, bias in self._layers:
            values = np.maximum(values @ weights + bias, 0)
        points: Floats = values @ self._axes
        return points


def _standard(features: Floats, center: Floats, scale: Floats) -> Floats:
    standard: Floats = np.clip((features - center) / scale, -_FARTHEST, _FARTHEST)
    return standard


def _learn_projection(good: Floats, bad: Floats, seed: int, progress: Progress) -> dict[str, NDArray[Any]]:
    import scipy.linalg

    features = np.vstack([good, bad])
    center = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = np.maximum(features.std(axis=0, dtype=np.float64), 1e-6).astype(np.float32)
    networks = []
    for number in range(_NETWORKS):
        progress(f"network {number + 1}")
        networks.append(_network(_standard(features, center, scale), len(good), seed + number))
    # Side by side they are one network, whose odds are the product of theirs.
    odds = np.concatenate([network.coefs_[-1][:, 0] for network in networks])
    arrays: dict[str, NDArray[Any]] = {
        "center": center,
        "scale": scale,
        "weights_0": np.hstack([network.coefs_[0] for network in networks]),
        "weights_1": scipy.linalg.block_diag(*(network.coefs_[1] for network in networks)),
        "axes": np.column_stack([odds, _BESIDE * np.diag(np.abs(odds))]),
    }
    for layer in range(len(_HIDDEN)):
        arrays[f"bias_{layer}"] = np.concatenate([network.intercepts_[layer] for network in networks])
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _network(features: Floats, benign: int, seed: int) -> "MLPClassifier":
    """Return a network that distinguishes the first ``benign`` rows from the others."""
    allow_pandas()
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier(_HIDDEN, batch_size=512, alpha=1e-4, random_state=seed, warm_start=True)
    # The matrices are small: several threads would only wait for each other, and add up in another order.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # so many rounds are enough, and always the same
        for rate, rounds in _ROUNDS:
            network.set_params(learning_rate_init=rate, max_iter=rounds, n_iter_no_change=rounds)
            network.fit(features, np.repeat([0, 1], [benign, len(features) - benign]))
    return network


def lexicon_of(labels: Iterable[str], words: Iterable[str], english: Sequence[str]) -> Lexicon:
    """Return what generators build on: words of names, commonest first, English words, and labels to change."""
    rare = set(english)
    of_names = [word for word in words if word not in rare][:6000]
    return Lexicon((of_names, english), [label for label in labels if label.isalpha() and 6 <= len(label) <= 12])


def _evenly(whose: Sequence[str], wanted: int, draw: np.random.Generator) -> NDArray[np.intp]:
    """Return the places of up to ``wanted``, as many of each owner as there can be."""
    order = draw.permutation(len(whose))
    turn: Counter[str] = Counter()
    turns = np.zeros(len(whose), np.intp)
    for place in order:
        turns[place] = turn[whose[place]]
        turn[whose[place]] += 1
    return order[np.argsort(turns[order], kind="stable")][:wanted]


def _texts(texts: Iterable[str]) -> NDArray[np.bytes_]:
    return np.array([text.encode() for text in texts], np.bytes_)


def _facts_of(texts: Sequence[str]) -> dict[str, Any]:
    return {"names": len(texts), "sha256": hashlib.sha256("\n".join(texts).encode()).hexdigest()}


def _arrays_of(language: Language) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        f"likelihood_{order}": likelihood.astype(np.float16) for order, likelihood in enumerate(language.likelihood, 1)
    }
    return arrays | {
        "long_grams": language.long_grams,
        "long_likelihood": language.long_likelihood.astype(np.float16),
        "discount": language.discount.astype(np.float16),
        "rhythm": language.rhythm,
        "words": _texts(language.words),
        "word_likelihood": language.word_likelihood,
    }


def _language_of(arrays: dict[str, NDArray[Any]]) -> Language:
    count = sum(name.startswith("likelihood_") for name in arrays)
    return Language(
        [arrays[f"likelihood_{order}"].astype(np.float32) for order in range(1, count + 1)],
        arrays["long_grams"],
        arrays["long_likelihood"].astype(np.float32),
        arrays["discount"].astype(np.float32),
        arrays["rhythm"],
        [word.decode() for word in arrays["words"]],
        arrays["word_likelihood"],
    )
