"""``dnsvigil findings``: what is open, one finding with its evidence, and the dismissal of one."""

import argparse
from collections.abc import Mapping
from typing import Any, Final

import yaml

from dnsvigil.ask import ask, change
from dnsvigil.config import Config
from dnsvigil.terminal import printable, show, show_json

_EVIDENCE_WIDTH: Final = 60
_TOLD: Final = 2  # of each list in the evidence, where it stands in one line
_WIDTH: Final = 110


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
        if name == "evidence":
            print("evidence")
            text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=None, width=_WIDTH)
            for line in text.splitlines():
                print(f"    {printable(line)}")
        else:
            print(f"{name.replace('_', ' '):<14}{printable(str('-' if value is None else value))}")
    return 0


def dismiss_finding(options: argparse.Namespace, config: Config) -> int:
    """Dismiss a finding. Raises :class:`dnsvigil.ask.AskError`."""
    told = change(config, options.state, "/api/findings/dismiss", {"id": options.id, "why": options.why})
    for found in told:
        subject = f"{found['subject_type']} {found['subject']}"
        print(f"finding {found['id']} of {found['detector']} about {printable(subject)} is dismissed")
    if not told:
        print(f"finding {options.id} will be dismissed; the collector is busy now")
    return 0


def brief(evidence: Any) -> str:
    """Return evidence in one line: of each list the first few, and how many there are."""
    if isinstance(evidence, Mapping):
        return "; ".join(f"{name.replace('_', ' ')} {brief(value)}" for name, value in evidence.items())
    if isinstance(evidence, list):
        rest = f", … ({len(evidence):,})" if len(evidence) > _TOLD else ""
        return ", ".join(map(brief, evidence[:_TOLD])) + rest
    return f"{evidence:.4g}" if isinstance(evidence, float) else str(evidence)


def _row(found: dict[str, Any]) -> list[Any]:
    evidence = brief(found["evidence"])
    if len(evidence) > _EVIDENCE_WIDTH:
        evidence = evidence[: _EVIDENCE_WIDTH - 1] + "…"
    names = ("severity", "score", "detector", "subject_type", "subject", "last_seen", "count")
    return [str(found["id"]), *(found[name] for name in names), evidence]
