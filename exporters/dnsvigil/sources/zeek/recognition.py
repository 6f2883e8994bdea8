"""What a file is by its first lines, in TSV or JSON."""

from collections.abc import Sequence

from dnsvigil.sources.logs import log_type_of
from dnsvigil.sources.zeek.header import Header
from dnsvigil.sources.zeek.lines import sections
from dnsvigil.sources.zeek.log_types import LogType
from dnsvigil.sources.zeek.options import STOCK, LogOptions
from dnsvigil.sources.zeek.times import relative_seconds
from dnsvigil.sources.zeek.unwrap import is_wrapped, records_in


def first_log_type(head: bytes, options: LogOptions = STOCK) -> LogType | None:
    """Return which log a file is by its first lines; None where they are of no log that is read."""
    for comment, body in sections(head.lstrip(b"\0")):
        header = Header.parse(comment, options)
        if header and header.log_type:
            return header.log_type
        for line in body.split(b"\n"):
            for record in records_in(line, options.renamed):
                if log_type := log_type_of(str(record.get("_path", "")), record):
                    return log_type
    return None


def describe(head: bytes, options: LogOptions = STOCK) -> str:
    """Return in a few words, not escaped, what a file's first lines are."""
    head = head.lstrip(b"\0")
    for comment, body in sections(head):
        if header := Header.parse(comment, options):
            return f"Zeek's log {header.path}" if header.path else f"a log of Zeek with {_some(header.fields)}"
        line = next((line for line in body.split(b"\n") if line.strip()), b"")
        for record in records_in(line, options.renamed):
            if path := record.get("_path"):
                return f"Zeek's log {path}"
            return f"{'envelopes' if is_wrapped(line, options.renamed) else 'JSON'} with {_some(list(record))}"
        if line:
            text = line[:40].decode("utf-8", "replace").rstrip("\ufffd").strip()
            whole = "\ufffd" not in text and text.replace("\t", " ").isprintable()
            return f'lines such as "{text}"' if whole and text else "binary data"
    return "header lines alone" if head.strip() else "it is empty"


def _some(names: Sequence[str]) -> str:
    return f"the fields {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}"


def starts_relative(head: bytes, options: LogOptions = STOCK) -> float | None:
    """Return the time of a log's first record in seconds since the start of a capture; None for any other time."""
    for comment, body in sections(head.lstrip(b"\0")):
        header = Header.parse(comment, options)
        for line in body.split(b"\n"):
            if header and "ts" in header.fields:
                cells = line.decode("utf-8", "replace").split(header.separator)
                return relative_seconds(dict(zip(header.fields, cells, strict=False)).get("ts", ""))
            for record in records_in(line, options.renamed):
                return relative_seconds(str(record.get("ts", "")))
    return None
