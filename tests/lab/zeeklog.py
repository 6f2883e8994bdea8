"""Zeek's two log formats, as far as the lab reads, writes and converts them."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

DNS_COLUMNS = (
    ("ts", "time"),
    ("uid", "string"),
    ("id.orig_h", "addr"),
    ("id.orig_p", "port"),
    ("id.resp_h", "addr"),
    ("id.resp_p", "port"),
    ("proto", "enum"),
    ("trans_id", "count"),
    ("rtt", "interval"),
    ("query", "string"),
    ("qclass", "count"),
    ("qclass_name", "string"),
    ("qtype", "count"),
    ("qtype_name", "string"),
    ("rcode", "count"),
    ("rcode_name", "string"),
    ("AA", "bool"),
    ("TC", "bool"),
    ("RD", "bool"),
    ("RA", "bool"),
    ("Z", "count"),
    ("answers", "vector[string]"),
    ("TTLs", "vector[interval]"),
    ("rejected", "bool"),
)
"""Names and types of the columns of dns.log, in Zeek 8's order."""

_ESCAPE = re.compile(rb"\\(?:\\|x([0-9a-fA-F]{2}))")
_KEPT_BY_JSON = b"\b\f\n\r\t"


def is_json(first_line: bytes) -> bool:
    """Whether a log that starts with this line is in Zeek's JSON form."""
    return first_line.startswith(b"{")


def open_log(path: Path) -> BinaryIO:
    """Open a log for reading, plain or gzip."""
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def header(opened: float, columns: Sequence[tuple[str, str]] = DNS_COLUMNS, path: str = "dns") -> bytes:
    """Return the lines with which Zeek starts a log, opened at that time (seconds since the epoch)."""
    names = "\t".join(name for name, _ in columns)
    types = "\t".join(kind for _, kind in columns)
    return (
        "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n"
        f"#path\t{path}\n#open\t{_stamp(opened)}\n#fields\t{names}\n#types\t{types}\n"
    ).encode()


def footer(closed: float) -> bytes:
    """Return the line with which Zeek ends a log, closed at that time (seconds since the epoch)."""
    return f"#close\t{_stamp(closed)}\n".encode()


def _stamp(when: float) -> str:
    return time.strftime("%Y-%m-%d-%H-%M-%S", time.localtime(when))


def unescape(text: bytes) -> bytes:
    r"""Return the raw bytes of a TSV value: ``\\`` is a backslash, ``\xHH`` a byte."""
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()) if found[1] else b"\\", text)


def json_text(raw: bytes) -> str:
    r"""Return the string that Zeek puts in JSON for raw bytes: as they are, or with odd ones as ``\xHH``.

    One byte that is not sound, printable UTF-8 makes Zeek escape every byte outside printable ASCII.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = None
    if text is not None and all(_is_kept(character) for character in text):
        return text
    return "".join(chr(byte) if 32 <= byte < 127 or byte in _KEPT_BY_JSON else f"\\x{byte:02x}" for byte in raw)


def _is_kept(character: str) -> bool:
    code = ord(character)
    if code < 0xA0:
        return 32 <= code < 127 or code in _KEPT_BY_JSON
    return not (0xE000 <= code <= 0xF8FF or 0xFFF0 <= code <= 0xFFFF)


def _scalar(kind: str) -> Callable[[bytes], Any]:
    if kind in {"count", "int", "port"}:
        return int
    if kind in {"time", "interval", "double"}:
        return float
    if kind == "bool":
        return lambda text: text == b"T"
    return lambda text: "" if text == b"(empty)" else json_text(unescape(text))


def _reader(kind: str) -> Callable[[bytes], Any]:
    if not kind.startswith(("vector[", "set[")):
        return _scalar(kind)
    item = _scalar(kind[kind.index("[") + 1 : -1])
    return lambda text: [] if text == b"(empty)" else [None if one == b"-" else item(one) for one in text.split(b",")]


@dataclass(frozen=True)
class Columns:
    """The columns of one TSV log, and how to read its lines."""

    pairs: tuple[tuple[str, str], ...] = DNS_COLUMNS

    def parser(self) -> Callable[[bytes], dict[str, Any]]:
        """Return a function from one line to its record as Zeek's JSON has it: unset fields are left out."""
        fields = [(name, _reader(kind)) for name, kind in self.pairs]

        def parse(line: bytes) -> dict[str, Any]:
            values = line.rstrip(b"\n").split(b"\t")
            return {name: read(text) for (name, read), text in zip(fields, values, strict=True) if text != b"-"}

        return parse

    def to_json(self) -> Callable[[bytes], bytes]:
        """Return a function from one TSV line to the JSON line that Zeek would have written."""
        parse = self.parser()
        return lambda line: _dump(parse(line))


def _dump(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def columns_of(fields: bytes, types: bytes) -> Columns:
    """Return the columns that a log's ``#fields`` and ``#types`` lines declare."""
    names = fields.decode().rstrip("\n").split("\t")[1:]
    kinds = types.decode().rstrip("\n").split("\t")[1:]
    return Columns(tuple(zip(names, kinds, strict=True)))


def read_columns(path: Path) -> Columns | None:
    """Return the columns of a TSV log, or None for a JSON one.

    Raises ValueError where the file is neither.
    """
    fields = b""
    with open_log(path) as stream:
        for line in stream:
            if is_json(line):
                return None
            if line.startswith(b"#fields\t"):
                fields = line
            elif line.startswith(b"#types\t"):
                return columns_of(fields, line)
            elif not line.startswith(b"#"):
                break
    raise ValueError(f"{path}: neither a Zeek TSV log with #fields and #types nor a Zeek JSON log")


def lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a log that hold a record, in either form."""
    with open_log(path) as stream:
        yield from (line for line in stream if not line.startswith(b"#"))


def records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a log in either form, as Zeek's JSON form has them."""
    columns = read_columns(path)
    yield from map(columns.parser() if columns else json.loads, lines(path))
