"""The features of domains in steps, each of which runs in many tasks on the rows of some keys.

    read ── own ─┬─ aliases_2 ── aliases_3 ── aliases_4 ─┐
                 ├───────────────────────────────────────┴─ addresses ── sharing ─┐
                 └────────────────────────────────────────────────────────────────┴─ features

A domain is in one task of ``own``, and in one of ``features``. CNAMEs lead to names of other domains, and domains share
addresses: ``aliases_N`` and ``addresses`` are by name, ``sharing`` is by address. All queries are those of
:mod:`dnsvigil.features.domain_features`, which one machine runs in one database.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar

import duckdb
import pyarrow as pa

from dnsvigil.engines.domain_features import (
    OF_DOMAINS,
    SUBJECT,
    Places,
    add_places,
    add_suffixes,
    add_words,
    join_features,
)
from dnsvigil.engines.duckdb import Steps, macro, queries
from dnsvigil.engines.steps import COMMAND, Give, Step, append, database, load
from dnsvigil.records import DOMAIN_HOUR, TUPLE
from dnsvigil.store.sketches import DOMAIN_SKETCH_SIZE

if TYPE_CHECKING:
    from dnsvigil.engines.spark import Cluster
    from dnsvigil.engines.spark_tasks import Function

T = TypeVar("T")
R = TypeVar("R")

_ADDRESS_TYPES: Final = "rrtype IN ('A', 'AAAA')"


_OWN: Final = (
    "tuple_names",
    "feature_domains",
    "hours",
    "hour_counts",
    "asked_domains",
    "domain_days",
    "domain_activity",
    "client_hashes",
    "domain_clients",
    "domain_subdomains",
    "tuple_domains",
    "aliases_1",
    "rrsets",
    "domain_rrsets",
    "domain_servers",
    "label_places",
    "domain_labels",
    "domain_words",
    "what_is_known",
)
_SUMS: Final = ("client_hashes", "what_is_known")
_HASHES: Final = f"(SELECT DISTINCT hash FROM client_hashes ORDER BY hash LIMIT {DOMAIN_SKETCH_SIZE})"
_WITH_ADDRESS: Final = "domain_addresses JOIN {0} USING (address)"


def domain_features_on(
    cluster: "Cluster",
    inputs: Sequence[T],
    read: "Function[T, R]",
    put: Callable[[str, pa.Table], None],
    *,
    words: Sequence[str],
    places: Places | None = None,
    further: Mapping[str, str] = MappingProxyType({}),
) -> Sequence[R]:
    """Put the rows of ``domain_features``, and of ``further`` tables, and return what was reported while reading.

    ``read`` gives the rows of ``domain_hours`` and ``tuples`` of each input; there is at least one input. ``further``
    has queries of tables that features are made from. Raises :class:`dnsvigil.engines.spark.SparkError`.
    """
    flow, reports = cluster.read(inputs, read, read_step(), max(cluster.slots, len(inputs)))
    own = flow.step("own", own_step(words, further), keep=True)
    of_sums: list[tuple[str, pa.Table]] = []
    for name, rows in own.take():
        if name in _SUMS:
            of_sums.append((name, rows))
        else:
            put(name, rows)
    linked = own
    for name, step in alias_steps().items():
        linked = linked.step(name, step)
    shared = own.join(linked)
    for name, step in address_steps(places).items():
        shared = shared.step(name, step)
    for name, rows in own.join(shared).step("features", last_step(sums_of(of_sums), further), keep=True).take():
        put(name, rows)
    return reports.all()


def read_step() -> Step:
    """Return the first step: of the tables ``domain_hours`` and ``tuples``, a task has those of some files."""

    def run(connection: duckdb.DuckDBPyConnection, _: int) -> None:
        for name, types in {"domain_hours": DOMAIN_HOUR, "tuples": TUPLE}.items():  # there may be nothing
            columns = ", ".join(f"{column} {kind}" for column, kind in types.items())
            connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
        add_suffixes(connection)
        Steps(connection, SUBJECT).run("tuple_names")

    tuples = Give("own", "tuples", "name", "tuples JOIN tuple_names USING (nkey)", "tuples.*")
    return Step(run, [Give("own", "domain_hours", "domain"), tuples])


def own_step(words: Sequence[str], further: Mapping[str, str]) -> Step:
    """Return the step of each domain's own rows; ``further`` has sources of tables for the command."""

    def run(connection: duckdb.DuckDBPyConnection, number: int) -> None:
        add_suffixes(connection)
        add_words(connection, words)
        # The same where a lost part is made once more.
        macro(connection, "domain_number(name)", f"({number}::BIGINT << 40) + row_number() OVER (ORDER BY name)")
        connection.execute(f"CREATE OR REPLACE TABLE tuples AS {queries('passive_dns')['merged']}")
        Steps(connection, SUBJECT).run(*_OWN)

    named = f"tuple_domains SEMI JOIN (FROM tuples WHERE {_ADDRESS_TYPES}) USING (nkey)"
    gives = [
        Give("aliases_2", "aliases_1", "nkey"),
        Give("aliases_2", "tuples", "nkey", "tuples WHERE rrtype = 'CNAME'", "nkey, rrtype, rkey"),
        Give("addresses", "tuple_domains", "nkey", named),
        Give("addresses", "tuples", "nkey", f"tuples WHERE {_ADDRESS_TYPES}", "nkey, rrtype, rkey"),
        *(Give("features", table, "domain") for table in OF_DOMAINS),
        Give(COMMAND, "client_hashes", source=_HASHES),
        Give(COMMAND, "what_is_known"),
        *_further(further, ["tuples", *_OWN]),
    ]
    return Step(run, gives)


def alias_steps() -> dict[str, Step]:
    """Return the steps that follow CNAMEs, in order."""
    hops = [name for name in queries(SUBJECT) if name.startswith("aliases_")]
    found = {}
    for number, name in enumerate(hops[1:], 1):
        last = name == hops[-1]
        to = "addresses" if last else hops[number + 1]
        gives = [Give(to, each, "nkey") for each in hops[: number + 1]]
        found[name] = Step(partial(_run, name), gives if last else [*gives, Give(to, "tuples", "nkey")])
    return found


def address_steps(places: Places | None) -> dict[str, Step]:
    """Return the steps that find each domain's addresses, and what there is at each address."""

    def share(connection: duckdb.DuckDBPyConnection, _: int) -> None:
        Steps(connection, SUBJECT).run("address_sharing")
        add_places(connection, places)

    shared = [
        Give("features", table, "domain", _WITH_ADDRESS.format(table), f"{table}.*", once=True)
        for table in ("address_sharing", "address_places")
    ]
    return {
        "addresses": Step(partial(_run, "domain_addresses"), [Give("sharing", "domain_addresses", "address")]),
        "sharing": Step(share, [Give("features", "domain_addresses", "domain"), *shared], once=("domain_addresses",)),
    }


def last_step(sums: Mapping[str, pa.Table], further: Mapping[str, str]) -> Step:
    """Return the step that makes the features, from the ``sums`` over all domains; ``further`` as before."""

    def run(connection: duckdb.DuckDBPyConnection, _: int) -> None:
        for name, table in sums.items():
            append(connection, name, table, new=True)
        Steps(connection, SUBJECT).run("domain_dispersion", "domain_networks")
        join_features(connection)

    gives = [Give(COMMAND, "domain_features"), *_further(further, ["domain_addresses", "domain_networks"])]
    return Step(run, gives)


def sums_of(tables: Iterable[tuple[str, pa.Table]]) -> dict[str, pa.Table]:
    """Return the tables of sums over all domains, from what the tasks of the domains' own step gave the command."""
    with database() as connection:
        load(connection, tables)
        Steps(connection, SUBJECT).run("all_clients")
        flags = ", ".join(f"bool_or({name}) AS {name}" for name in ("has_hours", "has_tuples", "has_words"))
        return {
            "all_clients": connection.execute("FROM all_clients").to_arrow_table(),
            "what_is_known": connection.execute(f"SELECT {flags} FROM what_is_known").to_arrow_table(),
        }


def _further(queries: Mapping[str, str], made: Collection[str]) -> list[Give]:
    return [Give(COMMAND, name, source=f"({query})") for name, query in queries.items() if name in made]


def _run(name: str, connection: duckdb.DuckDBPyConnection, _: int) -> None:
    Steps(connection, SUBJECT).run(name)
