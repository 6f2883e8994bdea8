"""Copies of files of other machines, for code that reads files.

A *mirror* is a folder with the files that are at a URI, at their true sizes and times, but hollow: each has what a log
is recognized by, what a flow file is known by, or the footer of a Parquet file. So what is there can be looked at,
sorted, and shared out. Whoever reads a file takes a copy that is :func:`whole`, on any machine, also where the mirror
is not.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final

from dnsvigil.sources.netflow.flow_file import ENDS, is_flow_file
from dnsvigil.sources.remote.stores import Content, Entry, files_of
from dnsvigil.sources.remote.uri import FOLDER, Uri, name_of

log = logging.getLogger(__name__)

_BEGIN: Final = 192 * 2**10
"""Bytes that a file begins with; a log is recognized by 128 kB at most, which compression makes little larger."""
_END: Final = 64 * 2**10
_AT_ONCE: Final = 8
_BUFFER: Final = 2**20


@contextmanager
def copies() -> Iterator[Path]:
    """Give a folder for copies, which are gone afterwards."""
    with TemporaryDirectory(prefix=FOLDER) as name:
        yield Path(name)


def mirror(uri: Uri, root: Path, chosen: Callable[[Path], Iterable[Path]]) -> tuple[Path, list[Path]]:
    """Make the mirror of a URI in a folder. Return where it is, and the files that cannot be read, which are logged.

    ``chosen`` returns which of its files are looked at, by their names alone. Raises ``OSError``, also where there is
    nothing.
    """
    path = uri.below(root)
    entries = [*files_of(uri).list(uri)]
    if not entries:
        raise OSError(errno.ENOENT, "there is no file in it", str(uri))
    unread = [file for entry in entries if (file := path / entry.name) and not _done(_make, file, entry)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        files = [*chosen(path)]
        filled = [*pool.map(lambda file: _done(_fill, file), files)]
    for file, done in zip(files, filled, strict=True):
        if not done:
            file.unlink()
            unread.append(file)
    return path, unread


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a copy of what a path stands for in a mirror; the path itself where it is in none. Raises ``OSError``."""
    uri = Uri.of(path)
    if uri is None:
        yield path
        return
    with copies() as root:
        copy = uri.below(root)
        copy.parent.mkdir(parents=True)
        with files_of(uri).open(uri) as (entry, content), copy.open("wb") as file:
            _copy(content, file, 0, entry.size)
        if copy.stat().st_size != entry.size:
            raise OSError(errno.EIO, "it changed while it was read", str(uri))
        os.utime(copy, ns=(entry.changed, entry.changed))
        yield copy


def _done(make: Callable[..., None], file: Path, *arguments: Entry) -> bool:
    """Return whether something could be done; why not is logged."""
    try:
        make(file, *arguments)
    except OSError as error:
        log.error("%s cannot be read: %s", name_of(file), error.strerror or error)
        return False
    return True


def _make(file: Path, entry: Entry) -> None:
    """Make an empty file of the size. Raises ``OSError``."""
    if entry.name and {"", ".", ".."} & {*entry.name.split("/")}:
        raise OSError(errno.EINVAL, "its name cannot be that of a file", name_of(file))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("xb") as made:
        made.truncate(entry.size)
    os.utime(file, ns=(entry.changed, entry.changed))


def _fill(file: Path) -> None:
    """Put into a file of a mirror what it is looked at for. Raises ``OSError``."""
    uri = Uri.of(file)
    assert uri
    with files_of(uri).open(uri) as (entry, content), file.open("rb+") as made:
        if file.suffix == ".parquet":
            start = max(0, entry.size - _END)
            _copy(content, made, start, entry.size)
            _copy(content, made, max(0, entry.size - _footer(made, entry.size)), start)
        else:
            _copy(content, made, 0, min(_BEGIN, entry.size))
            made.flush()
            if is_flow_file(file):
                _copy(content, made, max(_BEGIN, entry.size - ENDS), entry.size)
        made.truncate(entry.size)
    os.utime(file, ns=(entry.changed, entry.changed))


def _copy(content: Content, made: BinaryIO, start: int, end: int) -> None:
    if start < end:
        content.seek(start)
        made.seek(start)
    while start < end and (part := content.read(min(end - start, _BUFFER))):
        made.write(part)
        start += len(part)


def _footer(made: BinaryIO, size: int) -> int:
    """Return how many bytes at the end of a Parquet file say what it has; 0 where it is none."""
    made.seek(max(0, size - 8))
    end = made.read(8)
    return int.from_bytes(end[:4], "little") + 8 if end[4:] == b"PAR1" else 0
