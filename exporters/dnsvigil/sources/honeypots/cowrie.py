"""Events of Cowrie's log."""

from collections.abc import Mapping
from typing import Any, Final

from dnsvigil.sources.honeypots.events import Event
from dnsvigil.sources.honeypots.hosts import hosts_in_command, hosts_in_url

_CONNECTED: Final = "cowrie.session.connect"
_TYPED: Final = "cowrie.command.input"  # others repeat it
_KINDS: Final = {
    _CONNECTED: "connection",
    "cowrie.login.success": "login",
    "cowrie.login.failed": "login",
    _TYPED: "command",
    "cowrie.session.file_download": "download",
    "cowrie.session.file_download.failed": "download",
    "cowrie.session.file_upload": "download",
}


def event_of(row: Mapping[str, Any]) -> Event:
    """Return the event in a record of :data:`dnsvigil.records.COWRIE_EVENT`."""
    hosts = list(hosts_in_url(row["url"] or ""))
    if row["event"] == _TYPED:
        hosts += hosts_in_command(row["command"] or "")
    return Event(
        row["ts"],
        row["sensor"],
        row["session"] or "",
        row["client"],
        _KINDS.get(row["event"], "other"),
        row["honeypot"] if row["event"] == _CONNECTED else None,
        hosts=tuple(hosts),
    )
