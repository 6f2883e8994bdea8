"""Counters in the store: sums over all that was ever read, in a table for each set of labels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dnsvigil.store.store import Read, Store

LARGEST: Final = 2**63 - 1
"""The upper bound of counts, so that one huge number in a log cannot make additions overflow."""


@dataclass(frozen=True)
class CounterTable:
    """Counters that have the same labels. The table ``total_NAME`` has a column for each label and each value.

    A value that nobody has given is NULL: it is unknown, not 0. Whatever changes a table needs a transaction.
    """

    name: str
    labels: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def table(self) -> str:
        """The name of the table in SQL."""
        return f"total_{self.name}"

    @property
    def schema(self) -> str:
        """The statement that makes the table where it is not there."""
        columns = [*(f"{label} VARCHAR" for label in self.labels), *(f"{value} BIGINT" for value in self.values)]
        return f"CREATE TABLE IF NOT EXISTS {self.table} ({', '.join(columns)});\n"

    def add(self, store: "Store", query: str, *bound: Any) -> None:
        """Add the rows of a query, which has the columns of the table in any order, to the counters.

        Rows with the same labels add up. A sum below 0 or of NULLs alone adds nothing, one of 0 makes a counter of 0.
        """
        sums = ", ".join(
            f"CASE WHEN sum({v}) >= 0 THEN least(sum({v}), {LARGEST})::BIGINT END AS {v}" for v in self.values
        )
        added = ", ".join(
            f"{v} = CASE WHEN new.{v} IS NULL THEN old.{v}"
            f" ELSE least(coalesce(old.{v}, 0)::HUGEINT + new.{v}, {LARGEST})::BIGINT END"
            for v in self.values
        )
        given = " OR ".join(f"sum({v}) >= 0" for v in self.values)
        store.rows(
            f"MERGE INTO {self.table} AS old"
            f" USING (SELECT {self._key}, {sums} FROM ({query}) GROUP BY {self._key} HAVING {given}) AS new"
            f" USING ({self._key}) WHEN MATCHED THEN UPDATE SET {added} WHEN NOT MATCHED THEN INSERT BY NAME",
            *bound,
        )

    def add_rows(self, store: "Store", rows: Iterable[Sequence[Any]]) -> None:
        """Add rows of labels and values, in the order of the columns; those whose values are all 0 are passed over."""
        size = len(self.labels)
        some = [row for row in rows if any(row[size:])]
        if not some:
            return
        columns = list(zip(*some, strict=True))
        labels = ", ".join(f"unnest(?::VARCHAR[]) AS {label}" for label in self.labels)
        values = ", ".join(f"unnest(?::BIGINT[]) AS {value}" for value in self.values)
        bound = [*map(list, columns[:size]), *([min(v, LARGEST) for v in column] for column in columns[size:])]
        self.add(store, f"SELECT {labels}, {values}", *bound)

    def rows(self, read: "Read") -> list[tuple[Any, ...]]:
        """Return all labels and values in the order of the columns, sorted."""
        return read(f"SELECT {self._key}, {', '.join(self.values)} FROM {self.table} ORDER BY ALL")

    def forget(self, store: "Store", label: str, keep: Iterable[str]) -> None:
        """Drop the counters whose ``label`` is not one of those to ``keep``."""
        store.rows(f"DELETE FROM {self.table} WHERE NOT list_contains(?::VARCHAR[], {label})", list(keep))

    @property
    def _key(self) -> str:
        return ", ".join(self.labels)


def schema(tables: Iterable[CounterTable]) -> str:
    """Return the statements that make the tables where they are not there."""
    return "".join(table.schema for table in tables)
