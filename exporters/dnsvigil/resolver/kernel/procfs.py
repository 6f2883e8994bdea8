"""Reads files below /proc and /sys, whose paths tests and containers may set."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import psutil

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True)
class ProcFs:
    """The two trees. Paths given to the methods are below them, such as ``net/dev`` or ``fs/cgroup/memory.max``."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")

    def read(self, path: str) -> str | None:
        """Return the text of ``path`` below /proc; None if it does not exist or is not readable."""
        return _text(f"{self.proc}/{path}")

    def read_sys(self, path: str) -> str | None:
        """Return the text of ``path`` below /sys; None if it does not exist or is not readable."""
        return _text(f"{self.sys}/{path}")

    def names(self, path: str) -> list[str]:
        """Return the names in the folder ``path`` below /proc; none if it does not exist or is not readable."""
        return list(_inodes(f"{self.proc}/{path}"))

    def names_sys(self, path: str) -> list[str]:
        """Return the names in the folder ``path`` below /sys; none if it does not exist or is not readable."""
        return list(_inodes(f"{self.sys}/{path}"))

    def inodes(self) -> dict[str, int]:
        """Return the inode numbers of what is in /proc itself, by name; none if it is not readable."""
        return _inodes(str(self.proc))

    def content(self, path: str) -> bytes:
        """Return the content of ``path`` below /proc; raises ``OSError``, for callers that report the reason."""
        return _content(f"{self.proc}/{path}")

    def text(self, path: str) -> str:
        """Return the text of ``path`` below /proc, with bytes that are not UTF-8 as :func:`os.fsdecode` has them.

        Raises ``OSError``.
        """
        return os.fsdecode(self.content(path))

    def psutil(self, function: Callable[_P, _T], *arguments: _P.args, **options: _P.kwargs) -> _T:
        """Return what ``function`` of psutil finds in this /proc.

        The path of /proc is a global of psutil, so one thread at a time may ask. Collectors take turns.
        """
        before = psutil.PROCFS_PATH
        psutil.PROCFS_PATH = str(self.proc)
        try:
            return function(*arguments, **options)
        finally:
            psutil.PROCFS_PATH = before


def _content(path: str) -> bytes:
    # Not open(): its buffers and its decoder cost more than the reading when there are thousands of small files.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = part = os.read(descriptor, 65536)
        while part:  # files of /proc give at most a page or so at a time
            part = os.read(descriptor, 65536)
            content += part
        return content
    finally:
        os.close(descriptor)


def _text(path: str) -> str | None:
    try:
        return _content(path).decode(errors="replace")
    except OSError:
        return None


def _inodes(path: str) -> dict[str, int]:
    try:
        with os.scandir(path) as entries:
            return {entry.name: entry.inode() for entry in entries}
    except OSError:
        return {}
