"""``dnsvigil findings export --shadowserver``: open resolvers as one list, in the columns of Shadowserver's reports.

What scans found and what sensors and flows saw are one row for each host. Columns of our own follow the others.
"""

import argparse
import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Final

from dnsvigil.cli.ask import shows_answer
from dnsvigil.cli.errors import CommandError
from dnsvigil.cli.selected_findings import selected
from dnsvigil.config.collector import Config
from dnsvigil.sources.networks import Networks, NetworkTableError
from dnsvigil.sources.shadowserver.columns import COLUMNS, OWN_COLUMNS, TAG
from dnsvigil.store.findings import KEPT
from dnsvigil.system.terminal import counted, printable

_DETECTOR: Final = "open_resolver"
_SEVERITIES: Final = {"critical": "critical", "warning": "medium", "info": "info"}
_LAST: Final = ("last_answer", "last_seen")  # of what sensors and flows, and of what scans saw


@shows_answer
def export_findings(options: argparse.Namespace, config: Config) -> int:
    """Write a report of the open resolvers. Raises ``CommandError``."""
    chosen = argparse.Namespace(**vars(options) | {"detector": _DETECTOR, "subject_type": "host", "limit": KEPT})
    found = [each for each in selected(chosen, config) if each["state"] != "dismissed" and each["subject"] != "*"]
    rows = [_row(each) for each in found]
    _add_places(rows, config.domains.networks)
    try:
        _write(options.shadowserver, rows)
    except OSError as error:
        raise CommandError(f"{options.shadowserver}: the report cannot be written: {error}") from error
    print(f"{options.shadowserver}: {counted(len(rows), 'open resolver')}")
    return 0


def _row(finding: Mapping[str, Any]) -> dict[str, Any]:
    evidence = finding["evidence"]
    scan = evidence.get("scan", {})
    seen = [evidence[origin] for origin in ("sensor", "flows") if origin in evidence]
    last = max((part[name] for part in (*seen, scan) for name in _LAST if name in part), default=finding["last_seen"])
    factors = [part["amplification"] for part in seen] + [scan.get("min_amplification") or 0.0]
    return {
        **{name: scan[name] for name in COLUMNS if name in scan},
        "timestamp": _time(last),
        "severity": _SEVERITIES[finding["severity"]],
        "ip": finding["subject"],
        "protocol": scan.get("protocol", "udp"),
        "port": scan.get("port", 53),
        "tag": scan.get("tag", TAG),
        "min_amplification": f"{max(factors):.4f}",
        "state": "closed" if finding["state"] == "closed" else evidence.get("state", ""),
        "first_seen": _time(finding["first_seen"]),
        "last_seen": _time(last),
        "seen_by": ";".join(evidence.get("seen_by", ())),
        "kind": evidence.get("looks_like", ""),
        "score": f"{finding['score']:.2f}",
    }


def _add_places(rows: Sequence[dict[str, Any]], tables: Sequence[Path]) -> None:
    """Add AS number and country to what no scan has them for."""
    lacking = [row for row in rows if "asn" not in row]
    if not (lacking and tables):
        return
    try:
        asns, countries = Networks(tables).places([row["ip"] for row in lacking])
    except (OSError, NetworkTableError) as error:
        print(f"dnsvigil: domains.networks: {printable(str(error))}; AS numbers are left out", file=sys.stderr)
        return
    for row, asn, country in zip(lacking, asns, countries, strict=True):
        row |= {"asn": asn, "geo": country}


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the file; one that is there stays until the new one is whole."""
    text = StringIO()
    out = csv.DictWriter(text, (*COLUMNS, *OWN_COLUMNS), restval="", quoting=csv.QUOTE_ALL, lineterminator="\n")
    out.writeheader()
    for row in rows:
        out.writerow({name: printable(str(value)) for name, value in row.items() if value is not None})
    new = path.with_name(f".{path.name}.new")
    new.write_text(text.getvalue(), encoding="utf-8")
    new.replace(path)


def _time(text: str) -> str:
    return text.replace("T", " ").removesuffix("Z")
