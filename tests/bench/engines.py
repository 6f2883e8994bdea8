"""Whether DuckDB and Spark make the same of many records: summaries, tuples, features and groups."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import duckdb

from bench.spark import write_logs
from dnsvigil.store.domains import merged_hours
from exporters.standalone_spark import standalone

RECORDS: Final = 10_000_000

_RELATIVE: Final = 1e-9  # of numbers that are no counts
_DISTANCE: Final = 1e-4  # of numbers of 32 bits
_TUPLES: Final = """
SELECT rrname, rrtype, rdata, bailiwick, sensor, min(time_first), max(time_last), sum(count), min(ttl_min),
       max(ttl_max), bit_or(seen_in)
FROM read_parquet('{0}/tuples/**/*.parquet', hive_types = {{'sensor': VARCHAR, 'day': DATE}}) GROUP BY ALL
"""
_OBJECTS: Final = "maximum_object_size = 1000000000"


def main() -> None:
    """Print how many rows both engines have made, and how many of them differ."""
    print(f"## The same from both engines, of {RECORDS:,} records\n")
    print("| what | rows | that differ |")
    print("|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as name:
        folder = Path(name)
        write_logs(folder / "logs", RECORDS)
        (folder / "key").write_text("k" * 32)
        config = {"archive": {"pseudonym_key_file": str(folder / "key")}}
        (folder / "dnsvigil.yml").write_text(json.dumps(config))
        made = [_made(folder, "duckdb", [])]
        with standalone(folder, 2) as cluster:
            made.append(_made(folder, "spark", ["--engine", "spark", "--master", cluster.master]))
        with duckdb.connect(folder / "compare.duckdb") as connection:
            hours, tuples = [], []
            for root in made:
                rows = merged_hours(f"read_parquet('{root}/archive/domain_hours/**/*.parquet')", "client_key")
                hours.append(f"SELECT * FROM ({rows})")
                tuples.append(_TUPLES.format(root / "archive"))
            _print("summaries of a domain and hour, with sketches", *_exactly(connection, *hours))
            _print("tuples", *_exactly(connection, *tuples))
            for given in ("archive", "logs"):
                _print(f"domains with features, from {given}", *_features(connection, made, given))
        _print("domains in groups", *_groups(made))


def _made(folder: Path, name: str, engine: list[str]) -> Path:
    """Have an engine make an archive, features and groups; return where they are."""
    root = folder / name
    root.mkdir()
    calls: dict[str, list[str | Path]] = {
        "archive.txt": ["archive", "--output", root / "archive", folder / "logs"],
        "archive.json": ["domains", "features", "--json", root / "archive"],
        "logs.json": ["domains", "features", "--json", folder / "logs"],
        "groups.json": ["domains", "cluster", "--json", root / "archive"],
    }
    for output, call in calls.items():
        with (root / output).open("wb") as file:
            command = [sys.executable, "-m", "dnsvigil", "-c", folder / "dnsvigil.yml", *call, *engine]
            subprocess.run(command, check=True, stdout=file, stderr=subprocess.DEVNULL)
    return root


def _exactly(connection: duckdb.DuckDBPyConnection, ours: str, theirs: str) -> tuple[int, int]:
    """Return how many rows two queries have, and how many only one of them has."""
    for name, query in (("ours", ours), ("theirs", theirs)):
        connection.execute(f"CREATE OR REPLACE TABLE {name} AS {query}")
    query = "SELECT count(*) FROM ((FROM {0} EXCEPT ALL FROM {1}) UNION ALL (FROM {1} EXCEPT ALL FROM {0}))"
    ((rows,),) = connection.execute("SELECT count(*) FROM ours").fetchall()
    ((different,),) = connection.execute(query.format("ours", "theirs")).fetchall()
    return rows, different


def _features(connection: duckdb.DuckDBPyConnection, made: list[Path], given: str) -> tuple[int, int]:
    for name, root in zip(("ours", "theirs"), made, strict=True):
        connection.execute(
            f"CREATE OR REPLACE TABLE {name} AS FROM read_json('{root / given}.json', format = 'array', {_OBJECTS})"
        )
    columns = {name: kind for name, kind, *_ in connection.execute("DESCRIBE ours").fetchall()}
    same = [
        f"(a.{name} IS NOT DISTINCT FROM b.{name})"
        if kind != "DOUBLE"
        else f"coalesce(abs(a.{name} - b.{name}) <= {_RELATIVE} * abs(a.{name}), a.{name} IS NULL AND b.{name} IS NULL)"
        for name, kind in columns.items()
    ]
    query = (
        f"SELECT count(*), count(*) FILTER (NOT ({' AND '.join(same)})) FROM ours a FULL JOIN theirs b USING (domain)"
    )
    ((rows, different),) = connection.execute(query).fetchall()
    return rows, different


def _groups(made: list[Path]) -> tuple[int, int]:
    ours, theirs = (json.loads((root / "groups.json").read_bytes()) for root in made)
    groups = [[(each["id"], each["name"], each["domains"]) for each in found["groups"]] for found in (ours, theirs)]

    def alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
        near = abs(one["distance"] - other["distance"]) <= _DISTANCE * max(one["distance"], 1e-6)
        return near and (one["domain"], one["group"]) == (other["domain"], other["group"])

    different = sum(not alike(*each) for each in zip(ours["domains"], theirs["domains"], strict=True))
    return len(ours["domains"]), different + (groups[0] != groups[1])


def _print(what: str, rows: int, different: int) -> None:
    print(f"| {what} | {rows:,} | {different:,} |", flush=True)
