"""``dnsvigil findings``: the list, one finding in full, dismissals, their reversal, and notes."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from dnsvigil.api.finding_text import details, sentence
from dnsvigil.cli.ask import ask, change, shows_answer
from dnsvigil.cli.output import show, show_json, width, wrapped
from dnsvigil.cli.pdns_remotes import Service, services
from dnsvigil.cli.selected_findings import FILTERS, selected
from dnsvigil.config.collector import Config
from dnsvigil.sources.passive_dns.remote import RemoteError
from dnsvigil.system.terminal import printable

_LINE: Final = 100  # characters, where there is no terminal
_LABEL: Final = 14  # characters
_INDENT: Final = 4
_MAX_LABEL: Final = 28
_MIN_TEXT: Final = 24


@shows_answer
def findings(options: argparse.Namespace, config: Config) -> int:
    """Print findings, the worst first. Raises ``CommandError``."""
    found = selected(options, config)
    if options.json:
        show_json(found)
    elif found:
        head = ("id", "severity", "score", "detector", "type", "subject", "last seen", "count")
        state = () if options.status in ("open", "closed", "dismissed") else ("state",)
        rows = [[*_row(each), *(each[name] for name in state)] for each in found]
        show((*head, *state, "what happens"), rows, [sentence(each) for each in found])
    else:
        narrowed = (*FILTERS, "since", "last")
        such = any(getattr(options, name) is not None for name in narrowed)
        what = f"no {'such ' if such else ''}finding"
        print({"all": f"there is {what}"}.get(options.status, f"{what} is {options.status}"))
    return 0


@shows_answer
def show_finding(options: argparse.Namespace, config: Config) -> int:
    """Print all of one finding. Return 1 where a service that was asked has not answered. Raises ``CommandError``."""
    remotes = services(options, config)
    (finding,) = ask(config, options.state, "/api/findings", id=options.id)
    domain = _domain_of(finding) if remotes else None
    if remotes and domain is None:
        print("dnsvigil: the finding is about no domain, so nobody was asked about one", file=sys.stderr)
        remotes = {}
    first_seen = {each.title: _first_seen(each, domain) for each in remotes.values()} if domain else {}
    answers = {title: time for title, time in first_seen.items() if time}
    if options.json:
        show_json([finding | ({"first_seen_by": {"domain": domain, **answers}} if domain else {})])
    else:
        _show(finding | {f"first seen by {title}": f"{time} ({domain})" for title, time in answers.items()})
    return 1 if len(answers) < options.dnsdb + options.circl else 0


def _domain_of(finding: Mapping[str, Any]) -> str | None:
    """Return the domain that a finding is about, else the most significant one of its evidence."""
    if finding["subject_type"] == "domain":
        return str(finding["subject"])
    domains = finding["evidence"].get("domains")
    first = domains[0] if isinstance(domains, list) and domains else None
    return first if isinstance(first, str) else None


def _first_seen(service: Service, domain: str) -> str | None:
    """Return when a service saw a domain first; None, after its reason is printed, where it does not answer."""
    try:
        seconds = service.first_seen(domain)
    except RemoteError as error:
        print(f"dnsvigil: {printable(str(error))}", file=sys.stderr)
        return None
    return "never" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _show(finding: Mapping[str, Any]) -> None:
    """Print a finding: the sentence, what it is, and its evidence."""
    print(wrapped(sentence(finding), width() or _LINE), end="\n\n")
    apart = ("evidence", "events")
    shown = {name.replace("_", " "): value for name, value in finding.items() if name not in apart}
    wide = max(_LABEL, 2 + max(map(len, shown)))
    for name, value in shown.items():
        text = f"{value:.2f}" if isinstance(value, float) else "-" if value is None else str(value)
        print(f"{name:<{wide}}{printable(text)}")
    _show_rows("evidence", details(finding["evidence"]))
    _show_rows("history", [(event["done_at"], _done(event)) for event in finding.get("events", ())])


def _done(event: Mapping[str, Any]) -> str:
    """Return what somebody did with a finding, in one line."""
    until = f" until {event['until']}" if event["until"] else ""
    text = f": {event['text']}" if event["text"] else ""
    return f"{event['action']}{until} by {event['done_by']}{text}"


def _show_rows(title: str, given: Sequence[tuple[str, str]]) -> None:
    """Print pairs of label and text below a title; nothing where there are none."""
    rows = [(printable(label), printable(text)) for label, text in given]
    if not rows:
        return
    print(f"\n{title}")
    label = min(max(len(name) for name, _ in rows), _MAX_LABEL)
    before, last = " " * (_INDENT + label + 2), None
    for name, text in rows:
        head = f"{'' if name == last else name:<{label}}"
        most = width() or len(before) + len(text)
        print(f"{' ' * _INDENT}{head}  {wrapped(text, max(most, len(before) + _MIN_TEXT), before).lstrip()}")
        last = name


@shows_answer
def dismiss_finding(options: argparse.Namespace, config: Config) -> int:
    """Dismiss a finding. Raises ``CommandError``, ``OwnerError`` among them."""
    until = f"{options.until:%Y-%m-%dT%H:%M:%SZ}" if options.until else None
    content = {"id": options.id, "why": options.why, "until": until}
    changed = change(config, options.state, "/api/findings/dismiss", content)
    for found in changed:
        print(f"{_named(found)} is dismissed until {found['until']}")
    if not changed:
        print(f"finding {options.id} will be dismissed; the collector is busy now")
    return 0


@shows_answer
def reopen_finding(options: argparse.Namespace, config: Config) -> int:
    """Undo a dismissal. Raises ``CommandError``, ``OwnerError`` among them."""
    changed = change(config, options.state, "/api/findings/reopen", {"id": options.id})
    for found in changed:
        now = "open again" if found["state"] == "open" else f"no longer dismissed; {found['why']}"
        print(f"{_named(found)} is {printable(now)}")
    if not changed:
        print(f"finding {options.id} will be opened again; the collector is busy now")
    return 0


@shows_answer
def note_finding(options: argparse.Namespace, config: Config) -> int:
    """Note a text on a finding. Raises ``CommandError``, ``OwnerError`` among them."""
    changed = change(config, options.state, "/api/findings/note", {"id": options.id, "text": options.text})
    for found in changed:
        print(f"{_named(found)} has a new note")
    if not changed:
        print(f"the note on finding {options.id} will be added; the collector is busy now")
    return 0


def export_findings(options: argparse.Namespace, config: Config) -> int:
    """Write findings in a form of others. Raises ``CommandError``."""
    if options.misp:
        from dnsvigil.cli import misp_feed

        return misp_feed.export_findings(options, config)
    from dnsvigil.cli import shadowserver_report

    return shadowserver_report.export_findings(options, config)


def _named(found: dict[str, Any]) -> str:
    subject = f"{found['subject_type']} {found['subject']}"
    return f"finding {found['id']} of {found['detector']} about {printable(subject)}"


def _row(found: dict[str, Any]) -> list[Any]:
    names = ("severity", "score", "detector", "subject_type", "subject", "last_seen", "count")
    return [str(found["id"]), *(found[name] for name in names)]
