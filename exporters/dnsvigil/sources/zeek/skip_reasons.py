"""Why a line or record is skipped."""

from typing import Final

MAX_LINE: Final = 65_536
"""Bytes in the longest line that is read; Zeek's own DNS records stay far below."""

SKIP_REASONS: Final = {
    "columns": "a line with more or fewer columns than its header names",
    "encoding": "bytes that are not UTF-8, or a carriage return inside the line",
    "too_long": f"a line of more than {MAX_LINE} bytes",
    "no_header": "a line that is neither JSON nor below a header that names its columns",
    "other_log": "a record of a log that is not read, or of another than its file begins with",
    "json": "a line that begins as JSON and is not JSON objects",
    "wrapped": "a record in an envelope, or behind a prefix, out of which it cannot be taken for sure",
    "timestamp": "a time that cannot be read, before 1990 or over an hour ahead (of a flow, or in the name of its file,"
    " over a day), or first and last in the wrong order",
    "too_old": "a query, a flow or a flow file so far behind event time that the store does not keep it any more",
    "address": "a client, server or host that is not an IP address",
    "number": "a query type or response code that is not a number of 16 bits, or a count or size that cannot be one",
    "rtt": "a round-trip time that is negative, longer than a day or cannot be read",
    "name": "a name of more than 255 octets, or none where the record is about a name",
    "word": "a record type or a kind of open resolver that cannot be one",
    "set_aside": "a record on which the collector failed; `dnsvigil set-aside` lists it",
    "truncated": "the end of a compressed file that breaks off, or the unfinished last line of a file",
}
"""Why a line or record is skipped: the values of the label ``reason``."""
