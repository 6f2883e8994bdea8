"""``dnsvigil pdns hunt``: whether indicators are anywhere in the history of passive DNS."""

import argparse
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from dnsvigil.cli.ask import ask_stream, shows_answer
from dnsvigil.cli.errors import CommandError, UsageError
from dnsvigil.cli.output import show, show_json
from dnsvigil.cli.pdns import lines_of, portions
from dnsvigil.cli.spark import cluster_if_asked
from dnsvigil.config.collector import Config
from dnsvigil.system.terminal import counted, printable

if TYPE_CHECKING:
    from dnsvigil.engines.spark import Cluster

_PATH: Final = "/api/hunt"
_HEAD: Final = ("indicator", "found", "first seen", "last seen", "answers", "finding", "record")
_FOUND: Final = {True: "yes", False: "no", None: "not known"}

Record = Mapping[str, Any]


@shows_answer
def hunt(options: argparse.Namespace, config: Config) -> int:
    """Print what is found of each indicator. Return 1 where not everything could be looked up.

    Raises ``CommandError``, ``OwnerError`` among them.
    """
    indicators = [*options.indicators, *(lines_of("--file", options.file) if options.file else ())]
    if not indicators:
        raise UsageError("give an indicator, or --file FILE")
    records: list[Record] = []
    problems: list[str] = []
    with cluster_if_asked(options, config) as cluster:
        for portion in portions(indicators):
            for frame in _frames(options, config, portion, cluster):
                if "obj" in frame:
                    records.append(frame["obj"])
                elif message := frame.get("msg"):
                    problems.append(str(message))
    if options.json:
        show_json(records)
    elif records:
        show(_HEAD, [_row(record) for record in records])
        print(f"dnsvigil: {_history(records)}", file=sys.stderr)
    for problem in problems:
        print(f"dnsvigil: {printable(problem)}", file=sys.stderr)
    return 1 if problems else 0


def _frames(
    options: argparse.Namespace, config: Config, indicators: list[str], cluster: "Cluster | None"
) -> Iterable[Record]:
    """Yield the frames of an answer. Raises ``CommandError`` where it has failed, or breaks off."""
    last: Record = {}
    for last in ask_stream(
        config, options.state, _PATH, {}, {"indicators": indicators}, read_only=False, cluster=cluster
    ):
        yield last
    if last.get("cond") not in ("succeeded", "limited"):
        raise CommandError(str(last.get("msg", "the answer breaks off, so there may be more")))


def _row(record: Record) -> list[Any]:
    first, last = (record.get(name, "-").replace("T", " ").removesuffix("Z") for name in ("first_seen", "last_seen"))
    number = record.get("finding")
    sample = next(iter(record.get("records", ())), None)
    found = _FOUND[record["found"]]
    return [record["indicator"], found, first, last, record.get("count"), number and str(number), sample]


def _history(records: list[Record]) -> str:
    since, dropped = records[0]["history_since"], records[0]["tuples_dropped"]
    if since is None:
        return "passive DNS has nothing at all"
    cut = f"; {counted(dropped, 'tuple')} of it were dropped for age or size" if dropped else ""
    return f"passive DNS reaches back to {printable(since)}{cut}"
