"""Events of Dionaea's logs: its connections, and its incidents, of which those of downloads have a URL."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dnsvigil.sources.honeypots.events import Event
from dnsvigil.sources.honeypots.hosts import hosts_in_command, hosts_in_url

_MAX_COMMANDS: Final = 100
_DOWNLOADS: Final = ("dionaea.download.offer", "dionaea.download.complete")


def events_of_connection(row: Mapping[str, Any]) -> Iterator[Event]:
    """Yield the events in a record of :data:`dnsvigil.records.DIONAEA_CONNECTION`.

    The connections that the honeypot itself makes or waits for are no attacker's.
    """
    connection = _object(row["connection"])
    if connection.get("type") not in ("accept", "reject"):
        return
    real = connection.get("transport") != "udp"
    place = row["ts"], row["sensor"], f"{row['client']}:{row['port']}", row["client"]
    yield Event(*place, "connection", row["honeypot"], real)
    for _ in _list(_load(row["credentials"])):
        yield Event(*place, "login", None, real)
    for command in _list(_object(row["ftp"]).get("commands")):
        typed = " ".join(_texts(command))
        yield Event(*place, "command", None, real, tuple(hosts_in_command(typed)))


def events_of_incident(row: Mapping[str, Any]) -> Iterator[Event]:
    """Yield the events in a record of :data:`dnsvigil.records.DIONAEA_INCIDENT`.

    Connections and credentials are in the other log, so these are the downloads alone.
    """
    if not str(row["event"]).startswith(_DOWNLOADS):
        return
    data = _object(row["data"])
    found = data.get("connection")
    connection = found if isinstance(found, dict) else {}
    client, url = connection.get("remote_ip"), data.get("url")
    session = f"{client}:{connection.get('remote_port')}"
    hosts = tuple(hosts_in_url(url)) if isinstance(url, str) else ()
    real = connection.get("transport") != "udp"
    yield Event(
        row["ts"], row["sensor"], session, client if isinstance(client, str) else None, "download", None, real, hosts
    )


def _load(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None


def _object(text: str | None) -> dict[str, Any]:
    found = _load(text)
    return found if isinstance(found, dict) else {}


def _list(found: Any) -> list[Any]:
    return found[:_MAX_COMMANDS] if isinstance(found, list) else []


def _texts(command: Any) -> Iterator[str]:
    """Yield the words of an FTP command, whose arguments are a text or a list of texts."""
    if isinstance(command, dict):
        arguments = command.get("arguments")
        for word in (command.get("command"), *(arguments if isinstance(arguments, list) else [arguments])):
            if isinstance(word, str):
                yield word
