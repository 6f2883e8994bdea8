"""A collector under systemd: what it reports, and how it takes another configuration while logs grow."""

import re
import signal
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from dnsvigil.collector.log_loop import LogLoop
from dnsvigil.store.store import Store, StoreError
from exporters.running import (
    Writer,
    collecting,
    collecting_here,
    eventually,
    get,
    has_ingested,
    ingested,
    line,
    sample,
    samples,
    totals,
    write_config,
)
from exporters.supervisor import Supervisor
from lab.zeeklog import header

SUCCESSFUL = sample("dnsvigil_config_last_reload_successful")
LOADED = sample("dnsvigil_config_last_reload_success_timestamp_seconds")


def write_log(folder: Path, *names: str, server: str = "192.0.2.53") -> None:
    path = folder / "dns.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        if not stream.tell():
            stream.write(header(time.time()))
        stream.writelines(line(time.time(), name, server=server) for name in names)


def change(path: Path, **keys: object) -> None:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | keys))


def test_what_systemd_hears_from_start_to_stop(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    write_log(tmp_path / "zeek" / "current", "www.a.example")
    with Supervisor(tmp_path / "notify", watchdog=2) as systemd, collecting(config, tmp_path / "state") as collector:
        assert systemd.saw("READY")["STATUS"].startswith("Following 1 folder; ")
        assert samples(collector.get("/metrics"))[SUCCESSFUL] == 1  # no 503: there was something to show
        assert systemd.receive()[0] == {"STATUS": "Opening the store"}
        systemd.saw("WATCHDOG", 3)
        assert collector.terminate() == 0
        assert systemd.receive()[-1] == {"STOPPING": "1", "STATUS": "Stopping"}


def test_the_watchdog_hears_nothing_while_the_loop_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hung, released = threading.Event(), threading.Event()
    step = LogLoop.step

    def hang(loop: LogLoop) -> bool:
        if hung.is_set():
            released.wait(30)
        return step(loop)

    monkeypatch.setattr(LogLoop, "step", hang)
    supervised = Supervisor(tmp_path / "notify", watchdog=0.4)
    with supervised as systemd, collecting_here(write_config(tmp_path), tmp_path / "state"):
        systemd.saw("WATCHDOG", 3)
        hung.set()
        time.sleep(1)
        before = len(systemd.receive())
        time.sleep(1)
        assert len(systemd.receive()) == before
        released.set()
        eventually(lambda: len(systemd.receive()) > before)


def test_what_the_watchdog_ends_leaves_its_stack_in_the_log(tmp_path: Path) -> None:
    with collecting(write_config(tmp_path), tmp_path / "state") as collector:
        collector.get("/metrics")
        collector.process.send_signal(signal.SIGABRT)
        assert collector.process.wait(30) == -signal.SIGABRT
        assert re.search(r"daemon\.py\", line \d+ in _follow", collector.stderr())


def test_a_store_that_fails_is_no_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: LogLoop) -> bool:
        raise StoreError("the disk is full")

    with Supervisor(tmp_path / "notify", watchdog=0.4) as systemd:
        monkeypatch.setattr(LogLoop, "step", fail)
        with collecting_here(write_config(tmp_path), tmp_path / "state"):
            systemd.shows("Failing: the disk is full")
            heard = len([report for report in systemd.receive() if "WATCHDOG" in report])
            systemd.saw("WATCHDOG", heard + 1)
            monkeypatch.undo()
            systemd.shows("Following 1 folder; no log to read")


def test_another_configuration_takes_effect_and_no_record_counts_twice(tmp_path: Path) -> None:
    config, state = write_config(tmp_path), tmp_path / "state"
    other = tmp_path / "other"
    write_log(other, "www.b.example", server="192.0.2.99")
    writer = Writer(tmp_path / "zeek", rate=2000, rotate=3)
    writer.start()
    try:
        with Supervisor(tmp_path / "notify") as systemd, collecting(config, state) as collector:
            eventually(lambda: ingested(collector.get("/metrics")) > 1000)
            zeek = yaml.safe_load(config.read_text())["sources"]["zeek"]
            for number in range(2, 8):
                # The other sensor comes and goes.
                followed = [*zeek, {"path": str(other), "sensor": "b"}] if number % 2 == 0 else zeek
                change(config, sources={"zeek": followed}, zones={"min_queries": number})
                collector.process.send_signal(signal.SIGHUP)
                while sum("READY" in report for report in systemd.receive()) < number:
                    with urllib.request.urlopen(f"{collector.url}/metrics", timeout=30) as response:  # never 503
                        assert response.status == 200
                    time.sleep(0.05)
                assert systemd.saw("READY", number)["STATUS"].startswith(f"Following {len(followed)} folder")
                assert places(collector.get("/metrics")) == {each["path"] for each in followed}
            expected = writer.stop()
            eventually(lambda: has_ingested(collector.get("/metrics"), expected), seconds=120)
            assert collector.terminate() == 0
            assert "Traceback" not in collector.stderr()
        with collecting_here(config, state) as daemon:
            found = dict(totals(get(f"{daemon.server.url}/metrics")))
    finally:
        writer.stop()
    of_the_other = {key: found.pop(key) for key in found.copy() if ("server", "192.0.2.99") in key[1]}
    assert of_the_other[sample("dnsvigil_queries_total", server="192.0.2.99", qtype="A")] == 1
    for name in ("read", "ingested"):
        found[sample(f"dnsvigil_records_{name}_total", source="zeek")] -= 1
    assert found == expected


def places(text: str) -> set[str]:
    """The folders of which a /metrics says whether they can be read."""
    return {dict(found)["path"] for name, found in samples(text) if name == "dnsvigil_source_available"}


def test_a_configuration_with_mistakes_changes_nothing(tmp_path: Path) -> None:
    config, state = write_config(tmp_path), tmp_path / "state"
    write_log(tmp_path / "zeek" / "current", "www.a.example")
    good = config.read_text()
    with Supervisor(tmp_path / "notify") as systemd, collecting(config, state) as collector:
        before = eventually(lambda: ingested(now := collector.get("/metrics")) == 1 and samples(now))
        config.write_text("zones: {top: 0}\ndetectors:\n  disabled: [nothing]\nlisten: 127.0.0.1:0\n")
        collector.process.send_signal(signal.SIGHUP)
        eventually(lambda: "the last good one stays in force" in collector.stderr())
        assert f"{config}:1: zones.top: expected 1 to 1000, found 0" in collector.stderr()
        assert f"{config}:3: detectors.disabled: no detector 'nothing' is installed" in collector.stderr()
        systemd.shows("the new configuration has 2 mistakes, and the old one is in force")
        now = samples(collector.get("/metrics"))
        assert (now[SUCCESSFUL], now[LOADED]) == (0, before[LOADED])
        write_log(tmp_path / "zeek" / "current", "www.a.example")
        eventually(lambda: ingested(collector.get("/metrics")) == 2)  # the old one names the folder, not the new
        config.write_text(good)
        collector.process.send_signal(signal.SIGHUP)
        eventually(lambda: samples(collector.get("/metrics"))[SUCCESSFUL] == 1)
        assert samples(collector.get("/metrics"))[LOADED] > before[LOADED]
        assert "mistake" not in systemd.saw("READY", 3)["STATUS"]


def test_what_a_reload_changes_of_the_api(tmp_path: Path) -> None:
    config, state = write_config(tmp_path), tmp_path / "state"
    with collecting(config, state) as collector:
        collector.get("/metrics")
        change(config, api={"client_addresses": "everyone"}, listen="127.0.0.1:1")
        collector.process.send_signal(signal.SIGHUP)
        eventually(lambda: "is in force" in collector.stderr())
        assert "listen has changed, and takes effect when the service is restarted" in collector.stderr()
        eventually(lambda: allowed(f"{collector.url}/api/findings"))
    with Store(state) as store:
        assert store.read("SELECT 1") == [(1,)]


def allowed(url: str) -> bool:
    try:
        return bool(get(url))
    except urllib.error.HTTPError as error:
        assert error.code == 401
        return False
