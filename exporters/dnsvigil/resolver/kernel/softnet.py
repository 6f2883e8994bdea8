"""Each CPU's queue of packets from the network devices, from /proc/net/softnet_stat, which psutil does not read."""

from typing import NamedTuple

from dnsvigil.resolver.kernel.procfs import ProcFs


class Softnet(NamedTuple):
    """The counters of one CPU."""

    cpu: int
    processed: int
    dropped: int
    squeezed: int


def softnet(fs: ProcFs) -> list[Softnet]:
    """Return the counters of all CPUs. Raises ``OSError``, and ``ValueError`` or ``LookupError`` for a broken line."""
    rows = [[int(field, 16) for field in line.split()] for line in fs.text("net/softnet_stat").splitlines()]
    # Linux before 5.10 omits the CPU's number, which is the line's number unless CPUs are offline.
    return [Softnet(row[12] if len(row) > 12 else number, row[0], row[1], row[2]) for number, row in enumerate(rows)]
