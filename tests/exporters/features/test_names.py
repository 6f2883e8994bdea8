"""How names are measured: what each number says, whatever the names, and the same whatever stands beside them."""

import random
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsvigil.features.names import COLUMNS, Language, NameFeatures, label_of

WORDS = ("river", "stone", "green", "house", "light", "water", "table", "paper", "north", "shop", "news", "cloud")
DRAW = random.Random(1)
LABELS = sorted(
    {"".join(DRAW.sample(WORDS, 2)) for _ in range(100)}
    | {"-".join(DRAW.sample(WORDS, 2)) for _ in range(100)}
    | {DRAW.choice(WORDS) + str(DRAW.randrange(100)) for _ in range(50)}
    | set(WORDS)
)
LANGUAGE = Language.learn(LABELS, ["thirteen"])
FEATURES = NameFeatures(LANGUAGE)


def measure(label: str) -> dict[str, float]:
    return dict(zip(COLUMNS, FEATURES.of([label])[0].tolist(), strict=True))


def test_the_label_is_the_first_of_the_registered_domain() -> None:
    assert [label_of(domain) for domain in ("example.co.uk", "com", "")] == ["example", "com", ""]


class TestLanguage:
    def test_likelihoods_of_what_can_follow_sum_to_one(self) -> None:
        for order, likelihood in enumerate(LANGUAGE.likelihood, 1):
            sums = np.exp(likelihood.reshape(-1, 39).astype(np.float64)).sum(axis=1)
            assert len(sums) == 39 ** (order - 1)
            np.testing.assert_allclose(sums, 1, atol=1e-4)

    def test_words_are_found_between_hyphens_and_in_compounds(self) -> None:
        assert set(WORDS) | {"thirteen"} <= set(LANGUAGE.words)
        assert LANGUAGE.word_likelihood[LANGUAGE.words.index("thirteen"), 0] == LANGUAGE.word_likelihood[:, 0].min()

    def test_what_is_behind_a_hyphen_of_punycode_is_no_word(self) -> None:
        assert "abcde" not in Language.learn(["xn--abcde-xyza", "xn--abcde-xyzb"]).words

    def test_words_know_their_place(self) -> None:
        language = Language.learn(["blue-market", "red-market", "blue", "red", "blue-sky"])
        _, first, last = language.word_likelihood[language.words.index("market")]
        assert last > first
        _, first, last = language.word_likelihood[language.words.index("blue")]
        assert first > last
        usual, odd = NameFeatures(language).of(["bluemarket", "marketblue"])
        for column in ("first_word", "last_word"):
            assert usual[COLUMNS.index(column)] > odd[COLUMNS.index(column)]

    def test_five_characters_tell_more_than_four(self) -> None:
        seen, unseen = measure("water"), measure("waterwatexwates")
        assert seen["likelihood_5"] > seen["likelihood_4"]
        assert unseen["likelihood_5"] < unseen["likelihood_4"]

    def test_likelihoods_of_five_characters_sum_to_one(self) -> None:
        # Every n-gram twice, so that none is left out as too rare.
        language = Language.learn([label for label in LABELS for _ in range(2)])
        likely = np.exp(language.long_likelihood.astype(np.float64))
        before = language.long_grams // 39
        for context in np.unique(before)[::50]:
            known = language.long_grams[before == context]
            others = np.setdiff1d(np.arange(39), known % 39)
            below = language.likelihood[3].reshape(-1, 39)[context % 39**3]
            rest = np.exp(below[others].astype(np.float64)).sum() * np.exp(language.discount[context])
            assert likely[before == context].sum() + rest == pytest.approx(1, abs=1e-3)

    def test_no_labels_at_all(self) -> None:
        features = NameFeatures(Language.learn([])).of(["example", ""])
        assert np.isfinite(features).all()


class TestMeasures:
    def test_what_the_language_has_is_likelier(self) -> None:
        known, strange = measure("waterhouse"), measure("xqzjkvwqpx")
        for column in ("likelihood_2", "likelihood_3", "likelihood_4", "likelihood_5", "rhythm", "words_likelihood"):
            assert known[column] > strange[column]
        assert known["unlikely"] < strange["unlikely"]

    def test_words(self) -> None:
        found = measure("thirteenriver")
        assert (found["words"], found["longest_word"], found["covered"], found["unknown"]) == (2, 8, 1, 0)
        assert found["rarest_word"] == pytest.approx(LANGUAGE.word_likelihood[:, 0].min())
        for place, labels in (
            ("last_word", ("thirteenshop", "shopthirteen", "riverqq")),
            ("first_word", ("shopthirteen", "thirteenshop", "qqriver")),
        ):
            common, rare, none = (measure(label)[place] for label in labels)
            assert common > rare > none
        assert measure("qqriverqq")["covered"] == pytest.approx(5 / 9)

    def test_structure(self) -> None:
        found = measure("ab12-cd34aa")
        assert (found["length"], found["digit_runs"], found["hyphens"]) == (11, 2, 1)
        assert found["digits"] == pytest.approx(4 / 11)
        assert measure("bcdfaeeio1234")["longest_consonants"] == 4
        assert measure("bcdfaeeio1234")["longest_vowels"] == 5
        assert measure("bcdfaeeio1234")["longest_digits"] == 4
        assert measure("cafe00")["hex_only"] == 1 and measure("cafg00")["hex_only"] == 0
        assert measure("xn--bcher-kva")["punycode"] == 1 and measure("xna-bcher")["punycode"] == 0
        assert measure("abab")["pairs_twice"] == pytest.approx(1 / 4)
        assert measure("0ab")["starts_with_digit"] == 1 and measure("ab0")["ends_with_digit"] == 1
        assert measure("aab")["share_a"] == pytest.approx(2 / 3)


class TestAnyNames:
    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.text(alphabet=string.printable + "éß\0", max_size=80), max_size=20))
    def test_are_measured(self, labels: list[str]) -> None:
        features = FEATURES.of(labels)
        assert features.shape == (len(labels), len(COLUMNS))
        assert features.dtype == np.float32
        assert np.isfinite(features).all()

    def test_are_measured_the_same_beside_others(self) -> None:
        draw = random.Random(2)
        letters = string.ascii_lowercase + string.digits + "-"
        labels = ["".join(draw.choices(letters, k=draw.randint(1, 63))) for _ in range(5000)]
        together = FEATURES.of(labels)
        shortest = sorted(range(5000), key=lambda place: len(labels[place]))
        for place in [*shortest[:500:20], *shortest[-1:]]:
            np.testing.assert_allclose(together[place], FEATURES.of([labels[place]])[0], rtol=1e-5, atol=1e-5)
