"""Metric families from values with their labels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

Values = Iterable[tuple[Sequence[str], float]]
"""Values, each with the values of the family's labels."""


def counter(name: str, text: str, labels: Sequence[str], values: Values) -> CounterMetricFamily:
    """Return a counter."""
    family = CounterMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def gauge(name: str, text: str, labels: Sequence[str], values: Values) -> GaugeMetricFamily:
    """Return a gauge."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def histogram(
    name: str, text: str, label: str, bounds: Sequence[float], values: Iterable[tuple[str, Sequence[int], float]]
) -> HistogramMetricFamily:
    """Return a histogram with one label from its values, the counts up to each bound and beyond the last, and the sums.

    The counts do not include those of the bounds before.
    """
    family = HistogramMetricFamily(name, text, labels=[label])
    for label_value, counts, values_sum in values:
        buckets, total = [], 0
        for bound, count in zip([*map(str, bounds), "+Inf"], counts, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric([label_value], buckets, values_sum)
    return family


def alone(value: float) -> Values:
    """Return the value of a family without labels."""
    return [([], value)]


def by_label(values: Mapping[str, float]) -> Iterator[tuple[list[str], float]]:
    """Return the values of a family with one label."""
    return (([label], value) for label, value in values.items())


def unix_time(time: datetime) -> float:
    """Return the Unix time of a naive UTC time."""
    return time.replace(tzinfo=UTC).timestamp()
