"""All processes of the machine, with the names or control groups by which the resolvers among them are found.

The names of 1,000 processes take 10 ms from /proc/PID/comm. ``psutil.process_iter`` with names takes 24 to 32 ms, for
it reads /proc/PID/stat. It keeps its Process objects from call to call, but not the names; and since psutil 6 the
object of a process that has ended stands for whichever process has its PID next.

Here a process is known by its PID and the inode of its folder, which a new process never shares with the one before
and which comes with the listing (1 ms). So what was read of it can be kept. A program may change its name, or become
another program, so it is read again at the next scrape and then in turns.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from dnsvigil.resolver.kernel.procfs import ProcFs

_AGAIN: Final = 256  # processes that one scrape reads again; where there are more they take turns


@dataclass(frozen=True, slots=True)
class Entry:
    """One process. The name is that of the kernel, of at most 15 bytes; what was not asked for is empty."""

    inode: int
    comm: bytes
    cgroups: str


class ProcessTable:
    """The processes, with ``names`` or ``cgroups`` or both."""

    def __init__(self, fs: ProcFs, *, names: bool, cgroups: bool) -> None:
        self._fs = fs
        self._names = names
        self._cgroups = cgroups
        self._known: dict[int, Entry] = {}  # by PID, the least recently read first
        self._new: list[int] = []

    def update(self, watched: Iterable[int]) -> Mapping[int, Entry]:
        """List the processes, and return them by PID. Those with the PIDs ``watched`` are read again each time."""
        listed = {int(name): inode for name, inode in self._fs.inodes().items() if name.isdecimal()}
        known = self._known = {pid: entry for pid, entry in self._known.items() if listed.get(pid) == entry.inode}
        new = [pid for pid in listed if pid not in known]
        for pid in listed.keys() & {*new, *self._new, *watched, *islice(known, _AGAIN)}:
            known.pop(pid, None)
            known[pid] = self._read(pid, listed[pid])
        self._new = new
        return known

    def _read(self, pid: int, inode: int) -> Entry:
        comm = read_comm(self._fs, pid) if self._names else b""
        return Entry(inode, comm, (self._fs.read(f"{pid}/cgroup") or "") if self._cgroups else "")


def read_comm(fs: ProcFs, pid: int) -> bytes:
    """Return the name of a process; empty if the process has ended or is hidden."""
    try:
        return fs.content(f"{pid}/comm").rstrip(b"\n")
    except OSError:
        return b""
