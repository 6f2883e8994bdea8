"""The collectors of the resolver exporter, one a file.

To add one, write its file, add its class to :data:`COLLECTORS`, give it a configuration of the same name in
:mod:`dnsvigil.resolver.config`, and list its metrics in docs/metrics.md.
"""

from typing import Final

from dnsvigil.resolver.collectors.host import HostCollector
from dnsvigil.resolver.collectors.probe import ProbeCollector
from dnsvigil.resolver.collectors.process import ProcessCollector
from dnsvigil.resolver.collectors.sockets import SocketCollector
from dnsvigil.resolver.config import Config
from dnsvigil.resolver.scrape import Collector

COLLECTORS: Final[tuple[type[Collector], ...]] = (ProcessCollector, SocketCollector, HostCollector, ProbeCollector)
"""All collectors, in the order of their metrics. The name of each is its key below ``collectors``."""


def enabled(config: Config) -> list[Collector]:
    """Return the collectors that are switched on."""
    return [kind.from_config(config) for kind in COLLECTORS if getattr(config.collectors, kind.name).enabled]
