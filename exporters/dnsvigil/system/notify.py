"""Reports the state of this service to systemd as sd_notify(3) describes: a datagram of NAME=VALUE lines each time.

That is all that a library would be needed for, and python3-systemd is one in C that pip has to compile.
"""

import logging
import os
import socket
import time
from collections.abc import Mapping
from typing import Final

from dnsvigil.system.terminal import printable

log = logging.getLogger(__name__)

_SEND_SECONDS: Final = 1.0  # to wait at most where systemd does not read


class Service:
    """The service that this process is. Where systemd has not asked for reports, none are sent."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        microseconds = environ.get("WATCHDOG_USEC", "")
        meant = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog: float | None = int(microseconds) / 1e6 if meant and microseconds.isdecimal() else None
        """Seconds without :meth:`alive` after which systemd takes the service for hung; None where it never does."""
        self._shown = ""
        self._alive = float("-inf")  # monotonic
        self._failed = False

    def ready(self, status: str) -> None:
        """Report that the service has started, or has read its configuration again."""
        self._shown = status
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        """Report that the configuration is read again, until :meth:`ready`."""
        self._shown = "Reading the configuration again"
        # Type=notify-reload, from systemd 253 on, needs the time.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", _status(self._shown))

    def stopping(self) -> None:
        """Report that the service ends."""
        self._send("STOPPING=1", _status("Stopping"))

    def show(self, status: str) -> None:
        """Show what the service is at, in one line, if that is new."""
        if status != self._shown:
            self._shown = status
            self._send(_status(status))

    def alive(self) -> None:
        """Report that the work goes on; may be called as often as one likes."""
        now = time.monotonic()
        if self.watchdog is not None and now - self._alive >= self.watchdog / 4:
            self._alive = now
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_SEND_SECONDS)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._failed:
                log.warning("systemd cannot be reached at NOTIFY_SOCKET: %s", error.strerror or error)
            self._failed = True


def _status(text: str) -> str:
    return f"STATUS={printable(text)}"
