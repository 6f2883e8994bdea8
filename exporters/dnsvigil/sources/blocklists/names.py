"""The entries of lists, as bytes in lower case: names, addresses and networks, and what is none of them."""

import re
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from dnsvigil.sources.blocklists.addresses import entry_of, is_usable, network_of

NAME: Final = rb"(?:[a-z0-9_][a-z0-9_-]{0,62}\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
"""The regular expression of a name of two labels or more, without a final dot."""

_WHOLE_NAME: Final = re.compile(NAME)
_MAX_NAME: Final = 253


def clean(word: bytes, skipped: Counter[str]) -> Iterator[bytes]:
    """Yield the name that an entry is, without wildcard and final dot, or the address or network.

    Else count the reason to skip it.
    """
    name = word.removeprefix(b"*").removeprefix(b".").removesuffix(b".")
    if not name.isascii():
        try:
            name = name.decode().encode("idna")
        except UnicodeError:
            name = b""
    if _WHOLE_NAME.fullmatch(name) and len(name) <= _MAX_NAME:
        yield name
    elif network := network_of(word.decode(errors="replace")):
        if is_usable(network):
            yield entry_of(network).encode()
        else:
            skipped["address"] += 1
    elif b"/" in word:
        skipped["url"] += 1
    else:
        skipped["not_a_name"] += 1


def is_address(word: bytes) -> bool:
    """Return whether a word is an IP address."""
    try:
        ip_address(word.decode(errors="replace"))
    except ValueError:
        return False
    return True
