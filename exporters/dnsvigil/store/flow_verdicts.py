"""Verdicts on series of flows in the store, by slot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from dnsvigil.store.flow_slots import rows_of_slots
from dnsvigil.store.store import Store

CURVE: Final = timedelta(days=8)
"""How long baselines are kept: a week to look at, and a day."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS flow_verdicts (
    slot TIMESTAMP, exporter VARCHAR, protocol VARCHAR, service VARCHAR, resolver VARCHAR, measure VARCHAR,
    value DOUBLE, baseline DOUBLE, spread DOUBLE, deviation DOUBLE, anomalies VARCHAR[], history_seconds DOUBLE
);
"""


@dataclass(frozen=True)
class Verdict:
    """The verdict on one series in one slot: of an exporter's protocol and service, or of a resolver."""

    exporter: str
    protocol: str | None
    service: str | None
    resolver: str | None
    measure: str
    value: float | None
    baseline: float | None
    spread: float | None
    deviation: float | None
    history_seconds: float
    anomalies: tuple[str, ...]


class FlowVerdicts:
    """The verdicts in one store. Everything raises :class:`dnsvigil.store.store.StoreError`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(_SCHEMA)

    def put(self, exporter: str, slot: datetime, verdicts: Sequence[Verdict]) -> None:
        """Keep the verdicts on an exporter's series in a slot, in place of earlier ones."""
        self._store.rows("DELETE FROM flow_verdicts WHERE exporter = ? AND slot = ?", exporter, slot)
        names = ("protocol", "service", "resolver", "measure", "value", "baseline", "spread", "deviation")
        bound: dict[str, Any] = {name: [getattr(verdict, name) for verdict in verdicts] for name in names}
        bound["history_seconds"] = [verdict.history_seconds for verdict in verdicts]
        bound["anomalies"] = [list(verdict.anomalies) for verdict in verdicts]
        kinds = dict.fromkeys(names[:4], "VARCHAR[]") | dict.fromkeys((*names[4:], "history_seconds"), "DOUBLE[]")
        kinds["anomalies"] = "VARCHAR[][]"
        columns = ", ".join(f"unnest(${name}::{kind}) AS {name}" for name, kind in kinds.items())
        self._store.connection.execute(
            f"INSERT INTO flow_verdicts BY NAME SELECT $slot::TIMESTAMP AS slot, $exporter AS exporter, {columns}",
            {"slot": slot, "exporter": exporter, **bound},
        )

    def newest_slots(self) -> dict[str, datetime]:
        """Return the newest slot of each exporter that has a verdict."""
        return dict(self._store.rows("SELECT exporter, max(slot) FROM flow_verdicts GROUP BY ALL"))

    def of_slots(self, slots: Mapping[str, datetime]) -> list[Verdict]:
        """Return the verdicts on the series of these exporters in these slots."""
        columns = "exporter, protocol, service, resolver, measure, value, baseline, spread, deviation, history_seconds"
        rows = rows_of_slots(self._store, "flow_verdicts", f"{columns}, anomalies", slots)
        return [Verdict(*(*row[:-1], tuple(row[-1]))) for row in rows]

    def forget(self, now: datetime) -> None:
        """Drop the verdicts of slots long before ``now`` that found no anomaly."""
        self._store.rows("DELETE FROM flow_verdicts WHERE slot < ? AND len(anomalies) = 0", now - CURVE)
