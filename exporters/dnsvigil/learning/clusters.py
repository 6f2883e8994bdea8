"""Groups of domains that behave alike, by k-means over their features; nothing is labelled for it.

Domains are rows as :class:`dnsvigil.learning.scaling.Scaling` has them, cut off at four standard deviations: a single
huge domain would else be a group of its own. k-means looks at the principal components that have nine tenths of the
variance, because several features say much the same.

How many groups there are is decided on a sample. A number is as good as the mean silhouette of its groups (Rousseeuw
1987, "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis") times how stable they
are: the adjusted Rand index between the groups that two halves of the sample lead to (Ben-Hur et al. 2002, "A
stability based method for discovering structure in clustered data"). Of all that are nearly as good as the best the
largest is taken, as more groups say more.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dnsvigil.engines.pandas import allow_pandas

MAX_GROUPS: Final = 12
"""So many groups there are at most; more, nobody tells apart."""

_VARIANCE: Final = 0.9
_CUT: Final = 4.0  # standard deviations
_SAMPLE: Final = 5_000  # domains by which the number of groups is decided
_SPLITS: Final = 3  # into halves
_NEARLY: Final = 0.85  # of the best


@dataclass(frozen=True)
class Clusters:
    """Groups, the largest first, and what each domain is in them."""

    labels: NDArray[np.int64]  # the place of each domain's group
    centres: NDArray[np.float64]  # a row for each group: the means of its rows
    distances: NDArray[np.float32]  # of each domain from the centre of its group: how odd it is
    silhouette: float | None  # the mean, from -1 to 1; None for a single group


@dataclass(frozen=True)
class _Division:
    """A sample in so many groups."""

    centres: NDArray[np.float32]
    silhouette: float
    score: float  # how good it is


def cluster(table: NDArray[np.float32], seed: int = 0, former: int = 0) -> Clusters:
    """Divide domains into groups; the same seed and rows give the same groups.

    ``former`` is how many groups there were before; so many there are again if that is nearly as good as the best.
    """
    allow_pandas()
    from sklearn.exceptions import ConvergenceWarning

    rows = cut(table)
    projected = components(rows, _VARIANCE)
    sample = projected[np.random.default_rng(seed).permutation(len(rows))[:_SAMPLE]]
    labels, silhouette = np.zeros(len(rows), np.int64), None
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct domains than groups
        if found := _best(sample, seed, former):
            silhouette = found.silhouette
            labels = _means(len(found.centres), seed, init=found.centres, n_init=1).fit_predict(projected)
    sizes = np.bincount(labels)
    order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    places = np.zeros(len(sizes), np.int64)
    places[order] = np.arange(len(order))
    labels = places[labels]
    centres = centres_of(rows, labels)
    return Clusters(labels, centres, np.linalg.norm(rows - centres.astype(np.float32)[labels], axis=1), silhouette)


def _best(sample: NDArray[np.float32], seed: int, former: int) -> _Division | None:
    """Return the division to take, None where there is none."""
    distinct = len(np.unique(sample, axis=0))
    most = min(MAX_GROUPS, distinct - 1, len(sample) // 2)
    tried = [found for count in range(2, most + 1) if (found := _division(sample, count, seed))]
    good = [found for found in tried if found.score >= _NEARLY * max(each.score for each in tried)]
    return next((each for each in good if len(each.centres) == former), good[-1] if good else None)


def _division(sample: NDArray[np.float32], count: int, seed: int) -> _Division | None:
    """Divide a sample into so many groups; None where there are fewer, or a silhouette has no meaning."""
    from sklearn.metrics import adjusted_rand_score, silhouette_score

    whole = _means(count, seed).fit(sample)
    if not 1 < len(np.unique(whole.labels_)) < len(sample):
        return None
    silhouette = float(silhouette_score(sample, whole.labels_))
    stable = []
    for split in range(_SPLITS):
        order = np.random.default_rng([seed, split]).permutation(len(sample))
        one, other = (_means(count, seed).fit(sample[order[half::2]]).predict(sample) for half in range(2))
        stable.append(float(adjusted_rand_score(one, other)))
    return _Division(whole.cluster_centers_, silhouette, silhouette * max(float(np.mean(stable)), 0.0))


def cut(table: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows without what lies farther out than four standard deviations."""
    return np.clip(table, -_CUT, _CUT)


def centres_of(rows: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of the rows of each label."""
    found = [rows[labels == label].mean(axis=0, dtype=np.float64) for label in range(int(labels.max(initial=-1)) + 1)]
    return np.array(found).reshape(len(found), rows.shape[1])


def components(rows: NDArray[np.float32], variance: float) -> NDArray[np.float32]:
    """Return the rows along the principal components that have this share of the variance."""
    if not len(rows):
        return rows
    centred = rows - rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    shares = np.cumsum(variances[::-1]) / max(variances.sum(), np.finfo(float).tiny)
    count = int(np.searchsorted(shares, variance)) + 1
    found: NDArray[np.float32] = centred @ axes[:, ::-1][:, :count]
    return found


def _means(count: int, seed: int, **options: Any) -> Any:
    from sklearn.cluster import KMeans

    return KMeans(count, random_state=seed, **{"n_init": 10} | options)
