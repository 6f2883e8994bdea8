"""The steps that Spark's tasks run make the tables that one database makes, in however many tasks."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from dnsvigil.engines import domain_features
from dnsvigil.engines.domain_features import make_domain_features
from dnsvigil.engines.domain_steps import domain_features_on
from dnsvigil.engines.steps import COMMAND, Chunk, Step, table_of
from dnsvigil.learning.domain_kinds import TABLES
from dnsvigil.records import DOMAIN_HOUR, TUPLE
from exporters.features import test_domain_features as truth

LARGEST = 2**63 - 1


@dataclass
class Flow:
    """That of :mod:`dnsvigil.engines.spark`, in this process: each part of a step in turn."""

    parts: int
    chunks: list[tuple[int, Chunk]]

    def step(self, name: str, step: Step, *, keep: bool = False) -> Flow:
        own = defaultdict[int, list[Chunk]](list)
        for number, chunk in self.chunks:
            if chunk.to == name:
                own[number].append(chunk)
        assert own.keys() <= {*range(self.parts)}
        found: list[tuple[int, Chunk]] = []
        for number in range(self.parts):
            found += step(number, self.parts, map(table_of, own[number]))
        return Flow(self.parts, found)

    def join(self, other: Flow) -> Flow:
        return Flow(self.parts, self.chunks + other.chunks)

    def take(self) -> Iterator[tuple[str, pa.Table]]:
        yield from (table_of(chunk) for _, chunk in self.chunks if chunk.to == COMMAND)


@dataclass
class Reported:
    found: list[Any] = field(default_factory=list)

    def all(self) -> list[Any]:
        return self.found


class Here:
    """The cluster that is this process."""

    def __init__(self, slots: int) -> None:
        self.slots = slots

    def read(self, inputs: Sequence[Any], function: Any, step: Step, parts: int) -> tuple[Flow, Reported]:
        reported, found = Reported(), list[tuple[int, Chunk]]()
        for number, given in enumerate(inputs):
            found += step(number, parts, function(given, reported.found.append))
        return Flow(parts, found), reported


Tables = dict[str, pa.Table]


def made_on(cluster: Any, tables: Tables, *, inputs: int, **options: Any) -> dict[str, pa.Table]:
    """Return the tables that the command gets, where each input has some rows of the tables."""

    def read(number: int, report: Callable[[int], None]) -> Iterator[tuple[str, pa.Table]]:
        for name, table in tables.items():
            begin, end = (part * len(table) // inputs for part in (number, number + 1))
            yield name, table.slice(begin, end - begin)
        report(number)

    found = defaultdict[str, list[pa.Table]](list)
    reports = domain_features_on(
        cluster, range(inputs), read, lambda name, rows: found[name].append(rows), further=TABLES, **options
    )
    assert sorted(reports) == [*range(inputs)]
    return {name: pa.concat_tables(each) for name, each in found.items()}


@pytest.mark.parametrize(("inputs", "slots", "at_once"), [(1, 1, 2**18), (1, 1, 3), (3, 5, 2)])
def test_features_are_those_of_one_database(
    inputs: int, slots: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(7)
    with duckdb.connect() as connection:
        truth.fill(connection, truth.some_queries(dice), truth.some_tuples(dice))
        hours = connection.execute(f"SELECT {', '.join(DOMAIN_HOUR)} FROM domain_hours").to_arrow_table()
        # Rows of the same key are two, which a bailiwick of their own keeps apart
        kept = ", ".join(
            f"{name if name in truth.TUPLE else 'NULL'}::{kind} AS {name}"
            for name, kind in TUPLE.items()
            if name not in ("bailiwick", "count")
        )
        tuples = connection.execute(
            f"SELECT {kept}, 1::BIGINT AS count, row_number() OVER ()::UTINYINT AS bailiwick FROM tuples"
        ).to_arrow_table()
        options = {"words": truth.WORDS, "places": truth.PLACES.of_each}
        with monkeypatch.context() as patch:
            patch.setattr(domain_features, "_AT_ONCE", at_once)
            found = made_on(Here(slots), {"domain_hours": hours, "tuples": tuples}, inputs=inputs, **options)
        make_domain_features(connection, **options)
        columns = [column for column, *_ in connection.execute("DESCRIBE domain_features").fetchall()]
        made = connection.execute("FROM domain_features").fetchall()
        expected = {row[0]: dict(zip(columns, row, strict=True)) for row in made}
        assert len(expected) == 20
        rows = {row["domain"]: row for row in found["domain_features"].to_pylist()}
        assert len(rows) == found["domain_features"].num_rows
        for each in (rows, expected):
            for row in each.values():
                del row["domain"]
        truth.compare(rows, expected)
        for name, query in TABLES.items():
            ((count,),) = connection.execute(f"SELECT count(*) FROM ({query})").fetchall()
            assert len(found[name]) == count > 0, name


def test_tuples_of_several_inputs_are_one() -> None:
    one = dict(zip(TUPLE, ("com.a", "A", "a192000002001", None, 10, 20, 1, 5, 60, 1, 1), strict=True))
    assert [*one] == [*TUPLE]
    many = [
        one,
        one | {"time_first": 5, "time_last": 15, "ttl_min": 1, "ttl_max": 90, "sensors": 4, "seen_in": 16},
        one | {"count": LARGEST},
        one | {"bailiwick": 1, "count": LARGEST - 1},
        one | {"rrtype": "TXT", "rkey": "r\\x00'"},
    ]
    with duckdb.connect() as connection:
        typed = ", ".join(f"{name}::{kind} AS {name}" for name, kind in TUPLE.items())
        given = connection.from_arrow(pa.Table.from_pylist(many)).select(typed).to_arrow_table()
    found = made_on(Here(2), {"tuples": given}, inputs=3, words=())
    (row,) = found["domain_features"].to_pylist()
    assert (row["domain"], row["first_seen"], row["last_seen"]) == ("a.com", 5, 20)
    assert (row["ips"], row["ttls"], row["ttl_changes"]) == (1, 2, 1)
    assert row["queries"] is None


def test_nothing_makes_nothing() -> None:
    found = made_on(Here(2), {}, inputs=1, words=("word",))
    assert found["domain_features"].num_rows == 0
    assert found.keys() == {"domain_features", *TABLES}


LOST = (
    "An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.\n: org.apache.spark."
    "SparkException: Job aborted due to stage failure: Task 0 in stage 0.0 failed 1 times, most recent failure: Lost"
    " task 0.0 in stage 0.0 (TID 0) (192.0.2.2 executor 1): "
)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (
            "org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n    check_python_version"
            "(infile)\npyspark.errors.exceptions.base.PySparkRuntimeError: [PYTHON_VERSION_MISMATCH] Python in worker"
            " has different version: 3.9 than that in driver: 3.11, PySpark cannot run with different minor versions.\n"
            "Please check environment variables PYSPARK_PYTHON and PYSPARK_DRIVER_PYTHON are correctly set.\n",
            "worker 192.0.2.2 has Python 3.9 in place of 3.11: name one of this version in spark.python",
        ),
        (
            'java.io.IOException: Cannot run program "/opt/python": error=2, No such file or directory\n\tat java.base/'
            "java.lang.ProcessBuilder.start(ProcessBuilder.java:1143)\nCaused by: java.io.IOException: error=2, No such"
            " file or directory\n",
            "worker 192.0.2.2 has no /opt/python: name its Python in spark.python",
        ),
        (
            "org.apache.spark.api.python.PythonException: Traceback (most recent call last):\nModuleNotFoundError:"
            " No module named 'dnsvigil'\n",
            "the Python of worker 192.0.2.2 has no dnsvigil: install dnsvigil[spark] there, in the version that is"
            " here, or name its Python in spark.python",
        ),
    ],
)
def test_what_a_worker_lacks_is_said_with_its_name(failure: str, said: str) -> None:
    spark = pytest.importorskip("dnsvigil.engines.spark", reason="needs dnsvigil[spark]", exc_type=ImportError)
    assert spark.reason_of(Exception(LOST + failure)) == said
