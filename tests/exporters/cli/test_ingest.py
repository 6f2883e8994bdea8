"""The commands ``ingest`` and ``metrics`` over whole logs, real ones among them."""

import gzip
import io
import lzma
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from ipaddress import ip_address
from pathlib import Path

import pytest

from dnsvigil.cli.main import main
from dnsvigil.sources.zeek import reader
from dnsvigil.sources.zeek.log_types import LOG_TYPES
from dnsvigil.sources.zeek.skip_reasons import SKIP_REASONS
from exporters.running import Samples, sample, samples, totals
from exporters.zeeklogs import (
    COMPRESS,
    HEADER,
    NEWLINE,
    START,
    as_json,
    header_of,
    log_lines,
    package_header,
    package_json,
    package_line,
    tsv,
)
from lab import zeeklog
from lab.generate import Generated, Stream

# Within a batch no domain becomes one that many ask for, so rows of it are as many as batches let be.
NOT_COMPARED = ("dnsvigil_store_", "dnsvigil_source_last_read_", "dnsvigil_novel_rows")
ODD_NAMES = ('a"b', r"a\x0ab", "{}", r"a\x00", "a\tb".replace("\t", r"\x09"), r"\\", "a'b", "é", "x" * 240, "(empty)")


class State:
    """A state folder, and the command on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stderr = ""
        self._text = ""

    def command(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Run a command; return its status, standard output and error."""
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            status = main(["--log-level", "error", "--state", str(self.folder), *map(str, arguments)])
        return status, out.getvalue(), err.getvalue()

    def ingest(self, *paths: Path, status: int = 0) -> "State":
        """Run ``dnsvigil ingest``."""
        ended, _, self.stderr = self.command("ingest", *paths)
        assert ended == status
        self._text = ""
        return self

    @property
    def text(self) -> str:
        """What ``dnsvigil metrics`` prints."""
        if not self._text:
            status, self._text, _ = self.command("metrics")
            assert status == 0
        return self._text

    @property
    def metrics(self) -> Samples:
        """The samples but for those of size and time of reading."""
        return {key: value for key, value in samples(self.text).items() if not key[0].startswith(NOT_COMPARED)}

    @property
    def counts(self) -> tuple[int, int, dict[str, int]]:
        """Records read and ingested, and skipped by reason."""
        found = self.metrics
        skipped = {
            dict(labels)["reason"]: int(value)
            for (name, labels), value in found.items()
            if name == "dnsvigil_records_skipped_total" and value
        }
        read, ingested = (
            int(found.get(sample(f"dnsvigil_records_{what}_total", source="zeek"), 0)) for what in ("read", "ingested")
        )
        assert read == ingested + sum(skipped.values())
        return read, ingested, skipped


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


def without_sensor(metrics: Samples) -> Samples:
    return {(name, frozenset(kv for kv in labels if kv[0] != "sensor")): v for (name, labels), v in metrics.items()}


def asks_a_server(address: str, port: str) -> bool:
    """Whether it is DNS, and not a look-up of local names: what the addresses and ports of the real logs say."""
    return not (ip_address(address).is_multicast or address == "255.255.255.255" or port in ("137", "5353", "5355"))


class TestRealLogs:
    def test_both_forms_agree_on_every_metric(self, shared_data: Path, tmp_path: Path) -> None:
        folder = shared_data / "zeek-logs" / "zed-sample-data"
        in_tsv = State(tmp_path / "tsv").ingest(folder / "zeek-default" / "dns.log.gz")
        in_json = State(tmp_path / "json").ingest(folder / "zeek-json" / "dns.json.gz")
        assert in_tsv.counts == in_json.counts == (53_615, 53_615, {})
        assert without_sensor(in_tsv.metrics) == without_sensor(in_json.metrics)
        nxdomain = [v for k, v in in_tsv.metrics.items() if k[0] == "dnsvigil_zone_nxdomain_total"]
        assert sum(nxdomain) == 2097

    def test_of_three_days_in_hourly_files(self, shared_data: Path, state: State) -> None:
        folder = shared_data / "zeek-logs" / "rita-missing-host"
        logs = sorted(folder.glob("*/dns.*.gz"))
        assert len(logs) == 72
        state.ingest(folder)
        assert state.counts == (5432, 5432, {})
        records = [record for log in logs for record in zeeklog.records(log)]
        asking = [record for record in records if asks_a_server(record["id.resp_h"], str(record["id.resp_p"]))]
        rcodes = Counter(record.get("rcode_name", "-") for record in asking)
        local = [value for (name, _), value in state.metrics.items() if name == "dnsvigil_local_name_queries_total"]
        assert sum(local) == len(records) - len(asking) == 34
        found: Counter[str] = Counter()
        for (name, labels), value in state.metrics.items():
            if name == "dnsvigil_responses_total" and value:
                found[dict(labels)["rcode"]] += int(value)
            elif name == "dnsvigil_unanswered_total" and value:
                found["-"] += int(value)
        assert found == rcodes
        before = state.metrics
        assert state.ingest(*logs[:10]).metrics == before

    def test_equal_a_count_in_plain_python(self, shared_data: Path, state: State, tmp_path: Path) -> None:
        folder = tmp_path / "pcaps"
        servers: Counter[str] = Counter()
        overlong = 0  # made by pointers in the packet
        ingested = 0
        for number, log in enumerate(sorted((shared_data / "zeek-logs" / "from-pcap").glob("*/dns.log.xz"))):
            (folder / str(number)).mkdir(parents=True)
            shutil.copy(log, folder / str(number))
            for line in lzma.decompress(log.read_bytes()).splitlines():
                if not line.startswith(b"#"):
                    fields = line.split(b"\t")
                    if len(zeeklog.unescape(fields[9])) > 255:
                        overlong += 1
                    else:
                        ingested += 1
                        servers[fields[4].decode()] += asks_a_server(fields[4].decode(), fields[5].decode())
        state.ingest(folder)
        assert state.counts == (ingested + overlong, ingested, {"name": overlong})
        servers = +servers
        found: Counter[str] = Counter()
        for (name, labels), value in state.metrics.items():
            if name == "dnsvigil_queries_total":
                found[dict(labels)["server"]] += int(value)
        shown = [server for server in found if server != "other"]
        assert len(shown) == min(20, len(servers))
        assert {server: found[server] for server in shown} == {server: servers[server] for server in shown}


def write_log(path: Path) -> None:
    streams = [
        Stream(server, f"{zone}.example", 3, servfail=0.1, nxdomain=0.1, unanswered=0.05)
        for server in ("192.0.2.53", "2001:db8::53")
        for zone in ("shop", "news", "mail")
    ]
    Generated(streams, seconds=100, start=START).write(path)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """The metrics of that log, read as it is."""
    path = tmp_path_factory.mktemp("wanted") / "fra-1" / "dns.log"
    path.parent.mkdir()
    write_log(path)
    return State(path.parent / "state").ingest(path).metrics


class TestDelivery:
    """However the same records come, the metrics are the same."""

    @pytest.fixture
    def log(self, tmp_path: Path) -> Path:
        path = tmp_path / "logs" / "fra-1" / "dns.log"
        path.parent.mkdir(parents=True)
        write_log(path)
        return path

    @pytest.mark.parametrize("form", COMPRESS)
    @pytest.mark.parametrize("in_json", [False, True])
    def test_under_any_name_compression_and_form(
        self, log: Path, wanted: Samples, state: State, form: str, in_json: bool
    ) -> None:
        content = log.read_bytes()
        if in_json:
            convert = zeeklog.Columns().to_json()
            content = b"".join(map(convert, zeeklog.lines(log)))
        log.unlink()
        path = log.with_name("whatever")
        path.write_bytes(COMPRESS[form](content))
        assert state.ingest(log.parent).metrics == wanted

    def test_in_many_files_and_batches(
        self, log: Path, wanted: Samples, state: State, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reader, "BATCH_BYTES", 50_000)
        lines = list(zeeklog.lines(log))
        log.unlink()
        for hour in range(4):
            path = log.parent / "2023-11-14" / f"dns.0{hour}:00:00-0{hour + 1}:00:00.log.gz"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(gzip.compress(HEADER + b"".join(lines[hour::4])))
        assert state.ingest(log.parent.parent).metrics == wanted

    def test_again_renamed_or_compressed_adds_nothing(self, log: Path, wanted: Samples, state: State) -> None:
        state.ingest(log).ingest(log, log.parent)
        for form in ("gz", "xz", "zst"):
            path = log.with_name(f"dns.1.log.{form}")
            path.write_bytes(COMPRESS[form](log.read_bytes()))
            state.ingest(path)
        log.rename(log.with_name("dns.2.log"))
        state.ingest(log.parent)
        assert state.metrics == wanted

    def test_grown_adds_what_is_new(self, log: Path, wanted: Samples, state: State) -> None:
        content = log.read_bytes()
        for size in (100, 3000, len(content) // 2, len(content)):
            log.write_bytes(content[:size])
            state.ingest(log, status=1 if size == 100 else 0)  # which is not all of the header
        assert state.metrics == wanted

    def test_grown_while_it_was_compressed(self, log: Path, wanted: Samples, state: State) -> None:
        content = log.read_bytes()
        log.write_bytes(content[: len(content) // 2])
        state.ingest(log)
        log.unlink()
        log.with_name("dns.1.log.gz").write_bytes(gzip.compress(content))
        assert state.ingest(log.parent).metrics == wanted

    def test_in_two_copies_at_once(self, log: Path, wanted: Samples, state: State) -> None:
        shutil.copy(log, log.with_name("copy.log"))
        assert state.ingest(log.parent, log).metrics == wanted


def bad_logs(folder: Path) -> None:
    """Fill a folder with everything that is bad."""
    good = log_lines(20)
    first = iter(log_lines(100)[20:])  # a file is known by its first record
    broken = {
        form: COMPRESS[form](HEADER + b"".join(log_lines(2000, id_resp_h=f"192.0.2.{number}")))
        for number, form in enumerate(["gz", "xz", "zst"], start=1)
    }
    files = {
        **{f"broken.{form}": data[: len(data) * 2 // 3] for form, data in broken.items()},
        **{f"nothing.{form}": data[:9] for form, data in broken.items()},
        "garbage.log": bytes(range(256)) * 200 + NEWLINE,
        "no-header.log": b"".join(good[9:]),
        "header-only.log": HEADER,
        "header-without-fields.log": b"#separator \\x09\n#path\tdns\n" + next(first),
        "header-broken.log": b"#separator \\x\n#fields\tts\n" + next(first),
        "conn.log": header_of("ts", "uid", path="conn") + b"1.0\tC1\n" * 3,
        "conn.json": b'{"ts":1.0,"uid":"C1","id.orig_h":"192.0.2.1"}\n' * 3,
        "empty.log": b"",
        "lines.log": b"".join(
            [
                HEADER,
                good[0],
                b"\xff\xfe\n",
                good[1],
                b"x" * 2**20 + NEWLINE,
                good[2],
                b"a\tb\n",
                good[3].replace(NEWLINE, b"\tx\n"),
                b"\n",
                tsv(ts="0"),
                tsv(ts="4294967295"),
                tsv(rtt="-1"),
                tsv(query="x" * 256),
                *(tsv(query=name, uid="Codd") for name in ODD_NAMES),
                good[4].replace(NEWLINE, b"\r\n"),
            ]
        ),
        "lines.json": b"".join(
            [
                as_json(good[5]),
                b'[1]\n17\n"x"\nnull\n{}\n\n',
                as_json(good[6])[:40] + NEWLINE,
                as_json(good[7]).rstrip() + as_json(good[8]),
                *(as_json(tsv(uid="Cjson"), query=name) for name in ("a\nb", "a\0b", 'a"b', "a\\b", "a\tb")),
            ]
        ),
    }
    for name, content in files.items():
        path = folder / name
        path.write_bytes(content)
        os.utime(path, (time.time() - 100,) * 2)


class TestBadLogs:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "bad"
        folder.mkdir()
        return folder

    def test_all_that_is_good_is_ingested_and_the_rest_counted(
        self, folder: Path, state: State, tmp_path: Path
    ) -> None:
        bad_logs(folder)
        state.ingest(*sorted(folder.iterdir()), status=1)
        _, ingested, skipped = state.counts
        from_broken = sum(
            int(v)
            for (name, labels), v in state.metrics.items()
            if name == "dnsvigil_queries_total" and dict(labels)["server"] in ("192.0.2.1", "192.0.2.2", "192.0.2.3")
        )
        assert from_broken > 1000
        # Of lines.log h0, h1, h2, h4 and the odd names, of lines.json h5, h7, h8 and five more.
        assert ingested - from_broken == 4 + len(ODD_NAMES) + 3 + 5
        assert skipped == {
            "truncated": 6,
            "no_header": 11 + 1 + 1 + 1 + 4,  # the last four in lines.json
            "other_log": 6,
            "encoding": 1 + 200,  # garbage.log has lines from each of its bytes 10 to the next
            "too_long": 1,
            "columns": 3,
            "timestamp": 2,
            "rtt": 1,
            "name": 1,
            "json": 3,
        }
        before = state.metrics
        assert state.ingest(*folder.iterdir(), status=1).metrics == before

    def test_metrics_are_still_well_formed(self, folder: Path, state: State) -> None:
        bad_logs(folder)
        state.ingest(*folder.iterdir(), status=1)
        zones = {dict(k[1]).get("dns_zone") for k in state.metrics}
        assert {'a"b', r"a\x0ab", "{}", r"a\x00", r"a\x09b", "\\", "a'b", r"\xc3\xa9", ".", r"a\x00b"} <= zones
        if not shutil.which("promtool"):
            pytest.skip("promtool is not on the PATH")
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=state.text, capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")

    def test_a_folder_is_searched_for_what_can_be_read(self, folder: Path, state: State) -> None:
        bad_logs(folder)
        state.ingest(folder)
        _, ingested, skipped = state.counts
        assert ingested > 1000
        assert "other_log" not in skipped

    def test_every_reason_is_shown_from_the_start(self, state: State, folder: Path) -> None:
        (folder / "dns.log").write_bytes(HEADER + tsv())
        reasons = {
            dict(labels)["reason"]
            for name, labels in state.ingest(folder).metrics
            if name == "dnsvigil_records_skipped_total"
        }
        assert reasons == set(SKIP_REASONS)


class TestPackage:
    """The logs of the Zeek package, beside dns.log or without it."""

    @pytest.mark.parametrize("in_json", [False, True])
    @pytest.mark.parametrize("form", COMPRESS)
    def test_are_known_under_any_name(self, state: State, tmp_path: Path, form: str, in_json: bool) -> None:
        logs = tmp_path / "fra-1"
        logs.mkdir()
        for number, log_type in enumerate(LOG_TYPES[1:]):
            lines = (
                package_json(log_type.path) if in_json else package_header(log_type.path) + package_line(log_type.path)
            )
            (logs / f"log-{number}").write_bytes(COMPRESS[form](lines * (1 if in_json else 2)))
        state.ingest(logs).ingest(logs, *sorted(logs.iterdir()))
        found = state.metrics
        for log_type in LOG_TYPES[1:]:
            assert found[sample("dnsvigil_records_ingested_total", source=log_type.source)] == 1 + (not in_json)
            assert found[sample("dnsvigil_records_read_total", source=log_type.source)] == 1 + (not in_json)
        assert found[sample("dnsvigil_passive_dns_tuples")] == 1
        assert found[sample("dnsvigil_capture_packets_total", sensor="fra-1")] == 1000 * (1 + (not in_json))
        assert state.counts == (0, 0, {})

    def test_leave_the_metrics_of_dns_as_they_are(self, state: State, tmp_path: Path) -> None:
        alone = State(tmp_path / "alone")
        log = tmp_path / "fra-1" / "dns.log"
        log.parent.mkdir()
        write_log(log)
        alone.ingest(log)
        for log_type in LOG_TYPES[1:]:
            log.with_name(f"{log_type.path}.log").write_bytes(
                package_header(log_type.path) + package_line(log_type.path)
            )
        state.ingest(log.parent)
        tuples = sample("dnsvigil_passive_dns_tuples")
        assert state.metrics[tuples] == alone.metrics[tuples] + 1
        assert alone.metrics.items() - {(tuples, alone.metrics[tuples])} <= state.metrics.items()


class TestCommand:
    def test_says_what_became_of_the_records(self, state: State, tmp_path: Path) -> None:
        path = tmp_path / "dns.log"
        path.write_bytes(HEADER + tsv() + b"x\n" + tsv())
        assert state.ingest(path).stderr == "3 records read, 1 skipped\n"

    def test_reads_the_rest_where_something_is_missing(self, state: State, tmp_path: Path) -> None:
        path = tmp_path / "dns.log"
        path.write_bytes(HEADER + tsv())
        state.ingest(tmp_path / "nothing.log", path, tmp_path / "nowhere", status=1)
        assert state.counts == (1, 1, {})

    def test_reads_the_rest_of_a_folder_where_a_file_cannot_be_read(
        self, state: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        logs = tmp_path / "logs"
        logs.mkdir()
        for number, line in enumerate(log_lines(3)):
            (logs / f"dns.{number}.log").write_bytes(HEADER + line)
        (logs / "dns.1.log").unlink()
        (logs / "dns.1.log").symlink_to("/proc/self/mem")  # of which the first byte is an error
        state.ingest(logs, status=1)
        assert caplog.messages == [f"{logs}/dns.1.log cannot be read: Input/output error"]
        assert state.counts == (2, 2, {})

    def test_as_a_process(self, tmp_path: Path) -> None:
        path = tmp_path / "dns.log"
        path.write_bytes(HEADER + tsv() * 2)
        dnsvigil = [sys.executable, "-m", "dnsvigil", "--state", str(tmp_path / "state")]
        ended = subprocess.run([*dnsvigil, "ingest", path], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "2 records read, 0 skipped\n")
        ended = subprocess.run([*dnsvigil, "metrics"], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert totals(ended.stdout)[sample("dnsvigil_records_ingested_total", source="zeek")] == 2

    def test_metrics_without_a_store_are_an_error(self, state: State) -> None:
        status, out, err = state.command("metrics")
        assert (status, out) == (1, "")
        assert "there is no store in" in err
        assert not state.folder.exists()
