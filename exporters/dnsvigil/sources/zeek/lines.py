"""The lines of Zeek's logs, in their TSV and their JSON form: cut into chunks, and filtered where some are bad."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from dnsvigil.sources.zeek.header import Header
from dnsvigil.sources.zeek.log_types import LogType
from dnsvigil.sources.zeek.options import STOCK, LogOptions
from dnsvigil.sources.zeek.skip_reasons import MAX_LINE
from dnsvigil.sources.zeek.unwrap import is_wrapped, unwrap

_JSON_LINE: Final = re.compile(rb"^\{.*\n?", re.MULTILINE)


@dataclass(frozen=True)
class Chunk:
    """Whole lines of one form: TSV with the columns of ``header``, JSON where that is None."""

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
    the header in force at the end, and how many lines cannot be used, by reason.
    """
    bodies: dict[Header | None, list[bytes]] = {}
    skipped: Counter[str] = Counter()
    for comment, body in sections(data):
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


def pieces(chunk: Chunk, size: int) -> Iterator[Chunk]:
    """Yield the lines of a chunk in parts of at least so many bytes, and hardly more but for the last."""
    start = 0
    while len(chunk.body) - start >= 2 * size:
        end = chunk.body.find(b"\n", start + size) + 1
        if not end:
            break
        yield Chunk(chunk.body[start:end], chunk.header)
        start = end
    yield Chunk(chunk.body[start:], chunk.header) if start else chunk


def sections(data: bytes) -> Iterator[tuple[bytes, bytes]]:
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
    return _count(body, b"\n") + (not body.endswith(b"\n") if body else 0)


def _count(body: bytes, sign: bytes) -> int:
    """Return how often ``sign`` is in ``body``."""
    if len(sign) > 1:
        return body.count(sign)
    # bytes.count() takes four times as long where there is one in every few bytes.
    data, step = np.frombuffer(body, np.uint8), 2**17
    return sum(int(np.count_nonzero(data[at : at + step] == sign[0])) for at in range(0, len(data), step))


def is_whole(line: bytes, header: Header | None) -> bool:
    """Return whether a line without a line end looks like a whole one."""
    if line.startswith(b"#"):
        return True
    if header is None or line.startswith(b"{"):
        return line.rstrip().endswith((b"}", b"]"))
    return not _line_reason(line.removesuffix(b"\r"), header)


def has_long_line(body: bytes) -> bool:
    """Return whether there is a line that :func:`filter_lines` drops for its length."""
    start = 0
    while len(body) - start > MAX_LINE:
        end = body.rfind(b"\n", start, start + MAX_LINE)
        if end < 0:
            return True
        start = end + 1
    return False


def is_text(body: bytes) -> bool:
    """Return, after a quick look, whether :func:`filter_lines` drops no line of TSV for its length or its bytes."""
    return b"\r" not in body and not has_long_line(body) and _is_utf8(body)


def is_clean(chunk: Chunk) -> bool:
    """Return, after a quick look, whether the parser takes no line that :func:`filter_lines` would drop."""
    body = chunk.body
    if chunk.header is None:
        # The parser takes a line that breaks off before a value, such as {"a": or [, and the next for one.
        whole = body.count(b"}\n") + body.endswith(b"}") == chunk.lines
        return whole and b"\r" not in body and not has_long_line(body)
    separators = chunk.lines * (len(chunk.header.fields) - 1)
    return is_text(body) and _count(body, chunk.header.separator.encode()) == separators


def filter_lines(chunk: Chunk, options: LogOptions = STOCK) -> tuple[list[bytes], Counter[str]]:
    """Return the lines that can be parsed, and how many others there are by reason, after a look at every line."""
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
    """Return why a line without a header cannot be used, for which the parser found ``reason``."""
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
    # A blank line is no record, however few columns the header names.
    return None if line and line.count(header.separator.encode()) == len(header.fields) - 1 else "columns"
