"""What is asked of each registered domain in an hour, as sums that add up over batches, hours and sensors.

They are those of :data:`dnsvigil.records.DOMAIN_HOUR`, from the tables that :mod:`dnsvigil.features.summaries` makes.
"""

from collections.abc import Callable
from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.functions import client_pseudonym, distinct, is_failure, md5_number_lower
from dnsvigil.features.summaries import transactions_table
from dnsvigil.records import DOMAIN_HOUR, UNKNOWN_RCODE
from dnsvigil.store.sketches import DOMAIN_SKETCH_SIZE

_NXDOMAIN: Final = 3
_TYPES: Final = {
    "VARCHAR": "string",
    "TIMESTAMP": "timestamp",
    "BIGINT": "int64",
    "BIGINT[]": "array<int64>",
}


def domain_hours_table(name: str = "domain_hours") -> ir.Table:
    """Return a table of the domains' summaries."""
    return ibis.table({column: _TYPES[kind] for column, kind in DOMAIN_HOUR.items()}, name=name)


def domain_hours(
    transactions: ir.Table,
    names: ir.Table,
    *keys: str,
    client_hash: Callable[[ir.StringValue], ir.IntegerValue] = md5_number_lower,
) -> ir.Table:
    """Return the summaries of some transactions, apart by further ``keys``; ``names`` has the ``domain`` of names."""
    t = transactions.filter(transactions.qname.notnull())
    # By name and client first: the columns of names are joined to what is left.
    t = t.group_by("qname", "client", *keys, hour=t.ts.truncate("h")).agg(
        queries=t.count(),
        known=t.count(where=t.rcode.isnull() | (t.rcode != UNKNOWN_RCODE)),
        failed=t.count(where=is_failure(t.rcode)),
        nxdomain=t.count(where=t.rcode == _NXDOMAIN),
        first_seen=t.ts.min(),
        last_seen=t.ts.max(),
    )
    below = names.select(
        "qname",
        "domain",
        name_hash=ibis.ifelse(names.qname == names.domain, None, _positive(md5_number_lower(names.qname))),
    )
    t = t.inner_join(below, "qname")
    t = t.mutate(client_hash=_positive(client_hash(t.client)))
    return (
        t.group_by("domain", "hour", *keys)
        .agg(
            queries=t.queries.sum(),
            known=t.known.sum(),
            failed=t.failed.sum(),
            nxdomain=t.nxdomain.sum(),
            first_seen=t.first_seen.min(),
            last_seen=t.last_seen.max(),
            clients=_sketch(t.client_hash.collect()),
            names=_sketch(t.name_hash.collect()),
        )
        .select(*DOMAIN_HOUR, *keys)
    )


def _positive(number: ir.IntegerValue) -> ir.IntegerValue:
    return (number.cast("uint64") >> ibis.literal(1, "uint64")).cast("int64")


def _sketch(hashes: ir.ArrayValue) -> ir.ArrayValue:
    return distinct(hashes).sort()[:DOMAIN_SKETCH_SIZE]


def expressions() -> dict[str, ir.Table]:
    """Return what makes the table."""
    names = ibis.table({"qname": "string", "domain": "string"}, name="names")
    transactions = transactions_table()
    sensors = ibis.table(dict(transactions.schema()) | {"sensor": "string"}, name=transactions.get_name())
    return {
        "sum_domain_hours": domain_hours(transactions, names),
        "sum_sensor_domain_hours": domain_hours(sensors, names, "sensor", client_hash=client_pseudonym),
    }
