"""Reports of Shadowserver for tests, in the columns that they have today."""

from datetime import datetime
from pathlib import Path

from dnsvigil.sources.shadowserver.columns import COLUMNS

_GOOD = {
    "severity": "medium",
    "protocol": "udp",
    "port": "53",
    "hostname": "host.example.net",
    "tag": "openresolver",
    "dns_version": "dnsmasq-2.66",
    "asn": "64496",
    "geo": "AT",
    "region": "WIEN",
    "city": "VIENNA",
    "min_amplification": "4.6190",
    "naics": "517311",
    "hostname_source": "ptr",
}


def row(when: datetime | str, host: str, **values: str) -> dict[str, str]:
    """Return a row."""
    text = when if isinstance(when, str) else f"{when:%Y-%m-%d %H:%M:%S}"
    return dict.fromkeys(COLUMNS, "") | _GOOD | {"timestamp": text, "ip": host} | values


def report(folder: Path, *rows: dict[str, str], name: str = "2026-11-29-scan_dns-example.csv", head: str = "") -> Path:
    """Write a report with the columns of its first row."""
    lines = [[*rows[0]], *([*each.values()] for each in rows)]
    text = "".join(",".join(f'"{cell}"' for cell in line) + "\n" for line in lines)
    path = folder / name
    path.write_text(head + text, encoding="utf-8")
    return path
