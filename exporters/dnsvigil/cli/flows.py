"""``dnsvigil flows``: top talkers out of flow files, by nfdump; and the series that the store has."""

import argparse
import errno
import heapq
import logging
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from dnsvigil.cli.ask import ask, shows_answer
from dnsvigil.cli.errors import UsageError
from dnsvigil.cli.output import show, show_json
from dnsvigil.config.collector import Config, NetflowSource
from dnsvigil.records import utc_now
from dnsvigil.sources.folders import Match, expand
from dnsvigil.sources.netflow import DamagedFileError, Dumper, Flow, NFDumpError, flow_stats_file, search_file
from dnsvigil.sources.netflow.flow_file import (
    begin_of,
    flow_exporter_label,
    flow_exporter_of,
    given_files,
    is_flow_file,
    slot_of,
)
from dnsvigil.system.programs import ProgramError, environment, find
from dnsvigil.system.terminal import counted, printable

log = logging.getLogger(__name__)

_ALL: Final = 2**31 - 1  # rows
_LAST: Final = timedelta(hours=1)

Counts = tuple[int | None, int | None, int | None]
"""Flows, packets, bytes; None where no flow has that count."""

Talker = tuple[str, Counts]

_NOTHING: Final = (None, None, None)
# nfdump's statistics give both ends of a bidirectional flow what either has sent, and count events as flows.
_BOTH_WAYS: Final = "(out packets > 0 or out bytes > 0)"
_ONE_WAY: Final = f"(packets > 0 or bytes > 0) and not {_BOTH_WAYS}"
_SOURCES: Final = {"srcip": "dstip", "srcport": "dstport", "srcas": "dstas"}
_OTHER_END: Final = _SOURCES | {target: source for source, target in _SOURCES.items()}


def top(options: argparse.Namespace, config: Config) -> int:
    """Print the top talkers of the files that are chosen.

    Return 1 where a file cannot be read at all. Raises :class:`UsageError`, and :class:`NFDumpError` where none can.
    """
    options.nfdump = config.flows.nfdump or "nfdump"
    _check_nfdump(options.nfdump, options.filter)
    failed: list[Path] = []
    files = list(_chosen(options, config, failed))
    rows = _top(files, options, failed) if files else []
    if options.json:
        names = ("flows", "packets", "bytes")
        show_json(
            [
                {"element": options.by, "talker": talker} | dict(zip(names, counts, strict=True))
                for talker, counts in rows
            ]
        )
    elif rows:
        show((options.by, "flows", "packets", "bytes"), [(talker, *counts) for talker, counts in rows])
    else:
        print(f"no flows in {counted(len(files), 'file')}", file=sys.stderr)
    return 1 if failed else 0


@shows_answer
def series(options: argparse.Namespace, config: Config) -> int:
    """Print series from the store. Raises ``CommandError``."""
    names = ("exporter", "protocol", "service", "resolver", "measure")
    asked = {name: getattr(options, name) for name in names}
    answer = ask(config, options.state, "/api/flows/series", hours=options.last / 3600, **asked)
    found = answer["series"]
    if options.json:
        show_json(found)
        return 0
    labels = ("exporter", "resolver", "measure") if options.resolver else ("exporter", "protocol", "service", "measure")
    rows = []
    for each in found:
        for point in each["points"]:
            seen = (point["value"], point["baseline"], ", ".join(point["anomalies"]))
            rows.append([point["slot"], *(each[name] for name in labels), *seen])
    if rows:
        show(("slot", *labels, "value", "baseline", "unusual"), rows)
    else:
        print("the store has no such series", file=sys.stderr)
    return 0


# Which files


def _chosen(options: argparse.Namespace, config: Config, failed: list[Path]) -> Iterator[Path]:
    """Yield the files of the chosen slots and exporter; unreadable files are reported."""
    first, end = _window(options)
    files = _given(options.paths, failed) if options.paths else _configured(config.sources.netflow, failed)
    seen: set[Path] = set()
    for path, flow_exporter, folder in files:
        if (real := path.resolve()) in seen:
            continue
        seen.add(real)
        try:
            if first and end and not slot_of(first) <= (begin_of(path.name) or _first_flow(path, options.nfdump)) < end:
                continue
            if options.exporter and options.exporter != (
                flow_exporter or _ident(path, options.nfdump) or flow_exporter_label(folder)
            ):
                continue
            yield path
        except NFDumpError as error:
            _report(path, error, failed)


def _window(options: argparse.Namespace) -> tuple[datetime | None, datetime | None]:
    """Return the begin and the end, UTC; None for both where there is no limit."""
    if options.last is not None and (options.begin or options.end):
        raise UsageError("--last: not together with --from and --to")
    now = utc_now()
    if options.begin or options.end:
        begin, end = options.begin or datetime.min, options.end or now
        if begin >= end:
            raise UsageError("--from is not before --to")
        return begin, end
    if options.last is None and options.paths:
        return None, None
    return now - (_LAST if options.last is None else timedelta(seconds=options.last)), now


def _given(paths: Iterable[Path], failed: list[Path]) -> Iterator[tuple[Path, str | None, str]]:
    for path in paths:
        try:
            for file in given_files(path):
                # In a folder there may be anything.
                if file == path or begin_of(file.name) or is_flow_file(file):
                    yield file, None, flow_exporter_of(file.absolute())
        except OSError as error:
            _report(path, error, failed)


def _configured(sources: list[NetflowSource], failed: list[Path]) -> Iterator[tuple[Path, str | None, str]]:
    if not sources:
        raise UsageError("give files or folders, or sources.netflow in the configuration")
    for source in sources:
        for match in expand(source.path) or [Match(source.path, None)]:
            try:
                for file in given_files(match.path):
                    if begin_of(file.name):
                        yield file, source.exporter, match.part or flow_exporter_of(file.absolute())
            except OSError as error:
                _report(match.path, error, failed)


def _first_flow(path: Path, nfdump: str) -> datetime:
    return datetime.fromtimestamp(int(flow_stats_file(path, nfdump).get("first", 0)), UTC).replace(tzinfo=None)


def _ident(path: Path, nfdump: str) -> str | None:
    ident = str(flow_stats_file(path, nfdump).get("ident", ""))
    return flow_exporter_label(ident) if ident not in ("", "none") else None


def _report(path: Path, error: Exception, failed: list[Path]) -> None:
    failed.append(path)
    reason = error.strerror if isinstance(error, OSError) else None
    log.error("%s cannot be read: %s", path, printable(reason or str(error)))


# What nfdump finds in them


def _check_nfdump(nfdump: str, query: str) -> None:
    """Raise :class:`UsageError` for a filter that nfdump does not understand, :class:`NFDumpError` without nfdump."""
    try:
        done = subprocess.run(  # noqa: S603
            [find(nfdump), "-Z", "--", query or "any"],
            stdout=subprocess.PIPE,  # where some versions write what is wrong
            stderr=subprocess.STDOUT,
            check=False,
            env=environment(),
        )
    except (ProgramError, OSError) as error:
        raise NFDumpError(str(error)) from error
    if done.returncode:
        raise UsageError(f"--filter: {printable(done.stdout.decode(errors='replace').strip())}")


def _top(files: Sequence[Path], options: argparse.Namespace, failed: list[Path]) -> list[Talker]:
    """Return the greatest talkers.

    One nfdump for all files is fast and keeps the sums itself, but it stops at the first damaged file. Only then each
    file is looked at alone, and the readable flows of damaged files are added to nfdump's sums of all others.
    """
    place = ("flows", "packets", "bytes").index(options.order)

    def rank(talker: Talker) -> tuple[int, str]:
        return -(talker[1][place] or 0), talker[0]

    try:
        both_ways = _by_rows(_rows(files, _BOTH_WAYS, options), options.by)
        if both_ways:
            found = heapq.nsmallest(options.limit, _added(files, both_ways, options), key=rank)
        else:
            found = sorted(_statistic(files, options, options.limit), key=rank)
    except NFDumpError as error:
        log.debug("%s", error)
        sound, damaged = _apart(files, options, failed)
        if not (sound or damaged):
            raise
        rows = chain(_rows(sound, _BOTH_WAYS, options), _damaged_rows(damaged, options))
        return heapq.nsmallest(options.limit, _added(sound, _by_rows(rows, options.by), options), key=rank)
    for file in files:
        if not file.exists():  # nfdump passes over it in silence
            _report(file, FileNotFoundError(errno.ENOENT, "it has vanished"), failed)
    return found


@contextmanager
def _together(files: Iterable[Path], options: argparse.Namespace) -> Iterator[Dumper]:
    """Give an nfdump that searches all of these files at once."""
    with TemporaryDirectory(prefix="dnsvigil-flows-") as folder:
        for number, file in enumerate(files):
            Path(folder, f"{number:08}").symlink_to(file.absolute())
        dumper = Dumper(executable_path=options.nfdump)
        dumper.set_where(dirfiles=folder)
        yield dumper


def _and(query: str, other: str) -> str:
    return f"({query}) and {other}" if query else other


def _statistic(files: Iterable[Path], options: argparse.Namespace, limit: int) -> Iterator[Talker]:
    """Yield nfdump's sums of the flows of one direction."""
    query = _and(options.filter, _ONE_WAY)
    with _together(files, options) as dumper:
        for row in dumper.search(query, statistics=options.by, statistics_order=options.order, limit=limit):
            yield _name(row, options.by), _counts(row["flows"], row["packets"], row["bytes"])


def _rows(files: Sequence[Path], query: str, options: argparse.Namespace) -> Iterator[Flow]:
    if files:
        with _together(files, options) as dumper:
            yield from dumper.search(_and(options.filter, query))


def _damaged_rows(files: Iterable[Path], options: argparse.Namespace) -> Iterator[Flow]:
    for file in files:
        with suppress(DamagedFileError):  # which is reported already
            yield from search_file(file, options.filter, executable_path=options.nfdump)


def _by_rows(rows: Iterable[Flow], by: str) -> dict[str, Counts]:
    """Return the counts of the talkers in rows, which are one flow in each direction that carries something."""
    found: dict[str, Counts] = {}
    for row in rows:
        ways = ((by, row["packets"], row["bytes"]), (_OTHER_END.get(by, by), row["out_packets"], row["out_bytes"]))
        for end, packets, octets in ways:
            if packets or octets:
                name = _name(row, end)
                found[name] = _sum(found.get(name, _NOTHING), _counts(row["flows"], packets, octets))
    return found


def _counts(flows: int, packets: int, octets: int) -> Counts:
    # A flow has both, so what is 0 was not counted.
    return flows, packets or None, octets or None


def _apart(files: Iterable[Path], options: argparse.Namespace, failed: list[Path]) -> tuple[list[Path], list[Path]]:
    """Return the sound and the damaged files."""
    sound, damaged = [], []
    for file in files:
        try:
            list(search_file(file, options.filter, statistics="proto", limit=1, executable_path=options.nfdump))
            sound.append(file)
        except DamagedFileError as error:
            log.warning("%s: %s; the readable part is counted", file, printable(str(error)))
            damaged.append(file)
        except NFDumpError as error:
            _report(file, error, failed)
    return sound, damaged


def _added(files: Sequence[Path], rest: dict[str, Counts], options: argparse.Namespace) -> Iterator[Talker]:
    """Yield the counts of all talkers: those of the files, and the rest, which alone is kept in memory."""
    for name, counts in _statistic(files, options, _ALL) if files else ():
        yield name, _sum(counts, rest.pop(name, _NOTHING))
    yield from rest.items()


def _sum(one: Counts, other: Counts) -> Counts:
    flows, packets, octets = (
        None if a is None and b is None else (a or 0) + (b or 0) for a, b in zip(one, other, strict=True)
    )
    return flows, packets, octets


def _name(row: Any, by: str) -> str:
    return str(row["prot" if by == "proto" else by])
