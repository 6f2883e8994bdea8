"""Tasks for the thread that owns the store, which is not for several threads at once."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from dnsvigil.store.store import Store, StoreError

MAX_TASKS: Final = 100
"""The maximum number of tasks that wait."""

T = TypeVar("T")


class WriteQueue:
    """Takes tasks from any thread; the one that owns the store works on them."""

    def __init__(self) -> None:
        self._tasks: deque[tuple[Callable[[Store], Any], Future[Any]]] = deque()
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._closed = False

    def submit(self, task: Callable[[Store], T]) -> Future[T]:
        """Have a task done with the open store, outside of a transaction; its result comes with the future.

        Raises :class:`StoreError` where too many tasks wait already, or nobody works any more.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed or len(self._tasks) >= MAX_TASKS:
                raise StoreError(
                    "the collector stops" if self._closed else f"{MAX_TASKS} tasks already wait for the store"
                )
            self._tasks.append((task, future))
        self._awake.set()
        return future

    def work(self, store: Store) -> bool:
        """Do all that waits; return whether there was something.

        An exception goes to who waits for the result; :class:`StoreError` is raised here, too.
        """
        anything = False
        while True:
            with self._lock:
                if not self._tasks:
                    return anything
                task, future = self._tasks.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            anything = True
            try:
                future.set_result(task(store))
            except Exception as error:
                future.set_exception(error)
                if isinstance(error, StoreError):
                    raise

    def wait(self, seconds: float) -> None:
        """Wait for a task, for :meth:`wake`, or so long."""
        self._awake.wait(seconds)
        self._awake.clear()

    def wake(self) -> None:
        """End :meth:`wait`."""
        self._awake.set()

    def close(self) -> None:
        """Take no more tasks, and refuse those that wait."""
        with self._lock:
            self._closed = True
            left = list(self._tasks)
            self._tasks.clear()
        for _, future in left:
            if future.set_running_or_notify_cancel():
                future.set_exception(StoreError("the collector stops"))
