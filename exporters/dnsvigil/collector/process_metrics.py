"""The collector's metrics that begin anew with each start of the process."""

import time
from collections.abc import Mapping
from functools import partial

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector

from dnsvigil.config.collector import Config
from dnsvigil.config.live import LiveConfig
from dnsvigil.ingest.dns import SOURCE
from dnsvigil.ingest.flows import SOURCE as FLOWS
from dnsvigil.sources.availability import Place


class ProcessMetrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.batch_duration = Histogram(
            "dnsvigil_batch_duration_seconds",
            "Time to put one round, what all sensors have written since the last, into the store.",
            registry=self.registry,
        )
        self.batch_failures = prometheus_client.Counter(
            "dnsvigil_batch_failures",
            "Rounds that could not be written to the store; each is retried.",
            registry=self.registry,
        )
        self.files_lost = prometheus_client.Counter(
            "dnsvigil_files_lost",
            "Files that disappeared before they were read to their end.",
            ["source"],
            registry=self.registry,
        )
        self.files_lost.labels(SOURCE)
        self.files_lost.labels(FLOWS)
        self._lag_bytes = Gauge(
            "dnsvigil_source_lag_bytes",
            "Bytes of log on disk that are not read yet.",
            ["source", "sensor"],
            registry=self.registry,
        )
        self._lag_seconds = Gauge(
            "dnsvigil_source_lag_seconds",
            "Time since everything that the sensor had written was read; 0 while up to date.",
            ["source", "sensor"],
            registry=self.registry,
        )
        self._available = Gauge(
            "dnsvigil_source_available",
            "Whether a folder that the configuration names can be read: 1, or 0.",
            ["source", "path"],
            registry=self.registry,
        )
        self.lag_bytes = 0
        """Bytes of log on disk that are not read yet, of all sensors."""
        self._left: Mapping[str, int] = {}
        self._places: set[tuple[str, str]] = set()  # sources and paths
        self._sensors: set[str] = set()
        self._behind_since: dict[str, float] = {}  # by sensor, monotonic; only those that are behind

    def show_configuration(self, live: LiveConfig[Config]) -> None:
        """Show whether the newest configuration is in force."""
        for name, text, value in (
            ("successful", "Whether the newest configuration is in force.", lambda: live.problems == 0),
            ("success_timestamp_seconds", "When the configuration in force was read.", lambda: live.loaded),
        ):
            Gauge(f"dnsvigil_config_last_reload_{name}", text, registry=self.registry).set_function(value)

    def show_available(self, available: Mapping[Place, bool]) -> None:
        """Show which folders can be read."""
        shown = {(place.source, str(place.path)): is_there for place, is_there in available.items()}
        for gone in self._places - shown.keys():  # of an older configuration
            self._available.remove(*gone)
        self._places = set(shown)
        for labels, is_there in shown.items():
            self._available.labels(*labels).set(is_there)

    def lag(self) -> dict[str, tuple[int, float]]:
        """Return the bytes that are still to be read, and the seconds behind, of each sensor that is behind."""
        return {sensor: (size, self._behind(sensor)) for sensor, size in self._left.items()}

    def show_lag(self, left: Mapping[str, int]) -> None:
        """Show the bytes that are still to be read of each sensor that is behind."""
        self.lag_bytes = sum(left.values())
        self._left = dict(left)
        for sensor in {*left, *self._sensors}:
            if sensor not in self._sensors:
                self._sensors.add(sensor)
                self._lag_seconds.labels(SOURCE, sensor).set_function(partial(self._behind, sensor))
            self._lag_bytes.labels(SOURCE, sensor).set(left.get(sensor, 0))
            if sensor in left:
                self._behind_since.setdefault(sensor, time.monotonic())
            else:
                self._behind_since.pop(sensor, None)

    def _behind(self, sensor: str) -> float:
        since = self._behind_since.get(sensor)
        return time.monotonic() - since if since else 0.0
