"""The failure ratios of zones on servers."""

from datetime import datetime
from typing import Any, Final

from dnsvigil.api.interface import Answer, Parameters, Reader
from dnsvigil.api.parameters import only
from dnsvigil.config.collector import Config
from dnsvigil.records import utc_now
from dnsvigil.store.zones import ZoneCounts, zone_state

_STATES: Final = ("failing", "ok", "few_queries")  # the worst first


def zones(reader: Reader, config: Config, asked: Parameters) -> Answer:
    """Return the state of each zone on each server in the last five minutes, the worst first."""
    only(asked)
    found = zone_state(reader.read, config.servers.labels, utc_now().replace(microsecond=0))
    rows = [_zone(config, *key, counts) for key, counts in found.counts.items()]
    rows.sort(key=lambda row: (_STATES.index(row["state"]), -row["failure_ratio"], -row["queries"]))
    span = {"from": _text(found.begin), "to": _text(found.end), "current": found.current}
    return Answer({**span, "zones": rows})


def _zone(config: Config, server: str, zone: str, counts: ZoneCounts) -> dict[str, Any]:
    threshold, min_queries = config.zones.limits(zone)
    ratio = counts.failures / counts.queries if counts.queries else 0.0
    enough = counts.queries >= min_queries
    return {
        "server": server,
        "dns_zone": zone,
        "queries": counts.queries,
        "failures": counts.failures,
        "failure_ratio": ratio,
        "failure_ratio_threshold": threshold,
        "min_queries": min_queries,
        "state": "few_queries" if not enough else "failing" if ratio > threshold else "ok",
        "reasons": dict(counts.reasons.most_common()),
    }


def _text(time: datetime | None) -> str | None:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}" if time else None
