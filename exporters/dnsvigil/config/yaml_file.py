"""YAML files read into dataclasses; a mistake is reported with its file, line and key.

The fields of a dataclass are the keys of a YAML mapping. A field's type is the expected one:
``str``, ``int``, ``float``, ``bool``, ``X | None``, ``list[X]``, ``dict[str, X]``, ``Literal[...]``,
another dataclass, or any class with a ``parse(text)`` class method that raises ``ValueError``. A dataclass with
such a method may be written as a mapping or as one scalar.
A dataclass checks itself in ``__post_init__`` by raising :class:`Invalid`.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml

from dnsvigil.system.files import read_file

T = TypeVar("T")

_MAX_BYTES = 16 << 20

_WRONG: typing.Final = object()  # in place of a value that is a mistake

_NULL = "tag:yaml.org,2002:null"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")


class ConfigError(Exception):
    """A mistake in a configuration file; its text names the file, the line, the key and what is expected."""

    def __init__(self, path: Path, line: int | None, key: str, message: str) -> None:
        where = f"{path}:{line}" if line else str(path)
        super().__init__(f"{where}: {key}: {message}" if key else f"{where}: {message}")
        self.line = line
        self.mistakes: Sequence[ConfigError] = [self]


class ConfigErrors(ConfigError):
    """Several mistakes in a configuration file; its text has a line for each."""

    def __init__(self, mistakes: Sequence[ConfigError]) -> None:
        Exception.__init__(self, "\n".join(map(str, mistakes)))
        self.mistakes = mistakes


class Invalid(ValueError):
    """Raised by a dataclass's ``__post_init__``: ``key`` is the field that is wrong."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class Scalar(Protocol):
    """A type that reads itself from the text of one YAML scalar."""

    @classmethod
    def parse(cls, text: str) -> Any:
        """Return the value, or raise ``ValueError`` with what is expected."""


def load(path: Path, into: type[T]) -> T:
    """Read ``path`` as one ``into``; an empty file gives its defaults.

    Raises :class:`ConfigError` for anything wrong, an unreadable file included; it names all mistakes.
    """
    loaded = examine(path, into)
    if len(loaded.mistakes) > 1:
        raise ConfigErrors(loaded.mistakes)
    if loaded.mistakes or loaded.value is None:
        raise loaded.mistakes[0]
    return loaded.value


@dataclasses.dataclass(frozen=True)
class Loaded(typing.Generic[T]):
    """What a file holds."""

    value: T | None  # with defaults instead of what is wrong; None where that cannot be
    mistakes: list[ConfigError]  # in the order of lines
    lines: dict[str, int]  # by key


def examine(path: Path, into: type[T]) -> Loaded[T]:
    """Read ``path`` as :func:`load` does, and return the mistakes. Raises :class:`ConfigError` where it is no YAML."""
    try:
        text = read_file(path, _MAX_BYTES).decode("utf-8")
    except OSError as error:
        raise ConfigError(path, None, "", f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        at = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(path, None, "", f"cannot be read: line {at} is not UTF-8") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        at = text.count("\n", 0, error.position) + 1
        raise ConfigError(path, at, "", f"not valid YAML: {error.reason}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise ConfigError(path, line, "", f"not valid YAML: {problem}") from error
    except RecursionError:
        raise ConfigError(path, None, "", "lists and mappings are too deep within each other") from None
    if node is None or node.tag == _NULL:
        node = yaml.MappingNode("tag:yaml.org,2002:map", [])
    reader = _Reader(path)
    value = reader.try_value(node, into, "")
    mistakes = sorted(reader.mistakes, key=lambda mistake: mistake.line or 0)
    return Loaded(None if value is _WRONG else value, mistakes, reader.lines)


def load_given(path: Path | None, usual: Path, into: type[T]) -> T:
    """Read ``path``; with None the ``usual`` file if there is one, else return the defaults of ``into``.

    Raises :class:`ConfigError` for any mistake.
    """
    if path is None and not usual.exists():
        return into()
    return load(path or usual, into)


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.mistakes: list[ConfigError] = []
        self.lines: dict[str, int] = {}

    def try_value(self, node: yaml.Node, kind: Any, key: str) -> Any:
        """Return the value; ``_WRONG`` where there is none, and the mistake is noted."""
        if node.start_mark:
            self.lines[key] = node.start_mark.line + 1
        try:
            return self.value(node, kind, key)
        except ConfigError as error:
            self.mistakes.append(error)
            return _WRONG

    def fail(self, node: yaml.Node, key: str, message: str) -> ConfigError:
        line = node.start_mark.line + 1 if node.start_mark else None
        return ConfigError(self.path, line, key, message)

    def value(self, node: yaml.Node, kind: Any, key: str) -> Any:
        origin = typing.get_origin(kind)
        if origin in (types.UnionType, typing.Union):
            return self.optional(node, kind, key)
        if origin is list:
            if not isinstance(node, yaml.SequenceNode):
                raise self.fail(node, key, f"expected a list, found {_found(node)}")
            (item,) = typing.get_args(kind)
            values = [self.try_value(child, item, f"{key}[{i}]") for i, child in enumerate(node.value)]
            return [value for value in values if value is not _WRONG]
        if origin is dict:
            _, item = typing.get_args(kind)
            pairs = self.mapping(node, key)
            found = {name: self.try_value(child, item, _join(key, name)) for name, _, child in pairs}
            return {name: value for name, value in found.items() if value is not _WRONG}
        if dataclasses.is_dataclass(kind) and not (hasattr(kind, "parse") and isinstance(node, yaml.ScalarNode)):
            return self.dataclass(node, kind, key)
        return self.scalar(node, kind, key)

    def optional(self, node: yaml.Node, kind: Any, key: str) -> Any:
        if node.tag == _NULL:
            return None
        (inner,) = (arg for arg in typing.get_args(kind) if arg is not types.NoneType)
        return self.value(node, inner, key)

    def mapping(self, node: yaml.Node, key: str) -> Iterable[tuple[str, yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, key, f"expected a mapping of keys to values, found {_found(node)}")
        seen: set[str] = set()
        for name, child in node.value:
            if not isinstance(name, yaml.ScalarNode):
                self.mistakes.append(self.fail(name, key, f"expected a plain key, found {_found(name)}"))
                continue
            if name.value in seen:
                self.mistakes.append(self.fail(name, _join(key, name.value), "given twice"))
                continue
            seen.add(name.value)
            yield name.value, name, child

    def dataclass(self, node: yaml.Node, kind: Any, key: str) -> Any:
        fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
        hints = typing.get_type_hints(kind)
        values: dict[str, Any] = {}
        nodes: dict[str, yaml.Node] = {}
        for name, name_node, child in self.mapping(node, key):
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                hint = f", did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(fields)}"
                self.mistakes.append(self.fail(name_node, _join(key, name), f"unknown key{hint}"))
                continue
            nodes[name] = child
            values[name] = self.try_value(child, hints[name], _join(key, name))
        for field in fields.values():
            required = _is_required(field)
            if required and field.name not in values:
                raise self.fail(node, _join(key, field.name), "missing, and has no default")
            if required and values[field.name] is _WRONG:
                return _WRONG
        right = {name: value for name, value in values.items() if value is not _WRONG}
        try:
            return kind(**right)
        except Invalid as error:
            needed = {name: right[name] for name, field in fields.items() if _is_required(field)}
            alone = {name: _invalid(kind, needed | {name: right[name]}, name) for name in right if name not in needed}
            # Where a value is wrong beside others only, all of these may be wrong for the one reason.
            found = alone if alone.get(error.key) == str(error) else {error.key: str(error)}
            for name, text in found.items():
                if text:
                    self.mistakes.append(self.fail(nodes.get(name, node), _join(key, name), text))
            good = {name: value for name, value in right.items() if not found.get(name)}
            return kind(**good) if needed.keys() <= good.keys() and not _invalid(kind, good) else _WRONG

    def scalar(self, node: yaml.Node, kind: Any, key: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            raise self.fail(node, key, f"expected {_name(kind)}, found {_found(node)}")
        if typing.get_origin(kind) is typing.Literal:
            allowed = typing.get_args(kind)
            if node.value not in allowed:
                raise self.fail(node, key, f"expected one of {', '.join(map(str, allowed))}, found {node.value!r}")
            return node.value
        if hasattr(kind, "parse"):
            try:
                return kind.parse(node.value)
            except (ValueError, ArithmeticError) as error:
                raise self.fail(node, key, f"{error}, found {node.value!r}") from error
        if kind in (str, Path):
            if node.tag == _NULL or (kind is Path and not node.value):
                raise self.fail(node, key, f"expected {_name(kind)}, found nothing")
            if kind is Path and "://" in node.value:
                raise self.fail(node, key, f"expected a path of this machine, found the URI {node.value!r}")
            return kind(node.value)
        found: Any = node.value
        if node.tag in _NUMBERS:
            with suppress(ValueError, KeyError):  # a tag can be given to any text
                found = yaml.SafeLoader("").construct_object(node)
        if kind is float and isinstance(found, int) and not isinstance(found, bool):
            found = float(found)
        if type(found) is not kind:
            raise self.fail(node, key, f"expected {_name(kind)}, found {node.value!r}")
        return found


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _invalid(kind: Any, values: dict[str, Any], key: str = "") -> str:
    """Return what a dataclass finds wrong in these values, or in that of one key; nothing where that is right."""
    try:
        kind(**values)
    except Invalid as error:
        return str(error) if error.key == key or not key else ""
    return ""


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _name(kind: Any) -> str:
    names = {str: "text", Path: "a path", int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(kind, getattr(kind, "__name__", str(kind)).lower())


def _found(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return repr(node.value) if node.value else "nothing"
