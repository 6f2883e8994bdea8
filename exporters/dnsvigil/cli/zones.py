"""``dnsvigil zones``: the failure ratios of zones on servers, the worst first."""

import argparse
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from dnsvigil.cli.ask import ask, shows_answer
from dnsvigil.cli.errors import CommandError
from dnsvigil.cli.output import age, show, show_json, width, wrapped
from dnsvigil.config.collector import Config

_HEAD: Final = ("server", "zone", "queries", "failed", "threshold", "state", "reasons")
_STATES: Final = {"failing": "FAILING", "ok": "ok"}
_OLD: Final = 90  # seconds


@shows_answer
def zones(options: argparse.Namespace, config: Config) -> int:
    """Print the zones. Raises ``CommandError``, also where there are none."""
    found = ask(config, options.state, "/api/zones")
    if options.json:
        show_json(found)
    elif not found["zones"]:
        raise CommandError("there are no DNS queries in the store, so nothing is known about any zone")
    else:
        show_zones(found, options.limit)
    return 0


def show_zones(found: Mapping[str, Any], limit: int) -> None:
    """Print the ``limit`` worst zones of an answer to ``/api/zones``."""
    rows = found["zones"]
    span = f"{_clock(found['from'])} to {_clock(found['to'])} UTC"
    old = (datetime.now(UTC) - _time(found["to"])).total_seconds()
    if not found["current"]:
        _print(f"No data in the last five minutes: the newest is {age(old)} old. These are the zones at that time.")
    elif old >= _OLD:
        _print(f"The newest data is {age(old)} old.")
    states = Counter(row["state"] for row in rows)
    pairs = "1 pair" if len(rows) == 1 else f"{len(rows):,} pairs"
    _print(
        f"{span}: of {pairs} of server and zone, {states['failing']:,} failing,"
        f" {states['ok']:,} ok, {states['few_queries']:,} with too few queries to tell."
    )
    show(_HEAD, [_row(row) for row in rows[:limit]], [_reasons(row) for row in rows[:limit]])
    if len(rows) > limit:
        print(f"{len(rows) - limit:,} more have lower ratios or fewer queries; --limit shows them.")


def _row(row: Mapping[str, Any]) -> list[str | int]:
    ratios = (f"{row[name]:.1%}" for name in ("failure_ratio", "failure_ratio_threshold"))
    return [
        row["server"],
        row["dns_zone"],
        row["queries"],
        *ratios,
        _STATES.get(row["state"], f"too few (min {row['min_queries']:,})"),
    ]


def _reasons(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in row["reasons"].items())


def _print(text: str) -> None:
    most = width()
    print(wrapped(text, most) if most else text)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _clock(text: str) -> str:
    return f"{_time(text):%Y-%m-%d %H:%M}"
