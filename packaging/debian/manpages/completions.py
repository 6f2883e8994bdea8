"""Writes what bash and zsh complete into a folder, for ``make completions``.

The files are kept, as the shtab of Debian 12 completes only the first of several choices.
"""

import argparse
import sys
from pathlib import Path

import shtab

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "exporters"))

from parsers import Parser, programs

COMPLETED = {"FILE": shtab.FILE, "PATH": shtab.FILE, "LOG": shtab.FILE, "DIR": shtab.DIRECTORY}


def main(folder: Path) -> None:
    """Write the files of all programs, under the names by which the shells find them, in a folder for each shell."""
    for parser in programs():
        complete_files(parser)
        for shell, name in (("bash", parser.prog), ("zsh", f"_{parser.prog}")):
            (folder / shell).mkdir(parents=True, exist_ok=True)
            text = shtab.complete(parser, shell, root_prefix=parser.prog.replace("-", "_"))
            (folder / shell / name).write_text(text, encoding="utf-8")


def complete_files(parser: Parser) -> None:
    """Have the files and folders of options and arguments completed, also of the commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                complete_files(command)
        elif action.metavar in COMPLETED:
            action.complete = COMPLETED[action.metavar]  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
