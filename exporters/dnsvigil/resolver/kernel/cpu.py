"""CPU time by CPU and mode, from /proc/stat.

``psutil.cpu_times(percpu=True)`` is a list without the numbers of the CPUs: where CPU 1 is offline, CPU 2 would take
its label. The boot time is in the same file, which ``psutil.boot_time`` would read once more; on machines with many
CPUs and interrupts the kernel takes long to write it.
"""

import os
import re
from typing import Final, NamedTuple

from dnsvigil.resolver.kernel.procfs import ProcFs

_MODES: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


class CpuTimes(NamedTuple):
    """Seconds by CPU and mode, and when the machine was booted, in seconds since 1970 (None: unknown)."""

    seconds: dict[tuple[str, str], float]
    boot_time: int | None


def cpu_times(fs: ProcFs) -> CpuTimes:
    """Read /proc/stat. Raises ``OSError``, and ``ValueError`` or ``LookupError`` for what is not understood."""
    seconds = {}
    boot_time = None
    ticks = os.sysconf("SC_CLK_TCK")
    for line in fs.text("stat").splitlines():
        key, *values = line.split()
        if re.fullmatch(r"cpu\d+", key):
            # Old kernels have fewer columns.
            seconds.update({(key[3:], mode): int(value) / ticks for mode, value in zip(_MODES, values, strict=False)})
        elif key == "btime":
            boot_time = int(values[0])
    return CpuTimes(seconds, boot_time)
