"""All domains of a store with their features: each beside the others, and those that are most like it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dnsvigil.engines.domain_features import make_domain_features
from dnsvigil.engines.tuples import TupleReader
from dnsvigil.records import DOMAIN_FEATURES, DOMAIN_HOUR
from dnsvigil.sources.networks import Networks
from dnsvigil.sources.words import common_words

STATISTICS: Final = ("mean", "median", "p5", "p95", "min", "max")
"""What there is of each feature over all domains that have it."""

_MEMORY: Final = "512MB"
_NAME: Final = "array_to_string(list_reverse(string_split({}, '.')), '.')"
_IPV4: Final = " || '.' || ".join(f"rkey[{begin}:{begin + 2}]::USMALLINT" for begin in (2, 5, 8, 11))
_IPV6: Final = " || ':' || ".join(f"coalesce(nullif(ltrim(rkey[{n}:{n + 3}], '0'), ''), '0')" for n in range(2, 34, 4))
_TUPLES: Final = f"""
    INSERT INTO tuples SELECT {_NAME.format("nkey")}, rrtype,
        CASE rkey[1] WHEN 'n' THEN {_NAME.format("split_part(rkey[2:], ' ', 1)")} WHEN 'a' THEN {_IPV4}
            WHEN 'b' THEN {_IPV6} ELSE rkey[2:] END,
        ttl_min, ttl_max, count, time_first, time_last
    FROM encoded
"""
"""Names and addresses; what stands before a name is not needed. Addresses of IPv6 have all of their groups."""

_COUNTS: Final = (
    "ips",
    "queries",
    "queries_per_hour",
    "seen_seconds",
    "name_servers",
    "subdomains",
    "activities",
    "ttls",
    "ttl_changes",
    "ttl_mean",
    "asns",
    "countries",
    "sharing_domains",
    "clients",
)
"""The features of which the logarithm is compared: their values span orders of magnitude."""


class Tables(Protocol):
    """Reads the store into tables of Arrow, from any thread."""

    def read_tables(self, *queries: tuple[str, Sequence[Any]]) -> list[pa.Table]:
        """Return the tables of queries. Raises ``StoreError``."""


@dataclass(frozen=True)
class Profile:
    """A domain beside all others."""

    features: Mapping[str, float | None]
    statistics: Mapping[str, Mapping[str, float | None]]  # by feature, those of STATISTICS
    nearest: Sequence[tuple[str, float]]  # the domains most like it, with their distance
    domains: int  # in all


class DomainTable:
    """The features of all domains, in the table ``domain_features`` of a database of its own."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the features of each domain, in the order of the alphabet."""
        found = self._connection.execute("FROM domain_features ORDER BY domain")
        names = [column[0] for column in found.description or ()]
        while rows := found.fetchmany(10_000):
            for row in rows:
                yield dict(zip(names, row, strict=True))

    def profile(self, domain: str, nearest: int) -> Profile | None:
        """Return a domain beside all others, and so many that are most like it; None for one that is not known."""
        found = self._connection.execute("FROM domain_features WHERE domain = ?", [domain])
        names = [column[0] for column in found.description or ()]
        row = found.fetchone()
        if row is None:
            return None
        features = dict(zip(names[1:], row[1:], strict=True))
        return Profile(features, self._statistics(), self._nearest(domain, nearest), self._count())

    def vectors(self) -> tuple[list[str], NDArray[np.float32]]:
        """Return the domains, and a row for each with all features on one scale.

        Of counts and times it is the logarithm of one more. Then each feature has the mean 0 and the standard deviation
        1 over the domains that have it; in all others it is 0.
        """
        columns = ", ".join(
            f"ln(1 + {name})::FLOAT AS {name}" if name in _COUNTS else f"{name}::FLOAT AS {name}"
            for name in DOMAIN_FEATURES
        )
        found = self._connection.execute(f"SELECT domain, {columns} FROM domain_features ORDER BY domain").fetchnumpy()
        table = np.empty((len(found["domain"]), len(DOMAIN_FEATURES)), np.float32)
        for place, name in enumerate(DOMAIN_FEATURES):
            values = np.ma.filled(found[name], np.nan).astype(np.float32)
            known = values[~np.isnan(values)]
            spread = known.std() if len(known) else 0
            table[:, place] = np.nan_to_num((values - known.mean()) / spread) if spread > 0 else 0
        return found["domain"].tolist(), table

    def _statistics(self) -> dict[str, dict[str, float | None]]:
        ways = "avg({0}), median({0}), quantile_cont({0}, 0.05), quantile_cont({0}, 0.95), min({0}), max({0})"
        columns = ", ".join(ways.format(f"{name}::DOUBLE") for name in DOMAIN_FEATURES)
        row = self._connection.execute(f"SELECT {columns} FROM domain_features").fetchone() or ()
        values = iter(row)
        return {name: {each: next(values) for each in STATISTICS} for name in DOMAIN_FEATURES}

    def _nearest(self, domain: str, most: int) -> list[tuple[str, float]]:
        domains, table = self.vectors()
        distances = np.sqrt(((table - table[domains.index(domain)]) ** 2).sum(axis=1))
        order = np.argsort(distances, kind="stable")[: most + 1]
        return [(domains[place], float(distances[place])) for place in order if domains[place] != domain][:most]

    def _count(self) -> int:
        return int((self._connection.execute("SELECT count(*) FROM domain_features").fetchone() or (0,))[0])


@contextmanager
def domain_table(store: Tables, tuples: TupleReader, networks: Sequence[Path]) -> Iterator[DomainTable]:
    """Give the features of all domains of a store; ``networks`` are the operator's tables of addresses.

    Raises ``StoreError``, ``OSError`` and :class:`dnsvigil.sources.networks.NetworkTableError`.
    """
    places = Networks(networks).places if networks else None
    with (
        TemporaryDirectory(prefix="dnsvigil-domains-") as folder,
        duckdb.connect(Path(folder) / "domains.duckdb") as connection,
    ):
        connection.execute(f"SET memory_limit = '{_MEMORY}'; SET preserve_insertion_order = false")
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        _copy(connection, store, tuples)
        make_domain_features(connection, common_words(), places)
        yield DomainTable(connection)


def _copy(connection: duckdb.DuckDBPyConnection, store: Tables, tuples: TupleReader) -> None:
    """Copy what features are made from, piece by piece."""
    columns = ", ".join(f"{name} {kind}" for name, kind in DOMAIN_HOUR.items())
    connection.execute(f"CREATE TABLE domain_hours ({columns})")
    connection.execute(
        "CREATE TABLE tuples (rrname VARCHAR, rrtype VARCHAR, rdata VARCHAR, ttl_min BIGINT, ttl_max BIGINT,"
        " count BIGINT, time_first BIGINT, time_last BIGINT)"
    )
    (hours,) = store.read_tables(("SELECT DISTINCT hour FROM domain_hours ORDER BY hour", ()))
    for hour in hours["hour"].to_pylist():
        (rows,) = store.read_tables(("FROM domain_hours WHERE hour = ?", [hour]))
        connection.register("rows_of_hour", rows)
        connection.execute("INSERT INTO domain_hours BY NAME FROM rows_of_hour")
        connection.unregister("rows_of_hour")
    for encoded in tuples.encoded("names"):
        connection.register("encoded", encoded)
        connection.execute(_TUPLES)
        connection.unregister("encoded")
