"""Finds the programs that dnsvigil starts: in the absolute folders of PATH, never in the current folder."""

import os
from pathlib import Path
from typing import Final

# Folders, separated by colons, that programs load code from; an empty entry means the current folder.
_SEARCH_PATHS: Final = {"PATH", "LD_LIBRARY_PATH", "PERL5LIB", "PERLLIB", "PYTHONPATH"}
_UNSAFE: Final = "PERL_USE_UNSAFE_INC"  # adds the current folder to Perl's


class ProgramError(Exception):
    """A program cannot be started; the message says why and what to do."""


def find(program: str) -> str:
    """Return the absolute path of ``program``, which is a name to look up in PATH or itself an absolute path.

    Raises :class:`ProgramError` where there is no such executable file.
    """
    if os.sep in program:
        if not is_program(Path(program)):
            raise ProgramError(f"{program} is not the absolute path of an executable file. Is it installed?")
        return program
    folders = _absolute(os.environ.get("PATH", os.defpath))
    for folder in folders.split(os.pathsep):
        path = Path(folder, program)
        if is_program(path):
            return str(path)
    raise ProgramError(
        f"{program} is in no folder of PATH ({folders or 'which has no absolute one'}). Is it installed?"
    )


def is_program(path: Path) -> bool:
    """Return whether ``path`` is absolute and an executable file."""
    try:
        return path.is_absolute() and path.is_file() and os.access(path, os.X_OK)
    except OSError:  # a folder of root's PATH that another user may not look into
        return False


def environment() -> dict[str, str]:
    """Return this process's environment for a program, less what would load code from the current folder."""
    kept = {name: value for name, value in os.environ.items() if name != _UNSAFE}
    for name in kept.keys() & _SEARCH_PATHS:
        kept[name] = _absolute(kept[name])
        if not kept[name]:
            del kept[name]
    return kept


def _absolute(folders: str) -> str:
    return os.pathsep.join(folder for folder in folders.split(os.pathsep) if folder.startswith(os.sep))
