"""Finds fast flux: domains whose names move over hosts in many networks, so that nobody can switch them off.

docs/detectors/fast_flux.md has the formula, what it was measured to find, and its blind spots.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, ClassVar, Final

from dnsvigil.detectors.detector import Anomaly, Context, Detector
from dnsvigil.detectors.fast_flux.growth import Growth, growth
from dnsvigil.detectors.fast_flux.queries import Host, Tuples
from dnsvigil.detectors.places import NO_TABLE, Places, is_global
from dnsvigil.detectors.techniques import FAST_FLUX
from dnsvigil.engines.established import are_established
from dnsvigil.features.flux import MIN_NETWORKS
from dnsvigil.sources.public_suffixes import registered_domain
from dnsvigil.store.findings import QUIET
from dnsvigil.store.store import Read
from dnsvigil.store.tuple_keys import data_of_key, key_of_name, name_of_key

_RECENT: Final = timedelta(hours=3)  # in which a name must have had addresses in several networks
_WINDOW: Final = timedelta(hours=24)
_MAX_CHOSEN: Final = 1000  # names
_MIN_SCORE: Final = 0.1
_MIN_SERVER: Final = 0.3  # score of a name server that moves as well
_OLD: Final = timedelta(days=30)  # a botnet's name rarely moves for so long
_SHOWN: Final = 10

SINGLE, DOUBLE, SERVERS = ("single", "double", "name servers")
"""What moves: names, names and their domain's name servers, or these alone."""

_MEANINGS: Final = {
    SINGLE: "Botnets hide their servers like this (fast flux).",
    DOUBLE: "The name servers of the domain move, too (double flux).",
    SERVERS: "It is a name server of the domain.",
}
_EPOCH: Final = datetime(1970, 1, 1)
_CLIENTS: Final = """
    SELECT DISTINCT domain, client FROM novel WHERE list_contains($1::VARCHAR[], domain) AND hour >= $2 AND hour < $3
    ORDER BY domain, client
"""


class FastFlux(Detector):
    """Scores the domains of names whose addresses grow over autonomous systems, or networks."""

    name: ClassVar[str] = "fast_flux"
    reads: ClassVar[Sequence[str]] = ("passive_dns_new", "passive_dns_files", "novel")
    learns: ClassVar[str] = "nothing to train: growth over networks and time against fixed bounds"
    every: ClassVar[timedelta] = timedelta(minutes=5)

    def __init__(self, context: Context) -> None:
        self._tuples = Tuples(context.state)
        self._places = Places(context.config.domains.networks)
        self._past = Tuples(context.state)  # of its own, as each remembers what it could not read last
        self._moving_since: dict[str, datetime | None] = {}  # of the last day, by the key of the name
        self._looked_back = datetime.min

    def evaluate(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        """Return the domains whose names move."""
        names = _candidates(self._tuples.scattered(read, now - _RECENT, now))
        hosts = self._tuples.hosts(read, now - _WINDOW, now, list(names))
        hosts = {key: [host for host in each if is_global(host.key)] for key, each in hosts.items()}
        self._places.learn(host.key for each in hosts.values() for host in each)
        moving: defaultdict[str, dict[str, Growth]] = defaultdict(dict)
        for key, each in hosts.items():
            found = growth(each, self._places.of)
            if found and found.score >= _MIN_SCORE and _time(found.last) > now - QUIET:
                moving[names[key]][key] = found
        domains = [key_of_name(domain) for domain in moving]
        servers = self._tuples.name_servers(read, now - _WINDOW, now, domains)
        clients: defaultdict[str, list[str]] = defaultdict(list)
        for domain, client in read(_CLIENTS, list(moving), now - _WINDOW, now) if moving else ():
            clients[domain].append(client)
        every = {key: found for each in moving.values() for key, found in each.items()}
        self._look_back(read, now, every)
        nets = [_net(domain, found, servers.get(key_of_name(domain), ()), every) for domain, found in moving.items()]
        return [self._anomaly(net, hosts, clients[net.domain], now) for net in nets]

    def problems(self) -> Sequence[str]:
        """Return what cannot be read."""
        problems = dict.fromkeys((self._places.problem, self._tuples.unreadable, self._past.unreadable))
        return [problem for problem in problems if problem]

    def lacks(self, read: Read, now: datetime) -> Sequence[str]:
        """Return whether passive DNS has no addresses of the window."""
        return [] if self._tuples.has_addresses(read, now - _WINDOW, now) else ["addresses"]

    def limits(self) -> Sequence[str]:
        """Return that AS numbers are not known where no table has them."""
        return [NO_TABLE] if self._places.none else []

    def _look_back(self, read: Read, now: datetime, keys: Iterable[str]) -> None:
        """Find since when names have moved, of those that did so before ``_OLD``; once a day, as the past is long."""
        if not self._looked_back <= now < self._looked_back + _WINDOW:
            self._moving_since, self._looked_back = {}, now
        new = [key for key in keys if key not in self._moving_since]
        past = self._past.hosts(read, _EPOCH, now - _OLD, new) if new else {}
        for key in new:
            known = [host for host in past.get(key, ()) if is_global(host.key)]
            self._places.learn(host.key for host in known)
            firsts: dict[str, int] = {}
            for host in known:  # in the order of their time
                firsts.setdefault(self._places.of(host.key), host.first)
            times = sorted(firsts.values())
            self._moving_since[key] = _time(times[MIN_NETWORKS - 1]) if len(times) >= MIN_NETWORKS else None

    def _anomaly(
        self, net: "_Net", hosts: Mapping[str, Sequence[Host]], clients: Sequence[str], now: datetime
    ) -> Anomaly:
        best, name = net.best, name_of_key(net.key)
        hours = max((best.last - best.first) / 3600, 0.1)
        unit = self._places.unit
        found = hosts[net.key]
        evidence: dict[str, Any] = {
            "what": f"Name {name} moves over hosts: {best.addresses:,} addresses in {best.networks:,} {unit} within"
            f" {hours:.1f} hours, {best.new:,} of these {unit} after the beginning. {_MEANINGS[net.kind]}",
            "domains": [net.domain],
            "technique": FAST_FLUX,
            "kind": net.kind,
            "names": [name_of_key(key) for key in net.names[:_SHOWN]],
            "name_servers": [name_of_key(key) for key in net.servers[:_SHOWN]],
            "addresses_seen": best.addresses,
            "counted": unit,
            "networks": best.networks,
            "new_networks": best.new,
            "evenness": round(best.evenness, 2),
            "lasting": round(best.lasting, 2),
            "ttl_seconds": best.ttl,
            "hours": round(hours, 1),
            "samples": [data_of_key(host.key) for host in found[-_SHOWN:]],
            "clients_asking": len(clients),
            "clients": list(clients[:_SHOWN]),
        }
        severity = "critical" if net.kind == DOUBLE else "warning"
        score = net.score
        if since := self._moving_since[net.key]:
            evidence["moving_since"] = since.isoformat()
            score *= _OLD / max(now - since, _OLD)
        return Anomaly("domain", net.domain, score, severity, _time(best.first), _time(best.last), evidence)


@dataclass(frozen=True)
class _Net:
    domain: str
    kind: str
    score: float
    key: str  # of the name that moves most
    best: Growth  # of that name
    names: Sequence[str]  # the keys of all that move, those that move most first
    servers: Sequence[str]  # those of name servers that move


def _net(domain: str, found: Mapping[str, Growth], asked: Collection[str], every: Mapping[str, Growth]) -> _Net:
    """Return what the names of a domain, and those of the servers ``asked`` for it, are together."""

    def by_score(keys: Iterable[str]) -> list[str]:
        return sorted(keys, key=lambda key: (-every[key].score, key))

    servers = by_score(key for key in asked if key in every and every[key].score >= _MIN_SERVER)
    names = by_score(found.keys() - set(servers))
    kind = (DOUBLE if servers else SINGLE) if names else SERVERS
    key = (names or servers)[0]
    score = every[key].joined(every[servers[0]]) if kind == DOUBLE else every[key].score
    return _Net(domain, kind, score, key, every[key], names, servers)


def _candidates(keys: Iterable[str]) -> dict[str, str]:
    """Return names by their key, each with its registered domain, but for those of domains that all the world uses."""
    found = {key: domain for key in keys if (domain := registered_domain(name_of_key(key)))}
    distinct = list(dict.fromkeys(found.values()))
    popular = {domain for domain, is_so in zip(distinct, are_established(distinct), strict=True) if is_so}
    return dict(islice(((key, domain) for key, domain in found.items() if domain not in popular), _MAX_CHOSEN))


def _time(seconds: int) -> datetime:
    return _EPOCH + timedelta(seconds=seconds)
