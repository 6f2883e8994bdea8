"""Lists of bad domains that the operator drops in a directory.

A file is a list, known by its content: names one a line, hosts files and maltrail's trails; response policy zones
(RPZ); MISP's CSV export. Under any compression that logs may have. What cannot be used of a file is counted by reason
and the rest used. In memory a name is 12 bytes, a hash of 64 bits and the list it is from.
"""

import csv
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnsvigil.sources.aside import Aside
from dnsvigil.sources.zeek.log_file import BrokenFileError, LogFile
from dnsvigil.system.files import NotAFileError, path_text

log = logging.getLogger(__name__)

_PIECE: Final = 2**20  # bytes, uncompressed
_LONGEST_LINE: Final = 2**16
_AT_ONCE: Final = 2**18  # names
_MAX_NAMES: Final = 20_000_000
_NAME: Final = rb"(?:[a-z0-9_][a-z0-9_-]{0,62}\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
_WHOLE_NAME: Final = re.compile(_NAME)
# Ordinary lines are found by one expression, in its first group; all others are looked at one by one.
_LINE: Final = re.compile(
    rb"^(?:(?:0\.0\.0\.0|127\.0\.0\.1|::1?)[ \t]+)?(?:\*?\.)?(" + _NAME + rb")\.?[ \t]*(?:#.*)?\r?$|^(.+)$",
    re.MULTILINE,
)
_POLICY: Final = re.compile(
    rb"^(?:\*\.)?(" + _NAME + rb")(?<![.]rpz-ip)(?<!rpz-nsip)(?<!rpz-nsdname)(?<!rpz-client-ip)"
    rb"(?:[ \t]+\d+)?(?:[ \t]+in)?[ \t]+cname[ \t]+(?:\*?\.|rpz-drop\.|rpz-tcp-only\.)[ \t]*(?:;.*)?\r?$|^(.+)$",
    re.MULTILINE,
)
_IS_POLICY: Final = re.compile(rb"^\$(?:origin|ttl)\b|\bsoa\b.*\d|\bcname[ \t]+(?:\*?\.|rpz-)", re.MULTILINE)
_RECORD: Final = re.compile(rb"(\S+)(?:\s+(?:\d+[smhdw]?|in))*\s+([a-z]+\d*)\s+(.*)")
_COMMENTS: Final = (b"#", b";", b"//", b"!")
_LOCAL: Final = re.compile(rb"localhost(\..*)?|local|broadcasthost|ip6-.*")
_NO_NAMES: Final = (b"rpz-ip", b"rpz-nsip", b"rpz-nsdname", b"rpz-client-ip")
_MISP_TYPES: Final = ("domain", "hostname", "domain|ip", "hostname|port")
_UNFINISHED: Final = ("~", ".tmp", ".part", ".swp", ".new")

Names = Iterator[bytes]


@dataclass(frozen=True)
class Listed:
    """A name that lists have: ``entry``, the name or one that it lies in, and the ``lists`` that have it."""

    entry: str
    lists: tuple[str, ...]


@dataclass
class ListFile:
    """One list: what was read of it, what was not and why."""

    name: str  # its path below the directory
    stamp: tuple[int, ...]  # changes when the file does
    names: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    error: str = ""


class DomainLists:
    """The lists of one directory. :meth:`reload` and :meth:`match` may run in threads of their own."""

    def __init__(self, directory: Path, most_names: int = _MAX_NAMES, set_aside: Aside | None = None) -> None:
        """Hold up to ``most_names`` entries of the files below ``directory``; nothing is read yet.

        A list that fails unexpectedly goes to ``set_aside``.
        """
        self._directory = directory
        self._set_aside = set_aside
        self._most = most_names
        self._files: dict[Path, tuple[int, ListFile]] = {}
        self._next = 0
        # Replaced as one, so that a match sees either the old lists or the new: hashes ascending, whose, their names.
        self._entries = (np.zeros(0, np.int64), np.zeros(0, np.int32), dict[int, str]())

    @property
    def files(self) -> list[ListFile]:
        """Return what is known of each list, in the order of their names."""
        return sorted((file for _, file in self._files.values()), key=lambda file: file.name)

    def __len__(self) -> int:
        return len(self._entries[0])

    def reload(self) -> bool:
        """Read what is new or has changed, forget what is gone; return whether anything was.

        A list that cannot be read any more stays as it was, and says so. Raises ``OSError`` where that is so of the
        directory; all lists then stay.
        """
        present = {path: _stamp(path) for path in _found(self._directory)}
        gone = [path for path in self._files if path not in present]
        changed = [
            path for path, stamp in present.items() if path not in self._files or self._files[path][1].stamp != stamp
        ]
        if not gone and not changed:
            return False
        hashes, owners, _ = self._entries
        stale = [self._files.pop(path)[0] for path in gone]
        parts: list[NDArray[np.int64]] = []
        numbers: list[NDArray[np.int32]] = []
        for path in changed:
            number, old = self._files.get(path, (None, None))
            file = ListFile(path_text(path.relative_to(self._directory)), present[path])
            others = sum(known.names for where, (_, known) in self._files.items() if where != path)
            try:
                found = _hashes(path, file, max(self._most - others, 0))
            except Exception as error:  # whatever it is, the other lists are read
                reason = (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
                old = old or ListFile(file.name, ())
                if old.error != reason:
                    log.warning("list %s cannot be read: %s", path, reason)
                old.error = reason
                if self._set_aside and (isinstance(error, NotAFileError) or not isinstance(error, OSError)):
                    self._set_aside.put("list", path, error, present[path])
                    old.stamp = present[path]  # as it is, it is not tried again
                self._files[path] = (-1 if number is None else number, old)
                continue
            if self._set_aside:
                self._set_aside.release("list", path)
            if number is not None:
                stale.append(number)
            self._files[path] = (self._next, file)
            parts.append(found)
            numbers.append(np.full(len(found), self._next, np.int32))
            self._next += 1
        if not stale and not parts:
            return False
        kept = ~np.isin(owners, stale)
        hashes = np.concatenate([hashes[kept], *parts])
        owners = np.concatenate([owners[kept], *numbers])
        order = np.argsort(hashes, kind="stable")
        self._entries = (hashes[order], owners[order], {number: file.name for number, file in self._files.values()})
        return True

    def match(self, names: Iterable[str]) -> dict[str, Listed]:
        """Return those of ``names``, as in the records, that are on a list or lie in a domain that is.

        Of several entries that a name lies in, the longest is given.
        """
        hashes, owners, lists = self._entries
        if not len(hashes):
            return {}
        whole = list(names)
        tails = [(name, tail) for name in whole for tail in _tails(name)]
        asked = np.fromiter((hash(tail.encode()) for _, tail in tails), np.int64, len(tails))
        first = np.searchsorted(hashes, asked)
        hit = np.flatnonzero(hashes[np.minimum(first, len(hashes) - 1)] == asked)
        last = np.searchsorted(hashes, asked[hit], side="right")
        found: dict[str, Listed] = {}
        for place, end in zip(hit.tolist(), last.tolist(), strict=True):
            name, tail = tails[place]
            if name not in found:
                found[name] = Listed(tail, tuple(sorted(lists[owner] for owner in owners[first[place] : end].tolist())))
        return found


def _tails(name: str) -> Iterator[str]:
    """Yield the name, and the names of two labels and more that it lies in, longest first."""
    start = 0
    while (dot := name.find(".", start)) > 0:
        yield name[start:]
        start = dot + 1


def _found(directory: Path) -> list[Path]:
    """Return the files below a directory that somebody has finished. Raises ``OSError``."""

    def fail(error: OSError) -> None:
        raise error

    return sorted(
        path
        for folder, _, names in os.walk(directory, onerror=fail)
        for name in names
        if not name.startswith(".") and not name.endswith(_UNFINISHED) and (path := Path(folder, name)).exists()
    )


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _hashes(path: Path, file: ListFile, room: int) -> NDArray[np.int64]:
    """Return the hashes of the list's names, ascending and each once, up to ``room``. Raises ``OSError``."""
    found = np.zeros(0, np.int64)
    with LogFile(path) as content:
        names = _names(_pieces(content, file.skipped), file.skipped)
        parts = [found]
        waiting = 0
        while True:
            # Python's own hash is keyed anew in every process, so nobody can make names that fall together.
            part = np.fromiter(map(hash, islice(names, _AT_ONCE)), np.int64)
            parts.append(part)
            waiting += len(part)
            if not len(part) or waiting > max(len(found), 4 * _AT_ONCE):
                found = np.concatenate(parts)
                found.sort()  # np.unique takes several times the memory
                first = np.ones(len(found), np.bool_)
                first[1:] = found[1:] != found[:-1]
                found = found[first]
                if len(found) > room:
                    file.skipped["too_many"] += len(found) - room
                    found = found[:room]
                parts, waiting = [found], 0
            if not len(part):
                break
    file.names = len(found)
    return found


def _pieces(content: LogFile, skipped: Counter[str]) -> Iterator[bytes]:
    """Yield whole lines in lower case, many at a time."""
    rest, too_long = b"", False
    while True:
        try:
            data = content.read(_PIECE)
        except BrokenFileError:
            skipped["truncated"] += 1  # and the rest with it, which may be the half of a name
            return
        if not data:
            if rest:
                yield rest.lower()
            return
        if too_long:
            _, end, data = data.partition(b"\n")
            if not end:
                continue
        data = rest + data
        cut = data.rfind(b"\n") + 1
        if cut:
            yield data[:cut].lower()
        rest = data[cut:]
        too_long = len(rest) > _LONGEST_LINE
        if too_long:
            skipped["too_long"] += 1
            rest = b""


def _names(pieces: Iterator[bytes], skipped: Counter[str]) -> Names:
    first = next(pieces, b"").removeprefix(b"\xef\xbb\xbf")
    lines: Callable[[bytes], Names]
    header = first.partition(b"\n")[0].decode(errors="replace")
    try:
        columns = [column.strip() for column in next(csv.reader((header,)), [])] if "," in header else []
    except csv.Error:  # a carriage return within the line, for one: not a row of any table
        columns = []
    if "value" in columns and "type" in columns:
        lines = _Misp(columns, skipped).names
        first = first.partition(b"\n")[2]
    elif _IS_POLICY.search(first):
        lines = _PolicyZone(skipped).names
    else:
        lines = _Plain(skipped).names
    yield from lines(first)
    for piece in pieces:
        yield from lines(piece)


class _Plain:
    def __init__(self, skipped: Counter[str]) -> None:
        self._skipped = skipped

    def names(self, piece: bytes) -> Names:
        for name, line in _LINE.findall(piece):
            if not name:
                yield from self._of(line)
            elif not _LOCAL.fullmatch(name):
                yield name

    def _of(self, line: bytes) -> Names:
        if not line.strip() or line.lstrip().startswith(_COMMENTS):
            return
        words = line.partition(b"#")[0].split()
        if len(words) > 1 and _is_address(words[0]):
            words = [word for word in words[1:] if not _LOCAL.fullmatch(word)]
        else:
            words = [b" ".join(words).partition(b",")[0].strip(b"\"' ")]
        for word in words:
            yield from _cleaned(word, self._skipped)


class _PolicyZone:
    """Follows a zone file as far as owners and their policy go."""

    def __init__(self, skipped: Counter[str]) -> None:
        self._skipped = skipped
        self._origin = b""  # absolute, no final dot
        self._zone = b""
        self._open = 0  # parentheses
        self._below = b""  # the origin relative to the zone

    def names(self, piece: bytes) -> Names:
        for name, line in _POLICY.findall(piece):
            if not name:
                yield from self._of(line)
            elif self._open:
                continue
            elif self._below:
                yield name + b"." + self._below
            else:
                yield name

    def _of(self, line: bytes) -> Names:
        text = line.partition(b";")[0].rstrip()
        depth = self._open + text.count(b"(") - text.count(b")")
        inside, self._open = self._open, max(depth, 0)
        if inside or not text or text[:1].isspace() or text.startswith(b"$ttl"):
            return
        if text.startswith(b"$origin"):
            self._origin = self._absolute(text.split()[-1])
            self._place()
            return
        match = _RECORD.match(text)
        if not match:
            self._skipped["not_a_record"] += 1
            return
        owner = self._absolute(match[1])
        if match[2] == b"soa":
            self._zone = owner
            self._place()
        if owner == self._zone or match[1] == b"@":
            return
        if self._zone:
            if not owner.endswith(b"." + self._zone):
                self._skipped["not_in_zone"] += 1
                return
            owner = owner[: -len(self._zone) - 1]
        if owner.endswith(_NO_NAMES):
            self._skipped["not_a_name"] += 1
        elif match[2] == b"cname" and match[3].startswith(b"rpz-passthru"):
            self._skipped["passed_through"] += 1
        else:
            yield from _cleaned(owner, self._skipped)

    def _absolute(self, name: bytes) -> bytes:
        if name.endswith(b"."):
            return name[:-1]
        if name == b"@":
            return self._origin
        return name + b"." + self._origin if self._origin else name

    def _place(self) -> None:
        below = self._origin.removesuffix(self._zone) if self._zone else b""
        self._below = below.rstrip(b".")


class _Misp:
    def __init__(self, columns: list[str], skipped: Counter[str]) -> None:
        self._skipped = skipped
        self._type, self._value = columns.index("type"), columns.index("value")
        self._flag = columns.index("to_ids") if "to_ids" in columns else None

    def names(self, piece: bytes) -> Names:
        for line in piece.decode(errors="replace").splitlines():
            try:
                row = next(csv.reader((line,)), [])
            except csv.Error:
                row = [""]
            if not row:
                continue
            if len(row) <= max(self._type, self._value, self._flag or 0):
                self._skipped["not_a_row"] += 1
            elif row[self._type] not in _MISP_TYPES:
                self._skipped["other_type"] += 1
            elif self._flag is not None and row[self._flag] in ("0", "false"):
                self._skipped["not_for_detection"] += 1
            else:
                yield from _cleaned(row[self._value].partition("|")[0].strip().encode(), self._skipped)


def _cleaned(word: bytes, skipped: Counter[str]) -> Names:
    """Yield the name that a word is, or count why it is none."""
    name = word.removeprefix(b"*").removeprefix(b".").removesuffix(b".")
    if not name.isascii():
        try:
            name = name.decode().encode("idna")
        except UnicodeError:
            name = b""
    if _WHOLE_NAME.fullmatch(name) and len(name) <= 253:
        yield name
    elif _is_address(word.partition(b"/")[0]) or _is_address(word.partition(b":")[0]):
        skipped["address"] += 1
    elif b"/" in word:
        skipped["url"] += 1
    else:
        skipped["not_a_name"] += 1


def _is_address(word: bytes) -> bool:
    try:
        ip_address(word.decode(errors="replace"))
    except ValueError:
        return False
    return True
