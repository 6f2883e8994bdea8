"""Writes the manual pages of all commands and configuration files: ``python3 packaging/debian/manpages DIR``.

Options, keys, types and defaults come from the code that defines them, what keys mean from the tables in ``docs/``.
``pages/`` has what a person has to say beside them: a Markdown file for each page.
"""

import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "exporters"))

from configuration import around_keys, keys  # noqa: E402 (where to find it is said above)
from parsers import Entry, Parser, commands, entries, is_command, programs, shown, synopsis  # noqa: E402
from roff import blocks, bold, lines, sentence, term  # noqa: E402

from dnsvigil import __version__  # noqa: E402
from dnsvigil.config import collector  # noqa: E402
from dnsvigil.resolver import config as resolver  # noqa: E402

PAGES = Path(__file__).with_name("pages")

EXIT_STATUS = "# EXIT STATUS\n\n- `0`: Success.\n- `1`: Failure.\n- `2`: Wrong usage or configuration."


def main(folder: Path) -> None:
    """Write all pages into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in pages():
        name, _, section = file.rpartition(".")
        words = (name.upper(), section, _date(), f"dnsvigil {__version__}", "dnsvigil")
        heading = " ".join(f'"{word}"' for word in words)
        (folder / file).write_text("\n".join([f".TH {heading}", ".nh", ".ad l", *content, ""]), encoding="utf-8")


def pages() -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each page, such as ``dnsvigil.1``, and its lines."""
    dnsvigil, *others = programs()
    own = commands(dnsvigil)
    listed = [term(f"{bold(f'dnsvigil-{name}')}(1)", lines(sentence(text))) for name, (_, text) in own.items()]
    parts = synopsis(dnsvigil), [*shown(entries(dnsvigil))], [*chain(*listed)]
    yield "dnsvigil.1", _page("dnsvigil", _phrase(dnsvigil.description), *parts)
    for name, (command, text) in own.items():
        yield f"dnsvigil-{name}.1", _page(f"dnsvigil-{name}", text, *command_parts(command))
    for parser in others:
        yield f"{parser.prog}.1", _page(parser.prog, _phrase(parser.description), *command_parts(parser))
    yield "check-nfsen.1", blocks((PAGES / "check-nfsen.md").read_text(encoding="utf-8"))
    for file, program, path, documentation, config in (
        ("dnsvigil.yml", "dnsvigil", collector.DEFAULT_PATH, "configuration.md", collector.Config),
        ("dnsvigil-resolver.yml", others[0].prog, resolver.DEFAULT_PATH, "resolver-exporter.md", resolver.Config),
    ):
        page = (ROOT / "docs" / documentation).read_text(encoding="utf-8")
        yield f"{file}.5", file_page(file, program, path, page, config)


def command_parts(parser: Parser) -> tuple[list[str], list[str], list[str]]:
    """Return synopsis, options and commands of a parser; an option of all its commands is explained once."""
    inner = commands(parser)
    below = [entries(command) for command, _ in inner.values()]
    own = entries(parser)
    own |= {entry: heading for each in below for entry, heading in each.items() if heading or _in_all(entry, below)}
    usage = synopsis(parser, {entry for entry, heading in own.items() if heading}) if is_command(parser) else []
    explained: list[str] = []
    for (command, text), each in zip(inner.values(), below, strict=True):
        usage += synopsis(command, own)
        explained += [f'.SS "{command.prog}"', *lines(sentence(text))]
        explained += shown({entry: heading for entry, heading in each.items() if entry not in own})
    before = (
        "The options of **dnsvigil**(1), such as `--config`, stand before the command." if " " in parser.prog else ""
    )
    return usage, [*blocks(before), *shown(own)], explained


def _in_all(entry: Entry, below: list[dict[Entry, str]]) -> bool:
    """Return whether all commands have this option; arguments, in italics, are each command's own."""
    return entry[1].startswith("\\fB") and all(entry in each for each in below)


def _page(name: str, summary: str, usage: list[str], options: list[str], below: list[str]) -> list[str]:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    description, _, rest = text.partition("\n# ")
    found = [".SH NAME", f"{name} \\- {summary}", ".SH SYNOPSIS", *usage]
    found += [".SH DESCRIPTION", *blocks(description), ".SH OPTIONS", *options]
    found += [".SH COMMANDS", *below] if below else []
    found += [] if "# EXIT STATUS" in text else blocks(EXIT_STATUS)
    return found + blocks(f"# {rest}")


def file_page(name: str, program: str, path: Path, documentation: str, config: type) -> list[str]:
    """Return the page of a configuration file, from its page in ``docs/``."""
    documentation = re.sub(r"\]\((?=[\w/-]+\.md)", f"](/usr/share/doc/{program}/", documentation)
    description, sections = around_keys(documentation)
    found = [".SH NAME", f"{name} \\- configuration of {program}", ".SH SYNOPSIS", bold(str(path))]
    found += [".SH DESCRIPTION", *blocks(description), ".SH KEYS", *keys(documentation, config)]
    return found + blocks(sections) + blocks((PAGES / f"{name}.md").read_text(encoding="utf-8"))


def _phrase(text: str | None) -> str:
    """Return a description as the summary of a page: what comes before a colon, and no sentence."""
    summary = (text or "").partition(":")[0].rstrip(".")
    return summary[0].lower() + summary[1:]


def _date() -> str:
    stamp = os.environ.get("SOURCE_DATE_EPOCH")
    return f"{datetime.fromtimestamp(int(stamp), UTC) if stamp else datetime.now(UTC):%Y-%m-%d}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 packaging/debian/manpages DIR")
    main(Path(sys.argv[1]))
