"""Groups of domains that behave alike, by k-means over their features; nothing is labelled for it.

Each domain is a row of :meth:`dnsvigil.learning.domains.DomainTable.vectors`, cut off at four standard deviations: a
single huge domain would else be a group of its own. k-means looks at the principal components that have nine tenths of
the variance, because several features say much the same. The number of groups is that with the
greatest mean silhouette over a sample (Rousseeuw 1987, "Silhouettes: a graphical aid to the interpretation and
validation of cluster analysis").
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dnsvigil.engines.pandas import allow_pandas
from dnsvigil.records import DOMAIN_FEATURES

MAX_GROUPS: Final = 12
"""So many groups there are at most; more, nobody tells apart."""

OUTSTANDING: Final = 1.0
"""A feature stands out where the mean of a group is so many standard deviations from that of all."""

_VARIANCE: Final = 0.9
_CUT: Final = 4.0  # standard deviations
_SAMPLE: Final = 5_000  # domains whose silhouettes are looked at: their number is squared
_LARGE: Final = 50_000  # domains, from which on k-means takes a part at a time
_SHOWN: Final = 5  # members, odd ones and features of a group
_REVERSE: Final = ("in-addr.arpa", "ip6.arpa")


@dataclass(frozen=True)
class Group:
    """Domains that are alike."""

    name: str
    domains: int
    features: Sequence[tuple[str, float]]  # those that stand out, with how many standard deviations
    members: Sequence[str]  # the most typical
    odd: Sequence[tuple[str, float]]  # the domains farthest from the centre, with the distance


@dataclass(frozen=True)
class Clusters:
    """Groups, the largest first, and what each domain is in them."""

    groups: Sequence[Group]
    labels: NDArray[np.int64]  # the place of each domain's group
    distances: NDArray[np.float64]  # of each domain from the centre of its group: how odd it is
    silhouette: float | None  # the mean, from -1 to 1; None for a single group


def cluster(domains: Sequence[str], table: NDArray[np.float32], seed: int = 0) -> Clusters:
    """Divide domains into groups; the same seed and domains give the same groups."""
    allow_pandas()
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import silhouette_score

    rows = np.clip(table, -_CUT, _CUT).astype(np.float64)
    projected = _components(rows)
    sample = np.random.default_rng(seed).permutation(len(rows))[:_SAMPLE]
    best: tuple[float | None, NDArray[Any]] = None, np.zeros(len(rows), np.int64)
    distinct = len(np.unique(rows[sample], axis=0)) if len(rows) else 0
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct domains than groups
        for count in range(2, min(MAX_GROUPS, distinct - 1) + 1):
            labels = _means(count, seed, len(rows)).fit_predict(projected)
            if not 1 < len(np.unique(labels[sample])) < len(sample):
                continue
            found = float(silhouette_score(projected[sample], labels[sample]))
            if best[0] is None or found > best[0]:
                best = found, labels
    silhouette, labels = best
    sizes = np.bincount(labels) if len(labels) else np.zeros(0, np.int64)
    order = [int(place) for place in np.argsort(-sizes, kind="stable") if sizes[place]]
    places = np.zeros(len(sizes), np.int64)
    places[order] = np.arange(len(order))
    labels = places[labels]
    centres = np.array([rows[labels == place].mean(axis=0) for place in range(len(order))])
    distances = np.sqrt(((rows - centres[labels]) ** 2).sum(axis=1)) if len(rows) else np.zeros(0)
    groups = [_group(domains, place, centres[place], labels, distances) for place in range(len(order))]
    return Clusters(groups, labels, distances, silhouette)


def _components(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows along the principal components that have most of the variance."""
    if not len(rows):
        return rows
    centred = rows - rows.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred)
    shares = np.cumsum(variances[::-1]) / max(variances.sum(), np.finfo(float).tiny)
    count = int(np.searchsorted(shares, _VARIANCE)) + 1
    found: NDArray[np.float64] = centred @ axes[:, ::-1][:, :count]
    return found


def _means(count: int, seed: int, rows: int) -> Any:
    from sklearn.cluster import KMeans, MiniBatchKMeans

    if rows > _LARGE:
        return MiniBatchKMeans(count, n_init=10, batch_size=4096, random_state=seed)
    return KMeans(count, n_init=10, random_state=seed)


def _group(
    domains: Sequence[str],
    place: int,
    centre: NDArray[np.float64],
    labels: NDArray[np.int64],
    distances: NDArray[np.float64],
) -> Group:
    own = np.flatnonzero(labels == place)
    near: list[int] = own[np.argsort(distances[own], kind="stable")].tolist()
    ranked = sorted(zip(DOMAIN_FEATURES, centre.tolist(), strict=True), key=lambda each: -abs(each[1]))
    outstanding = [(name, value) for name, value in ranked if abs(value) >= OUTSTANDING][:_SHOWN]
    reverse = sum(domains[each].endswith(_REVERSE) for each in own.tolist())
    return Group(
        _name(dict(outstanding), reverse / len(own)),
        len(own),
        outstanding,
        [domains[each] for each in near[:_SHOWN]],
        [(domains[each], float(distances[each])) for each in near[::-1][:_SHOWN]],
    )


def _name(outstanding: dict[str, float], reverse: float) -> str:
    """Name a group by what most of its names are, or by the features that stand out most."""
    if reverse > 0.5:
        return "reverse"
    words = [f"{'high' if value > 0 else 'low'} {name}" for name, value in outstanding.items()]
    return ", ".join(words[:2]) or "ordinary"
