"""``dnsvigil run``: the collector, until a signal stops it."""

import argparse
import signal

from dnsvigil.cli.ownership import require_owner
from dnsvigil.collector.daemon import Daemon
from dnsvigil.config.collector import Config


def run(options: argparse.Namespace, config: Config) -> int:
    """Run the collector. Raises what :class:`Daemon` raises, and ``OwnerError``."""
    require_owner(options.state)
    daemon = Daemon(config, options.state)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
    daemon.run()
    return 0
