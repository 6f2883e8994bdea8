"""What an attacker did at a honeypot, whichever honeypot it was."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

KINDS: Final = ("connection", "login", "command", "download", "other")
"""What an event can be: the begin of a session, an attempt to log in, a command, a transfer of a file, or another."""


@dataclass(frozen=True)
class Event:
    """One event. Credentials and the text of commands are not kept."""

    ts: datetime  # UTC without a zone
    sensor: str
    session: str
    client: str | None  # the attacker's address
    kind: str  # one of KINDS
    honeypot: str | None = None  # the address that was attacked, where the event says it
    real: bool = True  # whether the attacker's address cannot be forged, as with TCP
    hosts: tuple[str, ...] = ()  # where programs are fetched from or connections made to
