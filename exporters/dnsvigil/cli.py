"""The command ``dnsvigil``. Exit status: 0 done, 1 failed, 2 wrong usage or configuration."""

import argparse
import logging
import signal
import sys
from pathlib import Path
from typing import Final

from dnsvigil import __version__
from dnsvigil.config import DEFAULT_PATH, Config, load_config
from dnsvigil.httpd.web_config import load_web_config
from dnsvigil.yamlfile import ConfigError

STATE: Final = Path("/var/lib/dnsvigil")

log = logging.getLogger("dnsvigil")


def main(arguments: list[str] | None = None) -> int:
    """Run the command that ``arguments`` (default: the process's own) say; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    try:
        config = load_config(options.config)
        return int(options.run(options, config))
    except ConfigError as error:
        print(f"dnsvigil: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"dnsvigil: {error.name} is not installed; this command needs dnsvigil[collector]", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dnsvigil", description="Monitoring for recursive DNS.")
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help=f"default: {DEFAULT_PATH}, if it is there")
    parser.add_argument(
        "--state", type=Path, default=STATE, metavar="DIR", help="where the store is (default: %(default)s)"
    )
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    parser.add_argument("--version", action="version", version=f"dnsvigil {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="follow the sources and serve /metrics until SIGTERM")
    run.set_defaults(run=_run)

    ingest = commands.add_parser("ingest", help="read log files and folders into the store, then exit")
    ingest.add_argument("paths", type=Path, nargs="+", metavar="PATH")
    ingest.set_defaults(run=_ingest)

    metrics = commands.add_parser("metrics", help="print what /metrics would show now, from the store")
    metrics.set_defaults(run=_metrics)

    check = commands.add_parser("check-config", help="report mistakes in the configuration with file, line and key")
    check.set_defaults(run=_check_config)
    return parser


def _run(options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.daemon import Daemon
    from dnsvigil.store.store import StoreError

    try:
        daemon = Daemon(config, options.state)
    except (StoreError, OSError) as error:
        log.error("%s", error)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
    daemon.run()
    return 0


def _ingest(options: argparse.Namespace, config: Config) -> int:
    from dnsvigil.ingest import ingest
    from dnsvigil.store.store import StoreError

    try:
        return 0 if ingest(options.paths, config, options.state) else 1
    except StoreError as error:
        log.error("%s", error)
        return 1


def _metrics(options: argparse.Namespace, config: Config) -> int:
    from prometheus_client import CollectorRegistry, generate_latest

    from dnsvigil.collector import Collector
    from dnsvigil.exporter.metrics import StoreMetrics
    from dnsvigil.store.store import Store, StoreError, StoreInUseError

    try:
        with Store(options.state) as store:
            snapshot = Collector(store, config).snapshot()
    except StoreInUseError as error:
        log.error("%s; a running collector shows its metrics at http://%s/metrics", error, config.listen)
        return 1
    except StoreError as error:
        log.error("%s", error)
        return 1
    registry = CollectorRegistry()
    registry.register(StoreMetrics(snapshot, config))
    sys.stdout.write(generate_latest(registry).decode())
    return 0


def _check_config(options: argparse.Namespace, config: Config) -> int:
    if config.web_config_file:
        load_web_config(config.web_config_file)
    print(f"{options.config or DEFAULT_PATH}: no mistakes found")
    return 0
