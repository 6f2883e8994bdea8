"""Users and their passwords, of which only bcrypt hashes are known."""

import base64
import hashlib
import os
import re
import threading
from collections.abc import Mapping
from typing import Final

BCRYPT_HASH: Final = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_REMEMBERED_FAILURES: Final = 128


class BasicAuth:
    """Users and their bcrypt hashes.

    Bcrypt is slow on purpose, so verdicts are remembered: one success for each user, and a bounded
    number of failures. Only keyed digests of credentials are kept in memory.
    Raises ``ImportError`` where the ``bcrypt`` package is missing.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        import bcrypt  # only those who use passwords need it installed

        self._matches = bcrypt.checkpw
        self._users = {user: digest.encode() for user, digest in users.items()}
        # No password has this hash. It costs an unknown user the same time as a known one.
        cost = max(digest[4:6] for digest in users.values())
        self._nobody = f"$2b${cost}${'.' * 53}".encode()
        self._secret = os.urandom(32)
        self._good: dict[str, bytes] = {}
        self._bad: dict[bytes, None] = {}
        self._lock = threading.Lock()  # one bcrypt at a time: a flood of guesses gets one core, not all

    @property
    def names(self) -> list[str]:
        """The names of the users."""
        return list(self._users)

    def user(self, authorization: str | None) -> str | None:
        """Return the user whom the value of an ``Authorization`` header proves, or None."""
        scheme, _, encoded = (authorization or "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            credentials = base64.b64decode(encoded.strip(), validate=True)
            user = credentials.partition(b":")[0].decode()
        except ValueError:
            return None
        if b":" not in credentials:
            return None
        seen = hashlib.blake2b(credentials, key=self._secret).digest()
        if self._good.get(user) == seen:
            return user
        with self._lock:
            if seen in self._bad:
                return None
            if self._good.get(user) == seen or self._verify(user, credentials.partition(b":")[2]):
                self._good[user] = seen
                return user
            if len(self._bad) >= _REMEMBERED_FAILURES:
                del self._bad[next(iter(self._bad))]
            self._bad[seen] = None
            return None

    def _verify(self, user: str, password: bytes) -> bool:
        try:
            # Bcrypt looks at 72 bytes; newer packages raise on more, Go and htpasswd do not.
            matches = self._matches(password[:72], self._users.get(user, self._nobody))
        except ValueError:
            return False
        return matches and user in self._users
