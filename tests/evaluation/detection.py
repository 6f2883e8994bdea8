"""From made-up sessions or real logs to findings: the whole way of the data, with event time passing step by step.

    from evaluation.detection import of_logs, of_parts, watch

    watched = watch(of_parts(mixed(population.slices(start, hours=6), [bots, leak])))
    watched = watch(of_logs([Path("dns.log.gz")]), seconds=10)
    watched.first("malware")                # {"10.0.0.7": 1700000460.0, ...}: when each subject was found first
    watched.found                           # the findings, as they were in the end, each with when it appeared
    watched.scores["malware", "client", "10.0.0.7"]   # every score that was shown: [(when, score), ...]
    watched.health                          # what the runner says of each detector, at the end

A step is appended to one growing dns.log, which the real reader and the real collector take into a store in a
temporary folder; then comes the next. So what looks every minute of event time does look every minute, where steps
are no longer than that. Times are seconds since the epoch; that of a step is its end. ``config`` is the collector's
(with ``detectors.top`` large enough all scores are shown), ``state`` a folder to keep the store in, with a model in it
or the store of an earlier call.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dnsvigil.config.collector import Config, Detectors
from dnsvigil.detectors.runner import GROUP
from dnsvigil.ingest.detection import DetectionSnapshot
from dnsvigil.ingest.intake import Intake
from dnsvigil.sources.decompressed import DecompressedFile
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.pending import pending_log
from dnsvigil.sources.zeek.reader import read_batches
from dnsvigil.store.cursors import read_cursors
from dnsvigil.store.findings import Finding, findings_in
from dnsvigil.store.store import Store
from lab import zeeklog
from lab.transactions import MICROSECONDS, Transactions, lines

Key = tuple[str, str, str]
"""Detector, type of subject, subject."""

Step = tuple[float, bytes]
"""When it ends, and the lines of dns.log that come in it; a header is among those of the first."""

Steps = Callable[[float], Iterator[Step]]
"""Cuts traffic into steps of so many seconds."""


@dataclass(frozen=True)
class Found:
    """A finding as it was in the end, and when it was there first."""

    when: float
    finding: Finding


@dataclass
class Watched:
    """What became of the traffic."""

    records: int = 0
    skipped: int = 0
    found: list[Found] = field(default_factory=list)
    scores: dict[Key, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    health: Sequence[Any] = ()

    def first(self, detector: str, subject_type: str = "client") -> dict[str, float]:
        """Return when each subject was found first."""
        times: dict[str, float] = {}
        for one in sorted(self.found, key=lambda one: one.when):
            if (one.finding.detector, one.finding.subject_type) == (detector, subject_type):
                times.setdefault(one.finding.subject, one.when)
        return times


def subjects(clients: Iterable[str]) -> list[str]:
    """Return what findings about clients with these addresses are about."""
    return [Detectors().client_of(client) for client in clients]


def all_but(*names: str) -> list[str]:
    """Return the installed detectors that are not among these, to be disabled."""
    return sorted(entry_points(group=GROUP).names - {*names})


def of_parts(parts: Iterable[Transactions]) -> Steps:
    """Return the steps of the lab's transactions, which are in the order of their time."""

    def steps(seconds: float) -> Iterator[Step]:
        width = int(seconds * MICROSECONDS)
        waiting: list[Transactions] = []
        number = 0
        opened = False
        for part in parts:
            if not len(part):
                continue
            if not opened:
                yield part.ts[0] / MICROSECONDS, zeeklog.header(part.ts[0] / MICROSECONDS)
                opened = True
            places = part.ts // width
            cuts = [0, *(np.flatnonzero(np.diff(places)) + 1).tolist(), len(part)]
            for first, last in pairwise(cuts):
                if waiting and places[first] != number:
                    yield (number + 1) * seconds, b"".join(map(lines, waiting))
                    waiting = []
                number = int(places[first])
                waiting.append(part[first:last])
        if waiting:
            yield (number + 1) * seconds, b"".join(map(lines, waiting))

    return steps


def of_logs(paths: Iterable[Path]) -> Steps:
    """Return the steps of dns.log files of one form and one header, plain or compressed, in the order of time."""

    def steps(seconds: float) -> Iterator[Step]:
        head, records = b"", list[tuple[float, bytes]]()
        for path in paths:
            for line in _content(path).splitlines(keepends=True):
                if line.startswith(b"#"):
                    head += line if not records and not line.startswith(b"#close") else b""
                elif zeeklog.is_json(line):
                    ts = json.loads(line)["ts"]
                    # Zeek writes either, as LogAscii::json_timestamps has it.
                    records.append((datetime.fromisoformat(ts).timestamp() if isinstance(ts, str) else ts, line))
                else:
                    records.append((float(line.partition(b"\t")[0]), line))
        records.sort(key=lambda record: record[0])
        if head and records:
            yield records[0][0], head
        waiting: list[bytes] = []
        end = -np.inf
        for ts, line in records:
            if ts >= end:
                if waiting:
                    yield end, b"".join(waiting)
                    waiting = []
                end = (ts // seconds + 1) * seconds
            waiting.append(line)
        if waiting:
            yield end, b"".join(waiting)

    return steps


def watch(
    steps: Steps,
    *,
    config: Config | None = None,
    state: Path | None = None,
    seconds: float = 60,
    each: Callable[[float, Store], None] = lambda when, store: None,
) -> Watched:
    """Let the collector read traffic step by step, and return what was found; ``each`` is called after each step."""
    watched = Watched()
    found: dict[int, Found] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = state or Path(made)
        log = Path(made) / "lab" / "dns.log"
        log.parent.mkdir()
        log.touch()
        with Store(folder) as store, closing(Intake(store, config or Config())) as intake:
            cursors = Cursors(read_cursors(store))
            for when, data in steps(seconds):
                with log.open("ab") as file:
                    file.write(data)
                pending = pending_log(log, cursors)
                for batch in read_batches(log, pending.cursor, False, pending.log_type):
                    watched.skipped += intake.ingest([batch])[0].skipped.total()
                    watched.records += batch.read
                    cursors.put(batch.cursor)
                _look(when, store, intake, watched, found)
                each(when, store)
            intake.flush()
            _look(when, store, intake, watched, found)
    watched.found = sorted(found.values(), key=lambda one: one.when)
    return watched


def at(when: float) -> datetime:
    """Return seconds since the epoch as the store has times."""
    return datetime.fromtimestamp(when, UTC).replace(tzinfo=None)


def _look(when: float, store: Store, intake: Intake, watched: Watched, found: dict[int, Found]) -> None:
    for state in ("open", "closed"):
        for finding in findings_in(store.rows, state):
            assert finding.id is not None
            before = found.get(finding.id)
            found[finding.id] = Found(before.when if before else when, finding)
    detection = intake.snapshot().of(DetectionSnapshot)
    watched.health = detection.detectors
    for detector, subject_type, subject, score in detection.scores:
        watched.scores[detector, subject_type, subject].append((when, score))


def _content(path: Path) -> bytes:
    with DecompressedFile(path) as file:
        return b"".join(iter(lambda: file.read(1 << 20), b""))
