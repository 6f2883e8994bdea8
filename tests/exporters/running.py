"""Runs collectors for tests, reads their metrics, and works out in plain Python what these should say."""

import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dnsvigil.collector import log_loop
from dnsvigil.collector.daemon import Daemon
from dnsvigil.config.collector import Config, load_config
from dnsvigil.detectors.runner import GROUP
from dnsvigil.exporter.snapshots import registry
from dnsvigil.ingest.flows import FlowSnapshot
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.ingest.local_names import LOCAL_KINDS
from dnsvigil.records import LATENCY_BOUNDS, SIGNALS
from dnsvigil.sources.zeek.log_types import LOG_TYPES, PDNS
from dnsvigil.sources.zeek.skip_reasons import SKIP_REASONS
from dnsvigil.store.findings import STATES
from dnsvigil.store.set_aside import KINDS as KINDS_SET_ASIDE
from dnsvigil.store.store import Store
from exporters.tuples import all_tuples, brief
from exporters.zeeklogs import package_columns, package_line
from lab.generate import Generated, Stream
from lab.replay import LiveLog
from lab.zeeklog import Columns

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
"""Value by name and labels."""

OF_THE_PROCESS = (
    "process_",
    "dnsvigil_batch_",
    "dnsvigil_files_lost_",
    "dnsvigil_anomaly_scores_",
    "dnsvigil_detector_",
    "dnsvigil_names_scored_",
    "dnsvigil_passive_dns_compaction_",
    "dnsvigil_hunt_seconds_",
)
"""How the names of the counters begin that start anew with the process."""


DYING = """
import os, signal, sys
from contextlib import contextmanager

from dnsvigil.cli.main import main
from dnsvigil.store.store import Store

left = int(sys.argv.pop(1))
counting = True
transaction = Store.transaction

def step():
    global left
    left -= counting
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

@contextmanager
def dying(store):
    with transaction(store):
        yield
        step()
    step()

Store.transaction = dying
"""
"""The begin of a collector that kills itself just before or just after one of its first commits."""


def eventually(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait until ``condition`` gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
    return result


def write_config(folder: Path, **keys: Any) -> Path:
    """Write the configuration of a collector on a free port that follows the logs in ``folder/zeek/current``."""
    path = folder / "dnsvigil.yml"
    logs = folder / "zeek" / "current"
    logs.mkdir(parents=True, exist_ok=True)
    zeek = [{"path": str(logs)}]
    path.write_text(yaml.safe_dump({"listen": "127.0.0.1:0", "sources": {"zeek": zeek}} | keys))
    return path


def samples(text: str) -> Samples:
    """Return all samples of a /metrics in the text format."""
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def sample(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """Return the key of one sample."""
    return name, frozenset(labels.items())


def metrics_text(snapshot: Snapshot, config: Config, flows: FlowSnapshot | None = None) -> str:
    """Return the metrics of snapshots as text; none of them may be left out."""

    def left_out(*what: str) -> None:
        raise AssertionError(what)

    return generate_latest(registry(snapshot, flows or FlowSnapshot(), config, left_out)).decode()


def totals(text: str) -> Samples:
    """Return the samples of all counters and histograms that come from the store."""
    families = text_string_to_metric_families(text)
    wanted = (family for family in families if family.type in ("counter", "histogram"))
    return {
        (s.name, frozenset(s.labels.items())): s.value
        for family in wanted
        for s in family.samples
        if not s.name.startswith(OF_THE_PROCESS)
    }


class CollectorProcess:
    """A ``dnsvigil run`` in a process of its own."""

    def __init__(self, config: Path, state: Path, *program: str) -> None:
        self.log = config.with_name("stderr")
        with self.log.open("ab") as stream:
            self._logged_before = stream.tell()
            command = [sys.executable, *(program or ("-m", "dnsvigil")), "-c", config, "--state", state, "run"]
            self.process = subprocess.Popen(command, stderr=stream)
        self._url = ""

    @property
    def url(self) -> str:
        """Where it listens; waits until it does."""
        self._url = self._url or eventually(self.listening)
        return self._url

    def listening(self) -> str:
        """Return where it listens, or nothing while it does not."""
        assert self.process.poll() is None, self.stderr()
        found = re.search(r"listening on (\S+)\n", self.stderr())
        return found[1] if found else ""

    def stderr(self) -> str:
        """Return what it has logged."""
        return self.log.read_bytes()[self._logged_before :].decode()

    def get(self, path: str) -> str:
        """Return what it answers."""
        return get(self.url + path)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """End it with SIGTERM; return its exit status."""
        self.process.terminate()
        return self.process.wait(30)


@contextmanager
def collecting(config: Path, state: Path, *program: str) -> Iterator[CollectorProcess]:
    """Run a collector in a process of its own, by ``program`` instead of its own command where that is given."""
    collector = CollectorProcess(config, state, *program)
    try:
        yield collector
    finally:
        collector.kill()


@contextmanager
def collecting_here(config: Path, state: Path) -> Iterator[Daemon]:
    """Run a collector in a thread of this process, which starts sooner."""
    daemon = Daemon(load_config(config), state, lambda: load_config(config))
    thread = threading.Thread(target=daemon.run)
    with patch.object(log_loop, "MAX_AGE", 0.5):  # so that tests that wait for the next look wait less
        thread.start()
        try:
            yield daemon
        finally:
            daemon.stop()
            thread.join(30)


def get(url: str) -> str:
    """Return the body of an answer of status 200; while the collector starts, wait for it."""

    def ask() -> str:
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return response.read().decode()
        except urllib.error.HTTPError as error:
            if error.code == 503 and error.headers["Retry-After"]:
                return ""
            raise

    return eventually(ask)


def ingested(text: str, source: str = "zeek") -> float:
    """Return how many records a /metrics says went into the store."""
    return samples(text).get(sample("dnsvigil_records_ingested_total", source=source), 0)


def has_ingested(text: str, expected: Samples) -> bool:
    """Tell whether a /metrics says that all records of every log went into the store."""
    found = samples(text)
    return all(
        found.get(key, 0) >= value for key, value in expected.items() if key[0] == "dnsvigil_records_ingested_total"
    )


def passive_dns(state: Path) -> Counter[tuple[str, str, str]]:
    """Return how often each tuple of passive DNS was seen."""
    found = Counter[tuple[str, str, str]]()
    with Store(state) as store:
        for name, kind, data, count in brief(all_tuples(store)):
            found[name, kind, data] += count
    return found


def line(
    ts: float,
    name: str,
    *,
    server: str = "192.0.2.53",
    client: str = "198.51.100.1",
    qtype: str = "1",
    rcode: str = "0",
    rtt: str = "0.001",
) -> bytes:
    """Return one line of a dns.log with the columns of Zeek 8."""
    fields = [f"{ts:.6f}", "CuidCuidCuid", client, "40000", server, "53", "udp", "1", rtt, name, "1", "C_INTERNET"]
    fields += [qtype, "-", rcode, "-", "F", "F", "T", "T", "0", "-", "-", "F"]
    return "\t".join(fields).encode() + b"\n"


class Writer(threading.Thread):
    """Writes logs below ``folder`` as Zeek does, rotated and compressed, until stopped.

    Into dns.log come ``rate`` lines a second, into that of passive DNS a hundredth of it.
    """

    _SLICES = 20  # a second

    def __init__(self, folder: Path, *, rate: int, rotate: int) -> None:
        super().__init__(name="log-writer")
        self._stop_writing = threading.Event()
        self._live = LiveLog(folder, columns=Columns(), rotate=rotate)
        columns = Columns(tuple((name, "string") for name in package_columns(PDNS.path)))
        self._passive = LiveLog(folder, columns=columns, rotate=rotate, log=PDNS.path)
        self._rows = rate // 100 // self._SLICES
        self._rows_written = 0
        self.tuples: Counter[tuple[str, str, str]] = Counter()
        zones = [
            Stream(server, f"{zone}.example", rate / 8, servfail=bad, nxdomain=0.1, unanswered=bad / 2)
            for server in ("192.0.2.53", "2001:db8::53")
            for zone, bad in (("shop", 0.12), ("news", 0.02), ("bank", 0), ("mail", 0.01))
        ]
        self._generated = Generated(zones, seconds=3600, start=int(time.time()))
        self._written: Counter[bytes] = Counter()

    def run(self) -> None:
        due = time.monotonic()
        with self._live as live, self._passive as passive:
            for number, second in enumerate(self._generated.chunks()):
                lines = second.splitlines(keepends=True)
                if number % 5 == 3:
                    lines.insert(len(lines) // 2, b"half a line\tof a log\n")
                for i in range(self._SLICES):
                    some = lines[len(lines) * i // self._SLICES : len(lines) * (i + 1) // self._SLICES]
                    live.write(some)
                    self._written.update(each.split(b"\t", 1)[1] for each in some)
                    passive.write(self._rows_of_passive_dns())
                    due += 1 / self._SLICES
                    if self._stop_writing.wait(max(due - time.monotonic(), 0)):
                        return

    def _rows_of_passive_dns(self) -> list[bytes]:
        rows = []
        for _ in range(self._rows):
            self._rows_written += 1
            number = self._rows_written
            key = (f"h{number * number % 997}.shop.example", "A", f"192.0.2.{number % 3}")
            self.tuples[key] += number
            now = f"{time.time():.6f}"
            rows.append(
                package_line(
                    PDNS.path,
                    **dict(zip(("rrname", "rrtype", "rdata"), key, strict=True)),
                    **dict.fromkeys(("ts", "time_first", "time_last"), now),
                    count=str(number),
                )
            )
        return rows

    def stop(self) -> Samples:
        """End the logs; return what :func:`totals` are after all of them."""
        self._stop_writing.set()
        self.join()
        return truth(self._written) | truth_of_package(self._rows_written)


_TYPES = {"1": "A", "15": "MX", "16": "TXT", "28": "AAAA", "65": "HTTPS"}
_RCODES = {"0": "NOERROR", "2": "SERVFAIL", "3": "NXDOMAIN"}


def truth(lines: Mapping[bytes, int]) -> Samples:
    """Work out what :func:`totals` are after so many of each of these lines, given without their time.

    For names right below a registered domain of two labels, and for few enough of those to be shown all.
    """
    found: Counter[tuple[str, frozenset[tuple[str, str]]]] = Counter()
    for reason in SKIP_REASONS:
        found[sample("dnsvigil_records_skipped_total", source="zeek", reason=reason)] = 0
    sums: Counter[str] = Counter()
    servers = set[str]()
    for raw, count in lines.items():
        fields = raw.decode().rstrip("\n").split("\t")
        if len(fields) != 23:
            found[sample("dnsvigil_records_skipped_total", source="zeek", reason="columns")] += count
            continue
        server, rtt, name, qtype, rcode = (fields[i] for i in (3, 7, 8, 11, 13))
        where = {"server": server, "dns_zone": ".".join(name.split(".")[-2:])}
        servers.add(server)
        found[sample("dnsvigil_records_ingested_total", source="zeek")] += count
        found[sample("dnsvigil_queries_total", server=server, qtype=_TYPES[qtype])] += count
        found[sample("dnsvigil_zone_queries_total", **where)] += count
        traffic_class = {"server": server, "network": "other", "class": "canonical"}
        if name.endswith(".example"):  # which is delegated to nobody
            traffic_class["class"] = "unwanted"
        found[sample("dnsvigil_traffic_class_queries_total", **traffic_class)] += count
        for reason in ("servfail", "refused", "formerr", "notimp", "timeout"):
            failed = rcode == {"servfail": "2", "timeout": "-"}.get(reason)
            found[sample("dnsvigil_zone_failures_total", **where, reason=reason)] += count * failed
        found[sample("dnsvigil_zone_nxdomain_total", **where)] += count * (rcode == "3")
        if rcode == "-":
            found[sample("dnsvigil_unanswered_total", server=server)] += count
        else:
            found[sample("dnsvigil_responses_total", server=server, rcode=_RCODES[rcode])] += count
        if rtt != "-":
            sums[server] += count * int(Decimal(rtt) * 10**6)
            found[sample("dnsvigil_response_duration_seconds_count", server=server)] += count
            for bound in (*map(str, LATENCY_BOUNDS), "+Inf"):
                inside = bound == "+Inf" or Decimal(rtt) <= Decimal(bound)
                found[sample("dnsvigil_response_duration_seconds_bucket", server=server, le=bound)] += count * inside
    read = sum(n for (name, _), n in found.items() if name.startswith("dnsvigil_records_"))
    durations = {
        sample("dnsvigil_response_duration_seconds_sum", server=server): total / 1e6 for server, total in sums.items()
    }
    nothing_odd = {
        **{sample("dnsvigil_findings_dropped_total", state=state): 0 for state in STATES},
        **{sample("dnsvigil_outcome_unknown_total", server=server): 0 for server in servers},
        **{sample("dnsvigil_findings_suppressed_total", detector=name): 0 for name in entry_points(group=GROUP).names},
        **{sample("dnsvigil_local_name_queries_total", kind=kind): 0 for kind in LOCAL_KINDS},
        **{sample("dnsvigil_set_aside_total", kind=kind): 0 for kind in KINDS_SET_ASIDE},
        **{sample("dnsvigil_novel_dropped_total", reason=reason): 0 for reason in ("domains", "flood", "rows")},
        **{sample("dnsvigil_client_lookups_dropped_total", reason=reason): 0 for reason in ("days", "rows")},
        **{sample("dnsvigil_domain_summaries_dropped_total", reason=reason): 0 for reason in ("age", "rows")},
        **{sample("dnsvigil_passive_dns_dropped_total", reason=reason): 0 for reason in ("age", "size", "unreadable")},
    }
    return {**found, **durations, **nothing_odd, sample("dnsvigil_records_read_total", source="zeek"): read}


def truth_of_package(rows: int) -> Samples:
    """Work out what the package's :func:`totals` are after so many good rows of passive DNS."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for log_type in LOG_TYPES[1:]:
        found[sample("dnsvigil_records_read_total", source=log_type.source)] = rows if log_type is PDNS else 0
        for reason in SKIP_REASONS:
            found[sample("dnsvigil_records_skipped_total", source=log_type.source, reason=reason)] = 0
    found[sample("dnsvigil_records_ingested_total", source=PDNS.source)] = rows
    return found | {sample("dnsvigil_poisoning_signals_total", signal=signal): 0 for signal in SIGNALS}
