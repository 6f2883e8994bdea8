"""Finds the operator's own clients that attack a honeypot: nobody has a reason to log in there.

docs/detectors/honeypot.md has the scores.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, NamedTuple

from dnsvigil.detectors.detector import Anomaly, Context, Detector
from dnsvigil.detectors.techniques import BRUTE_FORCE
from dnsvigil.store.findings import QUIET
from dnsvigil.store.store import Read
from dnsvigil.system.terminal import counted

_DAY: Final = timedelta(hours=24)
_ACTED: Final = 0.95
_LOGGED_IN: Final = 0.8
_MAX_CONNECTED: Final = 0.7
_HALF: Final = 5  # connections
_MAX_CLIENTS: Final = 1000
_SHOWN: Final = 10
_NO_NETWORKS: Final = (
    "flows.networks in the configuration has no network, so an attacker of a honeypot is never known to be a client"
)
_NO_HONEYPOTS: Final = (
    "sources.honeypots in the configuration is empty: there is no honeypot that a client could attack"
)
_ATTACKERS: Final = f"""
    SELECT client, min(first_seen), max(last_seen), count(DISTINCT (sensor, session)), sum(connections)::BIGINT,
        sum(logins)::BIGINT, sum(commands)::BIGINT, sum(downloads)::BIGINT, list_sort(list(DISTINCT sensor)),
        list_distinct(flatten(list(hosts)))[:{_SHOWN}]
    FROM honeypot_sessions WHERE last_seen >= $1 AND first_seen <= $2
    GROUP BY client ORDER BY max(last_seen) DESC, client LIMIT {_MAX_CLIENTS}
"""


class _Attacker(NamedTuple):
    client: str
    first_seen: datetime
    last_seen: datetime
    sessions: int
    connections: int
    logins: int
    commands: int
    downloads: int
    sensors: list[str]
    hosts: list[str]


class Honeypot(Detector):
    """Scores each attacker in the operator's networks by what it did in a day."""

    name: ClassVar[str] = "honeypot"
    reads: ClassVar[Sequence[str]] = ("honeypot_sessions",)
    learns: ClassVar[str] = "nothing to train: nobody has a reason to log in to a honeypot"

    def __init__(self, context: Context) -> None:
        config = context.config
        self._honeypots = bool(config.sources.honeypots)
        self._networks = bool(config.flows.networks)

    def evaluate(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        """Return the clients that attacked a honeypot within a day, as long as they go on."""
        attackers = [_Attacker(*row) for row in read(_ATTACKERS, now - _DAY, now)]
        return [_anomaly(each) for each in attackers if each.last_seen > now - QUIET]

    def problems(self) -> Sequence[str]:
        """Return that no client can be recognized where the operator's networks are not known."""
        return [_NO_NETWORKS] if self._honeypots and not self._networks else []

    def limits(self) -> Sequence[str]:
        """Return that there is no honeypot."""
        return [] if self._honeypots else [_NO_HONEYPOTS]


def _anomaly(attacker: _Attacker) -> Anomaly:
    if attacker.commands or attacker.downloads:
        score, severity = _ACTED, "critical"
        did = f"logs in to a honeypot and runs {counted(attacker.commands, 'command')} there"
    elif attacker.logins:
        score, severity = _LOGGED_IN, "warning"
        did = f"tries to log in to a honeypot {counted(attacker.logins, 'time')}"
    else:
        score, severity = min(attacker.connections / (attacker.connections + _HALF), _MAX_CONNECTED), "warning"
        did = f"connects to a honeypot {counted(attacker.connections, 'time')}"
    evidence: dict[str, Any] = {
        "what": f"Client {attacker.client} {did}, in {counted(attacker.sessions, 'session')}.",
        "domains": [],
        **({"technique": BRUTE_FORCE} if attacker.logins else {}),
        "honeypots": attacker.sensors[:_SHOWN],
        "sessions": attacker.sessions,
        "connections": attacker.connections,
        "logins": attacker.logins,
        "commands": attacker.commands,
        "downloads": attacker.downloads,
        "fetched_from": attacker.hosts,
    }
    return Anomaly("client", attacker.client, score, severity, attacker.first_seen, attacker.last_seen, evidence)
