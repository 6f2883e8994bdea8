"""Files beside this one that are made from the sources, when the package is built or when they have changed.

What makes such a file loads much, so a process of its own does: a module that writes the content on standard output.
"""

import hashlib
import mmap
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, TypeVar

from dnsvigil.system.programs import environment

PACKAGE: Final = Path(__file__).parents[1]

Content = bytes | mmap.mmap

T = TypeVar("T")


def load(file: Path, module: str, read: Callable[[Content], T]) -> T:
    """Return what ``read`` makes of a file's content.

    The module makes it anew where the file is missing, or where ``read`` raises ``ValueError``, ``LookupError`` or
    ``TypeError``, because it is damaged or was made from something else.
    """
    with suppress(OSError, ValueError, LookupError, TypeError), file.open("rb") as kept:
        return read(mmap.mmap(kept.fileno(), 0, access=mmap.ACCESS_READ))
    command = [sys.executable, "-P", "-m", module]
    made = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True).stdout  # noqa: S603
    with suppress(OSError):  # another user's installation: the next process makes it again
        save(file, made)
    return read(made)


def save(file: Path, made: bytes) -> None:
    """Put what a module made in the place of the file. Raises ``OSError``."""
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=file.name, delete=False) as new:
        fresh = Path(new.name)
        try:
            new.write(made)
            new.close()
            fresh.chmod(0o644)
            fresh.replace(file)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


def fingerprint(sources: Iterable[str], distributions: Iterable[str]) -> str:
    """Return a hash, in hexadecimal, of the package's files by these patterns, and of the versions of distributions.

    Of a distribution that is not installed it holds nothing.
    """
    content = hashlib.sha256()
    for source in sorted(path for pattern in sources for path in PACKAGE.glob(pattern)):
        content.update(source.name.encode() + b"\0" + source.read_bytes())
    for name in distributions:
        with suppress(PackageNotFoundError):
            content.update(f"{name} {version(name)}\n".encode())
    return content.hexdigest()
