"""The Spark of a command that may run on it."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from dnsvigil.cli.errors import CommandError
from dnsvigil.cli.progress import polled
from dnsvigil.config.collector import Config

if TYPE_CHECKING:
    from dnsvigil.engines.spark import Cluster


@contextmanager
def cluster_of(config: Config) -> Iterator["Cluster"]:
    """Give the Spark of the configuration, with a bar of its tasks. Raises ``CommandError`` and ``SparkError``."""
    try:
        from dnsvigil.engines.spark import cluster
    except ModuleNotFoundError as error:
        raise CommandError(f"{error.name} is not installed; --engine spark needs dnsvigil[spark]") from error
    with cluster(config.spark) as spark, polled("tasks", spark.status):
        yield spark


@contextmanager
def cluster_if_asked(options: argparse.Namespace, config: Config) -> Iterator["Cluster | None"]:
    """Give the Spark of the options, None where they do not ask for one. Raises as :func:`cluster_of`."""
    if options.engine == "spark":
        with cluster_of(with_master(config, options)) as spark:
            yield spark
    else:
        yield None


def with_master(config: Config, options: argparse.Namespace) -> Config:
    """Return the configuration with the Spark master of the command line."""
    return replace(config, spark=replace(config.spark, master=options.master)) if options.master else config
