"""Walks through numbered names below a domain, as of scanners that look for hosts."""

from datetime import datetime
from typing import Any, Final

from dnsvigil.detectors.abuse.spam import ALONE
from dnsvigil.detectors.detector import Anomaly
from dnsvigil.detectors.sequences import pattern_of
from dnsvigil.detectors.techniques import GATHER_DNS
from dnsvigil.engines.established import are_established
from dnsvigil.records import FLOOD, SINGLE_LABEL
from dnsvigil.store.client_lookups import SWEEP
from dnsvigil.store.store import Read

_LEAST: Final = 50  # new names
_HALF: Final = 128
_POPULAR: Final = 0.25  # of a name below one of the million most popular domains
_MAX_WALKS: Final = 2000
_SHOWN: Final = 6
_WALKS: Final = f"""
    SELECT client, domain, sum(names)::BIGINT, sum(failed_names)::BIGINT, min(first_seen), max(last_seen),
        list_distinct(flatten(list(samples)))[:24]
    FROM novel WHERE hour > $1 AND hour < $2 AND names > 0 AND domain NOT IN ('{FLOOD}', '{SINGLE_LABEL}')
    GROUP BY client, domain HAVING sum(names) >= {_LEAST} ORDER BY sum(names) DESC, client, domain LIMIT {_MAX_WALKS}
"""


def walks(read: Read, since: datetime, now: datetime, days: int) -> list[Anomaly]:
    """Return the clients that walk through names that nobody asked for before; ``days`` of the past are known."""
    rows = read(_WALKS, since, now)
    popular = are_established([domain for _, domain, *_ in rows]) if rows else ()
    found = []
    for (client, domain, names, failed, first, last, samples), is_popular in zip(rows, popular, strict=True):
        pattern = pattern_of([name.removesuffix(f".{domain}") for name in samples], names)
        if pattern is None:
            continue
        weighed = names * (_POPULAR if is_popular else 1)
        score = min(weighed / (weighed + _HALF), 1.0 if days else ALONE)
        evidence: dict[str, Any] = {
            "what": f"Client {client} walks through numbered names below {domain}: {names:,} such as {samples[0]}."
            " It may look for hosts to attack.",
            "domains": [domain],
            "names": names,
            "failures": failed,
            "pattern": f"{pattern}.{domain}",
            "samples": samples[:_SHOWN],
            "days_known": days,
            "technique": GATHER_DNS,
        }
        found.append(Anomaly("client", client, score, "warning", first, last, evidence, SWEEP))
    return found
