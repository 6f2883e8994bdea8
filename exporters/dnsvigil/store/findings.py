"""Findings in the store: what is wrong, with whom, how badly, and what shows it.

What is found again while it is open stays one finding, with a count; it closes when it is not found any more.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

from dnsvigil.records import OTHER, SEVERITIES, SUBJECT_TYPES
from dnsvigil.store.store import Store

KEPT: Final = 10_000
"""How many findings the store has at most."""

LISTED: Final = 1000
"""How many are listed at most."""

QUIET: Final = timedelta(hours=1)
"""A finding that has not been found for so long is closed."""

STATES: Final = ("open", "closed")

_MAX_SUBJECT: Final = 1024  # characters: a name of 255 octets has up to 1020, escaped
_MAX_EVIDENCE: Final = 16 << 10  # bytes of JSON
_MAX_DETECTORS: Final = 50  # that are told apart in counts

_SCHEMA: Final = """
CREATE SEQUENCE IF NOT EXISTS finding_ids;
CREATE TABLE IF NOT EXISTS findings (
    id BIGINT, detector VARCHAR, subject_type VARCHAR, subject VARCHAR, score DOUBLE, severity VARCHAR,
    first_seen TIMESTAMP, last_seen TIMESTAMP, count BIGINT, evidence VARCHAR, state VARCHAR, why VARCHAR
);
"""
_BY_WEIGHT: Final = f"list_position({list(SEVERITIES)}, severity) DESC, score DESC, last_seen DESC, id"

Read = Callable[..., list[Any]]
"""Returns the rows of a query with the values that are bound in it, as :meth:`dnsvigil.store.store.Store.rows`."""


@dataclass(frozen=True)
class Finding:
    """One finding. Times are UTC without a zone.

    Raises ``ValueError`` where one of its parts is not what it must be.
    """

    detector: str  # letters, digits, - and _
    subject_type: str  # one of SUBJECT_TYPES
    subject: str
    score: float  # 0 to 1
    severity: str  # one of SEVERITIES
    first_seen: datetime
    last_seen: datetime
    evidence: Mapping[str, Any]  # as JSON has it
    count: int = 1  # how often it was found
    state: str = "open"  # one of STATES
    why: str | None = None  # it is not open any more
    id: int | None = None  # which the store gives

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", self.detector):
            raise ValueError("detector: expected 1 to 64 letters, digits, - or _")
        if self.subject_type not in SUBJECT_TYPES:
            raise ValueError(f"subject_type: expected one of {', '.join(SUBJECT_TYPES)}")
        if not 0 < len(self.subject) <= _MAX_SUBJECT:
            raise ValueError(f"subject: expected 1 to {_MAX_SUBJECT} characters")
        if not (math.isfinite(self.score) and 0 <= self.score <= 1):
            raise ValueError("score: expected a number from 0 to 1")
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity: expected one of {', '.join(SEVERITIES)}")
        try:
            self.subject.encode()
            size = len(_json(self.evidence))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"subject, evidence: {error}") from None
        if size > _MAX_EVIDENCE:
            raise ValueError(f"evidence: {size:,} bytes, of which {_MAX_EVIDENCE:,} may be")

    def record(self) -> dict[str, Any]:
        """Return the finding as JSON has it."""
        times = {name: f"{getattr(self, name):%Y-%m-%dT%H:%M:%SZ}" for name in ("first_seen", "last_seen")}
        return vars(self) | times


_COLUMNS: Final = tuple(field.name for field in fields(Finding))


class Findings:
    """The findings in one store. Whoever changes them has begun a transaction."""

    def __init__(self, store: Store) -> None:
        """Raises :class:`dnsvigil.store.store.StoreError`."""
        self._store = store
        with store.transaction():
            store.connection.execute(_SCHEMA)

    def put(self, finding: Finding) -> int:
        """Add a finding to the open one of the same detector and subject, or as a new one; return its id.

        Score and severity are the greatest that were found, the evidence is the newest. Where there are more than
        ``KEPT``, those not found for longest are dropped, closed ones before open ones.
        """
        key = [finding.detector, finding.subject_type, finding.subject]
        where = "WHERE state = 'open' AND detector = ? AND subject_type = ? AND subject = ?"
        for old in _select(self._store.rows, where, *key):
            newest = max(finding, old, key=lambda each: each.last_seen)
            changed = {
                "score": max(old.score, finding.score),
                "severity": max(old.severity, finding.severity, key=SEVERITIES.index),
                "first_seen": min(old.first_seen, finding.first_seen),
                "last_seen": newest.last_seen,
                "count": old.count + finding.count,
                "evidence": _json(newest.evidence),
            }
            update = f"UPDATE findings SET {', '.join(f'{name} = ?' for name in changed)} WHERE id = ?"
            self._store.connection.execute(update, [*changed.values(), old.id])
            assert old.id
            return old.id
        ((number,),) = self._store.rows("SELECT nextval('finding_ids')")
        values = (vars(finding) | {"id": number, "evidence": _json(finding.evidence)}).values()
        self._store.rows(
            f"INSERT INTO findings ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(values))})", *values
        )
        self._forget()
        return int(number)

    def close_quiet(self, now: datetime) -> int:
        """Close what has not been found for ``QUIET``; return how many."""
        update = "UPDATE findings SET state = 'closed', why = 'quiet' WHERE state = 'open' AND last_seen < ?"
        ((closed,),) = self._store.rows(update, now - QUIET)
        return int(closed)

    def _forget(self) -> None:
        ((kept,),) = self._store.rows("SELECT count(*) FROM findings")
        if kept > KEPT:
            least = "SELECT id FROM findings ORDER BY state = 'open', last_seen, id LIMIT ?"
            dropped = self._store.rows(f"DELETE FROM findings WHERE id IN ({least}) RETURNING state", kept - KEPT)
            self._store.count_values("findings_dropped", "", Counter(state for (state,) in dropped))


def findings_in(read: Read, state: str) -> list[Finding]:
    """Return the findings in a state, the ``LISTED`` worst, the worst first."""
    return _select(read, f"WHERE state = ? ORDER BY {_BY_WEIGHT} LIMIT {LISTED}", state)


def finding_with(read: Read, number: int) -> Finding | None:
    """Return the finding with an id, whatever its state."""
    return next(iter(_select(read, "WHERE id = ?", number)), None)


def count_open(read: Read) -> dict[tuple[str, str], int]:
    """Return how many findings are open, by detector and severity.

    The detectors with the most stand by themselves, the rest together as ``other``.
    """
    found: Counter[tuple[str, str]] = Counter()
    rows = read("SELECT detector, severity, count(*) FROM findings WHERE state = 'open' GROUP BY ALL ORDER BY ALL")
    by_detector: Counter[str] = Counter()
    for detector, _, count in rows:
        by_detector[detector] += count
    most = {detector for detector, _ in by_detector.most_common(_MAX_DETECTORS)}
    for detector, severity, count in rows:
        found[detector if detector in most else OTHER, severity] += count
    return dict(found)


def _select(read: Read, condition: str, *bound: Any) -> list[Finding]:
    rows = read(f"SELECT {', '.join(_COLUMNS)} FROM findings {condition}", *bound)
    found = (dict(zip(_COLUMNS, row, strict=True)) for row in rows)
    return [Finding(**row | {"evidence": json.loads(row["evidence"])}) for row in found]


def _json(evidence: Mapping[str, Any]) -> str:
    return json.dumps(evidence, allow_nan=False, separators=(",", ":"))
