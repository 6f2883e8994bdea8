"""Runs every collector during a scrape, and reports which of them, or which of their parts, failed."""

import logging
import platform
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Self

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector as PrometheusCollector

from dnsvigil import __version__
from dnsvigil.resolver.config import Config

log = logging.getLogger(__name__)


class Parts:
    """Which parts of one collector work; a part that stops working, or works again, is logged once."""

    def __init__(self, collector: str, names: Iterable[str]) -> None:
        self.collector = collector
        self._missing: dict[str, str | None] = dict.fromkeys(names)

    def missing(self, part: str, why: str) -> None:
        """Note that ``part`` has no metrics; ``why`` gives the operator the cause and the remedy."""
        if self._missing[part] != why:
            log.warning("%s: %s not available: %s", self.collector, part, why)
        self._missing[part] = why

    def works(self, part: str) -> None:
        """Note that ``part`` gave its metrics."""
        if self._missing[part] is not None:
            log.info("%s: %s works again", self.collector, part)
        self._missing[part] = None

    def __iter__(self) -> Iterator[tuple[str, bool]]:
        """Yield each part with whether it works."""
        for part, why in self._missing.items():
            yield part, why is None


class Collector(ABC):
    """One collector. An exception is logged and reported, and affects only the collector's own metrics."""

    name: ClassVar[str]
    """The value of the label ``collector``, and its key in the configuration."""

    parts: Parts
    """Which of its parts work; a part may be missing without the collector failing."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: Config) -> Self:
        """Return the collector as the operator configured it."""

    @abstractmethod
    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""

    def start(self) -> None:  # noqa: B027 (most have no such work)
        """Begin the work that is done between scrapes."""

    def stop(self) -> None:  # noqa: B027
        """End the work that is done between scrapes."""


class Scrape(PrometheusCollector):
    """All collectors as one, for a registry. Scrapes that come at once take turns."""

    def __init__(self, collectors: Sequence[Collector]) -> None:
        self._collectors = collectors
        self._failing: set[str] = set()
        self._turn = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the collectors that work, and whether each one did."""
        with self._turn:
            yield from self._collect()

    def describe(self) -> Iterator[Metric]:
        """Yield nothing, so that registering does not scrape."""
        return iter(())

    def _collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "dnsvigil_resolver_build_info",
            "Always 1; its labels describe the build.",
            labels=["version", "python_version"],
        )
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        success = GaugeMetricFamily(
            "dnsvigil_resolver_collector_success", "Whether the collector worked.", labels=["collector"]
        )
        duration = GaugeMetricFamily(
            "dnsvigil_resolver_collector_duration_seconds", "Time that the collector took.", labels=["collector"]
        )
        works = GaugeMetricFamily(
            "dnsvigil_resolver_part_available",
            "Whether a part of a collector has metrics; if not, the log has the reason.",
            labels=["collector", "part"],
        )
        for collector in self._collectors:
            start = time.perf_counter()
            metrics = self._run(collector)
            if metrics:
                yield from metrics
            success.add_metric([collector.name], metrics is not None)
            duration.add_metric([collector.name], time.perf_counter() - start)
            for part, available in collector.parts:
                works.add_metric([collector.name, part], available)
        yield success
        yield duration
        yield works

    def _run(self, collector: Collector) -> list[Metric] | None:
        """Return the collector's metrics; None where it fails."""
        try:
            metrics = list(collector.collect())
        except Exception:
            if collector.name not in self._failing:
                log.exception("collector %s fails; not logged again until it works", collector.name)
            self._failing.add(collector.name)
            return None
        if collector.name in self._failing:
            log.info("collector %s works again", collector.name)
            self._failing.discard(collector.name)
        return metrics
