"""Long lists, which the server sorts and pages: parameters ``sort``, ``order`` and ``page``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from dnsvigil.api.parameters import one_of, refuse

PER_PAGE: Final = 50
"""Rows on a page."""

_MAX_PAGE: Final = 10_000
_ORDERS: Final = ("asc", "desc")


@dataclass(frozen=True)
class Listing:
    """Which rows of a list are shown, and in which order."""

    sort: str
    order: Literal["asc", "desc"]
    page: int = 1
    total: int = 0  # rows of the whole list

    @property
    def offset(self) -> int:
        """The number of rows before the page."""
        return (self.page - 1) * PER_PAGE

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(1, -(-self.total // PER_PAGE))

    @property
    def ends(self) -> tuple[int, int]:
        """The numbers of the first and the last row of the page."""
        return min(self.offset + 1, self.total), min(self.offset + PER_PAGE, self.total)

    def of(self, total: int) -> "Listing":
        """Return the listing of so many rows; a page behind the last one is the last one."""
        known = replace(self, total=total)
        return replace(known, page=min(known.page, known.pages))

    def order_by(self, column: str) -> str:
        """Return the order that a click on the head of a column asks for."""
        return "asc" if column == self.sort and self.order == "desc" else "desc"

    def aria(self, column: str) -> str:
        """Return how a column is sorted, as ``aria-sort`` has it."""
        names = {"asc": "ascending", "desc": "descending"}
        return names[self.order] if column == self.sort else "none"


def listing(given: Mapping[str, str], columns: Sequence[str], order: Literal["asc", "desc"] = "desc") -> Listing:
    """Return what a request wants to see of a list, by default sorted by the first of the columns.

    Raises :class:`dnsvigil.api.interface.RequestError`.
    """
    one_of(given, "sort", columns)
    one_of(given, "order", _ORDERS)
    page = given.get("page", "1")
    if not (page.isascii() and page.isdigit() and 0 < int(page[:6]) <= _MAX_PAGE):
        refuse(f"page: expected a number from 1 to {_MAX_PAGE:,}")
    wanted = given.get("order", order)
    return Listing(given.get("sort", columns[0]), "asc" if wanted == "asc" else "desc", int(page[:6]))
