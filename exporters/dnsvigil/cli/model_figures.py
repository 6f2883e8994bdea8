"""What the commands that train and evaluate a name score share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dnsvigil.cli.errors import CommandError, UsageError
from dnsvigil.learning.evaluate import read_families

TITLES: Final = {"generated": "Generators, under seeds held back", "listed": "Lists"}


def families_in(directory: Path) -> dict[str, list[str]]:
    """Return the names of each family in a folder of lists. Raises :class:`UsageError` where there is none."""
    families = read_families(directory) if directory.is_dir() else {}
    if not families:
        raise UsageError(f"{directory}: there are no lists of names, FAMILY.txt with one name a line")
    return families


@contextmanager
def enough_names() -> Iterator[None]:
    """Raise :class:`CommandError` for the ``ValueError`` of too few names."""
    try:
        yield
    except ValueError as error:
        raise CommandError(str(error)) from error
