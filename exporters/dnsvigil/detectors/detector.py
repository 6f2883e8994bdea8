"""The interface of detectors, which read tables of features and report suspicious behaviour.

A detector has no state that must survive a restart. Its results follow from the tables, the configuration and its
model, so a collector that is killed and restarted reports the same.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from dnsvigil.config.collector import Config
from dnsvigil.detectors.labelled import Labelled
from dnsvigil.store.store import Read

THRESHOLD = 0.5
"""An anomaly with at least this score is a finding, unless the configuration has another threshold for its detector."""


@dataclass(frozen=True)
class Anomaly:
    """One subject's score, with the evidence."""

    subject_type: str  # one of dnsvigil.records.SUBJECT_TYPES
    subject: str
    score: float  # 0 to 1; a detector's page in docs/detectors says what its scores mean
    severity: str  # one of dnsvigil.records.SEVERITIES
    first_seen: datetime  # UTC without a zone, as the next
    last_seen: datetime
    evidence: Mapping[str, Any]
    """The evidence, as JSON has it. ``domains`` lists the registered domains that the finding is based on,
    the most significant first: a dismissal of the finding applies to others that are based on the same."""
    detector: str | None = None
    """The name that it is reported under, if it is not the detector's own: a detector may also find something else."""

    severity_ends: bool = False
    """Whether the severity is what it is now, and the finding's follows it down, too; else the worst so far stays."""


@dataclass(frozen=True)
class Context:
    """What a detector may use."""

    state: Path  # the collector's folder; models lie below ``models``
    config: Config


class Detector(ABC):
    """A detector. The collector makes one instance at each start, whose constructor may raise any exception."""

    name: ClassVar[str]
    """The name in metrics and findings: letters, digits, - and _."""

    reads: ClassVar[Sequence[str]]
    """The tables of the store that :meth:`evaluate` reads; docs/detectors lists all tables."""

    every: ClassVar[timedelta] = timedelta(minutes=1)
    """The event time between two evaluations."""

    labelled: ClassVar[Labelled | None] = None
    """The labelled examples that it compares with, if it does; ``dnsvigil train`` adds the operator's own."""

    learns: ClassVar[str] = "nothing that can be trained"
    """What it learns, in words, for ``dnsvigil evaluate``; not used where it has labelled examples."""

    @abstractmethod
    def __init__(self, context: Context) -> None: ...

    @abstractmethod
    def evaluate(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        """Return the anomalies at ``now``, the event time, UTC without a zone.

        ``read(query, *bound)`` returns the rows of a DuckDB query. Where a table is by the hour, its rows with
        ``hour < now`` count, so that the end of an hour can be evaluated after later rows have arrived. Subjects with a
        score below the threshold may be returned, too: /metrics has the highest scores.
        """

    def problems(self) -> Sequence[str]:
        """Return descriptions of what restricts the detector's work; nothing if all is well."""
        return ()

    def limits(self) -> Sequence[str]:
        """Return descriptions of what the detector works without, though it would find more with it."""
        return ()

    def lacks(self, read: Read, now: datetime) -> Sequence[str]:
        """Return what of its input is missing at ``now``, so that it cannot find all that it could.

        Each is a label: a few words in lower case, always the same for the same cause. Asked after each evaluation.
        """
        return ()

    def learning(self, read: Read, now: datetime) -> str:
        """Return what the detector still has to learn at ``now``, until when its scores mean less; empty for nothing.

        Asked after each evaluation.
        """
        return ""

    def counts(self) -> Mapping[str, int]:
        """Return counters of work done since the start, such as ``names_scored``."""
        return {}

    def model_time(self) -> datetime | None:
        """Return when the model in use was made, UTC without a zone; None without a model."""
        return None
