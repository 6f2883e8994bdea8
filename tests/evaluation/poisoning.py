"""Poisoning: which attacks of the lab are found, after how many forged packets, and what is found where there are none.

Two parts. Windows of signs are drawn as the sensor would write them (``lab.poisonings``), with other seeds than those
of the windows that the detector ships. Captures of real attacks and of ordinary traffic go the whole way: Zeek with
the package, the reader, the store, the detector, its findings; they need Zeek, and those of the lab root.
"""

from __future__ import annotations

import random
import shutil
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from dnsvigil.config.collector import Config, Detectors
from dnsvigil.ingest.detection import DetectionSnapshot
from dnsvigil.ingest.intake import Intake
from dnsvigil.records import Cursor
from dnsvigil.sources.zeek.lines import count_lines, split
from dnsvigil.sources.zeek.log_types import BY_PATH, DNS, PDNS, POISONINGS
from dnsvigil.sources.zeek.reader import Batch
from dnsvigil.store.findings import Finding, findings_in
from dnsvigil.store.store import Store
from exporters.zeeklogs import HEADER, package_header, package_line, tsv
from lab import fourresolvers, guessing, pasts, poisoners, poisonings, sensor, takeover
from lab.namespaces import LabError, why_not
from lab.pcaps import packets, thinned, unpacked

from .detection import all_but
from .tunnels import SHARED, table

CONFIG: Final = Config(detectors=Detectors(disabled=all_but("poisoning"), top=1000))
SEEDS: Final = range(1001, 1021)
RESOLVERS: Final = 5
START: Final = 1_700_000_000.0
SCRIPTS: Final = ("poisoning", "pdns.zeek", "capture.zeek", "dns-log.zeek")

Lines = Mapping[str, Sequence[tuple[float, bytes]]]
"""By the path of a log: its lines with their times, in order. The first is the header, whatever its time."""


@dataclass(frozen=True)
class Seen:
    """What was found, and when the collector had it first (seconds since the epoch)."""

    findings: Sequence[Finding]
    first: float | None
    best: float  # the highest score, of a finding or not


def watch(logs: Lines, seconds: float = 60, since: float = 0.0) -> Seen:
    """Let the collector read logs step by step, as they would be written; what is from before ``since`` at once."""
    times = [when for lines in logs.values() for when, _ in lines[1:]]
    first, best = None, 0.0
    with (
        tempfile.TemporaryDirectory() as folder,
        Store(Path(folder)) as store,
        closing(Intake(store, CONFIG)) as intake,
    ):
        at = max(min(times, default=0.0), since) // seconds * seconds
        places = dict.fromkeys(logs, 1)
        while at <= max(times, default=-1.0) + seconds:
            at += seconds
            batches = []
            for path, lines in logs.items():
                chosen = [line for when, line in lines[places[path] :] if when < at]
                places[path] += len(chosen)
                if chosen:
                    batches.append(_batch(path, b"".join([lines[0][1], *chosen])))
            if batches:
                intake.ingest(batches)
            best = max([best, *(each[3] for each in intake.snapshot().of(DetectionSnapshot).scores)])
            if first is None and findings_in(store.rows, "open"):
                first = at
        intake.flush()
        best = max([best, *(each[3] for each in intake.snapshot().of(DetectionSnapshot).scores)])
        found = [*findings_in(store.rows, "open"), *findings_in(store.rows, "closed")]
        return Seen(found, first or (at if found else None), best)


def of_folder(folder: Path) -> Lines:
    """Return the lines of the logs in a folder that the collector reads."""
    logs = {}
    for path in BY_PATH:
        file = folder / f"{path}.log"
        if file.exists():
            content = file.read_bytes().splitlines(keepends=True)
            head = b"".join(line for line in content if line.startswith(b"#") and not line.startswith(b"#close"))
            rows = [(float(line.split(b"\t", 1)[0]), line) for line in content if not line.startswith(b"#")]
            logs[path] = [(0.0, head), *sorted(rows, key=lambda row: row[0])]
    return logs


def of_rows(rows: Sequence[dict[str, str]]) -> Lines:
    """Return rows of the lab as the log."""
    lines = [(float(row["ts"]), package_line(POISONINGS.path, **row)) for row in rows]
    return {POISONINGS.path: [(0.0, package_header(POISONINGS.path)), *lines]}


def main() -> None:
    """Print the tables of docs/detectors/poisoning.md."""
    _drawn()
    _days()
    _pasts()
    if not shutil.which("zeek"):
        print("Captures: need zeek\n")
        return
    _real()


def _real() -> None:
    with tempfile.TemporaryDirectory(prefix="dnsvigil-evaluation-") as made:
        rows = [*_captures(Path(made)), *_attacks(Path(made)), *_takeovers(Path(made)), *_resolvers(Path(made))]
    print("Captures, through Zeek: what is found, and after how many signs, and seconds of the sensor's time\n")
    table(("capture", "findings", "highest score", "signs until the alarm", "seconds until it", "kind", "landed"), rows)


def _drawn() -> None:
    """Print what is found of drawn windows; each has a resolver of its own."""
    print(
        f"Windows of signs, {len(SEEDS)} of each: found, signs until the alarm, and of what kind they are said to be\n"
    )
    rows = []
    for name in poisonings.KINDS:
        made = []
        for number, seed in enumerate(SEEDS):
            made += [row | {"resolver": f"192.0.2.{number}"} for row in poisonings.rows(name, seed, START)]
        seen = watch(of_rows(sorted(made, key=lambda row: float(row["ts"]))))
        found = {finding.evidence["resolver"] for finding in seen.findings}
        signs = [each.evidence["alarm_after_signs"] for each in seen.findings if each.evidence.get("alarm_after_signs")]
        kinds = [finding.evidence["kind"] for finding in seen.findings]
        right = f"{kinds.count(name)} of {len(kinds)}" if kinds else "-"
        said = f"{statistics.median(signs):g} ({max(signs)})" if signs else "-"
        rows.append((name, f"{len(found)} of {len(SEEDS)}", said, right, f"{seen.best:.2f}"))
    table(("kind", "found", "signs until the alarm: median (most)", "kind is right", "highest score"), rows)


def _days() -> None:
    """Print what is found in a day of ordinary resolvers."""
    print(f"A day of {RESOLVERS} ordinary resolvers each, with odd answers every few seconds: findings\n")
    rows = []
    for lost in (0.0, 0.05, 0.2):
        made = []
        for number in range(RESOLVERS):
            day = poisonings.day(random.Random(f"day {number} {lost}"), START, lost)
            made += [row | {"resolver": f"192.0.2.{number}"} for row in day]
        # A finding stays for an hour.
        seen = watch(of_rows(sorted(made, key=lambda row: float(row["ts"]))), seconds=1800)
        per_day = f"{len(seen.findings) / RESOLVERS:g}" if seen.findings else f"0, below {3 / RESOLVERS:.2g}"
        rows.append((f"{lost:.0%}", len(made), len(seen.findings), per_day, f"{seen.best:.2f}"))
    table(("lost at the tap", "rows", "findings", "for each resolver and day (95 %)", "highest score"), rows)


def _pasts() -> None:
    """Print what is found of changes in passive DNS."""
    print(f"Changes of names and zones with a past of five days, {len(SEEDS)} of each: found\n")
    rows = []
    for name, kind in pasts.KINDS.items():
        records = [each for seed in SEEDS for each in kind(random.Random(f"{name} {seed}"), f"{seed}", START)]
        logs = {
            PDNS.path: [(0.0, package_header(PDNS.path)), *(_line(each) for each in records if each.rdata)],
            DNS.path: [(0.0, HEADER), *(_missing(each) for each in records if not each.rdata)],
        }
        ordered = {path: [head, *sorted(rows, key=lambda row: row[0])] for path, (head, *rows) in logs.items()}
        seen = watch(ordered, seconds=600, since=START - 3600)
        subjects = {finding.subject for finding in seen.findings}
        rows.append((name, f"{len(subjects)} of {len(SEEDS)}", f"{seen.best:.2f}"))
    table(("change", "found", "highest score"), rows)


def _missing(record: pasts.Seen) -> tuple[float, bytes]:
    values = {"ts": f"{record.when:.6f}", "rcode": "3", "rcode_name": "NXDOMAIN", "answers": "-", "TTLs": "-"}
    return record.when, tsv(query=record.name, qtype="1", qtype_name="A", **values)


def _line(record: pasts.Seen) -> tuple[float, bytes]:
    at = f"{record.when:.6f}"
    values = {"ts": at, "time_first": at, "time_last": at, "bailiwick": "-", "count": str(record.answers)}
    values |= {"rrname": record.name, "rrtype": record.rrtype, "rdata": record.rdata}
    return record.when, package_line(PDNS.path, **values, ttl_min=str(record.ttl), ttl_max=str(record.ttl))


def _captures(folder: Path) -> Iterator[tuple[object, ...]]:
    """Yield what is found in the captures that others made."""
    for packed in sorted((SHARED / "pcap-attack").glob("*.pcap*")):
        pcap = unpacked(packed, folder)
        begin = next(when for when, _ in packets(pcap))
        yield _through(packed.name, pcap, folder, {"DNSVigilPoisoning::resolvers": "{192.168.1.1/32}"}, begin)
    options = {"DNSVigilPoisoning::resolvers": "{192.168.68.62/32, 192.168.0.10/32, 10.0.2.15/32}"}
    for packed in sorted((SHARED / "pcap-normal").glob("*.pcap.xz")):
        yield _through(packed.name, unpacked(packed, folder), folder, options)


def _attacks(folder: Path) -> Iterator[tuple[object, ...]]:
    """Yield what is found of the lab's attacks on a real resolver."""
    if reason := why_not(guessing.TOOLS):
        print(f"The lab's attacks: {reason}\n")
        return
    made = folder / "guessing"
    made.mkdir()
    attack = guessing.make(made)
    yield _through("guessing, fixed port", attack.pcap, folder, guessing.OPTIONS, attack.first)
    for name in poisoners.ATTACKS:
        made = folder / name
        made.mkdir()
        try:
            done = poisoners.make(made, name)
        except LabError as error:
            print(f"{name}: {error}\n")
            continue
        yield _through(name, done.pcap, folder, poisoners.OPTIONS, done.first)


def _takeovers(folder: Path) -> Iterator[tuple[object, ...]]:
    """Yield what is found where the name server of a zone gets another address."""
    if reason := why_not(takeover.TOOLS):
        print(f"Takeovers: {reason}\n")
        return
    for way in takeover.WAYS:
        made = folder / way
        made.mkdir()
        done = takeover.make(made, way)
        yield _through(f"name server {way}", done.pcap, folder, takeover.OPTIONS, since=takeover.START - 3600)


def _resolvers(folder: Path) -> Iterator[tuple[object, ...]]:
    """Yield what is found in ordinary traffic of four resolvers, also through a tap that loses packets."""
    if reason := why_not([*fourresolvers.TOOLS, *fourresolvers.RESOLVERS]):
        print(f"Four resolvers: {reason}\n")
        return
    made = folder / "four"
    made.mkdir()
    pcap = fourresolvers.make(made)
    yield _through("four resolvers", pcap, folder, fourresolvers.OPTIONS)
    for lost in (0.05, 0.2):
        lossy = thinned(pcap, folder / "lossy.pcap", lost)
        yield _through(f"four resolvers, {lost:.0%} lost", lossy, folder, fourresolvers.OPTIONS)


def _through(
    name: str, pcap: Path, folder: Path, options: Mapping[str, str], begin: float = 0.0, *, since: float = 0.0
) -> tuple[object, ...]:
    with tempfile.TemporaryDirectory(dir=folder) as made:
        # Of an attack the capture is short, and what a sensor usually loses is known from the intervals before.
        short = {"DNSVigilCapture::log_interval": "1sec"} if begin else {}
        logs = sensor.run(pcap, Path(made) / "zeek", {**options, **short}, *SCRIPTS, as_json=False)
        seen = watch(of_folder(logs.folder), since=since)
    with_alarm = [each.evidence for each in seen.findings if each.evidence.get("alarm_at")]
    signs = min((each["alarm_after_signs"] for each in with_alarm), default="-")
    at = min((datetime.fromisoformat(each["alarm_at"]).timestamp() for each in with_alarm), default=None)
    after = f"{max(at - begin, 0):.4f}" if at and begin else "-"
    kinds = ", ".join(sorted({each.evidence["kind"] for each in seen.findings})) or "-"
    landed = any(each.evidence.get("landed") for each in seen.findings)
    return name, len(seen.findings), f"{seen.best:.2f}", signs, after, kinds, "yes" if landed else "-"


def _batch(path: str, content: bytes) -> Batch:
    kind = BY_PATH[path]
    chunks, _, skipped = split(content, None, kind)
    return Batch(chunks, count_lines(content), skipped, Cursor(path, "zeek", 0, "", 0, b"", ""), 0, kind)
