"""Passive DNS against the truth: real servers, and what the zone files, dig and tshark say of the same records."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dns.name
import dns.rdataset
import dns.rdatatype
import dns.rrset
import dns.zone
import pytest

from lab import zeeklog
from lab.namespaces import Namespaces, why_not

TOOLS = ("ip", "nsd", "unbound", "dig", "tcpdump", "tshark", "zeek")
PACKAGE = Path(__file__).parents[2] / "zeek-scripts"
ROOT, TLD, TRUTH = "203.0.113.1", "203.0.113.2", "203.0.113.3"

ZONES = {
    ".": """
        . 86400 SOA a.root-servers.example. host.example. 1 3600 600 86400 10
        . 518400 NS a.root-servers.example.
        a.root-servers.example. 518400 A 203.0.113.1
        example. 172800 NS a.tld-servers.example.
        a.tld-servers.example. 172800 A 203.0.113.2
    """,
    "example": """
        example. 900 SOA a.tld-servers.example. host.example. 1 3600 600 86400 10
        example. 172800 NS a.tld-servers.example.
        a.tld-servers.example. 172800 A 203.0.113.2
        truth.example. 86400 NS ns1.truth.example.
        truth.example. 86400 DS 12345 13 2 2BB183AF5F22588179A53B0A98631FAD1A292118CFD5EDD7C6F1C3A7B8C6D5E4
        ns1.truth.example. 86400 A 203.0.113.3
    """,
    "truth.example": """
        truth.example. 900 SOA ns1.truth.example. host.truth.example. 2024010101 7200 900 1209600 10
        truth.example. 86400 NS ns1.truth.example.
        ns1.truth.example. 86400 A 203.0.113.3
        truth.example. 301 A 192.0.2.1
        truth.example. 301 A 192.0.2.2
        truth.example. 302 AAAA 2001:db8::1
        www.truth.example. 303 CNAME truth.example.
        truth.example. 304 MX 10 mail.truth.example.
        truth.example. 304 MX 20 .
        truth.example. 305 TXT "v=spf1 -all" "\\"quoted\\", \\\\ and \\255\\000"
        truth.example. 305 TXT "another"
        _sip._tcp.truth.example. 306 SRV 1 2 5060 sip.truth.example.
        ptr.truth.example. 307 PTR host.truth.example.
        truth.example. 308 CAA 128 issue "ca.example; account=7"
        truth.example. 309 HTTPS 1 .
        svc.truth.example. 310 SVCB 0 pool.truth.example.
        sub.truth.example. 311 DS 54321 8 1 0123456789ABCDEF0123456789ABCDEF01234567
        truth.example. 312 DNSKEY 257 3 13 bWRzc3dVeXIzRFBXMTMybU9pOFY5eEVTV0U4alRv
        odd.truth.example. 313 TYPE65280 \\# 4 01020304
        UPPER.truth.example. 314 A 192.0.2.3
        *.wild.truth.example. 315 A 192.0.2.4
    """,
}
SERVERS = dict(zip(ZONES, (ROOT, TLD, TRUTH), strict=True))
ASKED = {("name.wild.truth.example.", "A"): "*.wild.truth.example."}
"""Beside every name and type of the last zone: what a wildcard answers, by its owner in the file."""
# Zeek does not decode these.
WITHOUT_DATA = {"TYPE65280"}

Tuple = tuple[str, str, str | None]


@dataclass
class Seen:
    """What passive DNS has of one tuple, all rows together."""

    count: int
    ttls: set[int]
    sections: set[str]
    bailiwicks: set[str]


@dataclass
class Lab:
    capture: Path
    pdns: dict[Tuple, Seen]
    dig: dict[tuple[str, str], list[dns.rrset.RRset]]


def records(zone: str) -> list[dns.rrset.RRset]:
    """Return a zone's record sets."""
    parsed = dns.zone.from_text(ZONES[zone].replace("        ", ""), origin=zone, relativize=False)
    return [
        dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset))
        for name, node in parsed.items()
        for rdataset in node
    ]


def said(rdata: dns.rdata.Rdata) -> str | None:
    """Return the data as the log has it: names without final dot, hexadecimal in lower case."""
    kind = dns.rdatatype.to_text(rdata.rdtype)
    if kind in WITHOUT_DATA:
        return None
    if kind in {"TXT", "CAA", "DNSKEY"}:
        return rdata.to_text(chunksize=0) if kind == "DNSKEY" else rdata.to_text()
    words = [word[:-1] if word != "." and word.endswith(".") else word for word in rdata.to_text().split()]
    return " ".join([*words[:3], "".join(words[3:]).lower()] if kind == "DS" else words)


def tuples(sets: list[dns.rrset.RRset]) -> dict[Tuple, int]:
    """Return the tuples of record sets, and their TTLs."""
    return {
        (found.name.to_text().lower().rstrip(".") or ".", dns.rdatatype.to_text(found.rdtype), said(rdata)): found.ttl
        for found in sets
        for rdata in found
    }


def questions() -> Iterator[tuple[str, str]]:
    for found in records("truth.example"):
        if not found.name.is_wild():
            yield found.name.to_text(), dns.rdatatype.to_text(found.rdtype)
    yield from ASKED


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Three authorities and a resolver, which is asked for everything once; captured between them."""
    if reason := why_not(TOOLS):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("truth")
    with Namespaces() as net:
        dig = ask_everything(net, folder)
    capture = folder / "wire.pcap"
    command = ["zeek", "-C", "-r", capture, PACKAGE / "pdns.zeek", f"DNSVigilPDNS::root_servers={{{ROOT}}}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert not (folder / "reporter.log").exists()
    return Lab(capture, passive(folder / "dnsvigil_pdns.log"), dig)


def ask_everything(net: Namespaces, folder: Path) -> dict[tuple[str, str], list[dns.rrset.RRset]]:
    net.bridge("upstream")
    net.host("authority", {"upstream": [f"{address}/24" for address in SERVERS.values()]})
    net.host("resolver", {"upstream": ["203.0.113.200/24"]})
    for zone, address in SERVERS.items():
        name = "root" if zone == "." else zone
        (folder / f"{name}.zone").write_text("\n".join(line.strip() for line in ZONES[zone].splitlines()))
        settings = f"""server:
            ip-address: {address}
            server-count: 1
            username: ""
            chroot: ""
            database: ""
            pidfile: ""
            zonelistfile: "{folder}/{name}.list"
            xfrdfile: "{folder}/{name}.state"
            xfrdir: "{folder}"
            rrl-ratelimit: 0
        remote-control:
            control-enable: no
        zone:
            name: "{zone}"
            zonefile: "{folder}/{name}.zone"
        """
        (folder / f"{name}.conf").write_text(settings)
        net.start("authority", ["nsd", "-d", "-c", str(folder / f"{name}.conf")], folder / f"{name}.log")
    (folder / "hints").write_text(f". 3600 NS a.root-servers.example.\na.root-servers.example. 3600 A {ROOT}\n")
    (folder / "unbound.conf").write_text(f"""server:
        interface: 127.0.0.1
        num-threads: 1
        username: ""
        chroot: ""
        pidfile: ""
        directory: "{folder}"
        use-syslog: no
        root-hints: "{folder}/hints"
        module-config: "iterator"
        minimal-responses: no
    remote-control:
        control-enable: no
    """)
    for address in SERVERS.values():
        wait(net, ["dig", "+norecurse", f"@{address}", "truth.example", "SOA"])
    dump = net.start(
        "wire",
        ["tcpdump", "-i", "upstream", "-n", "-Z", "root", "-U", "-w", str(folder / "wire.pcap"), "port", "53"],
        folder / "tcpdump.log",
    )
    deadline = time.monotonic() + 15
    while "listening on" not in dump.tail():
        assert time.monotonic() < deadline, dump.tail()
        time.sleep(0.05)
    net.start("resolver", ["unbound", "-d", "-c", str(folder / "unbound.conf")], folder / "unbound.log")
    wait(net, ["dig", "@127.0.0.1", "truth.example", "SOA"])
    answers = {}
    for name, kind in questions():
        text = net.call("resolver", ["dig", "+noall", "+answer", "@127.0.0.1", name, kind])
        answers[name, kind] = []
        for line in text.splitlines():
            owner, ttl, _, type_, data = line.split(None, 4)
            answers[name, kind].append(dns.rrset.from_text(owner, int(ttl), "IN", type_, data))
    time.sleep(1)
    dump.stop()
    return answers


def wait(net: Namespaces, dig: list[str]) -> None:
    deadline = time.monotonic() + 15
    while "status: NOERROR" not in net.call("resolver", ["sh", "-c", f"{' '.join(dig)} +tries=1 +time=1 || true"]):
        assert time.monotonic() < deadline, dig
        time.sleep(0.1)


def passive(log: Path) -> dict[Tuple, Seen]:
    found: dict[Tuple, Seen] = {}
    for row in zeeklog.records(log):
        key = (row["rrname"], row["rrtype"], row.get("rdata"))
        seen = found.setdefault(key, Seen(0, set(), set(), set()))
        seen.count += row["count"]
        seen.ttls |= {row["ttl_min"], row["ttl_max"]}
        seen.sections |= set(row["section"])
        seen.bailiwicks |= {row["bailiwick"]} if "bailiwick" in row else set()
    return found


class TestTruth:
    def test_every_record_asked_for_is_there_as_the_zone_file_has_it(self, lab: Lab) -> None:
        for found in records("truth.example"):
            if found.name.is_wild():
                found.name = dns.name.from_text("name.wild.truth.example")
            for key, ttl in tuples([found]).items():
                assert key in lab.pdns, key
                # Of a denial the SOA has the time for which the denial holds (RFC 2308), which is less.
                assert max(lab.pdns[key].ttls) == ttl, key
                assert key[1] == "SOA" or len(lab.pdns[key].ttls) == 1, key

    def test_nothing_is_there_that_no_zone_file_has(self, lab: Lab) -> None:
        known = {key for zone in ZONES for key in tuples(records(zone))}
        known.add(("name.wild.truth.example", "A", "192.0.2.4"))
        assert set(lab.pdns) <= known

    def test_dig_says_the_same(self, lab: Lab) -> None:
        for question, answer in lab.dig.items():
            assert answer, question
            for key in tuples(answer):
                assert "answer" in lab.pdns[key].sections, key

    def test_all_types_are_covered(self, lab: Lab) -> None:
        wanted = "A AAAA CNAME NS MX TXT SRV PTR SOA CAA HTTPS SVCB DS DNSKEY TYPE65280"
        assert {kind for _, kind, _ in lab.pdns} == set(wanted.split())

    def test_bailiwick_is_the_zone_of_the_server_that_answered(self, lab: Lab) -> None:
        assert lab.pdns["example", "NS", "a.tld-servers.example"].bailiwicks >= {"."}
        for found in records("truth.example"):
            for key in tuples([found]):
                if key in lab.pdns and key[1] not in {"NS", "DS"} and key[0] != "ns1.truth.example":
                    assert lab.pdns[key].bailiwicks == {"truth.example"}, key

    def test_tshark_counts_the_same_records(self, lab: Lab) -> None:
        """By type, and by name, over all sections of all responses; tshark gives OPT and SRV no name of this kind."""
        command = ["tshark", "-r", lab.capture, "-Y", "dns.flags.response == 1", "-T", "fields", "-E", "aggregator=|"]
        command += ["-e", "dns.resp.name", "-e", "dns.resp.type"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        names: Counter[str] = Counter()
        kinds: Counter[int] = Counter()
        for line in done.stdout.splitlines():
            named, _, typed = line.partition("\t")
            names.update(name for name in named.lower().split("|") if name not in {"", "<root>"})
            kinds.update(int(kind) for kind in typed.split("|") if kind)
        del kinds[dns.rdatatype.OPT]
        our_names: Counter[str] = Counter()
        our_kinds: Counter[int] = Counter()
        for (name, kind, _), seen in lab.pdns.items():
            our_names[name] += seen.count if kind != "SRV" else 0
            our_kinds[int(dns.rdatatype.from_text(kind))] += seen.count
        del our_names["."]
        assert +our_names == names
        assert our_kinds == kinds
