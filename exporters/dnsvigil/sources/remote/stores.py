"""What gives files of other machines."""

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from dnsvigil.sources.remote.uri import Uri


@dataclass(frozen=True)
class Entry:
    """A file that is there."""

    name: str  # relative to what was asked for; nothing where it is that
    size: int  # bytes
    changed: int  # nanoseconds since 1970


class Content(Protocol):
    """What is in a file."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes, none at the end."""

    def seek(self, offset: int, /) -> int:
        """Go to an offset."""


class Files(Protocol):
    """An object store, or an HDFS. All raises ``OSError`` with the reason in words and the URI."""

    def list(self, uri: Uri) -> Iterator[Entry]:
        """Yield the files below a folder, or a file itself. Raises where there is nothing."""

    def entry(self, uri: Uri) -> Entry:
        """Return what there is to know of a file. Raises where there is none."""

    def open(self, uri: Uri) -> AbstractContextManager[Content]:
        """Give a file, to read it."""


@contextmanager
def in_words(
    uri: Uri, reason: Callable[[Exception], str], kinds: tuple[type[Exception], ...] = (OSError,)
) -> Iterator[None]:
    """Have an error of some ``kinds`` be an ``OSError`` that has the URI, and the reason in words."""
    try:
        yield
    except FileNotFoundError as error:
        raise OSError(errno.ENOENT, "there is nothing of this name", str(uri)) from error
    except kinds as error:
        if isinstance(error, OSError) and error.errno:  # of this machine
            raise
        raise OSError(errno.EIO, reason(error), str(uri)) from error


def files_of(uri: Uri) -> Files:
    """Return where a URI is. Raises ``OSError`` where what reads it is not installed."""
    return _hdfs(uri.authority) if uri.scheme == "hdfs" else _s3()


@lru_cache
def _s3() -> Files:
    from dnsvigil.sources.remote.s3 import S3

    return S3()


@lru_cache
def _hdfs(authority: str) -> Files:
    from dnsvigil.sources.remote.hdfs import Hdfs

    return Hdfs(authority)
