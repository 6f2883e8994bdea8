"""The header of a TSV log: the ``#`` lines above its records."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

from dnsvigil.sources.logs import log_type_of
from dnsvigil.sources.zeek.field_names import stock_names
from dnsvigil.sources.zeek.log_types import LogType
from dnsvigil.sources.zeek.options import STOCK, LogOptions


@dataclass(frozen=True)
class Header:
    """How the records below are to be read."""

    text: bytes
    separator: str
    set_separator: str
    empty: str
    unset: str
    path: str
    fields: tuple[str, ...]

    @classmethod
    def parse(cls, text: bytes, options: LogOptions = STOCK) -> Self | None:
        """Return the header in ``text`` (whole ``#`` lines); None where no records can be read with it."""
        separator = "\t"
        values: dict[str, list[str]] = {}
        for whole in text.decode("utf-8", "replace").split("\n"):
            line = whole.removesuffix("\r")
            if line.startswith("#separator "):
                escaped = line.removeprefix("#separator ").encode("latin-1", "replace")
                separator = escaped.decode("unicode_escape", "replace")
                if len(separator) != 1:
                    return None
                continue
            name, *rest = line.removeprefix("#").split(separator)
            values[name] = rest
        fields = values.get("fields", [])
        unset = (values.get("unset_field") or ["-"])[0]
        words = [unset, *values.get("set_separator", []), *values.get("empty_field", [])]
        if not fields or separator in "\0\r" or separator in unset or any("\0" in each for each in words):
            return None
        names = stock_names(fields, options.renamed)
        return cls(
            text=text,
            separator=separator,
            set_separator=(values.get("set_separator") or [","])[0],
            empty=(values.get("empty_field") or ["(empty)"])[0],
            unset=unset,
            path=(values.get("path") or [""])[0],
            fields=tuple(names.get(name, name) for name in fields),
        )

    @cached_property
    def log_type(self) -> LogType | None:
        """The log that the records below belong to; None for a log that is not read."""
        return log_type_of(self.path, self.fields)
