"""What an argparse parser knows of its command, as man(7)."""

import argparse
import importlib.machinery
import importlib.util
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from unittest import mock

from roff import bold, italic, lines, sentence, term

from dnsvigil.cli.options import parser as dnsvigil
from dnsvigil.resolver.main import main as resolver_exporter

ROOT = Path(__file__).resolve().parents[3]

Parser = argparse.ArgumentParser

Entry = tuple[str, ...]
"""The lines of man(7) that explain an argument or an option."""


class _Parsed(Exception):
    """A program has parsed its command line."""


def programs() -> list[Parser]:
    """Return the parsers of dnsvigil, of the resolver exporter and of the check."""
    return [dnsvigil(), _parser_in(resolver_exporter), _parser_of_script(ROOT / "plugins/icinga/check_dnsvigil")]


def _parser_in(main: Callable[[], object]) -> Parser:
    """Return the parser that the function of a program makes and uses; the function ends there."""
    with mock.patch.object(Parser, "parse_args", autospec=True, side_effect=_Parsed) as parse, suppress(_Parsed):
        main()
    found: Parser = parse.call_args.args[0]
    return found


def _parser_of_script(path: Path) -> Parser:
    """Return the parser of a script with a function ``main``, whose name needs no suffix."""
    loader = importlib.machinery.SourceFileLoader(path.name, str(path))
    spec = importlib.util.spec_from_loader(path.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict("sys.modules", {path.name: module}):  # where dataclasses look up their types
        loader.exec_module(module)
        return _parser_in(module.main)


def commands(parser: Parser) -> dict[str, tuple[Parser, str]]:
    """Return the commands of a parser by name, each with its parser and its help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            texts = {each.dest: each.help or "" for each in action._choices_actions}
            return {name: (command, texts[name]) for name, command in action.choices.items()}
    return {}


def is_command(parser: Parser) -> bool:
    """Return whether a parser is a command itself, also without one of the commands below it."""
    return not any(isinstance(action, argparse._SubParsersAction) and action.required for action in parser._actions)


def synopsis(parser: Parser, elsewhere: Collection[Entry] = ()) -> list[str]:
    """Return how a command is called; for options that are explained ``elsewhere`` it has one word."""
    program, *command = parser.prog.split()
    options, elided = [], False
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._VersionAction) or not action.option_strings:
            continue
        if _entry(action) in elsewhere:
            elided = True
        else:
            option = _option(action, action.option_strings[-1])
            options.append(option if action.required else f"[{option}]")
    arguments = [
        _argument(action)
        for action in parser._actions
        if not action.option_strings and (action.required or action.nargs == "*")
    ]
    common = [f"[{italic('OPTION')}\\~...]\\&"] if elided else []
    return [f".SY {program}", *map(bold, command), *common, *options, *arguments, ".YS", ".nh"]


def entries(parser: Parser) -> dict[Entry, str]:
    """Return the explained arguments and options, each with the heading of its group, which is empty for most."""
    found = {}
    for action in parser._actions:
        if not action.option_strings and not isinstance(action, argparse._SubParsersAction):
            found[_entry(action)] = ""
    for action in parser._optionals._group_actions:
        found[_entry(action)] = ""
    for group in parser._action_groups:
        if group.description:
            heading = f'.SS "{str(group.title).capitalize()}"\n{sentence(group.description)}'
            found |= {_entry(action): heading for action in group._group_actions}
    return found


def shown(found: dict[Entry, str]) -> Iterator[str]:
    """Yield the lines of entries, with the headings between them."""
    last = ""
    for entry, heading in found.items():
        yield from [] if heading == last else heading.split("\n")
        yield from entry
        last = heading


def _entry(action: argparse.Action) -> Entry:
    if not action.help:
        raise ValueError(f"{action.option_strings or action.dest} has no help")
    names = [_option(action, name) for name in action.option_strings] or [italic(str(action.metavar or action.dest))]
    return tuple(term(", ".join(names), lines(sentence(action.help % {**vars(action), "prog": ""}))))


def _option(action: argparse.Action, name: str) -> str:
    if action.nargs == 0:
        return bold(name)
    if action.choices and not action.metavar:
        return f"{bold(name)}\\~{'|'.join(bold(str(each)) for each in action.choices)}"
    return f"{bold(name)}\\~{italic(str(action.metavar or action.dest.upper()))}"


def _argument(action: argparse.Action) -> str:
    name = italic(str(action.metavar or action.dest))
    if isinstance(action, argparse._SubParsersAction):
        return f"{name}\\~...\\&"
    return {"+": f"{name}\\~...\\&", "*": f"[{name}\\~...]\\&"}.get(str(action.nargs), name)
