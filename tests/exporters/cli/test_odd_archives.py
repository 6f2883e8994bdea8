"""Archives of many files, with what may have become of some: both engines read the rest, and say what is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnsvigil.cli.main import main
from dnsvigil.store.archive import NOTHING
from dnsvigil.store.archive_file import write
from exporters.running import write_config
from exporters.standalone_spark import home

LOCAL = ("--engine", "spark", "--master", "local[1]")
DAY = datetime(2026, 1, 31)
FILES = 1000


def hours(root: Path, domain: str, *, day: str = f"{DAY:%Y-%m-%d}", sensor: str = "ns1") -> Path:
    """Write a file with an hour of a domain, and return its path."""
    seen = DAY + timedelta(hours=7)
    found = {
        "domain": domain,
        "hour": seen,
        "queries": 2,
        "known": 2,
        "failed": 0,
        "nxdomain": 0,
        "first_seen": seen,
        "last_seen": seen,
        "clients": [7],
        "names": [8, 9],
        "client_count": 1,
        "client_key": "0123456789ab",
    }
    path = root / "domain_hours" / f"day={day}" / f"sensor={sensor}" / f"0123456789ab-{domain}.parquet"
    write(path, "domain_hours", [pa.Table.from_pylist([found])])
    return path


Features = Callable[..., tuple[int, dict[str, Any], str, set[str]]]


@pytest.fixture
def features(tmp_path: Path, capsys: Any, caplog: Any) -> Features:
    """Return the exit status, the features of each domain, what was said and what was logged."""
    config = write_config(tmp_path)

    def features(*arguments: object) -> tuple[int, dict[str, Any], str, set[str]]:
        capsys.readouterr()
        caplog.clear()
        status = main(["-c", str(config), "domains", "features", "--json", *map(str, arguments)])
        out, err = capsys.readouterr()
        found = {row.pop("domain"): row for row in json.loads(out)}
        return status, found, err, {each.getMessage() for each in caplog.records if each.name.startswith("dnsvigil")}

    return features


def test_what_is_odd_in_an_archive_of_a_thousand_files(tmp_path: Path, features: Features) -> None:
    home()
    root = tmp_path / "archive"
    sensors = {
        "é": quote("é"),
        "a=b/c": quote("a=b/c", safe=""),
        "day=2026": quote("day=2026"),
        "": NOTHING,
        "2026": "2026",
    }
    for number, sensor in enumerate(sensors.values()):
        hours(root, f"sensor{number}.example", sensor=sensor)
    for number in range(FILES - 7):
        hours(root, f"d{number}.example", sensor=f"s{number % 9}")
    hours(root, "strange.example", day="someday")
    corrupt = hours(root, "corrupt.example")
    corrupt.write_bytes(corrupt.read_bytes()[:-9])
    older, former = hours(root, "older.example"), hours(root, "former.example")
    pq.write_table(pq.read_table(older, partitioning=None).drop_columns("nxdomain"), older)
    pq.write_table(pq.read_table(former, partitioning=None).drop_columns(["client_count", "client_key"]), former)
    (root / "domain_hours" / f"day={DAY + timedelta(1):%Y-%m-%d}" / "sensor=ns1").mkdir(parents=True)
    found = [features(*engine, root) for engine in ((), LOCAL)]
    assert found[0] == found[1]
    status, domains, err, said = found[0]
    assert err.endswith("1,000 files read; 2 paths not read\n")
    assert status == 1
    assert domains.keys() >= {f"sensor{number}.example" for number in range(len(sensors))} | {"former.example"}
    assert len(domains) == FILES - 7 + len(sensors) + 2
    assert any(text.startswith(f"{corrupt} cannot be read: ") for text in said)
    assert any(text.startswith(f"{older} cannot be read: it lacks nxdomain") for text in said)
