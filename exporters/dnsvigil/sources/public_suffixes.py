"""The rules of the Public Suffix List (publicsuffix.org/list), from the copy that tldextract brings."""

from functools import cache
from typing import Final

from dnsvigil.sources.package_data import package_folder

_KINDS: Final = {"*": "wildcard", "!": "exception"}


@cache
def public_suffixes() -> list[tuple[str, str]]:
    """Return each rule's labels, without ``*.`` or ``!``, with its kind: normal, wildcard or exception.

    Labels that are not ASCII are in their A-label form (xn--), as on the wire.
    """
    text = (package_folder("tldextract") / ".tld_set_snapshot").read_text(encoding="utf-8")
    rules = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("//")]
    return [(_a_labels(rule.lstrip("*!").removeprefix(".")), _KINDS.get(rule[0], "normal")) for rule in rules]


@cache
def _kinds() -> dict[str, str]:
    return dict(public_suffixes())


def registered_domain(name: str) -> str | None:
    """Return the public suffix of a name and one label more; None for a name that is a public suffix, or below none.

    The name is in lower case, without a final dot. The algorithm is that of publicsuffix.org/list.
    """
    labels = name.split(".")
    for start in range(len(labels)):
        kind = _kinds().get(".".join(labels[start:]))
        if kind is None or (kind == "wildcard" and not start):
            continue
        first = start - {"normal": 1, "wildcard": 2, "exception": 0}[kind]
        return ".".join(labels[first:]) if first >= 0 else None
    return None


def domain_of(name: str) -> str:
    """Return the registered domain of a name as features have it.

    A public suffix stands for itself; where no rule matches, the last label is taken for one.
    """
    if found := registered_domain(name):
        return found
    return name if name.rpartition(".")[2] in top_levels() else ".".join(name.split(".")[-2:])


@cache
def top_levels() -> frozenset[str]:
    """Return the top-level domains that have rules, which are all of the root zone's."""
    return frozenset(name.rpartition(".")[2] for name, _ in public_suffixes())


def _a_labels(name: str) -> str:
    return name if name.isascii() else name.encode("idna").decode()


def ambiguous_suffixes() -> set[str]:
    """Return the last two labels (one, for ``*.tld``) of all names whose last two labels leave the domain open."""
    ambiguous = set()
    for name, kind in public_suffixes():
        labels = name.split(".")
        if len(labels) > 1 or kind == "wildcard":
            ambiguous.add(".".join(labels[-2:]))
    return ambiguous
