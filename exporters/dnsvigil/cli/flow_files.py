"""Reads flow files that are given, one after the other, and says what became of each."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from dnsvigil.cli.progress import read_bytes
from dnsvigil.cli.totals import Total
from dnsvigil.config.collector import Config
from dnsvigil.ingest.archived_flows import ArchivedFlows
from dnsvigil.ingest.flow_files import CHANGED, Ingested
from dnsvigil.sources.netflow.follower import PendingFlows, given_file
from dnsvigil.sources.netflow.process import NFDumpError, find_program
from dnsvigil.sources.remote.mirror import at_hand
from dnsvigil.sources.remote.uri import name_of
from dnsvigil.store.store import Store, StoreError
from dnsvigil.system.terminal import counted

log = logging.getLogger(__name__)


class Taker(Protocol):
    """What takes flow files."""

    def ingest(self, file: PendingFlows) -> Ingested:
        """Take a file. Raises as :meth:`dnsvigil.ingest.flow_files.FlowFileReader.read`."""

    def close(self) -> None:
        """Free what it holds beside the store."""


T = TypeVar("T", bound=Taker)


class GivenFlows(Generic[T]):
    """Has ``taker`` take flow files that are given. Raises :class:`StoreError`."""

    def __init__(self, store: Store, config: Config, total: Total, make: Callable[[], T], *, settled: bool) -> None:
        """Count what there is in ``total``. ``settled`` files are taken as they are, though they were just written."""
        self._store = store
        self._sources = config.sources.netflow
        self._total = total
        self._make = make
        self._settled = settled
        self.taker = make()

    def close(self) -> None:
        """Free what is held beside the store."""
        self.taker.close()

    def read(self, path: Path) -> bool:
        """Read a file, and say what is wrong with it; return whether it was read."""
        try:
            with at_hand(path) as here:
                file = given_file(here, self._sources)
                with read_bytes(path.name, file.stamp[0]) as bar:
                    found = self.taker.ingest(replace(file, settled=file.settled or self._settled))
                    bar.update(file.stamp[0])
        except OSError as error:
            log.error("%s cannot be read: %s", path, error.strerror or error)
        except NFDumpError as error:
            log.error("%s cannot be read: %s", path, error)
        except StoreError:
            raise
        except Exception as error:
            self._store.set_aside.put("flow_file", name_of(path), error)
            self.taker.close()
            self.taker = self._make()
        else:
            return self._count(path, found)
        return False

    def _count(self, path: Path, found: Ingested) -> bool:
        self._total.flows += found.flows
        self._total.flows_skipped.update(found.skipped)
        if found.known:
            self._total.known.append(path)
        if CHANGED in found.skipped:
            more = counted(found.skipped[CHANGED], "flow")
            log.error("%s has changed since it was archived; what it has more, %s, is not archived", path, more)
            return False
        if found.untimely:
            log.warning("%s: %s", path, found.untimely)
        if found.damage:
            log.warning("%s: %s; the readable part is counted", path, found.damage)
        return bool(found.flows) or not found.untimely  # else it would look like a file in which there is nothing


def has_nfdump(config: Config, where: str = "") -> bool:
    """Return whether flow files can be read at all; log why not, and ``where``."""
    try:
        find_program(config.flows.nfdump or "nfdump")
    except NFDumpError as error:
        log.error("%sflow files are not read, as that takes nfdump: %s", where, error)
        return False
    return True


def archive_flows(store: Store, config: Config, files: Sequence[Path], total: Total) -> Iterator[Path]:
    """Put flow files into the archive, count their flows, and yield those that could not be read."""
    make = partial(ArchivedFlows, store, config)
    with closing(GivenFlows(store, config, total, make, settled=False)) as given:
        yield from (path for path in files if not given.read(path))
        given.taker.flush()
    store.set_aside.flush()
