"""What sources give and the store keeps: the DNS transaction record, and the cursor of a log file."""

from dataclasses import dataclass
from typing import Final

import dns.rcode
import dns.rdatatype

TRANSACTION: Final[dict[str, str]] = {
    "ts": "TIMESTAMP",  # UTC, microseconds
    "sensor": "VARCHAR",
    "uid": "VARCHAR",
    "client": "VARCHAR",
    "client_port": "USMALLINT",
    "server": "VARCHAR",
    "server_port": "USMALLINT",
    "proto": "VARCHAR",
    "trans_id": "USMALLINT",
    "qname": "VARCHAR",  # lower case, no final dot, "." for the root; all but printable ASCII as \xNN
    "qclass": "USMALLINT",
    "qtype": "USMALLINT",
    "rcode": "USMALLINT",  # NULL: no answer was seen
    "rtt_seconds": "DOUBLE",
    "answers": "VARCHAR[]",
    "ttls": "DOUBLE[]",  # seconds
    "aa": "BOOLEAN",
    "tc": "BOOLEAN",
    "rd": "BOOLEAN",
    "ra": "BOOLEAN",
    "rejected": "BOOLEAN",
    "query_bytes": "UINTEGER",
    "response_bytes": "UINTEGER",
}
"""Column name to DuckDB type of the DNS transaction record. Every column but ``ts`` may be NULL."""

QTYPES: Final[dict[int, str]] = {int(rdtype): rdtype.name for rdtype in dns.rdatatype.RdataType}
"""Type number to its mnemonic, for the types that have one."""

RCODES: Final[dict[int, str]] = {int(rcode): rcode.name for rcode in dns.rcode.Rcode}
"""Response code number to its mnemonic, for the codes that have one."""

UNANSWERED: Final = "unanswered"
"""Stands beside the response codes where a query that got no answer is meant."""

OTHER: Final = "other"
"""The label of everything that is not shown by itself."""


@dataclass(frozen=True)
class Cursor:
    """How far one log file has been read.

    A file is known by what it begins with, not by its name or inode: it stays the same file when it is
    renamed, copied or compressed, and is another one when it is truncated and written anew.
    """

    id: str
    sensor: str
    head_size: int  # bytes, from the first record on
    head_hash: str  # SHA-256 of those bytes, in hex
    offset: int  # bytes of the uncompressed content that have been read
    header: bytes  # the TSV header in force at the offset, empty for none
    path: str  # the file, or the folder that is followed, where it was first seen
    whole_size: int = 0  # bytes on disk of the compressed file in which nothing is left behind the offset
