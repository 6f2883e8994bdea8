"""Rounds: what is read of many files, put together so that few large transactions take it and no one is too large."""

from collections.abc import Callable, Iterator
from typing import TypeAlias, TypeVar

from dnsvigil.sources.zeek import reader
from dnsvigil.sources.zeek.reader import Batch

Read: TypeAlias = Batch | Exception | None
"""What the next step in reading a file gives: a batch, the error that it cannot be read for, or None at its end."""

T = TypeVar("T")


def read(batches: Iterator[Batch]) -> Read:
    """Return the next of a file's batches, or what there is instead."""
    try:
        return next(batches, None)
    except Exception as error:
        return error


def rounds(steps: Iterator[tuple[T, Read]], alone: Callable[[T], bool]) -> Iterator[list[tuple[T, Read]]]:
    """Yield the steps in reading files, each with its file, as rounds.

    A round ends where it has half of the bytes that the largest batch may have, so that it never has twice as many.
    The steps of a file that is to be ``alone`` are rounds by themselves.
    """
    found: list[tuple[T, Read]] = []
    size = 0
    for file, step in steps:
        if alone(file) and found:
            yield found
            found, size = [], 0
        found.append((file, step))
        size += step.size if isinstance(step, Batch) else 0
        if alone(file) or 2 * size >= reader.BATCH_BYTES:
            yield found
            found, size = [], 0
    if found:
        yield found
