"""What the Zeek package costs: CPU time beside stock Zeek's on the same capture, and memory over distinct names."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.rrset

from lab.packets import Flow, Frame, write

PACKAGE = Path(__file__).parents[2] / "zeek-scripts"
MESSAGES = 1_000_000
PAIRS = 5
DISTINCT = (1_000_000, 3_000_000, 10_000_000)
RATE = 19_000
"""Messages a second in the captures: 820 million queries a day, and their answers."""
START = 1_700_000_000
RESOLVER = "198.51.100.53"
POPULAR = 8_000
"""Names that are asked again and again, the n-th in proportion to 1/n."""


@dataclass(frozen=True)
class _Exchange:
    """A query and its response without their ids, and the server that is asked."""

    query: bytes
    response: bytes
    server: str


def exchanges(dice: random.Random) -> Iterator[_Exchange]:
    """Yield exchanges as a resolver's tap sees them: four of clients to one of the resolver with an authority.

    Popular names come again and again; one exchange in twenty is about a name never seen before. One in eight of the
    clients' names does not exist.
    """
    known = [_of_client(index, dice) for index in range(POPULAR)]
    upstream = [_of_resolver(index, dice) for index in range(POPULAR // 4)]
    weights = list(accumulate(1 / (index + 1) for index in range(POPULAR)))
    while True:
        for made in dice.choices(known, cum_weights=weights, k=1000):
            luck = dice.random()
            if luck < 0.05:
                yield _of_client(POPULAR + dice.getrandbits(30), dice)
            elif luck < 0.25:
                yield dice.choice(upstream)
            else:
                yield made


def capture(path: Path, messages: int) -> None:
    """Write a capture of so many DNS messages over UDP, the same at every call."""
    dice = random.Random(1)
    source = exchanges(dice)

    def frames() -> Iterator[Frame]:
        for number in range(messages // 2):
            made = next(source)
            client = RESOLVER if made.server != RESOLVER else f"198.51.100.{dice.randrange(100, 256)}"
            flow = Flow(client, dice.randrange(1024, 65536), made.server)
            identity = dice.getrandbits(16).to_bytes(2, "big")
            when = START + 2 * number / RATE
            yield when, flow.query(identity + made.query)
            yield when + 1 / RATE, flow.response(identity + made.response)

    write(path, frames())


def distinct(path: Path, names: int) -> None:
    """Write a capture in which each of so many names is asked for once, and has one address."""
    name = "00000000.distinct.example."
    made = _wire(dns.message.make_query(name, "A"), [f"{name} 300 IN A 192.0.2.1"])
    query, response = made.query.split(b"00000000"), made.response.split(b"00000000")

    def frames() -> Iterator[Frame]:
        for number in range(names):
            flow = Flow(f"198.51.100.{number % 200}", 1024 + number % 60_000, RESOLVER)
            label = b"%08x" % number
            when = START + 2 * number / RATE
            yield when, flow.query(b"\0\0" + label.join(query))
            yield when + 1 / RATE, flow.response(b"\0\0" + label.join(response))

    write(path, frames())


def _of_client(index: int, dice: random.Random) -> _Exchange:
    name = f"www{index}.shop{index % 5000}.example."
    (kind,) = dice.choices(("A", "AAAA", "HTTPS", "TXT", "PTR"), (55, 25, 12, 3, 5))
    query = dns.message.make_query(name, kind, use_edns=0 if dice.random() < 0.6 else False, payload=1232)
    answer, authority = [], []
    if dice.random() < 0.125:
        query_rcode = dns.rcode.NXDOMAIN
        soa = f"ns1.example. host.example. {index} 7200 900 1209600 86400"
        authority = [f"shop{index % 5000}.example. 900 IN SOA {soa}"]
    else:
        query_rcode = dns.rcode.NOERROR
        owner = name
        if dice.random() < 0.3:
            owner = f"edge{index % 300}.cdn.example."
            answer.append(f"{name} 300 IN CNAME {owner}")
        rdata = {
            "A": [f"203.0.{index % 100}.{count + index % 200}" for count in range(dice.choice((1, 1, 2, 4)))],
            "AAAA": [f"2001:db8:{index % 9999}::{count}" for count in range(dice.choice((1, 1, 2)))],
            "HTTPS": ["1 . alpn=h2,h3"],
            "TXT": ['"v=spf1 include:_spf.example -all"'],
            "PTR": [f"host{index}.example."],
        }[kind]
        answer += [f"{owner} 60 IN {kind} {text}" for text in rdata]
    return _wire(query, answer, authority, rcode=query_rcode)


def _of_resolver(index: int, dice: random.Random) -> _Exchange:
    zone = f"shop{index}.example."
    query = dns.message.make_query(f"www{index}.{zone}", "A", use_edns=0, want_dnssec=True, payload=1232)
    query.flags &= ~dns.flags.RD
    servers = [f"{zone} 172800 IN NS ns{count}.host{index % 99}.example." for count in range(2)]
    glue = [f"ns{count}.host{index % 99}.example. 172800 IN A 192.0.2.{index % 99 + 100 * count}" for count in range(2)]
    if dice.random() < 0.4:
        return _wire(query, [], servers, glue, server="192.0.2.1")
    answer = [f"www{index}.{zone} 60 IN A 203.0.113.{index % 200}"]
    return _wire(query, answer, servers, glue, server=f"192.0.2.{index % 99}", flags=dns.flags.AA)


def _wire(
    query: dns.message.Message,
    *sections: list[str],
    rcode: int = 0,
    server: str = RESOLVER,
    flags: int = dns.flags.RA,
) -> _Exchange:
    response = dns.message.make_response(query)
    response.flags |= flags
    response.set_rcode(dns.rcode.Rcode(rcode))
    for section, lines in zip((response.answer, response.authority, response.additional), sections, strict=False):
        for line in lines:
            owner, ttl, _, kind, *text = line.split(" ", 4)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, text[0]))
    return _Exchange(query.to_wire()[2:], response.to_wire()[2:], server)


def cpu_seconds(pcap: Path, folder: Path, *scripts: str) -> tuple[float, float]:
    """Run Zeek over a capture and return its CPU time (user and system, seconds) and the most memory it had, in MB.

    Raises RuntimeError where Zeek fails.
    """
    folder.mkdir()
    process = subprocess.Popen(["zeek", "-C", "-r", str(pcap), *scripts], cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    shutil.rmtree(folder)
    if status:
        raise RuntimeError(f"zeek ended with status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def bench_cpu(folder: Path) -> None:
    """Print Zeek's CPU time with each part of the package, and with all of it, beside stock Zeek's, in pairs."""
    pcap = folder / "messages.pcap"
    capture(pcap, MESSAGES)
    parts = [[f"{PACKAGE}/{part}.zeek"] for part in ("dns-log", "pdns", "capture", "open-resolver", "poisoning")]
    variants = {Path(scripts[0]).stem: scripts for scripts in parts} | {"all": [str(PACKAGE)]}
    ratios: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(PAIRS):
        stock, _ = cpu_seconds(pcap, folder / "logs")
        for name, scripts in variants.items():
            ratios[name].append(cpu_seconds(pcap, folder / "logs", *scripts)[0] / stock)
    print(f"stock Zeek: {stock:.1f} s of CPU for {MESSAGES:,} messages; with the package, by pairs:\n")
    print("| part | median | least | most |")
    print("|---|---|---|---|")
    for name, values in ratios.items():
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} |")


def bench_memory(folder: Path) -> None:
    """Print the most memory that Zeek had, stock and with passive DNS, over how many names it had seen."""
    print("| distinct names | stock Zeek | with passive DNS |")
    print("|---|---|---|")
    for names in DISTINCT:
        pcap = folder / "names.pcap"
        distinct(pcap, names)
        # Without logs on disk: 10 million rows would be what is measured.
        _, stock = cpu_seconds(pcap, folder / "logs", "Log::default_writer=Log::WRITER_NONE")
        _, ours = cpu_seconds(pcap, folder / "logs", f"{PACKAGE}/pdns.zeek", "Log::default_writer=Log::WRITER_NONE")
        print(f"| {names:,} | {stock:,.0f} MB | {ours:,.0f} MB |", flush=True)
        pcap.unlink()


def main() -> None:
    """Run both parts, where Zeek is on the PATH, in a folder that is removed afterwards."""
    if not shutil.which("zeek"):
        print("zeek is not on the PATH: nothing measured")
        return
    with tempfile.TemporaryDirectory(prefix="dnsvigil-bench-") as folder:
        print("## The Zeek package: CPU\n", flush=True)
        bench_cpu(Path(folder))
        print("\n## The Zeek package: memory\n", flush=True)
        bench_memory(Path(folder))
