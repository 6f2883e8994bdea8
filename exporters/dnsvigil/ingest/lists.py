"""The operator's lists of domains, read anew when they change, beside all else."""

import logging
import threading
import time
from pathlib import Path
from typing import Final

from dnsvigil.sources.blocklists.domain_lists import DomainLists
from dnsvigil.sources.blocklists.list_file import ListFile
from dnsvigil.store.set_aside import SetAside

log = logging.getLogger(__name__)

_RELOAD_SECONDS: Final = 60.0


class ListReloader:
    """Keeps the lists of a folder as they are on the disk."""

    def __init__(self, folder: Path, set_aside: SetAside) -> None:
        """Read them for the first time."""
        self.lists = DomainLists(folder, set_aside=set_aside)
        self._folder = folder
        self._set_aside = set_aside
        self._missing: list[ListFile] = []
        self._thread: threading.Thread | None = None
        self._reloaded = time.monotonic()
        self._reload()

    def close(self) -> None:
        """Wait for lists that are being read."""
        if self._thread:
            self._thread.join()

    @property
    def files(self) -> list[ListFile]:
        """The lists, and the folder itself where it cannot be read."""
        return [*self.lists.files, *self._missing]

    def reload(self) -> None:
        """Read the lists that have changed, in a thread, if it is time to."""
        if self._thread and self._thread.is_alive():
            return
        if time.monotonic() - self._reloaded > _RELOAD_SECONDS:
            self._reloaded = time.monotonic()
            self._thread = threading.Thread(target=self._reload, name="lists")
            self._thread.start()

    def _reload(self) -> None:
        try:
            self.lists.reload()
            self._missing = []
        except OSError as error:
            if not self._missing:
                log.warning("lists in %s cannot be read: %s", self._folder, error.strerror or error)
            self._missing = [ListFile(str(self._folder), (), error=error.strerror or str(error))]
        except Exception as error:  # this may be a thread of its own: nobody else would see it
            self._set_aside.put("thread", "lists", error)
            self._missing = [ListFile(str(self._folder), (), error=type(error).__name__)]
        else:
            self._set_aside.release("thread", "lists")
