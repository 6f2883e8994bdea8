"""The rules, beside those that tldextract reads from the same copy."""

import tldextract

from dnsvigil.sources.public_suffixes import public_suffixes, registered_domain, top_levels
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


def test_registered_domains_are_those_of_tldextract() -> None:
    extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)
    # tldextract does not let *.futurecms.at apply below which there are rules, as ex.futurecms.at.
    suffixes = [name for name, kind in public_suffixes() if name.isascii() and kind == "normal"]
    for name in (f"{below}{suffix}" for suffix in suffixes for below in ("", "a.", "b.a.", "c.b.a.")):
        found = extract.extract_str(name)
        expected = f"{found.domain}.{found.suffix}" if found.domain and found.suffix else None
        assert registered_domain(name) == expected, name


def test_registered_domains_follow_wildcards_and_exceptions() -> None:
    found = {
        name: registered_domain(name)
        for name in ("b.ck", "a.b.ck", "www.ck", "a.www.ck", "kawasaki.jp", "a.b.kawasaki.jp", "printer.lan", "bd")
    }
    assert found == {
        "b.ck": None, "a.b.ck": "a.b.ck", "www.ck": "www.ck", "a.www.ck": "www.ck", "kawasaki.jp": "kawasaki.jp",
        "a.b.kawasaki.jp": "a.b.kawasaki.jp", "printer.lan": None, "bd": None,
    }  # fmt: skip
