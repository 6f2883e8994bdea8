"""Records under other names, in envelopes, behind prefixes and several on a line: taken out where that is sure."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.sources.zeek.header import Header
from dnsvigil.sources.zeek.log_types import DNS, LOG_TYPES, PDNS, LogType
from dnsvigil.sources.zeek.options import LogOptions
from dnsvigil.sources.zeek.recognition import describe, first_log_type
from dnsvigil.sources.zeek.skip_reasons import MAX_LINE
from exporters.zeeklogs import (
    FIELDS,
    HEADER,
    NEWLINE,
    Taker,
    as_json,
    header_of,
    log_lines,
    package_header,
    package_json,
    package_line,
    tsv,
)

LINES = [as_json(line).rstrip() for line in log_lines(3)]
RECORD = json.loads(LINES[0])
TEXT = LINES[0].decode()
TSV_TEXT = tsv().decode().rstrip()
NESTED = {name: value for name, value in RECORD.items() if not name.startswith("id.")} | {
    "id": {name[3:]: value for name, value in RECORD.items() if name.startswith("id.")}
}
CONN = {"ts": 1_700_000_000.0, "uid": "C1", "id.orig_h": "192.0.2.1", "id.resp_h": "192.0.2.2", "service": "dns"}


def dump(content: Any) -> bytes:
    return json.dumps(content).encode() + NEWLINE


ONE: dict[str, bytes] = {
    "Filebeat": dump({"@timestamp": "2026-11-29T08:00:00Z", "log": {"file": {"path": "/x/dns.log"}}, "message": TEXT}),
    "Filebeat with the original": dump({"message": TEXT, "event": {"original": TEXT}, "host": {"name": "a"}}),
    "Filebeat with json": dump({"@timestamp": "2026-11-29T08:00:00.000Z", "json": RECORD}),
    "Logstash": dump({"@version": "1", "event": {"original": TEXT}}),
    "dotted": dump({"event.original": TEXT}),
    "Fluent Bit": dump({"date": 1795944000.123, "log": TEXT + "\n"}),
    "Fluentd": dump({"log": TEXT, "stream": "stdout", "time": "2026-11-29T08:00:00.1Z"}),
    "Docker in Filebeat": dump({"message": json.dumps({"log": TEXT + "\n", "stream": "stdout"})}),
    "Vector": dump({"message": TEXT, "source_type": "file", "timestamp": "2026-11-29T08:00:00.1Z"}),
    "journald": dump({"MESSAGE": TEXT, "__REALTIME_TIMESTAMP": "1795944000000000", "PRIORITY": "6"}),
    "Promtail": dump({"labels": {"job": "zeek"}, "line": TEXT, "timestamp": "2026-11-29T08:00:00.1Z"}),
    "Splunk": dump({"preview": False, "result": {"_raw": TEXT, "_time": "2026-11-29"}}),
    "Elasticsearch": dump({"_index": "zeek", "_id": "x", "_source": RECORD}),
    "Kafka with tags": dump({"dns": RECORD}),
    "syslog in an envelope": dump({"message": f"<13>Nov 29 08:00:00 sensor zeek: {TEXT}"}),
    "RFC 3164": b"Nov 29 08:00:00 sensor zeek_dns: " + LINES[0] + NEWLINE,
    "RFC 3164 with priority": b"<13>Nov  9 08:00:00 sensor zeek[12]: " + LINES[0] + NEWLINE,
    "rsyslog's own": b"2026-11-29T08:00:00.123456+01:00 sensor zeek: " + LINES[0] + NEWLINE,
    "RFC 5424": b"<134>1 2026-11-29T08:00:00.123Z sensor zeek 12 dns - " + LINES[0] + NEWLINE,
    "RFC 5424 with data": b'<134>1 2026-11-29T08:00:00Z sensor zeek - - [a@1 b="c d"] ' + LINES[0] + NEWLINE,
    "RFC 6587": b"345 <134>1 2026-11-29T08:00:00Z sensor zeek - - - " + LINES[0] + NEWLINE,
    "CEE": b"Nov 29 08:00:00 sensor zeek: @cee: " + LINES[0] + NEWLINE,
    "container": b"2026-11-29T08:00:00.000000000Z stdout F " + LINES[0] + NEWLINE,
    "list of one": b"[" + LINES[0] + b"]\n",
    "comma at the end of the line": LINES[0] + b",\n",
    "nested id": dump(NESTED),
    **{
        f"scope separator {separator!r}": dump({name.replace("id.", f"id{separator}"): v for name, v in RECORD.items()})
        for separator in ("_", ":", "", "->", "_scope_")
    },
    "extension fields": dump({"@path": "dns", "@stream": "dns", "_write_ts": "2026-11-29T08:00:00Z", **RECORD}),
    "extension fields with path": dump({"_path": "dns", "_system_name": "a", **RECORD}),
    "nested id in an envelope": dump({"message": json.dumps(NESTED)}),
}  # fmt: skip
SEVERAL: dict[str, bytes] = {
    "list": b"[" + b", ".join(LINES) + b"]\n",
    "list without spaces": b"[" + b",".join(LINES) + b"]\n",
    "list without an end": b"[" + b",".join(LINES) + b"]",
    "list that is long": b"[" + b",".join([*LINES[:2], LINES[2][:-1] + b', "x": "' + b"y" * 60_000 + b'"}']) + b"]\n",
    "list over lines": b"[\n" + b",\n".join(LINES) + b"\n]\n",
    "one behind the other": b"".join(LINES) + NEWLINE,
    "with spaces": b"  ".join(LINES) + NEWLINE,
    "envelopes": b"[" + b",".join(dump({"message": line.decode()}).rstrip() for line in LINES) + b"]\n",
}
WRAPPED: dict[str, bytes] = {
    "TSV in an envelope": dump({"@timestamp": "2026-11-29T08:00:00.000Z", "message": TSV_TEXT}),
    "half a record": dump({"message": TEXT[:100]}),
    "two different records": dump({"message": TEXT, "event": {"original": LINES[1].decode()}}),
    "two records": dump({"message": TEXT + TEXT}),
    "prefix before half a record": b"Nov 29 08:00:00 sensor zeek: " + LINES[0][:100] + NEWLINE,
}
# What strangers wrote into a field of another log.
HOSTILE: dict[str, bytes] = {
    "in a field": dump({**CONN, "message": TEXT, "msg": TEXT, "log": TEXT}),
    "in a field that no shipper uses": dump(
        {"@timestamp": "2026-11-29T08:00:00.000Z", "user_agent": {"original": TEXT}}
    ),
    "in another log's record": dump({"message": json.dumps({**CONN, "service": TEXT, "message": TEXT})}),
    "in a log with a path": dump({"_path": "http", "ts": 1.0, "user_agent": TEXT, "message": TEXT}),
}


class TestOne:
    @pytest.mark.parametrize("case", ONE)
    def test_is_as_if_it_stood_alone(self, taker: Taker, case: str) -> None:
        taken = taker.take(ONE[case])
        assert (taken.rows, taken.skipped) == (taker.take(LINES[0] + NEWLINE).rows, {})

    @pytest.mark.parametrize("case", ONE)
    def test_says_which_log_it_is(self, case: str) -> None:
        assert first_log_type(ONE[case]) is DNS

    @pytest.mark.parametrize("log_type", LOG_TYPES[1:], ids=lambda log_type: log_type.path)
    def test_of_the_package(self, taker: Taker, log_type: LogType) -> None:
        line = package_json(log_type.path)
        alone = taker.take(line, log_type)
        wrapped = dump({"message": line.decode()})
        assert len(alone.rows) == 1 and first_log_type(wrapped) is log_type
        for log in (wrapped, b"[" + line.rstrip() + b"]\n", b"Nov 29 08:00:00 sensor zeek: " + line):
            assert taker.take(log, log_type).rows == alone.rows


@pytest.mark.parametrize("case", SEVERAL)
def test_several_are_all_read(taker: Taker, case: str) -> None:
    taken = taker.take(SEVERAL[case])
    assert taken.names == [f"h{i}.example.com" for i in range(3)]
    assert first_log_type(SEVERAL[case]) is DNS
    assert taken.skipped.total() == (2 if case == "list over lines" else 0)


def test_one_of_several_that_is_bad_is_skipped_alone(taker: Taker) -> None:
    bad = [
        as_json(tsv(), rtt=-1).rstrip(),
        json.dumps(CONN).encode(),
        LINES[0][:-1] + b', "x": "' + b"y" * MAX_LINE + b'"}',
    ]
    taken = taker.take(b"[" + b",".join([*bad, LINES[1]]) + b"]\n")
    assert (taken.names, taken.skipped) == (["h1.example.com"], {"rtt": 1, "other_log": 1, "too_long": 1})


@pytest.mark.parametrize(
    "text", ["{\n}\n", "[\n]\n", json.dumps(RECORD, indent=1) + "\n", json.dumps([RECORD] * 2, indent=1)]
)
def test_objects_over_several_lines_are_skipped_line_by_line(taker: Taker, text: str) -> None:
    """The parser gives up at some of them."""
    log = LINES[1] + NEWLINE + text.encode().rstrip() + NEWLINE + LINES[2] + NEWLINE
    taken = taker.take(log)
    assert taken.names == ["h1.example.com", "h2.example.com"]
    assert taken.skipped.total() == log.count(NEWLINE) - 2


@pytest.mark.parametrize("case", WRAPPED)
def test_what_is_not_sure_is_skipped_as_such(taker: Taker, case: str) -> None:
    taken = taker.take(LINES[1] + NEWLINE + WRAPPED[case])
    assert (taken.names, taken.skipped) == (["h1.example.com"], {"wrapped": 1})
    assert first_log_type(WRAPPED[case]) is None


@pytest.mark.parametrize("case", HOSTILE)
def test_what_strangers_wrote_is_no_record(taker: Taker, case: str) -> None:
    taken = taker.take(HOSTILE[case])
    assert taken.rows == [] and set(taken.skipped) <= {"other_log", "json", "wrapped"}
    assert first_log_type(HOSTILE[case]) is None


RENAMED = {"query": "dns.question.name", "id.orig_h": "src_ip", "id.resp_h": "dest_ip", "ts": "@timestamp"}


class TestNames:
    @pytest.mark.parametrize("separator", ["_", ":", "/", "", "__"])
    def test_of_scopes_in_tsv(self, taker: Taker, separator: str) -> None:
        fields = [name.replace("id.", f"id{separator}") for name in FIELDS]
        header = header_of(*fields)
        parsed = Header.parse(header)
        assert parsed and parsed.log_type is DNS and parsed.fields == tuple(FIELDS)
        assert taker.take(header + tsv()).rows == taker.take(HEADER + tsv()).rows
        assert first_log_type(header_of(*fields, path="")) is DNS

    def test_as_configured(self, taker: Taker) -> None:
        options = LogOptions(RENAMED)
        alone = taker.take(HEADER + tsv()).rows
        header = header_of(*(RENAMED.get(name, name) for name in FIELDS))
        assert taker.take(header + tsv(), options=options).rows == alone
        record = {RENAMED.get(name, name): value for name, value in json.loads(as_json(tsv())).items()}
        nested = record | {"dns": {"question": {"name": record.pop("dns.question.name")}}}
        for each in (nested, {"message": json.dumps(nested)}):
            assert taker.take(dump(each), options=options).rows == alone
            assert first_log_type(dump(each), options) is DNS

    def test_of_the_package_as_configured(self, taker: Taker) -> None:
        options = LogOptions({"rrname": "name", "rrtype": "type"})
        header = package_header("dnsvigil_pdns").replace(b"\trrname", b"\tname").replace(b"\trrtype", b"\ttype")
        alone = taker.take(package_json("dnsvigil_pdns"), PDNS).rows
        assert taker.take(header + package_line("dnsvigil_pdns"), PDNS, options).rows == alone
        renamed = package_json("dnsvigil_pdns").replace(b'"rrname"', b'"name"').replace(b'"rrtype"', b'"type"')
        assert taker.take(renamed, PDNS, options).rows == alone

    def test_that_two_fields_claim_are_the_stock_ones(self, taker: Taker) -> None:
        line = dump({**RECORD, "id_orig_h": "192.0.2.200", "id_resp_h": "192.0.2.201"})
        assert taker.take(line).rows == taker.take(LINES[0] + NEWLINE).rows


def test_in_envelopes_here_and_there_are_found_where_several_threads_parse(taker: Taker) -> None:
    number = 150_000  # over 32 MiB, from which on DuckDB gives a part to another thread
    lines = (TEXT.replace(RECORD["uid"], f"C{i}").encode() for i in range(number))
    log = NEWLINE.join(
        dump({"message": line.decode()}).rstrip() if i % 97 == 5 else line for i, line in enumerate(lines)
    )
    taken = taker.take(log + NEWLINE)
    assert (len(taken.rows), taken.skipped) == (number, {})
    assert len(set(taken.column("uid"))) == number


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"", "it is empty"),
        (HEADER, "Zeek's log dns"),
        (header_of("ts", "uid", path="conn") + b"1\tC\n", "Zeek's log conn"),
        (header_of("ts", "uid", path=""), "a log of Zeek with the fields ts, uid"),
        (dump(CONN), "JSON with the fields ts, uid, id.orig_h, id.resp_h, service"),
        (dump({"_path": "http", **CONN}), "Zeek's log http"),
        (WRAPPED["TSV in an envelope"], "envelopes with the fields @timestamp, message"),
        (b"hello\nworld\n", 'lines such as "hello"'),
        (b"\x7fELF\x02\0\0\xff\n", "binary data"),
        (b"#close\tnow\n", "header lines alone"),
    ],
)
def test_what_was_met_is_named(head: bytes, said: str) -> None:
    assert describe(head) == said


def test_the_cases_from_the_field(taker: Taker) -> None:
    cases = Path(__file__).parents[2] / "cases"
    when = datetime(2026, 11, 29, 9, 20, 0, 500_000)
    for name in ("e_beats", "f_rsyslog", "h_array"):
        taken = taker.file(cases / f"{name}.log")
        assert (len(taken.rows), taken.skipped, taken.column("ts")[0]) == (3, {}, when), name
    control, renamed = (taker.file(cases / f"{name}.log") for name in ("control", "underscore"))
    assert renamed.rows == control.rows
    assert renamed.column("rcode") == [0, 0, 0, 0, 2]
    assert taker.file(cases / "iso_offset.log").column("ts") == [datetime(2026, 11, 29, 8, 0, 0, 123_456)]
    assert taker.file(cases / "k_norcode.log").column("rcode") == [0] * 5
    for name, columns in (("b_trailtab", 3), ("b2_trailtab_plus_bad", 4), ("b3_crlf", 3)):
        taken = taker.file(cases / f"{name}.log")
        assert (len(taken.rows), taken.skipped) == (3, {"columns": columns}), name
