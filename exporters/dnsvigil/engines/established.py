"""Domains that are never newly observed, because half the world asks for them.

Their hashes are made once, and kept in a file beside this one: to make them takes a second of CPU and 85 MB.
"""

import hashlib
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dnsvigil.engines import kept
from dnsvigil.records import SINGLE_LABEL
from dnsvigil.sources.warninglists import warning_list

FILE: Final = Path(__file__).with_name("established.hashes")
"""The hash of what it was made from, in hexadecimal; then how many domains there are, and their hashes, ascending."""

Hashes = NDArray[np.uint64]

_SOURCES: Final = ("engines/established.py", "sources/warninglists.py")
_HEAD: Final = 64


def are_established(domains: Sequence[str]) -> NDArray[np.bool_]:
    """Return which of the domains are never newly observed, whenever they are first asked for.

    These are the million of the Tranco list of pymispwarninglists, reverse zones and names of one label.
    """
    return within(_hashes(domains), established())


def is_established(domain: str) -> bool:
    """Return whether a domain is never newly observed."""
    return bool(are_established([domain])[0])


@cache
def established() -> Hashes:
    """Return the hashes of the established domains, ascending: pages of the file, which take no memory of their own."""
    return kept.load(FILE, "dnsvigil.engines.established", _current)


def within(asked: Hashes, ascending: Hashes) -> NDArray[np.bool_]:
    """Return which hashes are among those that are ascending."""
    if not len(ascending):
        return np.zeros(len(asked), np.bool_)
    places = np.minimum(np.searchsorted(ascending, asked), len(ascending) - 1)
    found: NDArray[np.bool_] = ascending[places] == asked
    return found


def made_from() -> str:
    """Return a hash of all that the file depends on."""
    return kept.fingerprint(_SOURCES, ["pymispwarninglists"])


def make_established() -> bytes:
    """Return what the file holds."""
    hashes = np.unique(_hashes([*warning_list("tranco"), "in-addr.arpa", "ip6.arpa", SINGLE_LABEL]))
    return made_from().encode() + len(hashes).to_bytes(8, "little") + hashes.tobytes()


def _hashes(domains: Sequence[str]) -> Hashes:
    # As established of dnsvigil.features.novelty has it: the second half of the MD5.
    digests = b"".join([hashlib.md5(b"d" + domain.encode(), usedforsecurity=False).digest() for domain in domains])
    return np.frombuffer(digests, "<u8")[1::2]


def _current(content: kept.Content) -> Hashes:
    if content[:_HEAD] != made_from().encode():
        raise ValueError("the list is another")
    numbers = np.frombuffer(content, "<u8", offset=_HEAD)
    if numbers[0] != len(numbers[1:]):
        raise ValueError("the file is cut")
    return numbers[1:]


if __name__ == "__main__":
    sys.stdout.buffer.write(make_established())
