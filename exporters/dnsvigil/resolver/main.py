"""The command ``dnsvigil-resolver-exporter``. Exit status: 0 done, 1 failed, 2 wrong usage or configuration."""

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path
from wsgiref.types import WSGIApplication, WSGIEnvironment

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from dnsvigil import __version__
from dnsvigil.config.yaml_file import ConfigError, examine
from dnsvigil.httpd.routes import Response, routes
from dnsvigil.httpd.runbooks import runbook_routes
from dnsvigil.httpd.server import Server
from dnsvigil.httpd.web_config import load_web_config
from dnsvigil.resolver.collectors import enabled
from dnsvigil.resolver.config import DEFAULT_PATH, Config, load_config
from dnsvigil.resolver.scrape import Collector, Scrape
from dnsvigil.system.files import reason_of
from dnsvigil.system.terminal import log_to_stderr

log = logging.getLogger("dnsvigil")

_LANDING = f"""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>dnsvigil resolver exporter</title>
<h1>dnsvigil resolver exporter</h1>
<p>Version {__version__}. <a href="metrics">Metrics</a>, <a href="runbooks/">runbooks</a>,
<a href="-/healthy">healthy</a>.</p>
</html>
"""


def main(arguments: list[str] | None = None) -> int:
    """Serve /metrics until SIGTERM; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="dnsvigil-resolver-exporter", description="Metrics of a resolver host for Prometheus."
    )
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help=f"configuration (default: {DEFAULT_PATH}, if it exists)"
    )
    parser.add_argument("--check-config", action="store_true", help="report mistakes in the configuration, then exit")
    parser.add_argument(
        "--log-level",
        default="info",
        choices=["debug", "info", "warning", "error"],
        help="log messages of this level and above (default: %(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"dnsvigil-resolver-exporter {__version__}")
    options = parser.parse_args(arguments)
    log_to_stderr(options.log_level)
    try:
        if options.check_config:
            return check_config(options.config or DEFAULT_PATH)
        serve(load_config(options.config))
    except ConfigError as error:
        _complain(error)
        return 2
    except OSError as error:
        log.error("%s", reason_of(error))
        return 1
    return 0


def check_config(path: Path) -> int:
    """Print all mistakes and what is not there; return the exit status. Raises ``ConfigError`` for no YAML file."""
    loaded = examine(path, Config)
    mistakes = list(loaded.mistakes)
    config = loaded.value
    if config and config.web_config_file:
        try:
            load_web_config(config.web_config_file)
        except ConfigError as error:
            mistakes += error.mistakes
    for mistake in mistakes:
        _complain(mistake)
    for number, resolver in enumerate(config.resolvers if config else ()):
        for at, folder in enumerate(resolver.folders):
            if not folder.is_dir():
                key = f"resolvers[{number}].folders[{at}]"
                _complain(ConfigError(path, loaded.lines.get(key), key, f"warning: {folder} is not a folder"))
    if not mistakes:
        print(f"{path}: no mistakes found")
    return 2 if mistakes else 0


def _complain(error: ConfigError) -> None:
    for mistake in error.mistakes:
        print(f"dnsvigil-resolver-exporter: {mistake}", file=sys.stderr)


def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. Raises what :class:`Server` raises."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    collectors = enabled(config)
    with Server(application(collectors), config.listen, config.web_config_file):
        for collector in collectors:
            collector.start()
        stop.wait()
    for collector in collectors:
        collector.stop()


def application(collectors: list[Collector]) -> WSGIApplication:
    """Return the WSGI application."""
    registry = CollectorRegistry()
    prometheus_client.ProcessCollector(registry=registry)
    registry.register(Scrape(collectors))

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
