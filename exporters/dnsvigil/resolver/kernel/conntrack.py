"""The connections that the kernel tracks, from nf_conntrack's files below /proc/sys, which psutil does not read."""

from typing import NamedTuple

from dnsvigil.resolver.kernel.procfs import ProcFs


class Conntrack(NamedTuple):
    """How many connections there are, and how many there can be."""

    entries: int
    limit: int


def conntrack(fs: ProcFs) -> Conntrack:
    """Read both numbers. Raises ``OSError``, also without the module nf_conntrack, and ``ValueError``."""
    folder = "sys/net/netfilter"
    return Conntrack(int(fs.text(f"{folder}/nf_conntrack_count")), int(fs.text(f"{folder}/nf_conntrack_max")))
