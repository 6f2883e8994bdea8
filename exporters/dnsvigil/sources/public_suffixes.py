"""The rules of the Public Suffix List (publicsuffix.org/list), from the copy that tldextract brings."""

from functools import cache

import tldextract


@cache
def public_suffixes() -> list[tuple[str, str]]:
    """Return each rule's labels, without ``*.`` or ``!``, with its kind: normal, wildcard or exception.

    Labels that are not ASCII are in their A-label form (xn--), as on the wire.
    """
    extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)
    kinds = {"*": "wildcard", "!": "exception"}
    rules = ((rule, kinds.get(rule[0], "normal")) for rule in extract.tlds)
    return [(rule.lstrip("*!").removeprefix(".").encode("idna").decode(), kind) for rule, kind in rules]


def ambiguous_suffixes() -> set[str]:
    """Return the last two labels (one, for ``*.tld``) of all names whose last two labels leave the domain open."""
    ambiguous = set()
    for name, kind in public_suffixes():
        labels = name.split(".")
        if len(labels) > 1 or kind == "wildcard":
            ambiguous.add(".".join(labels[-2:]))
    return ambiguous
