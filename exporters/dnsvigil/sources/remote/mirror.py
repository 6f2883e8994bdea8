"""Copies of files of other machines, for code that reads files.

A *mirror* is a folder with the files that are at a URI, at their true sizes and times, but hollow: each has what a log
is recognized by, what a flow file is known by, or the footer of a Parquet file. So what is there can be looked at,
sorted, and shared out. Whoever reads a file takes a copy that is :func:`whole`, on any machine, also where the mirror
is not.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final

from dnsvigil.sources.netflow.flow_file import ENDS, is_flow_file
from dnsvigil.sources.remote.stores import Content, Entry, files_of
from dnsvigil.sources.remote.uri import MIRROR, WHOLE, Uri, name_of

log = logging.getLogger(__name__)

_PART: Final = 192 * 2**10
"""Bytes that a file begins or ends with. A log is recognized by 128 kB, which compression makes little larger."""
_AT_ONCE: Final = 8
_BUFFER: Final = 2**24  # each is a request


@contextmanager
def mirrors() -> Iterator[Path]:
    """Give a folder for the mirror of a URI, which is gone afterwards."""
    with TemporaryDirectory(prefix=MIRROR) as name:
        yield Path(name)


def mirror(uri: Uri, root: Path) -> tuple[Path, list[Path]]:
    """Make the mirror of a URI in a folder, of empty files, before :func:`fill`.

    Returns where it is, and the files that cannot be there, which are logged. Raises ``OSError``, also where there is
    nothing.
    """
    path = uri.below(root)
    entries = [*files_of(uri).list(uri)]
    if not entries:
        raise OSError(errno.ENOENT, "there is no file in it", str(uri))
    return path, [file for entry in entries if (file := path / entry.name) and not _done(_make, file, entry)]


def fill(files: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Fetch what files of mirrors are looked at for, and yield each with whether that could be read.

    Those of which it could not are logged, and are gone.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for file, filled in zip(files, pool.map(partial(_done, _fill), files), strict=True):
            if not filled:
                file.unlink()
            yield file, filled


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a copy of what a path stands for in a mirror; the path itself where it is whole. Raises ``OSError``."""
    uri = Uri.of(path)
    if uri is None or (path.exists() and (WHOLE in str(path) or path.stat().st_size <= _PART)):
        yield path
        return
    with TemporaryDirectory(prefix=WHOLE) as root:
        copy = uri.below(Path(root))
        copy.parent.mkdir(parents=True)
        entry = files_of(uri).entry(uri)
        with files_of(uri).open(uri) as content, copy.open("wb") as file:
            _copy(content, file, 0, entry.size)
        os.utime(copy, ns=(entry.changed, entry.changed))
        yield copy


def at_hand(path: Path) -> AbstractContextManager[Path]:
    """Give a file to look at: the path itself, in a mirror as well, or where this is not a whole copy."""
    return nullcontext(path) if path.exists() else whole(path)


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
    before = file.stat()
    size = before.st_size
    with files_of(uri).open(uri) as content, file.open("rb+") as made:
        if file.suffix == ".parquet":
            start = max(0, size - _PART)
            _copy(content, made, start, size)
            _copy(content, made, max(0, size - _footer(made, size)), start)
        else:
            _copy(content, made, 0, min(_PART, size))
            made.flush()
            if is_flow_file(file):
                _copy(content, made, max(_PART, size - ENDS), size)
    os.utime(file, ns=(before.st_mtime_ns, before.st_mtime_ns))


def _copy(content: Content, made: BinaryIO, start: int, end: int) -> None:
    """Copy some of the bytes of a file. Raises ``OSError``, also where they are not there."""
    if start < end:
        content.seek(start)
        made.seek(start)
    while start < end and (part := content.read(min(end - start, _BUFFER))):
        made.write(part)
        start += len(part)
    if start < end:
        raise OSError(errno.EIO, "it changed while it was read")


def _footer(made: BinaryIO, size: int) -> int:
    """Return how many bytes at the end of a Parquet file say what it has; 0 where it is none."""
    made.seek(max(0, size - 8))
    end = made.read(8)
    return int.from_bytes(end[:4], "little") + 8 if end[4:] == b"PAR1" else 0
