"""One run of the whole lab: servers, traffic, faults, captures, Zeek's logs, and the truth to hold them against."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from . import capture, faults, traffic, truth, world, zeeklog
from .namespaces import LabError, Namespaces
from .servers import AUTHORITY, REFUSED_CLIENT, Servers

TOOLS = ("ip", "nsd", "unbound", "named", "rndc", "dig", "dnsperf", "tcpdump", "zeek")
SHORTEST_SECONDS = 20
LONGEST_SECONDS = 600
_GATEWAY = ("203.0.113.254", "2001:db8:a::254")


def missing_tools() -> list[str]:
    """Return which of the programs that a run needs are not on the PATH."""
    return [tool for tool in TOOLS if not shutil.which(tool)]


def make(into: Path, *, seconds: int = 150, seed: int = 1) -> truth.Truth:
    """Run the lab with traffic for so many seconds; write the logs, truth.json and a README into a folder.

    The folder gets dns.log, dns.json (the same capture as JSON), upstream-dns.log (between the resolvers and the
    authoritative servers), truth.json, README.md, and, in ``work``, all files that these were made of. Needs root.

    Raises LabError where something does not work, and where the witnesses disagree.
    """
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise LabError(f"{seconds} s of traffic: has to be {SHORTEST_SECONDS} to {LONGEST_SECONDS}")
    if missing := missing_tools():
        raise LabError(f"not on the PATH: {', '.join(missing)}")
    work = into / "work"
    work.mkdir(parents=True)
    # Unbound and NSD keep to short paths, and a server's files are no business of whoever reads the folder.
    with tempfile.TemporaryDirectory(prefix="dnsvigil-lab-") as temporary, Namespaces() as net:
        try:
            made, packets = _traffic(net, Path(temporary), work, seconds, random.Random(seed))
        finally:
            for log in Path(temporary).rglob("*.log"):
                shutil.copy(log, work / f"{log.parent.name}-{log.name}")
    tsv, as_json = capture.zeek_logs(work / "clients.pcap", work / "zeek")
    upstream, _ = capture.zeek_logs(work / "upstream.pcap", work / "zeek-upstream")
    shutil.copy(tsv, into / "dns.log")
    shutil.copy(as_json, into / "dns.json")
    shutil.copy(upstream, into / "upstream-dns.log")
    (into / "truth.json").write_text(json.dumps(made, indent=1) + "\n")
    records = sum(1 for _ in zeeklog.lines(tsv))
    (into / "README.md").write_text(_readme(made, seconds, seed, records, packets))
    if wrong := truth.differences(truth.tally(made), truth.from_zeek(tsv)):
        raise LabError("Zeek's log differs from what dnsperf saw:\n" + "\n".join(wrong))
    return made


def connect(net: Namespaces) -> None:
    """Make the lab's two networks and all its hosts."""
    net.bridge("clients")
    net.bridge("upstream", *_with_prefix(_GATEWAY))
    numbers = [world.ROOT[0], world.TLD[0], world.LAME]
    numbers += [zone.number for zone in world.ZONES if zone.served]
    servers = [address for number in numbers for address in _with_prefix(world.server_addresses(number))]
    net.host(AUTHORITY, {"upstream": servers})
    dark = ("192.0.2.0/24", "2001:db8:dead::/64")
    for network in dark:
        net.route("wire", "blackhole", network)
    for resolver in world.RESOLVERS:
        sides = {"clients": _with_prefix(resolver.clients), "upstream": _with_prefix(resolver.upstream)}
        net.host(resolver.name, sides)
        for network, gateway in zip(dark, _GATEWAY, strict=True):
            net.route(resolver.name, network, "via", gateway)
    for host in traffic.HOSTS:
        addresses = {client.address: None for client in traffic.EVERYONE if client.host == host}
        net.host(host, {"clients": _with_prefix(addresses)})


def _with_prefix(addresses: Iterable[str]) -> list[str]:
    return [f"{address}/{64 if ':' in address else 24}" for address in addresses]


def _traffic(
    net: Namespaces, temporary: Path, work: Path, seconds: int, dice: random.Random
) -> tuple[truth.Truth, dict[str, int]]:
    connect(net)
    servers = Servers(net, temporary)
    bind_before = servers.bind_counters()
    captures = [capture.Capture(net, side, work) for side in capture.SIDES]
    started = time.time()
    askers = [
        traffic.Asker(net, client, questions, work / f"client{index:02}")
        for index, (client, questions) in enumerate(traffic.plans(seconds, dice))
    ]
    events: list[truth.Event] = []

    def happened(what: str, zones: list[str]) -> None:
        events.append({"time": round(time.time(), 3), "what": what, "zones": zones})

    time.sleep(max(0, started + seconds * 0.3 - time.time()))
    happened("flood of names that do not exist begins", [faults.FLOODED])
    random_names = faults.flood(traffic.FLOODER.rate * seconds // 10, dice)
    askers.append(traffic.Asker(net, traffic.FLOODER, random_names, work / "client-flood"))
    time.sleep(max(0, started + seconds * 0.5 - time.time()))
    happened("authoritative servers stop", faults.outage(servers))
    for asker in askers:
        asker.finish(seconds + 60)
    ended = time.time()
    packets = {each.file.name: each.stop() for each in captures}
    counted = _count(askers)
    _compare_with_servers(servers, counted, bind_before)
    made = truth.summarize(counted)
    made["zones"] = sorted(zone.name for zone in world.ZONES)
    made["resolvers"] = {resolver.name: list(resolver.clients) for resolver in world.RESOLVERS}
    made["started"], made["ended"] = round(started, 3), round(ended, 3)
    made["events"] = events
    return made, packets


def _count(askers: list[traffic.Asker]) -> truth.Tally:
    total: truth.Tally = Counter()
    for asker in askers:
        seen = truth.from_dnsperf(asker.client.server, asker.process.log, raw_zone=world.ODD)
        if seen.total() != len(asker.questions):
            raise LabError(
                f"{asker.process} reports {seen.total()} of {len(asker.questions)} queries: {asker.process.tail()}"
            )
        total += seen
    return total


def _compare_with_servers(servers: Servers, counted: truth.Tally, bind_before: dict[str, int]) -> None:
    """Hold what the clients saw against what the resolvers say. Raises LabError where they disagree."""
    ignored = [address for resolver in world.RESOLVERS for address in resolver.clients]
    own = set(world.UNBOUND.clients)
    unbound = truth.from_unbound(servers.unbound_log, [*ignored, *REFUSED_CLIENT])
    expected = Counter({key: n for key, n in counted.items() if key[0] in own and key[2] != "REFUSED"})
    wrong = truth.differences(expected, unbound)
    asked: Counter[tuple[str, str]] = Counter()
    for (server, zone, _), number in counted.items():
        if server not in own:
            asked[server, zone] += number
    wrong += truth.differences(asked, truth.from_bind(servers.bind_query_log, ignored))
    after = servers.bind_counters()
    for rcode in ("SERVFAIL", "NXDOMAIN"):
        text = f"queries resulted in {rcode}"
        mine = sum(n for key, n in counted.items() if key[0] not in own and key[2] == rcode)
        said = after.get(text, 0) - bind_before.get(text, 0)
        wrong += truth.differences({("bind", rcode): mine}, {("bind", rcode): said})
    if wrong:
        raise LabError("the resolvers' logs differ from what dnsperf saw:\n" + "\n".join(wrong))


def _readme(made: truth.Truth, seconds: int, seed: int, records: int, packets: dict[str, int]) -> str:
    utc = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(made["started"]))
    events = "".join(
        f"- {event['time'] - made['started']:.0f} s: {event['what']} ({', '.join(event['zones'])})\n"
        for event in made["events"]
    )
    return f"""# DNS traffic made by the lab

Made by `python -m lab make --seconds {seconds} --seed {seed}` from {utc} on: NSD as authority, Unbound and BIND as
resolvers, dnsperf as clients, all in network namespaces of one machine; captured with tcpdump
({", ".join(f"{name}: {number} packets" for name, number in packets.items())}) and read by {capture.zeek_version()}.

- dns.log, dns.json: the {records} DNS transactions between clients and resolvers, as Zeek's TSV and JSON
- upstream-dns.log: those between the resolvers and the authoritative servers
- truth.json: what dnsperf, client by client, saw of each query; Unbound's and BIND's own logs agree with it
- work: the captures and the logs of every program

What happened, in seconds from the start:

{events}"""
