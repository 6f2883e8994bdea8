"""Passive DNS at three sizes: what a tuple costs to take, to merge, to keep and to look up."""

from __future__ import annotations

import os
import random
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from dnsvigil.engines.hunt import Hunt, entry
from dnsvigil.engines.tuples import TupleReader
from dnsvigil.ingest import passive_dns
from dnsvigil.ingest.compaction import Compactor
from dnsvigil.ingest.new_entries import MAX_WAVE
from dnsvigil.store.passive_dns import FOLDER, PassiveDns
from dnsvigil.store.store import Store
from dnsvigil.store.tuple_keys import name_of_key

SIZES: Final = (1_000_000, 10_000_000, 50_000_000)
_DAYS: Final = 40  # over which the tuples come: a month is over, and some days
_SLICE: Final = 2**18  # as many as the collector lets wait
_ASKED: Final = 500
_BULK: Final = 10_000
_BEGIN: Final = datetime(2026, 1, 1)

# A domain has five names on average, a name two tuples; a quarter of the tuples is seen again in another slice.
_TUPLES: Final = """
    SELECT tld || '.' || domain || host AS nkey, rrtype, rkey, bailiwick, time_first, time_last, count, ttl_min,
        ttl_max, 1::UBIGINT AS sensors, 9::UTINYINT AS seen_in
    FROM (
        SELECT ['com', 'net', 'org', 'de'][1 + (hash(n // 10) % 4)::INT] AS tld,
            substr(md5((n // 10)::VARCHAR), 1, 6 + (hash(n // 10) % 9)::INT) AS domain,
            ['', '.www', '.mail', '.cdn.' || substr(md5((n // 2)::VARCHAR), 1, 8), '.ns' || (n % 9)]
                [1 + ((n // 2) % 5)::INT] AS host,
            CASE WHEN n % 10 < 7 THEN 'A' WHEN n % 10 < 9 THEN 'AAAA' ELSE 'CNAME' END AS rrtype,
            CASE WHEN n % 10 < 7 THEN 'a' || printf('%03d%03d%03d%03d', 20 + (hash(n // 40) % 180)::INT,
                    (hash(n // 40 + 1) % 256)::INT, (hash(n // 20) % 256)::INT, (hash(n) % 256)::INT)
                WHEN n % 10 < 9 THEN 'b20010db8' || substr(md5((n // 20)::VARCHAR), 1, 8) || repeat('0', 12)
                    || substr(md5(n::VARCHAR), 1, 4)
                ELSE 'nnet.cdn.' || substr(md5((n // 30)::VARCHAR), 1, 10) END AS rkey,
            CASE WHEN n % 3 = 0 THEN 2 END::UTINYINT AS bailiwick,
            ($begin + (hash(n * 7) % 3600))::UINTEGER AS time_first,
            ($begin + 3600 + CASE WHEN n % 2 = 0 THEN hash(n * 11) % 3600 ELSE 0 END)::UINTEGER AS time_last,
            CASE WHEN n % 3 = 0 THEN 1 ELSE 1 + hash(n) % 500 END::BIGINT AS count,
            [60, 300, 3600, 86400][1 + (hash(n // 10) % 4)::INT]::UINTEGER AS ttl_min, ttl_min AS ttl_max
        FROM (SELECT CASE WHEN hash(i) % 4 = 0 THEN hash(i * 3) % (i + 1) ELSE i END::BIGINT AS n
            FROM range($first::BIGINT, $last::BIGINT) AS of(i))
    )
"""


def main() -> None:
    """Print a row for each size. Where the disk lacks room say so, and leave out the rest."""
    print("## Passive DNS\n")
    print(
        "| tuples | taking, CPU s a million | merging, CPU s a million | bytes each | by name, p50, p99 | by address",
        end="",
    )
    print(f" | cold, by name | {_BULK:,} names | hunt for {MAX_WAVE:,} entries, longest step | peak memory |")
    print("|---" * 10 + "|")
    for size in SIZES:
        with tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as folder:
            needed, free = 3 * 40 * size / 1e9, shutil.disk_usage(folder).free / 1e9
            if needed > free:
                print(f"\nNot measured, from {size:,} on: {needed:.1f} GB needed, {free:.1f} GB free")
                break
            print(f"| {size:,} | {' | '.join(measure(Path(folder), size))} |", flush=True)


def measure(folder: Path, size: int) -> Iterator[str]:
    """Yield the figures of a store with so many tuples, as they come."""
    with Store(folder) as store:
        tuples = PassiveDns(store)
        taking, merging = fill(store, tuples, size)
        files = tuples.files()
        kept = sum(file.tuples for file in files)
        yield f"{taking / size * 1e6:.1f}"
        yield f"{merging / size * 1e6:.1f}"
        yield f"{sum(file.size for file in files) / kept:.1f} ({kept:,} in {len(files)} files)"
        reader = TupleReader(lambda: store)
        names, addresses = sample(store, kept)
        cold(folder / FOLDER)
        first = latencies(reader, "names", names[:20])
        yield quantiles(latencies(reader, "names", names[:_ASKED]))
        yield quantiles(latencies(reader, "rdata", addresses[:_ASKED]))
        yield quantiles(first)
        begin = time.process_time()
        found = sum(chunk.num_rows for chunk in reader.with_keys("names", sorted(set(names))))
        yield f"{time.process_time() - begin:.1f} s ({found:,} rows)"
        yield hunted(reader, names)
        yield f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:,.0f} MB"


def fill(store: Store, tuples: PassiveDns, size: int) -> tuple[float, float]:
    """Take tuples as the collector does; return the CPU seconds of that, and those of merging files."""
    taking = merging = 0.0
    slices = max(size // _SLICE, 1)
    with closing(Compactor(tuples, 10**12)) as compactor:
        for number in range(slices):
            newest = _BEGIN + timedelta(days=_DAYS * number / slices)
            store.connection.execute(
                f"CREATE OR REPLACE TEMP TABLE made AS {_TUPLES}",
                {
                    "first": number * size // slices,
                    "last": (number + 1) * size // slices,
                    "begin": int(newest.timestamp()),
                },
            )
            begin = time.process_time()
            with store.transaction():
                tuples.add("made")
                tuples.empty(passive_dns.merged, newest)
            taking += time.process_time() - begin
        begin = children()
        last = _BEGIN + timedelta(days=_DAYS + 1)
        compactor.changed()
        while compactor.wait():
            with store.transaction():
                tuples.remove_unlisted()
                if done := compactor.step(last):
                    passive_dns.replace_files(store, tuples, *done)
        merging = children() - begin
    return taking, merging


def children() -> float:
    """Return the CPU seconds of processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def sample(store: Store, kept: int) -> tuple[list[str], list[str]]:
    """Return keys of names and of addresses that there are among so many tuples."""
    dice = random.Random(1)
    reader = TupleReader(lambda: store)
    found: list[tuple[str, str]] = []
    for table in reader.encoded("names"):
        rows = table.filter([kind == "A" for kind in table["rrtype"].to_pylist()])
        pairs = list(zip(rows["nkey"].to_pylist(), rows["rkey"].to_pylist(), strict=True))
        found += dice.sample(pairs, min(2 * _BULK * len(pairs) // kept, len(pairs)))
    chosen = dice.sample(found, min(_BULK, len(found)))
    return [name for name, _ in chosen], [data for _, data in chosen]


def latencies(reader: TupleReader, order: Any, keys: Sequence[str]) -> list[float]:
    """Return how long each look-up takes, in milliseconds."""
    found = []
    for key in keys:
        begin = time.perf_counter()
        assert sum(chunk.num_rows for chunk in reader.chunks(order, key, f"{key}\0"))
        found.append(1000 * (time.perf_counter() - begin))
    return found


def hunted(reader: TupleReader, keys: Sequence[str]) -> str:
    """Return what a hunt for these names costs, with as many others as there may be at once."""
    names = dict.fromkeys(map(name_of_key, keys))
    names |= dict.fromkeys(f"n{number}.evil{number % 997}.com" for number in range(MAX_WAVE - len(names)))
    hunt = Hunt(reader, [entry(name) for name in names])
    longest, begin = 0.0, time.process_time()
    while True:
        started = time.process_time()
        complete = hunt.step(0.0)
        longest = max(longest, time.process_time() - started)
        if complete:
            return f"{time.process_time() - begin:.1f} s ({len(hunt.hits):,} hits), {1000 * longest:.0f} ms"


def quantiles(values: Sequence[float]) -> str:
    """Return the median and the 99th percentile in words."""
    return f"{statistics.median(values):.1f}, {statistics.quantiles(values, n=100)[98]:.1f} ms"


def cold(folder: Path) -> None:
    """Have the system forget what it holds of the files."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
