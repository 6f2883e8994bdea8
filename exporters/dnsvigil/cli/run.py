"""``dnsvigil run``: the collector, until a signal stops it. SIGHUP has it read its configuration again."""

import argparse
import faulthandler
import signal
from functools import partial
from pathlib import Path

from dnsvigil.cli.check_config import all_mistakes
from dnsvigil.cli.ownership import require_owner
from dnsvigil.collector.daemon import Daemon
from dnsvigil.config.collector import DEFAULT_PATH, Config, load_config
from dnsvigil.config.yaml_file import ConfigErrors, examine


def run(options: argparse.Namespace, _: Config) -> int:
    """Run the collector. Raises what :class:`Daemon` raises, ``ConfigError`` and ``OwnerError``."""
    load = partial(load_checked, options.config)
    config = load()
    require_owner(options.state)
    faulthandler.enable()  # systemd's watchdog ends what hangs by SIGABRT; the log then has where each thread was
    daemon = Daemon(config, options.state, load)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
    signal.signal(signal.SIGHUP, lambda *_: daemon.reload())
    daemon.run()
    return 0


def load_checked(path: Path | None) -> Config:
    """Read the configuration. Raises ``ConfigError`` for all that check-config calls a mistake."""
    if path is None and not DEFAULT_PATH.exists():
        return load_config(None)
    path = path or DEFAULT_PATH
    loaded = examine(path, Config)
    mistakes = all_mistakes(path, loaded)
    if mistakes or loaded.value is None:
        raise ConfigErrors(mistakes)
    return loaded.value
