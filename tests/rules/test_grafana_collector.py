"""The collector's dashboards: each query asked of a real Prometheus that scrapes a real collector with lab data."""

from __future__ import annotations

import json
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from alerting import RULES, running
from dnsvigil.config.collector import load_config
from dnsvigil.httpd.access import TOKEN_FILE
from dnsvigil.ingest.flows import FlowsPart
from dnsvigil.sources.zeek.log_types import CAPTURES, PDNS
from dnsvigil.store.store import Store
from exporters.flowfiles import RESOLVER, SLOT, OneWay, asking, dialogues, write_flows, write_past
from exporters.running import CollectorProcess, collecting, eventually, line, write_config
from exporters.zeeklogs import HEADER, package_header, package_line
from rules.dashboards import BOARDS, Prometheus, Target, check_legend, chosen_values, targets, variables

OURS = ("zones", "findings", "flows", "collector")
RULE_FILES = tuple(sorted(path.name for path in RULES.glob("dnsvigil-*.yml") if "resolver" not in path.name))
TIME_SCALE = 2400
"""What the times of the rules are divided by, so that there is a limit from the last day within a minute."""

PAST = 6 * 3600
"""Seconds for which event time is behind when the collector starts."""
SPEED = 20
"""Seconds of event time in each second."""

EMPTY: dict[tuple[str, str, str], str] = {
    ("collector", "Size of passive DNS and of the archive", "B"): "the first file is written after an hour",
}
"""Queries that return nothing here, with the reason: board, title and letter."""


class Traffic(threading.Thread):
    """Logs and flow files as they come in on a busy day, faster than that."""

    def __init__(self, folder: Path) -> None:
        super().__init__(name="traffic", daemon=True)
        logs = folder / "zeek" / "current"
        self._logs = {
            "dns": (logs / "dns.log", HEADER),
            "capture": (logs / f"{CAPTURES.path}.log", package_header(CAPTURES.path)),
            "pdns": (logs / f"{PDNS.path}.log", package_header(PDNS.path)),
        }
        for path, header in self._logs.values():
            path.write_bytes(header)
        self._flows = folder / "flows"
        self._ended = threading.Event()
        self._steps = 0
        self._slot = int(time.time() - PAST) // SLOT * SLOT

    def run(self) -> None:
        started = time.time()
        while not self._ended.wait(0.5):
            self._step(started - PAST + (time.time() - started) * SPEED)

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _step(self, now: float) -> None:
        self._steps += 1
        self._append("dns", b"".join(self._queries(now)) + b"half a line\tof a log\n")
        interval = {"ts": f"{now:.6f}", "packets": "20000", "packets_dropped": "300", "malformed": "3"}
        interval |= {"dns_queries": "2000", "dns_responses": "2000", "unmatched_responses": "20"}
        self._append("capture", package_line(CAPTURES.path, **interval))
        times = dict.fromkeys(("ts", "time_first", "time_last"), f"{now:.6f}")
        self._append("pdns", package_line(PDNS.path, rrname=f"h{self._steps}.shop.example", **times))
        if self._steps % 3 == 0:
            self._write_flows()

    def _append(self, name: str, lines: bytes) -> None:
        with self._logs[name][0].open("ab") as log:
            log.write(lines)

    def _queries(self, now: float) -> Iterator[bytes]:
        for server in ("192.0.2.53", "192.0.2.54"):
            for i in range(150):
                zone = ("shop", "news", "bank")[i % 3]
                bad = "2" if zone == "shop" and i % 2 else "-" if i % 50 == 49 else "3" if i % 10 == 9 else "0"
                yield line(now + i / 1000, f"www.{zone}.example", server=server, rcode=bad, rtt=f"0.0{i % 9 + 1}")
        # A client as if malware ran on it.
        yield line(now, "bad.example", client="198.51.100.66")
        for i in range(5):
            yield line(now + i / 1000, f"qx{self._steps * 5 + i}zvkwj{i}q.example", rcode="3", client="198.51.100.66")

    def _write_flows(self) -> None:
        answered = [flow for each in dialogues(40) for flow in [OneWay(**vars(each) | {"count": 25})]]
        host = asking("203.0.113.7", "192.0.2.99", count=400)
        amplified = OneWay(**vars(host.back) | {"bytes": 4000})
        unanswered = asking("198.51.100.1", count=300)
        write_flows(self._flows, self._slot, [*answered, unanswered, host, amplified], lost=1)
        self._slot += SLOT


def submit(collector: CollectorProcess, state: Path, path: str, content: dict[str, object]) -> list[object]:
    headers = {
        "Authorization": f"Bearer {(state / TOKEN_FILE).read_text().strip()}",
        "Content-Type": "application/json",
    }
    request = urllib.request.Request(collector.url + path, json.dumps(content).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        found = json.load(response)
    return found if isinstance(found, list) else [found]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    if not (shutil.which("prometheus") and shutil.which("nfdump")):
        pytest.skip("needs prometheus and nfdump")
    folder = tmp_path_factory.mktemp("grafana")
    lists = folder / "lists"
    lists.mkdir()
    (lists / "bad.txt").write_text("bad.example\nworse.example\nno name at all!\n")
    config = write_config(
        folder,
        sources={
            "zeek": [{"path": str(folder / "zeek" / "current")}],
            "netflow": [{"path": str(folder / "flows"), "exporter": "edge"}],
            "shadowserver": str(folder / "nowhere"),
        },
        flows={"networks": ["192.0.2.0/24"], "thresholds": [{"service": "dns", "measure": "flows", "above": 10}]},
        detectors={"lists": str(lists)},
        archive={"path": str(folder / "archive")},
    )
    (folder / "flows").mkdir()
    state = folder / "state"
    traffic = Traffic(folder)
    with Store(state) as store:
        part = FlowsPart(store, load_config(config))
        write_past(store, time.time() - PAST)
        part.close()
    with ExitStack() as stack:
        collector = stack.enter_context(collecting(config, state))
        port = collector.url.rpartition(":")[2]
        server = Prometheus(folder, "dnsvigil", port, RULE_FILES, TIME_SCALE)
        stack.enter_context(running(server.command, folder / "prometheus.log"))
        traffic.start()
        stack.callback(traffic.end)

        def has(expression: str) -> bool:
            try:
                return bool(server.query(expression))
            except OSError:
                return False

        eventually(lambda: has("dnsvigil_zone_queries_total"), 60)
        finding = {"detector": "nfsen", "subject_type": "resolver", "subject": RESOLVER, "score": 0.75}
        finding |= {"severity": "critical", "evidence": {"domains": ["shop.example"]}}
        submit(collector, state, "/api/findings", finding)
        (dismissed,) = submit(collector, state, "/api/findings", finding | {"subject": "192.0.2.54"})
        submit(collector, state, "/api/findings/dismiss", {"id": dismissed["id"], "why": "ours"})
        eventually(lambda: has("exporter_resolver:dnsvigil_flow_resolver_unanswered:limit1d"), 120)
        eventually(lambda: has("server_rcode:dnsvigil_unexplained:limit6h"), 120)
        yield server


TARGETS = [target for board in OURS for target in targets(board)]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.board}: {target.title}, {target.letter}")
def test_every_query_returns_data(prometheus: Prometheus, target: Target) -> None:
    everything = dict.fromkeys(variables(target.board), ".*") | {"job": "dnsvigil"}
    if reason := EMPTY.get((target.board, target.title, target.letter)):
        pytest.skip(reason)
    result = eventually(lambda: prometheus.query(target.expression, **everything), 60)
    check_legend(target, result)
    nowhere = prometheus.query(target.expression, **everything | {"instance": "nowhere"})
    assert nowhere == [], "what nobody sees is not 0"


@pytest.mark.parametrize("board", OURS)
def test_variables_offer_what_there_is(prometheus: Prometheus, board: str) -> None:
    chosen = prometheus.chosen(board)
    assert chosen.pop("job") == ["dnsvigil"]
    assert len(chosen["instance"]) == 2
    assert chosen.pop("runbooks")[0].endswith("/runbooks")
    assert all(chosen.values()), chosen
    for target in targets(board):
        if "$instance" in target.expression and (board, target.title, target.letter) not in EMPTY:
            one = dict.fromkeys(variables(board), ".*") | {"job": "dnsvigil"}
            one["instance"] = chosen_values(chosen["instance"][:1])
            found = eventually(lambda given=one, asked=target: prometheus.query(asked.expression, **given), 60)
            names = {series["metric"].get("instance") for series in found} - {None}
            assert names <= {chosen["instance"][0]}, target.title


@pytest.mark.parametrize("annotation", BOARDS["zones"]["annotations"]["list"], ids=lambda each: each["name"])
def test_annotations_mark_something(prometheus: Prometheus, annotation: dict[str, str]) -> None:
    now = time.time()
    assert eventually(lambda: prometheus.over(annotation["expr"], now - 600, time.time()), 60)
