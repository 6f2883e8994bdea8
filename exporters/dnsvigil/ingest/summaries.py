"""Runs the summaries' expressions on the embedded engine, each step into a temporary table of one connection."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import duckdb
import ibis
import ibis.expr.types as ir

from dnsvigil.features import domains, servers, summaries
from dnsvigil.records import QTYPES, RCODES, UNKNOWN, UNKNOWN_RCODE

SUMMARIES: Final = ("types", "zones", "failures", "latencies", "clients")
"""The summaries; each lies in the table ``sum_`` and its name after :meth:`Summarizer.summarize`."""

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
        suffixes = domains.public_suffixes()
        ambiguous = domains.ambiguous_suffixes() | {
            ".".join(zone.split(".")[-2:]) for zone in zones if zone.count(".") > 1
        }
        lookups = {
            "ambiguous": self._table("ambiguous", tail=sorted(ambiguous)),
            "suffixes": self._table(
                "suffixes", suffix=[name for name, _ in suffixes], kind=[kind for _, kind in suffixes]
            ),
            "zones": self._table("configured_zones", zone=list(zones)),
            "shown": self._table("shown", kind=[], key=[], label=[]),
            "qtypes": self._table("qtypes", code=list(QTYPES), label=list(QTYPES.values())),
            "rcodes": self._table("rcodes", code=[*RCODES, UNKNOWN_RCODE], label=[*RCODES.values(), UNKNOWN]),
        }
        top_level = sorted(tail for tail in ambiguous if "." not in tail)
        most_labels = max((zone.count(".") + 1 for zone in zones), default=0)
        transactions = summaries.transactions_table()
        self._steps: dict[str, str] = {}
        records = summaries.transactions_table("dns_records")
        self._step("local_names", servers.local_names(records, ports, broadcast))
        groups = self._step("groups", summaries.groups(transactions, lookups["ambiguous"], top_level))
        names = self._step("names", summaries.names(groups, lookups["suffixes"], lookups["zones"], most_labels))
        self._step("domain_counts", summaries.domain_counts(groups, names))
        self._step("server_counts", summaries.server_counts(groups))
        tally = self._step(
            "tally", summaries.tally(groups, names, lookups["shown"], lookups["qtypes"], lookups["rcodes"])
        )
        self._step("sum_types", summaries.types(tally))
        self._step("sum_zones", summaries.zones(tally))
        self._step("sum_failures", summaries.failures(tally, failures))
        self._step("sum_latencies", summaries.latencies(tally))
        self._step("sum_clients", summaries.clients(transactions, lookups["shown"]))

    def count_labels(self, most: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """Begin with a batch: return the ``most`` heaviest registered domains and servers, with their records."""
        self._run("local_names")
        ((local,),) = self._connection.execute("SELECT count(*) FROM local_names").fetchall()
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW transactions AS {_OF_DNS if local else 'FROM dns_records'}"
        )
        self._run("groups", "names", "domain_counts", "server_counts")
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
        self._table("shown", kind=kinds, key=keys, label=labels)
        self._run("tally", *(f"sum_{name}" for name in SUMMARIES))

    def _run(self, *steps: str) -> None:
        for step in steps:
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {step} AS {self._steps[step]}")

    def _step(self, name: str, expression: ir.Table) -> ir.Table:
        self._steps[name] = str(ibis.to_sql(expression, dialect="duckdb"))
        return ibis.table(expression.schema(), name=name)

    def _table(self, name: str, **columns: list[str] | list[int]) -> ir.Table:
        """Make a small table to join with: integers in the column ``code``, text in all others."""
        types = {column: "USMALLINT" if column == "code" else "VARCHAR" for column in columns}
        values = ", ".join(f"unnest(${column}::{kind}[]) AS {column}" for column, kind in types.items())
        declared = ", ".join(f"{column} {kind}" for column, kind in types.items())
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} ({declared})")
        self._connection.execute(f"INSERT INTO {name} SELECT {values}", columns)
        return ibis.table({c: "uint16" if c == "code" else "string" for c in columns}, name=name)
