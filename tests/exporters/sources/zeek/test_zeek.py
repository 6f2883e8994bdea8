"""The parser of dns.log: both forms, real logs, names from the wire, and whatever else may stand in a file."""

import gzip
import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dnsvigil.records import TRANSACTION, UNKNOWN_RCODE
from dnsvigil.sources.zeek.header import Header
from dnsvigil.sources.zeek.lines import split
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.sources.zeek.recognition import first_log_type
from dnsvigil.sources.zeek.skip_reasons import MAX_LINE, SKIP_REASONS
from exporters import pcap
from exporters.zeeklogs import HEADER, NEWLINE, START, TAB, Taken, Taker, as_json, header_of, log_lines, tsv
from lab import zeeklog
from lab.questions import awkward

GOOD = log_lines(5)
JSON_GOOD = [as_json(line) for line in GOOD]
ADDED = ("query_bytes", "response_bytes", "answer_types", "edns_udp_size", "dnssec_ok", "ede")
FIELDS = {column: DNS.field_of(column) for column in TRANSACTION if column != "sensor"}
EPOCH = datetime(1970, 1, 1)


def micros(seconds: float) -> datetime:
    return EPOCH + timedelta(microseconds=round(seconds * 1e6))


class TestRecord:
    LINE = tsv(answers=r"TXT 9 a\x2cb\\c\x09,alias.example", TTLs="300.000000,0.500000", query="WWW.Example.com")
    RECORD: ClassVar = {
        "ts": datetime(2023, 11, 14, 22, 13, 20, 250_000),
        "sensor": "zeek",
        "uid": "CuidCuidCuidCuid01",
        "client": "198.51.100.7",
        "client_port": 40_000,
        "server": "192.0.2.53",
        "server_port": 53,
        "proto": "udp",
        "trans_id": 4711,
        "qname": "www.example.com",
        "qclass": 1,
        "qtype": 28,
        "rcode": 0,
        "rtt_seconds": 0.0125,
        "answers": [r"TXT 9 a,b\c\x09", "alias.example"],
        "ttls": [300.0, 0.5],
        "aa": False,
        "tc": False,
        "rd": True,
        "ra": True,
        "rejected": False,
        **dict.fromkeys(ADDED),
    }

    @pytest.mark.parametrize("form", [lambda line: HEADER + line, as_json], ids=["tsv", "json"])
    def test_has_every_column(self, taker: Taker, form: Any) -> None:
        (row,) = taker.take(form(self.LINE)).rows
        assert dict(zip(TRANSACTION, row, strict=True)) == self.RECORD

    def test_answers_in_json_are_as_zeek_writes_them(self, taker: Taker) -> None:
        line = as_json(tsv(), answers=["TXT 9 a,b\\c\t", "\\xff", "\\\\", "é"])
        (row,) = taker.take(line).rows
        assert row[list(TRANSACTION).index("answers")] == [r"TXT 9 a,b\c\x09", r"\xff", r"\\", r"\xc3\xa9"]

    @pytest.mark.parametrize("form", [lambda line: HEADER + line, as_json], ids=["tsv", "json"])
    def test_unset_fields_are_null(self, taker: Taker, form: Any) -> None:
        names = [
            "rtt",
            "query",
            "qclass",
            "qtype",
            "rcode",
            "qclass_name",
            "qtype_name",
            "rcode_name",
            "answers",
            "TTLs",
            "AA",
            "RA",
            "rejected",
            "id_orig_p",
            "uid",
        ]
        (row,) = taker.take(form(tsv(**dict.fromkeys(names, "-")))).rows
        unset = {"rtt_seconds", "qname", "qclass", "qtype", "rcode", "answers", "ttls", "aa", "rejected", "client_port"}
        assert {name for name, value in zip(TRANSACTION, row, strict=True) if value is None} == unset | {
            "ra",
            "uid",
            *ADDED,
        }

    def test_empty_list(self, taker: Taker) -> None:
        taken = taker.take(HEADER + tsv(answers="(empty)", TTLs="(empty)"))
        assert (taken.column("answers"), taken.column("ttls")) == ([[]], [[]])

    def test_sizes_where_the_sensor_logs_them(self, taker: Taker) -> None:
        header = header_of("ts", "query_bytes", "response_bytes", "id.orig_h", "id.resp_h")
        taken = taker.take(header + f"{START}.0\t40\t4294967295\t198.51.100.7\t192.0.2.53\n".encode())
        assert (taken.column("query_bytes"), taken.column("response_bytes")) == ([40], [2**32 - 1])

    @pytest.mark.parametrize(
        "ts", [START + 0.123456, (START + 0.123456) * 1000, "2023-11-14T22:13:20.123456Z"], ids=["s", "ms", "iso"]
    )
    def test_times_of_json(self, taker: Taker, ts: object) -> None:
        assert taker.take(as_json(tsv(), ts=ts)).column("ts") == [datetime(2023, 11, 14, 22, 13, 20, 123_456)]

    @pytest.mark.parametrize("rtt", [0.01230001449584961, 0.012299999])
    def test_round_trip_is_to_the_microsecond(self, taker: Taker, rtt: float) -> None:
        assert taker.take(as_json(tsv(), rtt=rtt)).column("rtt_seconds") == [0.0123]


class TestName:
    @pytest.mark.parametrize(
        ("tsv_text", "json_text", "name"),
        [
            ("Example.COM", "Example.COM", "example.com"),
            ("example.com.", "example.com.", "example.com"),
            ("(empty)", "", "."),
            (".", ".", "."),
            (r"\x2d", "-", "-"),
            (r"\x28empty)", "(empty)", "(empty)"),
            ("a\"b'c", "a\"b'c", "a\"b'c"),
            ("{}", "{}", "{}"),
            (r"a\\b", r"a\b", r"a\b"),
            (r"a\x09b\x0a", "a\tb\n", r"a\x09b\x0a"),
            (r"a\x00b", r"a\x00b", r"a\x00b"),
            (r"a\x00b", "a\0b", r"a\x00b"),
            ("a\0b", "a\0b", r"a\x00b"),
            (r"\xFF\x7F", r"\xFF\x7F", r"\xff\x7f"),
            ("Ünï", "Ünï", r"\xc3\x9cn\xc3\xaf"),
            (r"\xc3\x9cn", "Ün", r"\xc3\x9cn"),
            ("\u2028", "\u2028", r"\xe2\x80\xa8"),
            ("\N{GRINNING FACE}.x", "\N{GRINNING FACE}.x", r"\xf0\x9f\x98\x80.x"),
            ("'; DROP TABLE x; --", "'; DROP TABLE x; --", "'; drop table x; --"),
            ("a" * 255, "a" * 255, "a" * 255),
            (r"\xff" * 255, r"\xff" * 255, r"\xff" * 255),
            ("\\\\" * 255, "\\" * 255, "\\" * 255),
        ],
    )
    def test_is_the_same_in_both_forms(self, taker: Taker, tsv_text: str, json_text: str, name: str) -> None:
        assert taker.take(HEADER + tsv(query=tsv_text)).names == [name]
        assert taker.take(as_json(tsv(), query=json_text)).names == [name]

    @pytest.mark.parametrize("name", ["a" * 256, r"\xff" * 256, "\\\\" * 256])
    def test_of_more_than_255_octets_is_skipped(self, taker: Taker, name: str) -> None:
        for log in (HEADER + tsv(query=name), as_json(tsv(query=name))):
            assert taker.take(log).skipped == {"name": 1}

    @pytest.mark.skipif(not shutil.which("zeek"), reason="Zeek is not on the PATH")
    def test_of_any_bytes_from_zeek_itself(self, taker: Taker, tmp_path: Path) -> None:
        """Zeek's two forms keep different parts of UTF-8 as it is, and write a backslash differently."""
        dice = random.Random(7)
        chunks = [bytes([byte]) for byte in range(256)]
        chunks += [text.encode() for text in ("ü", "Ü", "\x85", "\xa0", "\u200b", "\ue000", "\ufffd", "\N{GHOST}")] * 8
        chunks += [b"\\", b"\\x", b"\\x41", b"\\\\", b"-", b"(empty)", b",", b'"', b".", b"#"] * 8
        wild = [[b"".join(dice.choices(chunks, k=dice.randint(1, 5))) for _ in range(3)] for _ in range(800)]
        names = [(), (b"-",), (b"(empty)",), (b"#",), *(question.labels for question in awkward()), *wild]
        pcap.write(tmp_path / "names.pcap", names, START)
        taken = []
        for form in ("F", "T"):
            (tmp_path / form).mkdir()
            subprocess.run(
                ["zeek", "-C", "-r", "../names.pcap", f"LogAscii::use_json={form}"], cwd=tmp_path / form, check=True
            )
            taken.append(taker.take((tmp_path / form / "dns.log").read_bytes()))
        number, name, answers = (list(TRANSACTION).index(column) for column in ("trans_id", "qname", "answers"))
        in_tsv, in_json = ({row[number]: (row[name], row[answers]) for row in each.rows} for each in taken)
        assert in_tsv == in_json
        assert in_tsv == {i: (text_of(labels), [r'TXT 8 x,y\z\x09"\xff'] * 2) for i, labels in enumerate(names)}


def text_of(labels: tuple[bytes, ...] | list[bytes]) -> str:
    """The name as the record has it, worked out in plain Python."""
    raw = b".".join(labels).decode("latin-1")
    raw = re.sub("[A-Z]", lambda letter: letter[0].lower(), raw).removesuffix(".") or "."
    return "".join(c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in raw)


# One bad line in TSV, and why it is skipped.
BAD_TSV = {
    "one column too few": (GOOD[0].replace(TAB + b"udp", b""), "columns"),
    "one column too many": (GOOD[0].replace(b"udp", b"udp\tudp"), "columns"),
    "blank": (NEWLINE, "columns"),
    "another log's line": (b"1700000000.0\tCx\t192.0.2.1\tdns.log\n", "columns"),
    "UTF-8 broken": (GOOD[0].replace(b"www", b"").replace(b"example", b"\xff"), "encoding"),
    "surrogate in UTF-8": (GOOD[0].replace(b"example", b"\xed\xa0\x80"), "encoding"),
    "carriage return inside": (GOOD[0].replace(b"example", b"a\rb"), "encoding"),
    "longest and one more": (GOOD[0].replace(b"example", b"x" * MAX_LINE), "too_long"),
    "a megabyte": (GOOD[0].replace(b"example", b"x" * 2**20), "too_long"),
    "binary": (bytes(range(11, 256)) + NEWLINE, "encoding"),
    "time is no number": (tsv(ts="yesterday"), "timestamp"),
    "no time": (tsv(ts="-"), "timestamp"),
    "time is not finite": (tsv(ts="inf"), "timestamp"),
    "1970": (tsv(ts="12.000000"), "timestamp"),
    "2106": (tsv(ts="4294967295.000000"), "timestamp"),
    "time at the end of what can be stored": (tsv(ts="9223372036854.775807"), "timestamp"),
    "time before all": (tsv(ts="-9223372036854.775807"), "timestamp"),
    "time far out": (tsv(ts="1e300"), "timestamp"),
    "client is a name": (tsv(id_orig_h="client"), "address"),
    "no client": (tsv(id_orig_h="-"), "address"),
    "no server": (tsv(id_resp_h="-"), "address"),
    "server is empty": (tsv(id_resp_h=""), "address"),
    "type is a word": (tsv(qtype="AAAA"), "number"),
    "type of 17 bits": (tsv(qtype="65536"), "number"),
    "rcode below zero": (tsv(rcode="-1"), "number"),
    "round trip below zero": (tsv(rtt="-0.001000"), "rtt"),
    "round trip is a word": (tsv(rtt="soon"), "rtt"),
    "round trip is no number": (tsv(rtt="nan"), "rtt"),
    "round trip without end": (tsv(rtt="inf"), "rtt"),
    "round trip of two days": (tsv(rtt="172800.0"), "rtt"),
    "name of 256 octets": (tsv(query="x" * 256), "name"),
    "NUL bytes before it": (bytes(100) + GOOD[0], "timestamp"),
}
JSON_TEXT = JSON_GOOD[0].rstrip()
BAD_JSON = {
    "half": (JSON_TEXT[: len(JSON_TEXT) // 2] + NEWLINE, "json"),
    "something behind it": (JSON_TEXT + b"x\n", "json"),
    "list": (b"[1, 2]\n", "json"),
    "number": (b"17\n", "no_header"),
    "string": (b'"query"\n', "no_header"),
    "null": (b"null\n", "no_header"),
    "blank": (NEWLINE, "no_header"),
    "spaces": (b"   \n", "no_header"),
    "nothing in it": (b"{}\n", "json"),
    "lone surrogate": (JSON_GOOD[0].replace(b"example", b"\\ud800"), "json"),
    "raw NUL": (JSON_GOOD[0].replace(b"example", b"a\0b"), "json"),
    "raw tab": (JSON_GOOD[0].replace(b"example", b"a\tb"), "json"),
    "UTF-8 broken": (JSON_GOOD[0].replace(b"example", b"\xff"), "json"),
    "TSV": (GOOD[0], "no_header"),
    "carriage return inside": (JSON_GOOD[0].replace(b", ", b",\r", 1), "encoding"),
    "a megabyte": (JSON_GOOD[0].replace(b"example", b"x" * 2**20), "too_long"),
    "conn.log": (b'{"ts":1700000000.0,"uid":"Cx","id.orig_h":"192.0.2.1","id.resp_h":"192.0.2.2"}\n', "other_log"),
    "another _path": (as_json(tsv(), _path="conn"), "other_log"),
    "time is a list": (as_json(tsv(), ts=[1]), "timestamp"),
    "time is true": (as_json(tsv(), ts=True), "timestamp"),
    "time is infinite": (as_json(tsv(), ts="infinity"), "timestamp"),
    "1970": (as_json(tsv(), ts="1970-01-01T00:00:12Z"), "timestamp"),
    "2106": (as_json(tsv(), ts="2106-02-07T06:28:15Z"), "timestamp"),
    "2106 in milliseconds": (as_json(tsv(), ts=4294967295000), "timestamp"),
    "time far out": (as_json(tsv(), ts=9.3e15), "timestamp"),
    "no client": (as_json(tsv(), id_orig_h=None), "address"),
    "type of many digits": (as_json(tsv(), qtype=10**400), "number"),
    "type is true": (as_json(tsv(), qtype=True), "number"),
    "round trip below zero": (as_json(tsv(), rtt=-1), "rtt"),
    "round trip is no number": (as_json(tsv(), rtt="nan"), "rtt"),
}
ODD_JSON = {
    "keys twice": JSON_TEXT[:-1] + b',"query":"other.example"}\n',
    "nested deeply": JSON_TEXT[:-1] + b',"x":' + b"[" * 3000 + b"]" * 3000 + b"}\n",
    "carriage return at its end": JSON_TEXT + b"\r\n",
    "spaces around it": b" " + JSON_TEXT + b"  \n",
    "unknown fields": as_json(tsv(query="h0.example.com"), extra={"a": [1, {}]}, query_bytes="many"),
    "answers are no list": as_json(tsv(query="h0.example.com"), answers="192.0.2.1", TTLs={"a": 1}),
    "_path": as_json(tsv(query="h0.example.com"), _path="dns", _write_ts="2023-11-14T22:13:20Z"),
    "comma at the end": JSON_TEXT[:-1] + b",}\n",
}
# What may stand beside it, and why that is skipped in TSV and in JSON.
NEIGHBOURS = {
    "none": (b"", [], []),
    "binary": (b"\xfe\xff\n", ["encoding"], ["no_header"]),
    "long": (b"y" * 2 * MAX_LINE + NEWLINE, ["too_long"], ["too_long"]),
}


class TestBadLine:
    """A line's fate is its own: it is the same whatever stands beside it."""

    @pytest.mark.parametrize("neighbour", NEIGHBOURS)
    @pytest.mark.parametrize("case", BAD_TSV)
    def test_in_tsv(self, taker: Taker, case: str, neighbour: str) -> None:
        line, reason = BAD_TSV[case]
        beside, its_reason, _ = NEIGHBOURS[neighbour]
        taken = taker.take(HEADER + b"".join([*GOOD[:2], beside, line, *GOOD[2:]]))
        assert taken.names == [f"h{i}.example.com" for i in range(5)]
        assert taken.skipped == Counter([reason, *its_reason])
        assert taken.read == 6 + bool(beside)

    @pytest.mark.parametrize("neighbour", NEIGHBOURS)
    @pytest.mark.parametrize("case", BAD_JSON)
    def test_in_json(self, taker: Taker, case: str, neighbour: str) -> None:
        line, reason = BAD_JSON[case]
        beside, _, its_reason = NEIGHBOURS[neighbour]
        taken = taker.take(b"".join([*JSON_GOOD[:2], beside, line, *JSON_GOOD[2:]]))
        assert taken.names == [f"h{i}.example.com" for i in range(5)]
        assert taken.skipped == Counter([reason, *its_reason])
        assert taken.read == 6 + bool(beside)

    @pytest.mark.parametrize("neighbour", NEIGHBOURS)
    @pytest.mark.parametrize("case", ODD_JSON)
    def test_odd_but_good(self, taker: Taker, case: str, neighbour: str) -> None:
        taken = taker.take(ODD_JSON[case] + NEIGHBOURS[neighbour][0] + JSON_GOOD[1])
        assert taken.names == ["h0.example.com", "h1.example.com"]

    def test_every_reason_is_met_here_or_below(self) -> None:
        assert {reason for _, reason in (*BAD_TSV.values(), *BAD_JSON.values())} == set(SKIP_REASONS) - {
            "set_aside",
            "too_old",
            "truncated",
            "word",
            "wrapped",
        }

    @pytest.mark.parametrize("form", [tsv, lambda: as_json(tsv())], ids=["tsv", "json"])
    def test_length_is_bounded_to_the_byte(self, taker: Taker, form: Callable[[], bytes]) -> None:
        line = form()
        longest = line.replace(b"Cuid", b"C" * (4 + MAX_LINE - len(line)), 1)
        assert len(longest) == MAX_LINE
        taken = taker.take(HEADER + longest + longest.replace(b"CC", b"CCC", 1) + line)
        assert (len(taken.rows), taken.skipped) == (2, {"too_long": 1})

    def test_first_of_a_json_log(self, taker: Taker) -> None:
        """What is left of a line when its beginning was truncated away does not hide what follows."""
        taken = taker.take(b'ple.com","qclass":1}\n' + b"".join(JSON_GOOD))
        assert (len(taken.rows), taken.skipped) == (5, {"no_header": 1})

    def test_first_of_a_tsv_log(self, taker: Taker) -> None:
        taken = taker.take(HEADER + b"{ broken\n" + b"".join(GOOD))
        assert (len(taken.rows), taken.skipped) == (5, {"json": 1})

    def test_windows_line_ends(self, taker: Taker) -> None:
        log = (HEADER + b"".join(GOOD)).replace(NEWLINE, b"\r\n")
        assert taker.take(log).rows == taker.take(HEADER + b"".join(GOOD)).rows

    def test_lines_of_both_forms(self, taker: Taker) -> None:
        taken = taker.take(HEADER + GOOD[0] + JSON_GOOD[1] + GOOD[2] + b"x\n" + JSON_GOOD[3] + GOOD[4])
        assert (len(taken.rows), taken.skipped) == (5, {"columns": 1})

    def test_json_below_another_logs_header(self, taker: Taker) -> None:
        taken = taker.take(header_of("ts", "uid", path="conn") + GOOD[0] + JSON_GOOD[1])
        assert (taken.names, taken.skipped) == (["h1.example.com"], {"other_log": 1})

    def test_without_header(self, taker: Taker) -> None:
        taken = taker.take(b"".join(GOOD))
        assert (taken.rows, taken.skipped) == ([], {"no_header": 5})

    def test_round_trips_to_the_bound_can_be_summed(self, taker: Taker) -> None:
        assert taker.take(HEADER + tsv(rtt="86400.0") + tsv(rtt="-0.0") + tsv(rtt="0")).column("rtt_seconds") == [
            -0.0,
            0.0,
            86400.0,
        ]


class TestAnyLines:
    @staticmethod
    def count(data: bytes) -> int:
        return sum(not line.startswith(b"#") for line in data.removesuffix(NEWLINE).split(NEWLINE)) if data else 0

    @settings(max_examples=80, deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.integers(0, 4),
                st.binary(max_size=80).filter(lambda garbage: b"#" not in garbage),
                st.text(alphabet='\t{}"\\,:x\r1', max_size=30).map(str.encode),
            ),
            max_size=30,
        ),
        st.booleans(),
    )
    @example([b"{", 0], False)
    @example([b"\x00\n\n\r", 1, 1], True)
    def test_good_ones_are_ingested_and_all_are_counted(self, mix: list[int | bytes], in_json: bool) -> None:
        good = JSON_GOOD if in_json else GOOD
        taker = self.taker
        data = b"".join(part + NEWLINE if isinstance(part, bytes) else good[part] for part in mix)
        taken = taker.take(data if in_json else HEADER + data)
        wanted = Counter(f"h{part}.example.com" for part in mix if isinstance(part, int))
        found = Counter(taken.names)
        assert {name: found[name] for name in wanted} == wanted
        assert taken.read == len(taken.rows) + taken.skipped.total() == self.count(data)
        assert set(taken.skipped) <= set(SKIP_REASONS)

    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=300), st.booleans())
    @example(b"#separator \\x\n#fields\tts\n", False)
    @example(b"#separator -\n#path-dns\n#fields-ts-id.orig_h-id.resp_h\n1-2-3\n", False)
    @example(b"#separator \\x00\n#path\0dns\n#fields\0ts\0query\n1\x002\n", False)
    @example(b"#separator \\x0a\n#path\ndns\n#fields\nts\n1\n", False)
    @example(b"#separator \\u20ac\n#path\xe2\x82\xacdns\n#fields\xe2\x82\xacts\n1\n", False)
    @example(b"#separator '\n#path'dns\n#unset_field''\n#fields'ts'query\n1'2\n", False)
    @example(b"#path\tdns\n#unset_field\t\t\n#empty_field\t\n#set_separator\t\n#fields\tts\tts\t\n1\t2\t3\n", False)
    @example(b"#path\tdns\n#unset_field\n#fields\tts\n\n-\n", True)
    def test_any_bytes_are_counted(self, data: bytes, after_header: bool) -> None:
        data = (HEADER if after_header else b"") + data
        taken = self.taker.take(data)
        assert taken.read == len(taken.rows) + taken.skipped.total() == self.count(data)

    @pytest.fixture(autouse=True)
    def _taker(self, taker: Taker) -> None:
        self.taker = taker


class TestHeader:
    def test_says_all(self) -> None:
        header = Header.parse(HEADER)
        assert header is not None and header.log_type is DNS
        assert (header.separator, header.set_separator, header.empty, header.unset) == ("\t", ",", "(empty)", "-")
        assert header.fields == tuple(name for name, _ in zeeklog.DNS_COLUMNS)

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"#close\t2023-11-14-22-13-20\n",
            b"#separator \\x09\n#path\tdns\n",
            b"#fields\n",
            b"#separator \\x\n#fields\tts\n",
            b"#separator \n#fields\tts\n",
            b"#separator ab\n#fieldsabts\n",
        ],
    )
    def test_that_names_no_fields_is_none(self, text: bytes) -> None:
        assert Header.parse(text) is None

    def test_of_another_separator(self, taker: Taker) -> None:
        log = (HEADER + b"".join(GOOD)).replace(b",", b";").replace(TAB, b",").replace(b"\\x09", b"\\x2c")
        assert taker.take(log).rows == taker.take(HEADER + b"".join(GOOD)).rows

    def test_says_what_is_unset_and_empty(self, taker: Taker) -> None:
        fields = ["ts", "id.orig_h", "id.resp_h", "query", "rcode", "answers"]
        header = header_of(*fields, set_separator="|", empty_field="EMPTY", unset_field="NONE")
        line = f"{START}.0\t198.51.100.7\t192.0.2.53\tEMPTY\tNONE\ta|b\n".encode()
        taken = taker.take(header + line)
        assert (taken.names, taken.column("rcode"), taken.column("answers")) == (["."], [None], [["a", "b"]])

    def test_with_columns_in_another_order_and_unknown_ones(self, taker: Taker) -> None:
        fields = ["new", *reversed([name for name, _ in zeeklog.DNS_COLUMNS]), "newer"]
        assert taker.take(header_of(*fields) + tsv(fields)).rows == taker.take(HEADER + tsv()).rows

    def test_with_few_columns(self, taker: Taker) -> None:
        fields = ["ts", "id.orig_h", "id.resp_h"]
        (row,) = taker.take(header_of(*fields) + tsv(fields)).rows
        given = {name: value for name, value in zip(TRANSACTION, row, strict=True) if value is not None}
        assert given.keys() == {"ts", "sensor", "client", "server", "rcode"}
        assert given["rcode"] == UNKNOWN_RCODE

    def test_with_a_column_twice(self, taker: Taker) -> None:
        fields = ["ts", "id.orig_h", "id.resp_h", "query", "query"]
        assert taker.take(header_of(*fields) + tsv(fields)).names == ["www.example.com"]

    def test_without_path_is_known_by_its_columns(self, taker: Taker) -> None:
        assert taker.take(header_of(*FIELDS.values(), path="") + tsv(FIELDS.values())).names == ["www.example.com"]
        assert taker.take(header_of("ts", "uid", path="") + b"1\t2\n").skipped == {"other_log": 1}

    def test_of_another_log(self, taker: Taker) -> None:
        taken = taker.take(header_of(*FIELDS.values(), path="conn") + tsv(FIELDS.values()) * 3)
        assert (taken.rows, taken.skipped) == ([], {"other_log": 3})

    def test_changes_inside_a_file(self, taker: Taker) -> None:
        short = ["ts", "query", "id.resp_h", "id.orig_h"]
        log = b"".join(
            [
                HEADER,
                GOOD[0],
                zeeklog.footer(START),
                header_of(*short),
                tsv(short),
                b"#close\tnow\n",
                HEADER,
                GOOD[1],
                header_of("ts", path="conn"),
                b"1\n",
                HEADER,
                GOOD[2],
            ]
        )
        taken = taker.take(log)
        assert taken.names == ["h0.example.com", "h1.example.com", "h2.example.com", "www.example.com"]
        assert taken.skipped == {"other_log": 1}

    def test_again_and_again_costs_no_more_tables(self) -> None:
        """Garbage with many lines that begin with # must not become as many tables."""
        chunks, _, _ = split(b"".join((HEADER, *(b"#\n" + line for line in GOOD * 100))), None, DNS)
        assert len(chunks) == 1


class TestFirstKind:
    @pytest.mark.parametrize(
        "head",
        [
            HEADER,
            HEADER + GOOD[0],
            JSON_GOOD[0],
            b"half of a line\n" + JSON_GOOD[0],
            as_json(GOOD[0], answers=["x" * 10_000]),
            as_json(GOOD[0], _path="dns"),
            bytes(5) + JSON_GOOD[0],
        ],
    )
    def test_yes(self, head: bytes) -> None:
        assert first_log_type(head) is DNS

    @pytest.mark.parametrize(
        "head",
        [
            b"",
            b"\n",
            b"hello\n",
            b"{}\n",
            b"[1]\n",
            b"[" * 100_000 + b"\n",
            b"\xff\xfe",
            GOOD[0],
            header_of("ts", path="conn"),
            BAD_JSON["conn.log"][0],
            BAD_JSON["another _path"][0],
        ],
    )
    def test_no(self, head: bytes) -> None:
        assert first_log_type(head) is None


def plain_rows(path: Path) -> Iterator[tuple[Any, ...]]:
    """The records of a log, made without what is tested here."""
    for record in zeeklog.records(path):
        values = {column: record.get(name) for column, name in FIELDS.items()}
        values["sensor"] = "zeek"
        when = record["ts"]
        values["ts"] = (
            datetime.fromisoformat(when).astimezone(UTC).replace(tzinfo=None) if isinstance(when, str) else micros(when)
        )
        if record.get("query") is not None:
            values["qname"] = record["query"].lower() or "."
        if record.get("rtt") is not None:
            values["rtt_seconds"] = round(record["rtt"], 6)
        yield tuple(values[column] for column in TRANSACTION)


@pytest.fixture(scope="module")
def logs(shared_data: Path, taker: Taker) -> dict[str, Taken]:
    folder = shared_data / "zeek-logs" / "zed-sample-data"
    paths = {"tsv": folder / "zeek-default" / "dns.log.gz", "json": folder / "zeek-json" / "dns.json.gz"}
    return {form: taker.take(gzip.decompress(path.read_bytes())) for form, path in paths.items()}


class TestRealLogs:
    def test_no_record_is_skipped(self, logs: dict[str, Taken]) -> None:
        assert {form: (len(taken.rows), taken.skipped.total()) for form, taken in logs.items()} == {
            "tsv": (53_615, 0),
            "json": (53_615, 0),
        }

    def test_forms_agree_in_every_column(self, logs: dict[str, Taken]) -> None:
        """But for the uid and the order: the two logs come from two runs of Zeek over one capture."""
        uid = list(TRANSACTION).index("uid")
        counts = [Counter(map(repr, (row[:uid] + row[uid + 1 :] for row in taken.rows))) for taken in logs.values()]
        assert counts[0] == counts[1]

    def test_values_are_those_of_the_log(self, shared_data: Path, logs: dict[str, Taken]) -> None:
        folder = shared_data / "zeek-logs" / "zed-sample-data"
        expected = Counter(map(repr, plain_rows(folder / "zeek-json" / "dns.json.gz")))
        assert Counter(map(repr, logs["json"].rows)) == expected


@pytest.mark.parametrize("name", [b"unset_field", b"empty_field", b"set_separator"])
def test_a_header_with_nul_bytes_names_no_columns(name):
    """What DuckDB would be given in its query ends at such a byte."""
    sign = b"#" + name + b"\t-\0x\n"
    assert Header.parse(b"#separator \\x09\n" + sign + b"#path\tdns\n#fields\tts\tquery\n") is None
