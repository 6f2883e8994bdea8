"""Response policy zones (RPZ), as zone files: the names that they block.

dnspython reads zone files too, but takes 77 times as long.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from dnsvigil.sources.blocklists.names import NAME, clean

# Ordinary lines match the first group; all others are looked at one by one.
_POLICY: Final = re.compile(
    rb"^(?:\*\.)?(" + NAME + rb")(?<![.]rpz-ip)(?<!rpz-nsip)(?<!rpz-nsdname)(?<!rpz-client-ip)"
    rb"(?:[ \t]+\d+)?(?:[ \t]+in)?[ \t]+cname[ \t]+(?:\*?\.|rpz-drop\.|rpz-tcp-only\.)[ \t]*(?:;.*)?\r?$|^(.+)$",
    re.MULTILINE,
)
_IS_POLICY: Final = re.compile(rb"^\$(?:origin|ttl)\b|\bsoa\b.*\d|\bcname[ \t]+(?:\*?\.|rpz-)", re.MULTILINE)
_RECORD: Final = re.compile(rb"(\S+)(?:\s+(?:\d+[smhdw]?|in))*\s+([a-z]+\d*)\s+(.*)")
_NOT_NAMES: Final = (b"rpz-ip", b"rpz-nsip", b"rpz-nsdname", b"rpz-client-ip")


def is_policy_zone(chunk: bytes) -> bool:
    """Return whether a file that begins with these lines is a response policy zone."""
    return bool(_IS_POLICY.search(chunk))


class PolicyZone:
    """Follows a zone file as far as owners and their policy go."""

    def __init__(self, skipped: Counter[str]) -> None:
        """Count the records that are skipped, by reason, in ``skipped``."""
        self._skipped = skipped
        self._origin = b""  # absolute, no final dot
        self._zone = b""
        self._open = 0  # parentheses
        self._below = b""  # the origin relative to the zone

    def names(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the names of a chunk of whole lines that have a policy, relative to the zone."""
        for name, line in _POLICY.findall(chunk):
            if not name:
                yield from self._other_line(line)
            elif self._open:
                continue
            elif self._below:
                yield name + b"." + self._below
            else:
                yield name

    def _other_line(self, line: bytes) -> Iterator[bytes]:
        text = line.partition(b";")[0].rstrip()
        depth = self._open + text.count(b"(") - text.count(b")")
        inside, self._open = self._open, max(depth, 0)
        if inside or not text or text[:1].isspace() or text.startswith(b"$ttl"):
            return
        if text.startswith(b"$origin"):
            self._origin = self._absolute(text.split()[-1])
            self._place()
            return
        match = _RECORD.match(text)
        if not match:
            self._skipped["not_a_record"] += 1
            return
        owner = self._absolute(match[1])
        if match[2] == b"soa":
            self._zone = owner
            self._place()
        if owner == self._zone or match[1] == b"@":
            return
        if self._zone:
            if not owner.endswith(b"." + self._zone):
                self._skipped["not_in_zone"] += 1
                return
            owner = owner[: -len(self._zone) - 1]
        if owner.endswith(_NOT_NAMES):
            self._skipped["not_a_name"] += 1
        elif match[2] == b"cname" and match[3].startswith(b"rpz-passthru"):
            self._skipped["passed_through"] += 1
        else:
            yield from clean(owner, self._skipped)

    def _absolute(self, name: bytes) -> bytes:
        if name.endswith(b"."):
            return name[:-1]
        if name == b"@":
            return self._origin
        return name + b"." + self._origin if self._origin else name

    def _place(self) -> None:
        below = self._origin.removesuffix(self._zone) if self._zone else b""
        self._below = below.rstrip(b".")
