"""The whole way of open hosts: rows of a sensor or flow files, the collector's store, the detector.

``python -m evaluation.open_hosts`` writes exporters/dnsvigil/detectors/open_resolver/reference.csv, the labelled hosts
that the detector compares others with. Other seeds and whole variants are left for the evaluation.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from dnsvigil.config.collector import Config, Detectors, Flows
from dnsvigil.config.types import Network
from dnsvigil.detectors.open_resolver.flows import OwnFlows
from dnsvigil.detectors.open_resolver.kinds import WEIGHTS
from dnsvigil.detectors.open_resolver.sensor import seen_by_sensors
from dnsvigil.detectors.open_resolver.traffic import FLOWS, SENSOR, Seen
from dnsvigil.ingest.flows import FlowsPart
from dnsvigil.ingest.intake import Intake
from dnsvigil.sources.netflow.follower import pending_file
from dnsvigil.sources.zeek.cursors import Cursors
from dnsvigil.sources.zeek.pending import pending_log
from dnsvigil.sources.zeek.reader import read_batches
from dnsvigil.store.store import Store
from lab import openhosts, zeeklog
from lab.flows import write
from lab.openhosts import SLOT, Host, made

from .detection import all_but

START: Final = 1_700_000_000 // 86_400 * 86_400
LOG: Final = "dnsvigil_open_resolver.log"
NETWORK: Final = "198.51.0.0/16"
CONFIG: Final = Config(
    detectors=Detectors(disabled=all_but("open_resolver"), top=1000), flows=Flows(networks=[Network(NETWORK)])
)
REFERENCE: Final = (
    Path(__file__).parents[2] / "exporters" / "dnsvigil" / "detectors" / "open_resolver" / "reference.csv"
)
TAUGHT: Final = {
    "authoritative server": ("zones of a company", "popular zones", "signed zones", "secondary"),
    "closed resolver": ("refuses, with clients inside", "refuses, idle"),
    "victim of reflection": ("answers from everywhere",),
    "public resolver": ("of the operator",),
    "customer forwarder": ("home router",),
    "open resolver": ("scanned alone", "used by strangers"),
    "abused for reflection": ("ANY", "TXT"),
}
"""The variants that are references; the others are left for the evaluation."""

SEEDS: Final = range(6)
"""Those of the references."""


def addresses() -> Iterable[str]:
    """Yield addresses of hosts."""
    return (f"198.51.{number // 250}.{number % 250 + 1}" for number in range(60_000))


def hosts_of(variants: Iterable[tuple[str, str]], seeds: Iterable[int], hours: int = 24) -> list[Host]:
    """Return hosts of each variant and seed."""
    named = iter(addresses())
    return [made(*variant, next(named), seed, hours) for variant in variants for seed in seeds]


def end(hosts: Sequence[Host]) -> datetime:
    """Return when the slots of hosts end."""
    return datetime.fromtimestamp(START, UTC).replace(tzinfo=None) + timedelta(seconds=SLOT * len(hosts[0].slots))


def put_rows(store: Store, hosts: Sequence[Host], folder: Path) -> None:
    """Have the collector read what a sensor logs of hosts."""
    log = folder / LOG
    rows = sorted((row for host in hosts for row in openhosts.rows(host, START)), key=lambda row: row["ts"])
    lines = ("\t".join(row[name] for name, _ in openhosts.COLUMNS).encode() + b"\n" for row in rows)
    log.write_bytes(zeeklog.header(START, openhosts.COLUMNS, LOG.removesuffix(".log")) + b"".join(lines))
    with closing(Intake(store, CONFIG)) as intake:
        pending = pending_log(log, Cursors([]))
        for batch in read_batches(log, pending.cursor, True, pending.log_type):
            skipped = intake.put([batch])[0].skipped
            assert not skipped, skipped


def put_flows(store: Store, hosts: Sequence[Host], folder: Path) -> FlowsPart:
    """Have the collector read the flow files of hosts; return the part, which the caller closes."""
    part = FlowsPart(store, CONFIG)
    for number in range(len(hosts[0].slots)):
        begin = datetime.fromtimestamp(START + number * SLOT, UTC)
        path = folder / f"nfcapd.{begin:%Y%m%d%H%M}+0000"
        write(path, [openhosts.flow_records(hosts, number, START)], "edge")
        part.ingest(pending_file(path))
        path.unlink()
    return part


def seen(hosts: Sequence[Host]) -> dict[str, dict[str, Seen]]:
    """Return what sensors and flows have of hosts, by origin and address."""
    now = end(hosts)
    with tempfile.TemporaryDirectory() as made_folder, Store(Path(made_folder) / "sensor") as store:
        put_rows(store, hosts, Path(made_folder))
        sensor = seen_by_sensors(store.rows, now, len(hosts))
    with (
        tempfile.TemporaryDirectory() as made_folder,
        Store(Path(made_folder) / "flows") as store,
        closing(put_flows(store, hosts, Path(made_folder))),
    ):
        flows = OwnFlows([NETWORK]).seen(store.rows, now)
    return {SENSOR: {each.host: each for each in sensor}, FLOWS: {each.host: each for each in flows}}


def main() -> None:
    """Write the references."""
    hosts = hosts_of([(kind, name) for kind, names in TAUGHT.items() for name in names], SEEDS)
    found = seen(hosts)
    with REFERENCE.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("origin", "kind", "variant", *WEIGHTS))
        for origin, by_address in found.items():
            for host in hosts:
                if host.address in by_address:
                    values = by_address[host.address].values()
                    numbers = ("" if values[name] is None else f"{values[name]:.3f}" for name in WEIGHTS)
                    out.writerow((origin, host.kind, host.variant, *numbers))
    print(f"{REFERENCE}: {sum(map(len, found.values()))} hosts")


if __name__ == "__main__":
    main()
