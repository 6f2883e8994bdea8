"""The queries for the domains of each group, which ``dnsvigil domains cluster`` has made."""

import ibis
import ibis.expr.types as ir

from dnsvigil.features.domain_hours import domain_hours_table
from dnsvigil.features.functions import text_hash
from dnsvigil.records import NO_GROUP


def group_queries(hours: ir.Table, members: ir.Table, groups: ir.Table) -> ir.Table:
    """Return the ``queries`` and ``failures`` of each ``domain_group``, by its name, from summaries of domains.

    ``members`` has the ``id`` of the group of a domain's ``hash``, ``groups`` the ``name`` of an ``id``.
    """
    t = hours.select("queries", "failed", hash=text_hash(hours.domain)).left_join(members, "hash")
    t = t.group_by("id").agg(queries=t.queries.sum().cast("int64"), failures=t.failed.sum().cast("int64"))
    t = t.left_join(groups, "id")
    return t.select("queries", "failures", domain_group=t.name.fill_null(NO_GROUP))


def expressions() -> dict[str, ir.Table]:
    """Return what makes the table."""
    members = ibis.table({"hash": "uint64", "id": "int32"}, name="group_members")
    groups = ibis.table({"id": "int32", "name": "string"}, name="domain_groups")
    return {"sum_domain_groups": group_queries(domain_hours_table("sum_domain_hours"), members, groups)}
