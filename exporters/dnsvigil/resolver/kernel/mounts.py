"""The file systems that are mounted, from /proc/self/mountinfo.

``psutil.disk_partitions`` has no number of a file system, without which one that is mounted twice has metrics twice.
``psutil.disk_usage`` has no number of files, so :func:`os.statvfs` gives both.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dnsvigil.resolver.kernel.procfs import ProcFs


class Mount(NamedTuple):
    """A file system: ``major:minor``, which is the same wherever it is mounted, its device and its type."""

    number: str
    device: str
    fstype: str


def mounts(fs: ProcFs) -> dict[str, Mount]:
    """Return the file systems by mount point; of those mounted on top of each other the last, which is the visible one.

    Fields: Documentation/filesystems/proc.rst of the kernel. Raises ``OSError``, and ``ValueError`` for a broken line.
    """
    found = {}
    for line in fs.text("self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        _, _, number, _, point = before.split(" ")[:5]
        fstype, device = after.split(" ")[:2]
        found[_unescaped(point)] = Mount(number, _unescaped(device), fstype)
    return found


def mount_point(folder: str, points: Mapping[str, object]) -> str:
    """Return the mount point above ``folder``, whether the folder exists or not. Raises ``LookupError``."""
    path = Path(folder)
    for above in (path, *path.parents):
        if str(above) in points:
            return str(above)
    raise LookupError(f"no mount point above {folder}; this happens in a chroot")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
