"""Keeps one bad value from breaking all of /metrics: what cannot be written is left out, and set aside."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator
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
    """The metrics of one subject, as far as they can be written."""

    def __init__(self, subject: str, collect: Callable[[], Iterable[Metric]], report: Report) -> None:
        self._subject = subject
        self._collect = collect
        self._report = report

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families; where one fails, those up to there."""
        families = iter(self._collect())
        while True:
            try:
                family = next(families, None)
            except Exception as error:
                log.exception("the metrics of %s failed", self._subject)
                self._report(self._subject, f"{type(error).__name__}: {error}")
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
