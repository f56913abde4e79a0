"""What a GGUF file says of its model is in the configuration, or put in, or the file is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import ggufs
from negspace.errors import ModelError
from negspace.models.gguf.header import Header
from negspace.models.gguf.hyperparameters import prove
from negspace.models.load import load


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEGSPACE_CACHE", "off")


def header(architecture: str, **keys: Any) -> Header:
    said = {f"{architecture}.{name.replace('__', '.')}": value for name, value in keys.items()}
    return Header(Path("model.gguf"), {"general.architecture": architecture, **said}, ())


def logits(module: Any, length: int = 60) -> torch.Tensor:
    with torch.no_grad():
        return module(torch.arange(5, 5 + length)[None]).logits


def llama_with(rope: dict[str, Any]) -> Any:
    """The model that `ggufs.write` writes, with another rotary embedding."""
    plain = ggufs.model(len(ggufs.byte_level()[0]))
    config = plain.config
    config.rope_parameters = {**config.rope_parameters, **rope}
    other = transformers.LlamaForCausalLM(config).eval()
    other.load_state_dict(plain.state_dict())
    return other


def test_linear_scaling_of_positions_is_put_in(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    whole = ggufs.write(path, metadata={".rope.scaling.type": "linear", ".rope.scaling.factor": 4.0})
    model = load(path, device="cpu")
    assert torch.equal(logits(model.module), logits(llama_with({"rope_type": "linear", "factor": 4.0})))
    assert not torch.allclose(logits(model.module), logits(whole))
    assert model.source.gguf is not None
    assert "positions divided by 4, which transformers left out" in model.source.gguf.mended


def test_the_rotary_embedding_of_llama_3_is_put_in(tmp_path: Path) -> None:
    """The file has only the factors of the frequencies; transformers leaves the tensor out without a word."""
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    expected = llama_with({**rope, "original_max_position_embeddings": 8192})
    plain = 10000.0 ** -(torch.arange(0, 16, 2) / 16)
    factors = (plain / expected.model.rotary_emb.inv_freq).numpy().astype(np.float32)
    assert ((factors > 1.5) & (factors < 7)).any()  # all three parameters matter
    path = tmp_path / "tiny.gguf"
    ggufs.write(path, extra={"rope_freqs.weight": factors})
    model = load(path, device="cpu")
    assert torch.equal(logits(model.module), logits(expected))
    ggufs.write(path, extra={"rope_freqs.weight": factors * np.float32(1.1)})
    with pytest.raises(ModelError, match="factors of frequencies other than those of Llama 3"):
        load(path, device="cpu")


def test_factors_of_one_change_nothing(tmp_path: Path) -> None:
    whole = ggufs.write(tmp_path / "tiny.gguf", extra={"rope_freqs.weight": np.ones(8, np.float32)})
    assert torch.equal(logits(load(tmp_path / "tiny.gguf", device="cpu").module), logits(whole))


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({".rope.scaling.type": "yarn", ".rope.scaling.factor": 4.0}, "llama.rope.scaling.type = yarn"),
        ({".attention.clamp_kqv": 8.0}, "llama.attention.clamp_kqv = 8.0 in the file, which transformers leaves out"),
        ({".attention.key_length": 32}, "key_length = 32 in the file, 16 in what transformers makes of it"),
        ({".final_logit_softcapping": 30.0}, "final_logit_softcapping = 30.0"),
        ({".attention.scale": 0.5}, "attention.scale = 0.5 in the file, 0.25 in"),
    ],
)
def test_what_transformers_leaves_out_is_an_error(tmp_path: Path, keys: dict[str, Any], found: str) -> None:
    ggufs.write(tmp_path / "tiny.gguf", metadata=keys)
    with pytest.raises(ModelError, match=found):
        load(tmp_path / "tiny.gguf", device="cpu")


@pytest.mark.parametrize(
    "keys",
    [
        {".rope.scaling.type": "none"},
        {".attention.key_length": 16, ".attention.value_length": 16},
        {".attention.scale": 0.25},
    ],
)
def test_what_says_the_same_in_other_words_is_none(tmp_path: Path, keys: dict[str, Any]) -> None:
    whole = ggufs.write(tmp_path / "tiny.gguf", metadata=keys)
    assert torch.equal(logits(load(tmp_path / "tiny.gguf", device="cpu").module), logits(whole))


def test_tensors_without_a_place_and_places_without_a_tensor(tmp_path: Path) -> None:
    ggufs.write(tmp_path / "tiny.gguf", extra={"blk.0.attn_q.bias": np.ones(64, np.float32)})
    with pytest.raises(ModelError, match=r"81,088 numbers in the file, 81,024 in the LlamaForCausalLM"):
        load(tmp_path / "tiny.gguf", device="cpu")
    ggufs.write(tmp_path / "tiny.gguf", leave_out=("blk.1.ffn_up.weight",))
    with pytest.raises(ModelError, match=r"1 weights not in the file: model\.layers\.1\.mlp\.up_proj\.weight"):
        load(tmp_path / "tiny.gguf", device="cpu")


def test_an_output_layer_of_its_own_and_one_written_twice(tmp_path: Path) -> None:
    tokens = len(ggufs.byte_level()[0])
    other = np.random.default_rng(0).normal(size=(tokens, 64)).astype(np.float32)
    ggufs.write(tmp_path / "tiny.gguf", extra={"output.weight": other})
    model = load(tmp_path / "tiny.gguf", device="cpu")
    assert torch.equal(model.module.lm_head.weight, torch.from_numpy(other))
    same = ggufs.model(tokens)
    ggufs.write(tmp_path / "tiny.gguf", extra={"output.weight": same.model.embed_tokens.weight.detach().numpy()})
    assert torch.equal(logits(load(tmp_path / "tiny.gguf", device="cpu").module), logits(same))


def test_gemma_3() -> None:
    """27B scales attention by the hidden size over the heads; from 4B on, the global layers divide positions by 8."""
    config = transformers.Gemma3TextConfig(
        hidden_size=5376, num_attention_heads=32, head_dim=128, num_hidden_layers=62, sliding_window=1024
    )
    theta = config.rope_parameters["full_attention"]["rope_theta"]
    said = {"block_count": 62, "rope__freq_base": theta, "rope__freq_base_swa": 10000.0, "rope__scaling__factor": 8.0}
    pattern = [(layer + 1) % 6 != 0 for layer in range(62)]
    said |= {
        "attention__sliding_window": 512,
        "attention__sliding_window_pattern": pattern,
        "attention__key_length": 128,
    }
    mended = prove(config, header("gemma3", **said))
    assert config.query_pre_attn_scalar == 168
    assert config.sliding_window == 512
    assert config.rope_parameters["full_attention"] == {"rope_type": "linear", "factor": 8.0, "rope_theta": theta}
    assert config.rope_parameters["sliding_attention"] == {"rope_type": "default", "rope_theta": 10000.0}
    assert len(mended) == 3
    assert prove(config, header("gemma3", **{**said, "rope__scaling__factor": 1.0})) == ()
    for key, value in (("attention__sliding_window_pattern", 4), ("rope__freq_base_swa", 5000.0)):
        with pytest.raises(ModelError, match="in what transformers makes of it"):
            prove(config, header("gemma3", **{key: value}))


def test_a_base_of_positions_that_transformers_does_not_read() -> None:
    config = transformers.Starcoder2Config()
    assert prove(config, header("starcoder2", rope__freq_base=1e5)) == (
        "rope_theta = 100000, which transformers left out",
    )
    assert config.rope_parameters["rope_theta"] == 1e5
