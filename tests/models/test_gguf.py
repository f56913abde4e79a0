"""GGUF files: the model that the file says, however its weights are stored, loaded once or again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers

import ggufs
from negspace.experiment.identity import tokenizer_hash
from negspace.models.load import load

IDS = torch.arange(5, 45).reshape(2, 20)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("NEGSPACE_CACHE", str(folder))
    return folder


def logits(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(IDS).logits


def test_weights_are_those_of_the_file(tmp_path: Path) -> None:
    whole = ggufs.write(tmp_path / "tiny.gguf")
    model = load(tmp_path / "tiny.gguf", device="cpu")
    assert torch.equal(logits(model.module), logits(whole))
    assert len(model.sites) == 2
    source = model.source
    assert source.name == str(tmp_path / "tiny.gguf")
    assert source.gguf is not None
    assert (source.gguf.file, source.gguf.architecture, source.gguf.quantisation) == ("tiny.gguf", "llama", "F32")
    assert source.gguf.tensors == {"F32": 20}


def test_quantised_weights_are_what_ggml_makes_of_them(tmp_path: Path) -> None:
    whole = ggufs.write(tmp_path / "tiny.gguf", stored=gguf.GGMLQuantizationType.Q8_0)
    model = load(tmp_path / "tiny.gguf", device="cpu")
    kind = gguf.GGMLQuantizationType.Q8_0
    for name in ("mlp.gate_proj", "mlp.down_proj", "self_attn.v_proj"):
        own = whole.get_submodule(f"model.layers.1.{name}").weight.detach().numpy()
        there = model.module.get_submodule(f"model.layers.1.{name}").weight.detach().numpy()
        assert np.array_equal(there, gguf.dequantize(gguf.quantize(own, kind), kind))
        assert not np.array_equal(there, own)
    assert model.source.gguf is not None
    assert model.source.gguf.quantisation == "Q8_0"
    assert model.source.gguf.tensors == {"Q8_0": 15, "F32": 5}
    assert str(model.source.gguf) == "tiny.gguf, Q8_0 (15 Q8_0, 5 F32 tensors)"


def test_first_load_second_load_no_cache_and_a_plain_folder_are_one_model(tmp_path: Path, cache: Path) -> None:
    """By fingerprint, tokenizer and logits: `save_pretrained` of what transformers loads is the same model as well."""
    path = tmp_path / "tiny.gguf"
    ggufs.write(path, stored=gguf.GGMLQuantizationType.Q8_0)
    loaded = [load(path, device="cpu", gguf_cache=False)]
    assert not cache.exists()
    loaded += [load(path, device="cpu"), load(path, device="cpu")]
    module = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf", dtype=torch.float32)
    module.hf_quantizer = None
    del module.config.quantization_config
    module.save_pretrained(tmp_path / "plain")
    loaded[0].tokenizer.save_pretrained(tmp_path / "plain")
    loaded.append(load(tmp_path / "plain", device="cpu"))
    assert len({model.fingerprint for model in loaded}) == 1
    assert len({tokenizer_hash(model.tokenizer) for model in loaded}) == 1
    assert all(torch.equal(logits(model.module), logits(loaded[0].module)) for model in loaded)
    assert loaded[0].source == loaded[1].source == loaded[2].source


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_other_types_of_weights(tmp_path: Path, dtype: str) -> None:
    whole = ggufs.write(tmp_path / "tiny.gguf")
    model = load(tmp_path / "tiny.gguf", device="cpu", dtype=dtype)
    assert model.source.dtype == dtype
    own = whole.model.layers[0].mlp.up_proj.weight
    assert torch.equal(model.module.model.layers[0].mlp.up_proj.weight, own.to(getattr(torch, dtype)))
