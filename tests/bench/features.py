"""What the features of a million domains cost, from sums by the hour and tuples that are made here."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import duckdb

from bench.ingestion import peak_memory
from dnsvigil.engines.domain_features import make_domain_features
from dnsvigil.records import DOMAIN_HOUR
from dnsvigil.sources.words import common_words

SIZES = (100_000, 1_000_000)
MEMORY = "2GB"

# A domain has as many hours, clients and names as its rank leaves it: the first ones many, most of them one or two.
_DOMAINS = """
    CREATE TABLE domains AS SELECT n, format('{}{}.{}', ['cloud', 'mail', 'shop', 'x', 'news-'][n % 5 + 1],
        right(md5(n::VARCHAR), 6), ['com', 'net', 'org', 'co.uk', 'example'][n % 5 + 1]) AS domain,
        least(greatest(200_000 // (n + 1), 1 + n % 3), 64) AS much
    FROM range({count}) AS numbers(n)
"""
_HOURS = """
    INSERT INTO domain_hours SELECT domain, TIMESTAMP '2026-03-01' + INTERVAL (hash(n, hour) % 168) HOUR AS hour,
        much, much, hash(n) % 2, 0, TIMESTAMP '2026-03-01', TIMESTAMP '2026-03-07',
        list_transform(range(much), place -> (hash(n * (place % 9), place) >> 40)::BIGINT << 39),
        list_transform(range(much // 2), place -> (hash(n, place, 'name') >> 1)::BIGINT)
    FROM domains, unnest(range(least(much, 48))) AS hours(hour)
"""
_TUPLES = """
    CREATE TABLE tuples AS SELECT nkey, rrtype, rkey, [60, 300, 3600, 86400][n % 4 + 1]::UINTEGER AS ttl_max,
        (1_772_000_000 + n % 600_000)::UINTEGER AS time_first, 1_772_600_000::UINTEGER AS time_last
    FROM (
        SELECT n, array_to_string(list_reverse(string_split(domain, '.')), '.') AS owner, much FROM domains
    ), LATERAL (
        SELECT owner || '.www' AS nkey, 'A' AS rrtype,
            printf('a198%03d%03d%03d', hash(n, place) % 100, hash(n) % 256, (n + place) % 256) AS rkey
        FROM unnest(range(1 + n % 3)) AS places(place)
        UNION ALL SELECT owner, 'AAAA', printf('b20010db8%04x%020x', n % 65_536, n) WHERE n % 2 = 0
        UNION ALL SELECT owner || '.cdn', 'CNAME', printf('nnet.example.cdn.edge%d', n % 999) WHERE n % 5 = 0
        UNION ALL SELECT owner, 'NS', printf('nexample.dns%d.ns%d', n % 5_000, place)
        FROM unnest(range(2)) AS places(place)
        UNION ALL SELECT printf('net.example.cdn.edge%d', n), 'A', printf('a203000113%03d', n % 256) WHERE n < 999
    )
"""


def main() -> None:
    """Print the table."""
    print("## Features of domains\n")
    print("| domains | rows of domain and hour | tuples | wall | CPU | peak memory |")
    print("|---" * 6 + "|")
    for count in SIZES:
        with tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as folder:
            print(f"| {measure(Path(folder), count)} |", flush=True)


def measure(folder: Path, count: int) -> str:
    """Return the cells of a row."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY,
        "preserve_insertion_order": False,
        "temp_directory": str(folder / "spill"),
    }
    with duckdb.connect(folder / "features.duckdb", config=config) as connection:
        connection.execute("SET enable_progress_bar = false")
        columns = ", ".join(f"{name} {kind}" for name, kind in DOMAIN_HOUR.items())
        connection.execute(f"CREATE TABLE domain_hours ({columns})")
        for statement in (_DOMAINS.replace("{count}", str(count)), _HOURS, _TUPLES, "DROP TABLE domains"):
            connection.execute(statement)
        rows = [connection.execute(f"SELECT count(*) FROM {table}").fetchone() for table in ("domain_hours", "tuples")]
        wall, cpu = time.perf_counter(), time.process_time()
        make_domain_features(connection, common_words())
        took = time.perf_counter() - wall, time.process_time() - cpu
        (made,) = connection.execute("SELECT count(*) FROM domain_features").fetchone() or (0,)
    sizes = " | ".join(f"{row[0]:,}" for row in rows if row)
    return f"{made:,} | {sizes} | {took[0]:.1f} s | {took[1]:.1f} s | {peak_memory(os.getpid()):,.0f} MB"
