"""The names of a log's fields, which are options of Zeek, and Zeek's own names for them."""

from collections.abc import Collection, Mapping
from typing import Any, Final

_CONNECTION: Final = ("orig_h", "orig_p", "resp_h", "resp_p")
_MAX_DEPTH: Final = 5


def stock_names(fields: Collection[str], renamed: Mapping[str, str]) -> dict[str, str]:
    """Return Zeek's own name for each of ``fields`` that has another name in the log.

    ``renamed`` maps Zeek's names to the log's, as ``Log::default_field_name_map`` does. The separator that
    ``Log::default_scope_sep`` puts between ``id`` and ``orig_h`` is taken from the names themselves.
    """
    found = {log: zeek for zeek, log in renamed.items() if log in fields and zeek not in fields}
    for name in fields:
        separator = name[len("id") : -len("orig_h")]
        if name != f"id{separator}orig_h" or separator == "." or f"id{separator}resp_h" not in fields:
            continue
        for part in _CONNECTION:
            if f"id{separator}{part}" in fields and f"id.{part}" not in fields:
                found.setdefault(f"id{separator}{part}", f"id.{part}")
    return found


def in_stock_names(record: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """Return a record of JSON, its nested objects with dotted names, under Zeek's own names."""
    flat = dict(_flat(record, "", _MAX_DEPTH))
    names = stock_names(flat, renamed)
    return {names.get(name, name): value for name, value in flat.items()}


def _flat(record: Mapping[str, Any], above: str, depth: int) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in record.items():
        if isinstance(value, dict) and depth:
            found += _flat(value, f"{above}{name}.", depth - 1)
        else:
            found.append((above + name, value))
    return found
