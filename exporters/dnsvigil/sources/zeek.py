"""Zeek's dns.log, in its TSV and its JSON form: bytes in, transaction records in a table out.

DuckDB parses; it is handed the bytes in a memory file, so that a file followed live, one under
compression and one from an archive are all read by the same code. The good case costs no look at
single lines. Only when fewer rows come back than lines went in is every line looked at, to drop
the bad ones and to say why.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import duckdb

from dnsvigil.records import TRANSACTION

MAX_LINE: Final = 65_536
"""Bytes in the longest line that is read; Zeek's own DNS records stay far below."""

FIELDS: Final = {
    "ts": "ts",
    "uid": "uid",
    "client": "id.orig_h",
    "client_port": "id.orig_p",
    "server": "id.resp_h",
    "server_port": "id.resp_p",
    "proto": "proto",
    "trans_id": "trans_id",
    "qname": "query",
    "qclass": "qclass",
    "qtype": "qtype",
    "rcode": "rcode",
    "rtt_seconds": "rtt",
    "answers": "answers",
    "ttls": "TTLs",
    "aa": "AA",
    "tc": "TC",
    "rd": "RD",
    "ra": "RA",
    "rejected": "rejected",
    "query_bytes": "query_bytes",
    "response_bytes": "response_bytes",
}
"""Column of the transaction record to Zeek's field."""

SKIP_REASONS: Final = {
    "columns": "a line with more or fewer columns than its header names",
    "encoding": "bytes that are not UTF-8, or a carriage return inside the line",
    "too_long": f"a line of more than {MAX_LINE} bytes",
    "no_header": "a line that is neither JSON nor below a header that names its columns",
    "other_log": "a record of another log than dns.log",
    "json": "a line that is not one JSON object",
    "timestamp": "a time that cannot be read, before 1990 or more than a day ahead",
    "address": "a client or server that is not an IP address",
    "number": "a query type or response code that is not a number of 16 bits",
    "rtt": "a round-trip time that is negative, longer than a day or cannot be read",
    "name": "a query name of more than 255 octets",
    "truncated": "the end of a compressed file that breaks off, or the unfinished last line of a file",
}
"""Why a line or record is skipped: the values of the label ``reason``."""

_JSON_LINE: Final = re.compile(rb"^\{.*\n?", re.MULTILINE)

_DNS_FIELDS = ("query", "qtype", "rcode", "trans_id", "rejected", "AA")


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
    def parse(cls, text: bytes) -> Self | None:
        """Return the header that ``text`` (whole ``#`` lines) gives, or None where no records can be read by it."""
        separator = "\t"
        values: dict[str, list[str]] = {}
        for line in text.decode("utf-8", "replace").splitlines():
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
        if not fields or separator in "\0\r" or separator in unset:
            return None
        return cls(
            text=text,
            separator=separator,
            set_separator=(values.get("set_separator") or [","])[0],
            empty=(values.get("empty_field") or ["(empty)"])[0],
            unset=unset,
            path=(values.get("path") or [""])[0],
            fields=tuple(fields),
        )

    @property
    def is_dns(self) -> bool:
        """Whether the records below are those of a dns.log."""
        return self.path == "dns" if self.path else {"ts", "id.orig_h", "id.resp_h", "query"} <= set(self.fields)


@dataclass(frozen=True)
class Piece:
    """Whole lines of one form: ``header`` says the columns of TSV, None means JSON."""

    body: bytes
    header: Header | None

    @cached_property
    def lines(self) -> int:
        """The number of lines."""
        return count_lines(self.body)


def split(data: bytes, header: Header | None) -> tuple[list[Piece], Header | None, Counter[str]]:
    """Cut whole lines at the header lines among them.

    ``header`` is the one in force where ``data`` begins. Returns the pieces, the header in force at the
    end, and the lines that nothing can be made of, by reason.
    """
    bodies: dict[Header | None, list[bytes]] = {}
    skipped: Counter[str] = Counter()
    for comment, body in _sections(data):
        if comment:
            header = Header.parse(comment) or header
        has_json = _find_line(body, b"{", 0) >= 0
        if has_json:
            # Without a header, what stands among JSON is damaged JSON.
            bodies.setdefault(None, []).append(b"".join(_JSON_LINE.findall(body)) if header else body)
        if header:
            tsv = _JSON_LINE.sub(b"", body) if has_json else body
            if header.is_dns and tsv:
                bodies.setdefault(header, []).append(tsv)
            elif tsv:
                skipped["other_log"] += count_lines(tsv)
        elif body and not has_json:
            skipped["no_header"] += count_lines(body)
    return [Piece(b"".join(parts), form) for form, parts in bodies.items()], header, skipped


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
    if line.startswith(b"{"):
        return line.rstrip().endswith(b"}")
    if line.startswith(b"#"):
        return True
    return header is not None and not _line_reason(line.removesuffix(b"\r"), header)


def is_dns_log(head: bytes) -> bool:
    """Tell from the first lines of a file whether it is a dns.log in either form."""
    lines = head.lstrip(b"\0").splitlines()
    header = Header.parse(b"\n".join(line for line in lines if line.startswith(b"#")))
    return header.is_dns if header else any(map(_is_dns_line, lines))


def _is_dns_line(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and _is_dns_record(record)


def _is_dns_record(record: dict[str, object]) -> bool:
    if "_path" in record:
        return record["_path"] == "dns"
    return "id.orig_h" in record and any(name in record for name in _DNS_FIELDS)


class Parser:
    """Turns pieces of dns.log into the view ``transactions`` of one DuckDB connection.

    ``columns`` are those of the transaction record that the view has.
    """

    VIEW: Final = "transactions"

    def __init__(self, connection: duckdb.DuckDBPyConnection, columns: list[str]) -> None:
        self._connection = connection
        self._columns = columns
        self._memory = os.memfd_create("dnsvigil-batch")
        self._path = f"/proc/self/fd/{self._memory}"

    def close(self) -> None:
        """Free the memory file."""
        os.close(self._memory)

    def load(self, pieces: list[Piece], sensor: str) -> tuple[int, Counter[str]]:
        """Make the view from the good records of ``pieces``, at least one.

        Returns how many records there are, and how many lines were skipped, by reason.
        """
        lines = 0
        skipped: Counter[str] = Counter()
        for number, piece in enumerate(pieces):
            table = f"parsed_{number}"
            count = piece.lines
            lines += count
            clean = b"\r" not in piece.body and not _has_long_line(piece.body)
            if not clean or self._parse(table, piece) != count:
                body, reasons = sieve(piece)
                skipped += reasons
                found = self._parse(table, Piece(body, piece.header))
                # Of the lines that the sieve lets through, DuckDB passes over blank ones alone.
                skipped["columns" if piece.header else "json"] += count - reasons.total() - found
        every = " UNION ALL ".join(f"SELECT * FROM parsed_{number}" for number in range(len(pieces)))
        names = ", ".join(f"{_literal(sensor)} AS sensor" if name == "sensor" else name for name in self._columns)
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {self.VIEW} AS SELECT {names} FROM ({every}) WHERE reason IS NULL"
        )
        query = f"SELECT reason, count(*) FROM ({every}) WHERE reason IS NOT NULL GROUP BY reason"
        skipped.update(dict(self._connection.execute(query).fetchall()))
        return lines - skipped.total(), +skipped

    def _parse(self, table: str, piece: Piece) -> int:
        """Return the number of rows."""
        with open(self._memory, "wb", closefd=False) as memory:
            memory.seek(0)
            memory.write(piece.body)
            memory.truncate()
        query = (
            _tsv_query(self._path, piece.header, self._columns)
            if piece.header
            else _json_query(self._path, self._columns)
        )
        result = self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {query}").fetchone()
        return int(result[0]) if result else 0


_BUFFER: Final = 8 * 2**20  # a batch is several buffers, so that the threads share it

_CHECKED: Final = ("ts", "client", "server", "qname", "qtype", "rcode", "rtt_seconds")

_ADDRESS: Final = "[0-9a-fA-F:.]{2,45}"

_REASONS: Final = rf"""CASE
    WHEN ts IS NULL OR ts < TIMESTAMP '1990-01-01' OR ts > now()::TIMESTAMP + INTERVAL 1 DAY THEN 'timestamp'
    WHEN NOT coalesce(regexp_full_match(client, '{_ADDRESS}') AND regexp_full_match(server, '{_ADDRESS}'), false)
        THEN 'address'
    WHEN (qtype IS NULL AND raw_qtype IS NOT NULL) OR (rcode IS NULL AND raw_rcode IS NOT NULL) THEN 'number'
    WHEN raw_rtt_seconds IS NOT NULL AND NOT coalesce(rtt_seconds BETWEEN 0 AND 86400, false) THEN 'rtt'
    WHEN strlen(qname) > 255 AND strlen(regexp_replace(qname, '\\x[0-9a-fA-F]{{2}}', '?', 'g')) > 255 THEN 'name'
    END"""


def _tsv_query(path: str, header: Header, columns: list[str]) -> str:
    # A broken header may name a field twice, and DuckDB takes no column name twice.
    names = [f"c{i}" for i in range(len(header.fields))]
    raw = {column: names[header.fields.index(field)] for column, field in FIELDS.items() if field in header.fields}
    types = ", ".join(f"'{name}': 'VARCHAR'" for name in names)
    source = (
        f"read_csv('{path}', auto_detect = false, header = false, delim = {_literal(header.separator)}, quote = '',"
        f" escape = '', new_line = '\\n', nullstr = {_literal(header.unset)}, compression = 'none',"
        f" max_line_size = {MAX_LINE}, buffer_size = {_BUFFER}, ignore_errors = true, columns = {{{types}}})"
    )
    empty, separator = _literal(header.empty), _literal(header.set_separator)
    casts = {
        "ts": "make_timestamp(TRY_CAST(round(TRY_CAST({0} AS DOUBLE) * 1e6) AS BIGINT))",
        "qname": _qname("{0}", empty, _unescaped("{0}")),
        "list": f"CASE WHEN {{0}} = {empty} THEN []::VARCHAR[]"
        f" ELSE list_transform(string_split({{0}}, {separator}), lambda part: {_unescaped('part')}) END",
        "flag": "{0} = 'T'",
    }
    return _record_query(source, raw, casts, columns, "")


def _json_query(path: str, columns: list[str]) -> str:
    wanted = [name for name in FIELDS if name in columns or name in _CHECKED]
    fields = {FIELDS[name]: "VARCHAR[]" if TRANSACTION[name].endswith("[]") else "VARCHAR" for name in wanted}
    fields |= dict.fromkeys(("_path", *_DNS_FIELDS), "VARCHAR")
    types = ", ".join(f"{_literal(field)}: '{kind}'" for field, kind in fields.items())
    source = (
        f"read_json('{path}', auto_detect = false, format = 'newline_delimited', compression = 'uncompressed',"
        f" maximum_object_size = {MAX_LINE}, ignore_errors = true, columns = {{{types}}})"
    )
    seconds = "TRY_CAST({0} AS DOUBLE)"
    casts = {
        # Zeek writes seconds, milliseconds (which as seconds lie past the year 5000) or ISO 8601.
        "ts": f"coalesce(make_timestamp(TRY_CAST(round({seconds} * if({seconds} > 1e11, 1e3, 1e6)) AS BIGINT)),"
        " TRY_CAST({0} AS TIMESTAMP))",
        "qname": _qname("{0}", "''", _escaped("{0}")),
        "list": f"list_transform({{0}}, lambda part: {_escaped('part')})",
        "flag": "TRY_CAST({0} AS BOOLEAN)",
    }
    nothing = " AND ".join(f"{_identifier(field)} IS NULL" for field in fields)
    other = f"_path <> 'dns' OR (_path IS NULL AND coalesce({', '.join(map(_identifier, _DNS_FIELDS))}) IS NULL)"
    return _record_query(
        source,
        {name: _identifier(FIELDS[name]) for name in wanted},
        casts,
        columns,
        f"WHEN {nothing} THEN 'json' WHEN {other} THEN 'other_log'",
    )


def _record_query(source: str, raw: dict[str, str], casts: dict[str, str], columns: list[str], checks: str) -> str:
    """Return the query that gives ``columns`` of the transaction record and the reason to skip it, or NULL.

    ``raw`` has for each column the expression of its text, ``casts`` the templates that read it, ``checks``
    the form's own ``WHEN`` clauses, which come first.
    """

    def read(column: str) -> str:
        kind = TRANSACTION[column]
        if column not in raw:
            return f"NULL::{kind}"
        text = raw[column]
        if column in casts:
            return casts[column].format(text)
        if kind == "VARCHAR":
            return text
        if kind == "BOOLEAN":
            return casts["flag"].format(text)
        if kind.endswith("[]"):
            return f"TRY_CAST({casts['list'].format(text)} AS {kind})"
        if column == "rtt_seconds":
            return f"round(TRY_CAST({text} AS DOUBLE), 6)"
        return f"TRY_CAST({text} AS {kind})"

    wanted = [name for name in TRANSACTION if name != "sensor" and (name in columns or name in _CHECKED)]
    reads = ", ".join(f"{read(name)} AS {name}" for name in wanted)
    texts = ", ".join(f"{raw.get(name, 'NULL')} AS raw_{name}" for name in ("qtype", "rcode", "rtt_seconds"))
    given = ", ".join(name for name in columns if name != "sensor")
    first = f"CASE {checks} END" if checks else "NULL"
    return (
        f"SELECT {given}, coalesce(form_reason, {_REASONS}) AS reason"
        f" FROM (SELECT {reads}, {texts}, {first} AS form_reason FROM {source})"
    )


def _qname(text: str, empty: str, name: str) -> str:
    """Return the expression of the query name in the record's form.

    ``name`` is that of ``text`` in printable characters; the root's name is ``empty``.
    """
    return (
        f"CASE WHEN {text} IN ({empty}, '.') THEN '.' WHEN ends_with({text}, '.') THEN lower(left({name}, -1))"
        f" ELSE lower({name}) END"
    )


def _unescaped(text: str) -> str:
    r"""Return the expression of ``text`` from Zeek's TSV: ``\\`` becomes ``\``, and ``\xNN`` what is printable."""
    return _printable(text, r"[^ -\[\]-~]", r"\\\\|\\x[[:xdigit:]][[:xdigit:]]|(?s:.)")


def _escaped(text: str) -> str:
    r"""Return the expression of ``text`` from Zeek's JSON, which has ``\xNN`` for most of what is not printable."""
    return _printable(text, "[^ -~]", "(?s:.)")


def _printable(text: str, odd: str, token: str) -> str:
    r"""Return the expression of ``text`` in printable ASCII, all other bytes as ``\xNN``.

    So a name reads the same from both forms: each keeps some of UTF-8 as it is, but not the same.
    ``odd`` matches the characters that call for a closer look, ``token`` each character or escape.
    """
    return (
        f"if(regexp_matches({text}, '{odd}'), array_to_string(list_transform(regexp_extract_all({text}, '{token}'),"
        r" lambda c: CASE WHEN c = '\\' THEN '\'"
        r" WHEN regexp_full_match(c, '\\x([2-6][[:xdigit:]]|7[0-9a-eA-E])') THEN decode(unhex(c[3:]))"
        r" WHEN regexp_matches(c, '[^ -~]') THEN regexp_replace(lower(hex(c)), '(..)', '\\x\1', 'g')"
        f" ELSE c END), ''), {text})"
    )


def _has_long_line(body: bytes) -> bool:
    """Tell whether there is a line that ``sieve`` drops for its length."""
    start = 0
    while len(body) - start > MAX_LINE:
        end = body.rfind(b"\n", start, start + MAX_LINE)
        if end < 0:
            return True
        start = end + 1
    return False


def sieve(piece: Piece) -> tuple[bytes, Counter[str]]:
    """Look at every line; return those that can be parsed, and how many of the others there are by reason."""
    kept: list[bytes] = []
    skipped: Counter[str] = Counter()
    for line in piece.body.removesuffix(b"\n").split(b"\n"):
        text = line.removesuffix(b"\r")
        if reason := _line_reason(text, piece.header):
            skipped[reason] += 1
        else:
            kept.append(text)
    return b"".join(line + b"\n" for line in kept), skipped


def _line_reason(line: bytes, header: Header | None) -> str | None:
    if len(line) >= MAX_LINE:
        return "too_long"
    if b"\r" in line:
        return "encoding"
    if header is None:
        return None  # DuckDB makes an empty row of a line that is not a JSON object
    try:
        line.decode()
    except UnicodeDecodeError:
        return "encoding"
    return None if line.count(header.separator.encode()) == len(header.fields) - 1 else "columns"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
