"""What stands for clients where their addresses are not to be: hashes with a key.

An address has so few values that whoever has a hash without a key finds it by trying them all. With one, only who has
the key can. Hashes of two keys have nothing in common, so that sets of them add up as if no client were in both.
"""

import hashlib
import logging
from pathlib import Path
from typing import Final

from dnsvigil.store.store import Store, StoreError
from dnsvigil.system.files import reason_of
from dnsvigil.system.secret_files import keep_secret, read_secret
from dnsvigil.system.sql import literal

log = logging.getLogger(__name__)

KEY_FILE: Final = "pseudonym-key"
"""The name of the file with the key of a store, in the folder of the state."""

NO_KEY: Final = ""
"""What stands for the key of hashes without one, which earlier versions made."""

_KIND: Final = "key"
_META: Final = "pseudonym_key"


class PseudonymKeyError(StoreError):
    """The file with the key cannot be read; the message names it and what to do."""


class Pseudonyms:
    """The pseudonyms of one key."""

    def __init__(self, store: Store, path: Path | None) -> None:
        """Take the key in a file, or that of the store, which is made where there is none.

        Another one than before is reported. Raises :class:`PseudonymKeyError` and
        :class:`dnsvigil.store.store.StoreError`.
        """
        self.key = read_key(path) if path else _own_key(store)
        self.id = hashlib.sha256(f"dnsvigil {self.key}".encode()).hexdigest()[:12]
        """What the key is known by, where it is not to be known."""
        with store.transaction():
            before = store.meta(_META, self.id)
            store.rows("UPDATE meta SET value = ? WHERE key = ?", self.id, _META)
        if before != self.id:
            log.warning("archive: the key of pseudonyms is another, %s: a client counts once more from now on", self.id)

    @property
    def macro(self) -> str:
        """The SQL that makes 64 bits from a ``client``."""
        return f"md5_number_lower(sha256({literal(self.key)} || client))"


def read_key(path: Path) -> str:
    """Return the key in a file of the configuration. Raises :class:`PseudonymKeyError`."""
    try:
        return read_secret(path, _KIND)
    except OSError as error:
        raise PseudonymKeyError(f"{reason_of(error)}; make a key with: openssl rand -hex 32 > {path}") from error


def _own_key(store: Store) -> str:
    try:
        return keep_secret(store.path.with_name(KEY_FILE), _KIND)
    except OSError as error:
        raise PseudonymKeyError(reason_of(error)) from error
