"""Internationalized names in Unicode, as far as they cannot pass for others; the A-labels always stand before them."""

from functools import lru_cache
from typing import Final

import idna
from confusable_homoglyphs import categories, confusables

_PREFIX: Final = "xn--"
_EVERYWHERE: Final = {"COMMON", "INHERITED"}
_LATIN: Final = "LATIN"
# Scripts that one word may have at the same time (Unicode Technical Standard 39, Highly Restrictive)
_TOGETHER: Final = (
    {"HAN", "HIRAGANA", "KATAKANA", _LATIN},
    {"HAN", "BOPOMOFO", _LATIN},
    {"HAN", "HANGUL", _LATIN},
)


@lru_cache(maxsize=4096)
def in_unicode(name: str) -> str | None:
    """Return a name with its A-labels in Unicode; None where it has none, or none that is safe to look at."""
    if _PREFIX not in name:
        return None
    shown = ".".join(map(_label, name.split(".")))
    return shown if shown != name else None


def _label(label: str) -> str:
    if not label.startswith(_PREFIX):
        return label
    try:
        decoded = idna.ulabel(label)
    except (idna.IDNAError, UnicodeError):
        return label
    return decoded if decoded.isprintable() and _is_distinct(decoded) else label


def _is_distinct(label: str) -> bool:
    """Return whether a label is of one script, and looks like no label of ASCII letters."""
    scripts = categories.unique_aliases(label) - _EVERYWHERE
    if len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER):
        return False
    letters = {each for each in label if categories.alias(each) not in _EVERYWHERE}
    alike = confusables.is_confusable(label, greedy=True, preferred_aliases=[_LATIN, *_EVERYWHERE]) or []
    return not letters <= {each["character"] for each in alike}
