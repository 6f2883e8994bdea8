"""``dnsvigil domains``: the features of domains."""

import argparse
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from dnsvigil.cli.ask import ask, shows_answer
from dnsvigil.cli.errors import CommandError
from dnsvigil.cli.output import Cell, show, show_json, show_records
from dnsvigil.config.collector import Archive, Config
from dnsvigil.records import DOMAIN_FEATURES

if TYPE_CHECKING:
    from dnsvigil.learning.domains import DomainTable

_TEN: Final = (*list(DOMAIN_FEATURES)[:10],)
_STATISTICS: Final = ("mean", "median", "p5", "p95", "min", "max")
_DIGITS: Final = 4  # of a number that is shown


@shows_answer
def show_domain(options: argparse.Namespace, config: Config) -> int:
    """Print the features of a domain beside those of all. Raises ``CommandError``, also where it is not known."""
    found = ask(config, options.state, "/api/domains", domain=options.name)
    if options.json:
        show_json(found)
        return 0
    features = found["features"]
    print(f"{found['domain']}: seen from {features['first_seen']} to {features['last_seen']}")
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
    """Print the features of each domain in logs. Return 1 unless all of them were read.

    Raises ``CommandError``, ``StoreError`` and ``OSError``.
    """
    with ExitStack() as stack:
        complete, table = _table_of(options.paths, config, stack)
        records = map(_record, table.records())
        if options.json:
            show_records(records)
        else:
            show(("domain", *_TEN), [[each["domain"], *(_short(each[name]) for name in _TEN)] for each in records])
    return 0 if complete else 1


def cluster(options: argparse.Namespace, config: Config) -> int:
    """Print groups of the domains in logs that are alike. Return 1 unless all logs were read.

    Raises as :func:`features`.
    """
    from dnsvigil.learning.clusters import cluster as divide

    with ExitStack() as stack:
        complete, table = _table_of(options.paths, config, stack)
        domains, rows = table.vectors()
    found = divide(domains, rows, options.seed)
    if options.json:
        members = zip(domains, found.labels.tolist(), found.distances.tolist(), strict=True)
        groups = [
            {"name": each.name, "domains": each.domains, "features": dict(each.features)} for each in found.groups
        ]
        placed = [{"domain": name, "group": place, "distance": distance} for name, place, distance in members]
        show_json({"silhouette": found.silhouette, "groups": groups, "domains": placed})
        return 0 if complete else 1
    if found.silhouette is not None:
        print(f"{len(domains):,} domains in {len(found.groups)} groups, mean silhouette {found.silhouette:.2f}")
    shown: list[list[Cell]] = [[each.name, each.domains, " ".join(each.members)] for each in found.groups]
    odd = [", ".join(f"{name} {distance:.1f}" for name, distance in each.odd) for each in found.groups]
    show(("group", "domains", "typical", "odd"), shown, [f"farthest from the centre: {each}" for each in odd])
    return 0 if complete else 1


def _table_of(paths: list[Path], config: Config, stack: ExitStack) -> "tuple[bool, DomainTable]":
    """Return whether all was read, and the domains in logs with their features, for as long as the stack is open."""
    from dnsvigil.cli.ingest import ingest
    from dnsvigil.detectors.runner import GROUP
    from dnsvigil.engines.tuples import TupleReader
    from dnsvigil.learning.domains import domain_table
    from dnsvigil.sources.networks import NetworkTableError
    from dnsvigil.store.store import Store

    folder = Path(stack.enter_context(TemporaryDirectory(prefix="dnsvigil-features-")))
    detectors = sorted({entry.name for entry in entry_points(group=GROUP)})
    config = replace(config, detectors=replace(config.detectors, disabled=detectors), archive=Archive())
    complete = ingest(paths, config, folder)
    store = stack.enter_context(Store(folder))
    try:
        table = stack.enter_context(domain_table(store, TupleReader(lambda: store), config.domains.networks))
    except NetworkTableError as error:
        raise CommandError(f"domains.networks: {error}") from error
    return complete, table


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
