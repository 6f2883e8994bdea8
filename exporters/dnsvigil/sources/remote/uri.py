"""The URIs of what is read from other machines, and the paths that their copies have here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from dnsvigil.system.files import path_text

SCHEMES: Final = ("s3a", "s3", "hdfs")
"""What the URIs that are read begin with."""

MIRROR: Final = "dnsvigil-mirror-"
WHOLE: Final = "dnsvigil-whole-"
"""What the names of folders with copies begin with. Below them, paths end in the URI of what they are copies of."""

_COPY: Final = rf"/(?:{MIRROR}|{WHOLE})\w+/({'|'.join(SCHEMES)}):/"
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class Uri:
    """Where files are: in a bucket, below what their keys begin with, or in a folder of HDFS."""

    scheme: str
    authority: str  # the bucket, or the name nodes
    parts: Sequence[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the URI in a text. Raises ``ValueError``."""
        scheme, _, rest = text.partition("://")
        authority, *parts = rest.split("/")
        if scheme not in SCHEMES:
            known = ", ".join(f"{each}://" for each in SCHEMES)
            raise ValueError(f"{scheme}:// is not supported: give a path, or a URI of {known}")
        if not authority:
            raise ValueError(f"{scheme}:// needs the name of {'a name node' if scheme == 'hdfs' else 'a bucket'}")
        if "@" in authority:
            raise ValueError("a URI has no credentials: they come from the environment")
        if not text.isprintable() or {".", ".."} & {authority, *parts}:
            raise ValueError("no name has . or .. or characters that cannot be printed")
        return cls(scheme, authority, [part for part in parts if part])

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Return what a path is a copy of; None where it is none."""
        found = re.fullmatch(rf".*{_COPY}([^/]+)/?(.*)", str(path), re.DOTALL)
        return cls(found[1], found[2], found[3].split("/") if found[3] else []) if found else None

    def __str__(self) -> str:
        return "/".join([f"{self.scheme}://{self.authority}", *self.parts])

    def below(self, root: Path) -> Path:
        """Return the path of the copy in a folder."""
        return root.joinpath(f"{self.scheme}:", self.authority, *self.parts)


def is_uri(text: str) -> bool:
    """Return whether a text is a URI rather than a path."""
    return _SCHEME.match(text) is not None


def name_of(path: Path) -> str:
    """Return what a file is called: its path, or the URI that it is a copy of."""
    return path_text(str(Uri.of(path) or path))


def named(text: str) -> str:
    """Return a text with URIs in place of the paths of copies."""
    return re.sub(rf"(/\S*)?{_COPY}", r"\2://", text)
