"""Merges files of passive DNS tuples into one, in a process of its own, which yields to all others.

A job comes as a line on standard input and its result goes to standard output, both as JSON. The process ends when its
standard input does, so that none is left when the one that started it is killed.
"""

import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from dnsvigil.engines.tuple_merge import engine, merged
from dnsvigil.store.tuple_file import SORTED_BY, Order, TupleFile, TupleFileError, TupleWriter, Written, path_of

_NICE: Final = 10


@dataclass(frozen=True)
class Job:
    """Files of tuples to merge into one."""

    inputs: Sequence[str]  # paths, less the order and what follows it
    output: str
    above: int = 0  # tuples that were seen so often or less are left out


@dataclass(frozen=True)
class Result:
    """What became of a job: what was written, or the file that cannot be read."""

    written: dict[Order, Written] = field(default_factory=dict)
    left_out: int = 0  # tuples, for their count
    unreadable: tuple[str, str] | None = None  # the path and the reason


def run(job: Job) -> Result:
    """Do a job. Raises ``OSError``; nothing is then left of the output."""
    with engine() as connection:
        written: dict[Order, Written] = {}
        left_out = 0
        try:
            for order in SORTED_BY:
                written[order], left_out = _merge(connection, job, order)
        except TupleFileError as error:
            return Result(unreadable=(str(error.path), error.reason))
        return Result(written, left_out)


def _merge(connection: duckdb.DuckDBPyConnection, job: Job, order: Order) -> tuple[Written, int]:
    """Merge the files of one order; return what was written, and how many tuples were left out."""
    left_out = 0
    writer = TupleWriter(path_of(job.output, order), order)
    try:
        for table in merged(connection, _streams(job, order), order):
            kept = table.filter(pc.greater(table["count"], job.above)) if job.above else table
            left_out += table.num_rows - kept.num_rows
            writer.write(kept)
        return writer.close(), left_out
    except BaseException:
        writer.abandon()
        raise


def _streams(job: Job, order: Order) -> Iterator[Iterator[pa.Table]]:
    for stem in job.inputs:
        yield TupleFile(path_of(stem, order), order).all()


def main() -> None:
    """Do the job on standard input."""
    os.nice(_NICE)
    job = Job(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        result = run(job)
    except OSError as error:  # mostly of a disk that is full
        sys.exit(f"passive DNS: {Path(job.output).parent}: {error.strerror or error}")
    json.dump(asdict(result), sys.stdout)


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
