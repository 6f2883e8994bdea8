"""What new labels and new answers carry below each domain, from novel traffic rows of a window of hours.

    novel ─(hours of the window)─ recent ─┬─ carriers ── domains that carry much, as sums
                                            └─ carried ─── of those: by client, with when and samples

A name that is new has labels that are, or it would not be; what repeats in names carries nothing. Counting the octets
of labels that were never there before is the exact form, in bounded memory, of the weighted distinct count by which
Ozery, Nadler and Shabtai find "information-based heavy hitters" (NDSS 2024).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.novelty import FLOOD, SINGLE_LABEL, novel_table, recent_hours
from dnsvigil.store.store import Read

COUNTS: Final = (
    "queries", "failures", "names", "failed_names", "answered_names", "text_names", "design_names", "labels",
    "label_bytes", "answer_bytes",
)  # fmt: skip
"""What is summed up, as records.NOVEL has it."""

MAX_DOMAINS: Final = 2000
"""How many domains are returned: those that carry most."""

MAX_CLIENTS: Final = 20
"""How many clients of a domain are listed one by one: those that carry most."""

Row = dict[str, Any]

_MIN_ROW: Final = 8  # octets of labels, or more of answers; most rows, a few short labels each, have less
_MIN_ANSWERS: Final = 64

_RECENT: Final = recent_hours("novel", since=">")


@ibis.udf.scalar.builtin(signature=(("uint64",), "int8"))
def bit_count(bits):  # type: ignore[no-untyped-def]
    """Return how many bits are set."""


@ibis.udf.agg.builtin(name="arg_max", signature=(("string", "int64", "int64"), "array<string>"))
def texts_of_most(text, value, count):  # type: ignore[no-untyped-def]
    """Return the texts that go with the ``count`` greatest values."""


def carriers(recent: ir.Table) -> ir.Table:
    """Return the sums of each ``domain``, and an upper bound of the octets that it ``carried``."""
    much = (recent.label_bytes >= _MIN_ROW) | ((recent.text_names > 0) & (recent.answer_bytes >= _MIN_ANSWERS))
    t = recent.filter(recent.domain.notin([FLOOD, SINGLE_LABEL]) & much)
    t = t.group_by("domain").agg(**{name: t[name].sum() for name in COUNTS})
    text = t.text_names / t.names.nullif(0).cast("float64")
    return t.mutate(carried=(t.label_bytes + t.answer_bytes * text.fill_null(0.0)).cast("float64"))


def carried(recent: ir.Table, domains: ir.Table) -> ir.Table:
    """Return the sums of each ``client`` in each of ``domains.domain``, of the ``MAX_CLIENTS`` that carry most.

    Beside the sums: ``clients``, all that asked for new names in the domain; ``active``, the minutes in which there
    was something; ``newly_observed`` as records.NOVEL; ``first_seen``, ``last_seen``; ``samples``, of every hour.
    """
    t = recent.filter(recent.names > 0).semi_join(domains, "domain")
    # First who they are, without what takes memory for each of those that are many.
    pairs = t.group_by("client", "domain").agg(weight=(t.label_bytes + t.answer_bytes).sum().cast("int64"))
    most = pairs.group_by("domain").agg(
        clients=pairs.count(), client=texts_of_most(pairs.client, pairs.weight, MAX_CLIENTS)
    )
    t = t.inner_join(most.unnest("client"), ["client", "domain"])
    hourly = t.group_by("hour", "client", "domain", "clients").agg(
        **{name: t[name].sum() for name in COUNTS},
        minutes=t.minutes.bit_or(),
        newly_observed=t.newly_observed.any(),
        first_seen=t.first_seen.min(),
        last_seen=t.last_seen.max(),
        samples=t.samples.collect().flatten(),
    )
    return hourly.group_by("client", "domain", "clients").agg(
        **{name: hourly[name].sum() for name in COUNTS},
        active=bit_count(hourly.minutes).cast("int64").sum(),
        newly_observed=hourly.newly_observed.any(),
        first_seen=hourly.first_seen.min(),
        last_seen=hourly.last_seen.max(),
        samples=hourly.samples.collect().flatten(),
    )


class Leaks:
    """Asks the table ``novel`` of a store, between two hours, the first of them left out, and ``now``.

    ``read`` is as :meth:`dnsvigil.store.store.Store.rows`, and raises what that does.
    """

    def __init__(self) -> None:
        recent = novel_table("recent")
        chosen = ibis.table({"domain": "string"}, name="chosen")
        self._carriers = _Query(
            carriers(recent), order=f"WHERE carried >= $3 ORDER BY carried DESC, domain LIMIT {MAX_DOMAINS}"
        )
        self._carried = _Query(
            carried(recent, chosen), "chosen AS (SELECT unnest($3::VARCHAR[]) AS domain)", "ORDER BY domain, client"
        )

    def carriers(self, read: Read, since: datetime, now: datetime, least: float) -> list[Row]:
        """Return the rows of :func:`carriers` that carried so many octets, those with most first."""
        return self._carriers.rows(read, since, now, least)

    def carried(self, read: Read, since: datetime, now: datetime, domains: Sequence[str]) -> list[Row]:
        """Return the rows of :func:`carried`."""
        return self._carried.rows(read, since, now, domains) if domains else []


class _Query:
    def __init__(self, expression: ir.Table, table: str = "", order: str = "") -> None:
        tables = [_RECENT, *([table] if table else [])]
        self._columns = expression.columns
        inner = ibis.to_sql(expression, dialect="duckdb")
        self._sql = f"WITH {', '.join(tables)} SELECT {', '.join(self._columns)} FROM ({inner}) {order}"

    def rows(self, read: Read, *bound: Any) -> list[Row]:
        return [dict(zip(self._columns, row, strict=True)) for row in read(self._sql, *bound)]
