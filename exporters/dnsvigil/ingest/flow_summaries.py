"""Makes the summaries of one flow file, by the expressions of :mod:`dnsvigil.features.flows`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from ipaddress import ip_network
from typing import Final

import duckdb

from dnsvigil.engines.duckdb import Steps, lookup, macro
from dnsvigil.ingest.local_names import broadcast_addresses, define_broadcast

_TABLES: Final = ("sum_flow_services", "sum_flow_resolvers", "sum_flow_clients", "sum_flow_hosts", "sum_flow_talkers")


class FlowSummarizer:
    """Makes the summaries of the file that the reader has loaded on the same connection.

    ``networks`` are the operator's own, in CIDR notation.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, networks: Sequence[str]) -> None:
        self._connection = connection
        self._steps = Steps(connection, "flows")
        define_broadcast(connection, "is_flow_broadcast", broadcast_addresses(networks))
        macro(connection, "is_own(high, low)", " OR ".join(map(_within, networks)) or "false")

    def count_servers(self, most: int) -> list[tuple[str, int]]:
        """Return the ``most`` busiest servers, with their query packets."""
        self._steps.view("flow_servers")
        query = f"SELECT label, packets::BIGINT FROM flow_servers ORDER BY packets DESC, label LIMIT {most}"
        return self._connection.execute(query).fetchall()

    def summarize(self, slot: datetime, exporter: str, shown_servers: Mapping[str, str]) -> None:
        """Fill the tables ``sum_flow_...`` and make the view ``sum_dns_flows``.

        ``slot`` is the begin of the five minutes, UTC without a zone. ``shown_servers`` are the addresses that have a
        label of their own, with it.
        """
        self.view_records(slot, exporter)
        types = {"address": "VARCHAR", "label": "VARCHAR"}
        lookup(self._connection, "flow_shown", types, list(shown_servers), list(shown_servers.values()))
        self._steps.run(*_TABLES)

    def view_records(self, slot: datetime, exporter: str) -> None:
        """Make the view ``sum_dns_flows`` alone."""
        self._connection.execute("CREATE OR REPLACE TEMP TABLE flow_file (slot TIMESTAMP, exporter VARCHAR)")
        self._connection.execute("INSERT INTO flow_file VALUES (?, ?)", [slot, exporter])
        # DNS flow records are as many as the pairs; they are made as they are added to the store.
        self._steps.view("sum_dns_flows")


def _within(network: str) -> str:
    """Return the condition that an address, as the two halves of its 128 bits, is in a network."""
    whole = ip_network(network)
    mapped = 0xFFFF << 32 if whole.version == 4 else 0
    first, last = (divmod(mapped | int(address), 2**64) for address in (whole[0], whole[-1]))
    if first[0] != last[0]:
        return f"high BETWEEN {first[0]} AND {last[0]}"
    return f"(high = {first[0]} AND low BETWEEN {first[1]} AND {last[1]})"
