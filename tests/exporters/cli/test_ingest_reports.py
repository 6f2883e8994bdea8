"""What ``ingest`` and ``evaluate`` say of what they are given: no log, a log that was read before, one to be moved."""

import gzip
import json
import os
import pty
import re
import subprocess
import sys
import termios
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dnsvigil.store.sensors import newest_event
from dnsvigil.store.store import Store
from exporters.cli.test_ingest import State
from exporters.running import sample, totals
from exporters.tuples import all_tuples
from exporters.zeeklogs import HEADER, START, as_json, header_of, log_lines, package_header, package_line, tsv

CONN = header_of("ts", "uid", path="conn") + b"1.0\tC1\n" * 3


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


class TestRecognition:
    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"", "it is empty"),
            (CONN, "Zeek's log conn"),
            (gzip.compress(CONN), "Zeek's log conn"),
            (b'{"ts":1.0,"uid":"C1"}\n', "JSON with the fields ts, uid"),
            (b'{"@timestamp":"x","message":"y"}\n', "envelopes with the fields @timestamp, message"),
            (b"hello\tworld\n", 'lines such as "hello\\tworld"'),
            (b"hello\x1b[31m\n", "binary data"),
            (bytes(range(1, 256)), "binary data"),
        ],
    )
    def test_of_a_file_fails_with_what_was_met_each_time(
        self, state: State, logs: Path, caplog: pytest.LogCaptureFixture, content: bytes, what: str
    ) -> None:
        path = logs / "x.log"
        path.write_bytes(content)
        for given in (path, path, logs):
            caplog.clear()
            state.ingest(given, status=1)
            (said,) = [message for message in caplog.messages if "recognized" in message]
            assert said.startswith(f"{given}: no log that is read is recognized in it: ") and what in said
            assert "\x1b" not in said

    def test_of_an_empty_folder_fails(self, state: State, logs: Path, caplog: pytest.LogCaptureFixture) -> None:
        state.ingest(logs, status=1)
        assert caplog.messages == [f"{logs}: no log that is read is recognized in it: there is no file in it"]

    def test_of_some_files_of_a_folder_names_the_others(
        self, state: State, logs: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (logs / "dns.log").write_bytes(HEADER + tsv())
        (logs / "notes.txt").write_bytes(b"hello\n")
        for number in range(7):
            (logs / f"conn.{number}.log").write_bytes(CONN)
        state.ingest(logs)
        assert state.counts == (1, 1, {})
        (said,) = caplog.messages
        assert said.startswith(
            f"{logs}: not read, as no log that is read is recognized: conn.0.log (Zeek's log conn), "
        )
        assert said.endswith(", 3 more")

    def test_of_a_log_with_nothing_that_can_be_used_fails(self, state: State, logs: Path) -> None:
        (logs / "dns.log").write_bytes(HEADER + tsv(rtt="-1") * 3)
        assert state.ingest(logs / "dns.log", status=1).counts == (3, 0, {"rtt": 3})

    def test_of_a_header_alone_is_enough(self, state: State, logs: Path) -> None:
        (logs / "dns.log").write_bytes(HEADER)
        state.ingest(logs, logs / "dns.log")


class TestAgain:
    def test_says_what_was_read_before(self, state: State, logs: Path) -> None:
        for number, line in enumerate(log_lines(2)):
            (logs / f"dns.{number}.log").write_bytes(HEADER + line)
        first = logs / "dns.0.log"
        assert state.ingest(first).stderr == "1 record read, 0 skipped\n"
        assert state.ingest(first).stderr == "0 records read, 0 skipped; dns.0.log was already read\n"
        assert state.ingest(logs).stderr == "1 record read, 0 skipped; dns.0.log was already read\n"
        assert state.ingest(logs).stderr == "0 records read, 0 skipped; 2 files were already read\n"

    def test_says_that_an_end_is_left(self, state: State, logs: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = logs / "dns.log"
        path.write_bytes((HEADER + tsv() + tsv())[:-1])
        assert state.ingest(path).stderr == "1 record read, 0 skipped\n"
        assert "lacks a line end" in caplog.text
        os.utime(path, (time.time() - 100,) * 2)
        assert state.ingest(path).counts == (2, 2, {})

    @pytest.mark.parametrize("content", [b"[%s, %s]", b"%s%s", b"%s\n%s"])
    def test_json_without_a_line_end_is_read_at_once(self, state: State, logs: Path, content: bytes) -> None:
        path = logs / "dns.log"
        path.write_bytes(content % tuple(as_json(line).rstrip() for line in log_lines(2)))
        assert state.ingest(path).counts == (2, 2, {})
        assert "already read" in state.ingest(path).stderr


def relative(form: str) -> bytes:
    times = [f"{second}.250000" for second in (13, 14, 4000)]
    if form == "tsv":
        return HEADER + b"".join(tsv(ts=ts) for ts in times)
    if form == "iso":
        return b"".join(as_json(tsv(), ts=f"{datetime.utcfromtimestamp(float(ts)).isoformat()}Z") for ts in times)
    return b"".join(as_json(tsv(), ts=float(ts)) for ts in times)


class TestStart:
    @pytest.mark.parametrize("form", ["tsv", "json", "iso"])
    def test_moves_a_capture_that_was_skipped_before(
        self, state: State, logs: Path, caplog: pytest.LogCaptureFixture, form: str
    ) -> None:
        path = logs / "dns.log"
        path.write_bytes(relative(form))
        assert state.ingest(path, status=1).counts == (3, 0, {"timestamp": 3})
        assert "--start TIME" in caplog.text
        for _ in range(2):  # again adds nothing
            status, _, stderr = state.command("ingest", "--start", "2026-01-31T12:00:00+01:00", path)
            assert status == 0
        assert "already read" in stderr
        with Store(state.folder) as store:
            assert newest_event(store) == datetime(2026, 1, 31, 12, 6, 40, 250_000)
        assert totals(State(state.folder).text)[sample("dnsvigil_records_ingested_total", source="zeek")] == 3

    def test_leaves_other_logs_as_they_are(self, state: State, logs: Path) -> None:
        (logs / "dns.log").write_bytes(HEADER + b"".join(log_lines(5)))
        state.ingest(logs)
        status, _, stderr = state.command("ingest", "--start", "2026-01-31 12:00", logs)
        assert (status, stderr) == (0, "0 records read, 0 skipped; dns.log was already read\n")

    def test_moves_every_time_of_a_record(self, state: State, logs: Path) -> None:
        line = package_line("dnsvigil_pdns", ts="20.0", time_first="13.5", time_last="14.5")
        (logs / "x.log").write_bytes(package_header("dnsvigil_pdns") + line)
        assert state.command("ingest", "--start", "2026-01-31T12:00:00Z", logs)[0] == 0
        with Store(state.folder) as store:
            (found,) = all_tuples(store)
        begin = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()
        assert (found["time_first"], found["time_last"]) == (begin + 13, begin + 14)

    def test_skips_the_calendar_times_of_such_a_capture(self, state: State, logs: Path) -> None:
        """They are read without it, so that each record counts once."""
        path = logs / "dns.log"
        path.write_bytes(relative("tsv") + tsv())
        assert state.ingest(path).counts == (4, 1, {"timestamp": 3})
        assert state.command("ingest", "--start", "2026-01-31T12:00:00Z", path)[0] == 0
        assert totals(State(state.folder).text)[sample("dnsvigil_records_ingested_total", source="zeek")] == 4

    def test_that_is_no_time_is_wrong_usage(self, state: State, logs: Path) -> None:
        with pytest.raises(SystemExit, match="2"):
            state.command("ingest", "--start", "noon", logs)


class TestEvaluate:
    @pytest.mark.parametrize("content", [None, b"hello\n", relative("tsv")])
    def test_of_what_cannot_be_read_is_no_all_clear(self, state: State, logs: Path, content: bytes | None) -> None:
        path = logs / "dns.log"
        if content is not None:
            path.write_bytes(content)
        status, out, _ = state.command("evaluate", path)
        assert status == 1
        assert "could not be read" in out and "nothing was found" not in out
        status, out, _ = state.command("evaluate", "--json", path)
        assert (status, json.loads(out)) == (1, [{"path": str(path), "complete": False, "findings": []}])

    def test_of_no_queries_is_no_all_clear(self, state: State, logs: Path) -> None:
        (logs / "dnsvigil_pdns.log").write_bytes(package_header("dnsvigil_pdns") + package_line("dnsvigil_pdns"))
        status, out, _ = state.command("evaluate", logs)
        assert status == 1 and "no DNS queries" in out

    def test_of_a_good_log_is(self, state: State, logs: Path) -> None:
        (logs / "dns.log").write_bytes(HEADER + tsv(ts=f"{START}.0"))
        status, out, _ = state.command("evaluate", logs / "dns.log")
        assert status == 0 and "nothing was found" in out


def test_progress_names_the_file_and_its_bytes_on_a_terminal(tmp_path: Path, logs: Path) -> None:
    (logs / "dns.log").write_bytes(HEADER + b"".join(log_lines(2000)))
    command = [sys.executable, "-m", "dnsvigil", "--state", str(tmp_path / "state"), "ingest", str(logs)]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with subprocess.Popen(command, stderr=theirs, stdout=subprocess.PIPE) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:
            pass  # the end of a terminal
        assert process.wait() == 0
    os.close(ours)
    size = (logs / "dns.log").stat().st_size
    assert re.search(rb"dns\.log: .*%s" % f"{size / 1000:.0f}k".encode(), shown), shown
