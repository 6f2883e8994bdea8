"""What a log file begins with: by this it is known, whatever its name, folder and compression."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from dnsvigil.sources.decompressed import BrokenFileError, DecompressedFile
from dnsvigil.sources.zeek.log_types import LogType
from dnsvigil.sources.zeek.options import STOCK, LogOptions
from dnsvigil.sources.zeek.recognition import first_log_type, starts_relative
from dnsvigil.sources.zeek.unwrap import is_complete

HEAD_SIZE: Final = 4096
"""Bytes, from the first record on, that a file is known by; the first uid is among them."""

_MAX_HEADER: Final = 65_536


@dataclass(frozen=True)
class Head:
    """What a file begins with: where its first record starts, and up to ``HEAD_SIZE`` bytes from there.

    ``log_type`` is None where the beginning does not identify a log that is read. The head of compressed data that
    cannot be decompressed is the bytes on disk.
    """

    start: int
    header: bytes
    records: bytes
    log_type: LogType | None = field(default=None, compare=False)
    moved: bytes = field(default=b"", compare=False)  # the start of the capture, where times count from it

    @classmethod
    def of(cls, path: Path, options: LogOptions = STOCK) -> Self:
        """Read the head; empty ``records`` where there is no whole record yet. Raises ``OSError``."""
        with DecompressedFile(path) as file:
            return cls.read(file, options)

    @classmethod
    def read(cls, file: DecompressedFile, options: LogOptions = STOCK) -> Self:
        """Read the head of a file that is open, and rewind it. Raises ``OSError``."""
        try:
            file.skip_hole()
            start = file.offset
            data = file.read(_MAX_HEADER + HEAD_SIZE)
        except BrokenFileError:
            return cls(0, b"", file.stored(HEAD_SIZE))
        finally:
            file.rewind()
        end = 0
        while data.startswith(b"#", end):
            end = data.find(b"\n", end) + 1 or len(data)
        records = data[end : end + HEAD_SIZE]
        whole = b"\n" in records or len(records) == HEAD_SIZE or is_complete(records)
        moved = str(options.start).encode() if options.start and starts_relative(data, options) is not None else b""
        return cls(start + end, data[:end], records if whole else b"", first_log_type(data, options), moved)

    @property
    def is_unique(self) -> bool:
        """Whether no two sensors can have written this: it has a uid, or more than one record."""
        records = sum(not line.startswith(b"#") for line in self.records.splitlines())
        return records > 1 or b"\tuid\t" in self.header or b'"uid"' in self.records

    def hash(self, size: int) -> str:
        """Return the SHA-256 of the first ``size`` bytes of records, in hex; a log at another time is another log."""
        return hashlib.sha256(self.moved + self.records[:size]).hexdigest()
