"""A file system with little room."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(path: Path, megabytes: int) -> Iterator[Path]:
    """Give a file system of so many MB at a path, which is made. Skip where none may be mounted."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "dnsvigil-test", path]
    result = subprocess.run(mount, check=False, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        pytest.skip(f"needs to mount a tmpfs: {result.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)
