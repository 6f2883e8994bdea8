"""All domains with their features, made from the summaries of queries and the tuples of passive DNS."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dnsvigil.engines.domain_features import make_domain_features
from dnsvigil.engines.domain_steps import domain_features_on
from dnsvigil.engines.duckdb import bounds
from dnsvigil.engines.steps import append
from dnsvigil.learning import domain_kinds
from dnsvigil.records import DOMAIN_FEATURES, DOMAIN_HOUR, TUPLE
from dnsvigil.sources.networks import Networks
from dnsvigil.sources.words import common_words
from dnsvigil.store.domain_file import ROWS

if TYPE_CHECKING:
    from dnsvigil.engines.spark import Cluster
    from dnsvigil.engines.spark_tasks import Function

T = TypeVar("T")
R = TypeVar("R")

STATISTICS: Final = ("mean", "median", "p5", "p95", "min", "max")
"""What there is of each feature over all domains that have it."""

_TUPLES: Final = ("nkey", "rrtype", "rkey", "ttl_max", "time_first", "time_last")


class DomainTable:
    """The features of all domains, in the table ``domain_features`` of a database of its own."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the features of each domain, in the order of the alphabet."""
        found = self.connection.execute("FROM domain_features ORDER BY domain")
        names = [column[0] for column in found.description or ()]
        while rows := found.fetchmany(10_000):
            for row in rows:
                yield dict(zip(names, row, strict=True))

    def values(self) -> tuple[list[str], NDArray[np.float32]]:
        """Return the domains in the order of the alphabet, and a row for each with all features, NaN for none."""
        columns = ", ".join(f"{name}::FLOAT AS {name}" for name in DOMAIN_FEATURES)
        found = self.connection.execute(f"SELECT domain, {columns} FROM domain_features ORDER BY domain").fetchnumpy()
        return found["domain"].tolist(), matrix(found)

    def statistics(self) -> dict[str, dict[str, float | None]]:
        """Return ``STATISTICS`` of each feature."""
        found = {}
        for name in DOMAIN_FEATURES:  # one by one: the engine has all values of a quantile in memory
            query = (
                f"SELECT avg(v), quantile_cont(v, [0.5, 0.05, 0.95]), min(v), max(v) FROM (SELECT {name}::DOUBLE AS v"
            )
            ((mean, quantiles, least, most),) = self.connection.execute(f"{query} FROM domain_features)").fetchall()
            found[name] = dict(zip(STATISTICS, (mean, *(quantiles or [None] * 3), least, most), strict=True))
        return found

    def placed(self, places: pa.Table) -> pa.RecordBatchReader:
        """Return all domains with what ``places`` has of each ``domain``, in the order of its column ``place``."""
        self.connection.register("places", places)
        # Sums are of 128 bits, which Arrow has as decimals alone.
        counts = ", ".join(f"{name}::BIGINT AS {name}" for name in ("queries", "ttl_changes"))
        query = "FROM domain_features JOIN places USING (domain) ORDER BY place"
        return self.connection.execute(f"SELECT * EXCLUDE place REPLACE ({counts}) {query}").to_arrow_reader(ROWS)


@contextmanager
def domain_table(
    hours: Iterable[pa.Table], tuples: Iterable[pa.Table], networks: Sequence[Path]
) -> Iterator[DomainTable]:
    """Give the features of all domains, from tables of ``DOMAIN_HOUR`` and of ``TUPLE``.

    ``networks`` are the operator's tables of addresses. Raises what reading the tables does, ``OSError`` and
    :class:`dnsvigil.sources.networks.NetworkTableError`.
    """
    places = Networks(networks).places if networks else None
    with _database() as connection:
        rows = _copy(connection, "domain_hours", DOMAIN_HOUR, hours)
        rows += _copy(connection, "tuples", {name: TUPLE[name] for name in _TUPLES}, tuples)
        connection.execute(bounds(rows))
        make_domain_features(connection, common_words(), places)
        yield DomainTable(connection)


@contextmanager
def domain_table_on(
    cluster: "Cluster",
    inputs: Sequence[T],
    read: "Function[T, R]",
    networks: Sequence[Path],
    *,
    for_kinds: bool = False,
) -> Iterator[tuple[DomainTable, Sequence[R]]]:
    """Give the features of all domains, as :func:`domain_table` does, from what a cluster reads of inputs.

    With them is what was reported while reading. ``for_kinds`` has the table for
    :func:`dnsvigil.learning.domain_kinds.kinds_of` as well. Raises :class:`dnsvigil.engines.spark.SparkError` as well.
    """
    places = Networks(networks).places if networks else None
    further = domain_kinds.TABLES if for_kinds else {}
    with _database() as connection:
        made: set[str] = set()

        def put(name: str, rows: pa.Table) -> None:
            append(connection, name, rows, new=name not in made)
            made.add(name)

        reports = domain_features_on(cluster, inputs, read, put, words=common_words(), places=places, further=further)
        yield DomainTable(connection), reports


@contextmanager
def _database() -> Iterator[duckdb.DuckDBPyConnection]:
    with (
        TemporaryDirectory(prefix="dnsvigil-domains-") as folder,
        duckdb.connect(Path(folder) / "domains.duckdb") as connection,
    ):
        connection.execute(f"{bounds()}; SET preserve_insertion_order = false")
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        yield connection


def matrix(columns: Any) -> NDArray[np.float32]:
    """Return a row for each domain with its features, NaN for none, from the column of each feature."""
    count = len(columns[next(iter(DOMAIN_FEATURES))])
    values = np.empty((count, len(DOMAIN_FEATURES)), np.float32)
    for place, name in enumerate(DOMAIN_FEATURES):
        values[:, place] = np.ma.filled(columns[name], np.nan)
    return values


def neighbourhoods(rows: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the order of domains in which ``ROWS`` in a row are near to each other.

    Halves are parted where the rows spread most, until they are small enough.
    """

    def part(own: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
        if len(own) <= ROWS:
            yield own
            return
        axis = rows[own].var(axis=0).argmax()
        half = -(-len(own) // ROWS) // 2 * ROWS
        order = own[np.argpartition(rows[own, axis], half)]
        yield from part(order[:half])
        yield from part(order[half:])

    return np.concatenate([*part(np.arange(len(rows)))])


def nearest(rows: NDArray[np.float32], place: int, most: int) -> list[tuple[int, float]]:
    """Return the places of the rows that are nearest to the one at a place, with their distances, the least first."""
    distances = np.linalg.norm(rows - rows[place], axis=1)
    order = np.argsort(distances, kind="stable")[: most + 1].tolist()
    return [(each, float(distances[each])) for each in order if each != place][:most]


def _copy(connection: duckdb.DuckDBPyConnection, name: str, columns: dict[str, str], tables: Iterable[pa.Table]) -> int:
    """Copy what features are made from, piece by piece; return how many rows there are."""
    rows = 0
    connection.execute(f"CREATE TABLE {name} ({', '.join(f'{column} {kind}' for column, kind in columns.items())})")
    for table in tables:
        connection.register("piece", table.select(list(columns)))
        connection.execute(f"INSERT INTO {name} BY NAME FROM piece")
        connection.unregister("piece")
        rows += table.num_rows
    return rows
