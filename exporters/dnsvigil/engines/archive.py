"""Reads what an archive has of domains, as the store has it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import duckdb
import pyarrow as pa

from dnsvigil.engines.duckdb import Steps, is_in, lookup
from dnsvigil.records import DOMAIN_HOUR, TUPLE
from dnsvigil.store.archive_file import SCHEMAS, ArchiveFileError, read
from dnsvigil.store.tuple_file import SCHEMA
from dnsvigil.store.tuple_keys import NEGATIVE_TYPES

TABLES: Final = ("domain_hours", "tuples")
"""The tables that are read here."""

_MEMORY: Final = "512MB"
_ROWS: Final = 65_536  # of a table that is given


def is_archive(path: Path) -> bool:
    """Return whether a folder has files of an archive."""
    return any(next(path.glob(f"{table}/day=*/sensor=*"), None) for table in TABLES)


def archive_files(root: Path) -> list[Path]:
    """Return the files of an archive that are read here."""
    return [path for table in TABLES for path in sorted(root.glob(f"{table}/day=*/sensor=*/*.parquet"))]


class ArchiveReader:
    """Reads files of archives. ``unreadable`` has those that were left out, each with the reason."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = list(files)
        self.unreadable: dict[Path, str] = {}

    def hours(self) -> Iterator[pa.Table]:
        """Yield the summaries of domains, with the columns of ``DOMAIN_HOUR``; those of a domain and hour add up."""
        schema = pa.schema([pa.field(each.name, _without_zone(each.type)) for each in SCHEMAS["domain_hours"]])
        for table in self._read("domain_hours"):
            yield table.select([*DOMAIN_HOUR]).cast(schema)

    def tuples(self, *, negative: bool = False) -> Iterator[pa.Table]:
        """Yield the tuples of passive DNS, each once, with the columns of ``TUPLE``; negative ones on demand."""
        with (
            TemporaryDirectory(prefix="dnsvigil-archive-") as folder,
            duckdb.connect(Path(folder) / "tuples.duckdb") as connection,
        ):
            connection.execute(f"SET memory_limit = '{_MEMORY}'; SET preserve_insertion_order = false")
            schema = pa.schema([pa.field(each.name, _without_zone(each.type)) for each in SCHEMAS["tuples"]])
            connection.register("piece", schema.empty_table())
            connection.execute("CREATE TABLE archived_tuples AS FROM piece")
            for table in self._read("tuples"):
                connection.register("piece", table.select(schema.names).cast(schema))
                connection.execute("INSERT INTO archived_tuples BY NAME FROM piece")
            connection.unregister("piece")
            lookup(connection, "sensor_bits", {"sensor": "VARCHAR", "bit": "UBIGINT"}, [], [])
            Steps(connection, "passive_dns").run("archived")
            where = "" if negative else f" WHERE NOT {is_in('rrtype', NEGATIVE_TYPES)}"
            query = f"SELECT {', '.join(TUPLE)} FROM archived{where}"
            for batch in connection.execute(query).to_arrow_reader(_ROWS):
                yield pa.Table.from_batches([batch]).cast(SCHEMA)

    def _read(self, name: str) -> Iterator[pa.Table]:
        for path in self._files:
            if path.parents[2].name != name:
                continue
            try:
                for table in read([path]):
                    if lacking := set(SCHEMAS[name].names).difference(table.column_names):
                        columns = ", ".join(sorted(lacking))
                        self.unreadable[path] = f"it lacks {columns}, as another version of dnsvigil has written it"
                        break
                    yield table
            except ArchiveFileError as error:
                self.unreadable[path] = error.reason


def _without_zone(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp(kind.unit) if pa.types.is_timestamp(kind) else kind
