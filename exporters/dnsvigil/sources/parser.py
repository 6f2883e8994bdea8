"""Puts records of Zeek's logs into tables of DuckDB.

DuckDB parses; it is handed the bytes in a memory file, so that a file followed live, one under
compression and one from an archive are all read by the same code. The good case costs no look at
single lines. Only when fewer rows come back than lines went in is every line looked at, to drop
the bad ones and to say why.
"""

import os
from collections import Counter
from collections.abc import Collection
from datetime import datetime
from typing import Final

import duckdb

from dnsvigil.sources.kinds import Kind
from dnsvigil.sources.zeek import MAX_LINE, Header, Piece, has_long_line, sieve

_BUFFER: Final = 8 * 2**20  # a batch is several buffers, so that the threads share it


class Parser:
    """Turns pieces of a log into the view of its kind in one DuckDB connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._memory = os.memfd_create("dnsvigil-batch")
        self._path = f"/proc/self/fd/{self._memory}"

    def close(self) -> None:
        """Free the memory file."""
        os.close(self._memory)

    def load(
        self,
        kind: Kind,
        pieces: list[Piece],
        sensor: str,
        columns: Collection[str] | None = None,
        oldest: datetime | None = None,
    ) -> tuple[int, Counter[str]]:
        """Make the view, with these columns of the record or all, from the good records of ``pieces``, at least one.

        Records from before ``oldest`` are skipped.
        Returns how many records there are, and how many lines were skipped, by reason.
        """
        columns = columns or kind.record
        lines = 0
        skipped: Counter[str] = Counter()
        for number, piece in enumerate(pieces):
            table = f"parsed_{number}"
            count = piece.lines
            lines += count
            clean = b"\r" not in piece.body and not has_long_line(piece.body)
            if not clean or self._parse(kind, columns, table, piece) != count:
                body, reasons = sieve(piece)
                skipped += reasons
                found = self._parse(kind, columns, table, Piece(body, piece.header))
                # Of the lines that the sieve lets through, DuckDB passes over blank ones alone.
                skipped["columns" if piece.header else "json"] += count - reasons.total() - found
        every = " UNION ALL ".join(f"SELECT * FROM parsed_{number}" for number in range(len(pieces)))
        if oldest:
            late = f"CASE WHEN ts < TIMESTAMP '{oldest}' THEN 'too_old' END"
            every = f"SELECT * REPLACE (coalesce(reason, {late}) AS reason) FROM ({every})"
        names = ", ".join(f"{_literal(sensor)} AS sensor" if name == "sensor" else name for name in columns)
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {kind.view} AS SELECT {names} FROM ({every}) WHERE reason IS NULL"
        )
        query = f"SELECT reason, count(*) FROM ({every}) WHERE reason IS NOT NULL GROUP BY reason"
        skipped.update(dict(self._connection.execute(query).fetchall()))
        return lines - skipped.total(), +skipped

    def _parse(self, kind: Kind, columns: Collection[str], table: str, piece: Piece) -> int:
        """Return the number of rows."""
        with open(self._memory, "wb", closefd=False) as memory:
            memory.seek(0)
            memory.write(piece.body)
            memory.truncate()
        columns = [name for name in kind.record if name != "sensor" and (name in columns or name in kind.checked)]
        query = (
            _tsv_query(self._path, kind, piece.header, columns)
            if piece.header
            else _json_query(self._path, kind, columns)
        )
        result = self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {query}").fetchone()
        return int(result[0]) if result else 0


def _tsv_query(path: str, kind: Kind, header: Header, columns: list[str]) -> str:
    # A broken header may name a field twice, and DuckDB takes no column name twice.
    names = [f"c{i}" for i in range(len(header.fields))]
    raw = {
        column: names[header.fields.index(kind.field_of(column))]
        for column in columns
        if kind.field_of(column) in header.fields
    }
    types = ", ".join(f"'{name}': 'VARCHAR'" for name in names)
    source = (
        f"read_csv('{path}', auto_detect = false, header = false, delim = {_literal(header.separator)}, quote = '',"
        f" escape = '', new_line = '\\n', nullstr = {_literal(header.unset)}, compression = 'none',"
        f" max_line_size = {MAX_LINE}, buffer_size = {_BUFFER}, ignore_errors = true, columns = {{{types}}})"
    )
    empty, separator = _literal(header.empty), _literal(header.set_separator)
    casts = {
        "time": "make_timestamp(TRY_CAST(round(TRY_CAST({0} AS DOUBLE) * 1e6) AS BIGINT))",
        "name": _name("{0}", empty, _unescaped("{0}")),
        "text": f"if({{0}} = {empty}, '', {_unescaped('{0}')})",
        "list": f"CASE WHEN {{0}} = {empty} THEN []::VARCHAR[]"
        f" ELSE list_transform(string_split({{0}}, {separator}), lambda part: {_unescaped('part')}) END",
        "flag": "{0} = 'T'",
    }
    return _record_query(kind, source, raw, casts, columns)


def _json_query(path: str, kind: Kind, columns: list[str]) -> str:
    fields = {kind.field_of(name): "VARCHAR[]" if kind.record[name].endswith("[]") else "VARCHAR" for name in columns}
    fields |= dict.fromkeys(("_path", *kind.telling), "VARCHAR")
    types = ", ".join(f"{_literal(field)}: '{form}'" for field, form in fields.items())
    source = (
        f"read_json('{path}', auto_detect = false, format = 'newline_delimited', compression = 'uncompressed',"
        f" maximum_object_size = {MAX_LINE}, ignore_errors = true, columns = {{{types}}})"
    )
    seconds = "TRY_CAST({0} AS DOUBLE)"
    casts = {
        # Zeek writes seconds, milliseconds (which as seconds lie past the year 5000) or ISO 8601.
        "time": f"coalesce(make_timestamp(TRY_CAST(round({seconds} * if({seconds} > 1e11, 1e3, 1e6)) AS BIGINT)),"
        " TRY_CAST({0} AS TIMESTAMP))",
        "name": _name("{0}", "''", _escaped("{0}")),
        "text": _escaped("{0}"),
        "list": f"list_transform({{0}}, lambda part: {_escaped('part')})",
        "flag": "TRY_CAST({0} AS BOOLEAN)",
    }
    nothing = " AND ".join(f"{_identifier(field)} IS NULL" for field in fields)
    told = f"coalesce({', '.join(map(_identifier, kind.telling))})"
    return _record_query(
        kind,
        source,
        {name: _identifier(kind.field_of(name)) for name in columns},
        casts,
        columns,
        checks=f"WHEN {nothing} THEN 'json'"
        f" WHEN _path <> {_literal(kind.path)} OR (_path IS NULL AND {told} IS NULL) THEN 'other_log'",
    )


def _record_query(
    kind: Kind, source: str, raw: dict[str, str], casts: dict[str, str], columns: list[str], *, checks: str = ""
) -> str:
    """Return the query that gives ``columns`` of the record and the reason to skip it, or NULL.

    ``raw`` has for each column the expression of its text, ``casts`` the templates that read it, ``checks``
    the form's own ``WHEN`` clauses, which come first.
    """

    def read(column: str) -> str:
        form = kind.record[column]
        if column not in raw:
            return f"NULL::{form}"
        text = raw[column]
        cast = {"TIMESTAMP": "time", "BOOLEAN": "flag"}.get(form)
        if column in kind.names:
            cast = "name"
        elif column in kind.texts:
            cast = "text"
        if cast:
            return casts[cast].format(text)
        if form == "VARCHAR":
            return text
        if form.endswith("[]"):
            return f"TRY_CAST({casts['list'].format(text)} AS {form})"
        if form == "DOUBLE":
            return f"round(TRY_CAST({text} AS DOUBLE), 6)"
        return f"TRY_CAST({text} AS {form})"

    reads = ", ".join(f"{read(name)} AS {name}" for name in columns)
    texts = ", ".join(f"{raw.get(name, 'NULL')} AS raw_{name}" for name in kind.raw)
    first = f"CASE {checks} END" if checks else "NULL"
    return (
        f"SELECT {', '.join(columns)}, coalesce(form_reason, CASE {kind.reasons} END) AS reason"
        f" FROM (SELECT {reads}, {texts}, {first} AS form_reason FROM {source})"
    )


def _name(text: str, empty: str, name: str) -> str:
    """Return the expression of a domain name in the record's form.

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


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
