"""Records of JSON logs that do not stand alone on their line.

Shippers wrap a record in an envelope, syslog puts a prefix before it, and exports put several on one line. A record is
taken out only where that is certain: where all fields of Zeek's record are in one place, and a shipper puts records
there. Any other field of a record may come from the wire and is never looked into.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dnsvigil.sources.logs import LOG_OF, log_type_of
from dnsvigil.sources.zeek.field_names import in_stock_names

# Where Filebeat, Logstash, Fluentd, Vector, Promtail, journald, Splunk, Elasticsearch, Docker and Kafka put it.
_CONTENT: Final = (
    *("message", "log", "event.original", "event", "original", "MESSAGE", "msg", "line", "_raw", "raw", "body"),
    *("_source", "result", "json", "zeek", "record", "data", "payload", "value", *LOG_OF),
)
_MAX_DEPTH: Final = 5
_PREFIX: Final = re.compile(
    r"(?:\d{1,6} )?(?:<\d{1,3}>)?(?:"
    r"1 \S+ \S+ \S+ \S+ \S+ (?:-|(?:\[[^\]]*\])+)\s*"  # RFC 5424
    # RFC 3164, and rsyslog with its own time
    r"|(?:[A-Z][a-z]{2} [ \d]\d (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d+)?|\d{4}-\d\d-\d\dT\S+) \S+ [^\s{]+:\s*"
    r"|\d{4}-\d\d-\d\dT\S+ (?:stdout|stderr) [FP] "  # containers
    r"|[^\s{:]+:\s*"  # a tag alone
    r")(?:\ufeff|@cee:\s*)?(?=[\[{])"
)
_DECODER: Final = json.JSONDecoder()


def unwrap(line: bytes, renamed: Mapping[str, str]) -> list[bytes]:
    """Return the records on a line of JSON, each as a line under Zeek's names; none for a line that is one record.

    There is none either where the line is not JSON alone behind a known prefix.
    """
    found: list[bytes] = []
    try:
        for each, text in _objects(line.decode()):
            record = _record_in(each, renamed, _MAX_DEPTH)
            found.append(json.dumps(record).encode() if record else text.replace("\n", " ").encode())
    except (ValueError, RecursionError):
        return []
    return [] if found == [line.strip()] else found


def records_in(line: bytes, renamed: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the records on a line, or on part of one, under Zeek's names; an object that is no record as it is."""
    try:
        for each, _ in _objects(line.decode("utf-8", "replace")):
            yield _record_in(each, renamed, _MAX_DEPTH) or each
    except (ValueError, RecursionError):
        return


def is_complete(line: bytes) -> bool:
    """Return whether a line of JSON without a line end is complete, and no part of a record."""
    try:
        return len(list(_objects(line.decode()))) > 0
    except (ValueError, RecursionError):
        return False


def is_wrapped(line: bytes, renamed: Mapping[str, str]) -> bool:
    """Return whether a line that is no record looks like an envelope, or like a prefix before a record."""
    text = line.decode("utf-8", "replace")
    if _PREFIX.match(text):
        return True
    found = list(records_in(line, renamed))
    return any("ts" not in each and any(name in each for name in _CONTENT) for each in found)


def _objects(text: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the objects on a line, alone or in a list, with their text. Raises ``ValueError`` for anything else."""
    at = prefix.end() if (prefix := _PREFIX.match(text)) else 0
    in_list = False
    while at < len(text):
        if text[at] in " \t\r\n,":
            at += 1
        elif text[at] == ("]" if in_list else "["):
            in_list = not in_list
            at += 1
        elif text[at] == "{":
            value, end = _DECODER.raw_decode(text, at)
            yield value, text[at:end]
            at = end
        else:
            break
    if at < len(text) or in_list:
        raise ValueError("not all of the line is JSON objects")


def _record_in(found: dict[str, Any], renamed: Mapping[str, str], depth: int) -> dict[str, Any] | None:
    """Return the one record that an object is or contains, under Zeek's names; None where that is not certain."""
    record = in_stock_names(found, renamed)
    if log_type_of(str(record.get("_path", "")), record):
        return record
    if "ts" in record or not depth:
        return None  # another log of Zeek's; anybody may have written what its fields hold
    inner = [_content(found[name], renamed, depth - 1) for name in _CONTENT if name in found]
    records = [record for record in inner if record]
    return records[0] if records and all(record == records[0] for record in records) else None


def _content(value: Any, renamed: Mapping[str, str], depth: int) -> dict[str, Any] | None:
    if isinstance(value, dict):
        return _record_in(value, renamed, depth)
    try:
        objects = [each for each, _ in _objects(value)] if isinstance(value, str) else []
    except (ValueError, RecursionError):
        return None
    return _record_in(objects[0], renamed, depth) if len(objects) == 1 else None
