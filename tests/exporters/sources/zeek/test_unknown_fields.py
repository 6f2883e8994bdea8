"""Fields that a log does not have: names serve for numbers, and what nobody can know is reported and not counted."""

import json
from pathlib import Path

import pytest

from dnsvigil.records import QTYPES, RCODES, UNKNOWN_RCODE, UNNAMED_RCODE
from dnsvigil.sources.zeek.log_types import DNS, LOG_TYPES
from exporters.cli.test_ingest import State
from exporters.running import sample, samples, totals
from exporters.zeeklogs import FIELDS, START, Taker, as_json, header_of, log_lines, package_header, package_line, tsv

NUMBERS = {
    "qtype": {"A": 1, "AAAA": 28, "aaaa": 28, "NSAP-PTR": 23, "*": 255, "WINS-R": 65_282, "EID": 31, "TYPE65": 65}
    | {"query-65": 65, "query-65535": 65_535, "unknown-4711": 4711, "QUERY-70000": None, "FOO": None, "FOO3": None},
    "rcode": {"NOERROR": 0, "NoError": 0, "NXRRSet": 8, "NXDOMAIN": 3, "unassigned-11": 11, "rcode-4095": 4095}
    | {"BADVERS": 16, "NOTIMPL": 4, "FOO": UNNAMED_RCODE, "": UNNAMED_RCODE},
    "qclass": {"C_INTERNET": 1, "C_CHAOS": 3, "C_ANY": 255, "IN": 1, "qclass-17": 17, "CLASS17": 17, "FOO": None},
}


def without(*fields: str, **values: str) -> bytes:
    """A log of one record without some fields."""
    left = [name for name in FIELDS if name not in fields]
    return header_of(*left) + tsv(left, **values)


def json_without(*fields: str, **values: str | float | bool | None) -> bytes:
    record = json.loads(as_json(tsv())) | values
    return json.dumps({k: v for k, v in record.items() if k not in fields and v is not None}).encode() + b"\n"


@pytest.mark.parametrize("column", NUMBERS)
class TestNames:
    def test_serve_for_numbers(self, taker: Taker, column: str) -> None:
        for name, number in NUMBERS[column].items():
            values = {f"{column}_name": name}
            if name:
                assert taker.take(without(column, **values)).column(column) == [number], name
            assert taker.take(json_without(column, **values)).column(column) == [number], name

    def test_are_not_asked_where_there_are_numbers(self, taker: Taker, column: str) -> None:
        values = {f"{column}_name": "FOO"}
        good = taker.take(without()).column(column)
        assert taker.take(without(**values)).column(column) == good
        assert taker.take(json_without(**values)).column(column) == good

    def test_that_are_unset_are_not_there(self, taker: Taker, column: str) -> None:
        assert taker.take(without(column, **{f"{column}_name": "-"})).column(column) == [None]


def test_every_name_of_ours_has_its_number(taker: Taker) -> None:
    for column, names in (("qtype", QTYPES), ("rcode", RCODES)):
        lines = b"".join(json_without(column, **{f"{column}_name": name}) for name in names.values())
        assert taker.take(lines).column(column) == sorted(names, key=repr)


class TestOutcome:
    def test_is_unknown_without_both_fields(self, taker: Taker) -> None:
        assert taker.take(without("rcode", "rcode_name")).column("rcode") == [UNKNOWN_RCODE]

    def test_is_unset_in_json_without_a_sign_of_an_answer(self, taker: Taker) -> None:
        gone = ("rcode", "rcode_name", "rtt", "answers", "TTLs")
        for values in ({"RA": True, "AA": False}, {"RA": None, "AA": None}, {"RA": False, "AA": False, "answers": []}):
            assert taker.take(json_without(*gone[:3], **{"answers": None, **values})).column("rcode") == [None]

    @pytest.mark.parametrize("sign", [{"rtt": 0.1}, {"answers": ["192.0.2.1"]}])
    def test_is_an_answer_in_json_with_a_sign_of_it(self, taker: Taker, sign: dict[str, object]) -> None:
        values = {"rtt": None, "answers": None, "RA": False, "AA": False} | sign
        line = json_without("rcode", "rcode_name", **values)  # type: ignore[arg-type]
        assert taker.take(line).column("rcode") == [UNNAMED_RCODE]
        assert taker.take(line + as_json(tsv())).column("rcode") == [0, UNNAMED_RCODE]  # whatever stands beside it


class TestMetrics:
    def test_leave_out_what_is_not_known(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = tmp_path / "fra-1" / "dns.log"
        path.parent.mkdir()
        left = [name for name in FIELDS if name not in ("rcode", "rcode_name", "qtype", "qtype_name")]
        lines = [line.rstrip().split(b"\t") for line in log_lines(7)]
        kept = [FIELDS.index(name) for name in left]
        path.write_bytes(header_of(*left) + b"".join(b"\t".join(line[i] for i in kept) + b"\n" for line in lines[:4]))
        state = State(tmp_path / "state")
        assert state.ingest(path).counts == (4, 4, {})
        values = totals(state.text)
        server = "192.0.2.53"
        assert values[sample("dnsvigil_outcome_unknown_total", server=server)] == 4
        assert values[sample("dnsvigil_queries_total", server=server, qtype="unknown")] == 4
        others = ("dnsvigil_unanswered", "dnsvigil_responses_total", "dnsvigil_zone")
        counted = {key: value for key, value in samples(state.text).items() if key[0].startswith(others) and value}
        assert {name for name, _ in counted} <= {
            "dnsvigil_zone_failure_ratio_threshold",
            "dnsvigil_zone_failure_ratio_min_queries",
        }
        said = [message for message in caplog.messages if "its header has no" in message]
        assert [message.split(": ")[1] for message in said] == [
            "its header has no rcode and no rcode_name",
            "its header has no qtype and no qtype_name",
        ]

    def test_count_by_names(self, tmp_path: Path) -> None:
        path = tmp_path / "fra-1" / "dns.log"
        path.parent.mkdir()
        path.write_bytes((Path(__file__).parents[2] / "cases" / "k_norcode.log").read_bytes())
        values = totals(State(tmp_path / "state").ingest(path).text)
        assert values[sample("dnsvigil_responses_total", server="192.0.2.53", rcode="NOERROR")] == 5
        assert values[sample("dnsvigil_queries_total", server="192.0.2.53", qtype="A")] == 5
        assert sum(value for (name, _), value in values.items() if name == "dnsvigil_unanswered_total") == 0


def test_what_a_header_lacks_is_said_in_words() -> None:
    for log_type in LOG_TYPES:
        fields = [log_type.field_of(name) for name in log_type.record]
        assert log_type.unknown(fields) == []
        assert len(log_type.unknown([])) == len(log_type.without)
    assert DNS.unknown([*FIELDS, "rcode"]) == []
    (said,) = DNS.unknown([name for name in FIELDS if name != "rtt"])
    assert said == "its header has no rtt: response times are not known"


def test_a_log_of_the_package_without_a_field_is_read_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    header = package_header("dnsvigil_capture").replace(b"\tmalformed", b"\tunheard_of")
    path.write_bytes(header + package_line("dnsvigil_capture", ts=f"{START}.0"))
    State(tmp_path / "state").ingest(path)
    assert [m for m in caplog.messages if "no malformed" in m]
