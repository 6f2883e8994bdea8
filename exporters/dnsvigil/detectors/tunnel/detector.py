"""Finds tunnels and leaks: clients that send data out in names that are always new, and receive data in the answers.

docs/detectors/tunnel.md has the formula, what it was measured to find, and its blind spots.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar, Final

from dnsvigil.detectors import floods, inputs
from dnsvigil.detectors.detector import Anomaly, Context, Detector
from dnsvigil.detectors.names import NameScores
from dnsvigil.detectors.tunnel import implants
from dnsvigil.detectors.tunnel.flooding import separate
from dnsvigil.detectors.tunnel.group import MIN_SCORE, groups, octets
from dnsvigil.detectors.tunnel.queries import Leaks
from dnsvigil.detectors.tunnel.standing import standing
from dnsvigil.detectors.tunnel.window import WINDOWS, Window
from dnsvigil.store.findings import QUIET
from dnsvigil.store.store import Read

_MIN_NAMES: Final = 4
_SUSPECT: Final = 0.2  # of the bytes for one half; a domain with less is not evaluated
_MAX_REPORTED: Final = 200


class Tunnel(Detector):
    """Evaluates clients, domains, and groups of them over two, seven and twenty-four hours."""

    name = "tunnel"
    reads: ClassVar[Sequence[str]] = ("novel",)
    learns: ClassVar[str] = "the name score, for implants; volume has nothing to train"

    def __init__(self, context: Context) -> None:
        self._leaks = Leaks()
        self._names = NameScores(context.state)
        self._results: dict[Window, tuple[int, list[Anomaly]]] = {}  # of each window, with the number of its step
        self._now = datetime.min

    def evaluate(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        """Return the clients, and the domains of several clients, that carry data."""
        if now <= self._now:  # evaluated again, a time may have more rows
            self._results.clear()
        self._now = now
        for window in WINDOWS:
            step = (now - datetime.min) // window.every
            if window not in self._results or self._results[window][0] != step:
                self._results[window] = step, self._evaluate(read, now, window)
        worst: dict[tuple[str | None, str, str], Anomaly] = {}
        for _, anomalies in self._results.values():
            for anomaly in anomalies:
                # What has ended is still in the sums, but no longer a finding.
                if anomaly.last_seen > now - QUIET:
                    key = anomaly.detector, anomaly.subject_type, anomaly.subject
                    worst[key] = max(worst.get(key, anomaly), anomaly, key=lambda one: one.score)
        return sorted(worst.values(), key=lambda one: -one.score)[:_MAX_REPORTED]

    def learning(self, read: Read, now: datetime) -> str:
        """Return that every name is new, while that is so."""
        return inputs.learning(read, now)

    def lacks(self, read: Read, now: datetime) -> Sequence[str]:
        """Return whether answers are not seen in the logs."""
        return inputs.lacks(read, now, answers=True)

    def _evaluate(self, read: Read, now: datetime, window: Window) -> list[Anomaly]:
        since = now - window.length
        least = _SUSPECT * window.half
        domains = {
            row["domain"]: row
            for row in self._leaks.carriers(read, since, now, least)
            if max(row["names"], row["text_names"]) >= _MIN_NAMES and octets(row) * standing(row)[0] >= least
        }
        lonely = {row["domain"]: row for row in self._leaks.lonely(read, since, now)}
        rows = self._leaks.carried(read, since, now, [*(domains | lonely)])
        pairs, flooding, left = separate([row for row in rows if row["domain"] in domains], domains)
        found = [one for group in groups(pairs, domains, left, window) for one in group.anomalies()]
        others = {name: row["names"] for name, row in left.items()}
        hours = window.length.total_seconds() / 3600
        found += floods.anomalies(flooding, domains, others, hours, window.flood_half)
        self._names.reload()
        # What clients do together is one finding.
        grouped = {client for one in found if one.subject_type == "domain" for client in one.evidence["clients"]}
        alone = [row for row in rows if row["domain"] in lonely and row["client"] not in grouped]
        found += implants.anomalies(alone, lonely, self._look, hours)
        return [anomaly for anomaly in found if anomaly.score >= MIN_SCORE]

    def _look(self, labels: Iterable[str]) -> list[float]:
        """Return how far labels look generated, as if they were domains."""
        domains = [f"{label}.com" for label in labels]
        self._names.score(domains)
        return [self._names.look(domain) for domain in domains]
