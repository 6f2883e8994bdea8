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

from dnsvigil.records import TRANSACTION, Cursor
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.lines import Chunk, split
from dnsvigil.sources.zeek.log_types import DNS, LogType
from dnsvigil.sources.zeek.options import STOCK, LogOptions
from dnsvigil.sources.zeek.parser import Parser
from dnsvigil.sources.zeek.pending import pending_log
from dnsvigil.sources.zeek.reader import Batch, read_batches
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
        self._connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")  # as in the store
        self._parser = Parser(self._connection)

    def close(self) -> None:
        self._parser.close()
        self._connection.close()

    def parse(self, chunks: list[Chunk], log_type: LogType = DNS, options: LogOptions = STOCK) -> Taken:
        """Parse chunks."""
        batch = Batch(chunks, 0, Counter(), Cursor("1", "zeek", 0, "", 0, b"", ""), 0, log_type, options)
        (loaded,) = self._parser.load([batch])
        columns = ", ".join(log_type.record)
        rows = self._connection.execute(f"SELECT {columns} FROM {log_type.view} ORDER BY ALL").fetchall()
        assert len(rows) == loaded.records
        return Taken(rows, loaded.records + loaded.skipped.total(), loaded.skipped)

    def take(self, data: bytes, log_type: LogType = DNS, options: LogOptions = STOCK) -> Taken:
        """Cut and parse the content of a log."""
        chunks, _, skipped = split(data, None, log_type, options)
        parsed = self.parse(chunks, log_type, options) if chunks else Taken()
        return Taken(parsed.rows, parsed.read + skipped.total(), parsed.skipped + skipped)

    def batches(self, batches: Iterable[Batch]) -> Taken:
        """Parse what a reader gives; its own count of what it read must be right."""
        taken = Taken()
        for batch in batches:
            parsed = self.parse(batch.chunks, batch.log_type, batch.options) if batch.chunks else Taken()
            assert batch.read <= parsed.read + batch.skipped.total()  # a line may have several records
            taken.rows += parsed.rows
            taken.read += parsed.read + batch.skipped.total()
            taken.skipped += parsed.skipped + batch.skipped
        taken.rows.sort(key=repr)
        assert taken.read == len(taken.rows) + taken.skipped.total()
        return taken

    def file(self, path: Path, cursors: Cursors | None = None, *, finished: bool = True) -> Taken:
        """Read a file from its cursor, and keep that."""
        cursors = cursors or Cursors([])
        pending = pending_log(path, cursors)
        return self.batches(kept(read_batches(path, pending.cursor, finished, pending.log_type), cursors))


def kept(batches: Iterable[Batch], cursors: Cursors) -> Iterator[Batch]:
    """Yield the batches, and keep their cursors."""
    for batch in batches:
        yield batch
        cursors.put(batch.cursor)


_PACKAGE_COLUMNS = {
    "dnsvigil_pdns": {
        "ts": f"{START}.500000",
        "node": "worker-1",
        "rrname": "www.example.com",
        "rrtype": "A",
        "rdata": "192.0.2.80",
        "section": "answer",
        "bailiwick": "example.com",
        "ttl_min": "60",
        "ttl_max": "300",
        "count": "3",
        "time_first": f"{START}.100000",
        "time_last": f"{START}.400000",
    },
    "dnsvigil_open_resolver": {
        "ts": f"{START}.500000",
        "node": "worker-1",
        "host": "198.51.100.53",
        "kind": "recursive",
        "answered_from": "-",
        "askers": "4",
        "returning_askers": "1",
        "queries": "9",
        "responses": "8",
        "query_bytes": "300",
        "response_bytes": "30000",
        "sample_names": "a.example,b.example",
        "time_first": f"{START}.100000",
        "time_last": f"{START}.400000",
    },
    "dnsvigil_poisoning": {
        "ts": f"{START}.500000",
        "node": "worker-1",
        "resolver": "2001:db8::53",
        "zone": "example.com",
        "time_first": f"{START}.100000",
        "time_last": f"{START}.400000",
        "queries": "20",
        "responses": "25",
        "wrong_id": "5",
        "wrong_port": "1",
        "conflicting_answers": "0",
        "unsolicited": "0",
        "out_of_bailiwick": "0",
        "nxdomain_storm": "0",
        "forged_ns": "0",
        "first_fragments": "0",
        "icmp_unreachable": "0",
        "ttl_jumps": "0",
        "ip_ttl_jumps": "2",
        "port_entropy": "11.250000",
        "id_entropy": "-",
        "sources": "3",
        "sample_names": "(empty)",
        "sample_servers": "192.0.2.1,2001:db8::1",
        "odd_fragments": "0",
        "sample_records": "(empty)",
    },
    "dnsvigil_capture": {
        "ts": f"{START}.500000",
        "node": "worker-1",
        "interval": "60.000000",
        "packets": "1000",
        "packets_dropped": "10",
        "link_packets": "1010",
        "bytes": "120000",
        "dns_queries": "400",
        "dns_responses": "390",
        "unmatched_queries": "12",
        "unmatched_responses": "2",
        "malformed": "1",
        "dropped_pdns": "7",
        "dropped_open_resolver": "0",
        "dropped_poisoning": "0",
    },
}


def package_columns(path: str) -> list[str]:
    """Return the names of the columns of a log of the Zeek package."""
    return list(_PACKAGE_COLUMNS[path])


def package_header(path: str, /, **values: str) -> bytes:
    """Return the header of a log of the Zeek package."""
    return header_of(*_PACKAGE_COLUMNS[path], path=path, **values)


def package_line(path: str, /, **values: str) -> bytes:
    """Return a line of a log of the Zeek package in TSV."""
    return "\t".join((_PACKAGE_COLUMNS[path] | values).values()).encode() + NEWLINE


def package_json(path: str, /, **values: Any) -> bytes:
    """Return the same in JSON; None leaves a field out."""
    lists = ("section", "sample_names", "sample_servers", "sample_records")
    record: dict[str, Any] = {}
    for name, text in _PACKAGE_COLUMNS[path].items():
        if name in lists:
            record[name] = [] if text == "(empty)" else text.split(",")
        elif text != "-":
            record[name] = json.loads(text) if text.replace(".", "", 1).isdecimal() else text
    record |= values
    return json.dumps({name: value for name, value in record.items() if value is not None}).encode() + NEWLINE
