"""The lines of Zeek's logs, in their TSV and their JSON form: headers, records, and what is neither."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

from dnsvigil.sources.zeek.fields import stock_names
from dnsvigil.sources.zeek.log_types import LogType, log_type_of
from dnsvigil.sources.zeek.options import STOCK, LogOptions
from dnsvigil.sources.zeek.times import relative_seconds
from dnsvigil.sources.zeek.unwrap import is_wrapped, records_in, unwrap

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

_JSON_LINE: Final = re.compile(rb"^\{.*\n?", re.MULTILINE)


@dataclass(frozen=True)
class Header:
    """What the ``#`` lines above the records of a TSV log say."""

    text: bytes
    separator: str
    set_separator: str
    empty: str
    unset: str
    path: str
    fields: tuple[str, ...]

    @classmethod
    def parse(cls, text: bytes, options: LogOptions = STOCK) -> Self | None:
        """Return the header that ``text`` (whole ``#`` lines) gives, or None where no records can be read by it."""
        separator = "\t"
        values: dict[str, list[str]] = {}
        for whole in text.decode("utf-8", "replace").split("\n"):
            line = whole.removesuffix("\r")
            if line.startswith("#separator "):
                escaped = line.removeprefix("#separator ").encode("latin-1", "replace")
                separator = escaped.decode("unicode_escape", "replace")
                if len(separator) != 1:
                    return None
                continue
            name, *rest = line.removeprefix("#").split(separator)
            values[name] = rest
        fields = values.get("fields", [])
        unset = (values.get("unset_field") or ["-"])[0]
        words = [unset, *values.get("set_separator", []), *values.get("empty_field", [])]
        if not fields or separator in "\0\r" or separator in unset or any("\0" in each for each in words):
            return None
        names = stock_names(fields, options.renamed)
        return cls(
            text=text,
            separator=separator,
            set_separator=(values.get("set_separator") or [","])[0],
            empty=(values.get("empty_field") or ["(empty)"])[0],
            unset=unset,
            path=(values.get("path") or [""])[0],
            fields=tuple(names.get(name, name) for name in fields),
        )

    @cached_property
    def log_type(self) -> LogType | None:
        """The log that the records below are of; None for one that is not read."""
        return log_type_of(self.path, self.fields)


@dataclass(frozen=True)
class Chunk:
    """Whole lines of one form: ``header`` says the columns of TSV, None means JSON."""

    body: bytes
    header: Header | None

    @cached_property
    def lines(self) -> int:
        """The number of lines."""
        return count_lines(self.body)


def split(
    data: bytes, header: Header | None, log_type: LogType, options: LogOptions = STOCK
) -> tuple[list[Chunk], Header | None, Counter[str]]:
    """Cut whole lines of a log of one type at the header lines among them.

    ``header`` is the one in force where ``data`` begins; without one, all lines are taken for JSON. Returns the chunks,
    the header in force at the end, and the lines that nothing can be made of, by reason.
    """
    bodies: dict[Header | None, list[bytes]] = {}
    skipped: Counter[str] = Counter()
    for comment, body in _sections(data):
        if comment:
            header = Header.parse(comment, options) or header
        if not header:
            bodies.setdefault(None, []).append(body)
            continue
        has_json = _find_line(body, b"{", 0) >= 0
        if has_json:
            bodies.setdefault(None, []).append(b"".join(_JSON_LINE.findall(body)))
        tsv = _JSON_LINE.sub(b"", body) if has_json else body
        if header.log_type is log_type:
            bodies.setdefault(header, []).append(tsv)
        elif tsv:
            skipped["other_log"] += count_lines(tsv)
    chunks = [Chunk(body, form) for form, parts in bodies.items() if (body := b"".join(parts))]
    return chunks, header, skipped


def _sections(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each run of ``#`` lines with the run of other lines after it; either may be empty."""
    start = 0
    while start < len(data):
        body = start
        while data.startswith(b"#", body):
            body = data.find(b"\n", body) + 1 or len(data)
        end = _find_line(data, b"#", body)
        end = len(data) if end < 0 else end
        yield data[start:body], data[body:end]
        start = end


def _find_line(data: bytes, sign: bytes, start: int) -> int:
    """Return where the first line begins with ``sign`` from ``start``, the beginning of a line, on; -1 for nowhere."""
    at = data.find(sign, start)
    # One byte is found many times faster than two, and these are rare in names.
    for _ in range(1000):
        if at <= start or data.startswith(b"\n", at - 1):
            return at
        at = data.find(sign, at + 1)
    found = data.find(b"\n" + sign, at - 1)
    return found + 1 if found >= 0 else -1


def count_lines(body: bytes) -> int:
    """Return the number of lines, one without an end included."""
    return body.count(b"\n") + (not body.endswith(b"\n") if body else 0)


def is_whole(line: bytes, header: Header | None) -> bool:
    """Tell whether a line without an end looks like a whole one."""
    if line.startswith(b"#"):
        return True
    if header is None or line.startswith(b"{"):
        return line.rstrip().endswith((b"}", b"]"))
    return not _line_reason(line.removesuffix(b"\r"), header)


def first_log_type(head: bytes, options: LogOptions = STOCK) -> LogType | None:
    """Tell from a file's first lines which log it is, in either form; None where they are of none that is read."""
    for comment, body in _sections(head.lstrip(b"\0")):
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
    for comment, body in _sections(head):
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
    """Return the seconds since the start of a capture at which the first record of a log is.

    None where its time is none that counts from there.
    """
    for comment, body in _sections(head.lstrip(b"\0")):
        header = Header.parse(comment, options)
        for line in body.split(b"\n"):
            if header and "ts" in header.fields:
                cells = line.decode("utf-8", "replace").split(header.separator)
                return relative_seconds(dict(zip(header.fields, cells, strict=False)).get("ts", ""))
            for record in records_in(line, options.renamed):
                return relative_seconds(str(record.get("ts", "")))
    return None


def has_long_line(body: bytes) -> bool:
    """Tell whether there is a line that :func:`filter_lines` drops for its length."""
    start = 0
    while len(body) - start > MAX_LINE:
        end = body.rfind(b"\n", start, start + MAX_LINE)
        if end < 0:
            return True
        start = end + 1
    return False


def is_clean(chunk: Chunk) -> bool:
    """Return, after a quick look, whether the parser takes no line that :func:`filter_lines` would drop."""
    body = chunk.body
    if b"\r" in body or has_long_line(body):
        return False
    if chunk.header is None:
        # The parser takes a line that breaks off before a value, such as {"a": or [, and the next for one.
        return body.count(b"}\n") + body.endswith(b"}") == chunk.lines
    separators = chunk.lines * (len(chunk.header.fields) - 1)
    return _is_utf8(body) and body.count(chunk.header.separator.encode()) == separators


def filter_lines(chunk: Chunk, options: LogOptions = STOCK) -> tuple[list[bytes], Counter[str]]:
    """Look at every line; return those that can be parsed, and how many of the others there are by reason."""
    kept: list[bytes] = []
    skipped: Counter[str] = Counter()
    for line in chunk.body.removesuffix(b"\n").split(b"\n"):
        text = line.removesuffix(b"\r")
        reason = _line_reason(text, chunk.header)
        if chunk.header is None and reason in (None, "too_long") and (reason or not _is_object(text)):
            records = unwrap(text, options.renamed)
            skipped[reason or why_no_record(text, "json", options)] += not records
            skipped["too_long"] += sum(len(record) >= MAX_LINE for record in records)
            kept += [record for record in records if len(record) < MAX_LINE]
        elif reason:
            skipped[reason] += 1
        else:
            kept.append(text)
    return kept, skipped


def _is_object(line: bytes) -> bool:
    text = line.strip()
    return text.startswith(b"{") and text.endswith(b"}")


def why_no_record(line: bytes, reason: str, options: LogOptions = STOCK) -> str:
    """Return why nothing can be made of a line without a header for which the parser found ``reason``."""
    if reason not in ("json", "other_log"):
        return reason
    if is_wrapped(line, options.renamed):
        return "wrapped"
    return reason if line.lstrip().startswith((b"{", b"[")) else "no_header"


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _line_reason(line: bytes, header: Header | None) -> str | None:
    if len(line) >= MAX_LINE:
        return "too_long"
    if b"\r" in line:
        return "encoding"
    if header is None:
        return None if line.strip() else "no_header"
    if not _is_utf8(line):
        return "encoding"
    # A blank line is none of the records, however many columns they have.
    return None if line and line.count(header.separator.encode()) == len(header.fields) - 1 else "columns"
