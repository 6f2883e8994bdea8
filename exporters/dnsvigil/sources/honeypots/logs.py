"""The logs of honeypots that are read: their columns, and when a record is bad.

Cowrie's ``jsonlog`` has a line for each event, Dionaea's ``log_json`` one for each connection, and its ``log_incident``
one for each incident. Values that Dionaea nests are read as the text of their JSON. What attackers typed as credentials
is not read at all.
"""

from typing import Final

from dnsvigil.records import COWRIE_EVENT, DIONAEA_CONNECTION, DIONAEA_INCIDENT
from dnsvigil.sources.zeek.log_types import ADDRESS, LogType, bad_time

_BAD_ADDRESS: Final = f"NOT coalesce(regexp_full_match(client, '{ADDRESS}'), true)"
_REASONS: Final = f"WHEN {bad_time('ts')} THEN 'timestamp'"

COWRIE: Final = LogType(
    path="cowrie",
    source="cowrie",
    record=COWRIE_EVENT,
    required=("timestamp", "eventid"),
    identifying=("eventid",),
    fields={"ts": "timestamp", "event": "eventid", "client": "src_ip", "honeypot": "dst_ip", "command": "input"},
    reasons=f"{_REASONS} WHEN {_BAD_ADDRESS} THEN 'address'",
    checked=("ts", "client"),
    raw=("ts",),
    texts=("command", "url"),
)

DIONAEA: Final = LogType(
    path="dionaea",
    source="dionaea",
    record=DIONAEA_CONNECTION,
    required=("timestamp", "src_ip", "connection"),
    identifying=("src_ip",),
    fields={"ts": "timestamp", "client": "src_ip", "port": "src_port", "honeypot": "dst_ip"},
    reasons=f"{_REASONS} WHEN {_BAD_ADDRESS} THEN 'address'",
    checked=("ts", "client"),
    raw=("ts",),
)

DIONAEA_INCIDENTS: Final = LogType(
    path="dionaea_incident",
    source="dionaea",
    record=DIONAEA_INCIDENT,
    required=("timestamp", "origin", "data"),
    identifying=("origin",),
    fields={"ts": "timestamp", "event": "origin"},
    reasons=_REASONS,
    checked=("ts",),
    raw=("ts",),
)

HONEYPOT_LOGS: Final = (COWRIE, DIONAEA, DIONAEA_INCIDENTS)
