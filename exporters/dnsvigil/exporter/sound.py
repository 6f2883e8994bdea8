"""Keeps one bad value from breaking all of /metrics: what cannot be written is left out, and set aside."""

import logging
import math
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from dnsvigil.system.terminal import printable

log = logging.getLogger(__name__)

MAX_LABEL: Final = 2048
"""Characters of a label's value; a longer one is cut."""

Report = Callable[[str, str], None]
"""Takes what was left out, and why."""


class Sound(Collector):
    """The metrics of another collector, as far as they can be written."""

    def __init__(self, collector: Collector, report: Report) -> None:
        self._collector = collector
        self._report = report

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families; where the collector fails, those up to there."""
        families = iter(self._collector.collect())
        while True:
            try:
                family = next(families, None)
            except Exception as error:
                log.exception("%s failed", type(self._collector).__name__)
                self._report(type(self._collector).__name__, f"{type(error).__name__}: {error}")
                return
            if family is None:
                return
            family.samples = [sound for sample in family.samples if (sound := self._sound(sample))]
            yield family

    def _sound(self, sample: Sample) -> Sample | None:
        try:
            labels = {name: _label(value) for name, value in sample.labels.items()}
            return sample._replace(labels=labels, value=_number(sample.value))
        except (TypeError, ValueError, OverflowError) as error:
            self._report(f"{sample.name}", f"{type(error).__name__}: {error}")
            return None


def _label(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a label of type {type(value).__name__}")
    return printable(value[:MAX_LABEL])


def _number(value: float) -> float:
    """Return a number that can be written; one too large for that is infinite."""
    try:
        return value if isinstance(value, int) and abs(value) < 2**63 else float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
