"""Text for a terminal: nothing in it that the terminal would obey."""

import logging
import time
from typing import Any


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: ``1 record``, ``2,000 records``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def log_to_stderr(level: str) -> None:
    """Have what is logged from a level on go to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(EscapingFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])


def printable(text: str) -> str:
    """Return a text that does nothing to a terminal: what cannot be printed is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """Return lines that do nothing to a terminal."""
    return "\n".join(map(printable, text.split("\n")))


class EscapingFormatter(logging.Formatter):
    """Makes log lines with times in UTC, in which nothing of what they quote acts on a terminal."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback that follows has lines of its own, which :meth:`formatException` escapes."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """Return a traceback."""
        return printable_lines(super().formatException(ei))
