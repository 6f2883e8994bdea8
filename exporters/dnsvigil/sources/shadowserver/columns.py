"""The columns of Shadowserver's report of open DNS resolvers, and of rows in it.

The names are those of the reports of 2018 to 2026 (scan_dns, scan6_dns): columns were added and dropped over the years.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Final

COLUMNS: Final = (
    "timestamp", "severity", "ip", "protocol", "port", "hostname", "tag", "dns_version", "asn", "geo", "region", "city",
    "min_amplification", "p0f_genre", "p0f_detail", "naics", "hostname_source", "sector",
)  # fmt: skip
"""The columns of a report, in order."""

REQUIRED: Final = ("timestamp", "ip")

DNS_COLUMNS: Final = ("dns_version", "min_amplification")
"""Columns that only the report of open DNS resolvers has."""

TAG: Final = "openresolver"

OWN_COLUMNS: Final = ("state", "first_seen", "last_seen", "seen_by", "kind", "score")
"""What dnsvigil adds to a report of its own, behind the others."""

KNOWN: Final = frozenset((*COLUMNS, *OWN_COLUMNS, "sic"))
"""The columns that a report may have; nothing is kept of the last ones."""

_MAX_TEXT: Final = 255  # characters


class BadRowError(Exception):
    """A row that is skipped: the reason, and what is wrong."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def check_report(row: Mapping[str, str]) -> None:
    """Raise :class:`BadRowError` where a row is of another report than that of open DNS resolvers."""
    tags = row.get("tag", "").split(";")
    if TAG not in tags and not set(DNS_COLUMNS).intersection(row):
        raise BadRowError(
            "other_log", f"its tag is {row.get('tag', '')!r}, not {TAG}, and its columns are of another report"
        )


def scanned_host(row: Mapping[str, str], latest: datetime) -> dict[str, Any]:
    """Return what a row says, with the columns of :data:`dnsvigil.records.SCANNED_HOST`.

    Times are UTC; none is after ``latest``. Raises :class:`BadRowError`.
    """
    seen = _time(row["timestamp"], latest)
    try:
        host = str(ip_address(row["ip"].strip().partition("%")[0]))  # a zone of IPv6 may be any text
    except ValueError:
        raise BadRowError("address", f"{row['ip']!r} is not an IP address") from None
    texts = ("severity", "hostname", "tag", "dns_version", "geo", "region", "city", "p0f_genre", "p0f_detail")
    return {
        "host": host,
        "protocol": (row.get("protocol") or "udp").lower()[:8],
        "port": _number(row, "port", int, 65_535) or 53,
        "first_seen": seen,
        "last_seen": seen,
        "asn": _number(row, "asn", int, 2**32 - 1),
        "naics": _number(row, "naics", int, 2**31),
        "min_amplification": _number(row, "min_amplification", float, 1e6),
        **{name: (row.get(name) or "").strip()[:_MAX_TEXT] or None for name in (*texts, "hostname_source", "sector")},
    }


def _time(text: str, latest: datetime) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadRowError("timestamp", f"{text!r} is no time") from None
    time = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    if not datetime(1990, 1, 1) <= time <= latest:
        raise BadRowError("timestamp", f"{text!r} is before 1990, or still to come")
    return time


def _number(row: Mapping[str, str], name: str, kind: Callable[[str], Any], most: float) -> Any:
    text = (row.get(name) or "").strip()
    try:
        number = kind(text) if text else None
    except ValueError:
        number = -1
    if number is not None and not 0 <= number <= most:
        raise BadRowError("number", f"{name}: {text!r} is no number from 0 to {most:,.0f}")
    return number
