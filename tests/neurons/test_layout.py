"""Layouts: sizes and rows, restriction to layers, and the form that files and keys have had from the first version."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

import zoo
from made_up_run import scan_of
from negspace.errors import SelectionError
from negspace.models.load import wrap
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import ScanInfo

ROWS = [
    ("model.layers.0.mlp.act_fn", 0, 0, 8),
    ("model.layers.1.mlp.experts", 1, 4, 3),
    ("model.layers.1.mlp.shared", 1, 0, 5),
]
LAYOUT = Layout.from_rows(ROWS)
DENSE, EXPERTS, SHARED = (path for path, *_ in ROWS)

# Written by version 0.1.0, in which a layout was a plain tuple: keys of cells and records depend on them.
KEY = "e5112d3b6477cb6545536c7f4c4a3c487b4745af2518f6417fa74e38a3c86779"
KEY_OF_NONE = "bdbe32eb0100439ff73ed4eafa5fe5bf328743215a3a6ce2c88afb175dadcfe9"
KEY_WITHOUT_SITES = "6b0ce5081116fc5fd15f843ca2d61500b31b9abafdc45248d1104ae08a504da0"
FILE = """{
 "format": "negspace-neurons/1",
 "origin": "literal",
 "layout": [
  [
   "model.layers.0.mlp.act_fn",
   0,
   0,
   8
  ],
  [
   "model.layers.1.mlp.experts",
   1,
   4,
   3
  ],
  [
   "model.layers.1.mlp.shared",
   1,
   0,
   5
  ]
 ],
 "neurons": {
  "model.layers.0.mlp.act_fn": [
   7
  ],
  "model.layers.1.mlp.experts": [
   0,
   3,
   11
  ]
 },
 "key": "e5112d3b6477cb6545536c7f4c4a3c487b4745af2518f6417fa74e38a3c86779"
}
"""
INFO = (
    '{"model":{"name":"made-up","revision":null,"commit":null,"dtype":"float32","device":"cpu","device_map":null,'
    '"trust_remote_code":false,"transformers":"5","torch":"2"},"fingerprint":"' + 64 * "f" + '",'
    '"layout":[["layers.0.act",0,0,16],["layers.1.act",1,0,16]],"text":"some text","text_hash":"t",'
    '"windows_hash":"w","window":64,"stride":32,"windows":64,"tokens":4096,"special":0,"bos":"auto","md_pairs":64,'
    '"seed":0,"method":"sketch","regridded":0,"versions":{"negspace":"0","torch":"2"}}'
)


def neurons() -> NeuronSet:
    return NeuronSet({EXPERTS: np.array([0, 11, 3]), DENSE: np.array([7])}, LAYOUT, "literal")


def test_keys_and_files_of_sets_are_those_of_the_first_version(tmp_path):
    assert neurons().key == KEY
    assert NeuronSet({}, LAYOUT).key == KEY_OF_NONE
    assert NeuronSet({}, Layout(())).key == KEY_WITHOUT_SITES
    path = neurons().save(tmp_path / "set.json")
    assert path.read_bytes() == FILE.encode()
    assert NeuronSet.load(path) == neurons()


def test_a_scans_metadata_keeps_the_fields_of_the_first_version():
    info = scan_of(2, 16).info
    now = json.loads(info.model_dump_json())
    since = {"behaviour": now.pop("behaviour"), "halves": now.pop("halves"), "gguf": now["model"].pop("gguf")}
    assert now == json.loads(INFO)
    assert since == {"behaviour": [], "halves": None, "gguf": None}
    assert info.model_dump(mode="json")["layout"] == [["layers.0.act", 0, 0, 16], ["layers.1.act", 1, 0, 16]]
    assert ScanInfo.model_validate_json(INFO) == info
    assert ScanInfo(**json.loads(INFO)).layout == info.layout


def test_sites_stand_one_after_the_other():
    assert LAYOUT.sizes == {DENSE: 8, EXPERTS: 12, SHARED: 5}
    assert LAYOUT.rows == {DENSE: slice(0, 8), EXPERTS: slice(8, 20), SHARED: slice(20, 25)}
    assert (LAYOUT.neurons, LAYOUT.layers, len(LAYOUT)) == (25, (0, 1), 3)
    assert LAYOUT.to_rows() == ROWS
    assert [site.path for site in LAYOUT.within([1])] == [EXPERTS, SHARED]
    assert LAYOUT.within(None) == LAYOUT.sites


def test_a_models_layout_is_that_of_its_sites():
    model = wrap(zoo.build("qwen2_moe"), zoo.tokenizer(), "mixture")
    made = Layout.of(model.sites)
    assert list(made.sizes.values()) == [site.size for site in model.sites]
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_sets_rows_lead_back_to_it():
    made = neurons()
    assert made.rows.tolist() == [7, 8, 11, 19]
    assert np.flatnonzero(made.mask).tolist() == [7, 8, 11, 19]
    assert len(made.mask) == 25
    assert NeuronSet.from_rows(made.rows[::-1], LAYOUT) == made
    assert made.at(SHARED).tolist() == []
    for wrong in (-1, 25):
        with pytest.raises(SelectionError, match=f"row {wrong} of a scan"):
            NeuronSet.from_rows(np.array([3, wrong]), LAYOUT)


def test_layers_that_a_layout_lacks_are_named():
    with pytest.raises(SelectionError, match=r"no layer 2 in 2 layers \(5 neurons and 8 neurons and 4 experts of 3"):
        LAYOUT.within([0, 1, 2])
    with pytest.raises(SelectionError, match=r"layers=\[1\]"):
        LAYOUT.check(1)  # type: ignore[arg-type]


@pytest.mark.parametrize("layers", [["0"], "01", [0, "1"], [0.0], [True, False], [None], [[0]]])
def test_what_is_no_number_of_a_layer_is_named(layers):
    with pytest.raises(SelectionError, match=r"not the number of a layer\nto do: give numbers: layers=\[0, 1\]"):
        LAYOUT.check(layers)


def test_numbers_of_layers_may_be_numpys():
    assert LAYOUT.check(np.array([1, 0])) == LAYOUT.check(iter([0, 1])) == {0, 1}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", 0, 0, 3), ("a", 1, 0, 3)], "each site once"),
        ([("a", 0, 0, -1)], "0 or more"),
        ([("a", 0, 3)], "not enough values"),
        ([("a", "b", 0, 3)], "invalid literal"),
    ],
)
def test_rows_that_are_no_layout_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        Layout.from_rows(rows)
    with pytest.raises(ValueError, match="layout"):
        ScanInfo.model_validate({**json.loads(INFO), "layout": rows})
