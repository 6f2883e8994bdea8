"""The metric of the build."""

import platform
from collections.abc import Iterator

import duckdb
from prometheus_client.metrics_core import Metric

from dnsvigil import __version__
from dnsvigil.exporter.families import gauge


def families() -> Iterator[Metric]:
    """Yield the metric that has the versions."""
    yield gauge(
        "dnsvigil_build_info",
        "Always 1; its labels describe the build.",
        ["version", "python_version", "duckdb_version"],
        [([__version__, platform.python_version(), duckdb.__version__], 1)],
    )
