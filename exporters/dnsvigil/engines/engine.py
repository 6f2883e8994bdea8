"""What runs the expressions of features: DuckDB in this process, or Spark on several machines."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

Columns = Callable[[Sequence[str]], Sequence[Sequence[object]]]
"""Returns columns that have a value for each text."""


class SparkError(Exception):
    """Spark cannot be started, or a job of it has failed."""


class Engine(Protocol):
    """Tables that have names, and the queries that make more of them. Types are DuckDB's."""

    def lookup(self, name: str, types: Mapping[str, str], *columns: Sequence[object]) -> None:
        """Make a small table to join with, of the columns' types and values."""

    def run(self, subject: str, *names: str) -> None:
        """Make the tables of these names by the queries of a subject, in this order."""

    def derive(self, name: str, types: Mapping[str, str], query: str, function: Columns) -> None:
        """Make a table of the texts that a query returns, in its first column, and of what a function says of them."""
