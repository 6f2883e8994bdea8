"""Evaluates series of flows: each measure of a slot against its own past, and against the configured thresholds."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, TypeVar

from dnsvigil.config.collector import FlowThreshold
from dnsvigil.features.baseline import EVALUATED_ANOMALIES, HISTORY_SLOTS, Evaluation, evaluate
from dnsvigil.records import FLOW_ANOMALIES, FLOW_MEASURES, RESOLVER_MEASURES
from dnsvigil.store.flow_history import Array, resolver_history, service_history
from dnsvigil.store.flow_verdicts import Verdict
from dnsvigil.store.flows import FlowTables
from dnsvigil.store.store import Store

THRESHOLD: Final = FLOW_ANOMALIES[-1]
"""The anomaly that the configuration defines."""

_AT_ONCE: Final = 300  # series that are evaluated together: 20 MB of history
_UNITS: Final = dict.fromkeys(("bytes", "query_bytes", "response_bytes"), 1500.0)  # what a packet may add


class FlowEvaluation:
    """The evaluation of the series in one store."""

    def __init__(self, store: Store, tables: FlowTables, thresholds: Sequence[FlowThreshold]) -> None:
        self._store = store
        self._tables = tables
        self._thresholds = thresholds

    def evaluate(self, exporter: str, slot: datetime, since: datetime, shown: Collection[str]) -> list[Verdict]:
        """Return the verdicts on a slot of an exporter: on services, and on the resolvers that are ``shown``.

        Series without a flow from ``since`` on are left out.
        """
        return [
            *self._evaluate_services(exporter, slot, since),
            *self._evaluate_resolvers(exporter, slot, since, shown),
        ]

    def _evaluate_services(self, exporter: str, slot: datetime, since: datetime) -> list[Verdict]:
        series = self._tables.services(exporter, since)
        columns = len(FLOW_MEASURES)

        def history(part: Sequence[tuple[str, str]]) -> Array:
            return service_history(self._store, exporter, part, slot, HISTORY_SLOTS + 1)

        found: list[Verdict] = []
        for part, evaluation in _evaluated(series, history, FLOW_MEASURES, slot):
            for number, (protocol, service) in enumerate(part):
                for column, measure in enumerate(FLOW_MEASURES):
                    verdict = _verdict(evaluation, number * columns + column, exporter, measure)
                    found.append(self._with_thresholds(replace(verdict, protocol=protocol, service=service)))
        return found

    def _evaluate_resolvers(
        self, exporter: str, slot: datetime, since: datetime, shown: Collection[str]
    ) -> list[Verdict]:
        series = [resolver for resolver in self._tables.resolvers(exporter, since) if resolver in shown]
        columns = len(RESOLVER_MEASURES)

        def history(part: Sequence[str]) -> Array:
            return resolver_history(self._store, exporter, part, slot, HISTORY_SLOTS + 1)

        return [
            replace(_verdict(evaluation, number * columns + column, exporter, measure), resolver=resolver)
            for part, evaluation in _evaluated(series, history, RESOLVER_MEASURES, slot)
            for number, resolver in enumerate(part)
            for column, measure in enumerate(RESOLVER_MEASURES)
        ]

    def _with_thresholds(self, verdict: Verdict) -> Verdict:
        """Return the verdict with the anomaly ``threshold`` where the value passes one of the configuration."""
        value = verdict.value
        for limit in self._thresholds:
            fits = all(
                wanted is None or wanted == found
                for wanted, found in (
                    (limit.exporter, verdict.exporter),
                    (limit.protocol, verdict.protocol),
                    (limit.service, verdict.service),
                    (limit.measure, verdict.measure),
                )
            )
            over = value is not None and limit.above is not None and value > limit.above
            under = value is not None and limit.below is not None and value < limit.below
            if fits and (over or under):
                return replace(verdict, anomalies=(*verdict.anomalies, THRESHOLD))
        return verdict


_Series = TypeVar("_Series")


def _evaluated(
    series: Sequence[_Series], history: Callable[[Sequence[_Series]], Array], measures: Sequence[str], slot: datetime
) -> Iterator[tuple[Sequence[_Series], Evaluation]]:
    """Evaluate all measures of each series, a part of them at a time, so that memory has a bound."""
    at_once = _AT_ONCE // len(measures)
    units = [_UNITS.get(measure, 1.0) for measure in measures]
    when = int(slot.replace(tzinfo=UTC).timestamp())
    for first in range(0, len(series), at_once):
        part = series[first : first + at_once]
        past = history(part).reshape(len(part) * len(measures), -1)
        yield part, evaluate(past, when, units * len(part))


def _verdict(evaluation: Evaluation, row: int, exporter: str, measure: str) -> Verdict:
    numbers = (evaluation.value, evaluation.baseline, evaluation.spread, evaluation.deviation)
    value, baseline, spread, deviation = (float(array[row]) if math.isfinite(array[row]) else None for array in numbers)
    anomalies = tuple(name for name, is_so in zip(EVALUATED_ANOMALIES, evaluation.anomalies[row], strict=True) if is_so)
    history_seconds = float(evaluation.history_seconds[row])
    return Verdict(exporter, None, None, None, measure, value, baseline, spread, deviation, history_seconds, anomalies)
