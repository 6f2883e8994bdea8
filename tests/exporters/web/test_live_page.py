"""The page of the newest records: the static page, the stream of a collector that runs, and their bounds."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from dnsvigil.ingest.live import Tail
from dnsvigil.records import UNKNOWN_RCODE
from dnsvigil.web import live
from exporters.running import collecting_here, eventually, line, write_config
from exporters.web.looking import started
from exporters.web.sites import SCRIPT, Pages, fill, in_order, serving
from exporters.zeeklogs import HEADER

NOON = datetime(2026, 3, 1, 12)


def put(pages: Pages, *rows: tuple[str, str, int, int | None]) -> None:
    """Have records come, the last the newest: client, name, type and response code."""
    tail = pages.behind.snapshot.of(Tail)
    found = [
        {
            "ts": NOON + timedelta(seconds=number),
            "sensor": "s",
            "client": client,
            "server": "192.0.2.53",
            "qname": name,
            "qtype": qtype,
            "rcode": rcode,
            "rtt_seconds": 0.0125,
            "answers": ["192.0.2.80", "TXT 3 a b", SCRIPT],
        }
        for number, (client, name, qtype, rcode) in enumerate(rows)
    ]
    tail.put(pa.Table.from_pylist(found[::-1]))


@pytest.fixture
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    folder = tmp_path_factory.mktemp("live")
    with serving(fill(folder, {}), folder / "state") as pages:
        yield pages


def test_the_page_has_the_newest_records_that_match(pages):
    assert "No record has come yet" in pages.text("/live")
    put(
        pages,
        ("198.51.100.1", "www.example.com", 1, 0),
        ("198.51.100.2", "example.com", 28, None),
        ("2001:db8::9", f"{SCRIPT}.notexample.com", 16, UNKNOWN_RCODE),
        ("198.51.100.1", "other.example", 1, 3),
    )
    text = pages.text("/live")
    assert in_order(text, ["other.example", "&lt;script&gt;", ">example.com<", "unanswered", "www.example.com", "12.5"])
    assert 'href="address?q=192.0.2.80"' in text
    found = {
        "example.com": {"name": "Example.com."},
        "www.example.com": {"client": "198.51.100.1", "qtype": "A", "rcode": "NOERROR"},
        "other.example": {"rcode": "NXDOMAIN"},
        "notexample.com": {"client": "2001:db8::/32", "rcode": "unknown"},
    }
    counts = {"example.com": 2, "www.example.com": 1, "other.example": 1, "notexample.com": 1}
    for name, query in found.items():
        text = pages.text("/live", **query)
        assert text.count("<time ") == counts[name], query
        assert name in text
    assert "None of the 4 newest records matches." in pages.text("/live", server="203.0.113.0/24")


def test_clients_are_masked_and_cannot_be_told_apart_by_a_filter(pages):
    put(
        pages, *((f"198.51.100.{number}", "example.com", 1, 0) for number in (1, 2)), ("203.0.113.7", "a.example", 1, 0)
    )
    text = pages.text("/live", proved=False, client="198.51.100.1")
    assert text.count("<time ") == 2
    assert "198.51.100.2" not in text
    assert text.count("198.51.100.0/24") == 2


@pytest.mark.parametrize("query", [{"client": "x"}, {"qtype": "0"}, {"rcode": "OK"}, {"name": "a..b"}, {"q": "x"}])
def test_a_filter_made_by_hand_is_refused(pages, query):
    pages.text("/live", 400, **query)
    pages.text("/live.events", 400, **query)


def test_a_stream_has_rows_of_what_is_new_and_says_what_is_left_out(pages):
    put(pages, ("198.51.100.1", "old.example", 1, 0))
    response = pages.ask("/live.events", name="example")
    events = response.iter_encoded()
    assert next(events) == b"retry: 2000\n\n"
    put(pages, *[("198.51.100.1", f"{SCRIPT}.example", 1, 0)] * (live.SHOWN + 5))
    rows = next(events).decode()
    assert rows.startswith("event: rows\ndata: <tr>\n")
    assert rows.count("data: <tr>") == live.SHOWN
    assert rows.endswith("\n\n")
    assert "old.example" not in rows
    assert SCRIPT not in rows
    assert 'href="name?q=%3Cscript' in rows  # as on the page that shows them
    assert next(events) == b"event: more\ndata: 5\n\n"
    pages.behind.snapshot.of(Tail).close()
    assert [*events] == []
    response.close()


def test_only_so_many_follow_at_once_and_who_leaves_makes_room(pages):
    streams = [pages.ask("/live.events") for _ in range(live.MAX_VIEWERS)]
    assert "others follow the records" in pages.text("/live.events", 503)
    streams.pop().close()
    streams.append(pages.ask("/live.events"))
    assert streams[-1].status_code == 200
    for stream in streams:
        stream.close()


def test_a_collector_streams_what_its_logs_get_and_forgets_browsers_that_are_gone(tmp_path):
    config = write_config(tmp_path)
    log: Path = tmp_path / "zeek" / "current" / "dns.log"
    log.write_bytes(HEADER + line(time.time(), "old.example"))
    with collecting_here(config, tmp_path / "state") as daemon:
        looker = started(daemon)
        assert looker.get("/live").status == 200
        threads = threading.active_count()
        for _ in range(live.MAX_VIEWERS + 2):  # each goes away without a word
            with closing(http.client.HTTPConnection(*daemon.server.address, timeout=20)) as gone:
                gone.request("GET", "/live.events")
                with suppress(TimeoutError):
                    gone.sock.settimeout(0.1)
                    gone.sock.recv(10)
            with log.open("ab") as file:
                file.write(line(time.time(), "new.example"))
        eventually(lambda: "new.example" in looker.get("/live").body)
        eventually(lambda: live._free._value == live.MAX_VIEWERS)
        eventually(lambda: threading.active_count() <= threads)
        with closing(http.client.HTTPConnection(*daemon.server.address, timeout=20)) as follower:
            follower.request("GET", "/live.events")
            answer = follower.getresponse()
            assert answer.getheader("Content-Type") == "text/event-stream; charset=utf-8"
            with log.open("ab") as file:
                file.write(line(time.time(), "newest.example"))
            found = b""
            while b"newest.example" not in found:
                found += answer.read1(65536)
    assert live._free._value == live.MAX_VIEWERS  # and no stream holds the collector up when it ends
