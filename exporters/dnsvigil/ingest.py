"""``dnsvigil ingest``: the same way of the data as live, over files that are given, to their end."""

import logging
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from dnsvigil.collector import Collector, describe_skipped
from dnsvigil.config import Config
from dnsvigil.sources.cursors import Cursors
from dnsvigil.sources.follow import given_logs, pending_log
from dnsvigil.sources.reader import read_ahead, read_batches
from dnsvigil.store.store import Store

log = logging.getLogger(__name__)


def ingest(paths: list[Path], config: Config, state: Path) -> bool:
    """Read the files and folders, and say on standard error what became of their records.

    What an earlier call has read is not read again. Returns whether every file could be read; raises
    :class:`dnsvigil.store.store.StoreError` and ``StoreInUseError``.
    """
    files: list[Path] = []
    unread: list[Path] = []
    for path in paths:
        try:
            files += given_logs([path])
        except OSError as error:
            _report(path, error)
            unread.append(path)
    total: Counter[str] = Counter()
    size = sum(file.stat().st_size for file in files if file.exists())
    with Store(state) as store, closing(Collector(store, config)) as collector:
        cursors = Cursors(store.cursors())
        # None: shown on a terminal only.
        with tqdm(total=size, unit="B", unit_scale=True, disable=None, dynamic_ncols=True) as progress:
            for path in files:
                skipped: Counter[str] = Counter()
                try:
                    file = pending_log(path, cursors)
                    done = 0
                    for batch in read_ahead(read_batches(path, file.cursor, file.finished, file.kind)):
                        result = collector.ingest(batch)
                        cursors.put(batch.cursor)
                        total["records"] += batch.read
                        skipped += result
                        progress.update(batch.stored_offset - done)
                        done = batch.stored_offset
                    progress.update(file.size - done)
                except OSError as error:
                    _report(path, error)
                    unread.append(path)
                total += skipped
                if skipped:
                    log.warning("%s: %s", path, describe_skipped(skipped))
        collector.settle()
    print(f"{total.pop('records', 0):,} records read, {total.total():,} skipped", file=sys.stderr)
    return not unread


def _report(path: Path, error: OSError) -> None:
    log.error("%s cannot be read: %s", path, error.strerror or error)
