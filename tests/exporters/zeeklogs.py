"""Lines of dns.log for tests, and what the sources make of them."""

import gzip
import json
import lzma
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import zstandard

from dnsvigil.records import TRANSACTION
from dnsvigil.sources.cursors import Cursors
from dnsvigil.sources.follow import pending_log
from dnsvigil.sources.parser import Parser
from dnsvigil.sources.reader import Batch, read_batches
from dnsvigil.sources.zeek import Piece, split
from lab import zeeklog

START = 1_700_000_000
HEADER = zeeklog.header(START)
FIELDS = [name for name, _ in zeeklog.DNS_COLUMNS]
TAB, NEWLINE = b"\t", b"\n"

COMPRESS = {"plain": bytes, "gz": gzip.compress, "xz": lzma.compress, "zst": zstandard.ZstdCompressor().compress}

_GOOD = {
    "ts": f"{START}.250000",
    "uid": "CuidCuidCuidCuid01",
    "id.orig_h": "198.51.100.7",
    "id.orig_p": "40000",
    "id.resp_h": "192.0.2.53",
    "id.resp_p": "53",
    "proto": "udp",
    "trans_id": "4711",
    "rtt": "0.012500",
    "query": "www.example.com",
    "qclass": "1",
    "qclass_name": "C_INTERNET",
    "qtype": "28",
    "qtype_name": "AAAA",
    "rcode": "0",
    "rcode_name": "NOERROR",
    "AA": "F",
    "TC": "F",
    "RD": "T",
    "RA": "T",
    "Z": "0",
    "answers": "2001:db8::1",
    "TTLs": "300.000000",
    "rejected": "F",
}
_READ_TSV = zeeklog.Columns().parser()


def tsv(fields: Iterable[str] = FIELDS, **values: str) -> bytes:
    """Return one line of TSV; ``values`` are Zeek's text, named with ``_`` for a dot."""
    record = _GOOD | {name: values.get(name.replace(".", "_"), _GOOD[name]) for name in FIELDS}
    return "\t".join(record.get(name, "-") for name in fields).encode() + NEWLINE


def as_json(line: bytes, **values: Any) -> bytes:
    """Return a line of TSV in JSON, with other ``values``; None leaves one out."""
    record = _READ_TSV(line) | {name.replace("id_", "id."): value for name, value in values.items()}
    return json.dumps({name: value for name, value in record.items() if value is not None}).encode() + NEWLINE


def log_lines(count: int, name: str = "h{}.example.com", **values: str) -> list[bytes]:
    """Return so many good lines, a tenth of a second apart, which differ in time, uid and name."""
    return [
        tsv(**{"ts": f"{START + i / 10:.6f}", "uid": f"Cuid{i:014}", "query": name.format(i)} | values)
        for i in range(count)
    ]


def header_of(*fields: str, **values: str) -> bytes:
    """Return a header that names these fields; ``values`` are those of its other lines, empty for none at all."""
    lines = {"set_separator": ",", "empty_field": "(empty)", "unset_field": "-", "path": "dns"} | values
    text = "".join(f"#{name}\t{value}\n" for name, value in lines.items() if value)
    return ("#separator \\x09\n" + text + "\t".join(("#fields", *fields)) + "\n").encode()


@dataclass
class Taken:
    """What became of some lines: the records, and how many were read, and skipped by reason."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def column(self, name: str) -> list[Any]:
        """Return the sorted values of one column."""
        position = list(TRANSACTION).index(name)
        return sorted((row[position] for row in self.rows), key=repr)

    @property
    def names(self) -> list[str]:
        """Return the query names, sorted."""
        return self.column("qname")


class Taker:
    """Parses into a database of its own, with all columns of the record."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(config={"threads": 2})
        self._connection.execute("SET TimeZone = 'UTC'")
        self._parser = Parser(self._connection, list(TRANSACTION))

    def close(self) -> None:
        self._parser.close()
        self._connection.close()

    def parse(self, pieces: list[Piece], sensor: str = "zeek") -> Taken:
        """Parse pieces."""
        ingested, skipped = self._parser.load(pieces, sensor)
        columns = ", ".join(TRANSACTION)
        rows = self._connection.execute(f"SELECT {columns} FROM {Parser.VIEW} ORDER BY ALL").fetchall()
        assert len(rows) == ingested
        return Taken(rows, ingested + skipped.total(), skipped)

    def take(self, data: bytes) -> Taken:
        """Cut and parse the content of a log."""
        pieces, _, skipped = split(data, None)
        parsed = self.parse(pieces) if pieces else Taken()
        return Taken(parsed.rows, parsed.read + skipped.total(), parsed.skipped + skipped)

    def batches(self, batches: Iterable[Batch]) -> Taken:
        """Parse what a reader gives; its own count of what it read must be right."""
        taken = Taken()
        for batch in batches:
            parsed = self.parse(batch.pieces) if batch.pieces else Taken()
            assert batch.read == parsed.read + batch.skipped.total()
            taken.rows += parsed.rows
            taken.read += batch.read
            taken.skipped += parsed.skipped + batch.skipped
        taken.rows.sort(key=repr)
        assert taken.read == len(taken.rows) + taken.skipped.total()
        return taken

    def file(self, path: Path, cursors: Cursors | None = None, *, finished: bool = True) -> Taken:
        """Read a file from its cursor, and keep that."""
        cursors = cursors or Cursors([])
        return self.batches(kept(read_batches(path, pending_log(path, cursors).cursor, finished), cursors))


def kept(batches: Iterable[Batch], cursors: Cursors) -> Iterator[Batch]:
    """Yield the batches, and keep their cursors."""
    for batch in batches:
        yield batch
        cursors.put(batch.cursor)
