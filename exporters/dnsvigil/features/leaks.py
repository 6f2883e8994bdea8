"""What new labels and new answers carry below each domain, from the rows of novel traffic in some hours.

    novel ─(hours of the window)─ recent ─┬─ carriers ── sums of the domains that carry much
                                          ├─ lonely ──── sums of the domains that few clients ask for
                                          └─ carried ─── sums by client of chosen domains, with times and samples

A new name has new labels; labels that repeat carry nothing. The sum of the octets of labels never seen before is an
exact form, in bounded memory, of the weighted distinct count with which Ozery, Nadler and Shabtai find
"information-based heavy hitters" (NDSS 2024).
"""

from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.functions import bit_count, text_hash, texts_of_most
from dnsvigil.features.novelty import novel_table
from dnsvigil.records import FLOOD, MAX_LONELY, MIN_LONELY_NAMES, NOVEL_COUNTS, SINGLE_LABEL, STANDING

MAX_CLIENTS: Final = 20
"""How many clients of a domain have rows of their own: those that carry most."""

_MIN_ROW: Final = 8  # octets of labels, or more of answers; most rows, a few short labels each, have less
_MIN_ANSWERS: Final = 64


def carriers(recent: ir.Table) -> ir.Table:
    """Return the sums of each ``domain``, and an upper bound of the octets that it ``carried``."""
    much = (recent.label_bytes >= _MIN_ROW) | ((recent.text_names > 0) & (recent.answer_bytes >= _MIN_ANSWERS))
    t = recent.filter(recent.domain.notin([FLOOD, SINGLE_LABEL]) & much)
    t = t.group_by("domain").agg(**{name: t[name].sum() for name in NOVEL_COUNTS})
    # Names that were new before these hours may be asked for text in them.
    text = t.text_names / ibis.greatest(t.names, t.text_names, 1).cast("float64")
    return t.mutate(carried=(t.label_bytes + t.answer_bytes * text).cast("float64"))


def lonely(recent: ir.Table) -> ir.Table:
    """Return the sums that say what a ``domain`` is, for each with several new names, but few clients.

    Clients are counted in 64 bits, which have room for so few of them.
    """
    t = recent.filter(recent.domain.notin([FLOOD, SINGLE_LABEL]) & (recent.names > 0))
    client = ibis.literal(1, "uint64") << (text_hash(t.client) % 64).cast("uint64")
    t = t.group_by("domain").agg(**{name: t[name].sum() for name in STANDING}, bits=client.bit_or())
    return t.filter((t.names >= MIN_LONELY_NAMES) & (bit_count(t.bits) <= MAX_LONELY)).drop("bits")


def carried(recent: ir.Table, domains: ir.Table) -> ir.Table:
    """Return the sums of each ``client`` in each of ``domains.domain``, of the ``MAX_CLIENTS`` that carry most.

    Beside the sums: ``clients``, how many queried new names in the domain; ``active``, how many minutes had queries;
    ``newly_observed`` as in records.NOVEL; ``first_seen``, ``last_seen``; ``samples`` and ``received`` of every hour;
    ``sources`` of one.
    """
    t = recent.filter((recent.names > 0) | (recent.text_names > 0)).semi_join(domains, "domain")
    # The clients first, of which there may be many: without columns that take much memory.
    pairs = t.group_by("client", "domain").agg(weight=(t.label_bytes + t.answer_bytes).sum().cast("int64"))
    most = pairs.group_by("domain").agg(
        clients=pairs.count(), client=texts_of_most(pairs.client, pairs.weight, MAX_CLIENTS)
    )
    t = t.inner_join(most.unnest("client"), ["client", "domain"])
    hourly = t.group_by("hour", "client", "domain", "clients").agg(
        **{name: t[name].sum() for name in NOVEL_COUNTS},
        minutes=t.minutes.bit_or(),
        newly_observed=t.newly_observed.any(),
        first_seen=t.first_seen.min(),
        last_seen=t.last_seen.max(),
        samples=t.samples.collect().flatten(),
        received=t.received.collect().flatten(),
        sources=t.sources.first(where=t.sources.length() > 0),
    )
    return hourly.group_by("client", "domain", "clients").agg(
        **{name: hourly[name].sum() for name in NOVEL_COUNTS},
        active=bit_count(hourly.minutes).cast("int64").sum(),
        newly_observed=hourly.newly_observed.any(),
        first_seen=hourly.first_seen.min(),
        last_seen=hourly.last_seen.max(),
        samples=hourly.samples.collect().flatten(),
        received=hourly.received.collect().flatten(),
        sources=hourly.sources.first(where=hourly.sources.length() > 0),
    )


def expressions() -> dict[str, ir.Table]:
    """Return the expression of each table, over ``recent`` rows and the ``chosen`` domains."""
    recent, chosen = novel_table("recent"), ibis.table({"domain": "string"}, name="chosen")
    return {"carriers": carriers(recent), "lonely": lonely(recent), "carried": carried(recent, chosen)}
