"""Takes flow files into the archive alone: their DNS flow records, and that they were read, in one transaction."""

from datetime import datetime, timedelta
from typing import Final

from dnsvigil.config.collector import Config
from dnsvigil.ingest.archive import ArchivePart
from dnsvigil.ingest.flow_files import AHEAD, CHANGED, FlowFileReader, Ingested
from dnsvigil.ingest.flow_summaries import FlowSummarizer
from dnsvigil.records import FLOW_SLOT_SECONDS, utc_now
from dnsvigil.sources.netflow.follower import PendingFlows
from dnsvigil.sources.netflow.times import Times
from dnsvigil.store.store import Store

_RECORDS: Final = "SELECT * EXCLUDE amplification FROM sum_dns_flows"
_SLOT: Final = timedelta(seconds=FLOW_SLOT_SECONDS)


class ArchivedFlows:
    """The flows of one archive. Rows cannot be exchanged in its files, so a flow file stays as it was at first."""

    def __init__(self, store: Store, config: Config) -> None:
        """Raises :class:`dnsvigil.store.store.StoreError`."""
        self._store = store
        self._archive = ArchivePart(store, config, waits=False)
        self._reader = FlowFileReader(store, config.flows.nfdump)
        self._summarizer = FlowSummarizer(store.connection, [])

    def close(self) -> None:
        """End what is under way, and free what it holds beside the store."""
        self._reader.close()
        self._archive.close()

    def ingest(self, file: PendingFlows) -> Ingested:
        """Put what a file adds, and that it was read, into the store, in one transaction.

        Of one that has changed since it was archived, all that it has more is skipped. Raises as
        :meth:`FlowFileReader.read`; where the store fails, store and this must be made anew.
        """
        read = self._reader.read(file, Times(datetime.min, utc_now() + AHEAD))  # an archive is for long
        if read is None:
            return Ingested(known=True)
        if read.same is not None:
            with self._store.transaction():
                self._reader.known.add_file(read.file)
            return Ingested(known=True)
        if read.former is not None:
            archived, _ = self._reader.known.counted_of(read.former)
            return Ingested(skipped={CHANGED: max(read.file.flows - archived, 0)})
        with self._store.errors():
            self._summarizer.view_records(read.file.slot, read.file.exporter)
        end = read.file.slot + _SLOT
        with self._store.transaction():
            self._archive.append("dns_flows", _RECORDS)
            self._reader.known.add_file(read.file)
            self._archive.advance(datetime.min, end)  # many rows to a file, be the hour over or not
        self._archive.evaluate(end)
        return Ingested(read.file.flows, read.file.skipped, read.damage)

    def flush(self) -> None:
        """Move all rows into files, and merge those of days that are over. Raises as :meth:`ingest`."""
        self._archive.flush(self._reader.known.newest_slot())
