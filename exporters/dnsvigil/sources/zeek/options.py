"""What the operator configures about logs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final


@dataclass(frozen=True)
class LogOptions:
    """How logs are read."""

    renamed: Mapping[str, str] = field(default_factory=dict)  # Zeek's name of a field to the log's
    start: datetime | None = None  # UTC: when the captures began whose times count from their start


STOCK: Final = LogOptions()
"""Logs as Zeek writes them by default."""
