"""Findings for a collector whose pages the tests look at, and who asks for them."""

from __future__ import annotations

import http.client
import re
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dnsvigil.collector.daemon import Daemon
from dnsvigil.httpd.server import Server
from dnsvigil.ingest.findings import FindingsSnapshot
from dnsvigil.records import DOMAIN_FEATURES, utc_now
from dnsvigil.store.domain_file import DomainFile, Former, Plane, write_domains
from dnsvigil.store.findings import Finding, Findings
from dnsvigil.store.store import Store
from exporters.domain_tables import write_table
from exporters.running import collecting_here, eventually, line, write_config
from exporters.zeeklogs import HEADER, package_header, package_line

VALUES = {
    "domain": "shop.example",
    "name": "www.shop.example",
    "address": "192.0.2.53",
    "network": "192.0.2.0/24",
    "client": "192.0.2.77",
    "server": "192.0.2.53",
    "zone": "shop.example",
    "group": "4",
}
"""A value of each kind of page, of which the collector knows something or nothing."""

HOSTILE = '"><script>alert(1)</script>\x1b[31m\u202e=cmd|x {{ 7 * 7 }}'
"""What may stand in every text."""

PDNS = "dnsvigil_pdns"
"""The name of the Zeek package's log of passive DNS."""

MANY = 120
"""Findings about clients, enough for three pages."""


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str

    def form_token(self) -> str:
        """Return what the forms on the page send back."""
        found = re.search(r'name="form_token" value="([\w-]+)"', self.body)
        assert found, self.body
        return found[1]


@dataclass
class Looker:
    """Somebody who asks a server for pages."""

    server: Server
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Answer:
        return self._ask("GET", path, None, headers)

    def post(self, path: str, fields: Mapping[str, str], **headers: str) -> Answer:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", path, urllib.parse.urlencode(fields), kind | headers)

    def sign_in(self, token: str) -> Answer:
        """Sign in, and keep the cookie."""
        answer = self.post("/sign-in", {"token": token})
        if answer.status == 303:
            self.headers["Cookie"] = answer.headers["Set-Cookie"].partition(";")[0]
        return answer

    def _ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        with closing(http.client.HTTPConnection(*self.server.address, timeout=30)) as connection:
            connection.request(method, path, body, {"Accept": "text/html", **self.headers, **headers})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read().decode())


def write_log(folder: Path) -> None:
    """Write a minute of queries: a third of those for shop.example fail."""
    now = time.time()
    lines = [line(now - 60 + n / 100, "www.shop.example", rcode="2" if n % 3 == 0 else "0") for n in range(300)]
    logs = folder / "zeek" / "current"
    (logs / "dns.log").write_bytes(HEADER + b"".join(lines))
    day = 86400
    seen = [
        ("www.shop.example", "A", "192.0.2.80", now - 30 * day, now - 9 * day),
        ("www.shop.example", "A", "198.51.100.80", now - 9 * day, now - 60),
        ("xn--bcher-kva.shop.example", "CNAME", "www.shop.example", now - 20 * day, now - 60),
        ("shop.example", "MX", "10 mail.shop.example", now - 12 * day, now - 60),
        ("shop.example", "NS", "ns1.hoster.example", now - 30 * day, now - 60),
    ]
    (logs / f"{PDNS}.log").write_bytes(package_header(PDNS) + b"".join(tuple_line(*each) for each in seen))


def tuple_line(name: str, rrtype: str, rdata: str, first: float, last: float) -> bytes:
    """Return a line of the Zeek package's log of passive DNS."""
    times = {key: f"{when:.6f}" for key, when in (("ts", last), ("time_first", first), ("time_last", last))}
    return package_line(PDNS, **times, rrname=name, rrtype=rrtype, rdata=rdata, bailiwick="-")


def found_by_all() -> list[Finding]:
    """Return findings of several detectors, one of them with hostile texts only."""
    now = utc_now().replace(microsecond=0)
    malware = {
        "domains": ["kq3v9xz.example", "shop.example"],
        "kinds": {"burst": 6.1, "look": 4.2, "make": -0.4},
        "failing": 41,
        "client_addresses": ["192.0.2.77"],
        "neighbours": ["kq3v9zz.com (conficker)"],
        "technique": "T1568.002 Dynamic Resolution: Domain Generation Algorithms",
    }
    poisoning = {"what": "Forged answers reach 192.0.2.53.", "neighbours": ["guessing 0.21", "ordinary 3.10"]}
    hostile = {"what": HOSTILE, HOSTILE: HOSTILE, "names": [HOSTILE], "domains": [HOSTILE], "list": [{"a": HOSTILE}]}
    found = [
        Finding("malware", "client", "192.0.2.77", 0.95, "critical", now, now, malware),
        Finding("poisoning", "server", "192.0.2.53", 0.71, "warning", now, now, poisoning),
        Finding("other", "domain", HOSTILE, 0.94, "warning", now, now, hostile),
    ]
    for place in range(MANY):
        subject = f"198.51.100.{place + 1}"
        evidence = {"domains": [f"t{place}.example"], "bytes": 812_345, "hours": 2.0}
        when = now - timedelta(seconds=place)
        found.append(Finding("tunnel", "client", subject, 0.9 - place / 300, "warning", when, when, evidence))
    return found


def put(daemon: Daemon) -> None:
    """Have a collector keep these findings, and wait until it shows them."""

    def change(store: Store) -> None:
        kept = Findings(store)
        with store.transaction():
            kept.put_all(found_by_all())

    daemon.submit(change).result(30)
    eventually(lambda: daemon.snapshot.of(FindingsSnapshot).worst)


def put_flows(daemon: Daemon) -> None:
    """Have a collector keep an hour of flows."""

    def change(store: Store) -> None:
        newest = utc_now().replace(minute=0, second=0, microsecond=0)
        with store.transaction():
            store.rows(
                "INSERT INTO slot_services SELECT ?::TIMESTAMP - INTERVAL (5 * n) MINUTE, 'border', 'udp', service, 10,"
                " 20, 1000 * (n + 1), 1 FROM range(12) AS slots(n), unnest(['dns', 'ntp']) AS services(service)",
                newest,
            )
            store.rows(
                "INSERT INTO slot_talkers SELECT ?::TIMESTAMP - INTERVAL (5 * n) MINUTE, 'border', 'srcip',"
                " '198.51.100.' || (1 + n % 3), 10, 20, 1000, 1 FROM range(12) AS slots(n)",
                newest,
            )

    daemon.submit(change).result(30)


def write_groups(state: Path) -> None:
    """Write a table of domains in three groups that lie apart, with the plane and what has changed."""
    dice = np.random.default_rng(3)
    names = {4: "CDN", 7: "popular", 9: "high digits_share"}
    members = {f"d{number}.example": (7, 9)[number % 2] for number in range(240)} | {"shop.example": 4}
    members |= {f"cdn{number}.example": 4 for number in range(60)}
    path = write_table(state, members, names)
    centres = {"4": (4.0, 0.5), "7": (0.0, 2.5), "9": (-1.5, -1.5)}
    points = [(*(dice.normal(centres[str(group)], 0.7)).tolist(), group) for group in members.values()]
    axes = [{"ips": 0.9, "ttl_mean": -0.4}, {"queries": 0.7, "clients": 0.6}]
    plane = Plane(axes, points, centres, {"4": (3.0, 1.0), "7": (0.2, 2.0)})
    former = Former(
        "2026-03-01T03:04:05+00:00", {"4": ("CDN", 51), "5": ("gone", 2)}, [(5, 4, 2), (0, 4, 8), (7, 7, 120)]
    )
    found = pq.read_table(path)
    facts = DomainFile(path).facts
    groups = [replace(each, features={"ips": 2.1, "ttl_mean": -1.4, "asns": 1.2}) for each in facts.groups]
    kinds = ("median", "p5", "p95", "min", "max")
    statistics = {}
    for name in DOMAIN_FEATURES:
        values = np.abs(dice.normal(40, 25, len(members)))
        found = found.set_column(found.column_names.index(name), name, pa.array(values))
        quantiles = np.quantile(values, [0.5, 0.05, 0.95, 0, 1]).tolist()
        statistics[name] = {"mean": float(values.mean())} | dict(zip(kinds, quantiles, strict=True))
    facts = replace(facts, groups=groups, statistics=statistics, plane=plane, former=former)
    write_domains(path, [found], found.schema, facts)


@contextmanager
def collecting(folder: Path) -> Iterator[Daemon]:
    """Run a collector that has read a log and keeps findings."""
    config = write_config(folder, zones={"min_queries": 20})
    write_log(folder)
    with collecting_here(config, folder / "state") as daemon:
        started(daemon)
        put(daemon)
        yield daemon


def started(daemon: Daemon, **headers: str) -> Looker:
    """Wait until a collector serves pages; return who looks at them."""
    looker = Looker(daemon.server, headers)
    eventually(lambda: looker.get("/-/ready").status == 200)
    return looker
