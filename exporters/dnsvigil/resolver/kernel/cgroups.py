"""Control groups: the one of a systemd unit, and the memory that the groups of some processes allow.

psutil knows no control groups. Both versions are read, from /proc/PID/cgroup and below /sys/fs/cgroup.
"""

import re
from collections import defaultdict

from dnsvigil.resolver.kernel.procfs import ProcFs


def unit_pattern(unit: str) -> re.Pattern[str]:
    """Return what finds the control group of ``unit`` in /proc/PID/cgroup, in systemd's own tree or the unified one."""
    name, kind = (unit, "service") if unit.endswith("@") or "." not in unit else unit.rsplit(".", 1)
    instance = r"[^/\n]*" if name.endswith("@") else ""
    return re.compile(
        rf"^\d+:(?:name=systemd)?:(?:/.*)?/{re.escape(name)}{instance}\.{kind}(?:/| \(deleted\)|$)", re.MULTILINE
    )


class MemoryLimits:
    """The memory that some processes can have together: no control group gives its members more than its own limit."""

    def __init__(self, fs: ProcFs) -> None:
        self._fs = fs
        self._wanted: defaultdict[str, float] = defaultdict(float)  # by control group, below /sys/fs/cgroup

    def add(self, cgroups: str, address_space: str | None) -> None:
        """Add a process, with the text of its /proc/PID/cgroup and its soft RLIMIT_AS (None: no limit)."""
        group = ""
        for line in cgroups.splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            path = "/".join(part for part in path.split("/") if part not in ("", ".", ".."))
            if "memory" in controllers.split(","):
                group = f"memory/{path}".rstrip("/")
                break
            if number == "0":
                group = path
        self._wanted[group] += float(address_space) if address_space else float("inf")

    def limit(self) -> float | None:
        """Return the limit in bytes; None if nothing is known."""
        wanted = self._wanted
        while groups := [group for group in wanted if group]:
            group = max(groups, key=lambda group: group.count("/"))
            wanted[group.rpartition("/")[0]] += min(wanted.pop(group), self._of(group))
        memory = re.search(r"^MemTotal:\s+(\d+) kB", self._fs.read("meminfo") or "", re.MULTILINE)
        limit = min(wanted[""], self._of(""), int(memory[1]) * 1024 if memory else float("inf"))
        return limit if limit < float("inf") else None

    def _of(self, group: str) -> float:
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = self._fs.read_sys(f"fs/cgroup/{group}/{name}")
            if text and text.strip().isdecimal():
                return int(text)
        return float("inf")
