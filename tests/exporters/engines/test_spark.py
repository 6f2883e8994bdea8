"""Spark's engine makes the tables that DuckDB's makes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest

from dnsvigil.config.collector import Spark
from dnsvigil.config.types import SparkMaster
from dnsvigil.engines.domain_features import make_domain_features
from dnsvigil.engines.duckdb import Embedded, queries
from dnsvigil.engines.pandas import allow_pandas
from dnsvigil.records import DOMAIN_HOUR, TUPLE
from exporters.features import test_domain_features as truth
from exporters.standalone_spark import home

if TYPE_CHECKING:
    from dnsvigil.engines.spark import Cluster

allow_pandas()  # which commands in the same process leave out
engine = pytest.importorskip("dnsvigil.engines.spark", reason="needs dnsvigil[spark]", exc_type=ImportError)

LARGEST = 2**63 - 1


@pytest.fixture(scope="module")
def spark() -> Iterator[Cluster]:
    home()
    tests = str(Path(__file__).parents[2])  # which tasks import
    properties = {"spark.sql.shuffle.partitions": "2", "spark.executorEnv.PYTHONPATH": tests}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")  # short runs are not worth the best machine code
        with engine.cluster(Spark(SparkMaster("local[1]"), properties=properties)) as cluster:
            yield cluster


def read(spark: Cluster, tables: dict[str, pa.Table]) -> list[Any]:
    def rows(given: dict[str, pa.Table], report: Any) -> Iterator[tuple[str, pa.Table]]:
        yield from given.items()
        report({name: table.num_rows for name, table in given.items()})

    # The rows of each table in two pieces, which two tasks read
    halves = [{name: table.slice(0, len(table) // 2) for name, table in tables.items()}]
    halves.append({name: table.slice(len(table) // 2) for name, table in tables.items()})
    reports = spark.read(halves, rows)
    for name in tables:
        list(spark.fetch(f"SELECT * FROM {name}"))
    return reports.all()


def rows_of(spark: Cluster, name: str) -> list[dict[str, Any]]:
    return pa.concat_tables(spark.fetch(f"SELECT * FROM {name}")).to_pylist()


def test_features_of_domains_are_those_of_duckdb(spark: Cluster) -> None:
    dice = random.Random(7)
    with duckdb.connect() as connection:
        truth.fill(connection, truth.some_queries(dice), truth.some_tuples(dice))
        hours = connection.execute(f"SELECT {', '.join(DOMAIN_HOUR)} FROM domain_hours").to_arrow_table()
        # Rows of the same key are two, which a bailiwick of their own keeps apart
        kept = ", ".join(name if name in truth.TUPLE else f"NULL AS {name}" for name in TUPLE if name != "bailiwick")
        tuples = connection.execute(f"SELECT {kept}, row_number() OVER () AS bailiwick FROM tuples").to_arrow_table()
        reports = read(spark, {"domain_hours": hours, "tuples": tuples})
        assert sum(each["tuples"] for each in reports) == len(tuples)
        for each in (Embedded(connection), spark):
            make_domain_features(each, truth.WORDS, truth.PLACES.of_each)
        for name in queries("domain_features"):
            found = rows_of(spark, name)
            (count,) = connection.execute(f"SELECT count(*) FROM {name}").fetchone() or (0,)
            assert len(found) == count > 0, name
        rows = connection.execute(f"FROM {name}").fetchall()
        columns = [column[0] for column in connection.description or ()]
        expected = {row[0]: dict(zip(columns[1:], row[1:], strict=True)) for row in rows}
        truth.compare({row.pop("domain"): row for row in found}, expected)


def test_tuples_of_several_files_are_one(spark: Cluster) -> None:
    one = dict(zip(TUPLE, ("com.a", "A", "a192000002001", None, 10, 20, 1, 5, 60, 1, 1), strict=True))
    assert [*one] == [*TUPLE]
    many = [
        one,
        one | {"time_first": 5, "time_last": 15, "ttl_min": 1, "ttl_max": None, "sensors": 4, "seen_in": 16},
        one | {"count": LARGEST},
        one | {"bailiwick": 1, "count": LARGEST - 1},
        one | {"rrtype": "TXT", "rkey": "r\\x00'"},
    ]
    given = pa.Table.from_pylist(many)
    read(spark, {"domain_hours": pa.table({"domain": pa.array([], pa.string())}), "tuples": given})
    with duckdb.connect() as connection:
        columns = ", ".join(f"{name}::{kind} AS {name}" for name, kind in TUPLE.items())
        connection.execute(f"CREATE TABLE tuples AS SELECT {columns} FROM given")
        expected = connection.execute(f"FROM ({queries('passive_dns')['merged']}) ORDER BY ALL").fetchall()
    found = rows_of(spark, "tuples")
    assert len(found) == 3
    assert {row["count"] for row in found} == {Decimal(LARGEST), Decimal(LARGEST - 1), Decimal(1)}
    key = lambda row: tuple((value is None, str(value)) for value in row)  # noqa: E731
    assert sorted((tuple(row.values()) for row in found), key=key) == sorted(expected, key=key)


def test_functions_say_the_same(spark: Cluster) -> None:
    keys = ["com.example.www", "..a", "x"]
    spark.lookup("given", {"key": "VARCHAR"}, keys)
    reverse, number = "list_reverse(split(key, '[.]')) AS parts", "domain_number(key) AS number"
    spark._session.sql(f"SELECT {reverse}, {number} FROM given").createOrReplaceTempView("found")
    with duckdb.connect() as connection:
        own = Embedded(connection)
        own.lookup("given", {"key": "VARCHAR"}, keys)
        query = f"SELECT {reverse.replace('[.]', '.')}, {number} FROM given"
        expected = connection.execute(query).fetchall()
    found = rows_of(spark, "found")
    assert [row["parts"] for row in found] == [parts for parts, _ in expected] == [key.split(".")[::-1] for key in keys]
    assert spark.status() == (0, 0)
    assert len({row["number"] for row in found}) == len({number for _, number in expected}) == len(keys)
