"""The name score, trained small: it tells names apart, says why, is the same each time, and survives its model file."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from dnsvigil.features.names import label_of
from dnsvigil.learning.evaluate import evaluate, generated, read_families
from dnsvigil.learning.generators import FAMILIES
from dnsvigil.learning.models import ModelError, load_model
from dnsvigil.learning.namescore import KIND, VERSION, Floats, K, NameModel, _Neighbours
from dnsvigil.learning.samples import Benign, popular_domains

SOME = [family for family in FAMILIES if family.name in {"conficker-a", "cryptolocker", "bamital", "simda", "pizd"}]
DISMISSED = "xqzvkwpjxqzvkw.example"


@pytest.fixture(scope="module")
def model(benign: Benign, english: list[str]) -> NameModel:
    return NameModel.train(benign, english, families=SOME, dismissed=[DISMISSED])


class TestSamples:
    def test_no_label_is_in_two_parts(self) -> None:
        parts = vars(Benign.divide(popular_domains())).values()
        labels = [{label_of(domain) for domain in part} for part in parts]
        assert sum(map(len, labels)) == len(set().union(*labels)) > 800_000
        assert min(map(len, labels)) > 40_000

    def test_of_domains_with_one_label_the_first_stays(self) -> None:
        parts = vars(Benign.divide(["name.com", "name.org", "name.co.uk"])).values()
        assert [domain for part in parts for domain in part] == ["name.com"]

    def test_the_test_part_does_not_depend_on_the_others(self) -> None:
        assert set(Benign.divide(["a.example", "b.example"]).test) <= {"a.example", "b.example"}
        domains = [f"name{n}.example" for n in range(1000)]
        assert set(Benign.divide(domains[::2]).test) == set(Benign.divide(domains).test) & set(domains[::2])

    def test_english_has_common_words(self, english: list[str]) -> None:
        assert {"the", "return", "between", "different"} <= set(english[:1000])
        assert len(english) > 2000


class TestScore:
    def test_tells_held_out_names_apart(self, model: NameModel, benign: Benign, english: list[str]) -> None:
        figures = evaluate(model, generated(model, benign, english, SOME), benign.test)
        by_family = {row.family: row.found for row in figures.families}
        assert by_family["bamital"] > 0.95 and by_family["cryptolocker"] > 0.9
        assert figures.auc > 0.9
        assert "bamital" in figures.table() and "mean of families" in figures.table()

    def test_says_the_share_of_benign_names_that_look_so(self, model: NameModel, benign: Benign) -> None:
        scores = model.scores(benign.test)
        assert scores.min() >= 0 and scores.max() <= 1
        assert (scores > 0.9).mean() == pytest.approx(0.1, abs=0.03)
        assert (scores > 0.99).mean() == pytest.approx(0.01, abs=0.01)

    def test_names_neighbours_and_families(self, model: NameModel) -> None:
        reasons = model.reasons("56c4bf419c2130d027fea53d28d9bbf7.info")
        assert reasons.score > 0.99
        assert [neighbour.family for neighbour in reasons.generated] == ["bamital"] * 5
        distances = [neighbour.distance for neighbour in reasons.generated]
        assert distances == sorted(distances)
        assert reasons.families[0] == ("bamital", K)
        assert all(neighbour.family is None and "." in neighbour.name for neighbour in reasons.benign)

    def test_has_what_was_dismissed_as_a_neighbour(self, model: NameModel) -> None:
        nearest = model.reasons(DISMISSED).benign[0]
        assert nearest.name == DISMISSED
        assert nearest.distance == pytest.approx(0, abs=1e-2)
        assert model.facts["dismissed"]["names"] == 1

    def test_is_the_same_beside_other_names(self, model: NameModel) -> None:
        domains = ["wikipedia.org", "a5b01d1a8293.net", "x.example"]
        together = model.scores(domains)
        assert [float(model.scores([domain])[0]) for domain in domains] == pytest.approx(together.tolist(), abs=1e-3)

    def test_of_no_names_and_of_odd_ones(self, model: NameModel) -> None:
        assert model.scores([]).shape == (0,)
        assert np.isfinite(model.scores(["", ".", "\\xff\\x00", "a" * 300, "xn--", "é.example", "-"])).all()

    def test_does_not_depend_on_the_suffix(self, model: NameModel) -> None:
        assert len(set(model.scores(["qxmoobubimq.com", "qxmoobubimq.co.uk", "qxmoobubimq.duckdns.org"]).tolist())) == 1


class TestModel:
    def test_saved_and_loaded_scores_the_same(self, model: NameModel, tmp_path: Path) -> None:
        model.save(tmp_path / "model")
        loaded = NameModel.load(tmp_path / "model")
        domains = ["wikipedia.org", "a5b01d1a8293.net", "gatyfus.com"]
        assert loaded.scores(domains).tolist() == model.scores(domains).tolist()
        assert loaded.facts == model.facts
        assert loaded.facts["benign"]["neighbours"]["names"] > 1000

    def test_has_as_many_neighbours_of_each_family(self, model: NameModel, tmp_path: Path) -> None:
        model.save(tmp_path / "model")
        arrays, _ = load_model(tmp_path / "model", KIND, VERSION)
        counts = Counter(arrays["generated_families"].tolist())
        assert len(counts) == len(SOME)
        assert max(counts.values()) - min(counts.values()) <= 1

    def test_is_refused_where_there_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="run dnsvigil train"):
            NameModel.load(tmp_path)

    def test_is_the_same_for_the_same_seed(self, benign: Benign, english: list[str], tmp_path: Path) -> None:
        few = SOME[:2]
        for name in ("one", "two"):
            NameModel.train(benign, english, families=few, seed=5).save(tmp_path / name)
        for path in (tmp_path / "one").iterdir():
            assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes()

    def test_too_few_names_are_refused(self, english: list[str]) -> None:
        with pytest.raises(ValueError, match="too few"):
            NameModel.train(Benign.divide(["a.example"]), english)


class TestEvaluation:
    def test_reads_families_by_the_names_of_files(self, tmp_path: Path) -> None:
        (tmp_path / "one__a.txt").write_text("a.com |\n B.com.\n\n------+\n# z.com\n")
        (tmp_path / "one__b.txt").write_text("www.c.co.uk\na.com\ncom\n192.0.2.1\n\0?\n")
        (tmp_path / "two.txt").write_text("d.duckdns.org")
        (tmp_path / "empty.txt").write_text("")
        assert read_families(tmp_path) == {"one": ["a.com", "b.com", "c.co.uk"], "two": ["d.duckdns.org"]}

    def test_tells_what_is_found_at_one_percent_of_false_positives(self) -> None:
        class Known(NameModel):
            def __init__(self) -> None:
                pass

            def ratios(self, domains: Sequence[str]) -> Floats:
                return np.array(domains, np.float32)

            def scores_of(self, ratios: Any) -> Floats:
                return np.asarray(ratios / 1000, np.float32)

        benign = [str(n) for n in range(1000)]
        figures = evaluate(Known(), {"half": ["988", "995"], "none": ["1", "2"]}, benign)
        assert [(row.family, row.names, row.found) for row in figures.families] == [("none", 2, 0), ("half", 2, 0.5)]
        assert figures.families[1].auc == pytest.approx((988.5 + 995.5) / 2000)
        assert (figures.found, figures.benign) == (0.25, 1000)
        assert figures.threshold == pytest.approx(0.98901)

    def test_needs_names(self, model: NameModel) -> None:
        with pytest.raises(ValueError, match="no names"):
            evaluate(model, {}, ["a.example"])


@given(st.integers(1, 40), st.integers(1, 700), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_neighbours_are_those_of_scikit_learn(count: int, asked: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    points, near = (draw.normal(size=(size, 25)).astype(np.float32) for size in (asked, count))
    found = NearestNeighbors(n_neighbors=min(K, count), algorithm="brute").fit(near).kneighbors(points)
    distances, places = _Neighbours(near).nearest(points)
    np.testing.assert_allclose(distances, found[0], rtol=1e-6)
    np.testing.assert_array_equal(places, found[1])
    np.testing.assert_array_equal(_Neighbours(near).farthest(points), distances[:, -1])
