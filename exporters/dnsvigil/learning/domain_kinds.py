"""Domains of which it is known what they are: from lists, from addresses, from what was asked, and from findings."""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from dnsvigil.engines.duckdb import lookup
from dnsvigil.sources.warninglists import warning_list
from dnsvigil.store.tuple_keys import network_range

CONTENT_DELIVERY: Final = ("akamai", "cloudflare", "fastly", "stackpath")
"""The lists of content delivery networks' addresses."""

_NETWORKS: Final[Mapping[str, Sequence[str]]] = {
    "CDN": CONTENT_DELIVERY,
    "parking": ("parking-domain",),
}
"""Kind to the lists of networks that most addresses of such a domain are in."""

_NAMES: Final = {"dynamic DNS": "dynamic-dns", "popular": "tranco10k"}
"""Kind to the list of its domains."""

_QUERIES: Final = {
    "reverse": "SELECT domain FROM domain_features WHERE domain IN ('in-addr.arpa', 'ip6.arpa')"
    " OR suffix(domain, '.in-addr.arpa') OR suffix(domain, '.ip6.arpa')",
    # An address in front of the list's name is answered from 127.0.0.0/8 (RFC 5782, section 2.1).
    "DNS-based list": "SELECT name FROM tuples JOIN tuple_names USING (nkey)"
    r" WHERE rrtype = 'A' AND prefix(rkey, 'a127') AND regexp_matches(nkey, '(\.[0-9]{1,3}){4}$')",
    # Names that are asked for once (Chen et al., DSN 2014, "DNS Noise: Measuring the Pervasiveness of Disposable
    # Domains in Modern DNS Traffic").
    "disposable": "SELECT domain FROM domain_features WHERE subdomains >= 10 AND queries < 3 * subdomains",
    "mail": "SELECT name FROM tuples JOIN tuple_names USING (nkey) WHERE rrtype = 'MX'",
    **{
        kind: "SELECT name FROM domain_addresses"
        " JOIN feature_domains USING (domain) JOIN domain_networks USING (domain)"
        f" JOIN known_networks ON address >= low AND address < high WHERE kind = '{kind}'"
        " GROUP BY name HAVING count(DISTINCT address) >= any_value(ips) / 2"
        for kind in _NETWORKS
    },
}
"""Kind to the query of its domains, in the tables that their features are made from."""

TABLES: Final = {
    "tuples": "SELECT nkey, rrtype, rkey FROM tuples WHERE rrtype IN ('A', 'MX')",
    "tuple_names": "SELECT * FROM tuple_names",
    "domain_addresses": "SELECT domain, address FROM domain_addresses",
    "feature_domains": "SELECT domain, name FROM feature_domains",
    "domain_networks": "SELECT domain, ips FROM domain_networks",
}
"""What these queries need beside the features."""


def kinds_of(
    connection: duckdb.DuckDBPyConnection, domains: Sequence[str], known: Mapping[str, Iterable[str]]
) -> dict[str, NDArray[np.bool_]]:
    """Return for each kind which of the domains are of it; ``known`` has names in the domains of further kinds."""
    networks = [
        (kind, *network_range(ip_network(text, strict=False)))
        for kind, lists in _NETWORKS.items()
        for name in lists
        for text in warning_list(name)
    ]
    types = {"kind": "VARCHAR", "low": "VARCHAR", "high": "VARCHAR"}
    lookup(connection, "known_networks", types, *zip(*networks, strict=True))
    found = {kind: {domain for (domain,) in connection.execute(query).fetchall()} for kind, query in _QUERIES.items()}
    found |= {kind: set(warning_list(name)) for kind, name in _NAMES.items()}
    found |= {kind: {part for name in names for part in _parents(name)} for kind, names in known.items()}
    return {kind: np.array([domain in members for domain in domains], np.bool_) for kind, members in found.items()}


def _parents(name: str) -> Iterable[str]:
    """Return a name and all that it lies in."""
    labels = name.split(".")
    return (".".join(labels[place:]) for place in range(len(labels)))
