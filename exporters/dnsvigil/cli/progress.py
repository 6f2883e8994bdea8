"""A bar for long work, which a terminal alone shows."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from tqdm import tqdm

from dnsvigil.system.terminal import printable

_POLL_SECONDS: Final = 0.5


@contextmanager
def progress(steps: Sequence[str]) -> Iterator[Any]:
    """Give a function that is to be called with each step, by its name, as it begins."""
    # None: shown on a terminal only.
    with tqdm(total=len(steps), disable=None, dynamic_ncols=True) as bar:

        def begin(step: str) -> None:
            bar.update(steps.index(step) - bar.n)
            bar.set_description(step)

        yield begin
        bar.update(len(steps) - bar.n)


def read_bytes(name: str, size: int) -> "tqdm[Any]":
    """Return the bar of what is read of a file."""
    return tqdm(
        total=size, desc=printable(name), unit="B", unit_scale=True, disable=None, dynamic_ncols=True, leave=False
    )


@contextmanager
def polled(what: str, status: Callable[[], tuple[int, int]]) -> Iterator[None]:
    """Show how far something is that others do: ``status`` returns how much of it is done, and how much there is."""
    with tqdm(desc=what, disable=None, dynamic_ncols=True, leave=False) as bar:
        over = threading.Event()

        def poll() -> None:
            while not over.wait(_POLL_SECONDS):
                done, bar.total = status()
                bar.update(done - bar.n)

        poller = threading.Thread(target=poll, daemon=True)
        if not bar.disable:
            poller.start()
        try:
            yield
        finally:
            over.set()
            if poller.is_alive():
                poller.join()
