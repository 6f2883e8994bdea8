"""``dnsvigil findings export --misp``: findings as a feed of MISP, a folder that MISP servers read over HTTP.

PyMISP makes the events; it is loaded by this command alone.
"""

import argparse
import json
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dnsvigil.cli.ask import shows_answer
from dnsvigil.cli.errors import CommandError
from dnsvigil.cli.selected_findings import selected
from dnsvigil.config.collector import Config
from dnsvigil.sources.honeypots.hosts import address_of, hosts_in_url
from dnsvigil.system.terminal import counted

if TYPE_CHECKING:
    from pymisp import MISPEvent

_NAMESPACE: Final = uuid.UUID("6a3e5c1e-5b43-4f0f-8f0a-0f7f3d6b8a52")
_MANIFEST, _HASHES = "manifest.json", "hashes.csv"
_THREATS: Final = {"critical": 1, "warning": 2, "info": 3}
_COMPLETED: Final = 2
_OWN_ORGANISATION: Final = 0


@shows_answer
def export_findings(options: argparse.Namespace, config: Config) -> int:
    """Write a feed of the findings. Raises ``CommandError``."""
    events, without = {}, 0
    for finding in selected(options, config):
        hosts = list(dict.fromkeys(_hosts(finding)))
        if finding["state"] == "dismissed" or not hosts:
            without += 1
            continue
        event = _event(finding, hosts)
        events[event.uuid] = event
    try:
        _write(options.misp, events)
    except (OSError, ValueError) as error:
        raise CommandError(f"{options.misp}: the feed cannot be written: {error}") from error
    print(f"{options.misp}: {counted(len(events), 'event')}")
    if without:
        print(
            f"{counted(without, 'finding')} left out: dismissed, or without a domain or address that is not a client's",
            file=sys.stderr,
        )
    return 0


def _hosts(finding: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names and addresses that are bad; those of clients stay at home."""
    evidence = finding["evidence"]
    named = [finding["subject"]] if finding["subject_type"] in ("domain", "zone") else []
    for key in ("domains", "fetched_from"):
        listed = evidence.get(key)
        named += listed if isinstance(listed, list) else []
    for name in named:
        if isinstance(name, str):  # as other programs make findings, too
            yield from hosts_in_url(f"//{name}")


def _event(finding: Mapping[str, Any], hosts: list[str]) -> "MISPEvent":
    try:
        from pymisp import MISPEvent, MISPOrganisation
    except ImportError as error:
        raise CommandError("PyMISP is not installed; install dnsvigil[misp], or Debian's python3-pymisp") from error
    detector, seen = finding["detector"], datetime.fromisoformat(finding["last_seen"]).replace(tzinfo=UTC)
    event = MISPEvent()
    # The same finding is the same event, however often it is exported.
    about = (detector, finding["subject_type"], finding["subject"], finding["first_seen"])
    event.uuid = str(uuid.uuid5(_NAMESPACE, "\n".join(map(str, about))))
    event.info = f"dnsvigil, {detector}: {hosts[0]}"
    event.date = seen.date()
    event.timestamp = event.publish_timestamp = seen
    event.published = True
    event.analysis = _COMPLETED
    event.distribution = _OWN_ORGANISATION
    event.threat_level_id = _THREATS.get(finding["severity"], 3)
    event.Orgc = MISPOrganisation()
    event.Orgc.from_dict(name="dnsvigil", uuid=str(_NAMESPACE))
    event.add_tag(f'dnsvigil:detector="{detector}"')
    for host in hosts:
        attribute = event.add_attribute(
            "ip-dst" if address_of(host) else "domain",
            host,
            to_ids=True,
            comment=f"score {finding['score']:.2f}, {finding['severity']}",
            uuid=str(uuid.uuid5(uuid.UUID(event.uuid), host)),
        )
        attribute.timestamp = seen
    return event


def _write(folder: Path, events: "Mapping[str, MISPEvent]") -> None:
    """Write a feed; the manifest, by which its readers find the rest, comes last. Events that it had before go."""
    folder.mkdir(exist_ok=True)
    before: Any = {}
    with suppress(FileNotFoundError):
        before = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    manifest: dict[str, Any] = {}
    hashes = []
    for identity, event in events.items():
        manifest |= event.manifest
        hashes += [f"{digest},{identity}\n" for digest in event.attributes_hashes("md5")]
        _replace(folder / f"{identity}.json", json.dumps(event.to_feed(), indent=2))
    _replace(folder / _HASHES, "".join(hashes))
    _replace(folder / _MANIFEST, json.dumps(manifest, indent=2))
    for identity in before if isinstance(before, dict) else ():
        if identity not in manifest and _is_uuid(identity):  # which is no path
            (folder / f"{identity}.json").unlink(missing_ok=True)


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
