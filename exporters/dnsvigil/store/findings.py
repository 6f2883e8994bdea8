"""Findings in the store: the subject, the severity, and the evidence.

A finding that is found again while it is open stays one finding, with a count. Its score decays, and it closes when
nothing confirms it any more. A dismissed finding, and similar ones, are not made again until the dismissal ends. What
is found after that opens it again.
"""

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv6Address, IPv6Network
from typing import Any, Final

from dnsvigil.records import FINDING_STATES, OTHER, SEVERITIES, SUBJECT_TYPES
from dnsvigil.store import counters
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.finding_events import SCHEMA as EVENTS
from dnsvigil.store.finding_events import Event, add_event, forget_events
from dnsvigil.store.store import Read, Store

log = logging.getLogger(__name__)

KEPT: Final = 10_000
"""The maximum number of findings in the store."""

LISTED: Final = 1000
"""The maximum number of findings in a list."""

SHOWN: Final = 100
"""The number of open findings that /metrics shows."""

QUIET: Final = timedelta(hours=1)
"""A finding that nothing has confirmed for so long is closed."""

HALF_LIFE: Final = timedelta(hours=1)
"""The time after which the score of an unconfirmed finding is halved."""

DISMISSED_FOR: Final = timedelta(days=30)
"""How long findings similar to a dismissed one are suppressed, unless the dismissal says another time."""

LONGEST_DISMISSAL: Final = timedelta(days=3653)

DISMISSALS: Final = 10_000
"""How many dismissals the store keeps, the newest ones."""

COMMAND: Final = "command line"
"""Who changes a finding in the store itself, where no collector runs."""

STATES: Final = FINDING_STATES

DROPPED: Final = CounterTable("findings_dropped", ("state",), ("findings",))
SUPPRESSED: Final = CounterTable("findings_suppressed", ("detector",), ("findings",))
COUNTERS: Final = (DROPPED, SUPPRESSED)

_MAX_SUBJECT: Final = 1024  # characters: a name of 255 octets has up to 1020, escaped
_MAX_EVIDENCE: Final = 16 << 10  # bytes of JSON
_MAX_DEPTH: Final = 16  # lists and objects within each other; their readers recurse
_MAX_WHY: Final = 1024  # characters, also of a note
_MAX_DETECTORS: Final = 50  # with counts of their own
_LEARNED: Final = 5  # domains of one dismissal to learn from: one alone should not turn a whole region of names
_MAX_LEARNED: Final = 1000  # domains of all dismissals

_COLUMNS: Final = {
    "id": "BIGINT",
    "detector": "VARCHAR",
    "subject_type": "VARCHAR",
    "subject": "VARCHAR",
    "score": "DOUBLE",
    "severity": "VARCHAR",
    "first_seen": "TIMESTAMP",
    "last_seen": "TIMESTAMP",
    "count": "BIGINT",
    "evidence": "VARCHAR",
    "state": "VARCHAR",
    "why": "VARCHAR",
    "until": "TIMESTAMP",
}
_SCHEMA: Final = f"""
CREATE SEQUENCE IF NOT EXISTS finding_ids;
CREATE TABLE IF NOT EXISTS findings ({", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())});
CREATE TABLE IF NOT EXISTS dismissals (
    detector VARCHAR, subject_type VARCHAR, subject VARCHAR, severity VARCHAR, domains VARCHAR[], why VARCHAR,
    dismissed_at TIMESTAMP, until TIMESTAMP
);
{EVENTS}
{counters.schema(COUNTERS)}"""
# What is worse than what was dismissed is news. A finding with other evidence about the same subject is not.
_LIKE: Final = f"""
    WITH found AS (
        SELECT unnest($place::BIGINT[]) AS place, unnest($detector::VARCHAR[]) AS detector,
            unnest($subject_type::VARCHAR[]) AS subject_type, unnest($subject::VARCHAR[]) AS subject,
            unnest($severity::VARCHAR[]) AS severity, unnest($domains::VARCHAR[][]) AS domains,
            unnest($seen::TIMESTAMP[]) AS seen
    ), alike AS (
        SELECT place, found.domains, old.domains AS dismissed,
            (old.subject_type, old.subject) = (found.subject_type, found.subject) AS same
        FROM found JOIN dismissals AS old ON old.detector = found.detector AND old.until >= seen
            AND list_position({list(SEVERITIES)}, old.severity) >= list_position({list(SEVERITIES)}, found.severity)
        WHERE same OR list_has_any(found.domains, old.domains)
    )
    SELECT place FROM alike GROUP BY place, domains
    HAVING bool_or(same) OR 2 * len(list_intersect(domains, flatten(list(dismissed)))) >= len(domains)
"""
BY_WEIGHT: Final = f"list_position({list(SEVERITIES)}, severity) DESC, score DESC, last_seen DESC, id"
"""The order of lists: the worst first."""

Unreadable = Callable[[str, str], None]
"""Takes which finding cannot be read, and why."""


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
    until: datetime | None = None  # the end of its dismissal
    severity_ends: bool = False  # whether the severity is that of now, not the worst so far; not stored

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", self.detector):
            raise ValueError("detector: expected 1 to 64 letters, digits, - or _")
        if self.subject_type not in SUBJECT_TYPES:
            raise ValueError(f"subject_type: expected one of {', '.join(SUBJECT_TYPES)}")
        if not 0 < len(self.subject) <= _MAX_SUBJECT:
            raise ValueError(f"subject: expected 1 to {_MAX_SUBJECT} characters")
        if not 0 <= self.score <= 1:
            raise ValueError("score: expected a number from 0 to 1")
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity: expected one of {', '.join(SEVERITIES)}")
        if not (isinstance(self.first_seen, datetime) and isinstance(self.last_seen, datetime)):
            raise ValueError("first_seen, last_seen: expected times")
        if not isinstance(self.evidence, Mapping):
            raise ValueError("evidence: expected an object")
        if not _is_flat(self.evidence, _MAX_DEPTH):
            raise ValueError(f"evidence: lists and objects more than {_MAX_DEPTH} deep within each other")
        try:
            self.subject.encode()
            size = len(_json(self.evidence))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"subject, evidence: {error}") from None
        if size > _MAX_EVIDENCE:
            raise ValueError(f"evidence: {size:,} bytes; at most {_MAX_EVIDENCE:,} are allowed")

    @property
    def domains(self) -> list[str]:
        """Return the registered domains in the evidence, each once."""
        domains = self.evidence.get("domains")
        return [*dict.fromkeys(filter(is_text, domains))] if isinstance(domains, list) else []

    def record(self) -> dict[str, Any]:
        """Return the finding as JSON has it."""
        times = {name: f"{getattr(self, name):%Y-%m-%dT%H:%M:%SZ}" for name in ("first_seen", "last_seen")}
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return columns | times | {"until": f"{self.until:%Y-%m-%dT%H:%M:%SZ}" if self.until else None}


@dataclass(frozen=True)
class Wanted:
    """Which findings to list; what is None matches all. ``since`` is UTC without a zone, and of ``last_seen``.

    An address of IPv6 as the ``subject`` matches the prefixes that it is in, too.
    """

    state: str | None = "open"
    detector: str | None = None
    severity: str | None = None
    subject_type: str | None = None
    subject: str | None = None
    since: datetime | None = None

    def condition(self) -> tuple[str, list[Any]]:
        """Return the condition in SQL, and what is bound in it."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        terms = [_TERMS.get(name, f"{name} = ?") for name in given]
        if self.subject is not None:
            given["subject"] = subjects_of(self.subject)
        return f"WHERE {' AND '.join(terms) or 'true'}", [*given.values()]


_TERMS: Final = {"since": "last_seen >= ?", "subject": "list_contains(?, subject)"}


def subjects_of(text: str) -> list[str]:
    """Return the subjects that a text stands for: for an address of IPv6 also each prefix."""
    try:
        address = IPv6Address(text)
    except ValueError:
        return [text]
    return [text, str(address), *(str(IPv6Network((address, length), strict=False)) for length in range(129))]


_Key = tuple[str, str, str]


class Findings:
    """The findings in one store. Callers that change them must have begun a transaction."""

    def __init__(self, store: Store) -> None:
        """Raises :class:`dnsvigil.store.store.StoreError`."""
        self._store = store
        store.create(_SCHEMA)

    def put(self, finding: Finding) -> int | None:
        """Add one finding, as :meth:`put_all`; return its id, or None where a similar one was dismissed."""
        (number,) = self.put_all([finding])
        return number

    def put_all(self, findings: Sequence[Finding]) -> list[int | None]:
        """Add each finding to the open one of the same detector and subject, or as a new one; return their ids.

        Its score is the greatest that was found, halved for each ``HALF_LIFE`` since; its severity is the worst, or the
        newest where it ends; its evidence is the newest. One whose dismissal ended before it was found again is open
        again. Beyond ``KEPT``, those not found for longest are dropped, closed ones before open ones. A finding has
        None as its id, and only increments a counter, if a similar one is dismissed, not to end before it was found,
        and was not less severe: the same detector's finding about the same subject, or some that rest on half of its
        domains.
        """
        if not findings:
            return []
        dismissed = self._dismissed(findings)
        wanted = [finding for place, finding in enumerate(findings) if place not in dismissed]
        kept = self._open(wanted)
        self._note_ends(kept.values())
        new = {*map(_key, wanted)} - kept.keys()
        numbers = iter(self._store.rows("SELECT nextval('finding_ids') FROM range(?)", len(new)))
        for finding in wanted:
            old = kept.get(_key(finding))
            kept[_key(finding)] = _merged(old, finding) if old else replace(finding, id=next(numbers)[0])
        self._write([*kept.values()])
        if new:
            self._forget()
        SUPPRESSED.add_rows(self._store, Counter(findings[place].detector for place in dismissed).items())
        return [None if place in dismissed else kept[_key(each)].id for place, each in enumerate(findings)]

    def close_quiet(self, now: datetime) -> int:
        """Close what has not been found for ``QUIET``; return how many."""
        update = "UPDATE findings SET state = 'closed', why = 'quiet' WHERE state = 'open' AND last_seen < ?"
        ((closed,),) = self._store.rows(update, now - QUIET)
        return int(closed)

    def dismiss(
        self, number: int, why: str, now: datetime, *, by: str = COMMAND, until: datetime | None = None
    ) -> Finding | None:
        """Dismiss the finding with an id, whatever its state, at a time, UTC without a zone; return it as it is then.

        It stays so ``until`` a time, by default for ``DISMISSED_FOR``. Returns None if there is no such finding. Raises
        ``ValueError`` if ``why`` is empty or too long, or the end is past or too far.
        """
        _check_text("why", why)
        until = now + DISMISSED_FOR if until is None else until
        if not now < until <= now + LONGEST_DISMISSAL:
            raise ValueError(f"until: expected a time to come, within {LONGEST_DISMISSAL.days:,} days")
        found = finding_with(self._store.rows, number)
        if found is None:
            return None
        values = [found.detector, found.subject_type, found.subject, found.severity, found.domains, why, now, until]
        self._store.rows("INSERT INTO dismissals VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *values)
        newest = f"SELECT rowid FROM dismissals ORDER BY dismissed_at DESC, rowid DESC LIMIT {DISMISSALS}"
        self._store.rows(f"DELETE FROM dismissals WHERE rowid NOT IN ({newest})")
        self._store.rows("UPDATE findings SET state = 'dismissed', why = ?, until = ? WHERE id = ?", why, until, number)
        add_event(self._store, number, Event(now, by, "dismissed", why, until))
        return finding_with(self._store.rows, number)

    def note(self, number: int, text: str, now: datetime, *, by: str = COMMAND) -> Finding | None:
        """Note a text on the finding with an id; return the finding, None if there is none.

        Raises ``ValueError`` for a text that is empty or too long.
        """
        _check_text("text", text)
        found = finding_with(self._store.rows, number)
        if found:
            add_event(self._store, number, Event(now, by, "noted", text))
        return found

    def reopen(self, number: int, now: datetime, *, by: str = COMMAND) -> Finding | None:
        """Take the dismissals of a finding's subject back, so that it is found again; return it as it is then.

        It is open again, or closed where the detector has another open finding about the subject. Returns None if there
        is no such finding. Raises ``ValueError`` for one that is closed, but not dismissed.
        """
        found = finding_with(self._store.rows, number)
        if found is None or found.state == "open":
            return found
        if found.state != "dismissed":
            raise ValueError(f"finding {number} is {found.state}, not dismissed")
        key = [found.detector, found.subject_type, found.subject]
        where = "WHERE detector = ? AND subject_type = ? AND subject = ?"
        self._store.rows(f"DELETE FROM dismissals {where}", *key)
        newer = self._store.rows(f"SELECT id FROM findings {where} AND state = 'open' LIMIT 1", *key)
        state, why = ("closed", f"finding {newer[0][0]} is open") if newer else ("open", None)
        self._store.rows("UPDATE findings SET state = ?, why = ?, until = NULL WHERE id = ?", state, why, number)
        add_event(self._store, number, Event(now, by, "reopened"))
        return finding_with(self._store.rows, number)

    def _dismissed(self, findings: Sequence[Finding]) -> set[int]:
        """Return the places of the findings that are like dismissed ones."""
        names = ("detector", "subject_type", "subject", "severity", "domains")
        bound: dict[str, Any] = {name: [getattr(finding, name) for finding in findings] for name in names}
        bound["place"] = [*range(len(findings))]
        bound["seen"] = [finding.last_seen for finding in findings]
        with self._store.errors():
            return {place for (place,) in self._store.connection.execute(_LIKE, bound).fetchall()}

    def _open(self, findings: Sequence[Finding]) -> dict[_Key, Finding]:
        """Return the findings with the detectors and subjects of these that are open, or whose dismissal has ended."""
        if not findings:
            return {}
        given = ", ".join(f"unnest(${place}::VARCHAR[])" for place in (1, 2, 3))
        where = (
            f"WHERE (detector, subject_type, subject) IN (SELECT {given}) AND (state = 'open' OR state = 'dismissed')"
            " ORDER BY state = 'open' DESC, id DESC"
        )
        keys = zip(*map(_key, findings), strict=True)
        seen: dict[_Key, datetime] = {}
        for finding in findings:
            seen[_key(finding)] = max(finding.last_seen, seen.get(_key(finding), finding.last_seen))
        found: dict[_Key, Finding] = {}
        for each in select_findings(self._store.rows, where, *map(list, keys)):
            if each.state == "open" or (each.until and each.until < seen[_key(each)]):
                found.setdefault(_key(each), each)
        return found

    def _note_ends(self, findings: Iterable[Finding]) -> None:
        """Note that these findings are open again, as far as they were dismissed."""
        for each in findings:
            if each.state == "dismissed" and each.id is not None and each.until:
                add_event(self._store, each.id, Event(each.until, "dnsvigil", "expired"))

    def _write(self, findings: Sequence[Finding]) -> None:
        """Put findings in the place of those with their ids, or add them."""
        if not findings:
            return
        rows = [vars(each) | {"evidence": _json(each.evidence)} for each in findings]
        columns = ", ".join(f"unnest(?::{kind}[]) AS {name}" for name, kind in _COLUMNS.items())
        self._store.rows(
            f"MERGE INTO findings USING (SELECT {columns}) AS new USING (id)"
            f" WHEN MATCHED THEN UPDATE SET {', '.join(f'{name} = new.{name}' for name in _COLUMNS if name != 'id')}"
            " WHEN NOT MATCHED THEN INSERT BY NAME",
            *([row[name] for row in rows] for name in _COLUMNS),
        )

    def _forget(self) -> None:
        ((kept,),) = self._store.rows("SELECT count(*) FROM findings")
        if kept > KEPT:
            least = "SELECT id FROM findings ORDER BY state = 'open', last_seen, id LIMIT ?"
            dropped = self._store.rows(f"DELETE FROM findings WHERE id IN ({least}) RETURNING state", kept - KEPT)
            DROPPED.add_rows(self._store, Counter(state for (state,) in dropped).items())
            forget_events(self._store)


def findings_in(read: Read, state: str, most: int = LISTED, unreadable: Unreadable | None = None) -> list[Finding]:
    """Return the ``most`` worst findings in a state, the worst first.

    One that cannot be read is left out, and reported to ``unreadable``.
    """
    return list_findings(read, Wanted(state), most, unreadable)


def list_findings(
    read: Read, wanted: Wanted, most: int = LISTED, unreadable: Unreadable | None = None
) -> list[Finding]:
    """Return the ``most`` worst of the findings that are wanted, as :func:`findings_in`."""
    condition, bound = wanted.condition()
    return select_findings(read, f"{condition} ORDER BY {BY_WEIGHT} LIMIT ?", *bound, most, unreadable=unreadable)


def count_findings(read: Read, wanted: Wanted) -> int:
    """Return how many findings are wanted, those that cannot be read included."""
    condition, bound = wanted.condition()
    ((count,),) = read(f"SELECT count(*) FROM findings {condition}", *bound)
    return int(count)


def finding_with(read: Read, number: int, unreadable: Unreadable | None = None) -> Finding | None:
    """Return the finding with an id, whatever its state.

    None is returned also for one that cannot be read, which is reported to ``unreadable``.
    """
    return next(iter(select_findings(read, "WHERE id = ?", number, unreadable=unreadable)), None)


def findings_about(read: Read, subject: str, most: int) -> list[Finding]:
    """Return the ``most`` worst findings about a subject, or with it as a text in their evidence, open ones first."""
    where = "WHERE list_contains(?, subject) OR contains(evidence, ?)"
    order = f"ORDER BY state = 'open' DESC, {BY_WEIGHT} LIMIT ?"
    return select_findings(read, f"{where} {order}", subjects_of(subject), json.dumps(subject), most)


def dismissed_domains(read: Read) -> list[str]:
    """Return the domains of dismissed findings, each once, the last dismissed first.

    They are the most significant few of each dismissal, ``_MAX_LEARNED`` at most.
    """
    query = f"SELECT unnest(domains[:{_LEARNED}]) FROM dismissals ORDER BY dismissed_at DESC, rowid DESC"
    domains = dict.fromkeys(domain for (domain,) in read(query))
    return [*domains][:_MAX_LEARNED]


def count_open(read: Read) -> dict[tuple[str, str], int]:
    """Return how many findings are open, by detector and severity.

    The detectors with the most findings have labels of their own, the rest are ``other``.
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


def select_findings(read: Read, condition: str, *bound: Any, unreadable: Unreadable | None = None) -> list[Finding]:
    """Return the findings that meet a condition in SQL, as :func:`findings_in`."""
    found = []
    for values in read(f"SELECT {', '.join(_COLUMNS)} FROM findings {condition}", *bound):
        row = dict(zip(_COLUMNS, values, strict=True))
        try:
            found.append(Finding(**row | {"evidence": json.loads(row["evidence"])}))
        except (ValueError, TypeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"
            if unreadable:
                unreadable(f"{row['id']} of {row['detector']} about {row['subject_type']} {row['subject']}", reason)
            else:
                log.warning("finding %s cannot be read and is left out: %s", row["id"], reason)
    return found


def _key(finding: Finding) -> _Key:
    return finding.detector, finding.subject_type, finding.subject


def _merged(old: Finding, finding: Finding) -> Finding:
    """Return the open finding with what was found again."""
    newest = max(finding, old, key=lambda each: each.last_seen)
    return replace(
        old,
        score=max(_decayed(each, newest.last_seen) for each in (old, finding)),
        severity=newest.severity
        if finding.severity_ends
        else max(old.severity, finding.severity, key=SEVERITIES.index),
        first_seen=min(old.first_seen, finding.first_seen),
        last_seen=newest.last_seen,
        count=old.count + finding.count,
        evidence=newest.evidence,
        state="open",
        why=None,
        until=None,
    )


def _decayed(finding: Finding, now: datetime) -> float:
    return finding.score * math.pow(2, -((now - finding.last_seen) / HALF_LIFE))  # 0 after many years


def _check_text(name: str, text: str) -> None:
    if not (text.strip() and len(text) <= _MAX_WHY and is_text(text)):
        raise ValueError(f"{name}: expected 1 to {_MAX_WHY:,} characters")


def _is_flat(value: Any, depth: int) -> bool:
    """Return whether lists and objects are nested no deeper than this, including the outermost."""
    layer = [value]
    for _ in range(depth + 1):
        layer = [part for each in layer for part in _parts(each)]
        if not layer:
            return True
    return False


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def is_text(value: Any) -> bool:
    """Return whether something is a non-empty text that can be encoded."""
    try:
        return isinstance(value, str) and bool(value.encode())
    except UnicodeEncodeError:  # half of a pair
        return False


def _json(evidence: Mapping[str, Any]) -> str:
    return json.dumps(evidence, allow_nan=False, separators=(",", ":"))
