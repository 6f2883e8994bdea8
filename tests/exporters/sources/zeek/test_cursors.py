"""Which file a cursor belongs to."""

from dataclasses import replace
from pathlib import Path

from dnsvigil.records import Cursor
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.head import HEAD_SIZE, Head
from exporters.zeeklogs import HEADER, log_lines

LINES = b"".join(log_lines(100))
PATH = "/logs/current/dns.log"


def head(records: bytes, header: bytes = HEADER) -> Head:
    return Head(len(header), header, records[:HEAD_SIZE])


def read(cursors: Cursors, cursor: Cursor, offset: int, header: bytes = HEADER) -> Cursor:
    read_to = replace(cursor, offset=offset, header=header)
    cursors.put(read_to)
    return read_to


def test_is_kept_when_the_file_grows_moves_and_is_compressed() -> None:
    cursors = Cursors([])
    first = read(cursors, cursors.find("a", head(LINES[:400]), PATH), 500)
    grown = cursors.find("a", head(LINES[:900]), PATH)
    assert (grown.id, grown.offset, grown.head_size) == (first.id, 500, 900)
    read(cursors, grown, 1500)
    moved = cursors.find("a", head(LINES), "/logs/2023-11-14/dns.log.gz")
    assert (moved.id, moved.offset) == (first.id, 1500)


def test_of_one_that_is_not_read_yet_is_the_same_for_its_copy() -> None:
    cursors = Cursors([])
    assert cursors.find("a", head(LINES), PATH).id == cursors.find("a", head(LINES), PATH + ".gz").id


def test_is_new_for_new_content_and_another_sensor() -> None:
    cursors = Cursors([])
    first = read(cursors, cursors.find("a", head(LINES), PATH), 500)
    elsewhere = "/b/current/dns.log"
    for other in (cursors.find("a", head(LINES[1:]), PATH), cursors.find("b", head(LINES), elsewhere, apart={PATH})):
        assert other.id != first.id
        assert other.offset == 0


def test_survives_a_restart() -> None:
    cursors = Cursors([])
    first = read(cursors, cursors.find("a", head(LINES[:400]), PATH), 500)
    assert Cursors([first]).find("a", head(LINES), PATH).offset == 500


def test_longer_head_wins() -> None:
    short = Cursor("short", "a", 400, head(LINES).hash(400), 1, b"", PATH)
    long = Cursor("long", "a", 800, head(LINES).hash(800), 2, b"", PATH)
    assert Cursors([long, short]).find("a", head(LINES), PATH).id == "long"
    assert Cursors([long, short]).find("a", head(LINES[:500]), PATH).id == "short"


def test_short_head_is_no_other_files() -> None:
    """A file without a whole record, or with a few bytes of garbage, must not stand for all that begin so."""
    for content in (b"", b"\n", b"T\n", LINES[:20]):
        cursors = Cursors([])
        first = read(cursors, cursors.find("a", head(content), PATH), 7)
        assert cursors.find("a", head(content), PATH).offset == 7
        assert cursors.find("a", head(content), "/elsewhere/dns.log").offset == 0
        assert cursors.find("a", head(content + LINES), PATH).id != first.id


class TestHeaderAfterTruncation:
    def test_is_that_of_the_path(self) -> None:
        cursors = Cursors([])
        read(cursors, cursors.find("a", head(LINES), PATH), 500, b"#of the path")
        read(cursors, cursors.find("a", head(LINES[1:]), "/logs/other/dns.log"), 500, b"#of another")
        assert cursors.find("a", head(LINES[2:], header=b""), PATH).header == b"#of the path"

    def test_is_the_last_of_several(self) -> None:
        cursors = Cursors([])
        first = read(cursors, cursors.find("a", head(LINES), PATH), 500, b"#first")
        read(cursors, cursors.find("a", head(LINES[1:]), PATH), 500, b"#second")
        assert cursors.find("a", head(LINES[2:], header=b""), PATH).header == b"#second"
        read(cursors, first, 600, b"#third")
        assert cursors.find("a", head(LINES[3:], header=b""), PATH).header == b"#third"

    def test_stays_there_when_the_copy_is_read_on(self) -> None:
        cursors = Cursors([])
        read(cursors, cursors.find("a", head(LINES), PATH), 500)
        read(cursors, cursors.find("a", head(LINES), PATH + ".1"), 600)
        assert cursors.find("a", head(LINES[1:], header=b""), PATH).header == HEADER

    def test_is_no_other_paths(self) -> None:
        cursors = Cursors([])
        read(cursors, cursors.find("a", head(LINES), PATH), 500)
        assert cursors.find("a", head(LINES[1:], header=b""), "/logs/current/dns.json").header == b""

    def test_is_no_other_sensors(self) -> None:
        cursors = Cursors([])
        read(cursors, cursors.find("a", head(LINES), PATH), 500)
        assert cursors.find("b", head(LINES[1:], header=b""), PATH).header == b""

    def test_is_not_needed_by_a_file_that_has_one(self) -> None:
        cursors = Cursors([])
        read(cursors, cursors.find("a", head(LINES), PATH), 500)
        assert cursors.find("a", head(LINES[1:]), PATH).header == b""


def test_head_reads_what_the_cursor_keeps(tmp_path: Path) -> None:
    (tmp_path / "dns.log").write_bytes(HEADER + LINES)
    assert Head.of(tmp_path / "dns.log").hash(400) == head(LINES).hash(400)
