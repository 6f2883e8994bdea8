"""One file of the archive: a Parquet file of one table, day and sensor, as every engine reads it."""

import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from dnsvigil.store.archive_clients import ADDED, completed
from dnsvigil.store.pseudonyms import NO_KEY

_ROWS: Final = 2**17  # of a row group

_TIME: Final = pa.timestamp("us", tz="UTC")
_NUMBERS: Final = pa.list_(pa.int64())
_TEXTS: Final = pa.list_(pa.string())

SCHEMAS: Final = {
    "transactions": pa.schema(
        [
            ("ts", _TIME),
            ("uid", pa.string()),
            ("client", pa.string()),
            ("client_port", pa.int32()),
            ("server", pa.string()),
            ("server_port", pa.int32()),
            ("proto", pa.string()),
            ("trans_id", pa.int32()),
            ("qname", pa.string()),
            ("qclass", pa.int32()),
            ("qtype", pa.int32()),
            ("rcode", pa.int32()),
            ("rtt_seconds", pa.float64()),
            ("answers", _TEXTS),
            ("ttls", pa.list_(pa.float64())),
            *((name, pa.bool_()) for name in ("aa", "tc", "rd", "ra", "rejected")),
            ("query_bytes", pa.int64()),
            ("response_bytes", pa.int64()),
            ("answer_types", _TEXTS),
            ("edns_udp_size", pa.int64()),
            ("dnssec_ok", pa.bool_()),
            ("ede", pa.list_(pa.int32())),
        ]
    ),
    "domain_hours": pa.schema(
        [
            ("domain", pa.string()),
            ("hour", _TIME),
            *((name, pa.int64()) for name in ("queries", "known", "failed", "nxdomain")),
            ("first_seen", _TIME),
            ("last_seen", _TIME),
            ("clients", _NUMBERS),
            ("names", _NUMBERS),
            ("client_count", pa.int64()),
            ("client_key", pa.string()),
        ]
    ),
    "tuples": pa.schema(
        [
            *((name, pa.string()) for name in ("rrname", "rrtype", "rdata", "bailiwick")),
            ("time_first", _TIME),
            ("time_last", _TIME),
            *((name, pa.int64()) for name in ("count", "ttl_min", "ttl_max")),
            ("seen_in", pa.int16()),
        ]
    ),
    "dns_flows": pa.schema(
        [
            ("ts", _TIME),
            ("client", pa.string()),
            ("server", pa.string()),
            ("server_port", pa.int32()),
            ("proto", pa.string()),
            *(
                (f"{way}_{count}", pa.int64())
                for way in ("query", "response")
                for count in ("flows", "packets", "bytes")
            ),
            ("unanswered", pa.int64()),
        ]
    ),
}
"""The columns of each table. Day and sensor are in the path. All numbers have signs, which some engines need."""


_REPLACED: Final = b"dnsvigil.replaces"


class ArchiveFileError(Exception):
    """A file of the archive cannot be read."""

    def __init__(self, path: Path, error: object) -> None:
        super().__init__(f"{path}: {error}")
        self.path = path
        self.reason = str(error)


@dataclass(frozen=True)
class Written:
    """What a file holds."""

    rows: int
    size: int  # bytes


def write(path: Path, table: str, parts: Iterable[pa.Table], replaced: Iterable[str] = ()) -> Written:
    """Write the rows of a table, and have them on the disk; ``replaced`` are names of files that have them as well.

    Raises ``OSError``; nothing is then left.
    """
    schema = SCHEMAS[table]
    rows = 0
    waiting: list[pa.Table] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=3)
    try:
        for part in parts:
            waiting.append(part.select(schema.names).cast(schema))
            rows += part.num_rows
            if sum(each.num_rows for each in waiting) >= _ROWS:
                writer.write_table(pa.concat_tables(waiting))
                waiting.clear()
        if replaced:
            writer.add_key_value_metadata({_REPLACED: json.dumps(sorted(replaced)).encode()})
        writer.write_table(pa.concat_tables([*waiting, schema.empty_table()]))
        writer.close()
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        return Written(rows, path.stat().st_size)
    except BaseException:
        with suppress(OSError):  # where there is no space left
            writer.close()
        path.unlink(missing_ok=True)
        raise


def read(table: str, paths: Sequence[Path]) -> Iterator[pa.Table]:
    """Yield the rows of files of a table, a row group at a time. Raises :class:`ArchiveFileError`."""
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                if lacking := set(SCHEMAS[table].names).difference(file.schema_arrow.names, ADDED):
                    columns = ", ".join(sorted(lacking))
                    raise ArchiveFileError(path, f"it lacks {columns}, as another version of dnsvigil has written it")
                for group in range(file.num_row_groups):
                    rows = file.read_row_group(group, use_threads=False)
                    yield completed(rows) if table == "domain_hours" else rows
        except (OSError, pa.ArrowException) as error:
            raise ArchiveFileError(path, error) from error


@dataclass(frozen=True)
class Footer:
    """What the footer of a file says."""

    replaced: Sequence[str]  # names of files of which it has all rows
    keys: Collection[str | None]  # of the pseudonyms in it; None for clients that are a number alone


def read_footer(path: Path) -> Footer:
    """Return what a file says without its rows. Raises :class:`ArchiveFileError`."""
    try:
        metadata = pq.read_metadata(path)
        replaced = [*map(str, json.loads((metadata.metadata or {}).get(_REPLACED, b"[]")))]
        # A store replaces its own files alone, whose names begin alike.
        return Footer([name for name in replaced if name.startswith(_writer(path.name))], _keys(metadata))
    except (OSError, pa.ArrowException, ValueError, TypeError) as error:
        raise ArchiveFileError(path, error) from error


def _writer(name: str) -> str:
    return name.partition("-")[0] + "-"


def _keys(metadata: pq.FileMetaData) -> Collection[str | None]:
    """Return the least and the greatest key of each row group, as their statistics have them."""
    columns = {metadata.schema.column(place).path: place for place in range(metadata.num_columns)}
    if "client_key" not in columns:
        return {NO_KEY} if any(name.startswith("clients.") for name in columns) else ()
    found: set[str | None] = set()
    for number in range(metadata.num_row_groups):
        statistics = metadata.row_group(number).column(columns["client_key"]).statistics
        if statistics:  # which other programs may leave out
            found |= {statistics.min, statistics.max} if statistics.has_min_max else set()
            found |= {None} if statistics.null_count else set()
    return found
