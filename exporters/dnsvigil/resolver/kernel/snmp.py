"""The counters of the protocols UDP and TCP, from /proc/net/snmp, snmp6 and netstat, which psutil does not read."""

import contextlib

from dnsvigil.resolver.kernel.procfs import ProcFs


def udp(fs: ProcFs) -> dict[str, dict[str, int]]:
    """Return the counters of UDP by family (``ipv4``, ``ipv6``) and by name, such as ``InDatagrams``.

    Raises ``OSError``, and ``ValueError`` or ``LookupError`` for a broken file. A kernel may do without IPv6.
    """
    families = {"ipv4": _pairs_of_lines(fs.text("net/snmp"))["Udp"]}
    with contextlib.suppress(FileNotFoundError):
        lines = (line.split() for line in fs.text("net/snmp6").splitlines())
        families["ipv6"] = {line[0].removeprefix("Udp6"): int(line[1]) for line in lines if "Udp6" in line[0]}
    return families


def tcp(fs: ProcFs) -> dict[str, int]:
    """Return Linux's own counters of TCP by name, such as ``ListenDrops``. Raises what :func:`udp` raises."""
    return _pairs_of_lines(fs.text("net/netstat"))["TcpExt"]


def _pairs_of_lines(text: str) -> dict[str, dict[str, int]]:
    """Read a line of names and one of values, both after the same word, by that word."""
    found: dict[str, dict[str, int]] = {}
    lines = text.splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        word, _, rest = names.partition(":")
        found[word] = dict(zip(rest.split(), map(int, values.partition(":")[2].split()), strict=False))
    return found
