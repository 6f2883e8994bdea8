"""The fast way of the parser gives what its query gives, and is taken for what Zeek writes by default."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dnsvigil.records import SUMMARY_COLUMNS, TRANSACTION, Cursor
from dnsvigil.sources.zeek import parser
from dnsvigil.sources.zeek.lines import split
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.sources.zeek.options import STOCK, LogOptions
from dnsvigil.sources.zeek.parser import Parser
from dnsvigil.sources.zeek.plain import Plain, plain
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.sources.zeek.skip_reasons import MAX_LINE
from exporters.zeeklogs import FIELDS, HEADER, START, header_of, tsv

COLUMNS = [name for name in TRANSACTION if name in (*SUMMARY_COLUMNS, "uid", "client_port", "answers")]
GOOD = tsv()
NAMES = [
    *("", ".", "..", "-", "(empty)", "(EMPTY)", "(empty).", "example.com.", "EXAMPLE.Com", "a..b", " a ", "a b", "*.a"),
    *("\\", "\\\\", "\\x41.Example", "\\X41", "\\x4", "\\xff\\xFF", "\\x00", "a\\.b", "\\x5c", "\\x2e", "x\\x2E."),
    *(
        "é.example",
        "É",
        "É.",
        "İ.example",
        "ａ",
        "ẞ",
        "\u2028",
        "\u00a0",
        "\ufeff",
        "😀",
        "a\x7fb",
        "a\x00b",
        "\x1b[0m",
    ),
    *("'", '"', '"a"', "%s", "{0}", "a,b", "#", "{", "[", "a" * 255, "a" * 256, "\\x00" * 64, "\\xff" * 256, "é" * 128),
]
ADDRESSES = [
    "",
    "-",
    "1",
    "::",
    "1.2.3",
    "::FFFF:1.2.3.4",
    "fe80::1%eth0",
    " 1.2.3.4",
    "é",
    "g" * 9,
    "1" * 45,
    "1" * 46,
]
NUMBERS = [
    *("", "-", "0", "00", "-0", "+1", "1", "01", "65535", "65536", "1.0", "1.5", "1e3", "0x1F", "0X1f", "0b1", "1_0"),
    *(" 1", "1 ", " 1 ", "1\x0b", "\x001", "1\x00", "٣", "nan", "inf", "true", "1,5", "(empty)", "1" * 30, "\ufeff1"),
]
SECONDS = [
    *(
        *NUMBERS,
        "-0.0",
        "-1",
        "-0.0000001",
        ".5",
        "5.",
        "5.e0",
        "1e-7",
        "0.0000005",
        "0.0000015",
        "1e400",
        "NaN",
        "-inf",
    ),
    *("86400", "86400.0000004", "86400.0000006", "86401", "0.1234565", "0.12345649999999999999999999999", "0x1p3"),
]
TIMES = [
    *(*SECONDS, f"{START}", f" {START}.5 ", f"{START}.1234565", f"{START}.9999999", f"{START}000", f"{START}000000"),
    *(f"{START}000000000", f"{START}123456789", "631152000", "631151999.9999999", "631151999", "4102444800", "1.7e9"),
    *("2023-11-14T22:13:20Z", "2023-11-14 22:13:20.5+01:00", "4102444801", f"{int(time.time()) + 60}", "9999999999"),
]
LISTS = [*NAMES, ",", ",,", "a,", ",a", "a,\\x2c,b", "(empty),a", "-,-", "é,a", "1.2.3.4,::1"]
VALUES = {
    **dict.fromkeys(("query",), NAMES),
    **dict.fromkeys(("id_orig_h", "id_resp_h"), ADDRESSES),
    **dict.fromkeys(("id_orig_p", "id_resp_p", "qtype", "rcode"), NUMBERS),
    "ts": TIMES,
    "rtt": SECONDS,
    "answers": LISTS,
    "uid": [*NAMES[:9], "\x00", "é"],
}


class Ways:
    """Parses lines of two sensors on the fast way, where they allow it, and by the query alone."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(config={"threads": 2})
        self._connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        self._parser = Parser(self._connection)

    def close(self) -> None:
        self._parser.close()
        self._connection.close()

    def same(self, lines: Sequence[bytes], header: bytes = HEADER, options: LogOptions = STOCK) -> Counter[str]:
        """Check that both ways give the same; return the skipped lines by reason."""
        fast, slow = (self._take(header + b"".join(lines), large, options) for large in (0, sys.maxsize))
        assert fast == slow
        return fast[1]

    def _take(self, data: bytes, large: int, options: LogOptions) -> tuple[list[str], Counter[str]]:
        chunks, _, skipped = split(data, None, DNS, options)
        batches = [
            Batch(chunks, 0, skipped, Cursor(sensor, sensor, 0, "", 0, b"", ""), 0, DNS, options) for sensor in "ab"
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(parser, "_LARGE", large)
            patch.setattr(parser, "_PIECE", 2000)
            loaded = self._parser.load(batches, ["sensor", *COLUMNS])
        rows = self._connection.execute(f"SELECT sensor, {', '.join(COLUMNS)} FROM {DNS.view}").fetchall()
        self._parser.drop()
        assert Counter(row[0] for row in rows) == +Counter(a=loaded[0].records, b=loaded[1].records)
        assert loaded[0] == loaded[1]
        return sorted(map(repr, rows)), loaded[0].skipped


@pytest.fixture(scope="module")
def ways() -> Iterator[Ways]:
    ways = Ways()
    yield ways
    ways.close()


def take(lines: Sequence[bytes], columns: Sequence[str] = COLUMNS) -> Plain | None:
    """Return what the fast way makes of the lines."""
    ((chunk,), _, _) = split(HEADER + b"".join(lines), None, DNS)
    return plain(chunk, columns)


def line(**values: str) -> bytes | None:
    """A line with these values; None where one would not stand on a line of its own."""
    return None if any(sign in value for value in values.values() for sign in "\t\n\r") else tsv(**values)


class TestBothWays:
    @pytest.mark.parametrize("field", VALUES)
    def test_give_the_same_for_each_odd_value(self, ways: Ways, field: str) -> None:
        lines = [tsv(**{field: value}) for value in VALUES[field]]
        for each in lines:
            ways.same([each])
        for order in (lines, lines[::-1], [each for each in lines if take([each])]):
            ways.same(order)

    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(
            st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()}),
            min_size=1,
            max_size=8,
        )
    )
    def test_give_the_same_for_odd_values_together(self, ways: Ways, records: list[dict[str, str]]) -> None:
        lines = [tsv(**values) for values in records]
        ways.same(lines)
        if stock := [each for each in lines if take([each])]:
            assert take(stock)
            ways.same(stock)

    @settings(max_examples=80, deadline=None)
    @given(
        st.sampled_from(["ts", "rtt", "qtype", "id_resp_p"]),
        st.text("0123456789.eE+-_xX abfinINFATY\x00\x0b\u00a0", min_size=1, max_size=12),
        st.sampled_from(["", f"{START}", f"{START}.", "0.00", "6553"]),
    )
    def test_read_the_same_numbers(self, ways: Ways, field: str, text: str, start: str) -> None:
        ways.same([tsv(**{field: start + text})])

    @settings(max_examples=40, deadline=None)
    @given(st.sampled_from(["query", "answers", "id_orig_h"]), st.lists(st.text(max_size=12), min_size=1, max_size=5))
    @example("query", ["É", "\\x41"])
    def test_read_the_same_texts(self, ways: Ways, field: str, texts: list[str]) -> None:
        if lines := [each for text in texts if (each := line(**{field: text}))]:
            ways.same(lines)

    def test_round_times_alike(self, ways: Ways) -> None:
        fractions = [f"{i * 7919 % 10**7:07}" for i in range(9000)]  # more than one block of Arrow
        assert not ways.same([tsv(ts=f"{START + i}.{part}", rtt=f"0.{part}") for i, part in enumerate(fractions)])

    def test_read_a_log_without_a_last_line_end(self, ways: Ways) -> None:
        assert not ways.same([GOOD, GOOD.rstrip()])

    @pytest.mark.parametrize(
        "lines",
        [
            [b"\n"],
            [GOOD, b"\n"],
            [b"\n", GOOD],
            [b"\xef\xbb\xbf" + GOOD, GOOD],
            [GOOD.rstrip() + b"\r\n", GOOD],
            [GOOD.rstrip() + b"\t\n", GOOD],
            [GOOD[:-3] + b"\n", GOOD.rstrip() + b"\tF\n"],
            [GOOD[:40] + b"\xff" + GOOD[40:]],
            [GOOD[:40] + b"\r" + GOOD[40:]],
            [GOOD, tsv(uid="x" * MAX_LINE)],
            [tsv(uid="x" * (MAX_LINE - len(GOOD))), GOOD],
        ],
    )
    def test_count_lines_that_are_no_records(self, ways: Ways, lines: list[bytes]) -> None:
        ways.same(lines)

    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(
            st.tuples(st.integers(0, 200), st.binary(max_size=3).filter(lambda data: not {*data} & {*b"#\n"})),
            min_size=1,
            max_size=6,
        )
    )
    def test_give_the_same_for_damaged_lines(self, ways: Ways, damages: list[tuple[int, bytes]]) -> None:
        ways.same([GOOD[: at % len(GOOD)] + data + GOOD[at % len(GOOD) :] for at, data in damages])

    @pytest.mark.parametrize("form", [{"unset_field": "NULL"}, {"empty_field": "-"}, {"set_separator": ";"}])
    def test_heed_the_header(self, ways: Ways, form: dict[str, str]) -> None:
        lines = [tsv(query="NULL", answers="NULL;a"), tsv(answers="a,b"), tsv(answers="-"), tsv(answers="(empty)")]
        ways.same(lines, header_of(*FIELDS, **form))

    @pytest.mark.parametrize("without", ["rcode", "rtt", "query", "qtype", "answers", "id.resp_p", "Z"])
    def test_know_what_a_header_lacks(self, ways: Ways, without: str) -> None:
        fields = [name for name in FIELDS if name != without]
        ways.same([tsv(fields), tsv(fields, query="\\x41")], header_of(*fields))

    def test_move_times_that_count_from_the_start_of_a_capture(self, ways: Ways) -> None:
        start = LogOptions(start=datetime(2024, 1, 1))
        assert not ways.same([tsv(ts="1.5")], options=start)
        assert ways.same([GOOD], options=start) == {"timestamp": 1}


class TestFastWay:
    @pytest.mark.parametrize(
        "values",
        [
            {},
            {"query": "(empty)"},
            {"query": "."},
            {"query": "-"},
            {"query": "EXAMPLE.com."},
            {"query": "\\x00\\x41.example"},
            {"query": "é.example"},
            {"rtt": "-", "rcode": "-", "answers": "-"},
            {"answers": "(empty)"},
            {"answers": "v=spf1 \\x2c,é"},
            {"id_orig_h": "2001:DB8::1"},
        ],
    )
    def test_knows_good_records(self, values: dict[str, str]) -> None:
        taken = take([GOOD, tsv(**values)])
        assert taken
        assert taken.good

    @pytest.mark.parametrize(
        "values",
        [
            {"ts": "-"},
            {"ts": f"{int(time.time()) + 7000}"},
            {"id_orig_h": "-"},
            {"id_orig_h": "g"},
            {"id_resp_h": "1"},
            {"id_resp_h": "1" * 46},
            {"rtt": "-1"},
            {"rtt": "nan"},
            {"rtt": "86401"},
            {"query": "a" * 256},
        ],
    )
    def test_reads_what_may_be_bad(self, ways: Ways, values: dict[str, str]) -> None:
        lines = [GOOD, tsv(**values)]
        taken = take(lines)
        assert taken
        assert not taken.good
        assert ways.same(lines).total() == 1

    @pytest.mark.parametrize(
        "values",
        [
            {"ts": f"{START}000"},
            {"ts": "1.5"},
            {"ts": "nan"},
            {"ts": "2023-11-14T22:13:20Z"},
            {"qtype": ""},
            {"qtype": "65536"},
            {"id_resp_p": "x"},
            {"rtt": "x"},
            {"query": "a\x7f"},
            {"answers": "a\x01"},
        ],
    )
    def test_leaves_what_zeek_does_not_write(self, values: dict[str, str]) -> None:
        assert not take([GOOD, tsv(**values)])

    def test_leaves_columns_that_it_does_not_read(self) -> None:
        assert not take([GOOD], columns=[*COLUMNS, "aa"])

    def test_is_taken_for_a_large_chunk_alone(self, ways: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[Any] = []
        monkeypatch.setattr(parser, "plain", lambda *args: asked.append(args))
        ways.same([GOOD])
        assert len(asked) == 2

    def test_needs_no_pandas(self) -> None:
        """A process that only runs queries leaves it out."""
        code = (
            "import sys; sys.modules['pandas'] = None\n"
            "from dnsvigil.sources.zeek.lines import split\n"
            "from dnsvigil.sources.zeek.log_types import DNS\n"
            "from dnsvigil.sources.zeek.plain import plain\n"
            "((chunk,), _, _) = split(sys.stdin.buffer.read(), None, DNS)\n"
            "assert plain(chunk, sys.argv[1:])"
        )
        subprocess.run([sys.executable, "-c", code, *COLUMNS], input=HEADER + GOOD + tsv(rtt="-"), check=True)
