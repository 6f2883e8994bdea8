"""Reads what an archive has of domains, as the store has it."""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import duckdb
import pyarrow as pa

from dnsvigil.engines.duckdb import Steps, bounds, is_in, lookup
from dnsvigil.records import DOMAIN_HOUR, TUPLE
from dnsvigil.sources.remote.mirror import whole
from dnsvigil.store.archive import Place
from dnsvigil.store.archive_file import SCHEMAS, ArchiveFileError, read, read_footer
from dnsvigil.store.tuple_file import SCHEMA
from dnsvigil.store.tuple_keys import NEGATIVE_TYPES

log = logging.getLogger(__name__)

TABLES: Final = ("domain_hours", "tuples")
"""The tables that are read here."""

HOURS: Final = pa.schema([SCHEMAS["domain_hours"].field(name) for name in DOMAIN_HOUR])
"""The columns of summaries that are read."""

_PARTITIONS: Final = ("day=*/sensor=*", "site=*/day=*/sensor=*")
_ROWS: Final = 65_536  # of a table that is given
_NAMED: Final = 3  # sensors


def is_archive(path: Path) -> bool:
    """Return whether a folder has files of an archive, be it of tables that are not read here."""
    return any(next(path.glob(f"{table}/{below}"), None) for table in SCHEMAS for below in _PARTITIONS)


def files_of_tables(root: Path) -> list[Path]:
    """Return the files of the tables that are read here, in a folder that may be an archive."""
    found = (root.glob(f"{table}/{below}/*.parquet") for table in TABLES for below in _PARTITIONS)
    return [path for paths in found for path in sorted(paths)]


def archive_files(*roots: Path) -> list[Path]:
    """Return the files of archives that are read here, each once; what is odd about them is logged.

    A file is left out where another has all of its rows: a copy of an archive may have both.
    """
    found = {
        (place.table, place.day, place.sensor, path.name): path
        for root in roots
        for path in files_of_tables(root)
        for place in [Place.of(path)]
    }
    keys: dict[tuple[str, str], set[str | None]] = defaultdict(set)
    replaced = set()
    for (table, day, sensor, _), path in found.items():
        with suppress(ArchiveFileError):  # the reader says so
            footer = read_footer(path)
            replaced |= {(table, day, sensor, name) for name in footer.replaced}
            keys[Place.of(path).site, sensor] |= set(footer.keys)
    if twice := found.keys() & replaced:
        log.warning(
            "%d files are left out, because others have all of their rows: remove what is no longer in the archive"
            " that this is a copy of",
            len(twice),
        )
    _report_keys(keys)
    return [path for name, path in found.items() if name not in twice]


def _report_keys(found: Mapping[tuple[str, str], Collection[str | None]]) -> None:
    several = [name for name, keys in found.items() if len({*keys} - {None}) > 1]
    if several:
        log.warning(
            "the clients of %s stand under more than one key, and those under both count more than once; sites with"
            " sensors of the same names need archive.site",
            _names(several),
        )
    if alone := [name for name, keys in found.items() if None in keys]:
        log.warning(
            "the archive has the clients of %s as numbers, in some files or all, which do not add up: the features of"
            " clients are without them",
            _names(alone),
        )


def _names(sensors: Sequence[tuple[str, str]]) -> str:
    named = [f"{sensor or 'no name'} of site {site}" if site else sensor or "no name" for site, sensor in sensors]
    more = [f"{len(named) - _NAMED} others"] if len(named) > _NAMED else []
    return f"sensor {', '.join([*named[:_NAMED], *more])}"


class ArchiveReader:
    """Reads files of archives. ``unreadable`` has those that were left out, each with the reason."""

    def __init__(
        self, files: Iterable[Path], bits: Mapping[str, int] | None = None, *, one_thread: bool = False
    ) -> None:
        """Take the files, and the bits of the sensors of tuples, by :attr:`Place.source`; others have none.

        ``one_thread`` is for a task, of which several run at once.
        """
        self._files = list(files)
        self._bounds = partial(bounds, threads=1) if one_thread else bounds
        self._bits = bits or {}
        self.unreadable: dict[Path, str] = {}

    def hours(self) -> Iterator[pa.Table]:
        """Yield the summaries of domains, with the columns of ``DOMAIN_HOUR``; those of a domain and hour add up."""
        schema = pa.schema([pa.field(each.name, _without_zone(each.type)) for each in HOURS])
        for _, table in self._read("domain_hours"):
            yield table.select(schema.names).cast(schema)

    def tuples(self, *, negative: bool = False) -> Iterator[pa.Table]:
        """Yield the tuples of passive DNS, each once, with the columns of ``TUPLE``; negative ones on demand."""
        with (
            TemporaryDirectory(prefix="dnsvigil-archive-") as folder,
            duckdb.connect(Path(folder) / "tuples.duckdb") as connection,
        ):
            connection.execute(f"{self._bounds()}; SET preserve_insertion_order = false")
            schema = pa.schema([pa.field(each.name, _without_zone(each.type)) for each in SCHEMAS["tuples"]])
            connection.register("chunk", schema.empty_table())
            connection.execute("CREATE TABLE archived_tuples AS SELECT *, '' AS sensor FROM chunk")
            for place, table in self._read("tuples"):
                connection.register("chunk", table.select(schema.names).cast(schema))
                query = "INSERT INTO archived_tuples BY NAME SELECT *, ? AS sensor FROM chunk"
                connection.execute(query, [place.source])
            connection.unregister("chunk")
            ((rows,),) = connection.execute("SELECT count(*) FROM archived_tuples").fetchall()
            connection.execute(self._bounds(rows))
            types = {"sensor": "VARCHAR", "bit": "UBIGINT"}
            lookup(connection, "sensor_bits", types, [*self._bits], [*self._bits.values()])
            Steps(connection, "passive_dns").run("archived")
            where = "" if negative else f" WHERE NOT {is_in('rrtype', NEGATIVE_TYPES)}"
            query = f"SELECT {', '.join(TUPLE)} FROM archived{where}"
            for batch in connection.execute(query).to_arrow_reader(_ROWS):
                yield pa.Table.from_batches([batch]).cast(SCHEMA)

    def _read(self, name: str) -> Iterator[tuple[Place, pa.Table]]:
        for path in self._files:
            place = Place.of(path)
            if place.table == name:
                try:
                    with whole(path) as file:
                        yield from ((place, table) for table in read(name, [file]))
                except ArchiveFileError as error:
                    self.unreadable[path] = error.reason
                except OSError as error:
                    self.unreadable[path] = error.strerror or str(error)


def _without_zone(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp(kind.unit) if pa.types.is_timestamp(kind) else kind
