"""Runs ``dnsvigil-resolver-exporter`` for tests, and reads what it shows."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from exporters.running import Samples, eventually, get, samples
from lab.resolvers import ADDRESS, KINDS, NAME, Resolver

PROGRAM = ("-c", "import sys; from dnsvigil.resolver.main import main; sys.exit(main())")
"""What Python is to run."""
COMMAND = (sys.executable, *PROGRAM)


class Exporter:
    """An exporter in a process of its own, on a free port of 127.0.0.1. Use it in a ``with`` statement."""

    def __init__(self, folder: Path, config: dict[str, Any], command: Sequence[str] = COMMAND) -> None:
        """Start it with ``config``."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "resolver.yml"
        path.write_text(yaml.safe_dump({"listen": "127.0.0.1:0"} | config))
        self._log = folder / "exporter.log"
        with self._log.open("wb") as stream:
            self.process = subprocess.Popen([*command, "-c", path], stdout=stream, stderr=stream)
        self._url = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()

    @property
    def url(self) -> str:
        """Where it listens; waits until it does."""
        self._url = self._url or eventually(self._listening)
        return self._url

    @property
    def address(self) -> str:
        """Where it listens: address and port."""
        return self.url.removeprefix("http://").rstrip("/")

    def log(self) -> str:
        """Return what it has logged."""
        return self._log.read_text()

    def text(self) -> str:
        """Return the whole of its /metrics."""
        return get(self.url.rstrip("/") + "/metrics")

    def scrape(self) -> Samples:
        """Return the samples of its /metrics."""
        return samples(self.text())

    def _listening(self) -> str:
        assert self.process.poll() is None, self.log()
        found = re.search(r"listening on (\S+)\n", self.log())
        return found[1] if found else ""


def watching(*resolvers: Resolver, **collectors: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of an exporter that watches these resolvers, each named as its folder.

    It finds them by the names of their processes where these are their own, else by pidfile, so that no other resolver
    on this machine is meant.
    """
    found = []
    for resolver in resolvers:
        name = resolver.folder.name
        if resolver.process_name == KINDS[resolver.kind]:
            found.append({"name": name, "pidfile": str(write_pidfile(resolver))})
        else:
            found.append({"name": name, "process": resolver.process_name})
    ports = {"ports": [resolver.port for resolver in resolvers]}
    return {"resolvers": found, "collectors": {"sockets": ports, **collectors}}


def write_pidfile(resolver: Resolver) -> Path:
    """Write the pidfile of a resolver, anew after it was started again."""
    assert len(resolver.pids) == 1
    path = resolver.folder / "pid"
    path.write_text(f"{resolver.pids[0]}\n")
    return path


def asking(*resolvers: Resolver, interval: str = "1s", timeout: str = "1s") -> dict[str, Any]:
    """Return the configuration of a probe that asks these resolvers over UDP."""
    questions = [{"name": NAME, "port": resolver.port, "answer": [ADDRESS]} for resolver in resolvers]
    return {"interval": interval, "timeout": timeout, "questions": questions, "identity": False}


def overflow(address: str, port: int, count: int = 2000) -> None:
    """Send a resolver ``count`` datagrams at once; the default is more than a receive buffer holds."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            sender.sendto(b"no question", (address, port))


def labelled(shown: Samples, name: str, **labels: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a name that have these labels, by the values of their other labels, in label order."""
    found = {}
    for (sample_name, pairs), value in shown.items():
        if sample_name == f"dnsvigil_resolver_{name}" and pairs >= labels.items():
            found[tuple(text for label, text in sorted(pairs) if label not in labels)] = value
    return found


def one(shown: Samples, name: str, **labels: str) -> float:
    """Return the one sample of a name that has these labels."""
    found = labelled(shown, name, **labels)
    assert len(found) == 1, f"{name} {labels}: {found}"
    return next(iter(found.values()))
