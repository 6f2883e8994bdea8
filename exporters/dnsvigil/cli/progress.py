"""A bar for long work, which a terminal alone shows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


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
