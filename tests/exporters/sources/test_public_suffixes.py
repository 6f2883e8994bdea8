"""The rules, beside those that tldextract reads from the same copy."""

import tldextract

from dnsvigil.sources.public_suffixes import public_suffixes, top_levels
from dnsvigil.sources.warninglists import warning_list

KINDS = {"*": "wildcard", "!": "exception"}


def test_all_rules_are_there_private_ones_too() -> None:
    rules = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True).tlds
    assert sorted(public_suffixes()) == sorted(
        (rule.lstrip("*!").removeprefix(".").encode("idna").decode(), KINDS.get(rule[0], "normal")) for rule in rules
    )


def test_the_top_levels_are_those_of_all_popular_domains() -> None:
    assert {domain.rpartition(".")[2] for domain in warning_list("tranco")} <= top_levels()
    assert not {"co.uk", "*", "", "lan", "corp", "bit"} & top_levels()
