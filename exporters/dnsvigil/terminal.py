"""Tables for a terminal."""

import json
from collections.abc import Sequence
from typing import Any

Cell = str | int | float | None


def show(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print rows below their head: text to the left and escaped, numbers to the right and grouped."""
    columns = [[name, *(_text(cell) for cell in cells)] for name, *cells in zip(head, *rows, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    numeric = [any(isinstance(row[i], int | float) for row in rows) for i in range(len(head))]
    for line in zip(*columns, strict=True):
        cells = zip(line, widths, numeric, strict=True)
        print("  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells).rstrip())


def show_json(content: Any) -> None:
    """Print what is read by another program."""
    print(json.dumps(content, indent=2))


def printable(text: str) -> str:
    """Return a text that does nothing to a terminal: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return printable(cell)
    if isinstance(cell, int) or cell.is_integer():
        return f"{int(cell):,}"
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
