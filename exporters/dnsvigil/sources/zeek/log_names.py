"""The names of log files and of their folders, as Zeek and those who rotate its logs give them."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from dnsvigil.sources.logs import LOG_OF
from dnsvigil.system.files import path_text

_LOG: Final = re.compile(rf"({'|'.join(LOG_OF)})([.-]|__).*")
_LIVE: Final = re.compile(rf"({'|'.join(LOG_OF)})\.(log|json)")
_ENDING: Final = re.compile(r"(__)?(\.(log|json))?(\.(gz|xz|zst))?$")
_COMPRESSED: Final = re.compile(r"\.(gz|xz|zst)$")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_NOT_A_SENSOR: Final = {"", "/", "current", "logs", "log", "spool", "zeek", "bro"}


def path_in(name: str) -> str | None:
    """Return the path of the log in a name that Zeek gives its logs; None for any other name."""
    return match[1] if (match := _LOG.fullmatch(name)) else None


def is_wanted(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a name is one that Zeek gives its logs, or matches one of the patterns, compressed or not."""
    if not patterns:
        return bool(_LOG.fullmatch(name))
    return any(fnmatchcase(one, pattern) for pattern in patterns for one in (name, _COMPRESSED.sub("", name)))


def is_live(name: str) -> bool:
    """Return whether Zeek writes to a log of this name; of names that are not Zeek's, those without a number."""
    return bool(_LIVE.fullmatch(name)) or not (_LOG.fullmatch(name) or re.search(r"\d", _COMPRESSED.sub("", name)))


def is_day(name: str) -> bool:
    """Return whether a folder has the name of a day, in which Zeek puts rotated logs."""
    return bool(_DAY.fullmatch(name))


def ends_with(name: str, writer: str) -> bool:
    """Return whether a rotated log's name ends with a writer's, as in ``dns.11:00:00-12:00:00-logger-1.log.gz``."""
    return _ENDING.sub("", name, count=1).endswith((f"-{writer}", f"_{writer}"))


def sensor_of(path: Path) -> str:
    """Return the sensor's name for a log: the nearest folder above it that is not one of Zeek's own names."""
    for part in reversed(path.parent.parts):
        if part not in _NOT_A_SENSOR and not is_day(part):
            return path_text(part)
    return "zeek"
