"""Generators of names: every kind, bounded, repeatable, and of the letters that their family has."""

import pytest

from dnsvigil.learning.generators import FAMILIES, Family, Lexicon

WORDS = tuple(first + last for first in ("apple", "river", "stone", "green") for last in ("house", "table", "light"))
LEXICON = Lexicon((WORDS,), ("wikipedia", "example", "weather"))


def labels(family: str, *seeds: int) -> list[str]:
    (found,) = (known for known in FAMILIES if known.name == family)
    return [name.partition(".")[0] for name in found.names(seeds or range(5), 100, LEXICON)]


def test_there_are_the_published_kinds_and_families_enough() -> None:
    kinds = {family.kind for family in FAMILIES}
    assert kinds >= {"arithmetic", "date-seeded", "digest", "permutation", "syllables", "words", "mutation"}
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names)) > 60


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_are_domains_each_once_the_same_for_a_seed_and_others_for_another(family: Family) -> None:
    names = family.names([7], 100, LEXICON)
    assert names == family.names([7], 100, LEXICON)
    assert 100 >= len(names) == len(set(names)) > 10
    for name in names:
        label, _, suffix = name.partition(".")
        assert suffix in family.suffixes.split()
        assert 2 <= len(label) <= 63
        assert label.replace("-", "").isalnum() and label.isascii() and label == label.lower().strip("-")
    others = family.names([8], 100, LEXICON)
    assert len(set(names) & set(others)) < 0.9 * len(names)


def test_families_keep_to_what_was_published_of_them() -> None:
    assert all(len(label) == 32 and set(label) <= set("0123456789abcdef") for label in labels("bamital"))
    assert all(len(label) == 16 and set(label) <= set("acegikmoqsuwy") for label in labels("ramdo"))
    assert all("z" not in label for label in labels("necurs"))
    assert {len(label) for label in labels("conficker-a")} == set(range(5, 12))
    assert all(label[:3] == label[3:6] or label[:4] == label[4:8] for label in labels("tofsee"))


def test_consonants_and_vowels_alternate_where_they_should() -> None:
    for label in labels("simda"):
        assert not set(label[::2]) & set("aeiouy")
        assert set(label[1::2]) <= set("aeiouy")


def test_word_lists_are_of_the_seed() -> None:
    for label in labels("pizd", 3):
        assert any(label == one + other for one in WORDS for other in WORDS)


def test_a_permutation_keeps_the_letters_and_a_mutation_the_rest() -> None:
    (letters,) = {"".join(sorted(label)) for label in labels("volatilecedar", 3)}
    assert letters in {"".join(sorted(one + other)) for one in WORDS for other in WORDS}
    assert len({label[4:] for label in labels("banjori", 3)}) == 1
    for label in labels("charbot", 3):
        assert any(len(label) == len(brand) for brand in LEXICON.brands)


def test_what_has_few_names_gives_few() -> None:
    few = Family("few", FAMILIES[0].maker.__class__("a", 2, 3), "com")
    assert few.names([1], 100, LEXICON) in (["aa.com", "aaa.com"], ["aaa.com", "aa.com"])
