"""What the Zeek package costs: CPU time beside stock Zeek's on the same capture, and memory over distinct names."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import struct
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
NAMES_PER_MESSAGE = 50
SLACK = 50_000
"""Names that can be written and not yet read."""
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


def distinct(names: int) -> Iterator[tuple[int, Frame]]:
    """Yield frames in which each of so many names has an address, once, and how many names came before the frame.

    They are the cheapest for Zeek to read: many records a message, and few flows.
    """
    flows = [Flow(f"198.51.100.{number}", 1024, RESOLVER) for number in range(200)]
    made = _wire(dns.message.make_query("distinct.example.", "A"), [])
    head = made.response[:4] + struct.pack("!3H", NAMES_PER_MESSAGE, 0, 0) + made.response[10:]
    # Below the name of the question, which is at octet 12.
    owner, address = b"\x08%08x\xc0\x0c", struct.pack("!HHIH4B", 1, 1, 300, 4, 192, 0, 2, 1)
    for done in range(0, names, NAMES_PER_MESSAGE):
        number = done // NAMES_PER_MESSAGE
        flow = flows[number % len(flows)]
        identity = (number % 65_536).to_bytes(2, "big")
        when = START + 2 * number / RATE
        records = (owner % name + address for name in range(done, done + NAMES_PER_MESSAGE))
        yield done, (when, flow.query(identity + made.query))
        yield done, (when + 1 / RATE, flow.response(identity + head + b"".join(records)))


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
    # Without glue: the name servers are none of the zone's own hosts.
    return _wire(query, answer, servers, server=f"192.0.2.{index % 99}", flags=dns.flags.AA)


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


def cpu_seconds(pcap: Path, folder: Path, *variants: list[str]) -> list[float]:
    """Run Zeek with each list of scripts over a capture and return its CPU times (user and system, seconds).

    All run at the same time, so that what else the machine does slows all alike. Raises RuntimeError where one fails.
    """
    running = []
    for number, scripts in enumerate(variants):
        logs = folder / f"logs{number}"
        logs.mkdir()
        running.append(subprocess.Popen(["zeek", "-C", "-r", str(pcap), *scripts], cwd=logs))
    ended = [os.wait4(process.pid, 0) for process in running]
    for number, (_, status, _) in enumerate(ended):
        if status:
            raise RuntimeError(f"zeek ended with status {os.waitstatus_to_exitcode(status)}")
        shutil.rmtree(folder / f"logs{number}")
    return [usage.ru_utime + usage.ru_stime for _, _, usage in ended]


def bench_cpu(folder: Path) -> None:
    """Print Zeek's CPU time with the package, in pairs, and with each part, beside stock Zeek's."""
    pcap = folder / "messages.pcap"
    capture(pcap, MESSAGES)
    pairs = [cpu_seconds(pcap, folder, [], [str(PACKAGE)]) for _ in range(PAIRS)]
    stock = statistics.median(stock for stock, _ in pairs)
    ratios = [ours / stock for stock, ours in pairs]
    print(f"stock Zeek: {stock:.1f} s of CPU for {MESSAGES:,} messages (median of {PAIRS})\n")
    print("| part | CPU time, stock Zeek = 1 |")
    print("|---|---|")
    for part in ("dns-log.zeek", "pdns.zeek", "capture.zeek", "open-resolver.zeek", "poisoning"):
        stock, ours = cpu_seconds(pcap, folder, [], [f"{PACKAGE}/{part}"])
        print(f"| `{part.removesuffix('.zeek')}` | {ours / stock:.2f} |", flush=True)
    print(f"| all | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |")
    pcap.unlink()


def memory_over(names: tuple[int, ...], folder: Path, *scripts: str) -> list[float]:
    """Return the memory, in MB, that Zeek with these scripts has when it has read so many distinct names.

    It reads from a pipe, a little behind what is written. It logs nothing: the rows would be what is measured. Raises
    RuntimeError where Zeek fails.
    """
    command = ["zeek", "-b", "-C", "-r", "-", "base/protocols/dns", *scripts, "Log::default_writer=Log::WRITER_NONE"]
    sizes: list[float] = []
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE) as zeek:
        assert zeek.stdin

        def frames() -> Iterator[Frame]:
            for done, frame in distinct(names[-1] + 2 * SLACK):
                if len(sizes) < len(names) and done >= names[len(sizes)] + SLACK:
                    pages = Path(f"/proc/{zeek.pid}/statm").read_text().split()[1]
                    sizes.append(int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6)
                yield frame

        write(Path(f"/proc/self/fd/{zeek.stdin.fileno()}"), frames())
        zeek.stdin.close()
    if zeek.returncode:
        raise RuntimeError(f"zeek ended with status {zeek.returncode}")
    return sizes


def bench_memory(folder: Path) -> None:
    """Print the memory that Zeek has, stock and with passive DNS, over how many names it has seen."""
    (stock,) = memory_over(DISTINCT[:1], folder)
    print("| distinct names | memory |")
    print("|---|---|")
    print(f"| {DISTINCT[0]:,}, stock Zeek | {stock:,.0f} MB |", flush=True)
    for names, size in zip(DISTINCT, memory_over(DISTINCT, folder, f"{PACKAGE}/pdns.zeek"), strict=True):
        print(f"| {names:,} | {size:,.0f} MB |")


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
