"""``dnsvigil findings``: what is open, and one finding with its evidence."""

import argparse
import json
from typing import Any

from dnsvigil.ask import ask
from dnsvigil.config import Config
from dnsvigil.terminal import printable, show, show_json

_EVIDENCE_WIDTH = 60


def findings(options: argparse.Namespace, config: Config) -> int:
    """Print the open findings, the worst first. Raises :class:`dnsvigil.ask.AskError`."""
    found = ask(config, options.state, "/api/findings")
    if options.json:
        show_json(found)
    elif found:
        head = ("id", "severity", "score", "detector", "type", "subject", "last seen", "count", "evidence")
        show(head, [_row(each) for each in found])
    else:
        print("no finding is open")
    return 0


def show_finding(options: argparse.Namespace, config: Config) -> int:
    """Print all of one finding. Raises :class:`dnsvigil.ask.AskError`."""
    found = ask(config, options.state, "/api/findings", id=options.id)
    if options.json:
        show_json(found)
        return 0
    for name, value in found[0].items():
        text = json.dumps(value, indent=2) if name == "evidence" else printable(str("-" if value is None else value))
        print(f"{name.replace('_', ' '):<14}{text}")
    return 0


def _row(found: dict[str, Any]) -> list[Any]:
    evidence = json.dumps(found["evidence"])
    if len(evidence) > _EVIDENCE_WIDTH:
        evidence = evidence[: _EVIDENCE_WIDTH - 1] + "…"
    names = ("severity", "score", "detector", "subject_type", "subject", "last_seen", "count")
    return [str(found["id"]), *(found[name] for name in names), evidence]
