"""The part of traffic classes: the queries of each network to each server that are canonical, overloaded, unwanted."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network

from dnsvigil.config.collector import Config
from dnsvigil.engines.duckdb import Steps, lookup
from dnsvigil.ingest.part import Part
from dnsvigil.records import SUMMARY_COLUMNS
from dnsvigil.sources.warninglists import warning_list
from dnsvigil.sources.zeek.log_types import DNS
from dnsvigil.store.counters import CounterTable
from dnsvigil.store.store import Store

TRAFFIC_CLASSES = CounterTable("traffic_classes", ("server", "network", "class"), ("queries",))

_CLIENTS = 100_000  # whose networks are remembered
_NETWORKS = {"client": "VARCHAR", "network": "VARCHAR"}


class TrafficClassesPart(Part):
    """Traffic classes in one store. The part of DNS, whose tables it needs, comes before it."""

    logs = (DNS,)
    counters = (TRAFFIC_CLASSES,)
    columns = SUMMARY_COLUMNS

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        store.create(TRAFFIC_CLASSES.schema)
        self._networks = [ip_network(network) for network in config.flows.networks]
        self._network_of = lru_cache(_CLIENTS)(self._find)
        self._steps = Steps(store.connection, "traffic_classes")
        lookup(store.connection, "top_levels", {"label": "VARCHAR"}, [each.lower() for each in warning_list("tlds")])
        self._name_clients([])

    def gather(self, size: int) -> None:
        """Count the records by class."""
        if self._networks:
            clients = self._store.rows("SELECT DISTINCT client FROM transactions WHERE client IS NOT NULL")
            self._name_clients(client for (client,) in clients)
        self._steps.run("odd_names", "sum_traffic_classes")

    def add(self) -> None:
        """Add what was counted."""
        TRAFFIC_CLASSES.add(self._store, "FROM sum_traffic_classes")

    def _name_clients(self, clients: Iterable[str]) -> None:
        named = [(client, network) for client in clients if (network := self._network_of(client))]
        columns: Sequence[Sequence[str]] = list(zip(*named, strict=True)) or [[], []]
        lookup(self._store.connection, "client_networks", _NETWORKS, *columns)

    def _find(self, client: str) -> str | None:
        """Return the smallest of the operator's networks that an address is in."""
        address = ip_address(client)
        inside = [network for network in self._networks if address in network]
        return str(max(inside, key=lambda network: network.prefixlen)) if inside else None
