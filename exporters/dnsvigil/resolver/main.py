"""The command ``dnsvigil-resolver-exporter``. Exit status: 0 done, 1 failed, 2 wrong usage or configuration."""

import argparse
import faulthandler
import logging
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import prometheus_client

from dnsvigil import __version__
from dnsvigil.config.yaml_file import ConfigError, examine
from dnsvigil.httpd.server import Server
from dnsvigil.httpd.web_config import load_web_config
from dnsvigil.resolver.config import DEFAULT_PATH, Config, load_config
from dnsvigil.resolver.exporter import Exporter
from dnsvigil.system.files import reason_of
from dnsvigil.system.notify import Service
from dnsvigil.system.terminal import log_to_stderr

log = logging.getLogger("dnsvigil")

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


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
        serve(load_config(options.config), partial(load_config, options.config))
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


def serve(config: Config, load: Callable[[], Config]) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP has ``load`` read the configuration again.

    Raises what :class:`Server` raises.
    """
    faulthandler.enable()  # systemd's watchdog ends what hangs by SIGABRT; the log then has where each thread was
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # before there are threads, which inherit this
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    service = Service()
    exporter = Exporter(config, load)
    with Server(exporter, config.listen, config.web_config_file):
        service.ready(exporter.status)
        while (received := _wait(service.watchdog)) in (None, signal.SIGHUP):
            if received:
                service.reloading()
                exporter.live.reload()
                service.ready(exporter.status)
            if service.watchdog and exporter.busy() < service.watchdog:
                service.alive()
        service.stopping()
    exporter.stop()


def _wait(watchdog: float | None) -> int | None:
    """Wait for a signal and return it; None once it is time for the watchdog."""
    if watchdog is None:
        return signal.sigwait(_SIGNALS)
    found = signal.sigtimedwait(_SIGNALS, watchdog / 4)
    return found.si_signo if found else None
