"""Prints tables that fit the terminal, and JSON."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Final

from dnsvigil.system.terminal import counted, printable

Cell = str | int | float | None

_GAP: Final = 2  # between columns
_WHOLE: Final = 20  # characters of a column, such as that of a time, that is not cut
_LEAST: Final = 8  # characters of a column that is cut
_UNITS: Final = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def show(head: Sequence[str], rows: Sequence[Sequence[Cell]], sentences: Sequence[str] | None = None) -> None:
    """Print rows below their head: text to the left and escaped, numbers to the right and grouped.

    ``sentences`` has one for each row, which may be empty. On a terminal it stands below its row; else it is the last
    column, for which ``head`` has one more name. Only on a terminal long texts are cut so that lines fit.
    """
    most = width()
    below = sentences if most else None
    if sentences and not most:
        rows = [[*row, sentence or None] for row, sentence in zip(rows, sentences, strict=True)]
    for number, line in enumerate(table(head, rows, most)):
        print(line)
        if below and most and number and below[number - 1]:
            print(wrapped(below[number - 1], most, "    "))


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]], most: int | None) -> list[str]:
    """Return the lines of a table, that of its head first, as :func:`show` prints them.

    Texts are cut so that lines have ``most`` characters; None cuts nothing.
    """
    columns = [[name, *(_text(cell) for cell in cells)] for name, *cells in zip(head, *rows, strict=False)]
    numeric = [any(isinstance(row[i], int | float) for row in rows) for i in range(len(columns))]
    widths = [max(map(len, column)) for column in columns]
    if most:
        _fit(widths, numeric, most)
    lines = []
    for line in zip(*columns, strict=True):
        cells = ((_cut(cell, wide), wide, right) for cell, wide, right in zip(line, widths, numeric, strict=True))
        text = (
            (" " * _GAP).join(cell.rjust(wide) if right else cell.ljust(wide) for cell, wide, right in cells).rstrip()
        )
        lines.append(_cut(text, most) if most else text)
    return lines


def age(seconds: float) -> str:
    """Return a span of time in words, in the largest unit that fits."""
    name, unit = next((each for each in _UNITS if seconds >= each[1]), _UNITS[-1])
    return counted(max(int(seconds // unit), 0), name)


def width() -> int | None:
    """Return how many characters a line on the terminal has; None where standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def show_json(content: Any) -> None:
    """Print JSON for another program."""
    # Of all control characters, JSON in ASCII leaves this one as it is.
    print(json.dumps(content, indent=2).replace("\x7f", "\\u007f"))


def show_records(records: Iterable[Any]) -> None:
    """Print a JSON list of as many records as there may be, each on a line."""
    separator = "[\n"
    for record in records:
        print(separator + json.dumps(record).replace("\x7f", "\\u007f"), end="")
        separator = ",\n"
    print("[]" if separator == "[\n" else "\n]")


def wrapped(text: str, most: int, indent: str = "") -> str:
    """Return a text in lines of at most ``most`` characters, with what cannot be printed escaped."""
    wrapper = textwrap.TextWrapper(most, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return wrapper.fill(printable(text))


def _fit(widths: list[int], numeric: Sequence[bool], most: int) -> None:
    """Make long columns of text narrower, the widest first, until a line has ``most`` characters or none can be cut."""
    long = [i for i, right in enumerate(numeric) if widths[i] > _WHOLE and not right]
    while long and sum(widths) + _GAP * (len(widths) - 1) > most:
        column = max(long, key=lambda i: widths[i])
        if widths[column] <= _LEAST:
            return
        widths[column] -= 1


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return printable(cell)
    if isinstance(cell, int) or cell.is_integer():
        return f"{int(cell):,}"
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
