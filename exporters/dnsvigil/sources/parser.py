"""Puts records of Zeek's dns.log into tables of DuckDB.

DuckDB parses; it is handed the bytes in a memory file, so that a file followed live, one under
compression and one from an archive are all read by the same code. The good case costs no look at
single lines. Only when fewer rows come back than lines went in is every line looked at, to drop
the bad ones and to say why.
"""

import os
from collections import Counter
from typing import Final

import duckdb

from dnsvigil.records import TRANSACTION
from dnsvigil.sources.zeek import DNS_FIELDS, MAX_LINE, Header, Piece, has_long_line, sieve

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

_BUFFER: Final = 8 * 2**20  # a batch is several buffers, so that the threads share it

_CHECKED: Final = ("ts", "client", "server", "qname", "qtype", "rcode", "rtt_seconds")

_ADDRESS: Final = "[0-9a-fA-F:.]{2,45}"

_REASONS: Final = rf"""CASE
    WHEN ts IS NULL OR ts < TIMESTAMP '1990-01-01' OR ts > now()::TIMESTAMP + INTERVAL 1 DAY THEN 'timestamp'
    WHEN NOT regexp_full_match(concat(client, ' ', server), '{_ADDRESS} {_ADDRESS}') THEN 'address'
    WHEN (qtype IS NULL AND raw_qtype IS NOT NULL) OR (rcode IS NULL AND raw_rcode IS NOT NULL) THEN 'number'
    WHEN raw_rtt_seconds IS NOT NULL AND NOT coalesce(rtt_seconds BETWEEN 0 AND 86400, false) THEN 'rtt'
    WHEN strlen(qname) > 255 AND strlen(regexp_replace(qname, '\\x[0-9a-fA-F]{{2}}', '?', 'g')) > 255 THEN 'name'
    END"""


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
            clean = b"\r" not in piece.body and not has_long_line(piece.body)
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
    fields |= dict.fromkeys(("_path", *DNS_FIELDS), "VARCHAR")
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
    other = f"_path <> 'dns' OR (_path IS NULL AND coalesce({', '.join(map(_identifier, DNS_FIELDS))}) IS NULL)"
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


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
