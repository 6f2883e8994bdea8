"""One file of the archive: a Parquet file of one table, day and sensor, as every engine reads it."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

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
}
"""The columns of each table. Day and sensor are in the path. All numbers have signs, which some engines need."""


class ArchiveFileError(Exception):
    """A file of the archive cannot be read."""

    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(f"{path}: {error}")
        self.path = path
        self.reason = str(error)


@dataclass(frozen=True)
class Written:
    """What a file holds."""

    rows: int
    size: int  # bytes


def write(path: Path, table: str, parts: Iterable[pa.Table]) -> Written:
    """Write the rows of a table, and have them on the disk. Raises ``OSError``; nothing is then left."""
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


def read(paths: Sequence[Path]) -> Iterator[pa.Table]:
    """Yield the rows of files, a row group at a time. Raises :class:`ArchiveFileError`."""
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise ArchiveFileError(path, error) from error
