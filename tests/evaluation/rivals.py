"""What NfSen's users have today: Holt-Winters as RRDtool does it, and fixed thresholds.

Each takes series [series, slot] and returns for each slot 1 (too much), -1 (too little) or 0; only what came before a
slot is used for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .weeks import DAY, TRAINING, Floats

Verdicts = NDArray[np.int8]


@dataclass(frozen=True)
class HoltWinters:
    """Additive Holt-Winters forecasting with confidence bands (Brutlag, LISA 2000), with the defaults of RRDtool.

    A slot is a failure where ``failures`` of the last ``window`` ones were outside of ``delta`` deviations.
    """

    alpha: float = 0.1
    beta: float = 0.0035
    gamma: float = 0.1
    delta: float = 2
    failures: int = 7
    window: int = 9
    season: int = DAY

    def __call__(self, values: Floats) -> Verdicts:
        """Judge every slot by those before."""
        return self.verdicts(self.errors(values))

    def errors(self, values: Floats) -> Floats:
        """How many deviations each slot is off its forecast; a missing slot is taken to be as forecast."""
        first = values[:, : self.season]
        level = np.nanmean(first, axis=1)
        trend = np.zeros(len(values))
        seasonal = np.nan_to_num(first - level[:, None]).T.copy()  # [slot of the season, series]
        deviation = np.broadcast_to(np.nanstd(np.diff(first, axis=1), axis=1), seasonal.shape).copy()
        errors = np.zeros(values.shape)
        for slot in range(self.season, values.shape[1]):
            place, before = slot % self.season, level
            forecast = level + trend + seasonal[place]
            value = np.where(np.isnan(values[:, slot]), forecast, values[:, slot])
            error = value - forecast
            errors[:, slot] = error / np.maximum(deviation[place], 1e-9)
            level = self.alpha * (value - seasonal[place]) + (1 - self.alpha) * (level + trend)
            trend = self.beta * (level - before) + (1 - self.beta) * trend
            seasonal[place] = self.gamma * (value - level) + (1 - self.gamma) * seasonal[place]
            deviation[place] = self.gamma * np.abs(error) + (1 - self.gamma) * deviation[place]
        return errors

    def verdicts(self, errors: Floats) -> Verdicts:
        """Where enough of the last errors are outside of the band."""
        outside = np.sign(errors).astype(np.int8) * (np.abs(errors) > self.delta)
        verdicts = np.zeros_like(outside)
        for side in (-1, 1):
            sums = np.cumsum(np.pad(outside == side, ((0, 0), (self.window, 0))), axis=1)
            verdicts[(sums[:, self.window :] - sums[:, : -self.window] >= self.failures) & (outside == side)] = side
        return verdicts


TUNED = HoltWinters(alpha=0.3, beta=0, gamma=0.1, delta=8, failures=1, window=1)
"""The best of those that ``evaluation.tuning`` tries."""


def percentile(values: Floats) -> Verdicts:
    """More or less than all but one in a thousand slots of the training weeks."""
    low, high = np.nanquantile(values[:, :TRAINING], [0.001, 0.999], axis=1)
    return np.asarray((values > high[:, None]).astype(np.int8) - (values < low[:, None]))


def twice_the_mean(values: Floats) -> Verdicts:
    """More than twice the mean of the training weeks, or less than a tenth of it."""
    mean = np.nanmean(values[:, :TRAINING], axis=1)[:, None]
    return np.asarray((values > 2 * mean).astype(np.int8) - (values < mean / 10))
