"""A line's verdict is its own: the same alone, beside any other line, and however the log is cut into batches."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsvigil.sources.zeek.lines import split
from dnsvigil.sources.zeek.log_types import DNS, LOG_TYPES, LogType
from dnsvigil.sources.zeek.skip_reasons import MAX_LINE
from exporters.zeeklogs import HEADER, NEWLINE, Taker, as_json, package_header, package_json, package_line, tsv

FORMS = ["tsv", "json"]


def header_of(log_type: LogType, form: str) -> bytes:
    if form == "json":
        return b""
    return HEADER if log_type is DNS else package_header(log_type.path)


def good_line(log_type: LogType, form: str) -> bytes:
    if log_type is DNS:
        return tsv() if form == "tsv" else as_json(tsv())
    return (package_line if form == "tsv" else package_json)(log_type.path)


def bent(line: bytes) -> list[bytes]:
    """A line in many ways, most of them bad."""
    text = line.rstrip()
    half = len(text) // 2
    cells = text.split(b"\t")
    return [
        line,
        text + b"\r\n",
        text + b"\t\n",
        text + b"\t\r\n",
        text + b"\t\t\n",
        text + b"\tx\n",
        b"\t" + line,
        b"\t".join(cells[:-1]) + NEWLINE,
        b"\t".join([*cells[:-1], b""]) + NEWLINE,
        b"\t".join([*cells[:1], b"", *cells[2:]]) + NEWLINE,
        text[:half] + NEWLINE,
        text[:half] + b"\r" + text[half:] + NEWLINE,
        text[:half] + b"\0" + text[half:] + NEWLINE,
        b"\0" * 9 + line,
        text[:-1] + b"\xff" + text[-1:] + NEWLINE,
        b"\xff" + line,
        text[:half] + "é\u2028".encode() + text[half:] + NEWLINE,
        text[:half] + b'"' + text[half:] + NEWLINE,
        text[:half] + b"'" + text[half:] + NEWLINE,
        text[:half] + b"\\" + text[half:] + NEWLINE,
        text + text + NEWLINE,
        b" " + text + b" \n",
        b"\n",
        b"\r\n",
        b" \t \n",
        b"{\n",
        b'{"ts":\n',
        b'{"ts": 1, "x": [1,\n',
        b"[\n",
        b"{}\n",
        b"[]\n",
        b"[1, 2]\n",
        b'{"message": "half of a li\n',
        b"x" * (MAX_LINE - 1) + NEWLINE,
        b"x" * MAX_LINE + NEWLINE,
        text + b" " * MAX_LINE + NEWLINE,
    ]


def verdicts(taker: Taker, log_type: LogType, header: bytes, lines: list[bytes]) -> tuple[Counter[Any], Counter[str]]:
    """The records, as often as they are there, and the skipped lines by reason."""
    taken = taker.take(header + b"".join(lines), log_type)
    return Counter(map(repr, taken.rows)), taken.skipped


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("log_type", LOG_TYPES, ids=lambda log_type: log_type.path)
class TestOwn:
    def test_alone_beside_others_and_at_every_cut(self, taker: Taker, log_type: LogType, form: str) -> None:
        header, good = header_of(log_type, form), good_line(log_type, form)
        lines = bent(good)
        alone_good = verdicts(taker, log_type, header, [good])[0]
        records: Counter[Any] = Counter()
        reasons: Counter[str] = Counter()
        for line in lines:
            alone = verdicts(taker, log_type, header, [line])
            if log_type is DNS:
                beside = verdicts(taker, log_type, header, [good, line, good])
                assert beside[0] - Counter(dict.fromkeys(alone_good, 2)) == alone[0], line[:80]
                assert beside[1] == alone[1], line[:80]
            records += alone[0]
            reasons += alone[1]
        for cut in range(0, len(lines) + 1, 4 if log_type is DNS else 11):
            first, second = (verdicts(taker, log_type, header, part) for part in (lines[:cut], lines[cut:]))
            assert (first[0] + second[0], first[1] + second[1]) == (records, reasons), cut


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(LOG_TYPES),
    st.sampled_from(FORMS),
    st.lists(
        st.tuples(
            st.integers(0, 300), st.binary(max_size=3).filter(lambda data: b"#" not in data and b"\n" not in data)
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_of_damaged_lines_is_the_same_on_the_fast_way_and_on_the_slow(
    taker: Taker, log_type: LogType, form: str, damages: list[tuple[int, bytes]]
) -> None:
    header, good = header_of(log_type, form), good_line(log_type, form)
    text = good.rstrip()
    lines = [text[: at % len(text)] + data + text[at % len(text) :] + NEWLINE for at, data in damages]
    records: Counter[Any] = Counter()
    reasons: Counter[str] = Counter()
    for line in lines:
        alone = verdicts(taker, log_type, header, [line])
        records += alone[0]
        reasons += alone[1]
    assert verdicts(taker, log_type, header, lines) == (records, reasons)
    # A line that is too long has every other looked at.
    slow = verdicts(taker, log_type, header, [*lines, b"x" * MAX_LINE + NEWLINE])
    assert slow == (records, reasons + Counter(too_long=1))


def test_of_lines_in_a_large_batch_is_found_for_the_right_ones(taker: Taker) -> None:
    """The parser's threads share a batch; what is on a line must not be taken for what is on another."""
    lines = [as_json(tsv(uid=f"C{i}", query=f"h{i}.example")) for i in range(60_000)]
    wrapped = range(7, 60_000, 9973)
    for i in wrapped:
        lines[i] = b"[" + lines[i].rstrip() + b"]\n"
    taken = taker.take(b"".join(lines))
    assert (len(taken.rows), taken.skipped) == (60_000, {})
    assert len(set(taken.names)) == 60_000


def test_of_a_line_below_another_header_is_by_that_header(taker: Taker) -> None:
    lines = bent(good_line(DNS, "tsv"))
    whole = taker.take(
        HEADER + b"".join(lines[:9]) + package_header("dnsvigil_pdns") + b"x\n" + HEADER + b"".join(lines[9:])
    )
    parts = [taker.take(HEADER + b"".join(part)) for part in (lines[:9], lines[9:])]
    assert whole.skipped == parts[0].skipped + parts[1].skipped + Counter(other_log=1)
    assert len(whole.rows) == sum(len(part.rows) for part in parts)
    assert len(split(b"".join(lines), None, DNS)[0]) == 1
