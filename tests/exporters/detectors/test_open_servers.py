"""Real servers in network namespaces, through real Zeek and real flows: which are open, and which is the worst."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from dnsvigil.cli.ingest import ingest
from dnsvigil.config.collector import Config, Detectors, Flows
from dnsvigil.config.types import Network
from dnsvigil.detectors.detector import Anomaly, Context
from dnsvigil.detectors.open_resolver.detector import OpenResolver
from dnsvigil.ingest.intake import Intake
from dnsvigil.store.findings import Finding, findings_in
from dnsvigil.store.store import Store
from evaluation.detection import all_but
from lab import flows, openservers, sensor
from lab.namespaces import why_not
from lab.openservers import (
    ABUSED,
    CLOSED_NAMED,
    CLOSED_UNBOUND,
    DNSMASQ,
    INSIDE,
    OPEN,
    OWN_NAMED,
    OWN_NSD,
    PUBLIC,
    ROUTER,
    SHUT,
    TRANSPARENT,
    UNBOUND,
)

CONFIG = Config(
    detectors=Detectors(disabled=all_but("open_resolver"), top=1000), flows=Flows(networks=[Network(INSIDE)])
)


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := why_not(openservers.TOOLS):
        pytest.skip(reason)
    return openservers.make(tmp_path_factory.mktemp("openservers"))


@pytest.fixture(scope="module")
def by_sensor(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finding]:
    if not shutil.which("zeek"):
        pytest.skip("zeek is not on the PATH")
    folder = tmp_path_factory.mktemp("sensor")
    logs = sensor.run(capture, folder / "zeek", openservers.OPTIONS, "open-resolver.zeek", as_json=False)
    assert ingest([logs.folder / "dnsvigil_open_resolver.log"], CONFIG, folder / "state")
    return found(folder / "state")


@pytest.fixture(scope="module")
def by_flows(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Anomaly]]:
    if reason := flows.why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("flows")
    file = flows.export(capture, folder / "files")
    assert ingest([file], CONFIG, folder / "state")
    with Store(folder / "state") as store, closing(Intake(store, CONFIG)):
        ((slot,),) = store.rows("SELECT max(slot) FROM flow_files")
        detector = OpenResolver(Context(folder / "state", CONFIG))
        yield {each.subject: each for each in detector.evaluate(store.rows, slot + timedelta(minutes=5))}


def found(state: Path) -> dict[str, Finding]:
    with Store(state) as store:
        return {each.subject: each for each in findings_in(store.rows, "open")}


def test_a_sensor_finds_every_open_server_and_no_other(by_sensor: dict[str, Finding]) -> None:
    assert by_sensor.keys() == {*OPEN}


def test_a_sensor_tells_who_resolves_for_a_forwarder(by_sensor: dict[str, Finding]) -> None:
    resolved = {host: each.evidence["sensor"].get("resolved_by") for host, each in by_sensor.items()}
    forwarders = {DNSMASQ: PUBLIC, ROUTER: PUBLIC, TRANSPARENT: UNBOUND}
    assert resolved == dict.fromkeys(OPEN) | forwarders
    assert {by_sensor[host].evidence["looks_like"] for host in forwarders} == {"customer forwarder"}


def test_the_abused_one_is_the_worst_by_far(by_sensor: dict[str, Finding]) -> None:
    worst, *others = sorted(by_sensor.values(), key=lambda each: -each.score)
    assert (worst.subject, worst.severity) == (ABUSED, "critical")
    assert worst.evidence["looks_like"] == "abused for reflection"
    assert max(each.score for each in others) < worst.score - 0.05
    assert {each.severity for each in others} == {"warning"}


def test_flows_find_those_that_send_answers_and_the_abused_one_as_the_worst(by_flows: dict[str, Anomaly]) -> None:
    worst = max(by_flows.values(), key=lambda each: each.score)
    assert (worst.subject, worst.severity) == (ABUSED, "critical")
    # The transparent forwarder sends no answer itself.
    assert {host for host, each in by_flows.items() if each.score >= 0.5} == {*OPEN} - {TRANSPARENT}
    assert TRANSPARENT not in by_flows


def test_flows_tell_name_servers_and_closed_resolvers_from_open_ones(by_flows: dict[str, Anomaly]) -> None:
    kinds = {host: by_flows[host].evidence["looks_like"] for host in SHUT}
    authoritative, closed = "authoritative server", "closed resolver"
    assert kinds == {
        OWN_NSD: authoritative, OWN_NAMED: authoritative, CLOSED_UNBOUND: closed, CLOSED_NAMED: closed,
    }  # fmt: skip
