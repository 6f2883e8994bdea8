"""Labelled examples: their votes, figures of what was held out, and their models."""

import json
from pathlib import Path

import pytest

from dnsvigil.learning.examples import Example, load_examples, read_examples, save_examples
from dnsvigil.learning.models import ModelError
from dnsvigil.learning.nearest import K, KindFigures, Nearest, figures

FEATURES = ("size", "speed", "only flows know")
WEIGHTS = (1.0, 2.0, 1.0)


def example(kind: str, size: float, speed: float, name: str = "", origin: str = "sensor") -> Example:
    return Example(origin, kind, name or f"{kind} {size}", (size, speed, 0.5 if origin == "flows" else None))


EXAMPLES = [
    *(example("whale", 10 + number / 10, 1.0) for number in range(6)),
    *(example("mouse", 1 + number / 10, 1.0) for number in range(6)),
    *(example("rat", 1.5 + number / 10, 1.5) for number in range(3)),
]


class TestNearest:
    def test_vote_with_one_over_their_distance(self) -> None:
        votes = Nearest(EXAMPLES, WEIGHTS).votes("sensor", (1.5, 1.5, None))
        assert votes.kind == "rat" and votes.shares["rat"] > 0.6 and "whale" not in votes.shares
        assert [each.kind for each, _ in votes.neighbours[:3]] == ["rat"] * 3 and len(votes.neighbours) == K
        assert votes.share({"rat", "mouse"}) == pytest.approx(1)

    def test_at_no_distance_outvotes_none_that_are_very_near(self) -> None:
        near = [example("mouse", 1 + number / 100, 1.0) for number in range(1, 5)]
        votes = Nearest([example("rat", 1, 1.0), *near], WEIGHTS).votes("sensor", (1.0, 1.0, None))
        assert votes.kind == "mouse"

    def test_what_is_not_known_does_not_count(self) -> None:
        votes = Nearest(EXAMPLES, WEIGHTS).votes("sensor", (10.0, None, None))
        assert votes.kind == "whale" and votes.neighbours[0][1] == 0

    def test_are_those_that_the_same_saw(self) -> None:
        nearest = Nearest([*EXAMPLES, example("bat", 10, 1.0, origin="flows")], WEIGHTS)
        assert nearest.votes("flows", (1.0, 1.0, 0.5)).kind == "bat"
        assert "flows" in nearest and "scan" not in nearest


class TestFigures:
    def test_hold_out_all_of_a_name(self) -> None:
        alone = [example("bat", 50 + number / 10, 9.0, name="the same cave") for number in range(9)]
        found = {each.kind: each for each in figures([*EXAMPLES, *alone], WEIGHTS, {"mouse", "bat"})}
        assert found["whale"] == KindFigures("sensor", "whale", 6, 6, 6)
        assert found["bat"] == KindFigures("sensor", "bat", 9, 0, 0)  # without its cave it is a whale
        assert found["mouse"].named == 6

    def test_are_none_where_nothing_is_left(self) -> None:
        assert figures([example("bat", 1, 1.0), example("bat", 1, 1.0)], WEIGHTS, {"bat"}) == []


class TestModel:
    def test_holds_the_examples(self, tmp_path: Path) -> None:
        for examples in ([*EXAMPLES, example("bat", 1, 1.0, origin="flows")], []):
            save_examples(tmp_path / "zoo", "zoo", FEATURES, examples, {})
            assert load_examples(tmp_path / "zoo", "zoo", FEATURES) == examples

    def test_of_other_features_is_refused(self, tmp_path: Path) -> None:
        save_examples(tmp_path / "zoo", "zoo", FEATURES, EXAMPLES, {})
        with pytest.raises(ModelError, match="other features than this program's; run dnsvigil train"):
            load_examples(tmp_path / "zoo", "zoo", FEATURES[:2])
        with pytest.raises(ModelError, match="not a model of kind"):
            load_examples(tmp_path / "zoo", "farm", FEATURES)

    def test_that_was_changed_is_refused(self, tmp_path: Path) -> None:
        save_examples(tmp_path / "zoo", "zoo", FEATURES, EXAMPLES, {})
        content = json.loads((tmp_path / "zoo" / "model.json").read_text())
        (tmp_path / "zoo" / "model.json").write_text(json.dumps(content | {"facts": {"features": []}}))
        with pytest.raises(ModelError, match="was changed"):
            load_examples(tmp_path / "zoo", "zoo", FEATURES)


def test_a_file_with_other_columns_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "zoo.csv").write_text("origin,kind,variant,size\nsensor,whale,blue,10\n")
    with pytest.raises(ValueError, match="expected the columns origin, kind, variant, size, speed"):
        read_examples(tmp_path / "zoo.csv", FEATURES)
    assert read_examples(tmp_path / "zoo.csv", FEATURES[:1]) == [Example("sensor", "whale", "blue", (10.0,))]
