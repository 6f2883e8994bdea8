"""Which files of passive DNS become one, and the process that does it: hours, then days, then months."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from dnsvigil.engines.compaction import Result
from dnsvigil.store.passive_dns import PassiveDns, TupleFiles
from dnsvigil.store.tuple_file import Written
from dnsvigil.system.programs import environment

log = logging.getLogger(__name__)

MAX_INPUTS: Final = 64
"""The maximum number of files that are merged at once; each takes two megabytes of memory."""

_HOUR, _DAY, MONTH = 1, 2, 3
_RETRY_SECONDS: Final = 300.0
_FULL: Final = 0.9  # of the size bound, at which the tuples seen least are dropped


@dataclass(frozen=True)
class Compaction:
    """Files that become one of a level and period."""

    inputs: Sequence[TupleFiles]
    level: int
    period: datetime
    above: int = 0  # tuples that were seen so often or less are dropped


def due(files: Sequence[TupleFiles], newest: datetime, max_size: int) -> Compaction | None:
    """Return what is to be done next, None where nothing is.

    The files of a period that is over become one, those of a month first if they are not too many. Where all together
    are near ``max_size`` bytes, the file that was thinned least, and the oldest of those, loses the tuples seen least.
    """
    return next(_periods(files, newest), None) or _thinning(files, max_size)


def begin_of(time: datetime, level: int) -> datetime:
    """Return when the hour, day or month began, by level."""
    hour = time.replace(minute=0, second=0, microsecond=0)
    return hour if level == _HOUR else hour.replace(hour=0) if level == _DAY else hour.replace(hour=0, day=1)


def _periods(files: Sequence[TupleFiles], newest: datetime) -> Iterator[Compaction]:
    for level in (MONTH, _DAY, _HOUR):
        groups: dict[datetime, list[TupleFiles]] = {}
        for file in files:
            period = begin_of(file.period, level)
            if file.level < level and period < begin_of(newest, level):
                groups.setdefault(period, []).append(file)
        for period, group in sorted(groups.items()):
            if len(group) <= MAX_INPUTS:
                yield Compaction(group, level, period, max(each.above for each in group))
    lowest = [file for file in files if file.level == 0]
    if len(lowest) > MAX_INPUTS:
        yield Compaction(lowest[:MAX_INPUTS], 0, lowest[MAX_INPUTS - 1].period)


def _thinning(files: Sequence[TupleFiles], max_size: int) -> Compaction | None:
    if sum(file.size for file in files) <= _FULL * max_size:
        return None
    file = min(files, key=lambda file: (file.above, file.period))
    return Compaction([file], file.level, file.period, max(1, 2 * file.above))


class Compactor:
    """Runs one compaction at a time in a process of its own."""

    def __init__(self, tuples: PassiveDns, max_size: int) -> None:
        self._tuples = tuples
        self._max_size = max_size
        self._running: tuple[subprocess.Popen[bytes], Compaction, str] | None = None
        self._retry = 0.0  # monotonic
        self._idle = False  # since the files are as they are
        self.failures = 0

    def changed(self) -> None:
        """Take note that there are other files, or that a period is over."""
        self._idle = False

    def close(self) -> None:
        """End the process that runs."""
        if self._running:
            process = self._running[0]
            process.kill()
            process.communicate()
            self._running = None

    def step(self, newest: datetime) -> tuple[Compaction, Result, str] | None:
        """Begin what is due, or return what is done: with its result, and the stem of the output.

        Raises :class:`dnsvigil.store.store.StoreError`.
        """
        if self._running:
            if self._running[0].poll() is None:
                return None
            return self._finish()
        if self._idle or time.monotonic() < self._retry:
            return None
        job = due(self._tuples.files(), newest, self._max_size)
        if job is None:
            self._idle = True
        elif len(job.inputs) == 1 and job.above == job.inputs[0].above:
            self._tuples.raise_level(job.inputs[0].stem, job.level, job.period)
        else:
            self._start(job)
        return None

    def wait(self) -> bool:
        """Wait for the process; return whether one ran or may be due."""
        if self._running:
            self._running[0].wait()
        return bool(self._running) or not (self._idle or time.monotonic() < self._retry)

    def _start(self, job: Compaction) -> None:
        stem = self._tuples.new_stem()
        paths = [str(self._tuples.path(each.stem)) for each in job.inputs]
        given = {"inputs": paths, "output": str(self._tuples.path(stem)), "above": job.above}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dnsvigil.engines.compaction"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment() | {"PYTHONPATH": ":".join(folder for folder in sys.path if folder.startswith("/"))},
        )
        self._running = (process, job, stem)
        # The pipe stays open: the process ends when it closes, as it does when this one is killed.
        if process.stdin:
            with suppress(OSError):
                process.stdin.write(json.dumps(given).encode() + b"\n")
                process.stdin.flush()

    def _finish(self) -> tuple[Compaction, Result, str] | None:
        assert self._running
        process, job, stem = self._running
        self._running = None
        output, _ = process.communicate()
        if process.returncode != 0:
            self.failures += 1
            self._retry = time.monotonic() + _RETRY_SECONDS
            log.error(
                "passive DNS: %d files could not be merged (exit status %d); trying again in %.0f s",
                *(len(job.inputs), process.returncode, _RETRY_SECONDS),
            )
            return None
        self._idle = False
        return job, _result(json.loads(output)), stem


def _result(found: dict[str, Any]) -> Result:
    unreadable = found["unreadable"]
    written = {order: Written(**fields) for order, fields in found["written"].items()}
    return Result(written, found["left_out"], tuple(unreadable) if unreadable else None)
