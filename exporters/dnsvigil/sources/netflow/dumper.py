"""Searches flow files with nfdump, through the interface of pynfdump.

Filters, aggregation and statistics are nfdump's work. What it prints becomes rows one by one, so memory does not grow
with the files.
"""

import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from os import PathLike, fspath
from pathlib import Path
from typing import IO, Any, cast, overload

from dnsvigil.sources.netflow.process import SETTINGS, Limits, NFDumpError, Process, find_program
from dnsvigil.sources.netflow.text import (
    COLUMNS,
    Flow,
    Statistic,
    kept_columns,
    read_flows,
    read_statistics,
)


class Dumper:
    """Searches flow files in NfSen's folders, or single files and folders, on this machine or on another."""

    def __init__(  # noqa: PLR0917 (most of the arguments are pynfdump's)
        self,
        datadir: str = "/",
        profile: str = "live",
        sources: str | Iterable[str] | None = None,
        remote_host: str | None = None,
        executable_path: str = "nfdump",
        limits: Limits | None = None,
    ) -> None:
        """Search below ``datadir``, which holds a folder for each NfSen profile, and in it one for each source.

        ``sources`` is a list, or a text with commas. With ``remote_host`` every command runs there through ssh, which
        must log in without asking. ``executable_path`` is nfdump's name, its absolute path, or the absolute path of
        its folder. ``limits`` bound each run of nfdump on this machine; beyond them it is killed.
        """
        self._limits = limits
        self._descriptors: tuple[int, ...] = ()
        self.datadir = datadir
        self.profile = profile
        self.sources = _split(sources or ())
        self.remote_host = remote_host
        self.executable_path = executable_path
        folder = Path(executable_path)
        if not remote_host and folder.is_absolute() and folder.is_dir():
            self.executable_path = str(folder / "nfdump")
        self._where = ["-R", "."]

    def set_where(
        self,
        start: str | datetime | None = None,
        end: str | datetime | None = None,
        filename: str | PathLike[str] | int | None = None,
        dirfiles: str | PathLike[str] | None = None,
        stdin: bool = False,
    ) -> None:
        """Choose the files to read: all from ``start`` on, up to ``end`` if given, or one file, a folder, or stdin.

        A time is the one in the name of the first (last) file, as a datetime or in ISO 8601: for files of five minutes
        11:00, 11:05 and so on. A ``filename`` that is a number is the descriptor of an open file. ``dirfiles`` may
        also be ``folder/first:last``. Raises :class:`NFDumpError` for any other combination.
        """
        if sum((start is not None, filename is not None, dirfiles is not None, stdin)) > 1 or (end and not start):
            raise NFDumpError("give start, start and end, or one of filename, dirfiles and stdin")
        if stdin:
            self._where = ["-r", self._spooled_stdin()]
        elif isinstance(filename, int):
            self._where = ["-r", f"/proc/self/fd/{filename}"]
            self._descriptors = (filename,)
        elif filename is not None:
            self._where = ["-r", fspath(filename)]
        elif dirfiles is not None:
            self._where = ["-R", fspath(dirfiles)]
        elif start:
            self._where = ["-R", ":".join(_file_name(when) for when in (start, end) if when)]
        else:
            self._where = ["-R", "."]

    @overload
    def search(
        self,
        query: str = "",
        filterfile: str | PathLike[str] | None = None,
        aggregate: bool | str | Iterable[str] | None = None,
        statistics: None = None,
        statistics_order: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Flow]: ...

    @overload
    def search(
        self,
        query: str = "",
        filterfile: str | PathLike[str] | None = None,
        aggregate: bool | str | Iterable[str] | None = None,
        *,
        statistics: str,
        statistics_order: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Statistic]: ...

    def search(  # noqa: PLR0917 (the arguments are pynfdump's)
        self,
        query: str = "",
        filterfile: str | PathLike[str] | None = None,
        aggregate: bool | str | Iterable[str] | None = None,
        statistics: str | None = None,
        statistics_order: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Flow] | Iterator[Statistic]:
        """Run nfdump and yield its rows; closing the iterator ends nfdump.

        ``query`` is a filter in nfdump's language; ``filterfile`` is a file with one, read instead. ``aggregate`` is
        True for the connection, or names (srcip, dstip, srcport, dstport, proto, srcip4/24, ...) as a list or a text
        with commas. ``statistics`` is an element (srcip, dstip, ip, srcport, dstport, port, srcas, dstas, as, inif,
        outif, proto, ...), ``statistics_order`` one of flows, packets, bytes, pps, bps, bpp. ``limit`` is the number of
        rows; without it a statistic has nfdump's ten.

        Raises :class:`NFDumpError` at once where the arguments do not go together or there is no nfdump. After the last
        row that could be read, the iterator raises :class:`DamagedFileError` for a damaged file and
        :class:`NFDumpError` for anything else that leaves the rows incomplete: a filter that nfdump does not
        understand, a missing file or folder, a killed nfdump. nfdump stops at the first damaged file of several; to
        read the others, search each of :func:`flow_files` by itself.
        """
        if aggregate and statistics:
            raise NFDumpError("give aggregate or statistics, not both")
        columns = COLUMNS
        if statistics:
            output = ["-o", "csv", "-s", f"{statistics}/{statistics_order}" if statistics_order else statistics]
        elif aggregate is True:
            output = ["-a"]
        elif aggregate:
            elements = _split(aggregate)
            columns = kept_columns(elements)
            output = ["-A", ",".join(elements)]
        else:
            output = []
        if not statistics:
            output += ["-o", f"fmt:{'|'.join(columns.values())}"]
        if limit:
            # -c limits the flows before an aggregation, -n the rows after it.
            output += ["-n" if aggregate or statistics else "-c", str(limit)]
        chosen = ["-f", fspath(filterfile)] if filterfile else ["--", query] if query else []
        process = self._process([*self._nfdump(), "-q", "-N", "-6", *output, *chosen])
        return read_statistics(process, re.split("[:/]", statistics)[0]) if statistics else read_flows(process, columns)

    def stream(self) -> AbstractContextManager[IO[bytes]]:
        """Run ``nfdump -w`` and give its output: a flow file, not compressed, and without its sums.

        That is many times as fast as rows. Leaving the ``with`` block waits for nfdump to end, and raises what
        :meth:`search` does.
        """
        # nfdump opens its output for reading too, so it would not notice the end of its reader when we are killed.
        command = ["setpriv", "--pdeathsig", "KILL", *self._nfdump(), "-w", "/dev/stdout"]
        return self._process(command, to_pipe=True).output()

    def list_profiles(self) -> list[str]:
        """Return the names of the NfSen profiles. Raises :class:`NFDumpError`."""
        entries = self._process(["ls", "-1p", "--", self.datadir]).lines()
        return [entry.strip("/\n") for entry in entries if entry.endswith("/\n")]

    def get_profile_data(self, profile: str | None = None) -> dict[str, Any]:
        """Return the entries of NfSen's ``profile.dat``, numbers as int, with its channels' names as ``sourcelist``.

        Raises :class:`NFDumpError`.
        """
        path = "/".join((self.datadir.rstrip("/"), profile or self.profile, "profile.dat"))
        data: dict[str, Any] = {}
        channels = []
        for line in self._process(["cat", "--", path]).lines():
            key, equals, value = line.partition(" = ")
            if key == "channel":
                channels.append(value.split(":")[0].strip())
            elif equals and not line.startswith(("#", " ")):
                data[key] = _number_or_text(value.strip())
        return data | ({"sourcelist": channels} if channels else {})

    def flow_stats(self) -> dict[str, Any]:
        """Return what ``nfdump -I`` prints: flows_udp, packets, first (a Unix time) and so on, by name.

        Raises :class:`NFDumpError`.
        """
        pairs = (line.partition(": ") for line in self._process([*self._nfdump(), "-I"]).lines())
        return {name.strip().lower(): _number_or_text(value.strip()) for name, colon, value in pairs if colon}

    def _nfdump(self) -> list[str]:
        command = [self.executable_path if self.remote_host else find_program(self.executable_path)]
        if self.sources:
            folder = "/".join((self.datadir.rstrip("/"), self.profile, ":".join(self.sources)))
            command += ["-M", folder]
        return command + self._where

    def _process(self, command: list[str], *, to_pipe: bool = False) -> Process:
        if self.remote_host:
            words = ["env", *(f"{name}={value}" for name, value in SETTINGS.items()), *command]
            command = ["ssh", "--", self.remote_host, shlex.join(words)]
        return Process(
            command, host=self.remote_host, limits=self._limits, descriptors=self._descriptors, to_pipe=to_pipe
        )

    def _spooled_stdin(self) -> str:
        if self.remote_host:
            raise NFDumpError("standard input cannot be searched on another host")
        # nfdump 1.7 reads only what it can seek in.
        self._stdin = tempfile.NamedTemporaryFile(prefix="dnsvigil-nfcapd-")  # noqa: SIM115 (lives as long as this)
        shutil.copyfileobj(sys.stdin.buffer, self._stdin)
        self._stdin.flush()
        return self._stdin.name


@overload
def search_file(
    filename: str | PathLike[str],
    query: str = "",
    filterfile: str | PathLike[str] | None = None,
    aggregate: bool | str | Iterable[str] | None = None,
    statistics: None = None,
    statistics_order: str | None = None,
    limit: int | None = None,
    executable_path: str = "nfdump",
) -> Iterator[Flow]: ...


@overload
def search_file(
    filename: str | PathLike[str],
    query: str = "",
    filterfile: str | PathLike[str] | None = None,
    aggregate: bool | str | Iterable[str] | None = None,
    *,
    statistics: str,
    statistics_order: str | None = None,
    limit: int | None = None,
    executable_path: str = "nfdump",
) -> Iterator[Statistic]: ...


def search_file(  # noqa: PLR0917 (the arguments are pynfdump's)
    filename: str | PathLike[str],
    query: str = "",
    filterfile: str | PathLike[str] | None = None,
    aggregate: bool | str | Iterable[str] | None = None,
    statistics: str | None = None,
    statistics_order: str | None = None,
    limit: int | None = None,
    executable_path: str = "nfdump",
) -> Iterator[Flow] | Iterator[Statistic]:
    """Search one file, as :meth:`Dumper.search` does."""
    dumper = Dumper(executable_path=executable_path)
    dumper.set_where(filename=filename)
    search = cast(Callable[..., Iterator[Flow] | Iterator[Statistic]], dumper.search)
    return search(query, filterfile, aggregate, statistics, statistics_order, limit)


def flow_stats_file(filename: str | PathLike[str], executable_path: str = "nfdump") -> dict[str, Any]:
    """Return :meth:`Dumper.flow_stats` of one file."""
    dumper = Dumper(executable_path=executable_path)
    dumper.set_where(filename=filename)
    return dumper.flow_stats()


def _number_or_text(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _split(names: str | Iterable[str]) -> list[str]:
    return [name.strip() for name in (names.split(",") if isinstance(names, str) else names)]


def _file_name(when: str | datetime) -> str:
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when)
        except ValueError:
            raise NFDumpError(f'"{when}" is not a time such as "2024-03-23 11:00"') from None
    return (when.astimezone() if when.tzinfo else when).strftime("nfcapd.%Y%m%d%H%M")
