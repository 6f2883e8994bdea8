"""Copies of /proc and /sys from real runs, each in one file, to be laid out again as trees below another root.

``python -m lab.procfs_fixture debian FILE`` copies a host with unbound and two instances of kresd, all stopped while
dnsperf asks them, so that their queues are full. ``... bare FILE`` copies what an unprivileged user sees in a bare
container: no /sys, foreign processes hidden, some files missing. Needs root: both run in namespaces of their own, so
that nothing of the machine's sockets, addresses and other processes is in the copy. What would tell about the
machine, or is not to be had without systemd, is put in its place afterwards: mounts, control groups, the name of
process 1.

In a file, a line with the number of lines and the path comes before the text of each; where the path ends with a
slash they are the names in a folder, whose files are empty. Below ``netlink`` are the kernel's answers to questions
about sockets: a question, then the datagrams of its answer, each a line in base64.
"""

from __future__ import annotations

import argparse
import base64
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from dnsvigil.resolver.collectors.sockets import SocketCollector
from dnsvigil.resolver.config import Sockets
from dnsvigil.resolver.kernel.sockdiag import Exchange, exchange

from .resolvers import LISTEN, Dnsperf, Resolver

Tree = dict[str, str | list[str]]
"""Text, or the names in a folder, by path below the root."""

GLOBAL = (
    *("stat", "loadavg", "meminfo", "vmstat", "diskstats", "1/comm"),
    *(f"net/{name}" for name in ("dev", "softnet_stat", "snmp", "netstat", "tcp", "tcp6", "udp", "udp6")),
    *(f"sys/net/ipv4/{name}" for name in ("ip_local_port_range", "ip_local_reserved_ports")),
)
NOT_EVERYWHERE = ("net/snmp6", *(f"sys/net/netfilter/nf_conntrack_{name}" for name in ("count", "max")))
OF_A_PROCESS = ("stat", "comm", "limits", "cgroup")
PORTS = {"unbound": 53, "kresd": 5353}
NOBODY = 65534

_MARK = "=="
_KEPT = {
    "diskstats": r" +\d+ +\d+ (loop0|[shv]d|nvme)",
    "limits": r"Limit|Max open files|Max address space",
    "meminfo": r"Mem|Swap|Buffers|Cached|Active:|Inactive:|Shmem:",
    "snmp6": r"Ip6In|Udp6",
    "stat": r"cpu|btime|\d",
    "vmstat": r"pswp",
    "status": r"Name|State|.*ctxt_switches",
}
"""How the lines begin that are kept of the longer files."""
_MOUNTS = """\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:21 / /proc rw,nosuid shared:2 - proc proc rw
24 22 254:16 / /var rw,relatime shared:3 - ext4 /dev/vdb rw
25 22 0:30 / /srv/of\\040others rw shared:4 - nfs4 192.0.2.7:/others rw
"""
_MOUNTS_OF_CONTAINER = """\
612 530 0:55 / / ro,relatime - overlay overlay ro
613 612 0:56 / /proc rw - proc proc rw
"""


def unpack(fixture: Path, folder: Path) -> None:
    """Lay a copy out as ``folder/proc`` and, where it has one, ``folder/sys``."""
    lines = iter(fixture.read_text().splitlines())
    for line in lines:
        mark, count, path = line.split(" ", 2)
        assert mark == _MARK, line
        content = [next(lines) for _ in range(int(count))]
        place = folder / path
        if path.endswith("/"):
            place.mkdir(parents=True)
            for name in content:
                (place / name).touch()
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("".join(f"{text}\n" for text in content))


def replay(folder: Path) -> Exchange:
    """Return what answers questions about sockets from a copy laid out in ``folder``; others are not supported."""
    recorded = {}
    for path in (folder / "netlink").glob("*"):
        question, *answer = map(base64.b64decode, path.read_text().splitlines())
        recorded[question] = answer

    def ask(question: bytes) -> list[bytes]:
        if question not in recorded:
            raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
        return recorded[question]

    return ask


def take(pids: Iterable[int], files: Sequence[str], of_a_process: Sequence[str]) -> Tree:
    """Return what can be read of these processes and files below /proc."""
    tree: Tree = {}
    paths = [Path("/proc", name) for name in files]
    for pid in pids:
        proc = Path("/proc", str(pid))
        paths += [proc / name for name in of_a_process]
        paths += sorted(proc.glob("task/*/status")) + sorted(proc.glob("task/*/children"))
        tree[_name(proc / "fd")] = sorted((path.name for path in (proc / "fd").iterdir()), key=int)
    for path in paths:
        try:
            text = path.read_text()
        except OSError:
            continue
        kept = _KEPT.get(path.name, "")
        tree[_name(path)] = "".join(line for line in text.splitlines(keepends=True) if re.match(kept, line))
    return tree


def debian(folder: Path) -> Tree:
    """Return the copy of a whole host."""
    for command in ("link add eth0 type veth peer name wire", "address add 192.0.2.53/24 dev eth0", "link set wire up"):
        subprocess.run(["ip", *command.split()], check=True)
    subprocess.run(["ip", "link", "set", "eth0", "up"], check=True)
    with ExitStack() as stack:
        resolvers = [stack.enter_context(Resolver(kind, folder / kind, port=port)) for kind, port in PORTS.items()]
        stranger = stack.enter_context(subprocess.Popen(["sleep", "60"]))
        stack.callback(stranger.kill)
        _fill_queues(stack, resolvers)
        unbound, kresd = (resolver.pids for resolver in resolvers)
        files = [*GLOBAL, *NOT_EVERYWHERE]
        tree = take([*unbound, *kresd, stranger.pid], files, [*OF_A_PROCESS, "io"])
        tree |= _netlink()
        tree["sys/block"] = sorted(path.name for path in Path("/sys/block").iterdir())
    tree["proc/1/comm"] = "systemd\n"
    tree["proc/self/mountinfo"] = _MOUNTS
    slice_of_kresd = "system.slice/system-kresd.slice"
    units = ["system.slice/unbound.service", *(f"{slice_of_kresd}/kresd@{number}.service" for number in (1, 2))]
    for pid, unit in zip([*unbound, *kresd], units, strict=True):
        tree[f"proc/{pid}/cgroup"] = f"0::/{unit}\n"
        tree[f"sys/fs/cgroup/{unit}/memory.max"] = f"{2**30}\n" if pid in unbound else "max\n"
    tree[f"proc/{stranger.pid}/cgroup"] = "0::/system.slice/cron.service\n"
    tree[f"sys/fs/cgroup/{slice_of_kresd}/memory.max"] = f"{2**29}\n"
    return tree


def bare(folder: Path) -> Tree:
    """Return the copy of a container in which unbound runs as nobody, who takes the copy."""
    subprocess.run(["mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc"], check=True)
    os.chown(folder, NOBODY, NOBODY)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    with ExitStack() as stack:
        resolver = stack.enter_context(Resolver("unbound", folder / "unbound", port=PORTS["kresd"]))
        _fill_queues(stack, [resolver])
        tree = take(resolver.pids, GLOBAL, OF_A_PROCESS)
    for path in [path for path in tree if path.endswith("/cgroup")]:
        tree[path] = "0::/\n"
    del tree["proc/1/comm"]  # in these namespaces process 1 is the one that takes the copy
    tree["proc/self/mountinfo"] = (
        "612 530 0:55 / / ro,relatime - overlay overlay ro\n613 612 0:56 / /proc rw - proc proc rw\n"
    )
    return tree


def _netlink() -> Tree:
    recorded: dict[bytes, list[bytes]] = {}

    def ask(question: bytes) -> Iterator[memoryview]:
        answer = recorded.setdefault(question, [])
        for datagram in exchange(question):
            answer.append(bytes(datagram))
            yield datagram

    list(SocketCollector(Sockets(ports=sorted(PORTS.values())), ask=ask).collect())
    texts = ([base64.b64encode(part).decode() for part in (question, *answer)] for question, answer in recorded.items())
    return {f"netlink/{number}": "\n".join(lines) + "\n" for number, lines in enumerate(texts)}


def _fill_queues(stack: ExitStack, resolvers: Sequence[Resolver]) -> None:
    """Ask, stop the resolvers, and ask more than they hold; some connections wait to be accepted."""
    load = [
        stack.enter_context(Dnsperf(resolver, server=address, mode=mode, seconds=2, rate=300))
        for resolver in resolvers
        for address in LISTEN
        for mode in ("udp", "tcp")
    ]
    time.sleep(1)
    for resolver in resolvers:
        resolver.send_signal(signal.SIGSTOP)
        for address in LISTEN:
            stack.enter_context(socket.create_connection((address, resolver.port))).sendall(b"\0")
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                for _ in range(500):
                    sender.sendto(b"no question", (address, resolver.port))
    for each in load:
        each.result()


def _name(path: Path) -> str:
    return str(path).lstrip("/")


KINDS = {"debian": debian, "bare": bare}


def main() -> None:
    """Take one copy, in namespaces."""
    parser = argparse.ArgumentParser(prog="python -m lab.procfs_fixture", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("file", type=Path)
    parser.add_argument("--apart", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.apart:
        apart = ["unshare", "--net", "--pid", "--mount-proc", "--fork", "--kill-child"]
        again = [sys.executable, "-m", "lab.procfs_fixture", "--apart", options.kind, str(options.file)]
        sys.exit(subprocess.run([*apart, *again], check=False).returncode)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with options.file.open("w") as file, tempfile.TemporaryDirectory(prefix="dnsvigil-fixture-") as folder:
        tree = KINDS[options.kind](Path(folder))
        for path, content in sorted(tree.items()):
            lines = content.splitlines() if isinstance(content, str) else content
            file.write("\n".join([f"{_MARK} {len(lines)} {path}{'/' * isinstance(content, list)}", *lines, ""]))


if __name__ == "__main__":
    main()
