"""Tables of domains for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from dnsvigil.records import DOMAIN_FEATURES
from dnsvigil.store.domain_file import ROWS, Facts, Group, domain_file, write_domains

MADE = datetime(2026, 3, 2, 3, 4, 5, tzinfo=UTC)


def facts_with(groups: Sequence[Group]) -> Facts:
    count = len(DOMAIN_FEATURES)
    return Facts(MADE, [*DOMAIN_FEATURES], [0.0] * count, [1.0] * count, {}, groups, 0.5, 9)


def write_table(state: Path, members: Mapping[str, int], names: Mapping[int, str]) -> Path:
    """Write a table of domains, each in the group of an id; return its path."""
    sizes = {number: list(members.values()).count(number) for number in names}
    facts = facts_with([Group(number, name, sizes[number], {}, []) for number, name in names.items()])
    table = pa.table(
        {
            "domain": pa.array(list(members), pa.string()),
            "first_seen": pa.array([0] * len(members), pa.int64()),
            "last_seen": pa.array([60] * len(members), pa.int64()),
            **{name: pa.array([float(n) for n in range(len(members))]) for name in DOMAIN_FEATURES},
            "group": pa.array(list(members.values()), pa.int32()),
            "distance": pa.array([0.5] * len(members), pa.float32()),
        }
    )
    state.mkdir(exist_ok=True)
    path = domain_file(state)
    write_domains(path, (table.slice(begin, ROWS) for begin in range(0, len(members), ROWS)), table.schema, facts)
    return path
