"""Open resolvers: which hosts of the lab are found, by sensors and by flows, as what, and what is found for nothing.

Everything goes the whole way: rows of the sensor's log or flow files, the collector's store, the detector. No seed is
that of a labelled host, and half of the variants have no labelled host at all. A day is evaluated every three hours.
"""

from __future__ import annotations

import lzma
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from dnsvigil.config.collector import Config, Flows
from dnsvigil.config.types import Network
from dnsvigil.detectors.detector import Anomaly, Context
from dnsvigil.detectors.open_resolver.detector import OpenResolver
from dnsvigil.detectors.open_resolver.kinds import ABUSED, OPEN_KINDS
from dnsvigil.ingest.flows import FlowsPart
from dnsvigil.ingest.intake import Intake
from dnsvigil.sources.netflow.follower import pending_file
from dnsvigil.store.store import Store
from lab import flows as lab_flows
from lab.openhosts import SLOT, VARIANTS, Host

from .open_hosts import CONFIG, TAUGHT, end, hosts_of, put_flows, put_rows
from .tunnels import SHARED, table

SEEDS: Final = range(100, 104)  # nothing was chosen on these, nor on the next
MORE_SEEDS: Final = range(300, 320)
HOURS: Final = 24
ABUSE_HOURS: Final = 4  # of which the abuse takes the last two at most
SLOT_TIME: Final = timedelta(seconds=SLOT)
EVERY: Final = timedelta(hours=3)
THRESHOLD: Final = 0.5


def evaluated(store: Store, now: datetime) -> dict[str, Anomaly]:
    """Return what the detector has of each host at a time."""
    detector = OpenResolver(Context(store.path.parent, CONFIG))
    return {each.subject: each for each in detector.evaluate(store.rows, now)}


class Day:
    """What became of hosts in a day: their anomalies by when they were evaluated."""

    def __init__(self, hosts: Sequence[Host], by_flows: bool, times: Sequence[datetime]) -> None:
        self.hosts = hosts
        with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "state") as store:
            if by_flows:
                put_flows(store, hosts, Path(folder)).close()
            else:
                put_rows(store, hosts, Path(folder))
            with closing(Intake(store, CONFIG)):  # which makes the tables of findings
                self.found = {now: evaluated(store, now) for now in times}

    def anomalies(self, host: Host) -> list[Anomaly]:
        """Return those of one host, in the order of time."""
        return [each[host.address] for each in self.found.values() if host.address in each]

    def findings(self, host: Host) -> int:
        """Return how often the host was a finding: once, and once more each time after it was none."""
        are = [each.score >= THRESHOLD for each in self.anomalies(host)]
        return sum(is_so and not before for before, is_so in zip([False, *are], are, strict=False))


def main() -> None:
    """Print the tables of docs/detectors/open_resolver.md."""
    hosts = hosts_of(VARIANTS, SEEDS, HOURS)
    last = end(hosts)
    times = [last - EVERY * number for number in reversed(range(HOURS // 3))]
    days = {"sensor": Day(hosts, False, times), "flows": Day(hosts, True, times)}
    _found(hosts, days)
    _abused(days)
    _delays()
    _false()
    _real()


def _found(hosts: Sequence[Host], days: dict[str, Day]) -> None:
    print(f"Hosts of the lab, {len(SEEDS)} of each: found, of these named as what they are, and scores at the end\n")
    by_variant: defaultdict[tuple[str, str], list[Host]] = defaultdict(list)
    for host in hosts:
        by_variant[host.kind, host.variant].append(host)
    rows = []
    for (kind, variant), some in by_variant.items():
        known = "" if variant in TAUGHT.get(kind, ()) else " *"
        rows.append((f"{kind}: {variant}{known}", *(_cell(day, some) for day in days.values())))
    table(("host (* without a labelled host)", *days), rows)


def _cell(day: Day, hosts: Sequence[Host]) -> str:
    ends = [found[-1] for host in hosts if (found := day.anomalies(host))]
    if not ends:
        return "not seen"
    found = [each for each in ends if each.score >= THRESHOLD]
    named = sum(each.evidence["looks_like"] == host.kind for host in hosts for each in day.anomalies(host)[-1:])
    scores = sorted(each.score for each in ends)
    return f"{len(found)} of {len(hosts)}, {named} named, {scores[0]:.2f} to {scores[-1]:.2f}"


def _abused(days: dict[str, Day]) -> None:
    """Print how the abused hosts rank among all that are found."""
    for name, day in days.items():
        found = [(each.score, host.kind) for host in day.hosts for each in day.anomalies(host)[-1:]]
        worst = sorted((pair for pair in found if pair[0] >= THRESHOLD), reverse=True)
        abused = sum(host.kind == ABUSED and bool(day.anomalies(host)) for host in day.hosts)
        first = sum(kind == ABUSED for _, kind in worst[:abused])
        print(f"By {name}, {first} of the {abused} worst of {len(worst)} findings are the {abused} abused hosts.")
    print()


def _delays() -> None:
    """Print how long after its begin an abuse is known as one; files of flows come when their five minutes are over."""
    hosts = hosts_of([key for key in VARIANTS if key[0] == ABUSED], SEEDS, ABUSE_HOURS)
    slots = len(hosts[0].slots)
    begin = end(hosts) - slots * SLOT_TIME
    times = [begin + number * SLOT_TIME for number in range(slots - 26, slots + 1)]
    rows = []
    for name, by_flows in ("sensor", False), ("flows", True):
        day = Day(hosts, by_flows, times)
        minutes = []
        for host in hosts if by_flows else [host for host in hosts if host.recursive]:
            known = next((now for now in times if _is_critical(day, host, now)), None)
            if known:
                minutes.append((known - begin - _abused_from(host) * SLOT_TIME) / timedelta(minutes=1))
        number = len(hosts) if by_flows else sum(host.recursive for host in hosts)
        middle = sorted(minutes)[len(minutes) // 2] if minutes else 0
        rows.append((name, f"{len(minutes)} of {number}", f"{middle:.0f}", f"{max(minutes, default=0):.0f}"))
    print("Abused hosts: how many are critical, and minutes after the abuse began\n")
    table(("by", "critical", "median", "longest"), rows)


def _is_critical(day: Day, host: Host, now: datetime) -> bool:
    found = day.found[now].get(host.address)
    return found is not None and found.severity == "critical" and found.score >= THRESHOLD


def _abused_from(host: Host) -> int:
    """Return the number of the slot in which the abuse begins: no other client asks so much."""
    return next(number for number, slot in enumerate(host.slots) if any(each.queries > 50 for each in slot.exchanges))


def _false() -> None:
    """Print what is found of hosts that are not open, and not abused."""
    hosts = hosts_of([key for key in VARIANTS if key[0] not in OPEN_KINDS], MORE_SEEDS, HOURS)
    last = end(hosts)
    day = Day(hosts, True, [last - EVERY * number for number in reversed(range(HOURS // 3))])
    false = sum(day.findings(host) for host in hosts)
    rate = 10_000 * false / len(hosts)
    print(f"Hosts that are not open, by flows: {false} false findings of {len(hosts)} hosts in a day: {rate:,.0f} of")
    print("10,000 hosts and day. A sensor logs none of them. Those found:\n")
    found = Counter((host.kind, host.variant) for host in hosts if day.findings(host))
    table(("host", f"found of {len(MORE_SEEDS)}"), [(f"{kind}: {variant}", n) for (kind, variant), n in found.items()])


def _real() -> None:
    """Print what is found at a real root server, of which there is a capture."""
    capture = SHARED / "pcap-normal" / "knot-live.raw.pcap.xz"
    if not capture.exists() or lab_flows.why_not():
        print(f"A real name server: needs {capture} and the programs of nfdump\n")
        return
    with tempfile.TemporaryDirectory() as made:
        pcap = Path(made) / "knot.pcap"
        with lzma.open(capture) as packed, pcap.open("wb") as out:
            shutil.copyfileobj(packed, out)
        file = lab_flows.from_capture(pcap, Path(made) / "flows")
        with Store(Path(made) / "all") as store:
            _, servers = _read(store, file, [])
        with Store(Path(made) / "own") as store:
            now, _ = _read(store, file, servers)
            found = [*OpenResolver(Context(store.path.parent, _config(servers))).evaluate(store.rows, now)]
    print("A real root server (knot-live, 52 s), by flows\n")
    rows = [(each.evidence["looks_like"], f"{each.score:.2f}", each.evidence["flows"]["askers"]) for each in found]
    table(("looks like", "score", "clients"), rows)


def _config(servers: Sequence[str]) -> Config:
    return Config(flows=Flows(networks=[Network(f"{each}/{128 if ':' in each else 32}") for each in servers]))


def _read(store: Store, file: Path, own: Sequence[str]) -> tuple[datetime, list[str]]:
    """Read a flow file; return when its slot ends, and the two servers with the most clients."""
    with closing(FlowsPart(store, _config(own))) as part, closing(Intake(store, Config())):
        part.ingest(pending_file(file))
        assert part.newest
        rows = store.rows("SELECT server FROM dns_flows GROUP BY server ORDER BY count(*) DESC LIMIT 2")
        return part.newest, [server for (server,) in rows]
