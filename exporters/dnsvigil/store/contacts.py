"""Who exchanged packets with the addresses that findings are about, as far as flows show it.

Only addresses that are watched are looked for: those that DNS gave to clients with an open finding, and those on the
operator's lists, with the networks there.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from ipaddress import ip_address
from itertools import islice
from typing import Final

from dnsvigil.store.store import Store

MAX_WATCHED: Final = 500
"""How many addresses of findings are looked for in a flow file: those of the newest."""

MAX_LISTED: Final = 20_000
"""How many addresses and networks of lists are looked for besides."""

MAX_CONTACTS: Final = 10_000
"""How many pairs of a client and an address are kept of a file: those with most bytes."""

Contact = tuple[str, str, str | None, int, int, int]
"""A client, the address, its entry on the lists, the number of flows, and the bytes that the client sent and got."""

_NEW: Final = "CREATE OR REPLACE TEMP TABLE sum_contacts"
_COLUMNS: Final = (
    "client VARCHAR, address VARCHAR, entry VARCHAR, flows BIGINT, bytes_sent BIGINT, bytes_received BIGINT"
)
SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS watched_addresses (address VARCHAR, since TIMESTAMP, lists VARCHAR[]);
CREATE TABLE IF NOT EXISTS contacts (slot TIMESTAMP, exporter VARCHAR, {_COLUMNS}, file BIGINT);
ALTER TABLE contacts ADD COLUMN IF NOT EXISTS entry VARCHAR;
"""

# What a client asked for, and what it got: of newly observed domains some addresses, of other names some samples.
_ANSWERED: Final = f"""
    WITH open AS (
        SELECT subject, (evidence::JSON -> '$.domains')::VARCHAR[] AS domains, last_seen FROM findings
        WHERE state = 'open' AND subject_type = 'client'
    ), answered AS (
        SELECT open.last_seen, unnest(coalesce(addresses, []) || flatten(list_transform(
            coalesce(received, []), text -> split(text, chr(9))[3:]
        ))) AS address
        FROM novel JOIN open ON client = subject AND list_contains(domains, domain)
        UNION ALL
        SELECT open.last_seen, unnest(addresses) FROM listed JOIN open ON client = subject
    )
    SELECT address FROM answered GROUP BY address ORDER BY max(last_seen) DESC, address LIMIT {4 * MAX_WATCHED}
"""


class Contacts:
    """The tables in one store. Callers that change them must have begun a transaction."""

    def __init__(self, store: Store) -> None:
        """Raises :class:`dnsvigil.store.store.StoreError`."""
        self._store = store
        store.create(SCHEMA)

    def watch(self, listed: Mapping[str, Sequence[str]]) -> None:
        """Watch the addresses that clients with an open finding got, and those ``listed`` with their lists alone."""
        answered = [address for (address,) in self._store.rows(_ANSWERED) if _is_unicast(address)][:MAX_WATCHED]
        wanted: dict[str, Sequence[str] | None] = {
            **dict.fromkeys(answered),
            **dict(islice(listed.items(), MAX_LISTED)),
        }
        known = self._store.rows("SELECT address, lists, since FROM watched_addresses")
        if wanted == {address: lists for address, lists, _ in known}:
            return
        since = {address: since for address, _, since in known}
        self._store.rows("DELETE FROM watched_addresses")
        if wanted:
            self._store.rows(
                "INSERT INTO watched_addresses"
                " SELECT unnest($1::VARCHAR[]), unnest($2::TIMESTAMP[]), unnest($3::VARCHAR[][])",
                [*wanted],
                [since.get(address) for address in wanted],
                [lists and [*lists] for lists in wanted.values()],
            )

    def watched(self) -> dict[str, bool]:
        """Return the addresses and networks that are watched, with whether they are on a list."""
        return dict(self._store.rows("SELECT address, lists IS NOT NULL FROM watched_addresses ORDER BY address"))

    def prepare(self, slot: datetime, exporter: str, found: Sequence[Contact]) -> None:
        """Put what a file has into the table ``sum_contacts``, before the transaction."""
        self._store.rows(f"{_NEW} (slot TIMESTAMP, exporter VARCHAR, {_COLUMNS})")
        if found:
            texts, numbers = "unnest(?::VARCHAR[]), " * 3, "unnest(?::BIGINT[]), " * 3
            columns = map(list, zip(*found, strict=True))
            self._store.rows(
                f"INSERT INTO sum_contacts SELECT ?::TIMESTAMP, ?, {texts}{numbers}", slot, exporter, *columns
            )

    def searched(self, addresses: Iterable[str], slot: datetime) -> None:
        """Note that addresses and networks were looked for in a slot."""
        self._store.rows(
            "UPDATE watched_addresses SET since = least(coalesce(since, $2), $2)"
            " WHERE address IN (SELECT unnest($1::VARCHAR[]))",
            [*addresses],
            slot,
        )


def _is_unicast(text: str) -> bool:
    """Return whether a text is an address that a host can have."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return not (address.is_multicast or address.is_unspecified or address.is_loopback or address.is_reserved)
