"""Model directories: what is written is read, and anything else refused with a reason."""

import json
from pathlib import Path

import numpy as np
import pytest

from dnsvigil.learning.models import ModelError, load_model, save_model

ARRAYS = {"numbers": np.arange(12, dtype=np.float32).reshape(3, 4), "names": np.array([b"a.example", b"b.example"])}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model(tmp_path / "models" / "one", "kind", 3, ARRAYS, {"figure": 0.5})
    return tmp_path / "models" / "one"


def refusal(directory: Path, kind: str = "kind", version: int = 3) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(directory, kind, version)
    assert str(directory) in str(caught.value)
    return str(caught.value)


def test_what_was_saved_is_loaded(model: Path) -> None:
    arrays, facts = load_model(model, "kind", 3)
    assert facts == {"figure": 0.5}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_the_same_content_is_the_same_bytes(model: Path) -> None:
    save_model(model.with_name("two"), "kind", 3, ARRAYS, {"figure": 0.5})
    for path in model.iterdir():
        assert (model.with_name("two") / path.name).read_bytes() == path.read_bytes()


def test_a_new_model_takes_the_place_of_the_old_and_leaves_nothing(model: Path) -> None:
    save_model(model, "kind", 3, {}, {"figure": 0.6})
    assert load_model(model, "kind", 3) == ({}, {"figure": 0.6})
    assert [path.name for path in model.parent.iterdir()] == ["one"]


def test_a_model_that_cannot_be_written_leaves_the_old(model: Path) -> None:
    with pytest.raises(TypeError):
        save_model(model, "kind", 3, {}, {"figure": object()})
    assert load_model(model, "kind", 3)[1] == {"figure": 0.5}
    assert [path.name for path in model.parent.iterdir()] == ["one"]


def test_no_model(tmp_path: Path) -> None:
    assert "run dnsvigil train" in refusal(tmp_path / "none")


def test_another_kind_or_version(model: Path) -> None:
    assert "not a model of kind other" in refusal(model, kind="other")
    message = refusal(model, version=4)
    assert "format 3" in message and "needs 4" in message and "run dnsvigil train" in message


@pytest.mark.parametrize("name", ["arrays.npz", "model.json"])
def test_changed_cut_short_or_gone(model: Path, name: str) -> None:
    content = (model / name).read_bytes()
    (model / name).write_bytes(content[: len(content) // 2])
    assert "run dnsvigil train" in refusal(model)
    (model / name).unlink()
    assert "run dnsvigil train" in refusal(model)


def test_arrays_changed_by_hand(model: Path) -> None:
    np.savez_compressed(model / "arrays.npz", numbers=np.zeros(3))
    assert "the model was changed" in refusal(model)


def test_a_figure_changed_by_hand(model: Path) -> None:
    text = (model / "model.json").read_text()
    assert '"figure": 0.5' in text
    (model / "model.json").write_text(text.replace('"figure": 0.5', '"figure": 0.9'))
    assert "the model was changed" in refusal(model)


@pytest.mark.parametrize("content", ["[]", "null", "{}", '{"kind": "kind", "version": 3}', "\0", "{"])
def test_what_is_no_model_at_all(model: Path, content: str) -> None:
    (model / "model.json").write_text(content)
    refusal(model)


def test_arrays_that_are_pickles(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pickle"):
        save_model(tmp_path / "one", "kind", 3, {"bad": np.array([{}], dtype=object)}, {})


def test_facts_are_readable(model: Path) -> None:
    content = json.loads((model / "model.json").read_text())
    assert content["kind"] == "kind" and content["version"] == 3 and content["facts"] == {"figure": 0.5}
