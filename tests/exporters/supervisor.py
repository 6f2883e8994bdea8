"""Plays systemd's part for tests: a socket to which services report, as sd_notify(3) describes."""

import os
import socket
from pathlib import Path
from typing import Self
from unittest.mock import patch

from exporters.running import eventually


class Supervisor:
    """Receives the reports of what is started within its ``with`` statement."""

    def __init__(self, path: Path, watchdog: float | None = None) -> None:
        """Listen at ``path``, and have the service call within ``watchdog`` seconds."""
        self.reports: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))
        asked = {"NOTIFY_SOCKET": str(path)}
        if watchdog:
            asked["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        self._environ = patch.dict(os.environ, asked)

    def __enter__(self) -> Self:
        self._environ.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._environ.stop()
        self._socket.close()

    def receive(self) -> list[dict[str, str]]:
        """Return all reports so far."""
        while True:
            try:
                report = self._socket.recv(4096).decode()
            except BlockingIOError:
                return self.reports
            self.reports.append(dict(line.split("=", 1) for line in report.split("\n")))

    def saw(self, name: str, number: int = 1) -> dict[str, str]:
        """Wait until so many reports have had ``name``; return the last of these."""

        def found() -> list[dict[str, str]]:
            having = [report for report in self.receive() if name in report]
            return having if len(having) >= number else []

        return eventually(found)[number - 1]

    def shows(self, text: str) -> None:
        """Wait until the status has this text in it."""
        eventually(lambda: text in self.status())

    def status(self) -> str:
        """Return the newest status."""
        found = [report["STATUS"] for report in self.receive() if "STATUS" in report]
        return found[-1] if found else ""
