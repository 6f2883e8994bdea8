"""Times of records: whatever form a log has them in, they are read right or their record is skipped."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsvigil.sources.zeek import times
from dnsvigil.sources.zeek.log_types import DNS, LOG_TYPES, LogType
from exporters.zeeklogs import HEADER, Taker, as_json, package_header, package_json, package_line, tsv

NOON = datetime(2024, 2, 29, 12, 0, 0)
MICROS = NOON.replace(microsecond=123_456)
EPOCH = 1_709_208_000

GOOD: dict[Any, datetime] = {
    # Zeek, TSV and JSON::TS_EPOCH, TS_MILLIS, TS_ISO8601
    f"{EPOCH}.123456": MICROS,
    f"{EPOCH}.000000": NOON,
    EPOCH: NOON,
    EPOCH + 0.123456: MICROS,
    EPOCH * 1000 + 123: NOON.replace(microsecond=123_000),
    EPOCH * 1000 + 123.456: MICROS,
    "2024-02-29T12:00:00.123456Z": MICROS,
    # Shippers: epochs as numbers and as texts
    str(EPOCH): NOON,
    f"{EPOCH}000": NOON,
    f"{EPOCH}123456": MICROS,
    f"{EPOCH}123456789": MICROS,
    EPOCH * 10**6 + 123_456: MICROS,
    EPOCH * 10**9 + 123_456_789: MICROS,
    "1.709208e9": NOON,
    "1.709208e+12": NOON,
    "1.709208E15": NOON,
    "1.709208000123456e+18": MICROS,
    f"{EPOCH}.5": NOON.replace(microsecond=500_000),
    f"{EPOCH}.123456000": MICROS,
    # ISO 8601 and RFC 3339
    "2024-02-29T12:00:00Z": NOON,
    "2024-02-29t12:00:00z": NOON,
    "2024-02-29 12:00:00": NOON,
    "2024-02-29T12:00:00": NOON,
    "2024-02-29 12:00:00 UTC": NOON,
    "2024-02-29 12:00:00 +0000": NOON,
    "2024-02-29T12:00:00.1Z": NOON.replace(microsecond=100_000),
    "2024-02-29T12:00:00,123Z": NOON.replace(microsecond=123_000),
    "2024-02-29T12:00:00.123456789Z": MICROS,
    "2024-02-29T12:00:00,123456+0000": MICROS,
    "2024-02-29T13:00:00.123456+0100": MICROS,
    "2024-02-29T13:00:00.123456+01:00": MICROS,
    "2024-02-29T13:00:00.123456+01": MICROS,
    "2024-02-29T08:30:00.123456-0330": MICROS,
    "2024-02-29T08:30:00.123456-03:30": MICROS,
    "2024-03-01T02:00:00+14:00": NOON,
    "2024-02-28T23:59:59-12:00": NOON.replace(hour=11, minute=59, second=59),
    "2024-02-29T12:00:00-00:00": NOON,
}
BAD = [
    "",
    "-",
    "now",
    "yesterday",
    "true",
    "nan",
    "inf",
    "2024",
    "20240229T120000Z",
    "2024-02-29",
    "12:00:00",
    "0x65E06E80",
    "2024-02-30T12:00:00Z",
    "2023-02-29T12:00:00Z",
    "2024-13-01T12:00:00Z",
    "2024-00-01T12:00:00Z",
    "0000-01-01T00:00:00Z",
    "2024-02-29T24:00:00Z",
    "2024-02-29T12:60:00Z",
    "2024-02-29T23:59:60Z",
    "2024-02-29T12:00Z",
    "2024-02-29T1:00:00Z",
    "2024-02-29T12:00:00+24:00",
    "2024-02-29T12:00:00+01:60",
    "2024-02-29T12:00:00+1",
    "2024-02-29T12:00:00+010",
    "2024-02-29T12:00:00.Z",
    "2024-02-29T12:00:00.1234567890Z",
    "2024-02-29T12:00:00.5 CET",
    "2024-02-29T12:00:00Z x",
    "2024-02-29T12:00:00ZZ",
    "2024-02-29T12:00:00Z+01:00",
    "2024-02-29T12:00:00 Europe/Paris",
    "29/02/2024 12:00:00",
    "Feb 29 12:00:00",
    "2024-060T12:00:00Z",
    "2024-W09-4T12:00:00Z",
    "12024-02-29T12:00:00Z",
    "-2024-02-29T12:00:00Z",
    "0",
    "13.000000",
    "599616000",
    "4102444801",
    "17092080000",
    "170920800000",
    "599616000000",
    "17092080000000",
    "170920800000000",
    "17092080000000000",
    "17092080000000000000",
    "1e300",
    "-1709208000",
    "1709208000.5.5",
    "1709208000s",
    "1709208000,5",
    "1,709,208,000",
    "1970-01-01T00:00:13Z",
    "1989-12-31T23:59:59Z",
    "2090-01-01T00:00:00Z",
]


@pytest.fixture(scope="module")
def read() -> Iterator[Any]:
    """Returns what the expression reads of a text."""
    with duckdb.connect() as connection:
        # A server's own zone must not matter.
        connection.execute("SET TimeZone = 'America/St_Johns'")
        query = f"SELECT {times.time('t', 'n')} FROM (SELECT t, {times.number('t')} AS n FROM (SELECT ?::VARCHAR AS t))"
        yield lambda text: connection.execute(query, [text]).fetchone()[0]


def times_of(log_type: LogType) -> list[str]:
    return [column for column, form in log_type.record.items() if form == "TIMESTAMP"]


def log_with(log_type: LogType, form: str, times: Iterable[Any]) -> bytes:
    """A log with a record for each of these times, which stands in all of its columns."""
    lines = []
    for time in times:
        values = dict.fromkeys(times_of(log_type), time if form == "json" else str(time))
        if log_type is DNS:
            lines.append(as_json(tsv(), **values) if form == "json" else tsv(**values))
        else:
            lines.append((package_json if form == "json" else package_line)(log_type.path, **values))
    header = HEADER if log_type is DNS else package_header(log_type.path)
    return b"".join([header * (form == "tsv"), *lines])


@pytest.mark.parametrize("form", ["tsv", "json"])
@pytest.mark.parametrize("log_type", LOG_TYPES, ids=lambda log_type: log_type.path)
class TestForms:
    def test_that_are_read(self, taker: Taker, log_type: LogType, form: str) -> None:
        taken = taker.take(log_with(log_type, form, GOOD), log_type)
        assert taken.skipped == {}
        for column in times_of(log_type):
            position = list(log_type.record).index(column)
            assert sorted(row[position] for row in taken.rows) == sorted(GOOD.values())

    def test_that_are_not(self, taker: Taker, log_type: LogType, form: str) -> None:
        bad = [text for text in BAD if text or form == "json"]
        assert taker.take(log_with(log_type, form, bad), log_type).skipped == {"timestamp": len(bad)}


def test_a_later_time_column_that_is_bad_skips_its_record(taker: Taker) -> None:
    for log_type in LOG_TYPES[1:]:
        lines = [package_json(log_type.path, **{column: "2024-02-29T24:00:00Z"}) for column in times_of(log_type)]
        assert taker.take(b"".join(lines), log_type).skipped == {"timestamp": len(lines)}


MOMENTS = st.datetimes(datetime(1990, 1, 2), datetime(2099, 12, 30))


class TestOracle:
    @settings(max_examples=200, deadline=None)
    @given(
        MOMENTS,
        st.integers(-23 * 60 - 59, 23 * 60 + 59),
        st.tuples(st.sampled_from("Tt "), st.sampled_from(".,"), st.integers(0, 9), st.booleans()),
    )
    def test_with_an_offset(self, read: Any, moment: datetime, offset: int, form: tuple[str, str, int, bool]) -> None:
        letter, point, digits, colon = form
        local = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=offset)))
        fraction = f"{local.microsecond:06}789"[:digits]
        zone = f"{'+' if offset >= 0 else '-'}{abs(offset) // 60:02}{':' * colon}{abs(offset) % 60:02}"
        text = f"{local:%Y-%m-%d}{letter}{local:%H:%M:%S}{point * bool(digits)}{fraction}{zone}"
        micros = int(fraction[:6].ljust(6, "0") or 0)
        assert read(text) == moment.replace(microsecond=micros)
        assert read(text.replace(zone, "Z")) == local.replace(tzinfo=None, microsecond=micros)

    @settings(max_examples=200, deadline=None)
    @given(MOMENTS, st.sampled_from([0, 3, 6, 9]), st.booleans())
    def test_since_1970(self, read: Any, moment: datetime, digits: int, exponent: bool) -> None:
        micros = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
        number = micros * 1000 // 10 ** (9 - digits)
        text = f"{number:.18e}" if exponent else str(number)
        wanted = moment - timedelta(microseconds=micros * 1000 % 10 ** (9 - digits) // 1000)
        # A double has nanoseconds of today in steps of 256, and divided by a thousand microseconds in steps of a half.
        off = timedelta(microseconds=exponent and digits == 9)
        assert abs(read(text) - wanted) <= off
        assert read(f"{micros // 10**6}.{micros % 10**6:06}") == moment

    @settings(max_examples=200, deadline=None)
    @given(
        st.from_regex(
            r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]{1,9})?(Z|[+-][0-9]{2}:?[0-9]{2})?\Z"
        )
    )
    def test_of_any_digits(self, read: Any, text: str) -> None:
        try:
            wanted = datetime.fromisoformat(text)
        except ValueError:
            wanted = None
        if wanted and wanted.year < 2:
            return  # has no UTC in Python
        found = read(text)
        if wanted is None or (wanted.tzinfo and re.search(r"[+-](2[4-9]|[3-9].|..:?[6-9])", text[19:])):
            assert found is None
        else:
            assert found == (wanted.astimezone(UTC).replace(tzinfo=None) if wanted.tzinfo else wanted)

    @settings(max_examples=200, deadline=None)
    @given(st.text(alphabet="0123456789-:.,+TtZz eE", max_size=35))
    def test_of_any_text(self, read: Any, text: str) -> None:
        """What is no time has none, and nothing raises."""
        found = read(text)
        assert found is None or found.year >= 1
