"""Runs the summaries' expressions on the embedded engine, each step into a temporary table of one connection."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import duckdb

from dnsvigil.engines.duckdb import Steps, cases, is_in, lookup, macro
from dnsvigil.ingest.local_names import define_broadcast, define_local_protocols
from dnsvigil.records import QTYPES, RCODES, UNKNOWN, UNKNOWN_RCODE, failure_reason
from dnsvigil.sources.public_suffixes import ambiguous_suffixes, public_suffixes
from dnsvigil.system.sql import literal

SUMMARIES: Final = ("types", "zones", "failures", "latencies", "clients")
"""The summaries; each lies in the table ``sum_`` and its name after :meth:`Summarizer.summarize`."""

_CODES: Final = {"code": "USMALLINT", "label": "VARCHAR"}
_OF_DNS: Final = """
    SELECT records.* FROM dns_records AS records ANTI JOIN local_names AS local
    ON records.server = local.server AND records.server_port IS NOT DISTINCT FROM local.server_port
"""


class Summarizer:
    """Makes the summaries of the records in the view ``dns_records``.

    ``zones`` are the configured zones, ``failures`` the response codes that count as a failure. Records to ``ports``
    and ``broadcast`` addresses, and to multicast groups, are counted in ``local_names`` alone; all others are the view
    ``transactions``.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        zones: Sequence[str],
        failures: Sequence[str],
        ports: Sequence[int],
        broadcast: Sequence[str],
    ) -> None:
        self._connection = connection
        self._steps = Steps(connection, "summaries")
        self._names = "names_in_zones" if zones else "names"
        below_zones = {".".join(zone.split(".")[-2:]) for zone in zones if zone.count(".") > 1}
        ambiguous = sorted(ambiguous_suffixes() | below_zones)
        suffixes, kinds = zip(*public_suffixes(), strict=True)
        lookup(connection, "ambiguous", {"tail": "VARCHAR"}, ambiguous)
        lookup(connection, "suffixes", {"suffix": "VARCHAR", "kind": "VARCHAR"}, suffixes, kinds)
        lookup(connection, "configured_zones", {"zone": "VARCHAR"}, zones)
        lookup(connection, "qtypes", _CODES, [*QTYPES], [*QTYPES.values()])
        lookup(connection, "rcodes", _CODES, [*RCODES, UNKNOWN_RCODE], [*RCODES.values(), UNKNOWN])
        top_level = is_in("label", [tail for tail in ambiguous if "." not in tail])
        macro(connection, "is_ambiguous_top_level(label)", top_level)
        most = max((zone.count(".") + 1 for zone in zones), default=0)
        macro(connection, "max_zone_labels()", str(most))
        reasons = {literal(rcode): literal(failure_reason(rcode)) for rcode in failures}
        macro(connection, "failure_of(rcode)", cases("rcode", reasons))
        define_local_protocols(connection, ports)
        define_broadcast(connection, "is_broadcast", broadcast)

    def count_labels(self, most: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """Begin with a batch: return the ``most`` heaviest registered domains and servers, with their records."""
        self._steps.run("servers", "local_names")
        ((local,),) = self._connection.execute("SELECT count(*) FROM local_names").fetchall()
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW transactions AS {_OF_DNS if local else 'FROM dns_records'}"
        )
        self._steps.run("qnames")
        self._steps.fill("names", self._names)
        self._steps.run("domain_counts", "server_counts")
        query = "SELECT label, records FROM {} ORDER BY records DESC, label LIMIT {}"
        return (
            self._connection.execute(query.format("domain_counts", most)).fetchall(),
            self._connection.execute(query.format("server_counts", most)).fetchall(),
        )

    def summarize(self, shown_zones: Iterable[str], shown_servers: Mapping[str, str]) -> None:
        """End with the batch: fill the tables of ``SUMMARIES``.

        ``shown_zones`` have a label of their own; so have ``shown_servers``, addresses with their labels.
        """
        shown = [("zone", zone, zone) for zone in shown_zones]
        shown += [("server", address, label) for address, label in shown_servers.items()]
        kinds, keys, labels = (list(column) for column in zip(*shown, strict=True)) if shown else ([], [], [])
        lookup(
            self._connection, "shown", {"kind": "VARCHAR", "key": "VARCHAR", "label": "VARCHAR"}, kinds, keys, labels
        )
        self._steps.run("tally", *(f"sum_{name}" for name in SUMMARIES))
