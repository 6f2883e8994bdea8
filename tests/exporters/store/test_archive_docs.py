"""The documentation of the archive has its files: each table, column, type and partition."""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnsvigil.engines.pandas import allow_pandas
from dnsvigil.store.archive import Archive
from dnsvigil.store.archive_file import SCHEMAS
from dnsvigil.store.store import Store

DOCS = Path(__file__).parents[3] / "docs"
TYPES = {
    "timestamp": pa.timestamp("us", tz="UTC"),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "double": pa.float64(),
    **{f"int{bits}": getattr(pa, f"int{bits}")() for bits in (16, 32, 64)},
}


def type_of(text: str) -> pa.DataType:
    inner = text.removeprefix("list of ")
    return pa.list_(TYPES[inner]) if inner != text else TYPES[text]


def tables(text: str) -> dict[str, list[tuple[str, str]]]:
    """Return the first two cells of each row, by the heading above, for headings that are the name of a table."""
    found: dict[str, list[tuple[str, str]]] = {}
    for section in re.split("^##+ ", text, flags=re.M)[1:]:
        if heading := re.match("`([a-z_]+)`\n", section):
            found[heading[1]] = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", section, re.M)
    return found


@pytest.fixture
def written(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """A file of each table."""
    with Store(tmp_path / "state") as store:
        archive = Archive(store, tmp_path / "archive", "ams")
        with store.transaction():
            for table, schema in SCHEMAS.items():
                archive.write(table, date(2026, 1, 31), "ns 1", [pa.Table.from_pylist([{}], schema)])
        archive.flush()
        yield {file.table: archive.path(file) for file in archive.files()}


def test_the_columns_of_files_are_those_of_the_documentation(written: dict[str, Path]) -> None:
    documented = tables((DOCS / "archive.md").read_text())
    assert list(documented) == list(SCHEMAS)
    for table, path in written.items():
        schema = pq.read_schema(path)
        assert [(name, type_of(kind)) for name, kind in documented[table]] == [
            (each.name, each.type) for each in schema
        ]


def test_partitions_are_those_of_the_documentation(written: dict[str, Path]) -> None:
    text = (DOCS / "archive.md").read_text()
    partitions = re.findall(r"^\| `(site|day|sensor)` \| (?:string|date) \|", text, re.M)
    assert partitions == [part.split("=")[0] for part in written["tuples"].parts[-4:-1]]
    assert all(f"    {table}/site=ams/day=2026-01-31/sensor=" in text for table in SCHEMAS)


def test_what_leaves_a_site_is_documented_column_by_column() -> None:
    documented = tables((DOCS / "federation.md").read_text())
    assert list(documented) == ["domain_hours", "tuples"]
    for table, rows in documented.items():
        assert [name for name, _ in rows] == SCHEMAS[table].names


def test_pandas_reads_a_table_of_several_sites(written: dict[str, Path]) -> None:
    allow_pandas()
    import pandas as pd

    for table, path in written.items():
        folder = path.parents[3]
        (path.parent / ".half.parquet.new").write_bytes(b"half")
        found = pd.read_parquet(folder)
        assert list(found.columns) == [*SCHEMAS[table].names, "site", "day", "sensor"]
        assert found[["site", "sensor"]].to_numpy().tolist() == [["ams", "ns 1"]]
