"""The pages: what each costs where there are a million domains, and what viewers cost ingestion."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from bench import features, passive_dns
from bench.collector import SENSOR_RATE, SENSORS, bench_live
from dnsvigil.config.collector import Config
from dnsvigil.ingest.intake import Intake
from dnsvigil.learning.plane import plane
from dnsvigil.learning.scaling import Scaling
from dnsvigil.records import DOMAIN_FEATURES, NOVEL_COUNTS, TALKER_ELEMENTS
from dnsvigil.store.domain_file import ROWS, Facts, Group, domain_file, write_domains
from dnsvigil.store.flows import FlowTables
from dnsvigil.store.passive_dns import PassiveDns
from dnsvigil.store.store import Store
from dnsvigil.store.tuple_keys import data_of_key, name_of_key
from exporters.web.sites import Pages, serving

DOMAINS: Final = 1_000_000
TUPLES: Final = 3_000_000
VIEWERS: Final = 20
_GROUPS: Final = 8
_QUANTILES: Final = ("median", "p5", "p95", "min", "max")
_TIMES: Final = 9  # that each page is asked for

# Five servers with twenty zones for 30 days, three exporters with twenty services for 35, and a day of all that is kept
# for a day: four million rows of novel traffic, ten thousand clients in flow records of every five minutes, talkers.
_TABLES: Final = {
    "domain_hours_merged": """
        SELECT domain, date_trunc('hour', $now) - INTERVAL (hash(n, hour) % 720) HOUR, much, much, hash(n) % 2, 0,
            $now - INTERVAL 1 HOUR, $now, [(hash(n) % 1000)::BIGINT], [(hash(n) % 1000)::BIGINT]
        FROM domains, unnest(range(least(much, 48))) AS hours(hour)""",
    "novel BY NAME": f"""
        SELECT date_trunc('hour', $now) - INTERVAL (n % 24) HOUR AS hour,
            printf('10.%d.%d.%d', n // 65536 % 256, n // 256 % 256, n % 256) AS client,
            'h' || (n % 700000) || '.example' AS domain, n % 3 = 0 AS newly_observed, 1 AS minutes,
            $now - INTERVAL 1 HOUR AS first_seen, $now AS last_seen,
            {", ".join(f"n % 7 AS {name}" for name in NOVEL_COUNTS)}, ['a.example'] AS samples
        FROM range(4_000_000) AS numbers(n)""",
    "minute_zones": """
        SELECT $now - INTERVAL (m) MINUTE, '192.0.2.' || s, 'zone' || z || '.example', 100 + hash(m, s, z) % 50, 3
        FROM range(43_200) AS minutes(m), range(5) AS servers(s), range(20) AS zones(z)""",
    "minute_failures": """
        SELECT $now - INTERVAL (m) MINUTE, '192.0.2.' || s, 'zone' || z || '.example',
            ['servfail', 'timeout'][1 + m % 2], 1 + hash(m, s, z) % 20
        FROM range(43_200) AS minutes(m), range(5) AS servers(s), range(20) AS zones(z)""",
    "minute_types": """
        SELECT $now - INTERVAL (m) MINUTE, '192.0.2.' || s, ['A', 'AAAA', 'PTR', 'MX'][1 + t % 4],
            ['NOERROR', 'SERVFAIL', 'NXDOMAIN'][1 + t % 3], 1000
        FROM range(43_200) AS minutes(m), range(5) AS servers(s), range(12) AS types(t)""",
    "minute_latencies": """
        SELECT $now - INTERVAL (m) MINUTE, '192.0.2.' || s, b, 1000, 100_000
        FROM range(43_200) AS minutes(m), range(5) AS servers(s), range(15) AS buckets(b)""",
    "slot_services": """
        SELECT $now - INTERVAL (5 * m) MINUTE, 'router' || e, ['udp', 'tcp'][1 + s % 2], 'service' || (s // 2), 1000,
            9000, 1_000_000 + hash(m, e, s) % 900_000, 1
        FROM range(10_080) AS slots(m), range(3) AS exporters(e), range(20) AS services(s)""",
    "slot_talkers": f"""
        SELECT $now - INTERVAL (5 * m) MINUTE, 'router' || e, element, '198.51.100.' || (hash(t, m // 12) % 60), 1000,
            9000, 1_000_000 + hash(m, e, t) % 900_000, 1
        FROM range(288) AS slots(m), range(3) AS exporters(e), unnest({list(TALKER_ELEMENTS)}) AS elements(element),
            range(20) AS talkers(t)""",
    "dns_flows": """
        SELECT $now - INTERVAL (5 * m) MINUTE, 'router0', printf('10.%d.%d.7', c // 256, c % 256),
            '192.0.2.' || (c % 5), 53, 'udp', 3, 3, 300, 3, 3, 900, 1, 3.0, 1
        FROM range(288) AS slots(m), range(10_000) AS clients(c)""",
    "flow_verdicts": """
        SELECT slot, exporter, protocol, service, NULL, 'bytes', bytes, bytes * 0.97, 1000, 0.3,
            CASE WHEN hash(slot, service) % 200 = 0 THEN ['spike'] ELSE [] END, 99_999
        FROM slot_services WHERE slot > $now - INTERVAL 8 DAY""",
    "findings": """
        SELECT n + 1, 'malware', ['client', 'domain'][1 + n % 2], CASE WHEN n % 2 = 0 THEN
            printf('10.0.%d.%d', n // 256 % 256, n % 256) ELSE 'd' || n || '.example' END, (n % 100) / 100,
            ['info', 'warning', 'critical'][1 + n % 3], $now - INTERVAL 1 HOUR, $now, 3,
            '{"domains":["d' || n || '.example"]}', 'open', NULL, NULL FROM range(10_000) AS numbers(n)""",
}


def main() -> None:
    """Print the cost of pages, then what viewers of Now cost ingestion."""
    print(f"## Pages of a store with {DOMAINS:,} domains\n")
    print("| page | CPU, ms | wall, median, ms | wall, most, ms | kB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as folder:
        fill(Path(folder))
        with serving(Config(), Path(folder)) as pages:
            for path, query in asked(pages):
                print(f"| {path} {' '.join(query.values())} | {' | '.join(measure(pages, path, query))} |", flush=True)
    for viewers in (0, VIEWERS):
        with tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as folder:
            print(f"\n## Live, {SENSORS} x {SENSOR_RATE:,} records/s, {viewers} viewers of Now\n", flush=True)
            bench_live(Path(folder), SENSORS, SENSOR_RATE, "{}", viewers)


def fill(folder: Path) -> None:
    """Make a store."""
    now = datetime.now(UTC).replace(tzinfo=None, second=0, microsecond=0)
    now -= timedelta(minutes=now.minute % 5)
    with Store(folder) as store:
        Intake(store, Config()).close()
        FlowTables(store, 10**9)
        store.rows(features._DOMAINS.replace("CREATE TABLE", "CREATE TEMP TABLE").replace("{count}", str(DOMAINS)))
        for table, query in _TABLES.items():
            bound = {"now": now} if "$now" in query else {}
            store.connection.execute(f"INSERT INTO {table} {query.replace('$now', '$now::TIMESTAMP')}", bound)
        names = store.connection.execute("SELECT domain FROM domains ORDER BY hash(n)").to_arrow_table()["domain"]
        passive_dns.fill(store, PassiveDns(store), TUPLES)
    write_groups(folder, names)


def write_groups(folder: Path, names: pa.ChunkedArray) -> None:
    """Write a table of domains in groups that lie apart."""
    dice = np.random.default_rng(1)
    ids = np.sort(dice.integers(1, _GROUPS + 1, len(names)))
    centres = dice.normal(0, 1.5, (_GROUPS + 1, len(DOMAIN_FEATURES)))
    values = (centres[ids] + dice.normal(0, 0.6, (len(names), len(DOMAIN_FEATURES)))).astype(np.float32)
    columns = dict(zip(DOMAIN_FEATURES, values.T, strict=True))
    quantiles = {name: np.quantile(column, [0.5, 0.05, 0.95, 0, 1]).tolist() for name, column in columns.items()}
    statistics = {
        name: {"mean": float(columns[name].mean())} | dict(zip(_QUANTILES, found, strict=True))
        for name, found in quantiles.items()
    }
    sizes = np.bincount(ids).tolist()
    apart = {"ips": 1.5, "ttls": -1.2}
    groups = [Group(n, f"group {n}", sizes[n], apart, centres[n].tolist()) for n in range(1, _GROUPS + 1)]
    scaling = Scaling(np.zeros(len(DOMAIN_FEATURES)), np.ones(len(DOMAIN_FEATURES)))
    flat = [0.0] * len(DOMAIN_FEATURES), [1.0] * len(DOMAIN_FEATURES)
    drawn = plane(values, ids, scaling, None)
    facts = Facts(datetime.now(UTC), [*DOMAIN_FEATURES], *flat, statistics, groups, 0.4, _GROUPS + 1, drawn)
    table = pa.table(
        {
            "domain": names,
            "first_seen": pa.array(np.full(len(names), 1_700_000_000)),
            "last_seen": pa.array(np.full(len(names), 1_700_009_999)),
            **{name: pa.array(column) for name, column in columns.items()},
            "group": pa.array(ids.astype(np.int32)),
            "distance": pa.array(np.abs(dice.normal(2, 0.6, len(names))).astype(np.float32)),
        }
    )
    pieces = (table.slice(begin, ROWS) for begin in range(0, len(names), ROWS))
    write_domains(domain_file(folder), pieces, table.schema, facts)


def asked(pages: Pages) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the pages and what they are asked for."""
    ((domain,),) = pages.behind.read("SELECT domain FROM domain_hours ORDER BY hash(domain) LIMIT 1")
    tuples = next(iter(pages.behind.tuples.encoded("rdata", "a", "b")))
    address, name = data_of_key(tuples["rkey"][9].as_py()), name_of_key(tuples["nkey"][9].as_py())
    yield "/", {}
    yield "/findings", {}
    yield "/domain", {"q": domain}
    yield "/domain", {"q": "nobody.example"}
    yield "/name", {"q": name}
    yield "/name", {"q": "com"}
    yield "/address", {"q": address}
    yield "/network", {"q": f"{address}/16"}
    yield "/network", {"q": "0.0.0.0/0"}
    yield "/client", {"q": "10.0.3.7"}
    for span in ("24h", "7d", "35d"):
        yield "/server", {"q": "192.0.2.1", "range": span}
        yield "/zone", {"q": "zone3.example", "range": span}
        yield "/flows", {"range": span}
    yield "/groups", {}
    yield "/group", {"q": "3"}
    yield "/group", {"q": "3", "sort": "domain"}


def measure(pages: Pages, path: str, query: dict[str, str]) -> Iterator[str]:
    """Yield the figures of a page."""
    pages.ask(path, **query)
    walls, begin = [], time.process_time()
    for _ in range(_TIMES):
        start = time.perf_counter()
        response: Any = pages.ask(path, **query)
        walls.append((time.perf_counter() - start) * 1e3)
    yield f"{(time.process_time() - begin) / _TIMES * 1e3:.0f}"
    yield f"{statistics.median(walls):.0f}"
    yield f"{max(walls):.0f}"
    yield f"{len(response.get_data()) / 1e3:.0f}"
