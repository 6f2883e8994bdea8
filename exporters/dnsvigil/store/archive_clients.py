"""What the archive has of the clients of a domain in an hour: how many, and pseudonyms of some of them."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from dnsvigil.store.pseudonyms import NO_KEY
from dnsvigil.store.sketches import DOMAIN_HASHES, DOMAIN_SKETCH_SIZE

ADDED: Final = ("client_count", "client_key")
"""The columns that rows of earlier versions lack."""


def with_counts(rows: pa.Table) -> pa.Table:
    """Return rows with ``client_count``: exact for fewer than ``DOMAIN_SKETCH_SIZE`` clients, else an estimate."""
    clients = rows["clients"].combine_chunks()
    counts = pc.fill_null(pc.list_value_length(clients), 0).cast(pa.int64())
    full = pc.greater_equal(counts, DOMAIN_SKETCH_SIZE)
    last = pc.list_element(clients.filter(full), DOMAIN_SKETCH_SIZE - 1).cast(pa.float64(), safe=False)
    estimates = pc.round(pc.divide((DOMAIN_SKETCH_SIZE - 1) * float(DOMAIN_HASHES), last)).cast(pa.int64())
    return rows.append_column("client_count", pc.replace_with_mask(counts, full, estimates))


def completed(rows: pa.Table) -> pa.Table:
    """Return rows with the columns of this version."""
    if "client_count" not in rows.column_names:
        rows = with_counts(rows)
    if "client_key" not in rows.column_names:
        rows = rows.append_column("client_key", pa.repeat(pa.scalar(NO_KEY), len(rows)))
    return rows


def without_pseudonyms(rows: pa.Table, which: pa.ChunkedArray | pa.Array) -> pa.Table:
    """Return rows of which those in ``which`` have no pseudonyms, but the number of clients alone."""
    for name in ("clients", "client_key"):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, name, pc.if_else(which, pa.scalar(None, rows[name].type), rows[name]))
    return rows


def without_addresses(rows: pa.Table) -> pa.Table:
    """Return rows without hashes that have no key: they give addresses away."""
    return without_pseudonyms(rows, pc.fill_null(pc.equal(rows["client_key"], NO_KEY), False))
