"""Replay a dns.log as a live Zeek would write it: now, growing, and rotated into folders by day."""

from __future__ import annotations

import gzip
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from . import zeeklog

FLUSH_SECONDS = 0.1
"""Lines that fall due within this time are written and flushed together."""

_JSON_TS = re.compile(rb'"ts":([0-9.]+)')


class LiveLog:
    """``current/dns.log`` (or another ``log``) under a folder, written as a Zeek does that ZeekControl looks after.

    A file opens with the first line to write and is rotated at whole multiples of ``rotate`` seconds since the
    epoch: it gets its ``#close`` and is renamed to ``YYYY-MM-DD/dns.HH:MM:SS-HH:MM:SS.log`` (local time), and
    ``compress_after`` seconds later gzip takes its place. What an earlier run left in ``current`` is archived
    first.
    """

    def __init__(
        self,
        into: Path,
        *,
        columns: zeeklog.Columns | None,
        rotate: float = 0,
        compress_after: float = 2,
        clock: Callable[[], float] = time.time,
        log: str = "dns",
    ) -> None:
        """Write TSV with these columns, or JSON without any; 0 seconds is no rotation."""
        self.path = into / "current" / f"{log}.log"
        self._log = log
        self._into = into
        self._columns = columns
        self._rotate = rotate
        self._compress_after = compress_after
        self._clock = clock
        self._stream: BinaryIO | None = None
        self._opened = 0.0
        self._to_compress: list[tuple[float, Path]] = []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            left = self.path.stat().st_mtime
            self._archive(left, left)

    def __enter__(self) -> LiveLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, lines: list[bytes]) -> None:
        """Append lines, flushed, after whatever rotation and compression is due."""
        now = self._clock()
        self._keep_house(now)
        if not lines:
            return
        if self._stream is None:
            self._stream = self.path.open("wb")
            self._opened = now
            if self._columns:
                self._stream.write(zeeklog.header(now, self._columns.pairs, self._log))
        self._stream.writelines(lines)
        self._stream.flush()

    def close(self) -> None:
        """End the file as Zeek does when it stops; where the log rotates, archive it as well."""
        now = self._clock()
        self._end_file(now)
        if self._rotate and self.path.exists():
            self._archive(self._opened, now)
        self._compress(float("inf"))

    def _keep_house(self, now: float) -> None:
        if self._rotate and self._stream:
            boundary = (self._opened // self._rotate + 1) * self._rotate
            if now >= boundary:
                self._end_file(boundary)
                self._archive(self._opened, boundary)
        self._compress(now)

    def _end_file(self, closed: float) -> None:
        if self._stream:
            if self._columns:
                self._stream.write(zeeklog.footer(closed))
            self._stream.close()
            self._stream = None

    def _archive(self, opened: float, closed: float) -> None:
        begin, end = time.localtime(opened), time.localtime(closed)
        folder = self._into / time.strftime("%Y-%m-%d", begin)
        folder.mkdir(exist_ok=True)
        target = folder / time.strftime(f"{self._log}.%H:%M:%S-", begin)
        target = target.with_name(target.name + time.strftime("%H:%M:%S.log", end))
        self.path.rename(target)
        self._to_compress.append((closed + self._compress_after, target))

    def _compress(self, now: float) -> None:
        while self._to_compress and self._to_compress[0][0] <= now:
            _, plain = self._to_compress.pop(0)
            # As gzip(1) does: for a moment, both files are there.
            with plain.open("rb") as source, gzip.open(f"{plain}.gz", "wb") as packed:
                shutil.copyfileobj(source, packed)
            plain.unlink()


def replay(
    log: Path,
    into: Path,
    *,
    speed: float = 1,
    loop: bool = False,
    rotate: float = 0,
    json: bool = False,
    compress_after: float = 2,
    clock: Callable[[], float] = time.time,
) -> Generator[float, None, None]:
    """Write the records of a log (TSV or JSON, plain or gzip) into ``into/current/dns.log`` as they fall due.

    Time stamps are shifted so that the first record is now, and their spacing is divided by ``speed``;
    everything else in a record stays as it is. With ``json`` a TSV log comes out as Zeek's JSON; a JSON log always
    does.

    After each write yields the seconds to wait for the next one. To close the generator, or to use it up, ends
    the file as Zeek does. A test drives it with a clock of its own::

        for pause in replay(log, into, clock=lambda: now[0]):
            now[0] += pause

    Raises ValueError where the log is not Zeek's, is empty, or where speed or rotate make no sense.
    """
    if speed <= 0:
        raise ValueError(f"speed {speed}: must be more than 0")
    if rotate and rotate < 1:
        raise ValueError(f"rotate {rotate}: the names of rotated files tell seconds, so at least 1")
    columns = zeeklog.read_columns(log)
    if next(zeeklog.lines(log), None) is None:
        raise ValueError(f"{log}: no records")
    convert = columns.to_json() if columns and json else None
    kept = None if json else columns
    with LiveLog(into, columns=kept, rotate=rotate, compress_after=compress_after, clock=clock) as live:
        waiting: list[bytes] = []
        for due, line in _shifted(log, columns, clock(), speed, loop):
            while due - (now := clock()) > 0:
                live.write(waiting)
                waiting = []
                yield min(max(due - now, FLUSH_SECONDS), 1.0)
            waiting.append(convert(line) if convert else line)
        live.write(waiting)


def _shifted(
    log: Path, columns: zeeklog.Columns | None, start: float, speed: float, loop: bool
) -> Iterator[tuple[float, bytes]]:
    """Yield when each line falls due, and the line with its new time stamp.

    Zeek writes a query that got no answer when it gives up on it, so a log is not sorted by time: a line falls
    due no earlier than those before it.
    """
    while True:
        first: float | None = None
        latest = start
        for line in zeeklog.lines(log):
            text = line.split(b"\t", 1)[0] if columns else _json_ts(line)
            stamp = float(text)
            if first is None:
                first = stamp
            shifted = start + (stamp - first) / speed
            latest = max(latest, shifted)
            yield latest, line.replace(text, b"%.6f" % shifted, 1)
        if not loop:
            return
        # A pause, so that a log of a single moment does not come out without end in no time.
        start = latest + FLUSH_SECONDS


def _json_ts(line: bytes) -> bytes:
    found = _JSON_TS.search(line)
    if not found:
        raise ValueError(f"a record without a ts in seconds: {line[:80]!r}")
    return found[1]


def run(log: Path, into: Path, *, speed: float, loop: bool, rotate: float, json: bool) -> None:
    """Replay in real time until the log ends, or SIGINT or SIGTERM arrives; then end the file cleanly."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    steps = replay(log, into, speed=speed, loop=loop, rotate=rotate, json=json)
    try:
        for pause in steps:
            if stop.wait(pause):
                break
    finally:
        steps.close()
