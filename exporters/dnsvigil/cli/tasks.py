"""What Spark's tasks read: logs and files in portions, and what became of them."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from dnsvigil.cli.totals import Total
from dnsvigil.config.collector import Config
from dnsvigil.ingest.flow_files import digest_of_new
from dnsvigil.records import Cursor
from dnsvigil.sources.netflow.follower import pending_file
from dnsvigil.sources.remote.uri import named
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.given import in_order_of_time
from dnsvigil.sources.zeek.options import LogOptions
from dnsvigil.sources.zeek.pending import pending_log
from dnsvigil.store.flow_files import FlowFiles

if TYPE_CHECKING:
    import pyarrow as pa


log = logging.getLogger(__name__)

_PORTION: Final = 32 * 2**20
"""Bytes of files that a task reads at most, unless there is one file that has more."""


Files: TypeAlias = Sequence[Path]


@dataclass
class Read:
    """What became of some files."""

    total: Total = field(default_factory=Total)
    unread: list[Path] = field(default_factory=list)
    messages: list[tuple[int, str]] = field(default_factory=list)  # what was logged: levels and texts


def portions(groups: Iterable[Files], slots: int) -> list[Files]:
    """Return the files for each task, where so many run at once; those of a group stay together."""
    sized = [(list(group), sum(map(_size, group))) for group in groups]
    limit = min(_PORTION, sum(size for _, size in sized) // (2 * slots))
    found: list[list[Path]] = []
    left = 0
    for group, size in sized:
        if size > left:
            found.append([])
            left = limit
        found[-1] += group
        left -= size
    return [*found]


def same_logs(
    logs: Files, config: Config, options: LogOptions, known: Iterable[Cursor] = (), read: Read | None = None
) -> list[tuple[Files, list[Cursor]]]:
    """Return logs by what they begin with, as of copies each record counts once, and the cursors that are known.

    Those that were read to their ends are left out, and count as known in ``read``.
    """
    before = {cursor.id: cursor for cursor in known}
    cursors = Cursors(before.values())
    found: dict[str, list[Path]] = defaultdict(list)
    for path in in_order_of_time(logs):
        try:
            file = pending_log(path, cursors, config.sources.logs, options)
            if read and file.read:
                read.total.known.append(path)
                continue
            same = file.cursor.id
        except OSError:
            same = str(path)  # the reader says so
        found[same].append(path)
    return [(files, [before[same]] if same in before else []) for same, files in found.items()]


def same_flows(files: Files, known: FlowFiles) -> tuple[list[Files], list[Path]]:
    """Return flow files by what may be copies of one, which have its name or its content, and those that are known."""
    found: dict[str, list[Path]] = defaultdict(list)
    names: dict[str, str] = {}  # of those that have the same content, that of the first
    before = []
    for path in files:
        try:
            digest = digest_of_new(pending_file(path), known)
        except OSError:
            digest = str(path)  # the reader says so
        if digest is None:
            before.append(path)
        else:
            found[names.setdefault(digest, path.name)].append(path)
    return [*found.values()], before


@contextmanager
def heard(messages: list[tuple[int, str]]) -> Iterator[None]:
    """Collect what is logged."""
    handler = logging.Handler()
    handler.emit = lambda record: messages.append((record.levelno, named(record.getMessage())))  # type: ignore[method-assign]
    logger = logging.getLogger("dnsvigil")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def task_read(
    rows: "Callable[[Files, Read], Iterator[tuple[str, pa.Table]]]", files: Files, report: Callable[[Read], None]
) -> "Iterator[tuple[str, pa.Table]]":
    """Yield what files have, in a task, and report what became of them."""
    read = Read()
    with heard(read.messages):
        yield from rows(files, read)
    report(read)


def all_of(reports: Sequence[Read]) -> Read:
    """Add reports up, and log what was logged in tasks."""
    found = Read()
    messages = (message for each in reports for message in each.messages)
    for level, text in dict.fromkeys(messages):  # what is wrong with a worker, each of its tasks says
        log.log(level, "%s", text)
    for each in reports:
        found.total.add(each.total)
        found.unread += each.unread
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # the reader says so
