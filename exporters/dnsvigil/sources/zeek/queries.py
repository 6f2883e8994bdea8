"""The queries that read lines of Zeek's logs, TSV or JSON, as columns of a record and the reason to skip it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from dnsvigil.records import UNKNOWN_RCODE, UNNAMED_RCODE
from dnsvigil.sources.zeek import times
from dnsvigil.sources.zeek.header import Header
from dnsvigil.sources.zeek.log_types import LogType
from dnsvigil.sources.zeek.mnemonics import number_of
from dnsvigil.sources.zeek.skip_reasons import MAX_LINE
from dnsvigil.system.sql import literal

_BUFFER: Final = 8 * 2**20  # a batch is several buffers, so that the threads share it


def tsv_query(paths: list[str], log_type: LogType, header: Header, columns: list[str], start: datetime | None) -> str:
    """Return the query of these columns in files of TSV records below ``header``, with ``reason`` and ``filename``.

    With ``start``, when a capture began, only times that count from there are read.
    """
    # A broken header may name a field twice, and DuckDB takes no column name twice.
    names = [f"c{i}" for i in range(len(header.fields))]
    raw = {
        column: names[header.fields.index(log_type.field_of(column))]
        for column in columns
        if log_type.field_of(column) in header.fields
    }
    types = ", ".join(f"'{name}': 'VARCHAR'" for name in names)
    source = (
        f"read_csv({paths}, filename = true, auto_detect = false, header = false, quote = '', escape = '',"
        f" delim = {literal(header.separator)}, new_line = '\\n', nullstr = {literal(header.unset)},"
        f" compression = 'none', max_line_size = {MAX_LINE}, buffer_size = {_BUFFER}, ignore_errors = true,"
        f" columns = {{{types}}})"
    )
    # The casts are templates, and a header may have any characters.
    empty, separator = (
        literal(text).replace("{", "{{").replace("}", "}}") for text in (header.empty, header.set_separator)
    )
    casts = {
        "name": _name_in("{0}", empty, _unescaped("{0}")),
        "text": f"if({{0}} = {empty}, '', {_unescaped('{0}')})",
        "list": _list_in("{0}", empty, separator),
        "flag": "{0} = 'T'",
    }
    codes = {}
    for column, (field, numbers) in log_type.named.items():
        if column in raw:
            continue
        if field in header.fields:
            codes[column] = _code(column, "NULL", names[header.fields.index(field)], numbers)
        elif column == "rcode":
            codes[column] = f"{UNKNOWN_RCODE}::USMALLINT"
    return _record_query(log_type, source, raw, casts, columns, codes=codes, start=start)


def json_query(paths: list[str], log_type: LogType, columns: list[str], start: datetime | None) -> str:
    """Return the query of files of JSON lines, as :func:`tsv_query` does."""
    fields = {
        log_type.field_of(name): "VARCHAR[]" if log_type.record[name].endswith("[]") else "VARCHAR" for name in columns
    }
    named = {column: each for column, each in log_type.named.items() if column in columns}
    fields |= dict.fromkeys(("_path", *log_type.identifying, *(field for field, _ in named.values())), "VARCHAR")
    for field in log_type.answered:
        fields.setdefault(field, "VARCHAR[]" if field == "answers" else "VARCHAR")
    types = ", ".join(f"{literal(field)}: '{form}'" for field, form in fields.items())
    source = (
        f"read_json({paths}, filename = true, auto_detect = false, format = 'newline_delimited',"
        f" compression = 'uncompressed', maximum_object_size = {MAX_LINE}, ignore_errors = true, columns = {{{types}}})"
    )
    casts = {
        "name": _name_in("{0}", "''", _escaped("{0}")),
        "text": _escaped("{0}"),
        "list": f"list_transform({{0}}, lambda part: {_escaped('part')})",
        "flag": "TRY_CAST({0} AS BOOLEAN)",
    }
    nothing = " AND ".join(f"{_identifier(field)} IS NULL" for field in fields)
    identified = f"coalesce({', '.join(map(_identifier, log_type.identifying))})"
    # JSON lacks fields that are unset, so only its other fields show that a record has an answer.
    signs = [f"coalesce({_identifier(field)}::VARCHAR <> '[]', false)" for field in log_type.answered]
    answered = f"({' OR '.join(signs)})"
    return _record_query(
        log_type,
        source,
        {name: _identifier(log_type.field_of(name)) for name in columns},
        casts,
        columns,
        start=start,
        codes={
            column: _code(column, _identifier(log_type.field_of(column)), _identifier(field), numbers, answered)
            for column, (field, numbers) in named.items()
        },
        checks=f"WHEN {nothing} THEN 'json'"
        f" WHEN _path <> {literal(log_type.path)} OR (_path IS NULL AND {identified} IS NULL) THEN 'other_log'",
    )


def plain_query(source: str, good: bool, log_type: LogType, columns: list[str]) -> str:
    """Return the query of these columns in ``source``, a :class:`dnsvigil.sources.zeek.plain.Plain`.

    It has ``reason`` as well, unless all records are ``good``.
    """

    empty, comma = "'(empty)'", "','"

    def read(column: str) -> str:
        special = f"contains({column}, '\\') OR strlen({column}) <> length({column}) OR {column} = {empty}"
        if log_type.record[column] == "TIMESTAMP":
            return times.seconds(column)
        if log_type.record[column] == "DOUBLE":
            return f"round({column}, 6)"
        if column in log_type.names:
            name = _name_in(column, empty, _unescaped(column))
            return f"if({special} OR ends_with({column}, '.'), {name}, lower)"
        if log_type.record[column] == "VARCHAR[]":
            return f"if({special}, {_list_in(column, empty, comma)}, string_split({column}, {comma}))"
        return column

    reads = ", ".join(f"{read(column)} AS {column}" for column in columns)
    if good:
        return f"SELECT {reads} FROM {source}"
    texts = ", ".join(f"{name} AS raw_{name}" for name in log_type.raw)
    reason = f"CASE {log_type.reasons} END AS reason"
    return f"SELECT {', '.join(columns)}, {reason} FROM (SELECT {reads}, {texts} FROM {source})"


def _record_query(
    log_type: LogType,
    source: str,
    raw: dict[str, str],
    casts: dict[str, str],
    columns: list[str],
    *,
    codes: dict[str, str],
    start: datetime | None,
    checks: str = "",
) -> str:
    """Return the query that gives ``columns`` of the record and the reason to skip it, or NULL.

    ``raw`` has for each column the expression of its text, ``casts`` the templates that read it, ``codes`` the
    expressions of columns that may be known by a name, ``checks`` the form's own ``WHEN`` clauses, which come first.
    """

    def read(column: str) -> str:
        form = log_type.record[column]
        if column in codes:
            return codes[column]
        if column not in raw:
            return f"NULL::{form}"
        text = raw[column]
        if form == "TIMESTAMP":
            return times.time(text, f"number_{column}", start)
        cast = "flag" if form == "BOOLEAN" else None
        if column in log_type.names:
            cast = "name"
        elif column in log_type.texts:
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
    texts = ", ".join(f"{raw.get(name, 'NULL')} AS raw_{name}" for name in log_type.raw)
    first = f"CASE {checks} END" if checks else "NULL"
    numbers = [f"{times.number(raw[name])} AS number_{name}" for name in raw if log_type.record[name] == "TIMESTAMP"]
    numbered = f"SELECT {', '.join(['*', *numbers])} FROM {source}"
    return (
        f"SELECT {', '.join(columns)}, coalesce(form_reason, CASE {log_type.reasons} END) AS reason, filename"
        f" FROM (SELECT {reads}, {texts}, {first} AS form_reason, filename FROM ({numbered}))"
    )


def _code(column: str, text: str, name: str, numbers: Mapping[str, int], answered: str = "false") -> str:
    """Return the expression of the number in ``text``, else of the number that ``name`` stands for.

    ``answered`` is the condition for an answer.
    """
    number = number_of(name, numbers)
    if column == "rcode":
        number = f"CASE WHEN {name} IS NOT NULL OR {answered} THEN coalesce({number}, {UNNAMED_RCODE}) END"
    return f"CASE WHEN {text} IS NOT NULL THEN TRY_CAST({text} AS USMALLINT) ELSE CAST({number} AS USMALLINT) END"


def _name_in(text: str, empty: str, name: str) -> str:
    """Return the expression of a domain name in the record's form.

    ``name`` is that of ``text`` in printable characters; the root's name is ``empty``.
    """
    return (
        f"CASE WHEN {text} IN ({empty}, '.') THEN '.' WHEN ends_with({text}, '.') THEN lower(left({name}, -1))"
        f" ELSE lower({name}) END"
    )


def _list_in(text: str, empty: str, separator: str) -> str:
    """Return the expression of the list of texts in ``text``."""
    parts = f"list_transform(string_split({text}, {separator}), lambda part: {_unescaped('part')})"
    return f"CASE WHEN {text} = {empty} THEN []::VARCHAR[] ELSE {parts} END"


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


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
