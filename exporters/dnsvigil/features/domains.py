"""The registered domain of a name: its public suffix and one label more, private suffixes included.

The rules and the algorithm are those of the Public Suffix List (publicsuffix.org/list): the longest rule that
matches wins, an exception rule wins over all, and a name that no rule matches has its last label as suffix.
"""

from typing import Final

import ibis
import ibis.expr.types as ir

from dnsvigil.features.functions import reversed_list

_MAX_LABELS: Final = 8  # no rule of the list is longer


def tails(names: ir.Table, most_labels: int | ir.IntegerValue) -> ir.Table:
    """Return the last 1, 2, ... ``most_labels`` labels of each ``names.key``.

    Columns: ``key``, ``total`` (its number of labels), ``labels`` (how many are taken), ``tail`` (those).
    """
    split = names.mutate(parts=names.key.split("."))
    split = split.mutate(total=split.parts.length())
    numbered = split.mutate(labels=ibis.range(1, ibis.least(split.total, most_labels) + 1)).unnest("labels")
    return numbered.select("key", "total", "labels", tail=numbered.parts[numbered.total - numbered.labels :].join("."))


def registered_domains(names: ir.Table, suffixes: ir.Table) -> ir.Table:
    """Return ``key`` and its registered ``domain``; a name that is itself a public suffix stands for itself.

    ``suffixes`` has the rows of :func:`dnsvigil.sources.public_suffixes.public_suffixes` as ``suffix`` and ``kind``.
    """
    tail = tails(names, _MAX_LABELS + 1)
    matched = tail.left_join(suffixes, tail.tail == suffixes.suffix)
    beyond = (matched.kind == "wildcard") & (matched.labels < matched.total)
    lengths = matched.group_by("key").agg(
        exception=matched.labels.max(where=matched.kind == "exception") - 1,
        rule=ibis.greatest(
            matched.labels.max(where=matched.kind == "normal").fill_null(1),
            (matched.labels.max(where=beyond) + 1).fill_null(1),
        ),
        most=matched.labels.max(),
    )
    wanted = lengths.select("key", labels=ibis.least(ibis.coalesce(lengths.exception, lengths.rule) + 1, lengths.most))
    return tail.inner_join(wanted, ["key", "labels"]).select("key", domain=tail.tail)


def reversed_labels(name: ir.StringValue) -> ir.StringValue:
    """Return a name with its labels the other way round: its key in :mod:`dnsvigil.store.tuple_keys`, or back."""
    return reversed_list(name.split(".")).join(".")


def longest_zones(names: ir.Table, zones: ir.Table, most_labels: int | ir.IntegerValue) -> ir.Table:
    """Return ``key`` and the ``zone`` of ``zones.zone`` that it lies in, the longest, for the keys in any."""
    tail = tails(names, most_labels)
    matched = tail.inner_join(zones, tail.tail == zones.zone)
    return matched.group_by("key").agg(zone=matched.zone.argmax(matched.labels))
