"""Model directories: arrays in ``arrays.npz``, all else in ``model.json``; never a pickle.

``model.json`` has what the model is, its format's version, the hashes of both files' contents and the figures of its
training. A directory that was changed after it was written is refused.
"""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dnsvigil.system.files import naming, read_file

_ARRAYS: Final = "arrays.npz"
_FACTS: Final = "model.json"
_MAX_ARRAYS: Final = 256 << 20  # bytes, as the next
_MAX_FACTS: Final = 16 << 20

Arrays = dict[str, NDArray[Any]]


class ModelError(Exception):
    """A model that cannot be used; the message names the directory and what to do."""


@dataclass(frozen=True)
class Stamp:
    """What tells one model from another in its place."""

    inode: int
    modified_ns: int

    @property
    def time(self) -> datetime:
        """Return when the model was written, UTC without a zone."""
        return datetime.fromtimestamp(self.modified_ns / 1e9, UTC).replace(tzinfo=None)


def model_stamp(directory: Path) -> Stamp | None:
    """Return the stamp of a model, None if there is none."""
    try:
        status = (directory / _FACTS).stat()
    except OSError:
        return None
    return Stamp(status.st_ino, status.st_mtime_ns)


def save_model(directory: Path, kind: str, version: int, arrays: Mapping[str, NDArray[Any]], facts: Any) -> None:
    """Write a model, in the place of one that is there, which stays until the new one is whole.

    ``facts`` is what JSON can hold. Raises ``OSError``.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    with naming(directory), tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as made:
        fresh = Path(made) / "new"
        fresh.mkdir(mode=0o755)
        with (fresh / _ARRAYS).open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)  # to decompress takes longer than all else of loading
            file.flush()
            os.fsync(file.fileno())
        content = {"kind": kind, "version": version, "arrays": _digest((fresh / _ARRAYS).read_bytes()), "facts": facts}
        whole = {**content, "digest": _digest(_canonical(content))}
        (fresh / _FACTS).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
        if directory.exists():
            directory.rename(Path(made) / "old")
        fresh.rename(directory)


def load_model(directory: Path, kind: str, version: int) -> tuple[Arrays, Any]:
    """Return the arrays and facts of a model. Raises :class:`ModelError` for anything but a whole one of its kind."""
    try:
        content = json.loads(read_file(directory / _FACTS, _MAX_FACTS).decode())
        packed = read_file(directory / _ARRAYS, _MAX_ARRAYS)
    except FileNotFoundError as error:
        raise ModelError(
            f"{directory}: there is no model ({Path(error.filename).name} is missing); run dnsvigil train"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{directory}: the model cannot be read: {error}; run dnsvigil train") from error
    if not isinstance(content, dict) or content.get("kind") != kind:
        raise ModelError(f"{directory}: not a model of kind {kind}")
    if content.get("version") != version:
        raise ModelError(
            f"{directory}: a model of format {content.get('version')}, this program needs {version}; run dnsvigil train"
        )
    digest = content.pop("digest", None)
    if digest != _digest(_canonical(content)) or content.get("arrays") != _digest(packed):
        raise ModelError(f"{directory}: the model was changed (its hashes differ); run dnsvigil train")
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}, content["facts"]
    except Exception as error:  # whatever numpy and zipfile make of bytes that somebody else wrote
        reason = str(error) or type(error).__name__
        raise ModelError(f"{directory}: the model cannot be read: {reason}; run dnsvigil train") from error


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
