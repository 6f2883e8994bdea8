"""Finds clients that send spam or sweep reverse zones, by what is usual for them, and fan-out at resolvers.

docs/detectors/abuse.md has the formulas, what they were measured to find, and their blind spots.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Final

from dnsvigil.detectors import inputs
from dnsvigil.detectors.abuse.amounts import Usual, hours
from dnsvigil.detectors.abuse.fan_out import fan_out
from dnsvigil.detectors.abuse.spam import spam
from dnsvigil.detectors.abuse.sweep import Sweeps
from dnsvigil.detectors.abuse.walk import walks
from dnsvigil.detectors.detector import Anomaly, Context, Detector
from dnsvigil.detectors.passive_dns import Tuples
from dnsvigil.store.findings import QUIET
from dnsvigil.store.store import Read

_WINDOW: Final = timedelta(hours=2)
_MIN_SCORE: Final = 0.1
_MAX_REPORTED: Final = 200
_NO_PAST: Final = "no whole day of look-ups is known yet, so that nothing is usual for any client, and scores are low"


class Abuse(Detector):
    """Scores what clients ask for about mail and addresses in the hour that it is, and in the one before."""

    name: ClassVar[str] = "abuse"
    reads: ClassVar[Sequence[str]] = (
        "client_lookups", "client_lookup_days", "passive_dns_new", "passive_dns_files", "novel",
    )  # fmt: skip
    learns: ClassVar[str] = "nothing to train: what is usual for clients, from its own tables, day by day"

    def __init__(self, context: Context) -> None:
        self._sweeps = Sweeps(context.config.flows.networks)
        self._tuples = Tuples(context.state)
        self._days = 0

    def evaluate(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        """Return the clients, and the domains with fan-out, that abuse the resolvers, as long as they go on."""
        found = hours(read, now - _WINDOW, now)
        usual = Usual(read, now, list({amount.client for hour in found for amount in hour.values()}))
        self._days = usual.days
        signs = [sign for hour in found for sign in (spam(hour, usual), self._sweeps.sweep(hour, usual)) if sign]
        signs += walks(read, now - _WINDOW, now, usual.days)
        worst: dict[tuple[str | None, str], Anomaly] = {}
        for one in signs:
            # What has ended is still in the tables, but no longer a finding.
            if one.score >= _MIN_SCORE and one.last_seen > now - QUIET:
                key = one.detector, one.subject
                worst[key] = max(worst.get(key, one), one, key=lambda each: each.score)
        anomalies = [*worst.values(), *fan_out(self._tuples, read, now)]
        return sorted(anomalies, key=lambda one: -one.score)[:_MAX_REPORTED]

    def problems(self) -> Sequence[str]:
        """Return whether files of passive DNS were left out."""
        return [self._tuples.unreadable] if self._tuples.unreadable else []

    def learning(self, read: Read, now: datetime) -> str:
        """Return that nothing is known of the past, while that is so."""
        return "" if self._days else _NO_PAST

    def lacks(self, read: Read, now: datetime) -> Sequence[str]:
        """Return whether the logs have no names of clients."""
        return inputs.lacks(read, now)
