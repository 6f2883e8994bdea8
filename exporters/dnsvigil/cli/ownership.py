"""Keeps commands from leaving files in the state folder that the collector's user cannot use."""

import os
import pwd
import shlex
import sys
from pathlib import Path

from dnsvigil.cli.errors import CommandError
from dnsvigil.system.programs import ProgramError, find


class OwnerError(CommandError):
    """Another user owns the folder; the message has the command to use."""


def require_owner(state: Path) -> None:
    """Raise :class:`OwnerError` unless this user owns ``state`` and the store in it, or it is not there yet.

    Raises ``OSError`` where that cannot be seen.
    """
    if not state.exists():
        return
    owner, user = state.stat().st_uid, os.geteuid()
    if owner != user:
        words = shlex.join([*_as(owner), _own_program(), *sys.argv[1:]])
        raise OwnerError(
            f"{state} belongs to {_name(owner)}, and {_name(user)} would leave files in it that {_name(owner)} cannot"
            f" use. Run: {words}"
        )
    for path in state.glob("*.duckdb*"):
        if (other := path.lstat().st_uid) != owner:
            command = shlex.join(["chown", "--recursive", _name(owner), str(state)])
            raise OwnerError(f"{path} belongs to {_name(other)}, and its folder to {_name(owner)}. Run: {command}")


def _as(owner: int) -> list[str]:
    """Return the words that run a command as a user."""
    try:
        return ["runuser", "-u", pwd.getpwuid(owner).pw_name, "--"]
    except KeyError:
        return ["setpriv", f"--reuid={owner}", "--clear-groups", "--"]


def _own_program() -> str:
    called = Path(sys.argv[0])
    try:
        find("dnsvigil")
    except ProgramError:
        return str(called.absolute()) if called.name == "dnsvigil" else "dnsvigil"
    return "dnsvigil"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
