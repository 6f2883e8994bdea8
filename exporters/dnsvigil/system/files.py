"""Opens files whose paths a user, a folder or a request names: regular files alone, and without ever waiting.

To open a FIFO waits for its writer, and a device may do anything when it is opened. So a path is checked before it is
opened, and the opened file once more, since something else may lie there by then.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotAFileError(OSError):
    """There is something, but not a regular file."""

    def __init__(self, path: Path, mode: int) -> None:
        found = _KINDS.get(stat.S_IFMT(mode), "something else")
        super().__init__(errno.EINVAL, f"it is {found}, not a regular file", str(path))

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def reason_of(error: Exception) -> str:
    """Return the message of an error, with its path if there is one, and without the system's number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an ``OSError`` name the file: one from a write, as on a full disk, names none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def path_text(path: str | os.PathLike[str]) -> str:
    """Return a path, or a part of one, as text for the store and labels: bytes that are not UTF-8 become ``\\xNN``."""
    return os.fsencode(path).decode(errors="backslashreplace")


def check_file(path: Path) -> os.stat_result:
    """Return the ``stat`` of a regular file. Raises :class:`NotAFileError`, and ``OSError`` as ``stat`` does."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise NotAFileError(path, status.st_mode)
    return status


def open_to_all(path: Path, status: os.stat_result) -> str:
    """Return a warning, with what to do, where other users may use a file that is to be secret; else nothing."""
    if not status.st_mode & stat.S_IRWXO:
        return ""
    return f"{path} is open to every user of this machine: chmod o= {path}"


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises :class:`NotAFileError`, and ``OSError`` as ``open`` does."""
    check_file(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotAFileError(path, status.st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: Path, max_bytes: int) -> bytes:
    """Return the content of a regular file. Raises as :func:`open_file`, and for more than ``max_bytes``."""
    with open_file(path) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {max_bytes:,} bytes", str(path))
    return content
