"""Benign look-ups that look bad: names that fail in bursts, are long, random, never seen before, or asked by the clock.

Each maker stands for one practice that networks see every day. Where a practice belongs to a public service its zone
is named, so that known lists can know it; most are also made below zones that no list knows, as every network has some.
"""

from __future__ import annotations

import base64
import random
import string
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

from .transactions import NOERROR, NXDOMAIN, SERVFAIL, UNANSWERED, Asked, Session, Transactions, txt

_HEX = "0123456789abcdef"
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_ALNUM = string.ascii_lowercase + string.digits
_SUFFIXES = (
    "lan",
    "home",
    "fritz.box",
    "localdomain",
    "corp.northwind-traders.com",
    "ad.fabrikam.co.uk",
    "eduroam.local",
)


@dataclass(frozen=True)
class _Place:
    """Where and when look-ups are made; ``names`` are popular domains, the most popular first."""

    dice: random.Random
    clients: Sequence[str]
    names: Sequence[str]
    start: float
    end: float

    def times(self, per_hour: float) -> Iterator[float]:
        """Yield the times of a Poisson process."""
        now = self.start + self.dice.expovariate(per_hour / 3600)
        while now < self.end:
            yield now
            now += self.dice.expovariate(per_hour / 3600)

    def client(self) -> str:
        return self.dice.choice(self.clients)

    def popular(self) -> str:
        """Return a domain, popular ones more often: the rank's logarithm is even."""
        return self.names[int(len(self.names) ** self.dice.random()) - 1]

    def domain(self) -> str:
        """Return a popular name of two labels, where there are enough."""
        return next((name for name in (self.popular() for _ in range(50)) if name.count(".") == 1), self.names[0])

    def some(self, letters: str, length: int) -> str:
        return "".join(self.dice.choices(letters, k=length))

    def address(self) -> str:
        return ".".join(str(self.dice.randrange(1, 255)) for _ in range(4))

    def answer(self, now: float, client: str, qname: str, qtype: str = "A", ttl: int = 300) -> Asked:
        host = crc32(qname.encode())  # a name keeps its address
        answers = {"A": f"198.18.{host & 255}.{host >> 24}", "AAAA": f"2001:db8:b::{host >> 16 | 1:x}"}.get(qtype, "-")
        return Asked(now, client, qname, qtype, NOERROR, answers, ttl, self.dice.lognormvariate(-4, 1))


Maker = Callable[[_Place], Iterator[Asked]]


def search_suffixes(at: _Place) -> Iterator[Asked]:
    """Names with the network's search suffix behind them, which do not exist, then without; wpad, isatap."""
    suffix = at.dice.choice(_SUFFIXES)
    for now in at.times(90 * len(at.clients)):
        client = at.client()
        if at.dice.random() < 0.15:
            name = at.dice.choice(("wpad", "isatap", "nas", "printer", "proxy", at.some(_ALNUM, 8)))
            yield Asked(now, client, f"{name}.{suffix}", "A", NXDOMAIN)
            continue
        name = at.dice.choice(("www.", "", "api.", "login.")) + at.popular()
        for place, qtype in enumerate(("A", "AAAA")):
            yield Asked(now + 0.001 * place, client, f"{name}.{suffix}", qtype, NXDOMAIN)
            yield at.answer(now + 0.03 + 0.001 * place, client, name, qtype)


def browser_probes(at: _Place) -> Iterator[Asked]:
    """Three labels of 7 to 15 random letters, Chromium's test for a resolver that lies; names of portal tests."""
    suffix = at.dice.choice((None, None, *_SUFFIXES))
    for now in at.times(1.5 * len(at.clients)):
        client = at.client()
        for _ in range(3):
            name = at.some(string.ascii_lowercase, at.dice.randint(7, 15))
            if suffix:
                yield Asked(now, client, f"{name}.{suffix}", "A", NXDOMAIN)
            yield Asked(now + 0.002, client, name, "A", NXDOMAIN)
        yield Asked(now + 0.1, client, "use-application-dns.net", "A", NXDOMAIN)
        yield at.answer(
            now + 0.2, client, at.dice.choice(("detectportal.firefox.com", "connectivitycheck.gstatic.com"))
        )


def block_lists(at: _Place) -> Iterator[Asked]:
    """A mail server at work: senders' addresses, domains and hashes in block lists, their PTR, MX, SPF and DKIM."""
    own = f"dnsbl.{at.some(string.ascii_lowercase, 6)}-mail.net"
    lists = (
        "zen.spamhaus.org",
        "bl.spamcop.net",
        "b.barracudacentral.org",
        "bl.mailspike.net",
        "psbl.surriel.com",
        own,
    )
    key = at.some(_ALNUM, 26)
    for mail in at.times(700 * len(at.clients)):
        now, client = mail, at.client()
        sender, domain = at.address(), at.domain()
        turned = ".".join(reversed(sender.split(".")))
        listed = at.dice.random() < 0.35
        for zone in lists:
            hit = listed and at.dice.random() < 0.6
            answer = (NOERROR, f"127.0.0.{at.dice.choice((2, 3, 4, 10, 11))}") if hit else (NXDOMAIN, "-")
            yield Asked(now, client, f"{turned}.{zone}", "A", *answer, 60)
            now += 0.002
        digest = base64.b32encode(at.dice.randbytes(32)).decode().rstrip("=").lower()
        names = (
            f"{domain}.dbl.spamhaus.org", f"{domain}.multi.surbl.org", f"{domain}.multi.uribl.com",
            f"{digest}._email.{key}.hbl.dq.spamhaus.net", f"{at.some(_HEX, 32)}.ebl.msbl.org",
            f"{at.some(_HEX, 40)}.hashbl.{own}",
        )  # fmt: skip
        for name in names:
            yield Asked(now, client, name, "A", NXDOMAIN)
            now += 0.003
        known = at.dice.random() < 0.6
        host = f"mail.{domain}" if known else "-"
        yield Asked(now, client, f"{turned}.in-addr.arpa", "PTR", NOERROR if known else NXDOMAIN, host, 3600)
        yield Asked(now + 0.01, client, domain, "MX", NOERROR, f"mx1.{domain},mx2.{domain}", 3600)
        yield Asked(now + 0.02, client, domain, "TXT", NOERROR, txt(b"v=spf1 mx include:_spf ~all"), 3600)


def antivirus(at: _Place) -> Iterator[Asked]:
    """Reputation of files and pages, asked in long labels of hexadecimal or base32, hundreds an hour, none twice."""
    own = f"rep.{at.some(string.ascii_lowercase, 7)}security.com"
    makers: tuple[Callable[[], str], ...] = (
        lambda: f"0.0.0.0.1.0.0.4e.{at.some(_BASE32, 26)}.avqs.mcafee.com",
        lambda: f"{at.some(_HEX, 2)}-0.19-{at.some(_HEX, 8)}.{at.some(_BASE32, 26)}.avts.mcafee.com",
        lambda: f"{at.some(_HEX, 40)}.malware.hash.cymru.com",
        lambda: f"{at.some(_BASE32, 50)}.{at.some(_BASE32, 22)}.a.j.e5.sk",
        lambda: f"{at.some(_HEX, 32)}.{at.some(_HEX, 16)}.w.sophosxl.net",
        lambda: f"{at.some(_HEX, 63)}.{at.some(_HEX, 33)}.url.{own}",
        lambda: f"{at.some(_HEX, 64)[:62]}.f.{own}",
    )
    for now in at.times(150 * len(at.clients)):
        maker = at.dice.choice(makers)
        for step in range(at.dice.choice((1, 1, 2, 6))):
            luck = at.dice.random()
            said = f"127.{at.dice.randrange(256)}.0.{at.dice.randrange(200)}"
            answer = (NXDOMAIN, "-") if luck < 0.4 else (NOERROR, said)
            name = maker()
            if name.endswith("cymru.com") and luck > 0.95:
                yield Asked(now + 0.05 * step, at.client(), name, "TXT", NOERROR, txt(b"1277221946 79"), 300)
            else:
                yield Asked(now + 0.05 * step, at.client(), name, "A", *answer, 600)


def telemetry(at: _Place) -> Iterator[Asked]:
    """Names that are hashes by design: CDN hosts, telemetry with a GUID, video caches, one-time names that measure."""
    own = f"metrics.{at.some(string.ascii_lowercase, 8)}.io"
    # Those of customers and devices come again, those of views do not.
    again = [
        *(f"d{at.some(_ALNUM, 13)}.cloudfront.net" for _ in range(60)),
        *(f"{uuid.UUID(int=at.dice.getrandbits(128))}.ods.opinsights.azure.com" for _ in range(5)),
        *(f"rr{at.dice.randint(1, 8)}---sn-{at.some(_ALNUM, 8)}.googlevideo.com" for _ in range(40)),
        *(f"a{at.some(_HEX, 16)}.awsglobalaccelerator.com" for _ in range(10)),
        *(f"{at.some(_HEX, 32)}.safeframe.googlesyndication.com" for _ in range(30)),
        *(f"{at.some(_BASE32, 32)}.ui.nabu.casa" for _ in range(3)),
    ]
    once: tuple[Callable[[], str], ...] = (
        lambda: f"{at.some(_HEX, 32)}.safeframe.googlesyndication.com",
        lambda: f"u{at.some(_HEX, 16)}-s{at.dice.getrandbits(31)}-i{at.some(_HEX, 8)}.am.00.dotnxdomain.net",
        lambda: f"{uuid.UUID(int=at.dice.getrandbits(128))}.{own}",
        lambda: f"p4-{at.some(_BASE32, 13)}-{at.some(_BASE32, 16)}-if-v6exp3-v4.metric.gstatic.com",
        lambda: f"{at.some(_ALNUM, 24)}.{at.some(_ALNUM, 8)}.clo.footprintdns.com",
    )
    for now in at.times(20 * len(at.clients)):
        name = at.dice.choice(once)() if at.dice.random() < 0.3 else at.dice.choice(again)
        client = at.client()
        for place, qtype in enumerate(("A", "AAAA")):
            yield at.answer(now + 0.0005 * place, client, name, qtype, 60)


def mail_policy(at: _Place) -> Iterator[Asked]:
    """DKIM keys below random selectors with long answers, DMARC, SPF with the sender in the name, MTA-STS, DANE."""
    own = f"_spf.{at.some(string.ascii_lowercase, 6)}check.com"
    for now in at.times(400 * len(at.clients)):
        client, domain = at.client(), at.domain()
        sender = at.address()
        selector = at.dice.choice(
            ("selector1", "google", "s1", "20230601", at.some(_BASE32, 32), f"{at.some(_HEX, 8)}-{at.some(_HEX, 4)}")
        )
        key = base64.b64encode(at.dice.randbytes(294)).decode()
        dkim = txt(f"v=DKIM1; k=rsa; p={key}".encode())
        yield Asked(now, client, f"{selector}._domainkey.{domain}", "TXT", NOERROR, dkim, 3600)
        yield Asked(now + 0.02, client, f"_dmarc.{domain}", "TXT", NOERROR, txt(b"v=DMARC1; p=none"), 3600)
        spf = f"{sender}._ip.mail.{domain}._ehlo.{domain}._spf.vali.email"
        if at.dice.random() < 0.3:
            spf = f"i.{sender}._h.{at.some(_HEX, 24)}.{domain}.{own}"
        yield Asked(now + 0.03, client, spf, "TXT", NOERROR, txt(b"v=spf1 +a ~all"), 60)
        yield Asked(now + 0.04, client, f"_mta-sts.{domain}", "TXT", NXDOMAIN)
        yield Asked(now + 0.05, client, f"_25._tcp.mx1.{domain}", "TLSA", NXDOMAIN)


def reverse(at: _Place) -> Iterator[Asked]:
    """A log analyser or a scanner of one's own: addresses one after the other, IPv4 and IPv6, most without a name."""
    for now in at.times(1500 * len(at.clients)):
        if at.dice.random() < 0.8:
            name = ".".join(reversed(at.address().split("."))) + ".in-addr.arpa"
        else:
            name = ".".join(at.some(_HEX, 24)) + ".8.b.d.0.1.0.0.2.ip6.arpa"
        luck = at.dice.random()
        if luck < 0.4:
            yield Asked(now, at.client(), name, "PTR", NOERROR, f"host-{at.dice.randrange(9999)}.{at.popular()}", 3600)
        else:
            yield Asked(now, at.client(), name, "PTR", NXDOMAIN if luck < 0.93 else SERVFAIL)


def service_discovery(at: _Place) -> Iterator[Asked]:
    """DNS-SD and Active Directory asking for services that are not there, by the clock, from every device."""
    suffix = at.dice.choice(_SUFFIXES)
    site = uuid.UUID(int=at.dice.getrandbits(128))
    names = (
        "b._dns-sd._udp.0.1.168.192.in-addr.arpa", "lb._dns-sd._udp.0.1.168.192.in-addr.arpa",
        f"_ldap._tcp.dc._msdcs.{suffix}", f"_ldap._tcp.{site}.domains._msdcs.{suffix}", f"_kerberos._tcp.{suffix}",
        f"_sip._tls.{suffix}", f"_autodiscover._tcp.{suffix}", f"_vlmcs._tcp.{suffix}", f"lb._dns-sd._udp.{suffix}",
    )  # fmt: skip
    for client in at.clients:
        now = at.start + at.dice.uniform(0, 900)
        while now < at.end:
            for name in names:
                qtype = "PTR" if "_dns-sd" in name else "SRV"
                yield Asked(now, client, name, qtype, NXDOMAIN)
                now += 0.01
            now += 900 * at.dice.uniform(0.97, 1.03)


def typos(at: _Place) -> Iterator[Asked]:
    """Popular names with one letter wrong, doubled, missing or exchanged; seven of ten belong to nobody."""
    for now in at.times(4 * len(at.clients)):
        label, _, suffix = at.domain().partition(".")
        spot = at.dice.randrange(len(label))
        kind = at.dice.randrange(4)
        changed = {
            0: label[:spot] + at.some(string.ascii_lowercase, 1) + label[spot + 1 :],
            1: label[:spot] + label[spot] + label[spot:],
            2: label[:spot] + label[spot + 1 :],
            3: label[:spot] + label[spot : spot + 2][::-1] + label[spot + 2 :],
        }[kind].strip("-")
        name = f"www.{changed or label}.{suffix}"
        client = at.client()
        if at.dice.random() < 0.7:
            yield Asked(now, client, name, "A", NXDOMAIN)
        else:
            yield at.answer(now, client, name)


def crawler(at: _Place) -> Iterator[Asked]:
    """A search engine's or a scanner's machine: five never-seen names a second; links rot, so one in ten fails."""
    for now in at.times(18_000 * len(at.clients)):
        client = at.client()
        name = at.dice.choice(at.names)
        if at.dice.random() < 0.5:
            name = f"{at.dice.choice(('www', 'blog', 'shop', 'm', 'forum', at.some(_ALNUM, 6)))}.{name}"
        luck = at.dice.random()
        if luck < 0.06:
            yield Asked(now, client, name, "A", NXDOMAIN)
        elif luck < 0.1:
            yield Asked(now, client, name, "A", SERVFAIL if luck < 0.09 else UNANSWERED)
        else:
            yield at.answer(now, client, name)
            yield at.answer(now + 0.001, client, name, "AAAA")


def dead_names(at: _Place) -> Iterator[Asked]:
    """Programs that ask by the clock for what is gone: trackers of old torrents, a vendor's update server."""
    for client in at.clients:
        gone = [
            f"{at.dice.choice(('tracker', 'update', 'api', 'cloud', 'ntp', 'push'))}.{at.dice.choice(at.names)}"
            for _ in range(at.dice.randint(1, 25))
        ]
        period = at.dice.choice((60, 300, 900, 1800))
        now = at.start + at.dice.uniform(0, period)
        while now < at.end:
            for name in gone:
                yield Asked(now, client, name, "A", NXDOMAIN)
                yield Asked(now + 0.001, client, name, "AAAA", NXDOMAIN)
                now += 0.02
            now += period * at.dice.uniform(0.95, 1.05)


def heartbeats(at: _Place) -> Iterator[Asked]:
    """Devices that ask by the clock for their vendor's server, as few other clients do: benign beacons."""
    for client in at.clients:
        name = f"{at.dice.choice(('mqtt', 'iot', 'time', 'cloud', 'api'))}.{at.dice.choice(at.names)}"
        period = at.dice.choice((30, 60, 120, 300, 600, 3600))
        now = at.start + at.dice.uniform(0, period)
        while now < at.end:
            yield at.answer(now, client, name, ttl=min(period, 60))
            now += period * at.dice.uniform(0.98, 1.02)


def guest_network(at: _Place) -> Iterator[Asked]:
    """Hundreds of guests' devices behind each address: half of what they ask fails, for all of the reasons above."""
    crowd = replace(at, clients=list(at.clients) * 40)
    for maker in (search_suffixes, browser_probes, service_discovery, typos, telemetry):
        yield from maker(crowd)
    yield from dead_names(replace(at, clients=list(at.clients) * 8))
    for now in crowd.times(25 * len(crowd.clients)):
        yield at.answer(now, at.client(), at.popular())


def confirmed_reverse(at: _Place) -> Iterator[Asked]:
    """A mail server that looks whether a sender's name leads back to its address: dynamic hosts of a few providers."""
    providers = [f"dyn.{at.some(string.ascii_lowercase, 6)}tel.net" for _ in range(4)]
    makers: tuple[Callable[[Sequence[str]], str], ...] = (
        lambda octets: f"host-{'-'.join(octets)}",
        lambda octets: ".".join(reversed(octets)),
        lambda octets: f"p{''.join(f'{int(octet):02x}' for octet in octets)}",
    )
    for now in at.times(120 * len(at.clients)):
        address = at.address()
        provider = at.dice.choice(providers)
        name = f"{makers[crc32(provider.encode()) % len(makers)](address.split('.'))}.{provider}"
        yield Asked(now, at.client(), name, "A", NOERROR, address, 3600)


def dynamic_dns(at: _Place) -> Iterator[Asked]:
    """A service firm's watch on its customers' routers: names of serial numbers, each with an address of its own."""
    zone = f"cloud.{at.some(string.ascii_lowercase, 7)}router.net"
    hosts = {f"{at.some(_HEX, 12)}.{zone}": at.address() for _ in range(60)}
    for client in at.clients:
        now = at.start + at.dice.uniform(0, 600)
        while now < at.end:
            for name, address in hosts.items():
                yield Asked(now, client, name, "A", NOERROR, address, 60)
                now += 0.2
            now += 600


def trackers(at: _Place) -> Iterator[Asked]:
    """Advertisements with a name for each view, which a wildcard answers with a few addresses."""
    zones = {f"px.{at.some(string.ascii_lowercase, 7)}ads.com": [at.address() for _ in range(3)] for _ in range(3)}
    for now in at.times(3 * len(at.clients)):
        zone, addresses = at.dice.choice([*zones.items()])
        yield Asked(now, at.client(), f"{at.some(_HEX, 12)}.{zone}", "A", NOERROR, at.dice.choice(addresses), 30)


def tenants(at: _Place) -> Iterator[Asked]:
    """Links to the customers of one service, each with a host of its own in a cloud, behind a load balancer's name."""
    zone = f"{at.some(string.ascii_lowercase, 5)}desk.com"
    for now in at.times(4 * len(at.clients)):
        customer = at.domain().partition(".")[0]
        balancer = f"{at.some(_ALNUM, 14)}-{at.dice.getrandbits(30)}.eu-west-1.elb.amazonaws.com"
        address = f"{at.dice.choice((3, 18, 34, 52, 54))}.{at.dice.randrange(256)}.{at.dice.randrange(256)}.7"
        yield Asked(now, at.client(), f"{customer}.{zone}", "A", NOERROR, f"{balancer},{address}", 60)


def cloud_hosts(at: _Place) -> Iterator[Asked]:
    """Machines of one's own in a cloud, with UUIDs for names and addresses of one network, asked for as they come."""
    zone = f"nodes.{at.some(string.ascii_lowercase, 6)}-platform.io"
    network = f"10.{at.dice.randrange(256)}"
    for now in at.times(5 * len(at.clients)):
        name = f"{uuid.UUID(int=at.dice.getrandbits(128))}.{zone}"
        address = f"{network}.{at.dice.randrange(256)}.{at.dice.randrange(256)}"
        yield Asked(now, at.client(), name, "A", NOERROR, address, 5)


KINDS: dict[str, Maker] = {
    maker.__name__.replace("_", " "): maker
    for maker in (
        search_suffixes, browser_probes, block_lists, antivirus, telemetry, mail_policy, reverse, service_discovery,
        typos, crawler, dead_names, heartbeats, guest_network, confirmed_reverse, dynamic_dns, trackers, tenants,
        cloud_hosts,
    )
}  # fmt: skip
"""Every practice by its name."""


EVERYDAY = {
    "search suffixes": 0.02, "browser probes": 0.1, "block lists": 0.0002, "antivirus": 0.01, "telemetry": 0.2,
    "mail policy": 0.0005, "reverse": 0.0005, "service discovery": 0.05, "typos": 0.3, "crawler": 0.0001,
    "dead names": 0.005, "heartbeats": 0.2, "guest network": 0.0001, "confirmed reverse": 0.0005, "dynamic dns": 0.0003,
    "trackers": 0.2, "tenants": 0.01, "cloud hosts": 0.0005,
}  # fmt: skip
"""The share of a provider's clients that have each practice."""

_NETWORK = 20  # clients that have a search suffix, a block list of one's own and the like in common


def lookalike(
    kind: str, clients: Sequence[str], names: Sequence[str], *, seed: int, start: float, hours: float
) -> Session:
    """Return the look-ups of one of KINDS by these clients; ``names`` are popular domains, the most popular first."""
    place = _Place(random.Random(f"{kind}/{seed}"), clients, names, start, start + hours * 3600)
    return Session("benign", kind, Transactions.of(one for one in KINDS[kind](place) if one.ts < place.end))


def everyday(
    clients: Sequence[str],
    names: Sequence[str],
    *,
    seed: int,
    start: float,
    hours: float,
    shares: Mapping[str, float] = EVERYDAY,
) -> Iterator[Session]:
    """Yield the sessions of a population in which these shares of the clients have each practice.

    A share that comes to less than one client is one client at times. Clients are taken in networks of up to 20, which
    have in common what a network has. They are made whole: some 300 bytes a record.
    """
    dice = random.Random(f"everyday/{seed}")
    for kind, part in shares.items():
        count = int(part * len(clients) + dice.random())
        chosen = dice.sample(clients, min(count, len(clients)))
        for place in range(0, len(chosen), _NETWORK):
            network = chosen[place : place + _NETWORK]
            yield lookalike(kind, network, names, seed=dice.getrandbits(32), start=start, hours=hours)
