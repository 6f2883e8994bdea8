"""Logs of several sensors are parsed together, and each record and verdict is that of its log parsed alone."""

from collections import Counter
from contextlib import closing
from typing import Any

import duckdb
import pytest

from dnsvigil.records import Cursor
from dnsvigil.sources.zeek.lines import split
from dnsvigil.sources.zeek.log_types import DNS, LOG_TYPES, LogType
from dnsvigil.sources.zeek.parser import Parser
from dnsvigil.sources.zeek.reader import Batch
from exporters.sources.zeek.test_verdict import FORMS, bent, good_line, header_of
from exporters.zeeklogs import HEADER, tsv


def batch(log_type: LogType, sensor: str, data: bytes) -> Batch:
    chunks, _, skipped = split(data, None, log_type)
    return Batch(chunks, 0, skipped, Cursor(sensor, sensor, 0, "", 0, b"", ""), 0, log_type)


def parsed(batches: list[Batch]) -> tuple[dict[str, tuple[int, Counter[str]]], list[Any]]:
    """Return the number of records and the skipped ones of each sensor, and all records."""
    with duckdb.connect() as connection, closing(Parser(connection)) as parser:
        loaded = parser.load(batches)
        found = {each.cursor.sensor: (of.records, of.skipped) for each, of in zip(batches, loaded, strict=True)}
        columns = ", ".join(batches[0].log_type.record)
        return found, connection.execute(f"SELECT {columns} FROM {batches[0].log_type.view} ORDER BY ALL").fetchall()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("log_type", LOG_TYPES, ids=lambda each: each.path)
def test_each_as_alone(log_type: LogType, form: str) -> None:
    good = good_line(log_type, form)
    head = header_of(log_type, form)
    logs = [head + good * 3, head.replace(b"#open", b"#begun") + good * 2] + [head + good + each for each in bent(good)]
    # As many separators as there should be, in the wrong lines.
    logs.append(head + good + good.rstrip() + b"\tx\n" + good.rstrip().rpartition(b"\t")[0] + b"\n")
    batches = [each for number, data in enumerate(logs) if (each := batch(log_type, f"sensor{number}", data)).chunks]
    together, rows = parsed(batches)
    alone = [parsed([each]) for each in batches]
    assert together == {sensor: of for found, _ in alone for sensor, of in found.items()}
    assert sorted(rows, key=repr) == sorted((row for _, found in alone for row in found), key=repr)


def test_logs_of_other_columns() -> None:
    shorter = b"#fields\tts\tid.orig_h\tid.resp_h\tquery\n#path\tdns\n"
    batches = [
        batch(DNS, "a", HEADER + tsv(uid="Ca") * 2),
        batch(DNS, "b", shorter + b"1700000000.5\t192.0.2.1\t192.0.2.53\twww.b.example\n"),
        batch(DNS, "c", HEADER + tsv(uid="Cc") + shorter + b"1700000000.5\t192.0.2.1\t192.0.2.53\twww.c.example\n"),
        batch(DNS, "d", HEADER + tsv(uid="Cd") * 3),
    ]
    found, rows = parsed(batches)
    assert {sensor: records for sensor, (records, _) in found.items()} == {"a": 2, "b": 1, "c": 2, "d": 3}
    assert Counter(row[1] for row in rows) == {"a": 2, "b": 1, "c": 2, "d": 3}
