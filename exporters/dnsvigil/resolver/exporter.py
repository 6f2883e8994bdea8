"""What the resolver exporter serves: the metrics of its collectors, the runbooks, and a check of health."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector as PrometheusCollector

from dnsvigil import __version__
from dnsvigil.config.live import LiveConfig
from dnsvigil.httpd.routes import Response, routes
from dnsvigil.httpd.runbooks import runbook_routes
from dnsvigil.resolver.collectors import enabled
from dnsvigil.resolver.config import Config
from dnsvigil.resolver.scrape import Collector, Scrape

_LANDING = f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>dnsvigil resolver exporter</title>
<h1>dnsvigil resolver exporter</h1>
<p>Version {__version__}. <a href="metrics">Metrics</a>, <a href="runbooks/">runbooks</a>,
<a href="-/healthy">healthy</a>.</p>
</html>
"""


class Exporter:
    """The collectors of the configuration in force, as a WSGI application."""

    def __init__(self, config: Config, load: Callable[[], Config]) -> None:
        """Begin; ``load`` reads the configuration again, and may raise ``ConfigError``."""
        self.live = LiveConfig(config, load, self._take)
        self._gauges = [
            _gauge("successful", "Whether the newest configuration is in force.", lambda: not self.live.problems),
            _gauge("success_timestamp_seconds", "When it was read.", lambda: self.live.loaded),
        ]
        self._requests: dict[int, float] = {}  # in progress: when each began, monotonic, by thread
        self._collectors: list[Collector] = []
        self._take(config)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        self._requests[threading.get_ident()] = time.monotonic()
        try:
            return self._application(environ, start_response)
        finally:
            del self._requests[threading.get_ident()]

    def busy(self) -> float:
        """Return for how many seconds the oldest request in progress has waited for its response."""
        now = time.monotonic()
        return now - min(self._requests.copy().values(), default=now)

    @property
    def status(self) -> str:
        """What an operator wants to know first, in one line."""
        names = ", ".join(collector.name for collector in self._collectors) or "none"
        return f"Collectors: {names}{self.live.refusal}"

    def stop(self) -> None:
        """End the work between scrapes."""
        for collector in self._collectors:
            collector.stop()

    def _take(self, config: Config) -> None:
        """Put a configuration into force; a collector that it does not change keeps its counters."""
        old, before = self._collectors, self.live.current
        kept = {
            collector.name: collector
            for collector in old
            if config.resolvers == before.resolvers
            and getattr(config.collectors, collector.name) == getattr(before.collectors, collector.name)
        }
        self._collectors = [kept.get(collector.name, collector) for collector in enabled(config)]
        self._application = application(self._collectors, *self._gauges)
        for collector in self._collectors:
            if collector not in old:
                collector.start()
        for collector in old:
            if collector not in self._collectors:
                collector.stop()


def _gauge(name: str, text: str, value: Callable[[], float]) -> Gauge:
    gauge = Gauge(f"dnsvigil_resolver_config_last_reload_{name}", text, registry=None)
    gauge.set_function(value)
    return gauge


def application(collectors: Sequence[Collector], *others: PrometheusCollector) -> WSGIApplication:
    """Return the WSGI application that serves what the collectors and others find."""
    registry = CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    for other in (Scrape(collectors), *others):
        registry.register(other)

    def metrics(environ: WSGIEnvironment) -> Response:
        encoder, content_type = choose_encoder(environ.get("HTTP_ACCEPT", ""))
        return Response(200, {"Content-Type": content_type}, encoder(registry))

    return routes(
        {
            **runbook_routes(),
            "/": lambda _: Response(200, {"Content-Type": "text/html; charset=utf-8"}, _LANDING.encode()),
            "/metrics": metrics,
            "/-/healthy": lambda _: Response.text("dnsvigil-resolver-exporter is healthy.\n"),
        }
    )
