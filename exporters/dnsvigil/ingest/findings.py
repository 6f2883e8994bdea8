"""The part of findings: those that are open, whoever made them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from dnsvigil.config.collector import Config
from dnsvigil.ingest.part import Part
from dnsvigil.store.client_names import take_client_names
from dnsvigil.store.findings import COUNTERS, SHOWN, Finding, Findings, count_open, findings_in
from dnsvigil.store.store import Store


@dataclass(frozen=True)
class FindingsSnapshot:
    """The open findings, at one moment."""

    open: Mapping[tuple[str, str], int] = field(default_factory=dict)  # by detector and severity
    worst: Sequence[Finding] = ()


class FindingsPart(Part):
    """The findings of one store; they are asked for even if nothing here makes any."""

    counters = COUNTERS

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        Findings(store)
        with store.transaction():
            take_client_names(store, config.detectors.client_prefixes, config.detectors.client_of)

    def snapshot(self) -> FindingsSnapshot:
        """Return what is open now."""
        read = self._store.rows
        unreadable = partial(self._store.set_aside.put, "finding")
        return FindingsSnapshot(count_open(read), findings_in(read, "open", SHOWN, unreadable))
