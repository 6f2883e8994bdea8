"""Changes of a zone that nobody forges: its hosts move, its name servers get other names, or its keys roll over.

The network is that of :mod:`lab.fourresolvers`, with one unbound, which asks before and after the change.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from . import fourresolvers
from .capture import Capture
from .namespaces import LabError, Namespaces
from .openresolver import wait_for_answer

TOOLS = ("ip", "nsd", "unbound", "dig", "dnsperf", "dnssec-keygen", "dnssec-signzone", "tcpdump", "zeek")
RESOLVER = fourresolvers.RESOLVERS["unbound"]
ZONE = "example.com"
OPTIONS = {"DNSVigilPoisoning::resolvers": f"{{{RESOLVER}/32}}"}
HOSTS = [f"m{number}" for number in range(40)]
"""Names that both rounds ask for."""
QUESTIONS = 600

_SECONDS = 2.0  # until the server has read its zones again, and the records of HOSTS are no longer cached


def make(folder: Path, change: str) -> Path:
    """Ask, do one of CHANGES, ask again; return the capture between resolver and server.

    Raises LabError where something does not work.
    """
    with Namespaces() as net:
        net.bridge("net")
        net.host("authority", {"net": [f"{address}/24" for address in fourresolvers.SERVERS]})
        net.host("client", {"net": [f"{fourresolvers.CLIENT}/24"]})
        net.host("unbound", {"net": [f"{RESOLVER}/24"]})
        hosts = [f"{name} 1 A 192.0.2.{100 + number}" for number, name in enumerate(HOSTS)]
        server = fourresolvers.start_authority(net, folder, *hosts)
        wait_for_answer(net, "client", fourresolvers.SERVERS[0], ZONE)
        fourresolvers.start(net, "unbound", folder, RESOLVER)
        wait_for_answer(net, "client", RESOLVER, ZONE)
        capture = Capture(net, "net", folder)
        _ask(net, folder, "before")
        for step in CHANGES[change]:
            step(folder / "nsd")
            server.send_signal(signal.SIGHUP)
            time.sleep(_SECONDS)
            _ask(net, folder, f"after-{step.__name__}")
        capture.stop()
        return capture.file


def _ask(net: Namespaces, folder: Path, when: str) -> None:
    """Ask for the hosts, for names that nobody asked for, and for what a zone has at its apex."""
    lines = [f"{HOSTS[number % len(HOSTS)]}.{ZONE} A" for number in range(QUESTIONS // 2)]
    lines += [f"h{number}{when}.d{number % 40}.{ZONE} A" for number in range(QUESTIONS // 2)]
    lines += [f"{ZONE} {kind}" for kind in ("NS", "SOA", "DNSKEY", "MX")]
    questions = folder / f"{when}.questions"
    questions.write_text("\n".join(lines) + "\n")
    words = ["dnsperf", "-s", RESOLVER, "-d", str(questions), "-Q", "300"]
    net.start("client", words, folder / f"{when}.dnsperf").wait(60)


def _edit(file: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, file.read_text())
    if not count:
        raise LabError(f"{file} has no {pattern}")
    file.write_text(text)


def _next_serial(file: Path) -> None:
    _edit(file, r"(hostmaster\.example\.com\.) (\d+)", lambda found: f"{found[1]} {int(found[2]) + 1}")  # type: ignore[arg-type]


def hosts_move(own: Path) -> None:
    """Give all hosts addresses of another network."""
    _edit(own / "zone", r"\bA 192\.0\.2\.", "A 198.51.100.")
    _next_serial(own / "zone")


def servers_move(own: Path) -> None:
    """Give the name servers other names, here and in the delegation."""
    for name in ("root", "zone"):
        _edit(own / name, r"\bns(\d)\.example\.com", r"dns\1.other.example.com")
        _next_serial(own / name)


def sign(own: Path) -> None:
    """Sign the zone with a first key."""
    (own / "unsigned").write_text((own / "zone").read_text())
    _key(own)
    _signed(own)


def add_key(own: Path) -> None:
    """Sign it with a second key besides (RFC 6781, 4.1.2: double signature)."""
    _key(own)
    _signed(own)


def drop_key(own: Path) -> None:
    """Sign it with the second key alone."""
    for file in sorted((own / "keys").glob("K*"), key=lambda file: file.stat().st_mtime_ns)[:2]:
        file.unlink()
    _signed(own)


def _key(own: Path) -> None:
    (own / "keys").mkdir(exist_ok=True)
    _run("dnssec-keygen", "-q", "-K", str(own / "keys"), "-a", "ECDSAP256SHA256", "-f", "KSK", ZONE)


def _signed(own: Path) -> None:
    _next_serial(own / "unsigned")
    _run(
        "dnssec-signzone", "-S", "-z", "-K", str(own / "keys"), "-d", str(own), "-o", ZONE, "-f", str(own / "zone"),
        str(own / "unsigned"),
    )  # fmt: skip


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr[-500:]}")


CHANGES: Mapping[str, tuple[Callable[[Path], None], ...]] = {
    "hosts move": (hosts_move,),
    "servers move": (servers_move,),
    "keys roll over": (sign, add_key, drop_key),
}
"""What changes, step by step; between the steps the resolver asks."""
