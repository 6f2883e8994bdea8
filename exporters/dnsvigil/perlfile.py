"""The assignments of a configuration file that is Perl, read without running it.

Understood is what such files are made of: scalars, arrays and hashes of literals, nested as may be, with all of
Perl's quotes, here-documents, comments and plain-old-documentation, variables within strings, strings joined with
``.``, elements set one by one, and ``push``. What only Perl could tell, the value of a function say, is
:data:`UNKNOWN`, and so is each variable that other statements may set; nothing is guessed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias


class Unknown:
    """A value that only Perl could tell."""


UNKNOWN: Final = Unknown()

Value: TypeAlias = "str | Unknown | list[Node] | dict[str, Node] | None"


@dataclass(frozen=True)
class Node:
    """A value, ``None`` where it is undefined, and the line on which it is written, or ``None`` where on none."""

    value: Value
    line: int | None


class PerlError(Exception):
    """What makes the rest of the file unreadable, and on which line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read_assignments(text: str, preset: Mapping[str, str | None]) -> dict[str, Node]:
    """Return the last value of each variable by its name with the sigil, ``$PREFIX`` or ``%PluginConf``.

    ``preset`` holds what the scalars are before. Raises :class:`PerlError` where a quote or bracket has no end.
    """
    reader = _Reader(list(_tokens(text)), {name: Node(value, None) for name, value in preset.items()})
    reader.read()
    return reader.variables


@dataclass(frozen=True)
class _Token:
    kind: (
        str  # variable, number, word, mark, end; of quotes: plain, double, here, list (qw), edit (s, tr), code (others)
    )
    text: str
    line: int


_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z_]\w*(?:::\w+)*")
_VARIABLE = re.compile(rf"([$@%])(?:\{{\s*({_NAME.pattern})\s*\}}|({_NAME.pattern}))")
_NUMBER = re.compile(r"0[xX][\da-fA-F_]+|0[bB][01_]+|(?:\d[\d_]*)?\.?\d[\d_]*(?:[eE][+-]?\d+)?")
_HEREDOC = re.compile(r"<<(~?)(?:\"([^\"\n]*)\"|'([^'\n]*)'|([A-Za-z_]\w*))")
_MARK = re.compile(r"=>|->|\+\+|--|=~|!~|==|!=|<=|>=|(?:\*\*|\|\||&&|//|[-+*/.|&x])=(?!=)|&&|\|\||::|.", re.DOTALL)
_POD = re.compile(r"^=[A-Za-z].*?(?:^=cut\b.*?$|\Z)", re.DOTALL | re.MULTILINE)
_BRACKETS = {"(": ")", "[": "]", "{": "}", "<": ">"}
_QUOTES = {
    "q": "plain",
    "qq": "double",
    "qw": "list",
    "qr": "code",
    "m": "code",
    "qx": "code",
    "s": "edit",
    "tr": "edit",
    "y": "edit",
}
_CHANGING = {"push", "unshift", "splice", "pop", "shift", "delete", "\\"}
_ASSIGNMENTS = ("=", ".=", "||=", "//=", "&&=", "+=", "-=", "*=", "/=", "x=", "|=", "&=", "**=")


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    after_line: dict[int, int] = {}  # where a line with here-documents ends, to where the last of these ends
    last = _Token("mark", ";", 1)
    while at < len(text):
        line = text.count("\n", 0, at) + 1
        character = text[at]
        if character == "\n":
            at = after_line.pop(at, at + 1)
            continue
        if character.isspace():
            at += 1
            continue
        if character == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        if character == "=" and (at == 0 or text[at - 1] == "\n") and (pod := _POD.match(text, at)):
            at = pod.end()
            continue
        operand = last.kind != "mark" or last.text in {")", "]", "}"}
        if (heredoc := _HEREDOC.match(text, at)) and not operand:
            indented, double, single, bare = heredoc.groups()
            word = next(part for part in (double, single, bare) if part is not None)
            end_of_line = text.find("\n", at)
            begin = after_line.get(end_of_line, end_of_line + 1)
            blanks = r"[ \t]*" if indented else ""
            close = re.compile(rf"^{blanks}{re.escape(word)}$", re.MULTILINE)
            if end_of_line < 0 or not (terminator := close.search(text, begin)):
                raise PerlError(line, f"the text that <<{word} begins has no end")
            body = text[begin : terminator.start()]
            token = _Token("here" if single is None else "plain", _without_indent(body) if indented else body, line)
            after_line[end_of_line] = terminator.end() + 1
            at = heredoc.end()
        elif (variable := _VARIABLE.match(text, at)) and not (character == "%" and operand and last.text != "}"):
            token = _Token("variable", variable[1] + (variable[2] or variable[3]), line)
            at = variable.end()
        elif character in "'\"`" or (character == "/" and not operand):
            body, at = _quoted(text, at, line)
            kind = {"'": "plain", '"': "double"}.get(character, "code")
            token = _Token(kind, _unescaped(body, character) if kind == "plain" else body, line)
        elif name := _NAME.match(text, at):
            if name[0] in {"__END__", "__DATA__"}:
                break
            quote = _quote_after(text, name, last)
            if quote is None:
                token = _Token("word", name[0], line)
                at = name.end()
            else:
                kind = _QUOTES[name[0]]
                body, at = _quoted(text, quote, line)
                if kind == "edit":
                    second = _SPACE.match(text, at).end() if text[quote] in _BRACKETS else at - 1  # type: ignore[union-attr]
                    _, at = _quoted(text, second, line)
                token = _Token(kind, _unescaped(body, text[quote]) if kind == "plain" else body, line)
        elif (number := _NUMBER.match(text, at)) and not (character == "." and operand):
            token = _Token("number", number[0], line)
            at = number.end()
        else:
            token = _Token("mark", _MARK.match(text, at)[0], line)  # type: ignore[index]
            at += len(token.text)
        last = token
        yield token
    yield _Token("end", "", text.count("\n") + 1)


def _quote_after(text: str, name: re.Match[str], last: _Token) -> int | None:
    """Return where the delimiter of a quoting operator is, or ``None`` where this word is only a word."""
    if name[0] not in _QUOTES:
        return None
    if last.text == "->" or (last.text == "{" and text[name.end() : name.end() + 1] == "}"):
        return None
    at = _SPACE.match(text, name.end()).end()  # type: ignore[union-attr]
    if at >= len(text) or text.startswith("=>", at) or text[at] in ",;)]}":
        return None
    # A letter can only be a delimiter, and # no comment, where nothing is in between.
    if (text[at].isalnum() or text[at] == "_") or (text[at] == "#" and at > name.end()):
        return None
    return None if text[at] == "=" else at


def _quoted(text: str, at: int, line: int) -> tuple[str, int]:
    """Return what is between the delimiter at ``at`` and its counterpart, and where that ends."""
    opening = text[at]
    closing = _BRACKETS.get(opening, opening)
    depth = 1
    end = at + 1
    while end < len(text):
        if text[end] == "\\":
            end += 1
        elif text[end] == closing:
            depth -= 1
            if depth == 0:
                return text[at + 1 : end], end + 1
        elif text[end] == opening:
            depth += 1
        end += 1
    raise PerlError(line, f"the {opening} here has no {closing} that ends it")


def _unescaped(body: str, opening: str) -> str:
    return re.sub(rf"\\([\\{re.escape(opening + _BRACKETS.get(opening, ''))}])", r"\1", body)


def _without_indent(body: str) -> str:
    lines = body.split("\n")
    indent = min((len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()), default=0)
    return "\n".join(line[indent:] for line in lines)


class _Reader:
    """Goes through the statements and keeps what they assign in ``variables``."""

    def __init__(self, tokens: list[_Token], variables: dict[str, Node]) -> None:
        self.variables = variables
        self._tokens = tokens
        self._at = 0

    def read(self) -> None:
        while self._token.kind != "end":
            begin = self._at
            if not self._statement():
                self._at = begin
                self._pass_statement()

    @property
    def _token(self) -> _Token:
        return self._tokens[self._at]

    def _is(self, *marks: str) -> bool:
        return self._token.kind == "mark" and self._token.text in marks

    def _take(self, *marks: str) -> bool:
        taken = self._is(*marks)
        self._at += taken
        return taken

    def _statement(self) -> bool:
        """Read a statement that is understood, and tell whether it was one."""
        if self._take(";"):
            return True
        if self._token.kind == "word" and self._token.text in {"our", "my", "local"}:
            self._at += 1
        if self._token.kind == "word" and self._token.text == "push":
            return self._push()
        if self._token.kind != "variable":
            return False
        variable = self._token
        self._at += 1
        path = self._subscripts()
        if path is None or not self._take("="):
            return False
        if path:
            return variable.text[0] == "$" and self._set_element(variable, path)
        values = self._expression()
        if not self._ends():
            return False
        made: Value = (
            values if variable.text[0] == "@" else _hash(values) if variable.text[0] == "%" else _scalar(values)
        )
        self.variables[variable.text] = Node(made, variable.line)
        return True

    def _ends(self) -> bool:
        return self._take(";") or self._token.kind == "end"

    def _push(self) -> bool:
        self._at += 1
        bracket = self._take("(")
        variable = self._token
        self._at += 1
        if variable.kind != "variable" or variable.text[0] != "@" or not self._take(","):
            return False
        added = self._list(")" if bracket else ";")
        if bracket and not self._take(")"):
            return False
        old = self.variables.get(variable.text, Node([], None))
        if not self._ends() or not isinstance(old.value, list):
            return False
        self.variables[variable.text] = Node([*old.value, *added], old.line or variable.line)
        return True

    def _subscripts(self) -> list[str] | None:
        """Read ``{key}{key}``; ``None`` where a subscript is not a literal."""
        path = []
        while self._is("{", "->", "["):
            self._take("->")
            if not self._take("{"):
                return None
            key = self._token.text if self._token.kind == "word" else _scalar(self._expression())
            self._at += self._token.kind == "word"
            if not isinstance(key, str) or not self._take("}"):
                return None
            path.append(key)
        return path

    def _set_element(self, variable: _Token, path: list[str]) -> bool:
        values = self._expression()
        if not self._ends():
            return False
        name = "%" + variable.text[1:]
        top = self.variables.get(name, Node({}, variable.line))
        self.variables[name] = _with_element(top, path, Node(_scalar(values), variable.line))
        return True

    def _pass_statement(self) -> None:
        """Pass a statement that is not understood; what it may set is unknown from there."""
        opened: list[int] = []
        while self._token.kind != "end":
            token = self._token
            self._at += 1
            if token.kind == "variable" and self._may_be_set():
                self._forget(token)
            elif token.kind == "mark" and token.text in {"(", "[", "{"}:
                opened.append(self._at - 1)
            elif token.kind == "mark" and token.text in {")", "]", "}"} and opened:
                begin = opened.pop()
                if self._is("="):
                    for listed in self._tokens[begin : self._at]:
                        self._forget(listed)
                if not opened and token.text == "}" and not self._is(";", ",", "=", ".", "->", "[", "{"):
                    return
            elif token.kind == "mark" and token.text == ";" and not opened:
                return
        if opened:
            self._at = opened[-1]
            raise PerlError(self._token.line, f"the {self._token.text} here has no {_BRACKETS[self._token.text]}")

    def _may_be_set(self) -> bool:
        """Tell whether the variable just passed is assigned to, or changed by a function."""
        before = {token.text for token in self._tokens[max(self._at - 3, 0) : self._at - 1]}
        edited = self._is("=~") and self._tokens[self._at + 1].kind == "edit"
        return edited or self._is(*_ASSIGNMENTS, "++", "--", "{", "[", "->") or bool(before & _CHANGING)

    def _forget(self, token: _Token) -> None:
        if token.kind == "variable":
            for sigil in {"$": "$@%"}.get(token.text[0], token.text[0]):
                if sigil == token.text[0] or sigil + token.text[1:] in self.variables:
                    self.variables[sigil + token.text[1:]] = Node(UNKNOWN, token.line)

    # Expressions

    def _expression(self) -> list[Node]:
        """Read a value, or those of a list in parentheses; one that is ``UNKNOWN`` where it is more than literals."""
        line = self._token.line
        values = self._term()
        while self._take("."):
            parts = [_scalar(values), _scalar(self._term())]
            texts = [part or "" for part in parts if isinstance(part, str | None)]
            values = [Node("".join(texts) if len(texts) == 2 else UNKNOWN, line)]
        if self._ended():
            return values
        depth = 0
        while self._token.kind != "end" and (depth or not self._ended()):
            depth += self._is("(", "[", "{") - self._is(")", "]", "}")
            self._at += 1
        return [Node(UNKNOWN, line)]

    def _ended(self) -> bool:
        return self._is(",", "=>", ")", "]", "}", ";") or self._token.kind == "end"

    def _term(self) -> list[Node]:
        token = self._token
        if self._is("("):
            return self._bracketed(")")
        if self._is("["):
            return [Node(self._bracketed("]"), token.line)]
        if self._is("{"):
            return [Node(_hash(self._bracketed("}")), token.line)]
        if self._ended():
            return [Node(UNKNOWN, token.line)]
        self._at += 1
        if token.kind == "mark" and token.text == "-" and self._token.kind in {"number", "word"}:
            self._at += 1
            return [Node("-" + self._tokens[self._at - 1].text, token.line)]
        values = self._literal(token)
        return [Node(value, token.line) for value in values] if isinstance(values, tuple) else values

    def _literal(self, token: _Token) -> tuple[Value, ...] | list[Node]:
        """Return what the token just passed stands for; nodes where these have lines of their own."""
        variable = token.kind == "variable" and not self._is("[", "{", "->")
        if token.kind == "plain" or (token.kind == "word" and self._is("=>")):
            return (token.text,)
        if token.kind in {"double", "here"}:
            return (self._interpolated(token.text),)
        if token.kind == "list":
            return tuple(token.text.split())
        if token.kind == "number":
            return (_number(token.text),)
        if token.kind == "word" and token.text == "undef":
            return (None,)
        if variable and token.text[0] == "$":
            return (self.variables.get(token.text, Node(None, None)).value,)
        if variable and token.text[0] == "@":
            items = self.variables.get(token.text, Node([], None)).value
            return items if isinstance(items, list) else (UNKNOWN,)
        return (UNKNOWN,)

    def _bracketed(self, closing: str) -> list[Node]:
        begin = self._token
        self._at += 1
        items = self._list(closing)
        if not self._take(closing):
            raise PerlError(begin.line, f"the {begin.text} here has no {closing} that ends it")
        return items

    def _list(self, closing: str) -> list[Node]:
        items: list[Node] = []
        while not self._is(closing) and self._token.kind != "end":
            if self._take(",", "=>"):
                continue
            if self._is(")", "]", "}", ";"):
                break
            items += self._expression()
        return items

    def _interpolated(self, text: str) -> Value:
        parts = []
        at = 0
        found = re.compile(r"\\(?:x\{([\da-fA-F]+)\}|(.))|([$@])(?:\{\s*(\w+)\s*\}|(\w+)|(?=\{))", re.DOTALL)
        for part in found.finditer(text):
            parts.append(text[at : part.start()])
            at = part.end()
            code, escaped, sigil, braced, plain = part.groups()
            if code:
                parts.append(chr(int(code, 16)))
            elif escaped is not None:
                if escaped in "xcNULEQulde0" and escaped not in "e":
                    return UNKNOWN
                parts.append({"n": "\n", "t": "\t", "r": "\r", "e": "\x1b", "a": "\a", "f": "\f"}.get(escaped, escaped))
            elif sigil == "@" or not (braced or plain) or text.startswith(("[", "{", "->"), at):
                return UNKNOWN
            else:
                value = self.variables.get(f"${braced or plain}", Node(None, None)).value
                if not isinstance(value, str | None):
                    return UNKNOWN
                parts.append(value or "")
        return "".join([*parts, text[at:]])


def _scalar(values: list[Node]) -> Value:
    return values[-1].value if values else None


def _hash(items: list[Node]) -> Value:
    keys = items[::2]
    if len(items) % 2 or not all(isinstance(key.value, str) for key in keys):
        return UNKNOWN
    return {str(key.value): Node(value.value, key.line) for key, value in zip(keys, items[1::2], strict=True)}


def _with_element(top: Node, path: list[str], value: Node) -> Node:
    if not path:
        return value
    if not isinstance(top.value, dict):
        return Node(UNKNOWN, value.line) if top.value is not None else _with_element(Node({}, value.line), path, value)
    inner = top.value.get(path[0], Node(None, value.line))
    return Node(top.value | {path[0]: _with_element(inner, path[1:], value)}, top.line)


def _number(text: str) -> str:
    plain = text.replace("_", "")
    if re.fullmatch(r"0[0-7]+", plain):
        return str(int(plain, 8))
    if re.fullmatch(r"0[xXbB][\da-fA-F]+|\d+", plain):
        return str(int(plain, 0))
    return f"{float(plain):.15g}"
