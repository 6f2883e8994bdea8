"""Files that hold a secret, such as a token: a line of printable characters, which only few may read."""

import contextlib
import errno
import logging
import os
import re
import secrets
import tempfile
from pathlib import Path
from typing import Final

from dnsvigil.system.files import naming, open_to_all, read_file

log = logging.getLogger(__name__)

_MODE: Final = 0o640  # the group may read it
_BYTES: Final = 32  # of randomness
_MAX_BYTES: Final = 1024  # of the file
_SECRET: Final = re.compile(rb"[!-~]{20,200}")


def keep_secret(path: Path, kind: str) -> str:
    """Return the secret in a file, which is made where there is none; ``kind`` is what it is, such as a token.

    Raises ``OSError``, also for a file that holds something else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        make_secret(path, secrets.token_urlsafe(_BYTES))
    return read_secret(path, kind, "; remove it, and a new one is made")


def read_secret(path: Path, kind: str, remedy: str = "") -> str:
    """Return the secret in a file; ``remedy`` is what to do about one without. Raises as :func:`keep_secret`."""
    content = read_file(path, _MAX_BYTES).strip()
    if problem := open_to_all(path, path.stat()):
        log.warning("%s", problem)
    if not _SECRET.fullmatch(content):
        message = f"it holds no {kind}, 20 to 200 printable ASCII characters{remedy}"
        raise OSError(errno.EINVAL, message, str(path))
    return content.decode()


def make_secret(path: Path, secret: str) -> None:
    """Write a secret, unless the file is there: it is there whole, or not at all. Raises ``OSError``."""
    descriptor, new = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with naming(path), os.fdopen(descriptor, "w", encoding="ascii") as file:
            os.fchmod(descriptor, _MODE)
            if os.geteuid() == 0:  # or the service could not read what root made by hand
                folder = path.parent.stat()
                os.fchown(descriptor, folder.st_uid, folder.st_gid)
            file.write(f"{secret}\n")
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):  # somebody else was quicker
            os.link(new, path)
    finally:
        Path(new).unlink()
