"""Which entries of the lists were not hunted yet: found in a thread, some at a time, as lists are long."""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np

from dnsvigil.engines.established import within
from dnsvigil.sources.blocklists.domain_lists import DomainLists
from dnsvigil.sources.blocklists.list_file import read_names
from dnsvigil.store.hunted import Hashes, hashes_of
from dnsvigil.store.store import StoreError

log = logging.getLogger(__name__)

MAX_WAVE: Final = 2**16
"""How many entries are hunted at once; each takes half a kilobyte of memory meanwhile."""

_AT_ONCE: Final = 2**16  # names
_NOTHING: Final[Hashes] = np.zeros(0, np.uint64)


@dataclass(frozen=True)
class Wave:
    """The entries to hunt next."""

    names: tuple[bytes, ...] = ()  # MAX_WAVE at most
    waiting: int = 0  # entries to hunt, these among them
    gone: Hashes = field(default_factory=lambda: _NOTHING)  # that were hunted, and are on no list any more


class NewEntries:
    """The entries of lists that are not among those that are ``known``, which may be called from any thread."""

    def __init__(self, lists: DomainLists, known: Callable[[], Hashes]) -> None:
        self._lists = lists
        self._known = known
        self._version = -1  # of the lists when they were last looked at; -1 to look again
        self._thread: threading.Thread | None = None
        self._wave: Wave | None = None

    def look(self) -> None:
        """Look for a wave if there may be one: after those before were hunted, or because the lists have changed."""
        if self._thread is None and self._wave is None and self._lists.version != self._version:
            self._version = self._lists.version
            self._thread = threading.Thread(target=self._look, name="hunt")
            self._thread.start()

    def take(self) -> Wave | None:
        """Return the wave once it is found. Another is not looked for before the next :meth:`look`."""
        if self._thread and not self._thread.is_alive():
            self._thread = None
        if self._thread or not self._wave:
            return None
        wave, self._wave = self._wave, None
        if wave.waiting > len(wave.names):
            self._version = -1
        return wave

    def wait(self) -> None:
        """Wait for what is being looked for."""
        if self._thread:
            self._thread.join()

    def _look(self) -> None:
        try:
            self._wave = self._next(self._known())
        except StoreError as error:  # which whoever owns the store meets, too
            log.info("new entries of lists cannot be looked for now: %s", error)
            self._version = -1

    def _next(self, known: Hashes) -> Wave:
        names: dict[bytes, None] = {}
        new = [_NOTHING]
        there = np.zeros(len(known), np.bool_)
        complete = True
        for path in self._lists.paths:
            try:
                for part in _parts(read_names(path)):
                    hashes = hashes_of(part)
                    old = within(hashes, known)
                    there[np.searchsorted(known, hashes[old])] = True
                    new.append(np.unique(hashes[~old]))
                    if len(names) < MAX_WAVE:
                        names |= dict.fromkeys(part[place] for place in np.flatnonzero(~old).tolist())
            except Exception as error:  # whatever it is, the lists themselves have reported it
                log.debug("%s: its entries are not hunted now: %s", path, error)
                complete = False
        waiting = len(np.unique(np.concatenate(new)))
        return Wave(tuple(islice(names, MAX_WAVE)), waiting, known[~there] if complete else _NOTHING)


def _parts(names: Iterator[bytes]) -> Iterator[list[bytes]]:
    while part := list(islice(names, _AT_ONCE)):
        yield part
