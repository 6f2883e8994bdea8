"""Log files under every compression: their content, where it breaks off, holes, and what a file is known by."""

import gzip
import lzma
import os
import random
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsvigil.sources.decompressed import BrokenFileError, DecompressedFile
from dnsvigil.sources.zeek.head import HEAD_SIZE, Head
from exporters.zeeklogs import COMPRESS, HEADER, as_json, log_lines

CONTENT = HEADER + b"".join(log_lines(3000))
PACKED = {form: compress(CONTENT) for form, compress in COMPRESS.items()}
COMPRESSED = [form for form in COMPRESS if form != "plain"]


def content(path: Path, size: int = 10_000) -> bytes:
    with DecompressedFile(path) as file:
        return all_of(file, size)


def all_of(file: DecompressedFile, size: int) -> bytes:
    parts = []
    while part := file.read(size):
        parts.append(part)
    assert sum(map(len, parts)) == file.offset
    return b"".join(parts)


def until_it_breaks(path: Path, size: int) -> tuple[bytes, bool]:
    """What can be read, and whether it broke off."""
    parts = []
    with DecompressedFile(path) as file:
        try:
            while part := file.read(size):
                parts.append(part)
        except BrokenFileError:
            return b"".join(parts), True
    return b"".join(parts), False


class TestContent:
    @pytest.mark.parametrize("size", [1000, 65_536, 10**7])
    @pytest.mark.parametrize("form", COMPRESS)
    def test_is_what_was_compressed(self, tmp_path: Path, form: str, size: int) -> None:
        path = tmp_path / "dns.log"  # the name does not matter
        path.write_bytes(PACKED[form])
        assert content(path, size) == CONTENT

    @pytest.mark.parametrize("form", COMPRESS)
    def test_of_several_put_together(self, tmp_path: Path, form: str) -> None:
        path = tmp_path / "dns.log"
        path.write_bytes(PACKED[form] + COMPRESS[form](b"") + PACKED[form])
        assert content(path) == CONTENT * 2

    @pytest.mark.parametrize("size", [1, 100, 1000, 65_536, 100_000, 10**7])
    @pytest.mark.parametrize("form", COMPRESS)
    def test_is_read_up_to_the_end_of_a_line(self, tmp_path: Path, form: str, size: int) -> None:
        text = CONTENT[: 400 * size] + b"\n" + b"x" * 150_000 + b"\n\nthe end"
        path = tmp_path / "dns.log"
        path.write_bytes(COMPRESS[form](text))
        found = b""
        with DecompressedFile(path) as file:
            while len(found) < len(text):
                lines, rest = file.read_lines(size)
                assert len(lines) + len(rest) == min(size, len(text) - len(found))
                assert lines.endswith(b"\n") or not lines
                assert b"\n" not in rest
                if lines:
                    file.unread(rest)
                found += lines or rest
            assert file.read_lines(size) == (b"", b"")
        assert found == text

    @pytest.mark.parametrize("before", [b"", b"a\n", b"a\n" * 5, b"one\nxxxxxx"])
    def test_is_cut_where_its_lines_end_now(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes
    ) -> None:
        """A file may be truncated and written anew while it is read."""
        path = tmp_path / "dns.log"
        path.write_bytes(b"one\ntwo\nthree")
        monkeypatch.setattr(os, "pread", lambda *_: before)
        with DecompressedFile(path) as file:
            assert file.read_lines(10) == (b"one\ntwo\n", b"th")

    @pytest.mark.parametrize("form", COMPRESS)
    def test_of_nothing(self, tmp_path: Path, form: str) -> None:
        path = tmp_path / "dns.log"
        path.write_bytes(COMPRESS[form](b""))
        assert content(path) == b""

    @pytest.mark.parametrize("write", [zstandard.ZstdCompressor(level=19, write_checksum=True).compress])
    def test_of_other_kinds_of_frame(self, tmp_path: Path, write: Callable[[bytes], bytes]) -> None:
        path = tmp_path / "dns.log"
        skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
        path.write_bytes(write(CONTENT) + skippable + write(CONTENT))
        assert content(path) == CONTENT * 2

    @pytest.mark.parametrize("offset", [0, 1, 5000, 99_999, len(CONTENT), len(CONTENT) + 5])
    @pytest.mark.parametrize("form", COMPRESS)
    def test_from_an_offset(self, tmp_path: Path, form: str, offset: int) -> None:
        path = tmp_path / "dns.log"
        path.write_bytes(PACKED[form])
        with DecompressedFile(path) as file:
            file.seek(offset)
            assert file.read(50) == CONTENT[offset : offset + 50]

    @pytest.mark.parametrize("form", COMPRESS)
    def test_says_how_much_of_the_disk_was_read(self, tmp_path: Path, form: str) -> None:
        path = tmp_path / "dns.log"
        path.write_bytes(PACKED[form])
        with DecompressedFile(path) as file:
            assert file.stored_offset < file.size
            all_of(file, 1000)
            assert file.stored_offset == file.size == path.stat().st_size

    def test_of_what_explodes_stays_small_in_memory(self, tmp_path: Path) -> None:
        path = tmp_path / "dns.log"
        for compress in (gzip.compress, partial(lzma.compress, preset=0), zstandard.ZstdCompressor().compress):
            path.write_bytes(compress(bytes(80_000_000)))
            with DecompressedFile(path) as file:
                tracemalloc.start()
                assert file.read(1000) == bytes(1000)
                _, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                assert peak < 40_000_000


class TestBroken:
    @pytest.mark.parametrize("form", COMPRESSED)
    def test_off_anywhere(self, tmp_path: Path, form: str) -> None:
        """All content before the break is given, none is made up, and the break is told."""
        path = tmp_path / "dns.log"
        packed = PACKED[form]
        dice = random.Random(3)
        whole = set()
        for length in (6, len(packed) - 1, len(packed) // 2, *(dice.randrange(10, len(packed)) for _ in range(15))):
            path.write_bytes(packed[:length])
            found, broken = until_it_breaks(path, 10_000)
            assert broken and CONTENT.startswith(found)
            if length > len(packed) // 2:
                assert len(found) > len(CONTENT) // 4 or form == "xz"
            whole.add(found)
        assert len(whole) > 1

    @pytest.mark.parametrize("form", COMPRESSED)
    def test_in_the_middle(self, tmp_path: Path, form: str) -> None:
        path = tmp_path / "dns.log"
        middle = len(PACKED[form]) // 2
        path.write_bytes(PACKED[form][:middle] + bytes(100) + PACKED[form][middle + 100 :])
        found, broken = until_it_breaks(path, 10_000)
        assert broken and len(found) <= len(CONTENT)

    @pytest.mark.parametrize("form", COMPRESSED)
    def test_by_what_stands_behind_it(self, tmp_path: Path, form: str) -> None:
        path = tmp_path / "dns.log"
        path.write_bytes(PACKED[form] + b"garbage that is no header")
        assert until_it_breaks(path, 10_000)[0] == CONTENT

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from([b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"]), st.binary(max_size=200))
    def test_from_the_beginning(self, tmp_path_factory: pytest.TempPathFactory, magic: bytes, rest: bytes) -> None:
        path = tmp_path_factory.getbasetemp() / "broken"
        path.write_bytes(magic + rest)
        until_it_breaks(path, 1000)
        Head.of(path)


class TestHole:
    @pytest.mark.parametrize("hole", [1, 5000, 65_536, 200_000])
    @pytest.mark.parametrize("form", [*COMPRESS, "sparse"])
    def test_is_passed_over(self, tmp_path: Path, form: str, hole: int) -> None:
        path = tmp_path / "dns.log"
        if form == "sparse":
            with path.open("wb") as stream:
                stream.seek(hole)
                stream.write(CONTENT)
        else:
            path.write_bytes(COMPRESS[form](bytes(hole) + CONTENT))
        with DecompressedFile(path) as file:
            file.skip_hole()
            assert file.offset == hole
            parts = [file.read(1000), file.read(100_000)]
            assert file.offset == hole + 101_000
            while part := file.read(100_000):
                parts.append(part)
            assert b"".join(parts) == CONTENT
        with DecompressedFile(path) as file:
            file.seek(hole + 77)
            assert file.read(10) == CONTENT[77:87]

    @pytest.mark.timeout(60)
    def test_is_not_read_where_it_takes_no_space(self, tmp_path: Path) -> None:
        path = tmp_path / "dns.log"
        with path.open("wb") as stream:
            stream.seek(10**12)
            stream.write(CONTENT)
        if path.stat().st_blocks * 512 > 10**7:
            pytest.skip("this file system has no sparse files")
        assert Head.of(path) == Head(10**12 + len(HEADER), HEADER, CONTENT[len(HEADER) :][:HEAD_SIZE])

    @pytest.mark.parametrize("form", COMPRESS)
    def test_and_nothing_else(self, tmp_path: Path, form: str) -> None:
        path = tmp_path / "dns.log"
        path.write_bytes(COMPRESS[form](bytes(100_000)))
        with DecompressedFile(path) as file:
            file.skip_hole()
            assert file.read(10) == b""
        assert Head.of(path).records == b""


class TestHead:
    @pytest.mark.parametrize("hole", [0, 70_000])
    def test_is_the_same_under_every_compression(self, tmp_path: Path, hole: int) -> None:
        heads = []
        for form, compress in COMPRESS.items():
            (tmp_path / form).write_bytes(compress(bytes(hole) + CONTENT))
            heads.append(Head.of(tmp_path / form))
        assert heads == [Head(hole + len(HEADER), HEADER, CONTENT[len(HEADER) :][:HEAD_SIZE])] * len(heads)

    def test_of_json_has_no_header(self, tmp_path: Path) -> None:
        lines = b"".join(map(as_json, log_lines(2)))
        (tmp_path / "dns.log").write_bytes(lines)
        assert Head.of(tmp_path / "dns.log") == Head(0, b"", lines)

    def test_has_records_once_there_is_a_whole_one(self, tmp_path: Path) -> None:
        path = tmp_path / "dns.log"
        (line,) = log_lines(1)
        for length in (0, 1, len(line) - 1):
            path.write_bytes(HEADER + line[:length])
            assert Head.of(path) == Head(len(HEADER), HEADER, b"")
        path.write_bytes(HEADER + line)
        assert Head.of(path).records == line
        path.write_bytes(HEADER + b"x" * 2 * HEAD_SIZE)  # as much of one line as matters
        assert Head.of(path).records == b"x" * HEAD_SIZE

    def test_of_broken_data_is_the_data(self, tmp_path: Path) -> None:
        path = tmp_path / "dns.log.gz"
        path.write_bytes(PACKED["gz"][:12])
        assert Head.of(path) == Head(0, b"", PACKED["gz"][:12])

    def test_of_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            Head.of(tmp_path / "dns.log")

    def test_leaves_no_file_open(self, tmp_path: Path) -> None:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for form in COMPRESS:
            (tmp_path / form).write_bytes(PACKED[form])
            Head.of(tmp_path / form)
        assert len(list(Path("/proc/self/fd").iterdir())) == before
