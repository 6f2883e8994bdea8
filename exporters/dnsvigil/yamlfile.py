"""YAML files read into dataclasses; a mistake is reported with its file, line and key.

The fields of a dataclass are the keys of a YAML mapping. A field's type says what is expected:
``str``, ``int``, ``float``, ``bool``, ``X | None``, ``list[X]``, ``dict[str, X]``, ``Literal[...]``,
another dataclass, or any class with a ``parse(text)`` class method that raises ``ValueError``. A dataclass with
such a method may stand there as a mapping or as one scalar.
A dataclass checks itself in ``__post_init__`` by raising :class:`Invalid`.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml

from dnsvigil.opening import read_file

T = TypeVar("T")

_MAX_BYTES = 16 << 20

_NULL = "tag:yaml.org,2002:null"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")


class ConfigError(Exception):
    """A mistake in a configuration file; its text names the file, the line, the key and what is expected."""

    def __init__(self, path: Path, line: int | None, key: str, message: str) -> None:
        where = f"{path}:{line}" if line else str(path)
        super().__init__(f"{where}: {key}: {message}" if key else f"{where}: {message}")


class Invalid(ValueError):
    """Raised by a dataclass's ``__post_init__``: ``key`` is the field that is wrong."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class Scalar(Protocol):
    """A type that reads itself from the text of one YAML scalar."""

    @classmethod
    def parse(cls, text: str) -> Any:
        """Return the value, or raise ``ValueError`` that says what is expected."""


def load(path: Path, into: type[T]) -> T:
    """Read ``path`` as one ``into``; an empty file gives its defaults.

    Raises :class:`ConfigError` for anything wrong, an unreadable file included.
    """
    try:
        text = read_file(path, _MAX_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, None, "", f"cannot be read: {error}") from error
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
    result: T = _Reader(path).value(node, into, "")
    return result


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
            return [self.value(child, item, f"{key}[{i}]") for i, child in enumerate(node.value)]
        if origin is dict:
            _, item = typing.get_args(kind)
            pairs = self.mapping(node, key)
            return {name: self.value(child, item, _join(key, name)) for name, _, child in pairs}
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
                raise self.fail(name, key, f"expected a plain key, found {_found(name)}")
            if name.value in seen:
                raise self.fail(name, _join(key, name.value), "given twice")
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
                raise self.fail(name_node, _join(key, name), f"unknown key{hint}")
            nodes[name] = child
            values[name] = self.value(child, hints[name], _join(key, name))
        for field in fields.values():
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if required and field.name not in values:
                raise self.fail(node, _join(key, field.name), "missing, and has no default")
        try:
            return kind(**values)
        except Invalid as error:
            at = nodes.get(error.key, node)
            raise self.fail(at, _join(key, error.key), str(error)) from error

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
