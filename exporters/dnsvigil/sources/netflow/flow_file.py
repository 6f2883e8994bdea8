"""One flow file: what it is known by, the time and the exporter that its name and folders report, and its header."""

import hashlib
import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final

from dnsvigil.records import FLOW_SLOT_SECONDS
from dnsvigil.sources.folders import files_below
from dnsvigil.sources.netflow.process import NFDumpError
from dnsvigil.system.files import open_file

MAX_NAME: Final = 64
"""Characters of an exporter's name."""

HEADER: Final = Struct("<HHIqBBHIqII")
"""The header of a file; it begins with :data:`MAGIC` and one of :data:`LAYOUTS`."""

MAGIC: Final = 0xA50C
LAYOUTS: Final = (1, 2)

ENDS: Final = 64 * 1024
"""Bytes from the beginning and the end of a file that it is known by."""

_FINISHED: Final = re.compile(r"nfcapd\.(\d{12})(\d\d)?([+-]\d{4})?")
_UNFINISHED: Final = "nfcapd.current"
_DATE_PART: Final = re.compile(r"\d{1,4}|\d{4}-\d\d-\d\d")  # of the folders that nfcapd -S makes


class UnfinishedFileError(NFDumpError):
    """The file is still being written."""


def is_finished(name: str) -> bool:
    """Return whether a name is one that nfcapd gives a file when it is complete."""
    return bool(_FINISHED.fullmatch(name))


def begin_of(name: str) -> datetime | None:
    """Return the time in a file's name, in UTC; None where there is none.

    nfcapd writes the machine's local time, or (``-Z``) local time and its distance from UTC.
    """
    if not (match := _FINISHED.fullmatch(name)):
        return None
    digits, seconds, zone = match.groups()
    try:
        when = datetime.strptime(digits + (seconds or "00") + (zone or ""), "%Y%m%d%H%M%S" + ("%z" if zone else ""))
        return when.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def slot_of(when: datetime) -> datetime:
    """Return the beginning of the slot that a time lies in."""
    return when - (when - datetime.min) % timedelta(seconds=FLOW_SLOT_SECONDS)


def in_order(files: Iterable[Path]) -> list[Path]:
    """Return flow files, oldest first."""
    return sorted(files, key=lambda file: (begin_of(file.name) or datetime.min, file))


def flow_exporter_of(path: Path) -> str:
    """Return the exporter of a file that does not name it: the nearest folder that is not part of a date."""
    return next((part for part in reversed(path.parent.parts[1:]) if not _DATE_PART.fullmatch(part)), "unknown")


def flow_exporter_label(name: str) -> str:
    """Return an exporter's name as a label: unprintable characters escaped, at most :data:`MAX_NAME` characters."""
    escaped = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)
    return escaped[:MAX_NAME]


def fingerprint(path: Path) -> str:
    """Return what a file is known by, whatever its name: its size, first and last 64 KiB. Raises ``OSError``."""
    with open_file(path) as file:
        digest = hashlib.sha256(file.read(ENDS))
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - ENDS, 0))
        digest.update(file.read(ENDS))
    return f"{size}:{digest.hexdigest()}"


def is_flow_file(path: Path) -> bool:
    """Return whether a file begins as nfdump's do. Raises :class:`OSError`."""
    with open_file(path) as file:
        head = file.read(4)
    return int.from_bytes(head[:2], "little") == MAGIC and int.from_bytes(head[2:], "little") in LAYOUTS


def check_finished(path: Path, file: BinaryIO) -> None:
    """Raise :class:`UnfinishedFileError` where nfcapd still writes to ``file``, just opened from ``path``."""
    head = file.read(HEADER.size)
    unfinished = path.name.startswith(_UNFINISHED)
    if len(head) == HEADER.size:
        magic, layout, *_, appendix, _, blocks = HEADER.unpack(head)
        # Both numbers are written when the file is closed.
        unfinished |= (magic, layout, appendix, blocks) == (MAGIC, 2, 0, 0)
    if unfinished:
        raise UnfinishedFileError(f"{path} is still being written")


def given_files(path: Path) -> list[Path]:
    """Return the files of :func:`dnsvigil.sources.folders.files_below`, oldest first.

    Files below a folder that nfcapd still writes are left out. Raises ``OSError``.
    """
    return in_order(file for file in files_below(path) if file == path or not file.name.startswith(_UNFINISHED))


def flow_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the finished flow files in ``folder`` and in the folders below it, oldest first.

    nfcapd writes to ``nfcapd.current.PID`` and renames the file to its time when it is complete; files of other names
    are left out. Raises :class:`NFDumpError` where the folder cannot be read.
    """
    try:
        list(Path(folder).iterdir())  # rglob passes over a folder that it cannot read
        found = [path for path in Path(folder).rglob("nfcapd.*") if is_finished(path.name)]
    except OSError as error:
        raise NFDumpError(f"{folder}: {error.strerror}") from error
    return sorted(found, key=lambda path: (path.name, path))
