"""Fan-out: delegations to very many name servers, for each of which a resolver has to ask (NXNSAttack).

One query of a client for a name in such a zone makes the resolver ask for the addresses of all these servers, which lie
below a victim's domain and do not exist (Shafir, Afek and Bremler-Barr, USENIX Security 2020). The delegations are in
passive DNS where Zeek sees what lies between the resolvers and authoritative servers.
"""

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Any, Final

from dnsvigil.detectors.detector import Anomaly
from dnsvigil.detectors.passive_dns import Tuples, time_of
from dnsvigil.detectors.techniques import REFLECTION
from dnsvigil.engines.established import are_established
from dnsvigil.sources.public_suffixes import registered_domain
from dnsvigil.store.findings import QUIET
from dnsvigil.store.store import Read
from dnsvigil.store.tuple_keys import data_of_key, name_of_key

FAN_OUT: Final = "fan_out"
"""The name that this is reported under."""

_MANY: Final = 30  # name servers of one name; zones in use have 13 at most, but for a few
_HALF: Final = 100
_CRITICAL: Final = 0.9
_MAX_NAMES: Final = 1000
_MAX_SERVERS: Final = 200  # of a name, that are looked at
_SHOWN: Final = 10
_DELEGATIONS: Final = f"""
    SELECT nkey, count(DISTINCT rkey), list(DISTINCT rkey)[:{_MAX_SERVERS}], min(time_first), max(time_last)
    FROM recent WHERE rrtype = 'NS'
    GROUP BY nkey HAVING count(DISTINCT rkey) >= {_MANY} ORDER BY count(DISTINCT rkey) DESC, nkey LIMIT {_MAX_NAMES}
"""
_CLIENTS: Final = """
    SELECT domain, list_sort(list(DISTINCT client)) FROM novel WHERE list_contains($1::VARCHAR[], domain) AND hour > $2
    AND hour < $3 GROUP BY domain
"""


def fan_out(tuples: Tuples, read: Read, now: datetime) -> list[Anomaly]:
    """Return the domains with delegations to very many name servers in the last hour."""
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for row in tuples.recent(read, now - QUIET, now, _DELEGATIONS):
        if domain := registered_domain(name_of_key(row[0])):
            found[domain].append(row)
    domains = list(found)
    popular = dict(zip(domains, are_established(domains), strict=True))
    names = [domain for domain in domains if not popular[domain]]
    clients = dict(read(_CLIENTS, names, now - timedelta(hours=2), now)) if names else {}
    return [_anomaly(domain, found[domain], clients.get(domain, [])) for domain in names]


def _anomaly(domain: str, rows: list[Any], clients: list[str]) -> Anomaly:
    servers = sum(count for _, count, *_ in rows)
    victims: Counter[str] = Counter()
    for _, _, keys, *_ in rows:
        victims.update(registered_domain(data_of_key(key)) or data_of_key(key) for key in keys)
    (victim, _), *_ = victims.most_common(1)
    score = servers / (servers + _HALF)
    evidence: dict[str, Any] = {
        "what": f"{len(rows):,} names below {domain} are delegated to {servers:,} name servers together, most of them"
        f" below {victim}: each query for them makes a resolver ask for all of these servers.",
        "domains": [domain],
        "name_servers": servers,
        "names": [name_of_key(key) for key, *_ in rows[:_SHOWN]],
        "victims": [name for name, _ in victims.most_common(_SHOWN)],
        "samples": [data_of_key(key) for key in rows[0][2][:_SHOWN]],
        "clients_asking": len(clients),
        "clients": clients[:_SHOWN],
        "technique": REFLECTION,
    }
    first, last = time_of(min(row[3] for row in rows)), time_of(max(row[4] for row in rows))
    severity = "critical" if score >= _CRITICAL else "warning"
    return Anomaly("domain", domain, score, severity, first, last, evidence, FAN_OUT)
