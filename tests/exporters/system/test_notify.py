"""Reports to systemd, on a real socket."""

import os
import socket
import time
from pathlib import Path

import pytest

from dnsvigil.system import notify
from dnsvigil.system.notify import Service
from exporters.supervisor import Supervisor


def test_each_report_is_one_datagram(tmp_path: Path) -> None:
    with Supervisor(tmp_path / "notify") as systemd:
        service = Service()
        service.show("Opening")
        service.show("Opening")
        service.ready("Working")
        service.show("Working")
        before = time.monotonic_ns() // 1000
        service.reloading()
        service.stopping()
        *first, reloading, stopping = systemd.receive()
    assert first == [{"STATUS": "Opening"}, {"READY": "1", "STATUS": "Working"}]
    assert before <= int(reloading.pop("MONOTONIC_USEC")) <= time.monotonic_ns() // 1000
    assert reloading == {"RELOADING": "1", "STATUS": "Reading the configuration again"}
    assert stopping == {"STOPPING": "1", "STATUS": "Stopping"}


def test_a_status_cannot_forge_another_report(tmp_path: Path) -> None:
    with Supervisor(tmp_path / "notify") as systemd:
        Service().ready("a folder called\nSTOPPING=1")
        assert systemd.receive() == [{"READY": "1", "STATUS": r"a folder called\nSTOPPING=1"}]


def test_an_abstract_address() -> None:
    name = f"dnsvigil-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{name}")
        Service({"NOTIFY_SOCKET": f"@{name}"}).ready("Working")
        receiver.settimeout(5)
        assert receiver.recv(100) == b"READY=1\nSTATUS=Working"


def test_the_watchdog_hears_often_enough_and_not_too_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(notify.time, "monotonic", lambda: next(clock))
    with Supervisor(tmp_path / "notify", watchdog=20) as systemd:
        service = Service()
        for _ in range(100):
            service.alive()
            systemd.receive()
        assert service.watchdog == 20
        assert systemd.reports == [{"WATCHDOG": "1"}] * 20


@pytest.mark.parametrize(
    "environ", [{}, {"WATCHDOG_USEC": ""}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}]
)
def test_no_watchdog_where_systemd_has_asked_for_none(tmp_path: Path, environ: dict[str, str]) -> None:
    with Supervisor(tmp_path / "notify") as systemd:
        service = Service({"NOTIFY_SOCKET": str(tmp_path / "notify"), **environ})
        service.alive()
        assert service.watchdog is None
        assert systemd.receive() == []


def test_a_socket_that_is_gone_does_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    service = Service({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    service.ready("Working")
    service.stopping()
    assert [record.getMessage() for record in caplog.records] == [
        "systemd cannot be reached at NOTIFY_SOCKET: No such file or directory"
    ]


def test_nothing_is_sent_without_systemd() -> None:
    Service({}).ready("Working")
