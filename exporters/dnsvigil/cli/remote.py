"""What is at URIs, as paths that commands read."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from tqdm import tqdm

from dnsvigil.cli.errors import CommandError
from dnsvigil.engines.archive import files_of_tables
from dnsvigil.sources.folders import files_below
from dnsvigil.sources.remote.mirror import fill, mirror, mirrors
from dnsvigil.sources.remote.uri import Uri, named
from dnsvigil.system.files import reason_of
from dnsvigil.system.terminal import printable

Place: TypeAlias = Path | Uri
"""Where what is read is: on this machine, or elsewhere."""


@contextmanager
def as_paths(places: Iterable[Place]) -> Iterator[tuple[list[Path], list[Path]]]:
    """Give paths, those of mirrors for URIs, and which files of these cannot be read, which are logged.

    Messages have URIs in place of paths of mirrors. Raises ``CommandError`` for a URI at which is nothing, or which
    cannot be looked at.
    """
    paths: list[Path] = []
    lost: list[Path] = []
    with ExitStack() as stack:
        stack.enter_context(_names_in_messages())
        for place in places:
            if isinstance(place, Uri):
                path, unread = _mirrored(place, stack.enter_context(mirrors()))
                paths.append(path)
                lost += unread
            else:
                paths.append(place)
        yield paths, lost


def _mirrored(uri: Uri, root: Path) -> tuple[Path, list[Path]]:
    try:
        path, lost = mirror(uri, root)
    except OSError as error:
        raise CommandError(reason_of(error)) from error
    files = _looked_at(path)
    bar = tqdm(fill(files), printable(str(uri)), len(files), disable=None, dynamic_ncols=True, leave=False)
    return path, lost + [file for file, filled in bar if not filled]


def _looked_at(path: Path) -> list[Path]:
    """Return the files of an archive; those of any other folder may be logs."""
    return files_of_tables(path) or files_below(path)


@contextmanager
def _names_in_messages() -> Iterator[None]:
    make = logging.getLogRecordFactory()

    def record(*arguments: Any, **more: Any) -> logging.LogRecord:
        made = make(*arguments, **more)
        if made.name.startswith("dnsvigil"):
            made.msg, made.args = named(made.getMessage()), ()
        return made

    logging.setLogRecordFactory(record)
    try:
        yield
    finally:
        logging.setLogRecordFactory(make)
