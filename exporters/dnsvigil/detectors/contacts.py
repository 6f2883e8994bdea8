"""What flows say of a finding: whether its client exchanged packets with the addresses that DNS gave it.

An implant that takes commands in addresses never connects to them; malware that has found its server does. Sampled
flows miss short connections, so where they are, no address is reported as never connected to. Behind NAT or a proxy,
flows have another address than the query.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from dnsvigil.store.findings import Finding
from dnsvigil.store.store import Read

_SETTLED: Final = timedelta(minutes=15)
"""So long an address must have been looked for in flows before it is said that nobody connected to it."""

_MAX_SHOWN: Final = 10  # addresses of a finding
_ANSWERED: Final = """
    WITH pairs AS (SELECT unnest($1::VARCHAR[]) AS client, unnest($2::VARCHAR[]) AS domain)
    SELECT client, list_distinct(flatten(list(got))) FROM (
        SELECT client, coalesce(addresses, []) || flatten(list_transform(
            coalesce(received, []), text -> split(text, chr(9))[3:]
        )) AS got FROM novel SEMI JOIN pairs USING (client, domain)
        UNION ALL SELECT client, coalesce(addresses, []) FROM listed SEMI JOIN pairs USING (client)
    ) GROUP BY client
"""
_CONTACTS: Final = """
    SELECT client, address, sum(flows)::BIGINT, sum(bytes_sent)::BIGINT, sum(bytes_received)::BIGINT FROM contacts
    WHERE list_contains($1::VARCHAR[], address) GROUP BY ALL ORDER BY sum(bytes_sent + bytes_received) DESC, client
"""
_WATCHED: Final = """
    SELECT address, since FROM watched_addresses SEMI JOIN (SELECT unnest($1::VARCHAR[]) AS address) USING (address)
    WHERE since NOT NULL
"""
_FLOWS: Final = "SELECT max(slot), coalesce(max(sampling) FILTER (slot >= $1), 1) FROM flow_files"


class _Searched(NamedTuple):
    """How addresses were looked for."""

    since: Mapping[str, datetime]  # by address
    newest: datetime  # slot
    sampling: int  # one packet in so many, where it was least


def with_contacts(read: Read, found: Sequence[Finding], client_of: Callable[[str], str]) -> list[Finding]:
    """Return the findings; those about clients with what flows say of the addresses that the client got.

    ``client_of`` returns what stands for the client with an address.
    """
    ours = [one for one in found if one.subject_type == "client" and one.evidence.get("domains")]
    pairs = [(one.subject, str(domain)) for one in ours for domain in one.evidence["domains"]]
    if not pairs or not has_contacts(read):
        return [*found]
    got = dict(read(_ANSWERED, *map(list, zip(*pairs, strict=True))))
    since = dict(read(_WATCHED, sorted(set().union(*got.values()))))
    if not since:
        return [*found]
    searched = _Searched(since, *read(_FLOWS, min(since.values()))[0])
    answered = {client: since.keys() & addresses for client, addresses in got.items()}
    wanted = sorted(set().union(*answered.values()))
    by_client: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for client, address, *counts in read(_CONTACTS, wanted):
        known = by_client[client_of(client)]
        known[address] = [sum(each) for each in zip(known.get(address, (0, 0, 0)), counts, strict=True)]
    return [
        replace(one, evidence={**one.evidence, **_evidence(answered[one.subject], by_client[one.subject], searched)})
        if answered.get(one.subject) and one in ours
        else one
        for one in found
    ]


def _evidence(
    answered: set[str],
    contacts: Mapping[str, Sequence[int]],
    searched: _Searched,
) -> dict[str, Any]:
    connected = [
        {"address": address, "flows": flows, "bytes_sent": sent, "bytes_received": received}
        for address, (flows, sent, received) in contacts.items()
        if address in answered
    ]
    long = {address for address in answered if searched.newest - searched.since[address] >= _SETTLED}
    never = sorted(long - contacts.keys())
    if not (connected or never):
        return {}
    found = {
        "flows_since": min(searched.since[address] for address in answered).isoformat(),
        "connected_to": connected[:_MAX_SHOWN],
    }
    if searched.sampling > 1:
        return {**found, "flows_sampled": searched.sampling}
    return {**found, "never_connected_to": never[:_MAX_SHOWN]}


def has_contacts(read: Read) -> bool:
    """Return whether the store has had flows."""
    ((tables,),) = read(
        "SELECT count(*) FROM duckdb_tables() WHERE table_name IN ('contacts', 'flow_files', 'watched_addresses')"
    )
    return bool(tables == 3)
