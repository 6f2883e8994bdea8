"""Reads flow files, each once, whoever takes what is in them.

A file is known by its content, and by exporter, time and sums: moved, copied or compressed later it is the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final

from dnsvigil.ingest.event_time import Minute, newest_of
from dnsvigil.sources.netflow.flow_file import UnfinishedFileError, fingerprint, flow_exporter_label, slot_of
from dnsvigil.sources.netflow.follower import PendingFlows
from dnsvigil.sources.netflow.tables import FlowReader, Loaded
from dnsvigil.sources.netflow.times import TIMESTAMP, TOO_OLD, Times
from dnsvigil.sources.remote.mirror import whole
from dnsvigil.store.flow_files import FlowFile, FlowFiles
from dnsvigil.store.store import Store
from dnsvigil.system.terminal import counted

CHANGED: Final = "changed"
"""The reason to skip what a file has more than when it was archived."""

AHEAD: Final = timedelta(days=1)
"""So far ahead of the clock a flow may be: as far as the time zone of an exporter or of nfcapd."""

_UNTIMELY: Final = {
    TIMESTAMP: "the time of the flow, or in the name of the file, is more than a day ahead, or before 1990",
    TOO_OLD: "older than `store.retention` before the newest flows",
}


@dataclass(frozen=True)
class Ingested:
    """What became of one file."""

    flows: int = 0  # that were not in the store before
    skipped: Mapping[str, int] = field(default_factory=dict)  # of which that is true as well, by reason
    damage: str | None = None
    known: bool = False  # it was read before

    @property
    def untimely(self) -> str:
        """How many flows are skipped for their time and why, in words; empty for none."""
        return "; ".join(
            f"{counted(self.skipped[reason], 'flow')} skipped ({reason}: {why})"
            for reason, why in _UNTIMELY.items()
            if self.skipped.get(reason)
        )


@dataclass(frozen=True)
class FoundFile:
    """A file whose flows are in the tables of :class:`FlowReader`."""

    file: FlowFile
    damage: str | None
    same: int | None  # the id of the known file that it is in another form
    former: int | None  # the id of what it was before it grew


class FlowFileReader:
    """Reads files into the tables of :class:`FlowReader`, on the connection of the store that knows which were read."""

    def __init__(self, store: Store, nfdump: str | None) -> None:
        """Raises :class:`dnsvigil.store.store.StoreError`."""
        self.known = FlowFiles(store)
        self._store = store
        self._nfdump = nfdump or "nfdump"

    def close(self) -> None:
        """Drop the tables."""
        if "reader" in self.__dict__:
            self.reader.close()

    @cached_property
    def reader(self) -> FlowReader:
        """What fills the tables; the first file would otherwise wait for it."""
        return FlowReader(self._store.connection, self._nfdump)

    def read(self, file: PendingFlows, times: Times, check: Callable[[Path], None] | None = None) -> FoundFile | None:
        """Fill the tables, unless the file was read before; ``times`` and ``check`` are those of ``FlowReader.load``.

        Raises :class:`dnsvigil.sources.netflow.NFDumpError` where nothing can be said of the file now, which is to be
        tried again; :class:`UnfinishedFileError`, a kind of it, where that is because the file is still written. Raises
        ``OSError`` for a file that cannot be read, and :class:`dnsvigil.store.store.StoreError`.
        """
        digest = digest_of_new(file, self.known)
        if digest is None:
            return None
        with self._store.errors(), whole(file.path) as path:
            loaded = self.reader.load(path, check, times, file.begin)
            if loaded.damage and not file.settled:
                raise UnfinishedFileError(f"{file.path} may still be written: {loaded.damage}")
            found = self._describe(file, loaded, digest, times)
        same = self.known.same_file(found)
        former = self.known.former_file(found) if same is None and file.begin else None
        return FoundFile(found, loaded.damage, same, former)

    def _describe(self, file: PendingFlows, loaded: Loaded, digest: str, times: Times) -> FlowFile:
        info = loaded.info
        ident = "" if info.ident == "none" else info.ident
        newest = _newest(loaded) or (info.last if sum(loaded.skipped.values()) else None)
        first = loaded.first or datetime.fromtimestamp(file.stamp[1] / 1e9, UTC).replace(tzinfo=None)
        ((packets, byte_count),) = self._store.rows(
            "SELECT coalesce(sum(packets), 0)::BIGINT, coalesce(sum(bytes), 0)::BIGINT FROM flow_services"
        )
        if not loaded.flows:
            packets, byte_count = info.packets, info.bytes
        begin = file.begin or slot_of(max(first, times.oldest))
        return FlowFile(
            exporter=flow_exporter_label(file.flow_exporter or ident or file.folder),
            name=file.path.name,
            slot=slot_of(begin),
            begin=begin,
            digest=digest,
            path=file.path,
            size=file.stamp[0],
            changed=file.stamp[1],
            flows=loaded.flows,
            packets=packets,
            bytes=byte_count,
            sequence_failures=info.sequence_failures,
            skipped=loaded.skipped,
            sampling=loaded.sampling,
            newest=newest,
            damaged=loaded.damage is not None,
            dated=bool(loaded.flows or file.begin) and not loaded.refused,
        )


def digest_of_new(file: PendingFlows, known: FlowFiles) -> str | None:
    """Return what a file is known by; None where it was read before. Raises ``OSError``."""
    if known.has_path(file.path, file.stamp):
        return None
    digest = fingerprint(file.path)
    return None if known.has_digest(digest, file.path) else digest


def _newest(loaded: Loaded) -> datetime | None:
    """Return when the newest flow ended, but for a few far ahead of most, to the minute; None without a time."""
    if loaded.last is None or not loaded.minutes:
        return None
    newest = newest_of([Minute(minute, flows) for minute, flows in sorted(loaded.minutes.items())])
    return min(newest + timedelta(minutes=1), loaded.last)
