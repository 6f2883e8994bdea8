"""Flows in nfcapd files, read by the program nfdump, with the interface of pynfdump.

Filters, aggregation and statistics are nfdump's work; what it prints becomes rows one by one, so memory does not grow
with the files. Every version gets the same ``fmt:`` output format: the shorter ``pipe`` ended with nfdump 1.7.4, and
nfdump prints ``fmt:`` several times faster than Python makes rows of either.
"""

import fcntl
import io
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from os import PathLike, fspath
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton
from typing import IO, Any, Final, Self, TypedDict, TypeVar, cast, overload

from dnsvigil.system.programs import ProgramError, environment, find

logger = logging.getLogger(__name__)

Address = IPv4Address | IPv6Address


class NFDumpError(Exception):
    """nfdump could not give all that was asked for; the message has its own words."""


class DamagedFileError(NFDumpError):
    """Part of a flow file cannot be read. Every row before the damage has been given when this is raised."""


class NFDumpLimitError(NFDumpError):
    """nfdump needed more time or memory than a sound file of this size takes."""


@dataclass(frozen=True)
class Limits:
    """What one run of nfdump may need: seconds of CPU time, seconds of any time, bytes of address space."""

    cpu_seconds: int
    seconds: float
    memory: int

    @classmethod
    def for_size(cls, size: int) -> Self:
        """Return limits far above what a sound file of ``size`` bytes takes; on damaged ones nfdump may never end."""
        extra = size >> 20
        return cls(_CPU_SECONDS + extra, _SECONDS + 2 * extra, _MEMORY + 16 * size)


class Flow(TypedDict):
    """One flow, or several that are aggregated; what an aggregation does not keep is 0.

    ``first`` and ``last`` are local times without a zone, to the millisecond; ``fold`` tells the two hours apart that
    the end of summer time gives the same name. ``prot`` is the protocol's name, or its number where it has no name
    here. ``flags`` are the TCP flags as in the header, FIN being 1. An ICMP flow has 256 * type + code as ``dstport``.
    ``out_packets`` and ``out_bytes`` are those of the way back, from ``dstip`` to ``srcip``, of a record that has both
    directions; pynfdump had no such thing.
    """

    af: int
    first: datetime
    last: datetime
    prot: str | int
    srcip: Address
    srcport: int
    dstip: Address
    dstport: int
    srcas: int
    dstas: int
    input: int
    output: int
    flags: int
    tos: int
    packets: int
    bytes: int
    flows: int
    out_packets: int
    out_bytes: int


Statistic = dict[str, Any]
"""One element of a statistic.

``first``, ``last`` (to the second), ``prot``, the element under the statistic's own name, ``af`` (0 where the element
is no address), ``flows``, ``packets``, ``bytes``, ``pps``, ``bps`` (bits a second), ``bpp`` (bytes a packet).
"""

_TOKENS: Final = {
    "first": "%ts",
    "last": "%te",
    "prot": "%pr",
    "srcip": "%sa",
    "srcport": "%sp",
    "dstip": "%da",
    "dstport": "%dp",
    "srcas": "%sas",
    "dstas": "%das",
    "input": "%in",
    "output": "%out",
    "flags": "%flg",
    "tos": "%tos",
    "packets": "%pkt",
    "bytes": "%byt",
    "flows": "%fl",
    "out_packets": "%opkt",
    "out_bytes": "%obyt",
}
_ALWAYS: Final = ("first", "last", "packets", "bytes", "flows")
# From 1.7.5 on nfdump refuses to print what an aggregation does not keep. Under each of nfdump's names for
# what can be kept: the column, and its token where that depends on the name.
_AGGREGATED: Final = {
    **{name: (name, _TOKENS[name]) for name in ("srcip", "srcport", "dstip", "dstport", "srcas", "dstas", "tos")},
    **{f"{name}{version}": (name, _TOKENS[name]) for name in ("srcip", "dstip") for version in (4, 6)},
    "proto": ("prot", "%pr"),
    "inif": ("input", "%in"),
    "outif": ("output", "%out"),
    "srctos": ("tos", "%stos"),
}
_FAMILIES: Final = {4: int(AF_INET), 6: int(AF_INET6)}
_STATISTIC_COLUMNS: Final = 14  # ts,te,td,pr,val,fl,flP,pkt,pktP,byt,bytP,pps,bps,bpp

# As /etc/protocols spells them, whether the machine has that file or not.
PROTOCOLS: Final = {
    0: "ip",
    1: "icmp",
    2: "igmp",
    4: "ipencap",
    6: "tcp",
    8: "egp",
    9: "igp",
    17: "udp",
    33: "dccp",
    41: "ipv6",
    43: "ipv6-route",
    44: "ipv6-frag",
    46: "rsvp",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "ipv6-icmp",
    59: "ipv6-nonxt",
    60: "ipv6-opts",
    88: "eigrp",
    89: "ospf",
    94: "ipip",
    97: "etherip",
    103: "pim",
    108: "ipcomp",
    112: "vrrp",
    115: "l2tp",
    132: "sctp",
    136: "udplite",
    137: "mpls-in-ip",
}
"""Names of protocols by their numbers."""
_FLAG_LETTERS: Final = "FSRPAUEC"  # from FIN on upwards

# nfdump ends with status 0 after most of these.
_DAMAGE: Final = re.compile(
    r"corrupt|short read|bad magic|appendix offset|ptr error|unexpected (end|size)|read\(\) error|GetNextFile"
    r"|record size info|^DataBlock:",
    re.IGNORECASE,
)
_FAILURE: Final = re.compile(r"(?<!time )error|does not exist|not a directory|cannot|can't|fail", re.IGNORECASE)
_HARMLESS: Final = re.compile(r"^No matching flows|^Number of workers")
# It would go back to the begin of what it writes to put the sums there.
_NO_FILE: Final = re.compile(rf"{_HARMLESS.pattern}|^lseek\(\) error|^Failed to write appendix")
_RECORD: Final = re.compile(r"record: \d+", re.IGNORECASE)
_CRASHES: Final = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
_PIPE_BYTES: Final = 1 << 20  # a block of nfdump, so that it need not wait for each page of it to be read
# There may be three runs on one file.
_CPU_SECONDS: Final = 8
_SECONDS: Final = 9.0
_MEMORY: Final = 4 << 30  # of addresses, of which threads and blocks reserve far more than they use
_MAX_NOTES: Final = 20  # different ones that are kept of one run

_SETTINGS: Final = {"TZ": "UTC", "LC_ALL": "C"}  # times are printed in UTC, which has no hour twice

_FINISHED: Final = re.compile(r"nfcapd\.\d{12}(\d\d)?([+-]\d{4})?")


def flow_files(folder: str | PathLike[str]) -> list[Path]:
    """Return the finished flow files in ``folder`` and in the folders below it, oldest first.

    nfcapd writes to ``nfcapd.current.PID`` and gives the file its time as a name when it is complete; what has another
    name is left out. Raises :class:`NFDumpError` where the folder cannot be read.
    """
    try:
        list(Path(folder).iterdir())  # which rglob would pass over in silence
        found = [path for path in Path(folder).rglob("nfcapd.*") if _FINISHED.fullmatch(path.name)]
    except OSError as error:
        raise NFDumpError(f"{folder}: {error.strerror}") from error
    return sorted(found, key=lambda path: (path.name, path))


class Dumper:
    """Searches flow files that lie as NfSen keeps them, or single files and folders, here or on another host."""

    def __init__(  # noqa: PLR0917 (most of the arguments are pynfdump's)
        self,
        datadir: str = "/",
        profile: str = "live",
        sources: str | Iterable[str] | None = None,
        remote_host: str | None = None,
        executable_path: str = "nfdump",
        limits: Limits | None = None,
    ) -> None:
        """Say where flow files are.

        ``datadir`` holds a folder for each NfSen profile, and that one for each source; ``sources`` is a list, or a
        text with commas. With ``remote_host`` everything is run there by ssh, which must get in without a question.
        ``executable_path`` is nfdump's name or absolute path, or the absolute path of the folder that it is in.
        ``limits`` are what each run of nfdump may need, here; beyond them it is killed.
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
        """Say which files to read: all from ``start`` on, up to ``end`` if given, or one file, a folder, or stdin.

        A time is the one in the first (last) file's name, so for files of five minutes one of 11:00, 11:05 and so on,
        as a datetime or in ISO 8601. A ``filename`` that is a number is the descriptor of an open file.
        ``dirfiles`` may also be ``folder/first:last``. Raises :class:`NFDumpError` where
        that is not one of these.
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
        """Run nfdump and give its rows one by one; it is ended when the iterator is closed.

        ``query`` is a filter in nfdump's language; ``filterfile`` is a file with one, read instead. ``aggregate`` is
        True for the connection, or names (srcip, dstip, srcport, dstport, proto, srcip4/24, ...) as a list or a text
        with commas. ``statistics`` is an element (srcip, dstip, ip, srcport, dstport, port, srcas, dstas, as, inif,
        outif, proto, ...), ``statistics_order`` one of flows, packets, bytes, pps, bps, bpp. ``limit`` is the number of
        rows; without it a statistic has nfdump's ten.

        Raises :class:`NFDumpError` at once where the arguments do not go together or there is no nfdump; and from the
        iterator, when what could be read has been given, :class:`DamagedFileError` for a damaged file and
        :class:`NFDumpError` for anything else that leaves the rows incomplete: a filter that nfdump does not
        understand, a file or folder that is missing, nfdump killed. nfdump goes no further than the first damaged file
        of several; to have the rest, read each of :func:`flow_files` by itself.
        """
        if aggregate and statistics:
            raise NFDumpError("give aggregate or statistics, not both")
        columns = dict(_TOKENS)
        options: list[str] = []
        if statistics:
            options += ["-o", "csv", "-s", f"{statistics}/{statistics_order}" if statistics_order else statistics]
        elif aggregate is True:
            options.append("-a")
        elif aggregate:
            names = _split(aggregate)
            kept = dict(_AGGREGATED[name] for name in (each.split("/")[0] for each in names) if name in _AGGREGATED)
            columns = {column: token for column, token in _TOKENS.items() if column in _ALWAYS} | kept
            options += ["-A", ",".join(names)]
        if not statistics:
            options += ["-o", f"fmt:{'|'.join(columns.values())}"]
        if limit:
            # -c counts what goes into an aggregation, -n what comes out of it.
            options += ["-n" if aggregate or statistics else "-c", str(limit)]
        options += ["-f", fspath(filterfile)] if filterfile else ["--", query] if query else []
        run = self._run([*self._nfdump(), "-q", "-N", "-6", *options])
        if statistics:
            element = re.split("[:/]", statistics)[0]
            return _rows(run, ",", _STATISTIC_COLUMNS, lambda cells: _statistic(element, cells))
        parse = _flow if columns == _TOKENS else _aggregated(list(columns))
        return _rows(run, "|", len(columns), parse)

    def stream(self) -> AbstractContextManager[IO[bytes]]:
        """Run nfdump and give what ``nfdump -w`` writes: a flow file, not compressed, and without its sums.

        That is many times as fast as rows. On leaving the ``with`` block the end of nfdump is waited for, and raises
        what :meth:`search` does.
        """
        # It opens its output for reading too, so it would not notice that nobody reads any more when we are killed.
        return self._run(["setpriv", "--pdeathsig", "KILL", *self._nfdump(), "-w", "/dev/stdout"], _NO_FILE).output()

    def list_profiles(self) -> list[str]:
        """Return the names of the NfSen profiles. Raises :class:`NFDumpError`."""
        entries = self._run(["ls", "-1p", "--", self.datadir]).lines()
        return [entry.strip("/\n") for entry in entries if entry.endswith("/\n")]

    def get_profile_data(self, profile: str | None = None) -> dict[str, Any]:
        """Return what NfSen's ``profile.dat`` says, numbers as int, and its channels' names as ``sourcelist``.

        Raises :class:`NFDumpError`.
        """
        path = "/".join((self.datadir.rstrip("/"), profile or self.profile, "profile.dat"))
        data: dict[str, Any] = {}
        channels = []
        for line in self._run(["cat", "--", path]).lines():
            key, equals, value = line.partition(" = ")
            if key == "channel":
                channels.append(value.split(":")[0].strip())
            elif equals and not line.startswith(("#", " ")):
                data[key] = _number_or_text(value.strip())
        return data | ({"sourcelist": channels} if channels else {})

    def flow_stats(self) -> dict[str, Any]:
        """Return what nfdump -I prints of the files, such as flows_udp, packets, first (a Unix time), by name.

        Raises :class:`NFDumpError`.
        """
        pairs = (line.partition(": ") for line in self._run([*self._nfdump(), "-I"]).lines())
        return {name.strip().lower(): _number_or_text(value.strip()) for name, colon, value in pairs if colon}

    def _nfdump(self) -> list[str]:
        command = [self.executable_path if self.remote_host else _program(self.executable_path)]
        if self.sources:
            folder = "/".join((self.datadir.rstrip("/"), self.profile, ":".join(self.sources)))
            command += ["-M", folder]
        return command + self._where

    def _run(self, command: list[str], harmless: re.Pattern[str] = _HARMLESS) -> "_Run":
        if self.remote_host:
            words = ["env", *(f"{name}={value}" for name, value in _SETTINGS.items()), *command]
            command = ["ssh", "--", self.remote_host, shlex.join(words)]
        if self._limits and not self.remote_host:
            bounds = [f"--as={self._limits.memory}", f"--cpu={self._limits.cpu_seconds}", "--core=0"]
            command = ["prlimit", *bounds, "--", _program(command[0]), *command[1:]]
        seconds = self._limits.seconds if self._limits else None
        command = [_program(command[0]), *command[1:]]
        return _Run(command, self.remote_host, harmless, seconds, self._descriptors)

    def _spooled_stdin(self) -> str:
        if self.remote_host:
            raise NFDumpError("standard input cannot be searched on another host")
        # nfdump 1.7 reads nothing that it cannot seek in.
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
    """Search one file; the rest is as for :class:`Dumper` and :meth:`Dumper.search`."""
    dumper = Dumper(executable_path=executable_path)
    dumper.set_where(filename=filename)
    search = cast(Callable[..., Iterator[Flow] | Iterator[Statistic]], dumper.search)
    return search(query, filterfile, aggregate, statistics, statistics_order, limit)


def flow_stats_file(filename: str | PathLike[str], executable_path: str = "nfdump") -> dict[str, Any]:
    """Return :meth:`Dumper.flow_stats` of one file."""
    dumper = Dumper(executable_path=executable_path)
    dumper.set_where(filename=filename)
    return dumper.flow_stats()


class _Run:
    """One run of a program: what it prints, and what it has to say about that."""

    def __init__(
        self,
        command: Sequence[str],
        host: str | None,
        harmless: re.Pattern[str],
        seconds: float | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        self._seconds = seconds
        self._descriptors = descriptors
        self._late = threading.Event()
        self._command = command
        self._host = host
        self._harmless = harmless
        self._damage: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._notes: Counter[str] = Counter()

    def lines(self) -> Generator[str, None, None]:
        """Start the program and yield its lines; raise when it has ended if they are not all that there is."""
        with self.output() as stream:
            yield from io.TextIOWrapper(stream, encoding="utf-8", errors="replace")

    @contextmanager
    def output(self) -> Generator[IO[bytes], None, None]:
        """Start the program and give its output; raise at the end if that is not all that there is."""
        try:
            process = subprocess.Popen(  # noqa: S603 (no shell; what goes to one is quoted)
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment() | _SETTINGS,
                start_new_session=True,  # a process group of its own, to be killed as one
                pass_fds=self._descriptors,
            )
        except OSError as error:
            raise NFDumpError(f"{self._command[0]} cannot be started: {error.strerror}") from error
        assert process.stdout and process.stderr
        with suppress(OSError):  # more than a user may have
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        # It may write more there than a pipe holds, while its output waits to be read.
        listener = threading.Thread(target=self._listen, args=(process.stderr,), daemon=True)
        listener.start()
        watch = threading.Timer(self._seconds, self._give_up, (process,)) if self._seconds else None
        if watch:
            watch.daemon = True
            watch.start()
        try:
            with process.stdout:
                yield process.stdout
            status = process.wait()
            listener.join()
        finally:
            if watch:
                watch.cancel()
                watch.join()  # so that it kills nobody who gets the same number later
            _kill(process)
            process.wait()
        self._evaluate(status)

    def says(self, text: str) -> None:
        """Take in a message."""
        if not text or self._harmless.search(text):
            return
        text = _RECORD.sub("record", text)
        kind = self._damage if _DAMAGE.search(text) else self._failures if _FAILURE.search(text) else self._notes
        _count(kind, text)

    def unreadable(self, line: str) -> None:
        """Take in a row that makes no sense."""
        _count(self._damage, "a row that cannot be read" + (f": {line}" if not self._damage else ""))

    def _give_up(self, process: "subprocess.Popen[bytes]") -> None:
        self._late.set()
        _kill(process)

    def _listen(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self.says(line.decode("utf-8", "replace").strip())

    def _evaluate(self, status: int) -> None:
        messages = [*self._damage.items(), *self._failures.items(), *self._notes.items()]
        said = [f"{text} ({count} times)" if count > 1 else text for text, count in messages]
        program = f"nfdump on {self._host}" if self._host else "nfdump"
        if self._late.is_set() or -status == signal.SIGXCPU:
            raise NFDumpLimitError(f"{program} was killed, as it took far longer than a sound file of this size takes")
        if not (status or self._damage or self._failures):
            for text in said:
                logger.warning("%s: %s", program, text)
            return
        if status < 0:
            said.insert(0, f"ended by signal {-status}")
        elif status == 127:
            said.append("Is it installed?")
        elif status and not said:
            said = [f"ended with status {status}"]
        damaged = self._damage or -status in _CRASHES or status - 128 in _CRASHES
        raise (DamagedFileError if damaged else NFDumpError)(f"{program}: {'; '.join(said)}")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program that was not waited for yet, and all that it has started."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _program(name: str) -> str:
    try:
        return find(name)
    except ProgramError as error:
        raise NFDumpError(str(error)) from error


def _count(counter: Counter[str], text: str) -> None:
    if text in counter or len(counter) < _MAX_NOTES:
        counter[text] += 1
    else:
        counter["other messages"] += 1


_Row = TypeVar("_Row")


def _rows(run: _Run, separator: str, columns: int, parse: Callable[[list[str]], _Row | None]) -> Iterator[_Row]:
    with closing(run.lines()) as lines:
        for line in lines:
            cells = line.split(separator)
            if len(cells) != columns:
                (run.unreadable if "|" in line else run.says)(line.strip())
                continue
            try:
                row = parse(cells)
            except (ValueError, OverflowError, OSError):
                run.unreadable(line.strip())
            else:
                if row is not None:
                    yield row


def _flow(cells: Sequence[str]) -> Flow:
    source = _address(cells[3])
    first = _time(cells[0])
    return {
        "af": _FAMILIES[source.version],
        "first": first,
        "last": first if cells[1] == cells[0] else _time(cells[1]),
        "prot": _protocol(cells[2]),
        "srcip": source,
        "srcport": int(cells[4]),
        "dstip": _address(cells[5]),
        "dstport": _port(cells[6]),
        "srcas": int(cells[7]),
        "dstas": int(cells[8]),
        "input": int(cells[9]),
        "output": int(cells[10]),
        "flags": _flags(cells[11]),
        "tos": int(cells[12]),
        "packets": int(cells[13]),
        "bytes": int(cells[14]),
        "flows": int(cells[15]),
        "out_packets": int(cells[16]),
        "out_bytes": int(cells[17]),
    }


def _aggregated(columns: Sequence[str]) -> Callable[[list[str]], Flow]:
    """Return what makes a flow of these columns alone."""

    def parse(cells: list[str]) -> Flow:
        given = dict(zip(columns, cells, strict=True))
        nowhere = "::" if ":" in given.get("srcip", "") + given.get("dstip", "") else "0.0.0.0"  # noqa: S104
        missing = {"srcip": nowhere, "dstip": nowhere}
        return _flow([given.get(name, missing.get(name, "0")) for name in _TOKENS])

    return parse


def _statistic(element: str, cells: Sequence[str]) -> Statistic | None:
    if cells[0] == "ts":
        return None
    value = _value(cells[4].strip())
    protocol = cells[3].strip()
    return {
        "af": _FAMILIES[value.version] if isinstance(value, Address) else 0,
        "first": _time(cells[0]),
        "last": _time(cells[1]),
        "prot": _protocol("0" if protocol == "any" else protocol),
        element: value,
        "flows": int(cells[5]),
        "packets": int(cells[7]),
        "bytes": int(cells[9]),
        "pps": int(cells[11]),
        "bps": int(cells[12]),
        "bpp": int(cells[13]),
    }


@lru_cache(maxsize=65_536)
def _address(text: str) -> Address:
    text = text.strip()
    # inet_pton is three times as fast as the classes at reading text
    return IPv6Address(inet_pton(AF_INET6, text)) if ":" in text else IPv4Address(inet_pton(AF_INET, text))


def _time(text: str) -> datetime:
    if text.startswith("0000-"):  # how later versions of nfdump write that there is none
        return datetime.fromtimestamp(0)
    return datetime.fromtimestamp(datetime.fromisoformat(f"{text}+00:00").timestamp())


def _protocol(text: str) -> str | int:
    number = int(text)
    return PROTOCOLS.get(number, number)


def _port(text: str) -> int:
    """Return a port; nfdump writes type.code for ICMP."""
    kind, dot, code = text.partition(".")
    return 256 * int(kind) + int(code) if dot else int(kind)


@lru_cache
def _flags(text: str) -> int:
    """Return TCP flags, which nfdump writes as a number, or up to some 1.7 as letters such as ``...AP.SF``."""
    text = text.strip()
    return int(text) if text.isdigit() else sum(1 << _FLAG_LETTERS.index(letter) for letter in text.replace(".", ""))


def _value(text: str) -> int | str | Address:
    try:
        return _address(text) if "." in text or ":" in text else int(text)
    except (ValueError, OSError):
        return text


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
