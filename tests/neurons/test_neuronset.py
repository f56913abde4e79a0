"""Sets of neurons: algebra, naming, files, and the layouts they refuse."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import zoo
from negspace.errors import RecordError, SelectionError
from negspace.models.load import wrap
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet


@pytest.fixture(scope="module")
def dense():
    return wrap(zoo.build("gpt_neox"), zoo.tokenizer(), "dense")


@pytest.fixture(scope="module")
def mixture():
    return wrap(zoo.build("qwen2_moe"), zoo.tokenizer(), "mixture")


def test_indices_are_sorted_once_each_and_cannot_be_changed(dense):
    made = NeuronSet.from_indices(dense, {1: [7, 3, 7], 0: [47]})
    assert list(made.indices) == [site.path for site in dense.sites]
    assert made.indices[dense.sites[1].path].tolist() == [3, 7]
    assert (len(made), made.count(), made.layers) == (3, {0: 1, 1: 2}, (0, 1))
    with pytest.raises(ValueError, match="read-only"):
        made.indices[dense.sites[1].path][0] = 5
    with pytest.raises(TypeError):
        made.indices["x"] = np.array([1])


def test_experts_and_shared_neurons_are_named_by_pairs(mixture):
    routed, shared = mixture.sites[:2]
    made = NeuronSet.from_indices(mixture, {0: [(2, 5), (0, 1), ("shared", 4)]})
    assert made.indices[routed.path].tolist() == [1, 2 * routed.width + 5]
    assert made.indices[shared.path].tolist() == [4]


def test_an_empty_set_is_a_set(dense, tmp_path):
    empty = NeuronSet.from_indices(dense, {})
    assert len(empty) == 0
    assert empty.layers == ()
    assert NeuronSet.load(empty.save(tmp_path / "empty.json")) == empty
    empty.check(dense)


def test_algebra(dense):
    a, b = (NeuronSet.from_indices(dense, {0: x, 1: y}) for x, y in (([1, 2, 3], [4]), ([3, 4], [9])))
    path = dense.sites[0].path
    assert (a | b).indices[path].tolist() == [1, 2, 3, 4]
    assert (a & b).indices[path].tolist() == [3]
    assert (a & b).layers == (0,)
    assert (a - b).indices[path].tolist() == [1, 2]
    assert a.restrict([1]).count() == {1: 1}
    assert (a | b) - b == a - b
    assert "|" in (a | b).origin


def test_equal_sets_have_equal_keys_whatever_their_origin(dense):
    a, b = (NeuronSet.from_indices(dense, {0: [1, 2]}, origin=origin) for origin in ("here", "there"))
    other = NeuronSet.from_indices(dense, {0: [1, 3]})
    assert a == b
    assert a.key == b.key
    assert len({a, b, other}) == 2
    assert len(a.key) == 64


def test_files_bring_back_the_set(mixture, tmp_path):
    made = NeuronSet.from_indices(mixture, {0: [(2, 5), ("shared", 4)], 1: [(0, 0)]}, origin="by hand")
    path = made.save(tmp_path / "set.json")
    back = NeuronSet.load(path)
    assert back == made
    assert back.origin == "by hand"
    assert back.layout == Layout.of(mixture.sites)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("neurons", "message"),
    [
        ({5: [1]}, "neurons of layer 5"),
        ({0: [48]}, "neurons 0 to 47"),
        ({0: [-1]}, "neurons 0 to 47"),
        ({0: [1.5]}, "not an index"),
        ({0: 3}, "no list of neurons"),
        ({0: [True]}, "not an index"),
        ({0: [(0, 1)]}, "without experts"),
        ({0: [("shared", 1)]}, "no such branch"),
    ],
)
def test_neurons_that_a_dense_model_lacks(dense, neurons, message):
    with pytest.raises(SelectionError, match=message):
        NeuronSet.from_indices(dense, neurons)


@pytest.mark.parametrize(
    ("neuron", "message"), [(3, "a layer of experts"), ((4, 0), "experts 0 to 3"), (("x", 0), "no such branch")]
)
def test_neurons_that_a_mixture_lacks(mixture, neuron, message):
    with pytest.raises(SelectionError, match=message):
        NeuronSet.from_indices(mixture, {0: [neuron]})


def test_another_models_set_is_refused_with_both_layouts_in_words(dense, mixture):
    made = NeuronSet.from_indices(dense, {0: [1]})
    with pytest.raises(SelectionError) as caught:
        made.check(mixture)
    assert "2 layers (48 neurons; first site gpt_neox.layers.0.mlp.act)" in caught.value.found
    assert "4 experts" in caught.value.found
    with pytest.raises(SelectionError, match="combine two sets"):
        _ = made | NeuronSet.from_indices(mixture, {})


def test_unknown_sites_layers_and_indices_are_refused(dense):
    made = NeuronSet.from_indices(dense, {0: [1]})
    with pytest.raises(SelectionError, match="no layer 9"):
        made.restrict([0, 9])
    with pytest.raises(SelectionError, match=r"give them in a list: layers=\[0\]"):
        made.restrict(0)  # type: ignore[arg-type]
    with pytest.raises(SelectionError, match="no such site"):
        NeuronSet({"lm_head.act": np.array([1])}, made.layout)
    with pytest.raises(SelectionError, match="a site of 48 neurons"):
        NeuronSet({dense.sites[0].path: np.array([48])}, made.layout)


def test_files_that_are_no_sets_are_refused(dense, tmp_path):
    made = NeuronSet.from_indices(dense, {0: [1, 2]})
    path = made.save(tmp_path / "set.json")
    content = json.loads(path.read_text())
    with pytest.raises(SelectionError, match="No such file"):
        NeuronSet.load(tmp_path / "none.json")
    for changed, message in (
        (path.read_text()[:-40], "not JSON"),
        ("[1, 2]", "format None"),
        (json.dumps({**content, "format": "negspace-neurons/9"}), "negspace-neurons/9"),
        (json.dumps({**content, "neurons": {dense.sites[0].path: [1, 3]}}), "does not match its own key"),
        (json.dumps({**content, "neurons": {dense.sites[0].path: [1, 2.5]}}), "malformed"),
        (json.dumps({key: value for key, value in content.items() if key != "layout"}), "malformed"),
    ):
        path.write_text(changed)
        with pytest.raises(SelectionError, match=message):
            NeuronSet.load(path)


def test_a_folder_that_is_missing_is_one_clear_error(dense, tmp_path):
    with pytest.raises(RecordError, match="existing folder"):
        NeuronSet.from_indices(dense, {}).save(tmp_path / "missing" / "set.json")


@pytest.mark.parametrize(
    "given", [np.array([True, False, True]), [True, False], np.array([0.0, 2.0]), np.array([1, 2], object)]
)
def test_masks_and_floats_are_not_taken_for_numbers(dense, given):
    layout = Layout.of(dense.sites)
    with pytest.raises(SelectionError, match=r"give row numbers: np\.flatnonzero\(mask\)"):
        NeuronSet.from_rows(given, layout)
    with pytest.raises(SelectionError, match=r"give neuron numbers: np\.flatnonzero\(mask\)"):
        NeuronSet({dense.sites[0].path: given}, layout)


def test_whole_numbers_of_any_type_are_taken_and_nothing_is_a_set(dense):
    layout, path = Layout.of(dense.sites), dense.sites[0].path
    several: list[Any] = [[3, 1], range(1, 4, 2), np.array([1, 3], np.uint8), np.array([3, 1], np.int32)]
    for given in several:
        assert NeuronSet({path: given}, layout).at(path).tolist() == [1, 3]
        assert NeuronSet.from_rows(given, layout).at(path).tolist() == [1, 3]
    none: list[Any] = [(), [], np.zeros(0), np.zeros(0, bool)]
    for empty in none:
        assert len(NeuronSet({path: empty}, layout)) == len(NeuronSet.from_rows(empty, layout)) == 0
