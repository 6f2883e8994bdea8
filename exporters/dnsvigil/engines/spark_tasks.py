"""What runs in Spark's tasks.

Each new Python worker imports this module, so it does without Ibis.
"""

import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Generic, TypeAlias, TypeVar

import pyarrow as pa
from pyspark.accumulators import AccumulatorParam

from dnsvigil.engines.engine import Columns

T = TypeVar("T")
R = TypeVar("R")

_LIBRARIES: Final = ("dnsvigil", "duckdb", "pyarrow", "pyspark")
_ROWS: Final = 65_536


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
    """What runs in tasks, each of which has the numbers of some inputs."""

    def __init__(
        self,
        inputs: list[T],
        function: "Function[T, R]",
        schema: pa.Schema,
        reports: Reports[R],
        expected: Mapping[str, str],
    ) -> None:
        self._inputs, self._function, self._schema = inputs, function, schema
        self._reports = reports
        self._expected = expected

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of inputs, with the table of each in the column ``of``, from the numbers of the inputs."""
        if different := difference(self._expected):
            raise RuntimeError(different)
        for batch in batches:
            for number in batch.column(0).to_pylist():
                for name, table in self._function(self._inputs[number], partial(self._reports.put, number)):
                    yield from self._widened(name, table)

    def _widened(self, name: str, table: pa.Table) -> Iterator[pa.RecordBatch]:
        count = table.num_rows
        columns = [
            pa.array([name], pa.string()).take(pa.array([0] * count, pa.int32())),
            *(
                table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(count, field.type)
                for field in list(self._schema)[1:]
            ),
        ]
        yield from pa.table(columns, schema=self._schema).to_batches(_ROWS)


def checked(expected: Mapping[str, str], function: Callable[[T], R], given: T) -> R:
    """Return what a function makes of an input, where the versions are those that are expected."""
    if different := difference(expected):
        raise RuntimeError(different)
    return function(given)


class ByNumber(AccumulatorParam[dict[int, Any]]):  # type: ignore[misc]
    """Reports by the number of their task: one that runs again, for a lost worker, does not count twice."""

    def zero(self, value: dict[int, Any]) -> dict[int, Any]:  # noqa: D102
        return {}

    def addInPlace(self, value1: dict[int, Any], value2: dict[int, Any]) -> dict[int, Any]:  # noqa: D102
        value1.update(value2)
        return value1


def derived(function: Columns, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield texts, of the first column, with what a function says of them."""
    for batch in batches:
        texts = batch.column(0).to_pylist()
        columns = (texts, *function(texts))
        yield pa.record_batch(
            [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
        )


def packed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield each batch as the bytes of Arrow's stream format."""
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        yield pa.record_batch([pa.array([sink.getvalue().to_pybytes()], pa.binary())], names=["piece"])


def difference(expected: Mapping[str, str]) -> str:
    """Return in words how the versions here differ from others; nothing where they do not."""
    own = versions()
    different = [
        f"{name} {own.get(name, 'missing')} in place of {wanted}"
        for name, wanted in expected.items()
        if own.get(name) != wanted
    ]
    return f"worker {socket.gethostname()} has {', '.join(different)}" if different else ""
