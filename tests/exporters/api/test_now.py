"""The picture of the last five minutes: what a collector that runs says, and what one says of which parts do not."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.api.interface import Condition
from dnsvigil.api.now import now as now_of
from dnsvigil.config.collector import Config
from dnsvigil.detectors.runner import DetectorHealth
from dnsvigil.httpd.access import TOKEN_FILE
from dnsvigil.ingest.detection import DetectionSnapshot
from dnsvigil.ingest.intake import Snapshot
from dnsvigil.records import utc_now
from dnsvigil.sources.zeek.log_types import CAPTURES
from dnsvigil.store.store import Store
from exporters.flowfiles import dialogues, write_flows
from exporters.ingest.taking import Taking
from exporters.running import collecting_here, eventually, line, write_config
from exporters.zeeklogs import HEADER, package_line

WELL = Condition(lag={}, folders={}, config_mistakes=0, failure="")
HOSTILE = "<script>\x1b[31m"


def picture(daemon: Any, state: Path) -> dict[str, Any]:
    """What /api/now answers; nothing while the collector starts."""
    host, port = daemon.server.address[:2]
    token = (state / TOKEN_FILE).read_text().strip()
    asked = urllib.request.Request(f"http://{host}:{port}/api/now", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(asked, timeout=30) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        assert error.code == 503
        return {}


def queries(now: float, *, bad: int, good: int) -> bytes:
    """A minute ago, so many queries that fail and that do not, of which the first are the failing ones."""
    rcodes = ["2"] * bad + ["0"] * good
    return b"".join(line(now - 60 + i / 1000, "www.shop.example", rcode=rcode) for i, rcode in enumerate(rcodes))


def test_a_picture_has_what_fails_and_what_was_found(tmp_path):
    config = write_config(tmp_path, zones={"min_queries": 50})
    state, now = tmp_path / "state", time.time()
    (tmp_path / "zeek" / "current" / "dns.log").write_bytes(HEADER + queries(now, bad=30, good=70))
    with collecting_here(config, state) as daemon:
        shown = eventually(lambda: (found := picture(daemon, state)) and found["zones"] and found["sensors"] and found)
        (zone,) = shown["zones"]
        assert (zone["server"], zone["dns_zone"], zone["state"]) == ("192.0.2.53", "shop.example", "failing")
        assert zone["reasons"] == {"servfail": 30}
        assert shown["zone_states"] == {"failing": 1, "ok": 0, "few_queries": 0}
        assert shown["servers"] == [
            {"server": "192.0.2.53", "queries": 100, "failures": 30, "failing_zones": 1, "failure_ratio": 0.3}
        ]
        (sensor,) = shown["sensors"]
        assert (sensor["state"], sensor["lag_bytes"]) == ("ok", 0)
        assert shown["current"]
        assert shown["findings"] == {
            "total": 0,
            "by_severity": {"critical": 0, "warning": 0, "info": 0},
            "worst": [],
        }
        finding = {
            "detector": "nfsen",
            "subject_type": "client",
            "subject": HOSTILE,
            "score": 0.9,
            "severity": "critical",
            "evidence": {"what": f"{HOSTILE} does it."},
        }
        token = (state / TOKEN_FILE).read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        host, port = daemon.server.address[:2]
        url = f"http://{host}:{port}/api/findings"
        urllib.request.urlopen(urllib.request.Request(url, json.dumps(finding).encode(), headers)).close()
        found = eventually(lambda: shown if (shown := picture(daemon, state)["findings"])["total"] else None)
        assert (found["total"], found["by_severity"]["critical"]) == (1, 1)
        assert found["worst"][0]["subject"] == HOSTILE
        assert found["worst"][0]["what"] == f"{HOSTILE} does it."
        assert "evidence" not in found["worst"][0]


def test_detectors_in_their_first_hour_are_learning_and_not_running_is_no_silence(tmp_path):
    config = write_config(tmp_path)
    state, now = tmp_path / "state", time.time()
    with collecting_here(config, state) as daemon:
        shown = eventually(lambda: picture(daemon, state))
        assert {each["state"] for each in shown["detectors"]} == {"not_running"}
        said = {each["runbook"]: each for each in shown["problems"]}
        assert said["DnsvigilNoLogs"]["severity"] == "critical"
        assert "No DNS query was ever read" in said["DnsvigilNoLogs"]["what"]
        assert "evaluated nothing since the collector started" in said["DnsvigilDetectorSilent"]["what"]
        lines = [line(now - 90 + i / 100, f"n{i}.shop{i}.example", rcode="3" if i % 3 else "0") for i in range(2000)]
        (tmp_path / "zeek" / "current" / "dns.log").write_bytes(HEADER + b"".join(lines))

        def states() -> dict[str, str]:
            return {each["detector"]: each["state"] for each in picture(daemon, state)["detectors"]}

        eventually(lambda: states()["malware"] == "learning")
        assert states()["abuse"] == "learning"
        assert states()["fast_flux"] == "lacking"
        said = [each["what"] for each in picture(daemon, state)["problems"]]
        assert "Detector fast_flux lacks addresses: that it finds nothing proves nothing." in said


def test_old_logs_a_missing_folder_and_a_bad_configuration_are_problems(tmp_path):
    config = write_config(tmp_path, detectors={"lists": str(tmp_path / "nowhere")})
    state, old = tmp_path / "state", time.time() - 7200
    (tmp_path / "zeek" / "current" / "dns.log").write_bytes(HEADER + queries(old, bad=0, good=100))
    with collecting_here(config, state) as daemon:
        shown = eventually(lambda: (found := picture(daemon, state)) and found["zones"] and found["sensors"] and found)
        assert not shown["current"]
        said = {each["runbook"]: each["what"] for each in shown["problems"]}
        assert said["DnsvigilNoLogs"].startswith("No DNS query arrived in the last five minutes")
        assert "does not exist" in said["DnsvigilSourceUnavailable"]
        assert "nowhere" in said["DnsvigilSourceUnavailable"]
        assert [each["problem"] for each in shown["folders"]] == [None, "does not exist"]
        config.write_text("listen: nothing\nzones: 7\n")
        daemon.reload()
        said = eventually(
            lambda: [
                x["what"] for x in picture(daemon, state)["problems"] if x["runbook"] == "DnsvigilBadConfiguration"
            ]
        )
        assert "the old one is in force" in said[0]
        assert shown["problems"] == sorted(shown["problems"], key=lambda each: each["severity"] != "critical")


def test_flows_that_stand_out_and_those_that_are_not_known_yet(tmp_path):
    flows = tmp_path / "flows"
    slot = int(time.time()) // 300 * 300 - 600
    write_flows(flows, slot, dialogues(40))
    threshold = {"service": "dns", "measure": "flows", "above": 10}
    config = write_config(
        tmp_path, sources={"netflow": [{"path": str(flows), "exporter": "edge"}]}, flows={"thresholds": [threshold]}
    )
    state = tmp_path / "state"
    with collecting_here(config, state) as daemon:
        shown = eventually(lambda: (found := picture(daemon, state)) and found["flows"]["series"] and found["flows"])
        assert shown["learning"] == shown["series"]
        assert all(each["what"].startswith("flows of edge/") for each in shown["unusual"])
        assert "(threshold)" in shown["unusual"][0]["what"]


# What a collector can hardly be brought to, of a real store


class Stood:
    """A collector with a real store, and a condition of the test."""

    def __init__(self, store: Store, snapshot: Snapshot, condition: Condition) -> None:
        self.read = store.read
        self.snapshot = snapshot
        self.condition = condition

    def problems(self) -> list[str]:
        return [each["what"] for each in now_of(self, Config(), {}).content["problems"]]


@pytest.fixture
def taking(tmp_path) -> Iterator[Taking]:
    with Store(tmp_path) as store, closing(Taking(store, Config())) as taking:
        taking.take("dns", line(time.time() - 60, "www.shop.example"))
        yield taking


@pytest.mark.parametrize(
    ("packets", "dropped", "unmatched", "said"),
    [
        (10_000, 100, 40, None),
        (10_000, 300, 0, "Sensor tap does not see 2.9% of the packets."),
        (10_000, 0, 60, "Sensor tap does not see the queries of 6.0% of the responses."),
        (10_000, 300, 60, "Sensor tap does not see 2.9% of the packets and the queries of 6.0% of the responses."),
        (20, 10, 0, None),  # too few to tell
    ],
)
def test_loss_is_a_problem_from_the_bounds_of_the_alert_on(taking, packets, dropped, unmatched, said):
    interval = {"packets": packets, "packets_dropped": dropped, "dns_responses": 1000, "unmatched_responses": unmatched}
    texts = {name: str(value) for name, value in interval.items()}
    taking.take(CAPTURES.path, package_line(CAPTURES.path, ts=f"{time.time() - 30:.6f}", **texts), sensor="tap")
    found = Stood(taking.store, taking.intake.snapshot(), WELL).problems()
    assert [each for each in found if each.startswith("Sensor tap")] == ([said] if said else [])


def test_a_sensor_behind_is_no_silent_one_and_a_store_that_fails_is_named(taking):
    snapshot = taking.intake.snapshot()
    behind = replace(WELL, lag={"zeek": (10**6, 700.0)}, failure="no space left on device")
    old = [(source, sensor, event, read - timedelta(hours=1)) for source, sensor, event, read in snapshot.sensors]
    late = "The logs of zeek (zeek) were not read to their end for 700 s; figures are late."
    failing = "The collector cannot write to its store, and tries again: no space left on device"
    silent = f"Nothing new was read from zeek (zeek) since {old[0][3]:%Y-%m-%dT%H:%M:%SZ}."
    for sensors, condition, said in (
        (snapshot.sensors, WELL, set()),
        (snapshot.sensors, behind, {late, failing}),
        (old, WELL, {silent}),
        (old, behind, {late, failing}),
    ):
        found = Stood(taking.store, replace(snapshot, sensors=sensors), condition).problems()
        assert {late, failing, silent} & set(found) == said


@pytest.mark.parametrize(
    ("health", "state"),
    [
        ({"problems": ("it is broken",), "lacks": ("names",)}, "failing"),
        ({"evaluated": None}, "not_running"),
        ({"evaluated": utc_now() - timedelta(hours=3)}, "not_running"),
        ({"lacks": ("names",), "learning": "it"}, "lacking"),
        ({"learning": "it"}, "learning"),
        ({}, "running"),
    ],
)
def test_a_detector_has_the_worst_state_that_is_true(taking, health, state):
    detector = DetectorHealth("tunnel", **{"evaluated": utc_now(), "runs": 3} | health)
    snapshot = taking.intake.snapshot()
    snapshot = replace(snapshot, parts={**snapshot.parts, DetectionSnapshot: DetectionSnapshot((detector,))})
    (shown,) = now_of(Stood(taking.store, snapshot, WELL), Config(), {}).content["detectors"]
    assert shown["state"] == state
