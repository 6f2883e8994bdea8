"""A detector for dnsvigil: clients that query very many newly observed domains."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from dnsvigil.detectors.detector import Anomaly, Context, Detector
from dnsvigil.store.store import Read

QUERY = """
    SELECT client, count(DISTINCT domain), min(first_seen), max(last_seen), list(DISTINCT domain)[:10]
    FROM novel
    WHERE newly_observed AND hour >= $1 AND hour < $2
    GROUP BY client
    HAVING count(DISTINCT domain) >= 10
"""


class Curious(Detector):
    """Scores a client by the number of newly observed domains that it queried in about an hour; 100 score 0.5."""

    name = "curious"
    reads = ("novel",)
    every = timedelta(minutes=5)

    def __init__(self, context: Context) -> None:
        pass

    def evaluate(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        for client, domains, first_seen, last_seen, some in read(QUERY, now - timedelta(hours=2), now):
            evidence = {"newly_observed_domains": domains, "domains": some}
            score = domains / (domains + 100)
            yield Anomaly("client", client, score, "warning", first_seen, last_seen, evidence)
