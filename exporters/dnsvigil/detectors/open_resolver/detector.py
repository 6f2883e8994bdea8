"""Finds open resolvers: hosts in the operator's networks that answer recursive queries from outside.

docs/detectors/open_resolver.md has the score, what it was measured to find, and its blind spots.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

from dnsvigil.detectors.detector import Anomaly, Context, Detector
from dnsvigil.detectors.labelled import Labelled, Neighbours
from dnsvigil.detectors.open_resolver.evidence import evidence_of
from dnsvigil.detectors.open_resolver.flows import MAX_HOSTS as MAX_HOSTS_OF_FLOWS
from dnsvigil.detectors.open_resolver.flows import OwnFlows
from dnsvigil.detectors.open_resolver.host import Host, together, verdict_on
from dnsvigil.detectors.open_resolver.kinds import LABELLED
from dnsvigil.detectors.open_resolver.sensor import count_hosts, dropped, seen_by_sensors
from dnsvigil.detectors.open_resolver.traffic import DAY
from dnsvigil.store.scanned_hosts import OUTDATED_AFTER, newest_scan, open_by_scans
from dnsvigil.store.store import Read

MAX_HOSTS: Final = 2000
"""So many hosts of sensors, and so many of scans, are listed at most: those with the most bytes in responses."""

ALL: Final = "*"
"""The subject of the finding that there are more open hosts than are listed."""

_HOUR: Final = timedelta(hours=1)
_FLOODED: Final = 0.9
_OPEN_FINDINGS: Final = """
    SELECT subject, min(first_seen) FROM findings WHERE detector = 'open_resolver' AND state = 'open' GROUP BY subject
"""
_SENSOR: Final = "SELECT max(ts) FROM capture WHERE ts < $1"

NO_SENSOR: Final = (
    "no sensor runs the package's open-resolver script: what only flows show scores at most 0.75, and transparent"
    " forwarders stay unseen"
)
NO_FLOWS: Final = "there are no flows: hosts whose traffic passes no sensor stay unseen"
TOO_MANY: Final = (
    f"flows show {MAX_HOSTS_OF_FLOWS:,} own hosts or more that answer the outside: only those with the most bytes in"
    " answers are looked at"
)
NO_NETWORKS: Final = "flows.networks in the configuration is empty: flows do not show which hosts are your own"


class OpenResolver(Detector):
    """Scores each open host by the harm that it can do."""

    name: ClassVar[str] = "open_resolver"
    reads: ClassVar[Sequence[str]] = ("open_resolvers", "slot_hosts", "dns_flows", "scanned_hosts")
    every: ClassVar[timedelta] = timedelta(minutes=5)
    labelled: ClassVar[Labelled | None] = LABELLED

    def __init__(self, context: Context) -> None:
        config = context.config
        self._flows = OwnFlows([str(network) for network in config.flows.networks])
        self._networks = bool(config.flows.networks)
        self._limits: Sequence[str] = ()
        self._neighbours = Neighbours(LABELLED, context.state)

    def evaluate(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        """Return the hosts that are open now: in a day a sensor or flows, or of late a scan, saw them answer."""
        self._neighbours.reload()
        scans = open_by_scans(read, now)
        hosts = together(seen_by_sensors(read, now, MAX_HOSTS), self._flows.seen(read, now), scans[:MAX_HOSTS])
        known = dict(read(_OPEN_FINDINGS))
        self._look_at_inputs(read, now)
        found = [self._anomaly(host, known.get(host.address), now) for host in hosts]
        lost = dropped(read, now - _HOUR, now)
        listed = max(count_hosts(read, now), len(scans))
        if lost or listed > MAX_HOSTS:
            found.append(_flood(listed, lost, now))
        return found

    def problems(self) -> Sequence[str]:
        """Return why the operator's own examples cannot be used."""
        return [self._neighbours.problem] if self._neighbours.problem else []

    def model_time(self) -> datetime | None:
        """Return when the operator's own examples were written."""
        return self._neighbours.time

    def limits(self) -> Sequence[str]:
        """Return who does not look."""
        return self._limits

    def lacks(self, read: Read, now: datetime) -> Sequence[str]:
        """Return what came once and does not come any more."""
        sensor, flows, scan = _newest_of_sensors(read, now), self._flows.newest(read, now), newest_scan(read, now)
        ages = {"open-resolver log": (sensor, _HOUR), "flows": (flows, _HOUR), "recent scans": (scan, OUTDATED_AFTER)}
        return [what for what, (newest, bound) in ages.items() if newest and newest < now - bound]

    def _look_at_inputs(self, read: Read, now: datetime) -> None:
        sensor, flows = _newest_of_sensors(read, now), self._flows.newest(read, now)
        missing = {
            NO_SENSOR: not sensor,
            NO_FLOWS: not flows,
            NO_NETWORKS: bool(flows) and not self._networks,
            TOO_MANY: self._flows.full,
        }
        self._limits = [text for text, is_so in missing.items() if is_so]

    def _anomaly(self, host: Host, known: datetime | None, now: datetime) -> Anomaly:
        verdict = verdict_on(host, self._neighbours)
        state = "still open" if known and known < now - DAY else "new"
        severity = "critical" if verdict.abused else "warning"
        # It stays open until nobody has seen it for a day, though nobody may query it for hours.
        return Anomaly(
            "host", host.address, verdict.score, severity, min(host.first, now), now, evidence_of(host, verdict, state),
            severity_ends=True,
        )  # fmt: skip


def _newest_of_sensors(read: Read, now: datetime) -> datetime | None:
    newest: datetime | None = read(_SENSOR, now)[0][0]
    return newest


def _flood(listed: int, dropped: int, now: datetime) -> Anomaly:
    parts = []
    if listed > MAX_HOSTS:
        parts.append(f"{listed:,} hosts of your networks seem to be open, but only {MAX_HOSTS:,} are listed.")
    if dropped:
        parts.append(f"The sensors had no room for {dropped:,} open hosts and queries from outside in an hour.")
    what = f"{' '.join(parts)} A flood may hide open resolvers."
    evidence: dict[str, Any] = {"what": what, "domains": [], "hosts": listed, "dropped": dropped}
    return Anomaly("host", ALL, _FLOODED, "warning", now, now, evidence)
