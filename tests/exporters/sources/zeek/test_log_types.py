"""The logs of the Zeek package: what is read of them, what is skipped, and how a file is known."""

import itertools
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsvigil.records import CAPTURE, OPEN_RESOLVER, PASSIVE_DNS, POISONING, SIGNALS
from dnsvigil.sources.zeek import reader
from dnsvigil.sources.zeek.given import given_logs
from dnsvigil.sources.zeek.header import Header
from dnsvigil.sources.zeek.log_types import CAPTURES, DNS, LOG_TYPES, OPEN_RESOLVERS, PDNS, POISONINGS, LogType
from dnsvigil.sources.zeek.recognition import first_log_type
from dnsvigil.sources.zeek.skip_reasons import MAX_LINE, SKIP_REASONS
from exporters.zeeklogs import (
    COMPRESS,
    HEADER,
    NEWLINE,
    START,
    Taken,
    Taker,
    as_json,
    header_of,
    log_lines,
    package_header,
    package_json,
    package_line,
    tsv,
)

PACKAGE = LOG_TYPES[1:]
FORMS = ["tsv", "json"]
BEGIN = datetime(2023, 11, 14, 22, 13, 20)


def log_of(log_type: LogType, form: str, /, **values: Any) -> bytes:
    """A log of one record."""
    if form == "json":
        return package_json(log_type.path, **values)
    return package_header(log_type.path) + package_line(
        log_type.path, **{name: text_of(v) for name, v in values.items()}
    )


def text_of(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "(empty)"
    return str(value)


def only(taken: Taken, log_type: LogType) -> dict[str, Any]:
    """The one record, by column."""
    (row,) = taken.rows
    return dict(zip(log_type.record, row, strict=True))


@pytest.mark.parametrize("form", FORMS)
class TestRecord:
    def test_of_passive_dns(self, taker: Taker, form: str) -> None:
        section = ["answer", "additional"]
        assert only(taker.take(log_of(PDNS, form, section=section), PDNS), PDNS) == {
            "ts": BEGIN.replace(microsecond=500_000),
            "sensor": "zeek",
            "node": "worker-1",
            "rrname": "www.example.com",
            "rrtype": "A",
            "rdata": "192.0.2.80",
            "section": section,
            "bailiwick": "example.com",
            "ttl_min": 60,
            "ttl_max": 300,
            "count": 3,
            "time_first": BEGIN.replace(microsecond=100_000),
            "time_last": BEGIN.replace(microsecond=400_000),
        }

    def test_of_an_open_resolver(self, taker: Taker, form: str) -> None:
        log = log_of(OPEN_RESOLVERS, form, kind="forwarder", answered_from="2001:db8::1")
        record = only(taker.take(log, OPEN_RESOLVERS), OPEN_RESOLVERS)
        assert (record["kind"], record["answered_from"], record["askers"]) == ("forwarder", "2001:db8::1", 4)
        assert (record["response_bytes"], record["sample_names"]) == (30_000, ["a.example", "b.example"])
        assert only(taker.take(log_of(OPEN_RESOLVERS, form), OPEN_RESOLVERS), OPEN_RESOLVERS)["answered_from"] is None

    def test_of_poisoning(self, taker: Taker, form: str) -> None:
        record = only(taker.take(log_of(POISONINGS, form), POISONINGS), POISONINGS)
        assert {name: record[name] for name in SIGNALS if record[name]} == {
            "wrong_id": 5,
            "wrong_port": 1,
            "ip_ttl_jumps": 2,
        }
        assert (record["port_entropy"], record["id_entropy"]) == (11.25, None)
        assert (record["sample_names"], record["sample_servers"]) == ([], ["192.0.2.1", "2001:db8::1"])

    def test_of_the_capture(self, taker: Taker, form: str) -> None:
        record = only(taker.take(log_of(CAPTURES, form), CAPTURES), CAPTURES)
        assert (record["interval_seconds"], record["packets"], record["packets_dropped"]) == (60.0, 1000, 10)
        assert (record["dropped_pdns"], record["malformed"]) == (7, 1)

    def test_of_dns_with_the_columns_that_the_package_adds(self, taker: Taker, form: str) -> None:
        values: dict[str, Any] = {
            "query_bytes": 40,
            "response_bytes": 65_535,
            "answer_types": ["CNAME", "TYPE65280"],
            "edns_udp_size": 1232,
            "do": True,
            "ede": [22, 65_535],
        }
        if form == "json":
            log = as_json(tsv(), **values)
        else:
            texts = {name: "T" if value is True else text_of(value) for name, value in values.items()}
            fields = ["ts", "id.orig_h", "id.resp_h"]
            log = header_of(*fields, *texts) + tsv(fields).rstrip() + ("\t" + "\t".join(texts.values())).encode()
        record = only(taker.take(log + NEWLINE * (form == "tsv")), DNS)
        assert {name: record["dnssec_ok" if name == "do" else name] for name in values} == values

    @pytest.mark.parametrize(
        ("log_type", "optional"),
        [
            (PDNS, ["node", "rdata", "section", "bailiwick", "ttl_min", "ttl_max"]),
            (OPEN_RESOLVERS, [name for name in OPEN_RESOLVER if name not in ("ts", "sensor", "host", "kind")]),
            (POISONINGS, [name for name in POISONING if name not in ("ts", "sensor", "resolver", "wrong_id")]),
            (CAPTURES, ["node", *list(CAPTURE)[5:]]),
        ],
        ids=lambda value: value.path if isinstance(value, LogType) else "",
    )
    def test_columns_that_are_missing_or_unset_are_null(
        self, taker: Taker, form: str, log_type: LogType, optional: list[str]
    ) -> None:
        keep = {PDNS: "count", OPEN_RESOLVERS: "askers", CAPTURES: "dns_queries"}.get(log_type)
        optional = [name for name in optional if name != keep]
        unset = taker.take(log_of(log_type, form, **dict.fromkeys(optional)), log_type)
        record = only(unset, log_type)
        assert [name for name in optional if record[name] is not None] == []
        if form == "tsv":
            present = [name for name in log_type.record if name not in ("sensor", *optional)]
            fields = [log_type.field_of(name) for name in reversed(present)]
            whole = dict(
                zip(package_fields(log_type), package_line(log_type.path).decode().rstrip().split("\t"), strict=True)
            )
            line = "\t".join(["new", *(whole[name] for name in fields)])
            older = taker.take(header_of("later", *fields, path=log_type.path) + line.encode() + NEWLINE, log_type)
            assert only(older, log_type) == record


@pytest.mark.parametrize(
    ("log_type", "needed"),
    [
        (PDNS, ["rrname:name", "rrtype:word", "count:number", "time_first:timestamp", "time_last:timestamp"]),
        (OPEN_RESOLVERS, ["ts:timestamp", "host:address", "kind:word"]),
        (POISONINGS, ["ts:timestamp", "resolver:address"]),
        (CAPTURES, ["ts:timestamp", "interval:number", "packets:number"]),
    ],
    ids=lambda value: value.path if isinstance(value, LogType) else "",
)
def test_without_a_needed_column_every_record_is_skipped(taker: Taker, log_type: LogType, needed: list[str]) -> None:
    for field, reason in (each.split(":") for each in needed):
        fields = [name for name in package_fields(log_type) if name != field]
        whole = dict(
            zip(package_fields(log_type), package_line(log_type.path).decode().rstrip().split("\t"), strict=True)
        )
        line = "\t".join(whole[name] for name in fields).encode() + NEWLINE
        taken = taker.take(header_of(*fields, path=log_type.path) + line * 2, log_type)
        assert (taken.rows, taken.skipped) == ([], {reason: 2}), field


def package_fields(log_type: LogType) -> tuple[str, ...]:
    header = Header.parse(package_header(log_type.path))
    assert header
    return header.fields


def test_the_record_has_every_column_of_its_log_and_no_other() -> None:
    for log_type in PACKAGE:
        assert {log_type.field_of(name) for name in log_type.record} - {"sensor"} == set(package_fields(log_type))


RDATA = {
    "control bytes": (r"\x00\x09\x0a\x1f\x7f", "\\x00\t\n\x1f\x7f", r"\x00\x09\x0a\x1f\x7f"),
    "separators": (r"a\x09b\x2cc", "a\tb,c", r"a\x09b,c"),
    "quotes": ('"a b" \'c\' \\\\"', '"a b" \'c\' \\"', '"a b" \'c\' \\"'),
    "UTF-8": ("ü\N{GHOST}", "ü\N{GHOST}", r"\xc3\xbc\xf0\x9f\x91\xbb"),
    "broken UTF-8": (r"\xc3\x28", r"\xc3(", r"\xc3("),
    "a dash": (r"\x2d", "-", "-"),
    "nothing": ("(empty)", "", ""),
    "what looks like nothing": (r"\x28empty)", "(empty)", "(empty)"),
    "SQL": ("'; DROP TABLE passive_dns_merged; --", "'; DROP TABLE passive_dns_merged; --", None),
    "JSON": ('{"rrname":"x"}', '{"rrname":"x"}', None),
    "huge": ("x" * 60_000, "x" * 60_000, None),
    "generic form": (r"\\# 3 abcdef", r"\# 3 abcdef", r"\# 3 abcdef"),
}


@pytest.mark.parametrize("case", RDATA)
def test_data_from_the_wire_is_the_same_in_both_forms(taker: Taker, case: str) -> None:
    in_tsv, in_json, wanted = RDATA[case]
    for form, text in (("tsv", in_tsv), ("json", in_json)):
        record = only(taker.take(log_of(PDNS, form, rdata=text), PDNS), PDNS)
        assert record["rdata"] == (text if wanted is None else wanted), form


def test_names_are_in_the_form_of_query_names(taker: Taker) -> None:
    for text, name in (("WWW.Example.COM.", "www.example.com"), (".", "."), (r"a\x09b", r"a\x09b")):
        record = only(taker.take(log_of(PDNS, "tsv", rrname=text, bailiwick=text), PDNS), PDNS)
        assert (record["rrname"], record["bailiwick"]) == (name, name)


# Kind, the reason, and bad values, of which one at a time is in a record.
_TIMES = [None, "soon", 12, 4294967295, 1e300, "nan"]
_TTLS = [-1, 2**32, "long"]
_COUNTS = [-1, 2**63, "x"]
BAD: list[tuple[LogType, str, dict[str, list[Any]]]] = [
    (PDNS, "timestamp", {"ts": _TIMES, "time_first": _TIMES, "time_last": _TIMES}),
    (PDNS, "timestamp", {"time_first": [START + 1]}),
    (PDNS, "number", {"count": [None, -1, "many", 2**63, 10**400, "nan"]}),
    (PDNS, "number", {"ttl_min": _TTLS, "ttl_max": _TTLS}),
    (PDNS, "name", {"rrname": [None, "x" * 256], "bailiwick": ["x" * 256, r"\xff" * 256]}),
    (PDNS, "word", {"rrtype": [None, "A A", "", "A\x01", "T" * 33, "<b>"]}),
    (OPEN_RESOLVERS, "address", {"host": [None, "dns.example", ""], "answered_from": ["x", ""]}),
    (OPEN_RESOLVERS, "word", {"kind": [None, "so open", "x" * 33]}),
    (OPEN_RESOLVERS, "number", {"askers": _COUNTS, "queries": _COUNTS, "response_bytes": _COUNTS}),
    (OPEN_RESOLVERS, "timestamp", {"ts": [None], "time_first": [START + 1, "x"], "time_last": [1]}),
    (POISONINGS, "address", {"resolver": [None, "x"]}),
    (
        POISONINGS,
        "number",
        {"wrong_id": [-1, 2**63], "port_entropy": [-0.5, "nan", "inf", "x", 1e300], "sources": [-1]},
    ),
    (POISONINGS, "name", {"zone": ["x" * 256]}),
    (CAPTURES, "number", {"packets": [None, -1, 2**64], "interval": [None, -1, "inf"], "dropped_pdns": [-1]}),
    (CAPTURES, "timestamp", {"ts": [None, 0]}),
]
BAD_VALUES = [
    (log_type, reason, column, value)
    for log_type, reason, values in BAD
    for column, each in values.items()
    for value in each
]


@pytest.mark.parametrize("form", FORMS)
def test_bad_values_are_skipped_and_the_rest_is_read(taker: Taker, form: str) -> None:
    for log_type, reason, column, value in BAD_VALUES:
        if form == "tsv" and value == "":
            continue  # which is not what Zeek writes
        good = log_of(log_type, form)
        taken = taker.take(good + log_of(log_type, form, **{column: value}) + good, log_type)
        assert (len(taken.rows), taken.skipped) == (2, {reason: 1}), (log_type.path, column, value)


@pytest.mark.parametrize("log_type", PACKAGE, ids=lambda log_type: log_type.path)
def test_bad_lines_are_skipped_and_the_rest_is_read(taker: Taker, log_type: LogType) -> None:
    good = package_line(log_type.path)
    lines = [good, b"\n", b"\xff\xfe\n", good[: len(good) // 2] + NEWLINE, good.rstrip() + b"\t1\n", b"x" * MAX_LINE]
    taken = taker.take(
        package_header(log_type.path) + b"\n".join(lines[:5]) + NEWLINE + lines[5] + NEWLINE + good, log_type
    )
    assert len(taken.rows) == 2
    assert taken.skipped["encoding"] == taken.skipped["too_long"] == 1
    good = package_json(log_type.path)
    others = [tsv_as_json(other) for other in LOG_TYPES if other is not log_type]
    taken = taker.take(b"".join([good, b"{}\n", b"[1]\n", good[:40] + NEWLINE, *others, good]), log_type)
    assert (len(taken.rows), taken.skipped) == (2, {"json": 3, "other_log": len(others)})


def tsv_as_json(log_type: LogType) -> bytes:
    return as_json(tsv()) if log_type is DNS else package_json(log_type.path)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(PACKAGE),
    st.lists(
        st.one_of(
            st.none(),
            st.binary(max_size=80).filter(lambda garbage: b"#" not in garbage),
            st.lists(st.text(max_size=12).filter(lambda text: "#" not in text), min_size=11, max_size=16).map(
                lambda cells: "\t".join(cells).encode("utf-8", "replace")
            ),
            st.dictionaries(
                st.sampled_from(sorted({*PASSIVE_DNS, *OPEN_RESOLVER, *POISONING, *CAPTURE})),
                st.one_of(st.text(max_size=9), st.integers(), st.floats(), st.booleans(), st.lists(st.integers())),
            ).map(lambda values: package_json("dnsvigil_pdns", **values).replace(b"#", b"").rstrip()),
        ),
        max_size=20,
    ),
    st.booleans(),
)
def test_any_lines_are_counted(taker: Taker, log_type: LogType, mix: list[bytes | None], in_json: bool) -> None:
    good = package_json(log_type.path) if in_json else package_line(log_type.path)
    data = b"".join(good if part is None else part + NEWLINE for part in mix)
    taken = taker.take(data if in_json else package_header(log_type.path) + data, log_type)
    lines = sum(not line.startswith(b"#") for line in data.removesuffix(NEWLINE).split(NEWLINE)) if data else 0
    assert taken.read == len(taken.rows) + taken.skipped.total() == lines
    assert len(taken.rows) >= mix.count(None)
    assert set(taken.skipped) <= set(SKIP_REASONS)


class TestFile:
    @pytest.mark.parametrize("log_type", PACKAGE, ids=lambda log_type: log_type.path)
    def test_is_known_by_its_content(self, taker: Taker, tmp_path: Path, log_type: LogType) -> None:
        forms = {
            "header": package_header(log_type.path) + package_line(log_type.path),
            "header without path": package_header(log_type.path).replace(
                b"#path\t" + log_type.path.encode() + NEWLINE, b""
            )
            + package_line(log_type.path),
            "json": package_json(log_type.path),
            "json with path": package_json(log_type.path, _path=log_type.path),
            "behind garbage": b"half of a line\n{}\n" + package_json(log_type.path),
            "behind another header": header_of("ts", path="conn")
            + b"1\n"
            + package_header(log_type.path)
            + package_line(log_type.path),
            "long": package_json(log_type.path, sample_names=["x" * 50_000], rdata="y" * 6000),
        }
        for (name, content), form in itertools.product(forms.items(), COMPRESS):
            path = tmp_path / "logs" / f"{name}.{form}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(COMPRESS[form](content))
            assert first_log_type(content) is log_type, name
            assert len(taker.file(path).rows) == 1, name
        assert [what for _, what in given_logs(tmp_path / "logs")] == [""] * len(forms) * len(COMPRESS)

    @pytest.mark.parametrize("content", [package_json("dnsvigil_pdns", _path="other"), b'{"rrname":"a"}\n', b"{\n"])
    def test_of_another_kind_is_not(self, content: bytes) -> None:
        assert first_log_type(content) is None

    @pytest.mark.parametrize("form", FORMS)
    def test_records_of_another_log_are_counted(self, taker: Taker, tmp_path: Path, form: str) -> None:
        path = tmp_path / "dns.log"
        dns = HEADER + tsv() if form == "tsv" else as_json(tsv())
        path.write_bytes(log_of(PDNS, form) + dns + log_of(PDNS, form))
        taken = taker.file(path)
        assert (len(taken.rows), taken.skipped) == (2, {"other_log": 1})

    @pytest.mark.parametrize("form", FORMS)
    def test_any_cut_gives_the_same(
        self, taker: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
    ) -> None:
        lines = [
            package_json("dnsvigil_pdns", rrname=f"h{i}.example", count=i)
            if form == "json"
            else package_line("dnsvigil_pdns", rrname=f"h{i}.example", count=str(i))
            for i in range(300)
        ]
        path = tmp_path / "pdns.log"
        path.write_bytes((b"" if form == "json" else package_header("dnsvigil_pdns")) + b"".join(lines))
        for size in (1500, 4000, 10**6):
            monkeypatch.setattr(reader, "BATCH_BYTES", size)
            taken = taker.file(path)
            assert (len(taken.rows), sum(row[10] for row in taken.rows), taken.skipped) == (300, sum(range(300)), {})


def test_dns_logs_are_told_from_all_others() -> None:
    logs = {DNS: HEADER + log_lines(1)[0]} | {log_type: log_of(log_type, "tsv") for log_type in PACKAGE}
    assert Counter(first_log_type(log) for log in logs.values()) == Counter(LOG_TYPES)


SAMPLES = Path(__file__).parents[3] / "lab" / "samples" / "zeek-package"


@pytest.mark.parametrize("log_type", LOG_TYPES, ids=lambda log_type: log_type.path)
def test_what_the_package_wrote_is_read(taker: Taker, log_type: LogType) -> None:
    """The recorded logs have the columns that are read, each record is good, and both forms say the same."""
    in_tsv, in_json = (SAMPLES / f"{log_type.path}.{suffix}" for suffix in ("log", "json"))
    header = Header.parse(b"".join(line for line in in_tsv.open("rb") if line.startswith(b"#")))
    assert header
    named = set(header.fields)
    known = {log_type.field_of(name) for name in log_type.record} - {"sensor"}
    assert named >= known if log_type is DNS else named == known
    taken, again = taker.file(in_tsv), taker.file(in_json)
    assert taken.rows
    assert not taken.skipped + again.skipped
    assert comparable(again, log_type) == comparable(taken, log_type)


def comparable(taken: Taken, log_type: LogType) -> list[str]:
    """The records without what differs between two runs of Zeek: the uid, and the order within a set."""
    records = [dict(zip(log_type.record, row, strict=True)) for row in taken.rows]
    for record in records:
        record |= {"section": sorted(record.get("section") or []), "uid": ""}
    return sorted(map(repr, records))
