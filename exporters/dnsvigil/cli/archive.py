"""``dnsvigil archive``: converts logs and flow files into an archive, without a store of the collector."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Final

from dnsvigil.cli.errors import UsageError
from dnsvigil.cli.ingest import ingest
from dnsvigil.cli.ownership import require_owner
from dnsvigil.cli.remote import as_paths
from dnsvigil.cli.spark import with_master
from dnsvigil.config.collector import Config
from dnsvigil.config.types import Duration, Size

STATE: Final = ".dnsvigil"
"""The folder in the archive in which is kept which files were read, and which files are whole."""

_EVER: Final = Duration(36500 * 86400)
_ANY: Final = Size(10**18)


def archive(options: argparse.Namespace, config: Config) -> int:
    """Convert the files of the options; return 1 unless all were read.

    Raises ``UsageError``, :class:`dnsvigil.store.store.StoreError`, ``OwnerError`` and ``OSError``.
    """
    path: Path | None = options.output or config.archive.path
    if path is None:
        raise UsageError("give --output DIR, or set archive.path in the configuration")
    state = path / STATE
    require_owner(state)
    config = with_archive(config, path, transactions=options.transactions or config.archive.transactions)
    with as_paths(options.paths) as (paths, lost):
        if options.engine == "spark":
            from dnsvigil.cli.archive_on_spark import archive_on_spark

            done = archive_on_spark(paths, with_master(config, options), path, state, options.start, lost=lost)
        else:
            done = ingest(paths, config, state, options.start, archive=True, lost=lost)
    return 0 if done else 1


def with_archive(config: Config, path: Path, *, transactions: bool = False) -> Config:
    """Return a configuration with an archive that keeps all: whoever asks for old records wants all of them."""
    archive = replace(config.archive, path=path, transactions=transactions, retention=_EVER, max_size=_ANY)
    return replace(config, archive=archive)
