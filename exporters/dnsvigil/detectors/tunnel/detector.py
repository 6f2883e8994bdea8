"""Finds tunnels and leaks: clients that carry data out in names that are always new, and in again in answers.

docs/detectors/tunnel.md has the formula, what it was measured to find, and its blind spots.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import zip_longest
from typing import Any, ClassVar, Final

from scipy.cluster.hierarchy import DisjointSet

from dnsvigil.detectors import floods
from dnsvigil.detectors.detector import Anomaly, Context, Detector
from dnsvigil.detectors.floods import Flood, Row
from dnsvigil.detectors.tunnel.queries import Leaks
from dnsvigil.engines.established import is_established
from dnsvigil.records import NOVEL_COUNTS
from dnsvigil.sources.warninglists import warning_list
from dnsvigil.store.findings import QUIET
from dnsvigil.store.store import Read


@dataclass(frozen=True)
class Window:
    """The hours that began in this time are summed up, so often; so many bytes in them make a score of one half."""

    length: timedelta
    every: timedelta
    half: float
    flood_half: float  # names that do so of a flood


WINDOWS: Final = (
    Window(timedelta(hours=2), timedelta(minutes=1), 800, 300),
    Window(timedelta(hours=7), timedelta(minutes=5), 1400, 1000),
    Window(timedelta(hours=24), timedelta(minutes=15), 5000, 3000),
)

_TEXT: Final = 3.0  # times as much weighs what is asked for with types that can carry anything, beside once
_DOWN: Final = 0.5  # of the octets of answers are data: the rest is framing, or text for fewer bytes
_SHARED: Final = 0.2  # more is needed for each further client, or domain: what many use is a service
_MAX_LINKED: Final = 8  # clients of a domain that may join it with others
_LINK: Final = 0.05  # of what makes one half; a client and a domain with less are not joined
_MIN_NAMES: Final = 4
_SUSPECT: Final = 0.2  # of what makes one half; a domain with less is not looked at closely
_MIN_SCORE: Final = 0.1  # that is reported
_MAX_TOLD: Final = 200
_LED: Final = 2 / 3  # of all, that make the finding one client's own

_SERVICE: Final = 0.001
_BY_DESIGN: Final = 0.002
_POPULAR: Final = 0.01
_RANKED: Final = 0.25
_MENTION: Final = 0.01
_HOST: Final = 16  # characters of a host's name before a popular domain
_SUFFIX_LABELS: Final = 2  # behind it, that are part of the search suffix
_PROBE: Final = 0.1
_UUID: Final = 0.12
_DESIGNED_ANSWERS: Final = 0.03  # of names at least are answered as by design ...
_DESIGNED_OR_NONE: Final = 0.9  # ... and with those that there are not so many

SERVICES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("in-addr.arpa", "ip6.arpa"), "addresses in reverse"),
    **dict.fromkeys(
        (
            "abuse.ch", "abuseat.org", "abusix.zone", "barracudacentral.org", "dnswl.org", "gbudb.net",
            "interserver.net", "invaluement.com", "junkemailfilter.com", "mailspike.net", "msbl.org", "nszones.com",
            "rspamd.com", "s5h.net", "sorbs.net", "spamcop.net", "spameatingmonkey.net", "spamhaus.net",
            "spamhaus.org", "spamrats.com", "support-intelligence.net", "surbl.org", "surriel.com", "uceprotect.net",
            "uribl.com", "validity.com", "senderscore.com",
        ),
        "block lists: addresses, domains and hashes of mail",
    ),
    **dict.fromkeys(
        (
            "avast.com", "avcdn.net", "avira.com", "bitdefender.net", "brightcloud.com", "cymru.com", "e5.sk",
            "eset.com", "kaspersky-labs.com", "mcafee.com", "sophosxl.net", "trendmicro.com", "webrootcloudav.com",
        ),
        "reputation: hashes of files and pages",
    ),
    **dict.fromkeys(("vali.email", "dmarcian.com", "ondmarc.com", "spf.access.nu"), "mail policy: SPF with the sender"),
    **dict.fromkeys(
        ("dotnxdomain.net", "footprintdns.com", "cedexis-radar.net", "fastly-insights.com", "perfops.net",
         "dns-oarc.net", "test-ipv6.com", "nabu.casa", "plex.direct"),
        "measurement and devices: a name for each view or device",
    ),
}  # fmt: skip
"""Registered domains below which names are long by design, and why; the public suffixes' own customers are apart."""

_REVERSE: Final = re.compile(r"\d{1,3}(\.\d{1,3}){3}|([0-9a-f]\.){15,}[0-9a-f]")
_UUIDS: Final = re.compile(r"(?:^|\.)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?:\.|$)")
_PROBES: Final = re.compile(r"[a-z]{7,15}(?:\.[a-z]{2,8}){0,2}")
_PROBES_PER_CLIENT: Final = 5  # a minute at most, though many browsers are behind its address
_PROBES_PER_DOMAIN: Final = 200
_ESCAPED: Final = re.compile(r"\\x([0-9a-f]{2})")
_HEX: Final = re.compile(r"[0-9a-f]{18,}")
_PING: Final = re.compile(r"p[a-z0-5]{6,8}")
_NUMBERED: Final = re.compile(r"[0-9a-fp]")
_LOOKED_AT: Final = 24  # samples of a client in a domain
_SHOWN: Final = 6  # samples of a finding
_SHOWN_DOMAINS: Final = 10
_SHOWN_CLIENTS: Final = 20
_LONGEST_SHOWN: Final = 300  # characters of a name


class Tunnel(Detector):
    """Judges by client, domain, and groups of those, over two hours, seven and twenty-four."""

    name = "tunnel"
    reads: ClassVar[Sequence[str]] = ("novel",)

    def __init__(self, context: Context) -> None:
        self._leaks = Leaks()
        self._said: dict[Window, tuple[int, list[Anomaly]]] = {}
        self._now = datetime.min
        self._counts: Counter[str] = Counter(domains_judged=0)

    def evaluate(self, read: Read, now: datetime) -> Iterable[Anomaly]:
        """Return the clients, and the domains of several clients, that carry data."""
        if now <= self._now:  # asked again of a time, it may have got more rows
            self._said.clear()
        self._now = now
        for window in WINDOWS:
            step = (now - datetime.min) // window.every
            if window not in self._said or self._said[window][0] != step:
                self._said[window] = step, self._evaluate(read, now, window)
        worst: dict[tuple[str | None, str, str], Anomaly] = {}
        for _, said in self._said.values():
            for anomaly in said:
                # What has ended is still in the sums, and is no finding any more.
                if anomaly.last_seen > now - QUIET:
                    key = anomaly.detector, anomaly.subject_type, anomaly.subject
                    worst[key] = max(worst.get(key, anomaly), anomaly, key=lambda one: one.score)
        return sorted(worst.values(), key=lambda one: -one.score)[:_MAX_TOLD]

    def counts(self) -> Mapping[str, int]:
        """Return how many domains were looked at closely."""
        return self._counts

    def _evaluate(self, read: Read, now: datetime, window: Window) -> list[Anomaly]:
        since = now - window.length
        least = _SUSPECT * window.half
        domains = {
            row["domain"]: row
            for row in self._leaks.carriers(read, since, now, least)
            if row["names"] >= _MIN_NAMES and _octets(row) * _standing(row)[0] >= least
        }
        self._counts["domains_judged"] += len(domains)
        pairs, flooding, left = _apart(self._leaks.carried(read, since, now, list(domains)), domains)
        told = [one for group in _groups(pairs, domains, left, window) for one in group.anomalies()]
        others = {name: row["names"] for name, row in left.items()}
        told += floods.anomalies(flooding, domains, others, window.length.total_seconds() / 3600, window.flood_half)
        return [anomaly for anomaly in told if anomaly.score >= _MIN_SCORE]


def _apart(pairs: Sequence[Row], domains: Mapping[str, Row]) -> tuple[list[Row], list[Flood], dict[str, Row]]:
    """Return what may carry data, the floods, and the sums of domains that have floods without them.

    Of a domain with very many clients only some are among the pairs; where those are a flood, so are the others.
    """
    carrying, flooding = [], []
    flooded = set()
    # Whoever has a tunnel among them does not make one of what the others do.
    besides = {name: {**row, "leading": 0} for name, row in domains.items()}
    for row in pairs:
        domain = besides[row["domain"]]
        if floods.way_back(row):
            domain.update({name: domain[name] - row[name] for name in NOVEL_COUNTS})
        else:
            domain["leading"] = max(domain["leading"], row["names"])
    for row in pairs:
        domain = domains[row["domain"]]
        names = _below(row)
        if count := floods.flooding(row, besides[row["domain"]], names):
            flooded.add(row["domain"])
            flooding.append(Flood(row, count, _weighed(row, domain, count, names), row["samples"] or ()))
        if rest := floods.without_flood(row, count):
            carrying.append(rest)
    left: dict[str, Row] = {}
    for name in flooded:
        rests = [row for row in carrying if row["domain"] == name]
        left[name] = {"domain": name} | {each: sum(int(row[each]) for row in rests) for each in NOVEL_COUNTS}
        for row in rests:
            row["clients"] = len(rests)
    return carrying, flooding, left


def _weighed(row: Row, domain: Row, count: int, names: Sequence[str]) -> float:
    """Return how many names of a flood there are, less what such names may be besides."""
    # What repeats in names, as the octets of reversed addresses, is not random.
    random = min(count, row["labels"])
    standing, _ = _standing(domain)
    if standing >= _POPULAR:  # a popular victim
        standing **= 0.25
    minutes = max((row["last_seen"] - row["first_seen"]).total_seconds() / 60, 5)
    probes = count < _PROBES_PER_CLIENT * minutes and domain["names"] < _PROBES_PER_DOMAIN * minutes
    looks = _looks(names, domain, probes=probes)[0]
    reverse = sum(bool(_REVERSE.fullmatch(name)) for name in names) / max(len(names), 1)
    return float(random * standing * looks * (1 - reverse))


def _octets(row: Row) -> float:
    """Return the octets carried by new labels, and by answers to types that can carry anything; those weigh more."""
    # Text that says what it is for, as a key for mail, is none of these.
    open_text = max(row["text_names"] - row["design_names"], 0) / max(row["names"], 1)
    carried: float = (row["label_bytes"] + _DOWN * row["answer_bytes"] * open_text) * (1 + _TEXT * open_text)
    return carried


def _score(carried: float, half: float) -> float:
    return carried / (carried + half)


@dataclass
class _Pair:
    """What one client carries in one domain."""

    row: Row
    samples: list[str]  # the names below the domain
    density: float  # bits of an octet over 8, as far as the samples tell
    share: float  # of the octets, that may be data: by the domain's standing, and by what the samples look like
    why: list[str]  # it is not all

    @property
    def client(self) -> str:
        return str(self.row["client"])

    @property
    def domain(self) -> str:
        return str(self.row["domain"])

    @property
    def bytes(self) -> float:
        return _octets(self.row) * self.density * self.share


@dataclass
class _Group:
    """Clients and domains that belong together."""

    pairs: list[_Pair]
    window: Window
    clients: int  # all, of which some may be in no pair
    bytes: float

    def anomalies(self) -> list[Anomaly]:
        """Return the group as an anomaly, or its clients where they stand out by themselves."""
        if _score(self.bytes, self.window.half) < _MIN_SCORE:
            return []
        by_client: defaultdict[str, list[_Pair]] = defaultdict(list)
        for pair in self.pairs:
            by_client[pair.client].append(pair)
        own = {
            client: _Group(pairs, self.window, 1, sum(each.bytes for each in pairs))
            for client, pairs in by_client.items()
        }
        leading = max(own, key=lambda client: own[client].bytes)
        if own[leading].bytes >= _LED * self.bytes:
            return [own[leading]._anomaly("client", leading)]
        whole = self._anomaly("domain", self._domains()[0])
        alone = [group._anomaly("client", client) for client, group in own.items() if group.score > whole.score]
        return alone or [whole]

    @property
    def half(self) -> float:
        size = max(self.clients, len({pair.domain for pair in self.pairs}))
        return self.window.half * (1 + _SHARED * (size - 1))

    @property
    def score(self) -> float:
        return _score(self.bytes, self.half)

    def _domains(self) -> list[str]:
        carried: Counter[str] = Counter()
        for pair in self.pairs:
            carried[pair.domain] += round(pair.bytes)
        return [domain for domain, _ in carried.most_common()]

    def _anomaly(self, subject_type: str, subject: str) -> Anomaly:
        pairs = sorted(self.pairs, key=lambda pair: -pair.bytes)
        clients = list(dict.fromkeys(pair.client for pair in pairs))
        sums = {name: sum(int(pair.row[name]) for pair in pairs) for name in NOVEL_COUNTS}
        turns = (((pair, name) for name in pair.samples) for pair in pairs)
        samples = [each for turn in zip_longest(*turns) for each in turn if each][:_LOOKED_AT]
        # Of several at a time the longest: they run side by side.
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
        if alike := resembles([name for _, name in samples]):
            evidence["resembles"] = alike
        if why := list(dict.fromkeys(reason for pair in pairs for reason in pair.why)):
            evidence["weighed_down"] = why
        critical = self.score >= 0.9 or (len(clients) > 1 and self.score >= 0.75)
        return Anomaly(
            subject_type,
            subject,
            self.score,
            "critical" if critical else "warning",
            min(pair.row["first_seen"] for pair in pairs),
            max(pair.row["last_seen"] for pair in pairs),
            evidence,
        )


def _groups(pairs: Iterable[Row], domains: Mapping[str, Row], left: Mapping[str, Row], window: Window) -> list[_Group]:
    """Join clients and domains: a leak may be spread over a few of each.

    ``left`` are the sums of domains that have floods without them.
    """
    made = [_pair(row, domains[row["domain"]]) for row in pairs]
    linked = DisjointSet()
    for pair in made:
        client, domain = ("client", pair.client), ("domain", pair.domain)
        linked.add(client)
        linked.add(domain)
        few = pair.row["clients"] <= _MAX_LINKED and pair.share >= _PROBE
        if few and pair.bytes >= _LINK * window.half:
            linked.merge(client, domain)
    joined: defaultdict[tuple[str, str], list[_Pair]] = defaultdict(list)
    for pair in made:
        joined[linked["domain", pair.domain]].append(pair)
    groups = []
    for members in joined.values():
        told = sum(pair.bytes for pair in members)
        clients = len({pair.client for pair in members})
        if len({pair.domain for pair in members}) == 1 and members[0].row["clients"] > len(members):
            # Only some clients of a large domain are listed; the others are assumed to be alike.
            name = members[0].domain
            whole, shown = _octets(left.get(name, domains[name])), sum(_octets(pair.row) for pair in members)
            told, clients = told * max(whole / max(shown, 1), 1), members[0].row["clients"]
        groups.append(_Group(members, window, clients, told))
    return groups


def _below(row: Row) -> list[str]:
    """Return samples of names, without the domain."""
    ending = len(row["domain"]) + 1
    names = [name[:-ending] for name in dict.fromkeys(row["samples"] or ()) if len(name) > ending]
    return names[:: len(names) // _LOOKED_AT + 1]  # from all hours alike


def _pair(row: Row, domain: Row) -> _Pair:
    names = _below(row)
    share, why = _standing(domain)
    looks, reason = _looks(names, domain)
    return _Pair(row, names, _density(names), share * looks, [*why, *reason])


def _standing(domain: Row) -> tuple[float, list[str]]:
    """Return the share of what a domain carries that may be data, going by who and what it is; and why."""
    name, names = domain["domain"], max(domain["names"], 1)
    answered = names - domain["failed_names"]
    shares = {}
    if not answered and name.rpartition(".")[2] not in _top_level():
        shares["names below a top-level domain that does not exist go nowhere"] = 0.0
    if name in SERVICES:
        shares[f"known for {SERVICES[name]}"] = _SERVICE
    design = domain["design_names"]
    if design >= _DESIGNED_ANSWERS * names and design + domain["failed_names"] >= _DESIGNED_OR_NONE * names:
        shares["answers of a block list, a reputation service or mail policy"] = _BY_DESIGN
    if name not in _dynamic():
        if name in _popular():
            shares["among the 10,000 most popular domains"] = _POPULAR
        elif is_established(name):
            shares["among the million most popular domains"] = _RANKED
    least = min(shares.values(), default=1.0)
    return least, [why for why, share in shares.items() if share == least]


def _looks(names: Sequence[str], domain: Row, *, probes: bool = True) -> tuple[float, list[str]]:
    """Return the share of the octets of names that may be data, going by their shape; and why."""
    failing = domain["failed_names"] >= 0.98 * domain["names"]
    octets = carrying = 0.0
    why: Counter[str] = Counter()
    for name in names:
        share = 1.0
        if _UUIDS.search(name):
            share, reason = _UUID, "UUIDs, as of telemetry"
        elif failing and probes and _PROBES.fullmatch(name):
            share, reason = _PROBE, "failing names of letters, as of browsers' probes"
        elif (before := _before_mention(name)) is not None:
            # What is no longer than the name of a host is taken for one.
            share, reason = max(_MENTION, (before - _HOST) / len(name)), "popular domains, as behind a search suffix"
        octets += len(name)
        carrying += share * len(name)
        if share < 1:
            why[reason] += 1
    return (carrying / octets if octets else 1.0), [reason for reason, count in why.items() if 2 * count > len(names)]


def _before_mention(name: str) -> int | None:
    """Return how many characters stand before a popular domain that all but ends a name; None where none does."""
    labels = name.split(".")
    for end in range(len(labels), max(len(labels) - _SUFFIX_LABELS, 1) - 1, -1):
        for begin in (end - 2, end - 3):
            if begin >= 0 and is_established(".".join(labels[begin:end])):
                return len(".".join(labels[:begin]))
    return None


def _density(names: Sequence[str]) -> float:
    """Return the entropy of the octets in labels that are there once, over 8: at least 1/8, and 4/8 without any."""
    labels = Counter(label for name in names for label in name.split("."))
    octets: Counter[str] = Counter()
    for label, times in labels.items():
        if times == 1:
            octets.update(_unescaped(label))
    total = sum(octets.values())
    if total < 16:
        return 0.5
    return max(-sum(n / total * math.log2(n / total) for n in octets.values()) / 8, 0.125)


def resembles(names: Sequence[str]) -> str | None:
    """Return the program whose names these look like, the parts of names below the domain; None where none is.

    dnscat2: hexadecimal alone, the fifth and sixth digit a packet's type. iodine: bytes behind a user's number, labels
    cut at 57 characters, or pings that begin with p. dns2tcp: words with an equals sign, or base64 that begins with
    the session's number and a zero.
    """
    whole = [_unescaped(name.replace(".", "")) for name in names]
    if len(whole) < 3:
        return None

    def most(found: Iterable[object]) -> bool:
        return sum(map(bool, found)) >= 0.75 * len(whole)

    if most(_HEX.fullmatch(name) and name[4:6] in ("00", "01", "02", "03", "ff") for name in whole):
        return "dnscat2"
    cut = [label for name in names for label in name.split(".")[:-1]]
    raw = any("\\x" in name for name in names) and most(_NUMBERED.match(name) for name in names)
    if raw or any(len(_unescaped(label)) == 57 for label in cut) or most(_PING.fullmatch(name) for name in names):
        return "iodine"
    if any(re.search(r"\.=(auth|resource|connect)$", name) for name in names):
        return "dns2tcp"
    ((beginning, count),) = Counter(name[:4] for name in whole).most_common(1)
    if count >= 0.75 * len(whole) and beginning[3:] == "a" and most(len(name) >= 10 for name in whole):
        return "dns2tcp"
    return None


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "\\" in text else text


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


@cache
def _popular() -> frozenset[str]:
    return frozenset(warning_list("tranco10k"))


@cache
def _dynamic() -> frozenset[str]:
    """Return domains below which anyone may register a name, so their own popularity does not count."""
    return frozenset(warning_list("dynamic-dns"))


@cache
def _top_level() -> frozenset[str]:
    return frozenset(name.lower() for name in warning_list("tlds"))
