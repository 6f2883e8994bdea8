"""Reads files of HDFS."""

import errno
import re
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final

from dnsvigil.sources.remote.stores import Content, Entry, in_words
from dnsvigil.sources.remote.uri import Uri

if TYPE_CHECKING:
    from hdfs_native import FileStatus

_TRIES: Final = {"dfs.client.failover.max.attempts": "3"}  # a few seconds; 15, the default, are three minutes
_MILLISECOND: Final = 10**6


class Hdfs:
    """The files of some name nodes: of a host and port, or of a name in the files below ``HADOOP_CONF_DIR``."""

    def __init__(self, authority: str) -> None:
        """Raises ``OSError`` where there is no client, or the name is not known."""
        uri = Uri("hdfs", authority, ())
        try:
            from hdfs_native import Client
        except ImportError as error:
            reason = f"hdfs-native is not installed on {socket.gethostname()}: hdfs:// needs dnsvigil[hdfs]"
            raise OSError(errno.ENOTSUP, reason, str(uri)) from error
        with _errors(uri):
            self._client = Client(str(uri), _TRIES)

    def list(self, uri: Uri) -> Iterator[Entry]:
        """Yield the files below a folder, or a file itself."""
        path = _path(uri)
        with _errors(uri):
            one = self._client.get_file_info(path)
            found = [*self._client.list_status(path, True)] if one.isdir else [one]
        for each in found:
            if not each.isdir:
                yield _entry(each, each.path.removeprefix(path).removeprefix("/"))

    def entry(self, uri: Uri) -> Entry:
        """Return what there is to know of a file."""
        with _errors(uri):
            return _entry(self._client.get_file_info(_path(uri)), "")

    @contextmanager
    def open(self, uri: Uri) -> Iterator[Content]:
        """Give a file, to read it."""
        with _errors(uri):
            yield self._client.read(_path(uri))


def _entry(status: "FileStatus", name: str) -> Entry:
    return Entry(name, status.length, status.modification_time * _MILLISECOND)


def _path(uri: Uri) -> str:
    return "/" + "/".join(uri.parts)


def _errors(uri: Uri) -> AbstractContextManager[None]:
    return in_words(uri, _reason, (OSError, RuntimeError, NotImplementedError))


def _reason(error: Exception) -> str:
    """Return what is wrong, without what Java adds to it: the class, and where in its code that was."""
    text = str(error)
    if isinstance(error, OSError):
        return f"HDFS cannot be reached: {re.sub(r' ?[(]os error [0-9]+[)]', '', text)}"
    if "No NameNode hosts found" in text:
        return "no name node is known: give HOST:PORT, or the name of name nodes in HADOOP_CONF_DIR"
    said = re.fullmatch(r'\w+\((?:"([\w.$]+)", )?"(.*)"\)', text, re.DOTALL)
    reason = re.split(r"\\n|\n", said[2])[0].replace('\\"', '"') if said else text
    if reason.startswith("All DataNodes failed"):
        return "no data node that has it can be reached"
    return f"access is refused: {reason}" if said and "AccessControlException" in str(said[1]) else reason
