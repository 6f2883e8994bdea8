"""Clients and domains that belong together: what they carry, and the anomaly that they are."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from dnsvigil.detectors.detector import Anomaly
from dnsvigil.detectors.disjoint_set import DisjointSet
from dnsvigil.detectors.floods import Row
from dnsvigil.detectors.techniques import EXFILTRATION, TUNNELING
from dnsvigil.detectors.tunnel.received import received_in, without_addresses
from dnsvigil.detectors.tunnel.shape import MAX_SAMPLES, PROBE, data_share, density, names_below, resembles
from dnsvigil.detectors.tunnel.standing import standing
from dnsvigil.detectors.tunnel.window import Window
from dnsvigil.records import NOVEL_COUNTS

MIN_SCORE: Final = 0.1
"""The lowest score that is reported."""

_TEXT: Final = 3.0  # additional weight of octets in queries for types that can carry anything
_DOWN: Final = 0.5  # share of the octets of answers that is data: the rest is framing, or text for fewer bytes
_SHARED: Final = 0.2  # more is needed for each further client or domain: what many use is a service
_MAX_LINKED: Final = 8  # clients of a domain that may join it with others
_LINK: Final = 0.05  # of the bytes for one half; a client and a domain with less are not joined
_LED: Final = 2 / 3  # of all bytes, which make the finding one client's own
_DYNAMIC: Final = 0.9  # of the answered names at least have their address in them ...
_ADDRESSES: Final = 0.02  # ... and carry no more than that
_SHOWN: Final = 6  # samples of a finding
_SHOWN_DOMAINS: Final = 10
_SHOWN_CLIENTS: Final = 20
_MAX_SHOWN: Final = 300  # characters of a name


def octets(row: Row) -> float:
    """Return the octets carried by new labels, and by answers of types that can carry anything, which weigh more."""
    open_text = row["text_names"] / max(row["names"], row["text_names"], 1)
    carried: float = (row["label_bytes"] + _DOWN * row["answer_bytes"] * open_text) * (1 + _TEXT * open_text)
    return carried


@dataclass
class Pair:
    """What one client carries in one domain."""

    row: Row
    samples: list[str]  # the names below the domain
    density: float  # of the samples, bits an octet over 8
    share: float  # of the octets that may be data, by what the domain is and by the shape of the samples
    why: list[str]  # the share is less than 1

    @property
    def client(self) -> str:
        """Return the address of the client."""
        return str(self.row["client"])

    @property
    def domain(self) -> str:
        """Return the registered domain."""
        return str(self.row["domain"])

    @property
    def bytes(self) -> float:
        """Return the bytes of data carried, as far as they can be estimated."""
        return octets(self.row) * self.density * self.share


@dataclass
class Group:
    """Clients and domains that belong together."""

    pairs: list[Pair]
    window: Window
    clients: int  # all of them; some may be in no pair
    bytes: float

    def anomalies(self) -> list[Anomaly]:
        """Return the group as an anomaly, or its clients if they score more by themselves."""
        if _score(self.bytes, self.window.half) < MIN_SCORE:
            return []
        by_client: defaultdict[str, list[Pair]] = defaultdict(list)
        for pair in self.pairs:
            by_client[pair.client].append(pair)
        own = {
            client: Group(pairs, self.window, 1, sum(each.bytes for each in pairs))
            for client, pairs in by_client.items()
        }
        leading = max(own, key=lambda client: own[client].bytes)
        if own[leading].bytes >= _LED * self.bytes:
            return [own[leading]._anomaly("client", leading)]
        score = self.score
        alone = {client: group for client, group in own.items() if group.score > score}
        if not alone:
            return [self._anomaly("domain", self._domains()[0])]
        # Of a domain with very many clients these may be all, so the score first: the evidence takes long.
        return [group._anomaly("client", client) for client, group in alone.items() if group.score >= MIN_SCORE]

    @property
    def half(self) -> float:
        """Return the bytes that make a score of one half."""
        size = max(self.clients, len({pair.domain for pair in self.pairs}))
        return self.window.half * (1 + _SHARED * (size - 1))

    @property
    def score(self) -> float:
        """Return the score."""
        return _score(self.bytes, self.half)

    def _domains(self) -> list[str]:
        carried: Counter[str] = Counter()
        for pair in self.pairs:
            carried[pair.domain] += round(pair.bytes)
        return [domain for domain, _ in carried.most_common()]

    def _anomaly(self, subject_type: str, subject: str) -> Anomaly:
        several = len({pair.client for pair in self.pairs}) > 1
        critical = self.score >= 0.9 or (several and self.score >= 0.75)
        return Anomaly(
            subject_type,
            subject,
            self.score,
            "critical" if critical else "warning",
            min(pair.row["first_seen"] for pair in self.pairs),
            max(pair.row["last_seen"] for pair in self.pairs),
            self._evidence(subject_type),
        )

    def _evidence(self, subject_type: str) -> dict[str, Any]:
        pairs = sorted(self.pairs, key=lambda pair: -pair.bytes)
        clients = list(dict.fromkeys(pair.client for pair in pairs))
        sums = {name: sum(int(pair.row[name]) for pair in pairs) for name in NOVEL_COUNTS}
        turns = (((pair, name) for name in pair.samples) for pair in pairs)
        samples = [each for turn in zip_longest(*turns) for each in turn if each][:MAX_SAMPLES]
        # Pairs run at the same time, so the longest counts.
        seconds = 60 * max(max(int(pair.row["active"]), 1) for pair in pairs)
        up = sum(pair.row["label_bytes"] * pair.density for pair in pairs)
        down = sum(pair.row["answer_bytes"] for pair in pairs) * _DOWN
        evidence: dict[str, Any] = {
            "domains": [_shown(domain) for domain in self._domains()[:_SHOWN_DOMAINS]],
            "clients": [_shown(client) for client in clients[:_SHOWN_CLIENTS]],
            "clients_asking": self.clients if subject_type == "domain" else max(pair.row["clients"] for pair in pairs),
            "hours": self.window.length.total_seconds() / 3600,
            "bytes": round(self.bytes),
            "bytes_for_half": round(self.half),
            "bytes_up_per_second": round(up / seconds, 2),
            "bytes_down_per_second": round(down / seconds, 2),
            "minutes_active": seconds // 60,
            "mean_name_octets": round(sums["label_bytes"] / max(sums["names"], 1), 1),
            "bits_per_octet": round(8 * pairs[0].density, 1),
            **sums,
            "newly_observed": any(pair.row["newly_observed"] for pair in pairs),
            "samples": [_shown(f"{name}.{pair.domain}") for pair, name in samples[:_SHOWN]],
        }
        if sources := [source for pair in pairs for source in pair.row["sources"] or ()]:
            evidence["client_addresses"] = list(dict.fromkeys(sources))[:_SHOWN_DOMAINS]
        evidence["technique"] = EXFILTRATION
        if alike := resembles([name for _, name in samples]):
            evidence |= {"resembles": alike, "technique": TUNNELING}
        if why := list(dict.fromkeys(reason for pair in pairs for reason in pair.why)):
            evidence["weighed_down"] = why
        return evidence


def groups(pairs: Iterable[Row], domains: Mapping[str, Row], left: Mapping[str, Row], window: Window) -> list[Group]:
    """Return clients and domains joined into groups: a leak may be spread over a few of each.

    ``left`` has the sums of domains with floods, without those floods.
    """
    standings = {name: standing(domain) for name, domain in domains.items()}
    made = [_pair(row, domains[row["domain"]], *standings[row["domain"]]) for row in pairs]
    linked: DisjointSet[tuple[str, str]] = DisjointSet()
    for pair in made:
        client, domain = ("client", pair.client), ("domain", pair.domain)
        linked.add(client)
        linked.add(domain)
        few = pair.row["clients"] <= _MAX_LINKED and pair.share >= PROBE
        if few and pair.bytes >= _LINK * window.half:
            linked.merge(client, domain)
    joined: defaultdict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in made:
        joined[linked["domain", pair.domain]].append(pair)
    groups = []
    for members in joined.values():
        carried = sum(pair.bytes for pair in members)
        clients = len({pair.client for pair in members})
        if len({pair.domain for pair in members}) == 1 and members[0].row["clients"] > len(members):
            # Only some clients of a large domain are listed; the others are assumed to be alike.
            name = members[0].domain
            whole, shown = octets(left.get(name, domains[name])), sum(octets(pair.row) for pair in members)
            carried, clients = carried * max(whole / max(shown, 1), 1), members[0].row["clients"]
        groups.append(Group(members, window, clients, carried))
    return groups


def _pair(row: Row, domain: Row, share: float, why: list[str]) -> Pair:
    names = names_below(row)
    data, reasons = data_share(names, domain)
    received = received_in(row)
    if received and len(received) - len(without_addresses(received)) >= _DYNAMIC * len(received):
        data, reasons = min(data, _ADDRESSES), ["addresses, as of a provider's customers"]
    return Pair(row, names, density(names), share * data, [*why, *reasons])


def _score(carried: float, half: float) -> float:
    return carried / (carried + half)


def _shown(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
