"""A running collector: what it serves, how it ends, and that it reads everything once while files come and go."""

import gzip
import html
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from dnsvigil.sources.zeek import reader
from dnsvigil.store.cursors import read_cursors
from dnsvigil.store.sensors import newest_event
from dnsvigil.store.store import Store
from exporters.httpd.support import Authority, hashed, write
from exporters.running import (
    CollectorProcess,
    collecting,
    collecting_here,
    eventually,
    get,
    ingested,
    line,
    sample,
    samples,
    write_config,
)
from exporters.zeeklogs import package_header, package_line
from lab.zeeklog import header

HOSTILE = '<script>alert("1")</script>&amp;.example'


def write_log(folder: Path, *lines: bytes, name: str = "current/dns.log") -> Path:
    path = folder / "zeek" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        if not stream.tell():
            stream.write(header(time.time()))
        stream.writelines(lines)
    return path


def lag(text: str) -> float:
    ((value,),) = [[v for (name, _), v in samples(text).items() if name == "dnsvigil_source_lag_seconds"]]
    return value


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_live_log_is_followed_until_sigterm(tmp_path: Path) -> None:
    config, state = write_config(tmp_path), tmp_path / "state"
    log = write_log(tmp_path, line(time.time(), "www.a.example"), line(time.time(), "www.b.example", rcode="2"))
    with collecting(config, state) as collector:
        eventually(lambda: ingested(collector.get("/metrics")) == 2)
        write_log(tmp_path, line(time.time(), "www.a.example", rcode="-", rtt="-"))
        before = time.monotonic()
        eventually(lambda: ingested(collector.get("/metrics")) == 3)
        assert time.monotonic() - before < 5
        found = samples(collector.get("/metrics"))
        where = {"server": "192.0.2.53", "dns_zone": "a.example"}
        assert found[sample("dnsvigil_zone_queries_total", **where)] == 2
        assert found[sample("dnsvigil_zone_failures_total", **where, reason="timeout")] == 1
        of_sensor = {"source": "zeek", "sensor": tmp_path.name}
        assert found[sample("dnsvigil_source_lag_bytes", **of_sensor)] <= log.stat().st_size
        eventually(lambda: lag(collector.get("/metrics")) == 0)
        newest = found[sample("dnsvigil_last_event_timestamp_seconds", **of_sensor)]
        assert abs(newest - time.time()) < 60
        assert collector.get("/-/healthy") == "dnsvigil is healthy.\n"
        assert collector.get("/-/ready") == "dnsvigil is ready.\n"
        assert status(f"{collector.url}/nothing") == 404
        assert collector.terminate() == 0
        assert "Traceback" not in collector.stderr()
    with Store(state) as store:  # closed, with nothing left to replay
        assert not list(state.glob("*.wal*"))
        assert newest_event(store)


def test_a_second_start_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    config, state = write_config(tmp_path), tmp_path / "state"
    write_log(tmp_path, line(time.time(), "www.a.example"))
    for expected in (1, 2):
        with collecting_here(config, state) as daemon:
            eventually(lambda expected=expected: ingested(get(f"{daemon.server.url}/metrics")) == expected)
            time.sleep(1)
            assert ingested(get(f"{daemon.server.url}/metrics")) == expected
        write_log(tmp_path, line(time.time(), "www.a.example"))


def test_hostile_names_are_shown_and_escaped(tmp_path: Path) -> None:
    names = [HOSTILE, r"back\x5cslash.\x0aline.\x22quote", '{a="b"} 1.example', "a'--.example", "%00.example"]
    write_log(tmp_path, *(line(time.time(), f"www.{name}", rcode="2") for name in names))
    with collecting_here(write_config(tmp_path, zones={"min_queries": 1}), tmp_path / "state") as daemon:
        url = daemon.server.url
        eventually(lambda: ingested(get(f"{url}/metrics")) == len(names))
        page, text = get(url), get(f"{url}/metrics")
    assert "<script>" not in page
    zones = {labels["dns_zone"] for _, found in samples(text) if "dns_zone" in (labels := dict(found))}
    assert HOSTILE in zones
    assert len(zones) == len(names) + 1
    page_zones = re.findall(r'<a class="value" href="zone\?[^"]*">(.*?)</a>', page)
    assert {html.unescape(zone) for zone in page_zones} == zones - {"other"}
    assert not any(set("<>\"'") & set(zone) for zone in page_zones)


def test_both_formats_parse_and_promtool_finds_no_fault(tmp_path: Path) -> None:
    write_log(
        tmp_path,
        b"broken\n",
        line(time.time(), "a.example"),
        line(time.time(), "b.example", rcode="-", rtt="-"),
        line(time.time(), "c.example", server="2001:db8::53", rcode="3"),
    )
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        url = f"{daemon.server.url}/metrics"
        eventually(lambda: ingested(get(url)) == 3)
        text = get(url)
        request = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        with urllib.request.urlopen(request) as response:
            assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
            opened = response.read().decode()
    assert opened.endswith("# EOF\n")
    assert opened.count("# EOF") == 1

    def of_store(families: object) -> set[tuple[str, str, float]]:
        return {
            (s.name, str(sorted(s.labels.items())), s.value)
            for family in families
            for s in family.samples
            if s.name.startswith(("dnsvigil_records", "dnsvigil_zone", "dnsvigil_queries", "dnsvigil_response"))
        }

    assert of_store(open_metrics(opened)) == of_store(text_string_to_metric_families(text))
    check = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    assert (check.returncode, check.stdout + check.stderr) == (0, "")


def test_a_second_collector_says_who_has_the_store(tmp_path: Path) -> None:
    config, state = write_config(tmp_path), tmp_path / "state"
    with collecting(config, state) as first:
        assert first.url
        second = CollectorProcess(config, state)
        assert second.process.wait(30) == 1
        assert f"(PID {first.process.pid})" in second.stderr()
        assert "Traceback" not in second.stderr()
        command = [sys.executable, "-m", "dnsvigil", "-c", config, "--state", state, "metrics"]
        metrics = subprocess.run(command, capture_output=True, text=True, check=False)
        assert metrics.returncode == 1
        assert f"(PID {first.process.pid})" in metrics.stderr
        assert first.get("/-/ready")


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        host, port = daemon.server.address
        config = write_config(tmp_path, listen=f"{host}:{port}")
        second = CollectorProcess(config, tmp_path / "other")
        assert second.process.wait(30) == 1
    assert f"cannot listen on {host}:{port}: Address already in use\n" in second.stderr()
    assert "Errno" not in second.stderr()
    assert "Traceback" not in second.stderr()


def test_a_scrape_does_not_wait_for_ingestion(tmp_path: Path) -> None:
    lines = [line(time.time() - 600 + i / 1000, f"www.zone{i % 40}.example") for i in range(100_000)]
    records = len(lines) * (1 + int(2.2 * reader.BATCH_BYTES) // len(b"".join(lines)))  # three batches
    write_log(tmp_path, *lines * (records // len(lines)))
    with collecting(write_config(tmp_path), tmp_path / "state") as collector:
        url = f"{collector.url}/metrics"
        took: list[float] = []
        seen: list[float] = []
        while not seen or seen[-1] < records:
            begun = time.monotonic()
            text = get(url)
            took.append(time.monotonic() - begun)
            seen.append(ingested(text))
            if 0 < seen[-1] < records:
                assert lag(text) > 0
            time.sleep(0.02)
            assert sum(took) < 120
        duration = samples(text)[sample("dnsvigil_batch_duration_seconds_sum")]
    assert len(set(seen)) > 2, "the backlog went in as one batch"
    median = sorted(took)[len(took) // 2]
    print(f"{len(took)} scrapes, median {median:.3f} s, longest {max(took):.3f} s; ingestion {duration:.1f} s")
    assert median < 0.1
    assert max(took) < duration / 3


def test_files_renamed_and_compressed_while_they_are_read_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BATCH_BYTES", 20_000)
    lines = [line(time.time() - 600 + i / 100, "www.a.example", client=f"10.0.{i % 250}.1") for i in range(10_000)]
    log = write_log(tmp_path, *lines)
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        url = f"{daemon.server.url}/metrics"
        eventually(lambda: 0 < ingested(get(url)) < len(lines))
        archived = tmp_path / "zeek" / time.strftime("%Y-%m-%d") / "dns.00:00:00-01:00:00.log"
        archived.parent.mkdir()
        log.rename(archived)
        write_log(tmp_path, line(time.time(), "www.b.example"))
        reached = ingested(get(url))
        eventually(lambda: ingested(get(url)) > reached + 3000 or ingested(get(url)) > len(lines))
        assert ingested(get(url)) < len(lines), "too quick for this test"
        with gzip.open(f"{archived}.gz", "wb") as packed:
            packed.write(archived.read_bytes())
        archived.unlink()
        eventually(lambda: lag(get(url)) == 0, 90)
        found = samples(get(url))
    assert found[sample("dnsvigil_records_ingested_total", source="zeek")] == len(lines) + 1
    assert found[sample("dnsvigil_files_lost_total", source="zeek")] == 0


def test_a_log_of_one_record_counts_once_when_it_is_rotated(tmp_path: Path) -> None:
    log = write_log(tmp_path, line(time.time(), "www.a.example"))
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        url = f"{daemon.server.url}/metrics"
        eventually(lambda: ingested(get(url)) == 1)
        archived = tmp_path / "zeek" / time.strftime("%Y-%m-%d") / "dns.00:00:00-01:00:00.log"
        archived.parent.mkdir()
        log.rename(archived)
        write_log(tmp_path, line(time.time(), "www.b.example"))
        eventually(lambda: ingested(get(url)) >= 2)
        time.sleep(1.5)
        assert ingested(get(url)) == 2


def test_a_log_beside_its_compressed_copy_counts_once(tmp_path: Path) -> None:
    """As gzip leaves them when the machine goes down between its last two steps."""
    config, state = write_config(tmp_path), tmp_path / "state"
    with collecting_here(config, state) as daemon:
        # What lies in the archive before the first start is left alone.
        eventually(lambda: status(f"{daemon.server.url}/-/ready") == 200)
    lines = [line(time.time(), "www.a.example", client=f"10.0.{i}.1") for i in range(200)]
    log = write_log(tmp_path, *lines, name=f"{time.strftime('%Y-%m-%d')}/dns.00:00:00-01:00:00.log")
    with gzip.open(f"{log}.gz", "wb") as packed:
        packed.write(log.read_bytes())
    with collecting_here(config, state) as daemon:
        eventually(lambda: ingested(get(f"{daemon.server.url}/metrics")) >= len(lines))
        time.sleep(1.5)
        assert ingested(get(f"{daemon.server.url}/metrics")) == len(lines)


def test_a_log_is_not_read_again_when_its_cursor_is_forgotten(tmp_path: Path) -> None:
    config, state = write_config(tmp_path), tmp_path / "state"
    log = write_log(tmp_path, line(time.time(), "www.a.example"), name="2026-01-01/dns.00:00:00-01:00:00.log")
    with Store(state) as store, store.transaction():
        store.meta("following_since", "0")
    with collecting_here(config, state) as daemon:
        eventually(lambda: ingested(get(f"{daemon.server.url}/metrics")) == 1)
    long_ago = time.time() - 36 * 86400
    os.utime(log, (long_ago, long_ago))
    with Store(state) as store, store.transaction():
        store.rows("UPDATE cursors SET used_at = now()::TIMESTAMP - INTERVAL 36 DAY")
    write_log(tmp_path, line(time.time() + 3600, "www.b.example"))  # an hour later cursors are forgotten
    for _ in range(2):
        with collecting_here(config, state) as daemon:
            eventually(lambda daemon=daemon: ingested(get(f"{daemon.server.url}/metrics")) >= 2)
            time.sleep(1.5)
            assert ingested(get(f"{daemon.server.url}/metrics")) == 2
    with Store(state) as store:
        assert len(read_cursors(store)) == 1


def test_a_log_that_rests_for_long_is_not_read_again_when_it_grows(tmp_path: Path) -> None:
    """As those of the Zeek package do where nothing is wrong, and nobody rotates them."""
    config, state = write_config(tmp_path), tmp_path / "state"
    path = tmp_path / "zeek" / "current" / "dnsvigil_poisoning.log"
    path.write_bytes(package_header(path.stem) + package_line(path.stem))
    with collecting_here(config, state) as daemon:
        eventually(lambda: ingested(get(f"{daemon.server.url}/metrics"), "zeek_poisoning") == 1)
    with Store(state) as store, store.transaction():
        store.rows("UPDATE cursors SET used_at = now()::TIMESTAMP - INTERVAL 36 DAY")
    with collecting_here(config, state) as daemon:
        write_log(tmp_path, line(time.time(), "www.a.example"))  # of another hour, in which cursors are forgotten
        eventually(lambda: ingested(get(f"{daemon.server.url}/metrics")) == 1)
    with path.open("ab") as stream:
        stream.write(package_line(path.stem))
    with collecting_here(config, state) as daemon:
        url = f"{daemon.server.url}/metrics"
        eventually(lambda: ingested(get(url), "zeek_poisoning") >= 2)
        time.sleep(1.5)
        assert ingested(get(url), "zeek_poisoning") == 2


def test_lag_lasts_while_the_log_grows_faster_than_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BATCH_BYTES", 20_000)
    some = [line(time.time(), "www.a.example")] * 2_000
    write_log(tmp_path, *some)
    stop = threading.Event()

    def grow() -> None:
        while not stop.wait(0.2):
            write_log(tmp_path, *some)

    writer = threading.Thread(target=grow)
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        url = f"{daemon.server.url}/metrics"
        eventually(lambda: ingested(get(url)) > 0)
        writer.start()
        try:
            begun = time.monotonic()
            seen = []
            while time.monotonic() - begun < 6:
                seen.append(lag(get(url)))
                time.sleep(0.1)
        finally:
            stop.set()
            writer.join()
    assert seen == sorted(seen)
    assert seen[-1] > 5


def test_appending_a_little_to_a_long_log_is_a_little_lag(tmp_path: Path) -> None:
    lines = [line(time.time(), "www.a.example")] * 20_000
    log = write_log(tmp_path, *lines)
    with collecting_here(write_config(tmp_path), tmp_path / "state") as daemon:
        url = f"{daemon.server.url}/metrics"
        eventually(lambda: ingested(get(url)) == len(lines))
        seen = []
        for _ in range(100):
            write_log(tmp_path, lines[0])
            text = get(url)
            seen += [v for (name, _), v in samples(text).items() if name == "dnsvigil_source_lag_bytes"]
            time.sleep(0.02)
    assert any(seen)
    assert max(seen) < log.stat().st_size / 10


def test_web_configuration(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    authority.issue("server")
    users = {"basic_auth_users": {"prometheus": hashed("secret")}}
    tls = {"tls_server_config": {"cert_file": "server.pem", "key_file": "server.key"}}
    write(tmp_path / "web.yml", yaml.safe_dump(tls | users))
    config = write_config(tmp_path, web_config_file=str(tmp_path / "web.yml"))
    with collecting(config, tmp_path / "state") as collector:
        assert collector.url.startswith("https://")
        curl = ["curl", "--silent", "--cacert", authority.path, "--write-out", "%{http_code}", "--output", "/dev/null"]
        ready = ["--fail", "--retry", "20", "--user", "prometheus:secret", f"{collector.url}/-/ready"]
        subprocess.run([*curl, *ready], check=True)
        for user, expected in (("prometheus:secret", "200"), ("prometheus:wrong", "401"), ("", "401")):
            result = subprocess.run(
                [*curl, *(["--user", user] if user else []), f"{collector.url}/metrics"],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert result.stdout == expected
        assert collector.terminate() == 0
    write(tmp_path / "web.yml", "tls_server_config: 1\n")
    failed = CollectorProcess(config, tmp_path / "state")
    assert failed.process.wait(30) == 2
    assert "web.yml" in failed.stderr()


def test_skipped_records_are_logged_once_for_each_reason(tmp_path: Path) -> None:
    log = write_log(tmp_path, b"too\tfew\n", line(time.time(), "www.a.example"))
    with collecting(write_config(tmp_path), tmp_path / "state") as collector:
        eventually(lambda: ingested(collector.get("/metrics")) == 1)
        write_log(tmp_path, b"too\tfew\n", line(time.time(), "www.b.example"))
        eventually(lambda: ingested(collector.get("/metrics")) == 2)
        assert collector.stderr().count(f"{log}: 1 record skipped (1 columns)") == 1
