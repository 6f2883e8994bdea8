"""One run of nfdump: its output, its messages, and the time and memory that it may take."""

import fcntl
import io
import logging
import os
import re
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Final, Self

from dnsvigil.system.programs import ProgramError, environment, find

logger = logging.getLogger(__name__)

SETTINGS: Final = {"TZ": "UTC", "LC_ALL": "C"}
"""Environment of every run: nfdump prints times in UTC, where no hour comes twice."""

# nfdump ends with status 0 after most of these.
_DAMAGE: Final = re.compile(
    r"corrupt|short read|bad magic|appendix offset|ptr error|unexpected (end|size)|read\(\) error|GetNextFile"
    r"|record size info|^DataBlock:",
    re.IGNORECASE,
)
_FAILURE: Final = re.compile(r"(?<!time )error|does not exist|not a directory|cannot|can't|fail", re.IGNORECASE)
_HARMLESS: Final = re.compile(r"^No matching flows|^Number of workers")
# After ``-w`` to a pipe: nfdump would go back to the beginning to write the sums.
_HARMLESS_TO_PIPE: Final = re.compile(r"^lseek\(\) error|^Failed to write appendix")
_RECORD: Final = re.compile(r"record: \d+", re.IGNORECASE)
_CRASHES: Final = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
_PIPE_BYTES: Final = 1 << 20  # a block of nfdump, so that nfdump need not wait for each page to be read
# The limits on one run, of which there may be three on one file.
_CPU_SECONDS: Final = 8
_SECONDS: Final = 9.0
_MEMORY: Final = 4 << 30  # address space: threads and blocks reserve far more than they use
_MAX_MESSAGES: Final = 20  # distinct ones, of each severity, that are kept of one run


class NFDumpError(Exception):
    """The rows are incomplete; the message holds nfdump's own."""


class DamagedFileError(NFDumpError):
    """Part of a flow file cannot be read. It is raised after every row before the damage has been yielded."""


class NFDumpLimitError(NFDumpError):
    """nfdump needed more time or memory than it takes for a sound file of this size."""


@dataclass(frozen=True)
class Limits:
    """Limits on one run of nfdump: seconds of CPU time, seconds of wall-clock time, bytes of address space."""

    cpu_seconds: int
    seconds: float
    memory: int

    @classmethod
    def for_size(cls, size: int) -> Self:
        """Return limits far above what a sound file of ``size`` bytes takes; on a damaged file nfdump may never end."""
        extra = size >> 20
        return cls(_CPU_SECONDS + extra, _SECONDS + 2 * extra, _MEMORY + 16 * size)


class Process:
    """One run of a program. It starts when its output is read, and raises at the end if the output is incomplete."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        host: str | None = None,
        limits: Limits | None = None,
        descriptors: Sequence[int] = (),
        to_pipe: bool = False,
    ) -> None:
        """Prepare ``command``, whose program is an absolute path or a name to look up.

        Messages name ``host`` where the command runs there through ssh. ``limits`` hold on this machine only; beyond
        them the program is killed. The program inherits ``descriptors``. ``to_pipe`` is for an nfdump that writes a
        flow file to its output. Raises :class:`NFDumpError` where there is no such program.
        """
        if limits and not host:
            bounds = [f"--as={limits.memory}", f"--cpu={limits.cpu_seconds}", "--core=0"]
            command = ["prlimit", *bounds, "--", find_program(command[0]), *command[1:]]
        self._command = [find_program(command[0]), *command[1:]]
        self._host = host
        self._seconds = limits.seconds if limits else None
        self._descriptors = descriptors
        self._harmless = (_HARMLESS, _HARMLESS_TO_PIPE) if to_pipe else (_HARMLESS,)
        self._late = threading.Event()
        self._damage: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._warnings: Counter[str] = Counter()

    def lines(self) -> Generator[str, None, None]:
        """Start the program and yield its lines. Raises :class:`NFDumpError` at the end if they are incomplete."""
        with self.output() as stream:
            yield from io.TextIOWrapper(stream, encoding="utf-8", errors="replace")

    @contextmanager
    def output(self) -> Generator[IO[bytes], None, None]:
        """Start the program and give its output. Raises :class:`NFDumpError` at the end if that is incomplete."""
        process = self._start()
        assert process.stdout and process.stderr
        with suppress(OSError):  # more than a user may have
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        # Standard error may get more than a pipe holds, while the output waits to be read.
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
                watch.join()  # so that it cannot kill a later process with the same number
            _kill(process)
            process.wait()
        self._check(status)

    def add_message(self, text: str) -> None:
        """Count a message of the program by its severity."""
        if not text or any(pattern.search(text) for pattern in self._harmless):
            return
        text = _RECORD.sub("record", text)
        if _DAMAGE.search(text):
            _count(self._damage, text)
        elif _FAILURE.search(text):
            _count(self._failures, text)
        else:
            _count(self._warnings, text)

    def add_unreadable(self, line: str) -> None:
        """Count a row that makes no sense."""
        _count(self._damage, "a row that cannot be read" + (f": {line}" if not self._damage else ""))

    def _start(self) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(  # noqa: S603 (no shell; what goes to one is quoted)
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment() | SETTINGS,
                start_new_session=True,  # a process group of its own, to be killed as one
                pass_fds=self._descriptors,
            )
        except OSError as error:
            raise NFDumpError(f"{self._command[0]} cannot be started: {error.strerror}") from error

    def _give_up(self, process: "subprocess.Popen[bytes]") -> None:
        self._late.set()
        _kill(process)

    def _listen(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self.add_message(line.decode("utf-8", "replace").strip())

    def _check(self, status: int) -> None:
        counted = [*self._damage.items(), *self._failures.items(), *self._warnings.items()]
        messages = [f"{text} ({count} times)" if count > 1 else text for text, count in counted]
        program = f"nfdump on {self._host}" if self._host else "nfdump"
        if self._late.is_set() or -status == signal.SIGXCPU:
            raise NFDumpLimitError(f"{program} was killed, as it took far longer than a sound file of this size takes")
        if not (status or self._damage or self._failures):
            for text in messages:
                logger.warning("%s: %s", program, text)
            return
        if status < 0:
            messages.insert(0, f"ended by signal {-status}")
        elif status == 127:
            messages.append("Is it installed?")
        elif status and not messages:
            messages = [f"ended with status {status}"]
        damaged = self._damage or -status in _CRASHES or status - 128 in _CRASHES
        raise (DamagedFileError if damaged else NFDumpError)(f"{program}: {'; '.join(messages)}")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program that has not been waited for, and all that it has started."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def find_program(name: str) -> str:
    """Return the absolute path of a program. Raises :class:`NFDumpError` where there is none."""
    try:
        return find(name)
    except ProgramError as error:
        raise NFDumpError(str(error)) from error


def _count(counter: Counter[str], text: str) -> None:
    if text in counter or len(counter) < _MAX_MESSAGES:
        counter[text] += 1
    else:
        counter["other messages"] += 1
