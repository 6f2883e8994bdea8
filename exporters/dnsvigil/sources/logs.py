"""All logs that are read: those of Zeek, of dnsvigil's Zeek package and of honeypots."""

from collections.abc import Collection
from typing import Final

from dnsvigil.sources.honeypots.logs import HONEYPOT_LOGS
from dnsvigil.sources.zeek.log_types import LOG_TYPES, LogType

LOG_OF: Final = {log_type.path: log_type for log_type in (*LOG_TYPES, *HONEYPOT_LOGS)}
"""The logs by their path."""


def log_type_of(path: str, fields: Collection[str]) -> LogType | None:
    """Return the log with this path or, where that is empty, with these fields; None for a log that is not read."""
    if path:
        return LOG_OF.get(path)
    return next((log_type for log_type in LOG_OF.values() if log_type.matches(fields)), None)
