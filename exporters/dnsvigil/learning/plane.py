"""The plane that shows groups of domains best: the two directions in which the domains differ most."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dnsvigil.learning.clusters import cut
from dnsvigil.learning.scaling import Scaling
from dnsvigil.records import DOMAIN_FEATURES
from dnsvigil.store.domain_file import Facts, Plane

MAX_POINTS: Final = 1500
"""How many domains a plane has: more points hide each other."""

_SHOWN: Final = 4  # features of a direction


def plane(
    rows: NDArray[np.float32],
    groups: NDArray[np.int64],
    scaling: Scaling,
    former: Facts | None,
    seed: int = 0,
) -> Plane | None:
    """Return the plane of domains, scaled rows with the id of the group of each; None where there are no domains.

    The directions are the first two principal components. Centres of the ``former`` table's groups lie where domains
    with these features would lie now.
    """
    if not len(rows):
        return None
    centred = cut(rows)
    means = centred.mean(axis=0, dtype=np.float64)
    centred -= means.astype(np.float32)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :2]
    axes *= np.where(axes[np.abs(axes).argmax(axis=0), [0, 1]] < 0, -1, 1)  # else the sign would be by chance
    placed = centred @ axes
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:MAX_POINTS])
    points = [(*_rounded(placed[each]), int(groups[each])) for each in chosen.tolist()]
    centres = {str(number): _rounded(placed[groups == number].mean(axis=0)) for number in np.unique(groups).tolist()}
    return Plane(_weights(axes), points, centres, _former(former, scaling, means, axes) if former else {})


def _former(
    former: Facts, scaling: Scaling, means: NDArray[np.float64], axes: NDArray[Any]
) -> dict[str, tuple[float, float]]:
    spreads = np.where(scaling.spreads > 0, scaling.spreads, np.inf)
    found = {}
    for group in former.groups:
        values = np.array(group.centre) * np.array(former.spreads) + np.array(former.means)
        now = cut(((values - scaling.means) / spreads).astype(np.float32))
        found[str(group.id)] = _rounded((now - means) @ axes)
    return found


def _weights(axes: NDArray[Any]) -> Sequence[dict[str, float]]:
    found = []
    for axis in axes.T.tolist():
        ranked = sorted(zip(DOMAIN_FEATURES, axis, strict=True), key=lambda each: -abs(each[1]))
        found.append({name: round(weight, 3) for name, weight in ranked[:_SHOWN]})
    return found


def _rounded(point: NDArray[Any]) -> tuple[float, float]:
    return round(float(point[0]), 2), round(float(point[1]), 2)
