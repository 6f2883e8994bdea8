"""``dnsvigil zones`` and ``/api/zones``: what happens now, and never an all-clear where nothing was seen."""

import json
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.cli.main import main
from dnsvigil.config.collector import load_config
from dnsvigil.ingest.intake import Intake
from dnsvigil.records import Cursor
from dnsvigil.sources.zeek.lines import count_lines, split
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.store.store import Store
from dnsvigil.store.zones import zone_state
from exporters.cli.test_findings_command import on_terminal
from exporters.running import collecting, eventually, ingested, write_config
from exporters.zeeklogs import HEADER, tsv

V4, V6 = "192.0.2.53", "2001:db8::53"
KEYS: dict[str, Any] = {
    "servers": {"configured": [{"name": "cache1", "addresses": [V4, V6]}, "192.0.2.54"]},
    "zones": {"configured": [{"name": "lax.com", "failure_ratio_threshold": 0.9}]},
}


def records(counts: dict[tuple[str, str, str], int], when: float) -> list[bytes]:
    """So many records of each server, name and response code."""
    return [
        tsv(ts=f"{when:.6f}", id_resp_h=server, query=name, rcode=rcode, rtt="0.01")
        for (server, name, rcode), count in counts.items()
        for _ in range(count)
    ]


BUSY = {
    (V4, "www.bad.com", "0"): 50,
    (V4, "www.bad.com", "2"): 20,
    (V6, "www.bad.com", "-"): 30,
    (V6, "www.bad.com", "5"): 100,
    ("192.0.2.54", "www.bad.com", "0"): 95,
    ("192.0.2.54", "www.bad.com", "2"): 5,
    (V4, "lax.com", "2"): 80,
    (V4, "lax.com", "0"): 20,
    (V4, "few.com", "2"): 99,
}


def fill(config: Path, state: Path, *lines: bytes) -> None:
    body = b"".join(lines)
    chunks, _, skipped = split(HEADER + body, None, DNS)
    with Store(state) as store, closing(Intake(store, load_config(config))) as intake:
        intake.ingest([Batch(chunks, count_lines(body), skipped, Cursor("1", "zeek", 0, "", 0, b"", ""), 0)])


def zones(config: Path, state: Path, *options: str) -> int:
    return main(["-c", str(config), "--state", str(state), "--log-level", "error", "zones", *options])


EXPECTED = [
    ("cache1", "bad.com", 200, 150, 0.1, "failing", {"refused": 100, "timeout": 30, "servfail": 20}),
    ("cache1", "lax.com", 100, 80, 0.9, "ok", {"servfail": 80}),
    ("192.0.2.54", "bad.com", 100, 5, 0.1, "ok", {"servfail": 5}),
    ("cache1", "few.com", 99, 99, 0.1, "few_queries", {"servfail": 99}),
]


def brief(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    names = ("server", "dns_zone", "queries", "failures", "failure_ratio_threshold", "state", "reasons")
    return [tuple(row[name] for name in names) for row in found["zones"]]


def test_the_worst_come_first_with_their_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, **KEYS)
    fill(config, tmp_path / "state", *records(BUSY, time.time() - 60))
    assert zones(config, tmp_path / "state", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["current"] is True
    assert brief(found) == EXPECTED
    assert list(found["zones"][0]["reasons"]) == ["refused", "timeout", "servfail"]
    assert zones(config, tmp_path / "state", "--limit", "3") == 0
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head.endswith("UTC: of 4 pairs of server and zone, 1 failing, 2 ok, 1 with too few queries to tell.")
    first = "cache1 bad.com 200 75.0% 10.0% FAILING refused 100, timeout 30, servfail 20"
    assert " ".join(lines[0].split()) == first
    assert lines[3].startswith("1 more")


def test_on_a_terminal_zones_are_whole(tmp_path: Path) -> None:
    """Names and states are there at 80 characters, also beside IPv6 addresses; reasons are below."""
    zone = "a-long-name.com"
    config = write_config(tmp_path)
    pairs = {("2001:db8::53", f"www.{zone}", "5"): 2000, ("2001:db8::53", "few.com", "0"): 9}
    fill(config, tmp_path / "state", *records(pairs, time.time() - 60))
    sentence, more, _, *lines = on_terminal(80, "-c", config, "--state", tmp_path / "state", "zones")
    assert f"{sentence} {more}".endswith("with too few queries to tell.")
    assert [" ".join(line.split()) for line in lines] == [
        f"2001:db8::53 {zone} 2,000 100.0% 10.0% FAILING",
        "refused 2,000",
        "2001:db8::53 few.com 9 0.0% 10.0% too few (min 100)",
    ]
    assert max(map(len, lines)) <= 80


def test_old_data_is_called_old(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And minutes that are further back than five from it are no part of it."""
    config = write_config(tmp_path, **KEYS)
    old = time.time() - 3 * 3600
    fill(config, tmp_path / "state", *records({(V4, "older.com", "2"): 500}, old - 400), *records(BUSY, old))
    assert zones(config, tmp_path / "state") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("No data in the last five minutes: the newest is 2 hours old.") or "3 hours old" in shown
    assert "older.com" not in shown
    assert zones(config, tmp_path / "state", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["current"] is False
    assert brief(found) == EXPECTED


def test_no_data_is_no_all_clear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path)
    fill(config, tmp_path / "state", *records({("224.0.0.251", "a.com", "-"): 9}, time.time()))
    assert zones(config, tmp_path / "state") == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert "there are no DNS queries in the store" in output.err
    assert zones(config, tmp_path / "state", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"from": None, "to": None, "current": False, "zones": []}


@pytest.mark.parametrize(
    ("newest", "begin", "end", "current"),
    [
        (0, -5, 1, True),  # in minutes from now
        (-4, -5, -3, True),
        (-5, -5, -4, True),
        (-6, -10, -5, False),
        (3, -5, 4, True),
        (9, -5, 6, True),  # a clock that is far ahead hides nothing
    ],
)
def test_the_span_is_the_last_five_minutes(tmp_path: Path, newest: int, begin: int, end: int, current: bool) -> None:
    now = datetime.now(UTC).replace(tzinfo=None, second=0, microsecond=0)
    with Store(tmp_path) as store:
        for minute in range(newest - 20, newest + 1):
            store.rows(
                "INSERT INTO minute_zones VALUES (?, '192.0.2.1', 'a.com', 1, 0)", now + timedelta(minutes=minute)
            )
        found = zone_state(store.read, {}, now + timedelta(seconds=30))
    assert (found.begin, found.end) == (now + timedelta(minutes=begin), now + timedelta(minutes=end))
    assert found.current is current
    assert sum(counts.queries for counts in found.counts.values()) == end - begin


def test_addresses_and_the_name_that_they_have_now_are_one(tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(tzinfo=None, second=0, microsecond=0)
    with Store(tmp_path) as store:
        for server in (V4, V6, "cache1"):
            store.rows("INSERT INTO minute_zones VALUES (?, ?, 'a.com', 2, 0)", now, server)
            store.rows("INSERT INTO minute_failures VALUES (?, ?, 'a.com', 'servfail', 1)", now, server)
        found = zone_state(store.read, {V4: "cache1", V6: "cache1"}, now)
    ((key, counts),) = found.counts.items()
    assert (key, counts.queries, counts.reasons) == (("cache1", "a.com"), 6, {"servfail": 3})


def test_the_running_collector_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, **KEYS)
    (tmp_path / "zeek" / "current" / "dns.log").write_bytes(HEADER + b"".join(records(BUSY, time.time())))
    with collecting(config, tmp_path / "state") as collector:
        eventually(lambda: ingested(collector.get("/metrics")) == sum(BUSY.values()))
        assert brief(json.loads(collector.get("/api/zones"))) == EXPECTED
        listen = collector.url.removeprefix("http://")
        config.write_text(config.read_text().replace("127.0.0.1:0", listen))
        assert zones(config, tmp_path / "state", "--json") == 0
        assert brief(json.loads(capsys.readouterr().out)) == EXPECTED
        assert collector.terminate() == 0
