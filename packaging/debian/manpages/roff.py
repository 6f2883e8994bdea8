"""Markdown as man(7): paragraphs, code, lists, and lists of terms, whose items begin with code and a colon."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

_WIDTH = 78
_IN_CODE = str.maketrans({"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"})
_MARKS = {"em_open": "\\fI", "em_close": "\\fR", "softbreak": " "}


def code(text: str) -> str:
    """Return text that a reader may copy, so its hyphens and quotes stay what they are."""
    return text.translate(_IN_CODE)


def bold(text: str) -> str:
    """Return code in bold."""
    return f"\\fB{code(text)}\\fR"


def italic(text: str) -> str:
    """Return code in italics, for what stands for another word."""
    return f"\\fI{code(text)}\\fR"


def prose(text: str) -> str:
    """Return text of a sentence; options, paths and file names in it are code."""
    return " ".join(code(word) if re.search(r"(^|\W)--?\w|/|\\|\w[._]\w", word) else word for word in text.split(" "))


def sentence(text: str) -> str:
    """Return a help text as a sentence."""
    first = text.split(" ", 1)[0]
    text = text[0].upper() + text[1:] if first.isalpha() or "'" in first else text
    return prose(text if text.endswith(".") else f"{text}.")


def lines(text: str) -> list[str]:
    """Return lines of running text, none of them a request."""
    wrapped = textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return [f"\\&{line}" if line.startswith((".", "'")) else line for line in wrapped]


def term(name: str, meaning: Iterable[str]) -> list[str]:
    """Return a term in the source of man(7), and the lines that explain it."""
    return [".TP", name, *meaning]


def blocks(markdown: str) -> list[str]:
    """Return the lines of man(7) for Markdown; headings become sections and their parts."""
    return list(_blocks(MarkdownIt("commonmark").parse(markdown)))


def _blocks(tokens: Sequence[Token]) -> Iterator[str]:
    after_heading = True
    at = 0
    while at < len(tokens):
        token = tokens[at]
        end = at if token.nesting == 0 else _end(tokens, at)
        inside = tokens[at + 1 : end]
        if token.type == "heading_open":
            heading = inline(inside[0])
            yield f'.SH "{heading.upper()}"' if token.tag == "h1" else f'.SS "{heading}"'
        elif token.type == "paragraph_open":
            yield from [] if after_heading else [".PP"]
            yield from lines(inline(inside[0]))
        elif token.type in ("fence", "code_block"):
            yield from [] if after_heading else [".PP"]
            yield from [".RS 4", ".EX", *map(_code_line, token.content.rstrip("\n").split("\n")), ".EE", ".RE"]
        elif token.type == "bullet_list_open":
            yield from _items(inside)
        else:
            raise ValueError(f"{token.type} has no form in a manual page yet")
        after_heading = token.type == "heading_open"
        at = end + 1


def _items(tokens: Sequence[Token]) -> Iterator[str]:
    at = 0
    while at < len(tokens):
        end = _end(tokens, at)
        (paragraph,) = (token for token in tokens[at:end] if token.type == "inline")
        first, *rest = paragraph.children or []
        if first.type == "code_inline" and rest and rest[0].content.startswith(": "):
            yield from term(bold(first.content), lines(_text(rest).removeprefix(": ")))
        else:
            yield from (".IP \\(bu 2", *lines(inline(paragraph)))
        at = end + 1


def inline(token: Token) -> str:
    """Return the text of a paragraph, a heading or a cell, with its fonts."""
    return _text(token.children or [])


def inline_of(markdown: str) -> str:
    """Return Markdown of one paragraph as text with fonts."""
    return inline(MarkdownIt("commonmark").parseInline(markdown)[0])


def _text(tokens: Iterable[Token]) -> str:
    found, target, strong = "", "", False
    for token in tokens:
        if token.type.startswith("strong_"):
            strong = token.nesting == 1
        elif token.type == "code_inline" or (token.type == "text" and strong):
            found += bold(token.content)
        elif token.type == "link_open":
            target = str(token.attrs["href"]).partition("#")[0]
        elif token.type == "link_close":
            found += f" ({bold(target)})" if target else ""
            target = ""
        elif token.type == "text" and target.endswith(f"/{token.content}"):
            found += bold(target)
            target = ""
        elif token.type == "text":
            found += prose(token.content)
        else:
            found += _MARKS[token.type]
    return found


def _code_line(text: str) -> str:
    line = code(text)
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _end(tokens: Sequence[Token], at: int) -> int:
    """Return where what opens at a token is closed."""
    depth = 0
    for number in range(at, len(tokens)):
        depth += tokens[number].nesting
        if depth == 0:
            return number
    raise ValueError("a token that is not closed")
