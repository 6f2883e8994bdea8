"""Keys that programs show as ``X-API-Key``, and that open some paths. Only their SHA-256 hashes are known."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final

API_KEY: Final = "dnsvigil.api_key"
"""The key in a request's environ: the name of the API key that it came with, if that opens the path."""


class ApiKeys:
    """Keys, each with a name."""

    def __init__(self, digests: Mapping[str, str], paths: Iterable[str]) -> None:
        """``digests`` has the SHA-256 hashes by name, in hexadecimal digits; ``paths`` is how the paths begin."""
        self._digests = [(name, digest.lower().encode()) for name, digest in digests.items()]
        self._paths = tuple(paths)

    def name_of(self, key: bytes, path: str) -> str | None:
        """Return the name of a key that opens a path, else None; takes the same time for every wrong key."""
        given = hashlib.sha256(key).hexdigest().encode()
        found = [name for name, digest in self._digests if hmac.compare_digest(given, digest)]
        return found[0] if found and path.startswith(self._paths) else None
