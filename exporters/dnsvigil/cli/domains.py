"""``dnsvigil domains``: the features of domains."""

import argparse
import logging
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dnsvigil.cli.ask import ask, ask_tables, shows_answer
from dnsvigil.cli.domain_plot import check_plot, draw
from dnsvigil.cli.errors import CommandError, UsageError
from dnsvigil.cli.output import Cell, show, show_json, show_records
from dnsvigil.cli.ownership import require_owner
from dnsvigil.cli.progress import progress
from dnsvigil.cli.spark import with_master
from dnsvigil.config.collector import Config
from dnsvigil.records import DOMAIN_FEATURES

if TYPE_CHECKING:
    from dnsvigil.learning.domains import DomainTable
    from dnsvigil.learning.outcome import Outcome
    from dnsvigil.store.domain_file import DomainFile

log = logging.getLogger(__name__)

_TEN: Final = (*list(DOMAIN_FEATURES)[:10],)
_STATISTICS: Final = ("mean", "median", "p5", "p95", "min", "max")
_OF_GROUP: Final = ("id", "name", "domains", "features")
_DIGITS: Final = 4  # of a number that is shown


@shows_answer
def show_domain(options: argparse.Namespace, config: Config) -> int:
    """Print the features of a domain beside those of all. Raises ``CommandError``, also where it is not known."""
    found = ask(config, options.state, "/api/domains", domain=options.name)
    if options.json:
        show_json(found)
        return 0
    features, group = found["features"], found["group"]
    print(f"{found['domain']}: seen from {features['first_seen']} to {features['last_seen']}, as of {found['made']}")
    of_group = f"one of {group['domains']:,} domains that are alike"
    print(f"Its group: {group['name']}, {of_group}; from their centre its distance is {_short(found['distance'])}")
    print(f"Its features, and those of all {found['domains']:,} domains:")
    rows = [
        [name, _short(features[name]), *(_short(found["statistics"][name][each]) for each in _STATISTICS)]
        for name in DOMAIN_FEATURES
    ]
    show(("feature", "value", *_STATISTICS), rows)
    print("The domains that are most like it:")
    show(("domain", "distance"), [[each["domain"], _short(each["distance"])] for each in found["nearest"]])
    return 0


def features(options: argparse.Namespace, config: Config) -> int:
    """Print the features of each domain in logs, or in archives. Return 1 unless all of them were read.

    Raises ``CommandError``, ``StoreError`` and ``OSError``.
    """
    from dnsvigil.cli.domain_tables import table_of

    with ExitStack() as stack:
        complete, table = table_of(options.paths, with_master(config, options), stack, on_spark=_on_spark(options))
        records = map(_record, table.records())
        if options.json:
            show_records(records)
        else:
            show(("domain", *_TEN), [[each["domain"], *(_short(each[name]) for name in _TEN)] for each in records])
    return 0 if complete else 1


def cluster(options: argparse.Namespace, config: Config) -> int:
    """Divide domains into groups and print them. Return 1 unless all logs were read.

    Without logs they are all domains of the collector or the store, and the table of them is left where the collector
    looks for it; with logs, where ``--output`` says, if all were read. Raises as :func:`features`.
    """
    from dnsvigil.cli.domain_tables import table_of
    from dnsvigil.learning.outcome import outcome, save
    from dnsvigil.store.domain_file import domain_file

    if _on_spark(options) and not options.paths:
        raise UsageError("--engine spark needs logs or archives: give a PATH")
    if options.output and not options.paths:
        raise UsageError("--output needs logs or archives: give a PATH")
    if options.output and not options.output.parent.is_dir():
        raise CommandError(f"--output: there is no folder {options.output.parent}")
    if options.plot:
        check_plot(options.plot)
    now = datetime.now(UTC)
    path = options.output if options.paths else domain_file(options.state)
    complete, known = True, {}
    if not options.paths:
        require_owner(options.state)
        known = ask(config, options.state, "/api/domains/known")
    former = _former(path) if path else None
    with progress(("features", "groups")) as begin, ExitStack() as stack:
        begin("features")
        if options.paths:
            complete, table = table_of(
                options.paths, with_master(config, options), stack, on_spark=_on_spark(options), for_groups=True
            )
        else:
            table = _table_of_store(options.state, config, stack)
        begin("groups")
        found = outcome(table, known, former, now, options.seed)
        if path and complete:
            save(path, table, found)
        elif path:
            log.error("%s is left as it was, because not all could be read", path)
    if options.plot:
        draw(found, options.plot)
    (_show_json if options.json else _show_groups)(found)
    return 0 if complete else 1


def _show_json(found: "Outcome") -> None:
    labels, distances = found.clusters.labels.tolist(), found.clusters.distances.tolist()
    groups = [{name: getattr(each, name) for name in _OF_GROUP} for each in found.facts.groups]
    placed = [
        {"domain": name, "group": found.facts.groups[label].id, "distance": distance}
        for name, label, distance in zip(found.domains, labels, distances, strict=True)
    ]
    show_json({"silhouette": found.facts.silhouette, "groups": groups, "domains": placed})


def _show_groups(found: "Outcome") -> None:
    groups = found.facts.groups
    if found.facts.silhouette is not None:
        print(f"{len(found.domains):,} domains in {len(groups)} groups, mean silhouette {found.facts.silhouette:.2f}")
    rows: list[list[Cell]] = []
    notes = []
    for place, group in enumerate(groups):
        typical, odd = found.members(place)
        rows.append([group.id, group.name, group.domains, " ".join(typical)])
        notes.append("farthest from the centre: " + ", ".join(f"{name} {distance:.1f}" for name, distance in odd))
    show(("id", "group", "domains", "typical"), rows, notes)


def _former(path: Path) -> "DomainFile | None":
    """Return the table before; None where there is none."""
    from dnsvigil.store.domain_file import DomainFile, DomainFileError

    try:
        return DomainFile(path)
    except FileNotFoundError:
        return None
    except DomainFileError as error:
        log.warning("%s; all groups are new", error)
        return None


def _table_of_store(state: Path, config: Config, stack: ExitStack) -> "DomainTable":
    from dnsvigil.learning.domains import domain_table
    from dnsvigil.sources.networks import NetworkTableError

    hours, tuples = (ask_tables(config, state, f"/api/domains/{name}") for name in ("hours", "tuples"))
    try:
        return stack.enter_context(domain_table(hours, tuples, config.domains.networks))
    except NetworkTableError as error:
        raise CommandError(f"domains.networks: {error}") from error


def _on_spark(options: argparse.Namespace) -> bool:
    return bool(options.engine == "spark")


def _record(row: dict[str, Any]) -> dict[str, Any]:
    times = {name: _time(row[name]) for name in ("first_seen", "last_seen")}
    return row | times


def _time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _short(value: float | None) -> float | int | None:
    """Return a number with as many digits as a person compares."""
    if value is None or isinstance(value, int) or value.is_integer():
        return value
    return float(f"{value:.{_DIGITS}g}")
