"""Network namespaces of the lab's own: hosts and bridges that nothing outside can see, gone when the lab ends.

Every interface, bridge and route lies inside these namespaces; the machine's own network is not touched. Needs root
and iproute2.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

PREFIX = "dnsvigil-lab-"
STOP_SECONDS = 10
"""How long a program has to end by itself before it is killed."""


class LabError(Exception):
    """The lab could not do what it was asked to; the message says which program said what."""


class Process:
    """One program that the lab started."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        """Start it in the folder of ``log``, to which goes what it prints."""
        self.command = list(command)
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=log.parent
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def wait(self, seconds: float) -> None:
        """Wait for its end. Raises LabError where it fails or takes longer."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self} did not end in {seconds:.0f} s") from None
        if status:
            raise LabError(f"{self} ended with status {status}: {self.tail()}")

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens where it has ended."""
        self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to end, wait, and kill it where it does not."""
        if self.running:
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def tail(self) -> str:
        """Return the last of what it printed."""
        return self.log.read_text(errors="replace")[-500:].strip()

    def __str__(self) -> str:
        return " ".join(self.command)


class Namespaces:
    """Hosts (one namespace each) on bridges (in one more namespace). Use it in a ``with`` statement."""

    def __init__(self) -> None:
        self.prefix = f"{PREFIX}{os.getpid()}-{secrets.token_hex(2)}-"
        self._names: list[str] = []
        self._processes: list[Process] = []
        self._ports = 0

    def __enter__(self) -> Namespaces:
        remove_abandoned()
        try:
            self._add("wire")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def bridge(self, name: str, *addresses: str) -> None:
        """Make a bridge; addresses (with prefix length) make the bridge's own namespace a host on it."""
        self._ip("wire", "link", "add", name, "type", "bridge")
        self._up("wire", name, addresses)

    def host(self, name: str, links: Mapping[str, Sequence[str]]) -> None:
        """Make a host with one interface, named as the bridge, on each bridge, with these addresses."""
        self._add(name)
        for bridge, addresses in links.items():
            self._ports += 1
            port = f"port{self._ports}"
            peer = ("peer", "name", port, "netns", self.prefix + "wire")
            self._ip(name, "link", "add", bridge, "type", "veth", *peer)
            self._ip("wire", "link", "set", port, "master", bridge, "up")
            self._up(name, bridge, addresses)

    def route(self, host: str, *route: str) -> None:
        """Add a route (the words that follow ``ip route add``) on a host, or on "wire"."""
        family = "-6" if ":" in "".join(route) else "-4"
        self._ip(host, family, "route", "add", *route)

    def start(self, host: str, command: Sequence[str], log: Path) -> Process:
        """Start a program on a host; it is stopped, at the latest, with the lab."""
        process = Process(self._in(host, command), log)
        self._processes.append(process)
        return process

    def call(self, host: str, command: Sequence[str], seconds: float = 30) -> str:
        """Run a program on a host to its end and return what it printed. Raises LabError where it fails."""
        return _call(self._in(host, command), seconds)

    def close(self) -> None:
        """Stop every program and remove every namespace, whatever state they are in."""
        for process in reversed(self._processes):
            process.stop()
        self._processes.clear()
        while self._names:
            _remove(self._names.pop())

    def _add(self, name: str) -> None:
        _call(["ip", "netns", "add", self.prefix + name])
        self._names.append(self.prefix + name)
        self._ip(name, "link", "set", "lo", "up")

    def _up(self, host: str, interface: str, addresses: Sequence[str]) -> None:
        for address in addresses:
            # No duplicate address detection: the address is to serve at once.
            self._ip(host, "address", "add", address, "dev", interface, *["nodad"] * (":" in address))
        self._ip(host, "link", "set", interface, "up")

    def _ip(self, host: str, *words: str) -> None:
        _call(["ip", "-n", self.prefix + host, *words])

    def _in(self, host: str, command: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.prefix + host, *command]


def existing() -> list[str]:
    """Return the names of all labs' namespaces on this machine."""
    listed = (line.split()[0] for line in _call(["ip", "netns", "list"]).splitlines() if line.strip())
    return [name for name in listed if name.startswith(PREFIX)]


def remove_abandoned() -> None:
    """Remove the namespaces of labs that were killed before they could do so."""
    for name in existing():
        owner = name.removeprefix(PREFIX).split("-")[0]
        if not Path("/proc", owner).exists():
            _remove(name)


def why_not(tools: Sequence[str]) -> str:
    """Return why namespaces with these programs cannot be had here, or nothing where they can."""
    if os.geteuid():
        return "needs root"
    if missing := [tool for tool in tools if not shutil.which(tool)]:
        return f"not on the PATH: {', '.join(missing)}"
    try:
        with Namespaces() as net:
            net.bridge("probe")
    except LabError as error:
        return f"no network namespaces here: {error}"
    return ""


def _remove(name: str) -> None:
    # Whatever still runs in there was started by the lab, such as a server's own children.
    with contextlib.suppress(LabError):
        for pid in _call(["ip", "netns", "pids", name]).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
    with contextlib.suppress(LabError):
        _call(["ip", "netns", "delete", name])


def _call(command: Sequence[str], seconds: float = 30) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(command)} did not end in {seconds:.0f} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-500:]
        raise LabError(f"{' '.join(command)} ended with status {done.returncode}: {said}")
    return done.stdout
