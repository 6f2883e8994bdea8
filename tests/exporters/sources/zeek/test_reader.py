"""A file in batches: any cut, any growth and any compression give the same records."""

import os
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsvigil.records import Cursor
from dnsvigil.sources.zeek import reader
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.pending import pending_log
from dnsvigil.sources.zeek.reader import read_batches
from exporters.zeeklogs import COMPRESS, HEADER, NEWLINE, START, Taken, Taker, as_json, header_of, kept, log_lines, tsv
from lab import zeeklog

LINES = log_lines(60)
FOOTER = zeeklog.footer(START)
SHORT = ["ts", "query", "id.resp_h", "id.orig_h"]
MIXED = b"".join(
    [
        HEADER,
        *LINES[:20],
        b"\xff broken\n\n",
        FOOTER,
        header_of(*SHORT),
        *(tsv(SHORT, query=f"short{i}.example.net") for i in range(10)),
        header_of("ts", "uid", path="conn"),
        b"1\tC\n" * 5,
        HEADER,
        *LINES[20:40],
        *map(as_json, LINES[40:]),
        b'{"ts": 1}\n',
        FOOTER,
    ]
)
"""Records, other lines and headers of many kinds: 70 good ones, 8 others."""


def new(path: Path) -> Cursor:
    return pending_log(path, Cursors([])).cursor


@pytest.fixture(scope="module")
def whole(taker: Taker) -> Taken:
    return taker.take(MIXED)


def same(taken: Taken, whole: Taken) -> bool:
    return (sorted(taken.rows, key=repr), taken.read, taken.skipped) == (
        sorted(whole.rows, key=repr),
        whole.read,
        whole.skipped,
    )


class TestCuts:
    def test_whole_is_as_it_should_be(self, whole: Taken) -> None:
        assert (len(whole.rows), whole.read) == (70, 78)
        assert whole.skipped == {"encoding": 1, "columns": 1, "other_log": 6}

    @pytest.mark.parametrize("form", COMPRESS)
    def test_anywhere(
        self, taker: Taker, whole: Taken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
    ) -> None:
        path = tmp_path / "dns.log"
        path.write_bytes(COMPRESS[form](MIXED))
        for size in (1024, 1500, 3333, len(MIXED) - 1, len(MIXED), len(MIXED) + 1):
            monkeypatch.setattr(reader, "BATCH_BYTES", size)
            assert same(taker.batches(read_batches(path, new(path), True)), whole), size

    def test_through_a_header(self, taker: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What it says besides the fields is in its other lines."""
        fields = ["ts", "id.orig_h", "id.resp_h", "query", "rcode"]
        header = header_of(*fields, unset_field="NONE")
        log = HEADER + b"".join(LINES[:10]) + header + f"{START}.0\t192.0.2.1\t192.0.2.2\tNONE\tNONE\n".encode()
        path = tmp_path / "dns.log"
        path.write_bytes(log)
        for line in range(10):
            monkeypatch.setattr(reader, "BATCH_BYTES", log.index(header) + header.find(b"\n#") + 1 + 12 * line)
            taken = taker.batches(read_batches(path, new(path), True))
            assert (len(taken.rows), taken.skipped, taken.column("qname")[-1]) == (11, {}, None), line

    @settings(max_examples=10, deadline=None)
    @given(size=st.integers(1000, len(MIXED)), stops=st.lists(st.integers(0, 5), max_size=3))
    def test_with_a_restart_behind_any_batch(
        self, tmp_path_factory: pytest.TempPathFactory, size: int, stops: list[int]
    ) -> None:
        """Stopped between two batches and begun again from the cursor."""
        path = tmp_path_factory.getbasetemp() / "restarted.log"
        path.write_bytes(MIXED)
        cursor = new(path)
        taken = Taken()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reader, "BATCH_BYTES", size)
            for stop in (*stops, None):
                batches = list(read_batches(path, cursor, True))[:stop]
                part = self.taker.batches(batches)
                taken = Taken(taken.rows + part.rows, taken.read + part.read, taken.skipped + part.skipped)
                cursor = batches[-1].cursor if batches else cursor
        assert same(taken, self.whole)

    @pytest.fixture(autouse=True)
    def _share(self, taker: Taker, whole: Taken) -> None:
        self.taker, self.whole = taker, whole


class TestGrowth:
    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.integers(0, len(MIXED)), max_size=4), st.sampled_from(["plain", "gz"]))
    def test_read_in_pieces_equals_the_whole(
        self, tmp_path_factory: pytest.TempPathFactory, cuts: list[int], last_form: str
    ) -> None:
        """Whatever is there at each look, and compressed at the end, which is when it is finished."""
        path = tmp_path_factory.getbasetemp() / "growing" / "dns.log"
        path.parent.mkdir(exist_ok=True)
        cursors = Cursors([])
        taken = Taken()
        for cut, form in [*((cut, "plain") for cut in sorted(cuts)), (len(MIXED), last_form)]:
            path.write_bytes(COMPRESS[form](MIXED[:cut]))
            batches = read_batches(path, pending_log(path, cursors).cursor, cut == len(MIXED))
            part = self.taker.batches(kept(batches, cursors))
            taken = Taken(taken.rows + part.rows, taken.read + part.read, taken.skipped + part.skipped)
        assert same(taken, self.whole)

    @pytest.fixture(autouse=True)
    def _share(self, taker: Taker, whole: Taken) -> None:
        self.taker, self.whole = taker, whole

    @pytest.mark.parametrize("form", COMPRESS)
    def test_again_gives_nothing(self, taker: Taker, tmp_path: Path, form: str) -> None:
        path = tmp_path / "dns.log"
        cursors = Cursors([])
        path.write_bytes(MIXED)
        assert taker.file(path, cursors).read == 78
        path.write_bytes(COMPRESS[form](MIXED))
        assert taker.file(path, cursors).read == 0


class TestLastLine:
    @pytest.mark.parametrize(
        ("log", "cut"), [(HEADER + LINES[0] + LINES[1], 1), (as_json(LINES[0]) + as_json(LINES[1]), 2)]
    )
    def test_without_an_end_waits_for_it(self, taker: Taker, tmp_path: Path, log: bytes, cut: int) -> None:
        path = tmp_path / "dns.log"
        cursors = Cursors([])
        path.write_bytes(log[:-cut])
        assert taker.file(path, cursors, finished=False).names == ["h0.example.com"]
        assert taker.file(path, cursors, finished=False).read == 0
        path.write_bytes(log)
        assert taker.file(path, cursors, finished=False).names == ["h1.example.com"]

    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    @pytest.mark.parametrize("number", [1, 2])
    def test_of_json_is_read_once_it_is_whole(self, taker: Taker, tmp_path: Path, number: int, end: bytes) -> None:
        """What comes behind it belongs to the next, and its end, which comes later, is no line."""
        path = tmp_path / "dns.log"
        cursors = Cursors([])
        lines = [as_json(line).rstrip() for line in LINES[:3]]
        path.write_bytes(end.join(lines[:number]))
        assert len(taker.file(path, cursors, finished=False).rows) == number
        assert taker.file(path, cursors, finished=False).read == 0
        for content, records in ((end.join(lines[:number]) + end, 0), (end.join(lines) + end, 3 - number)):
            path.write_bytes(content)
            taken = taker.file(path, cursors, finished=False)
            assert (len(taken.rows), taken.skipped) == (records, {})

    @pytest.mark.parametrize("log", [HEADER + LINES[0] + LINES[1], as_json(LINES[0]) + as_json(LINES[1])])
    def test_without_an_end_is_read_in_a_finished_file(self, taker: Taker, tmp_path: Path, log: bytes) -> None:
        path = tmp_path / "dns.log"
        cursors = Cursors([])
        path.write_bytes(log[:-1])
        assert taker.file(path, cursors).names == ["h0.example.com", "h1.example.com"]
        assert taker.file(path, cursors).read == 0

    @pytest.mark.parametrize("form", COMPRESS)
    @pytest.mark.parametrize("log", [HEADER + LINES[0] + LINES[1], as_json(LINES[0]) + as_json(LINES[1])])
    def test_cut_off_is_counted_once(self, taker: Taker, tmp_path: Path, log: bytes, form: str) -> None:
        path = tmp_path / "dns.log"
        cursors = Cursors([])
        path.write_bytes(COMPRESS[form](log[:-80]))
        taken = taker.file(path, cursors)
        assert (taken.names, taken.skipped) == (["h0.example.com"], {"truncated": 1})
        assert taker.file(path, cursors).read == 0

    def test_cut_off_is_counted_though_all_before_it_was_read(self, taker: Taker, tmp_path: Path) -> None:
        path = tmp_path / "dns.log"
        cursors = Cursors([])
        path.write_bytes((HEADER + LINES[0] + LINES[1])[:-80])
        assert taker.file(path, cursors, finished=False).read == 1
        assert taker.file(path, cursors).skipped == {"truncated": 1}
        assert taker.file(path, cursors).read == 0

    def test_alone_and_cut_off_is_counted_once(self, taker: Taker, tmp_path: Path) -> None:
        path = tmp_path / "dns.log"
        cursors = Cursors([])
        path.write_bytes(as_json(LINES[0])[:50])
        assert taker.file(path, cursors).skipped == {"truncated": 1}
        assert taker.file(path, cursors).read == 0

    def test_of_another_log_is_of_another_log(self, taker: Taker, tmp_path: Path) -> None:
        path = tmp_path / "conn.log"
        fields = ["ts", "id.orig_h", "id.resp_h"]
        path.write_bytes((header_of(*fields, path="conn") + tsv(fields) * 2).removesuffix(NEWLINE))
        assert taker.file(path).skipped == {"other_log": 2}

    def test_that_is_a_comment_is_no_record(self, taker: Taker, tmp_path: Path) -> None:
        path = tmp_path / "dns.log"
        path.write_bytes(HEADER + LINES[0] + FOOTER.removesuffix(NEWLINE))
        assert taker.file(path).read == 1

    def test_below_no_header(self, taker: Taker, tmp_path: Path) -> None:
        path = tmp_path / "dns.log"
        path.write_bytes(LINES[0] + LINES[1][:-1])
        assert taker.file(path).skipped == {"no_header": 1, "truncated": 1}


class TestBrokenFile:
    @pytest.mark.parametrize("form", ["gz", "xz", "zst"])
    def test_is_read_up_to_the_break(
        self, taker: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
    ) -> None:
        lines = log_lines(6000)
        path = tmp_path / "dns.log"
        packed = COMPRESS[form](HEADER + b"".join(lines))
        path.write_bytes(packed[: len(packed) * 3 // 4])
        wholes = set()
        for size in (50_000, 2**25):
            monkeypatch.setattr(reader, "BATCH_BYTES", size)
            cursors = Cursors([])
            taken = taker.file(path, cursors)
            assert taken.skipped == {"truncated": 1}
            assert Counter(taken.names) <= Counter(f"h{i}.example.com" for i in range(6000))
            assert 2000 < len(taken.rows) < 6000
            wholes.add(len(taken.rows))
            assert taker.file(path, cursors).read == 0
        assert len(wholes) == 1

    def test_ends_in_no_whole_line(self, taker: Taker, tmp_path: Path) -> None:
        """Behind the break there may be more of it, even if it looks whole."""
        path = tmp_path / "dns.log"
        path.write_bytes(COMPRESS["gz"](HEADER + LINES[0] + LINES[1][:-1])[:-4])
        taken = taker.file(path)
        assert (taken.names, taken.skipped) == (["h0.example.com"], {"truncated": 1})

    @pytest.mark.parametrize("finished", [False, True])
    def test_with_less_than_was_read_already(self, taker: Taker, tmp_path: Path, finished: bool) -> None:
        """A copy that breaks off before the place that the file was read to takes nothing back."""
        path = tmp_path / "dns.log"
        cursors = Cursors([])
        lines = log_lines(3000)
        path.write_bytes(HEADER + b"".join(lines[:2500]))
        assert taker.file(path, cursors).read == 2500
        packed = COMPRESS["gz"](HEADER + b"".join(lines))
        path.write_bytes(packed[: len(packed) // 2])
        assert taker.file(path, cursors, finished=finished).read == 0
        path.write_bytes(packed)
        assert taker.file(path, cursors).read == 500

    @pytest.mark.parametrize("form", ["gz", "xz", "zst"])
    def test_waits_while_it_is_written(self, taker: Taker, tmp_path: Path, form: str) -> None:
        path = tmp_path / "dns.log"
        packed = COMPRESS[form](MIXED)
        cursors = Cursors([])
        taken = Taken()
        for length in (5, 20, len(packed) // 2, len(packed) - 1, len(packed)):
            path.write_bytes(packed[:length])
            part = taker.file(path, cursors, finished=False)
            taken = Taken(taken.rows + part.rows, taken.read + part.read, taken.skipped + part.skipped)
        assert same(taken, taker.take(MIXED))

    @pytest.mark.parametrize("damage", [b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"])
    def test_of_which_nothing_can_be_read_is_counted_once(self, taker: Taker, tmp_path: Path, damage: bytes) -> None:
        cursors = Cursors([])
        for name in ("a.gz", "b.gz"):
            (tmp_path / name).write_bytes(damage + name.encode() * 20)
            assert taker.file(tmp_path / name, cursors).skipped == {"truncated": 1}
        (tmp_path / "dns.log").write_bytes(HEADER + LINES[0])
        assert taker.file(tmp_path / "dns.log", cursors).names == ["h0.example.com"]
        assert [taker.file(tmp_path / name, cursors).read for name in ("a.gz", "b.gz", "dns.log")] == [0, 0, 0]

    def test_in_the_middle_gives_the_same_each_time(self, taker: Taker, tmp_path: Path) -> None:
        path = tmp_path / "dns.log"
        for packed in (compress(HEADER + b"".join(log_lines(20_000))) for compress in list(COMPRESS.values())[1:]):
            middle = len(packed) // 2
            path.write_bytes(packed[:middle] + bytes(50) + packed[middle + 50 :])
            cursors = Cursors([])
            assert taker.file(path, cursors).skipped["truncated"] == 1
            assert taker.file(path, cursors).read == 0


class TestOddFile:
    @pytest.mark.parametrize("content", [b"", HEADER, FOOTER, HEADER + FOOTER, bytes(100)])
    def test_without_records(self, taker: Taker, tmp_path: Path, content: bytes) -> None:
        """It gives nothing, and hides no other file."""
        cursors = Cursors([])
        (tmp_path / "a.log").write_bytes(content)
        assert taker.file(tmp_path / "a.log", cursors).read == 0
        (tmp_path / "b.log").write_bytes(header_of(*SHORT) + tsv(SHORT))
        assert taker.file(tmp_path / "b.log", cursors).names == ["www.example.com"]
        (tmp_path / "a.log").write_bytes(content + HEADER + LINES[0])
        assert taker.file(tmp_path / "a.log", cursors).names == ["h0.example.com"]

    def test_with_a_line_longer_than_a_batch(
        self, taker: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reader, "BATCH_BYTES", 10_000)
        path = tmp_path / "dns.log"
        path.write_bytes(HEADER + LINES[0] + b"x" * 25_000 + NEWLINE + LINES[1])
        taken = taker.file(path)
        assert taken.names == ["h0.example.com", "h1.example.com"]
        assert taken.skipped["too_long"] >= 1

    def test_of_header_lines_only(self, taker: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reader, "BATCH_BYTES", 10_000)
        path = tmp_path / "dns.log"
        path.write_bytes(HEADER + b"#\n" * 30_000 + LINES[1])
        assert "h1.example.com" in taker.file(path).names

    @pytest.mark.parametrize("form", COMPRESS)
    def test_behind_a_hole(self, taker: Taker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
        monkeypatch.setattr(reader, "BATCH_BYTES", 10_000)
        path = tmp_path / "dns.log"
        cursors = Cursors([])
        for number, hole in enumerate((70_000, 100_000)):  # two such files must not be taken for one
            path.write_bytes(COMPRESS[form](bytes(hole) + HEADER + LINES[number]))
            assert taker.file(path, cursors).names == [f"h{number}.example.com"]
            assert taker.file(path, cursors).read == 0

    def test_gone(self, tmp_path: Path) -> None:
        path = tmp_path / "dns.log"
        path.write_bytes(HEADER + LINES[0])
        cursor = new(path)
        path.unlink()
        with pytest.raises(FileNotFoundError):
            list(read_batches(path, cursor, True))

    def test_shorter_than_its_cursor(self, taker: Taker, tmp_path: Path) -> None:
        path = tmp_path / "dns.log"
        path.write_bytes(MIXED)
        (batch,) = read_batches(path, new(path), True)
        os.truncate(path, len(MIXED) - 1)
        assert taker.batches(read_batches(path, batch.cursor, True)).read == 0
        os.truncate(path, 100)
        with pytest.raises(FileNotFoundError):
            next(read_batches(path, batch.cursor, True))

    def test_is_settled_after_a_minute(self, tmp_path: Path) -> None:
        path = tmp_path / "dns.log"
        path.write_bytes(MIXED)
        assert not pending_log(path, Cursors([])).finished
        os.utime(path, (time.time() - 61,) * 2)
        assert pending_log(path, Cursors([])).finished
