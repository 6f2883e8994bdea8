"""Context switches of all threads of a process, from /proc/PID/task/TID/status.

``psutil.Process.num_ctx_switches`` gives those of the main thread alone, which in a resolver mostly sleeps.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from dnsvigil.resolver.kernel.procfs import ProcFs

_THREADS: Final = 256  # that one scrape reads; where a process has more they take turns
_SWITCHES = re.compile(rb"^voluntary_ctxt_switches:\s*(\d+)\nnonvoluntary_ctxt_switches:\s*(\d+)", re.MULTILINE)


class Switches(NamedTuple):
    """Context switches by type."""

    voluntary: int
    involuntary: int


class ThreadSwitches:
    """The context switches of one process's threads, as they grow."""

    def __init__(self) -> None:
        self._seen: dict[str, Switches] = {}  # by thread
        self._turn = 0

    def grown(self, fs: ProcFs, pid: int) -> Iterator[Switches]:
        """Yield, for each thread that is read, its switches since it was last read, at first all of them."""
        threads = fs.names(f"{pid}/task")
        before = {thread: self._seen[thread] for thread in threads if thread in self._seen}
        chosen = threads
        if len(threads) > _THREADS and before:  # at first all, as a rate must not show what was long ago
            self._turn %= len(threads)
            chosen = (threads[self._turn :] + threads)[:_THREADS]
            self._turn += _THREADS
        self._seen = before
        for thread in chosen:
            try:
                found = _SWITCHES.search(fs.content(f"{pid}/task/{thread}/status"))
            except OSError:
                continue
            if not found:
                continue
            now = Switches(int(found[1]), int(found[2]))
            past = before.get(thread, Switches(0, 0))
            if now < past:  # the number has gone to a new thread
                past = Switches(0, 0)
            before[thread] = now
            yield Switches(now.voluntary - past.voluntary, max(0, now.involuntary - past.involuntary))
