"""The uncompressed content of a file, plain or under gzip, xz or zstd."""

import gzip
import lzma
import os
import zlib
from pathlib import Path
from typing import BinaryIO, Final, Self, cast

import zstandard

from dnsvigil.system.files import open_file

MAX_HOLE: Final = 2**30
"""NUL bytes that a compressed file may begin with: a few seconds to read."""


_TAIL: Final = 65_536  # bytes in which a line ends, but for a few


class BrokenFileError(Exception):
    """The compressed data ends too early or is damaged; what came before it has been read."""


class _ZstdStream:
    """The content of zstd frames; the library's own stream reader does not report a last frame that breaks off."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._left = b""

    def read1(self, count: int) -> bytes:
        """Return up to ``count`` bytes, none at the end. Raises ``EOFError`` and ``zstandard.ZstdError``."""
        while not self._left:
            # So little at once that even a decompression bomb gives no more than some megabytes.
            stored = self._raw.read(512)
            if not stored:
                if self._frame:
                    raise EOFError("a frame breaks off")
                return b""
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._left = self._frame.decompress(stored)
            if self._frame.eof:
                self._raw.seek(-len(self._frame.unused_data), os.SEEK_CUR)
                self._frame = None
        part, self._left = self._left[:count], self._left[count:]
        return part


class DecompressedFile:
    """The uncompressed content of a file, read forward from an offset."""

    def __init__(self, path: Path) -> None:
        """Open ``path``; raises ``OSError`` as :func:`dnsvigil.system.files.open_file` does."""
        self.path = path
        self._raw = open_file(path)
        self.rewind()

    def rewind(self) -> None:
        """Go back to the beginning."""
        self._raw.seek(0)
        magic = self._raw.read(6)
        self._raw.seek(0)
        self.compressed = True
        if magic.startswith(b"\x1f\x8b"):
            self._stream: BinaryIO = cast(BinaryIO, gzip.GzipFile(fileobj=self._raw))
        elif magic.startswith(b"\xfd7zXZ\0"):
            self._stream = cast(BinaryIO, lzma.LZMAFile(self._raw))  # noqa: SIM115 (closed with the raw file)
        elif magic.startswith(b"\x28\xb5\x2f\xfd"):
            self._stream = cast(BinaryIO, _ZstdStream(self._raw))
        else:
            self._stream = self._raw
            self.compressed = False
        self.offset = 0
        self.broken = False  # whether reading has come to where compressed data is damaged or ends too early
        self._ahead = b""  # read, but still to be returned

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return os.fstat(self._raw.fileno()).st_size

    @property
    def stored_offset(self) -> int:
        """Bytes on disk that have been read, to compare with ``size``."""
        return self._raw.tell() if self.compressed else self.offset

    def read(self, count: int) -> bytes:
        """Return up to ``count`` bytes, fewer only at the end.

        Raises :class:`BrokenFileError` where compressed data is damaged or ends too early; all that could be
        read before has then been returned by earlier calls.
        """
        parts = [self._ahead[:count]]
        self._ahead = self._ahead[count:]
        left = count - len(parts[0])
        while left:
            try:
                # Not read(): it loses what it has read so far when the data turns out to be broken.
                part = self._stream.read1(left)  # type: ignore[attr-defined]
            except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstandard.ZstdError) as error:
                self.broken = True
                if any(parts):
                    break
                raise BrokenFileError(f"{self.path}: compressed data is damaged or ends too early: {error}") from error
            if not part:
                break
            parts.append(part)
            left -= len(part)
        data = b"".join(parts) if parts[0] else b"".join(parts[1:])  # no copy of a single part
        self.offset += len(data)
        return data

    def read_lines(self, count: int) -> tuple[bytes, bytes]:
        """Return what :meth:`read` does in two parts: all up to the end of the last line, and the rest."""
        whole = self._line_end(count)
        lines = self.read(whole or count)
        rest = self.read(count - whole) if whole else b""
        if not lines.endswith(b"\n") or b"\n" in rest:
            data = lines + rest
            cut = data.rfind(b"\n") + 1
            lines, rest = data[:cut], data[cut:]
        return lines, rest

    def _line_end(self, count: int) -> int:
        """Return where the last line ends in the next ``count`` bytes; 0 where that shows only when they are read.

        Reading up to there spares a copy, which takes longer than reading does.
        """
        if self.compressed:
            return 0
        size = min(count, _TAIL)
        tail = os.pread(self._raw.fileno(), size, self.offset + count - size)
        cut = tail.rfind(b"\n") + 1
        return count - size + cut if cut and len(tail) == size else 0

    def unread(self, data: bytes) -> None:
        """Give back the last bytes read, to be returned once more."""
        if self.compressed:
            self._ahead = data + self._ahead
            self.offset -= len(data)
        else:
            self.seek(self.offset - len(data))

    def stored(self, count: int) -> bytes:
        """Return the first ``count`` bytes as they lie on disk; only :meth:`rewind` can follow."""
        self._raw.seek(0)
        return self._raw.read(count)

    def seek(self, offset: int) -> None:
        """Go to ``offset`` of the uncompressed content; compressed data is read through up to there."""
        if self.compressed:
            while self.offset < offset and self.read(min(offset - self.offset, 2**20)):
                pass
        else:
            self.offset = self._raw.seek(offset)
            self._ahead = b""

    def skip_hole(self) -> None:
        """Go past NUL bytes at the beginning: a writer that goes on at its old offset in a truncated file leaves them.

        Raises :class:`BrokenFileError` as :meth:`read` does, and for compressed data that is little else.
        """
        if not self.compressed:
            self.seek(_first_data(self._raw.fileno()))
        while (data := self.read(65_536)) and not data.lstrip(b"\0"):
            if self.compressed and self.offset > MAX_HOLE:
                raise BrokenFileError(f"{self.path}: more than {MAX_HOLE} NUL bytes, compressed")
        self.unread(data.lstrip(b"\0"))


def _first_data(descriptor: int) -> int:
    """Return where the first data of a file lies that may begin with a hole."""
    here = os.lseek(descriptor, 0, os.SEEK_CUR)
    try:
        return os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError:
        return 0  # nothing but a hole, or a file system that does not know
    finally:
        # The buffered reader above does not notice when its descriptor moves.
        os.lseek(descriptor, here, os.SEEK_SET)
