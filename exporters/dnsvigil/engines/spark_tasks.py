"""What runs in Spark's tasks."""

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Generic, TypeAlias, TypeVar

import pyarrow as pa
from pyspark.accumulators import AccumulatorParam

from dnsvigil.engines.pandas import leave_out_pandas
from dnsvigil.engines.steps import Chunk, Step, table_of

T = TypeVar("T")
R = TypeVar("R")

_LIBRARIES: Final = ("dnsvigil", "duckdb", "pyarrow", "pyspark", "hdfs-native")


Function: TypeAlias = Callable[[T, Callable[[R], None]], Iterator[tuple[str, pa.Table]]]
"""Yields rows of an input with the name of their table, and may report once."""


class Reports(Generic[R]):
    """What tasks have reported; all of it once the tables that they made have been read."""

    def __init__(self, accumulator: Any) -> None:
        self._accumulator = accumulator

    def put(self, number: int, report: R) -> None:
        """Report from the task of an input."""
        self._accumulator.add({number: report})

    def all(self) -> list[R]:
        """Return the reports, in the order of the inputs."""
        return [report for _, report in sorted(self._accumulator.value.items())]


def versions() -> dict[str, str]:
    """Return the versions of what has to be the same everywhere."""
    found = {"Python": ".".join(map(str, sys.version_info[:2]))}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


class Task(Generic[T, R]):
    """What reads an input, and does the first step on what it has."""

    def __init__(self, function: "Function[T, R]", step: Step, parts: int, reports: Reports[R]) -> None:
        self._function, self._step, self._parts, self._reports = function, step, parts, reports

    def __call__(self, numbered: tuple[int, T]) -> Iterator[tuple[int, Chunk]]:
        """Yield what the step gives."""
        number, given = numbered
        tables = self._function(given, partial(self._reports.put, number))
        yield from self._step(number, self._parts, tables)


def checked(expected: Mapping[str, str], function: Callable[[T], R], given: T) -> R:
    """Return what a function makes of an input, where the versions are those that are expected."""
    if different := difference(expected):
        raise RuntimeError(different)
    leave_out_pandas()
    if folders := os.environ.get("SPARK_LOCAL_DIRS"):
        tempfile.tempdir = folders.split(",")[0]
    return function(given)


def checked_step(
    expected: Mapping[str, str], step: Step, parts: int, number: int, chunks: Iterable[tuple[int, Chunk]]
) -> Iterator[tuple[int, Chunk]]:
    """Yield what a step gives in the task of a number."""
    tables = (table_of(chunk) for _, chunk in chunks)
    return checked(expected, partial(step, number, parts), tables)


def is_for(name: str, numbered: tuple[int, Chunk]) -> bool:
    """Return whether a chunk is for the step of a name."""
    return numbered[1].to == name


def number_of(part: int) -> int:
    """Return the number of the task that a key is for, which is the key."""
    return part


def nothing(_: Iterable[object]) -> None:
    """Do nothing: what a task has is kept on the way."""


class ByNumber(AccumulatorParam[dict[int, Any]]):  # type: ignore[misc]
    """Reports by the number of their task: one that runs again, for a lost worker, does not count twice."""

    def zero(self, value: dict[int, Any]) -> dict[int, Any]:  # noqa: D102
        return {}

    def addInPlace(self, value1: dict[int, Any], value2: dict[int, Any]) -> dict[int, Any]:  # noqa: D102
        value1.update(value2)
        return value1


def difference(expected: Mapping[str, str]) -> str:
    """Return in words how the versions here differ from others; nothing where they do not."""
    own = versions()
    different = [
        f"{name} {own.get(name, 'missing')} in place of {wanted}"
        for name, wanted in expected.items()
        if own.get(name) != wanted
    ]
    return f"worker {socket.gethostname()} has {', '.join(different)}" if different else ""
