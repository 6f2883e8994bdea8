"""Logs that are given once, as files or folders."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from dnsvigil.sources.decompressed import BrokenFileError, DecompressedFile
from dnsvigil.sources.folders import files_below
from dnsvigil.sources.zeek.head import Head
from dnsvigil.sources.zeek.log_types import LogType
from dnsvigil.sources.zeek.options import STOCK, LogOptions
from dnsvigil.sources.zeek.recognition import describe, first_log_type
from dnsvigil.sources.zeek.skip_reasons import MAX_LINE

_EPOCH: Final = re.compile(rb"(?<![\w.-])(\d{10}\d{0,9})(?![\w:-])")
_ISO: Final = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d")


def given_logs(path: Path, options: LogOptions = STOCK) -> Iterator[tuple[Path, str]]:
    """Yield the given file, or each file below the given folder; of a file that is no log to read, in words what it is.

    A file that cannot be read is yielded as a log, for the reader to report it, and so is the file that is given
    itself. Raises ``OSError`` for a path that is not there, or is neither a folder nor a regular file.
    """
    for file in files_below(path):
        try:
            found, description = (True, "") if file == path else _first_lines(file, options)
        except OSError:
            found, description = True, ""
        yield file, "" if found else description


def in_order_of_time(paths: Iterable[Path]) -> list[Path]:
    """Return logs in the order of their first records, as far as the times in these can be read."""
    return sorted(paths, key=_first_time)


def _first_time(path: Path) -> float:
    try:
        line = Head.of(path).records.partition(b"\n")[0]
    except OSError:
        return 0.0
    if epoch := _EPOCH.search(line):
        return int(epoch[1][:10])
    try:
        return datetime.fromisoformat(f"{_ISO.findall(line)[0].decode()}+00:00").timestamp()
    except (IndexError, ValueError):
        return 0.0


def describe_file(path: Path, options: LogOptions = STOCK) -> str:
    """Return in words what a file is in which no log is recognized. Raises ``OSError``."""
    return _first_lines(path, options)[1]


def _first_lines(path: Path, options: LogOptions) -> tuple[LogType | None, str]:
    """Return which log a file is by its first lines, and in words what these are."""
    try:
        with DecompressedFile(path) as content:
            content.skip_hole()
            head = content.read(2 * MAX_LINE)
    except BrokenFileError:
        return None, "compressed data of which nothing can be read"
    return first_log_type(head, options), describe(head, options)
