"""What a detector is: it reads tables of features, and says who behaves like what it looks for.

A detector has no state that must outlive it. What it says follows from the tables, the configuration and its model, so
a collector that was killed and started again says the same.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from dnsvigil.config import Config
from dnsvigil.store.findings import Read

THRESHOLD = 0.5
"""From this score on an anomaly is a finding, unless the configuration has another threshold for its detector."""


@dataclass(frozen=True)
class Anomaly:
    """One subject's score, and why it has it."""

    subject_type: str  # one of dnsvigil.records.SUBJECT_TYPES
    subject: str
    score: float  # 0 to 1; a detector's page in docs/detectors says what its scores mean
    severity: str  # one of dnsvigil.records.SEVERITIES
    first_seen: datetime  # UTC without a zone, as the next
    last_seen: datetime
    evidence: Mapping[str, Any]
    """What a person needs to believe it, as JSON has it. ``domains`` lists the registered domains that it rests on,
    the most telling first: a dismissal of the finding holds for others that rest on the same."""


@dataclass(frozen=True)
class Context:
    """Where a detector works."""

    state: Path  # the collector's folder; models lie below ``models``
    config: Config


class Detector(ABC):
    """Looks for one thing. A class is made once for each start of the collector, and may raise what is in its way."""

    name: ClassVar[str]
    """Stands in metrics and findings: letters, digits, - and _."""

    reads: ClassVar[Sequence[str]]
    """The tables of the store that :meth:`judge` asks; docs/detectors lists what there are."""

    every: ClassVar[timedelta] = timedelta(minutes=1)
    """The event time between two judgements."""

    @abstractmethod
    def __init__(self, context: Context) -> None: ...

    @abstractmethod
    def judge(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        """Return who is anomalous at ``now``, the event time, UTC without a zone.

        ``read(query, *bound)`` returns the rows of a DuckDB query. Where a table is by the hour, its rows with
        ``hour < now`` count, so that the end of an hour can be judged after more has come. Subjects whose score
        is below the threshold may be returned as well: the highest scores are shown in /metrics.
        """

    def problems(self) -> Sequence[str]:
        """Return what keeps the detector from working as it should, in words; nothing where all is well."""
        return ()

    def counts(self) -> Mapping[str, int]:
        """Return counters of work done since the start, such as ``names_scored``."""
        return {}

    def model_time(self) -> datetime | None:
        """Return when the model in use was made, UTC without a zone; None without a model."""
        return None
