"""Lists of names, one a line: plain ones, hosts files, and maltrail's trails."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from dnsvigil.sources.blocklists.names import NAME, clean, is_address

# Ordinary lines match the first group; all others are looked at one by one.
_LINE: Final = re.compile(
    rb"^(?:(?:0\.0\.0\.0|127\.0\.0\.1|::1?)[ \t]+)?(?:\*?\.)?(" + NAME + rb")\.?[ \t]*(?:#.*)?\r?$|^(.+)$",
    re.MULTILINE,
)
_COMMENTS: Final = (b"#", b";", b"//", b"!")
_LOCAL: Final = re.compile(rb"localhost(\..*)?|local|broadcasthost|ip6-.*")


class Hosts:
    """Reads the names of a list line by line."""

    def __init__(self, skipped: Counter[str]) -> None:
        """Count the lines that are skipped, by reason, in ``skipped``."""
        self._skipped = skipped

    def names(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the names of a chunk of whole lines."""
        for name, line in _LINE.findall(chunk):
            if not name:
                yield from self._other_line(line)
            elif not _LOCAL.fullmatch(name):
                yield name

    def _other_line(self, line: bytes) -> Iterator[bytes]:
        if not line.strip() or line.lstrip().startswith(_COMMENTS):
            return
        words = line.replace(b";", b"#").partition(b"#")[0].split()
        if len(words) > 1 and is_address(words[0]):
            words = [word for word in words[1:] if not _LOCAL.fullmatch(word)]
        else:
            words = [b" ".join(words).partition(b",")[0].strip(b"\"' ")]
        for word in words:
            yield from clean(word, self._skipped)
