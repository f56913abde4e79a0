"""The fingerprint: the same for the same model wherever it lies, another for anything that changes a logit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import zoo
from negspace.errors import ModelError
from negspace.models.fingerprint import _paddings, canonical_config, fingerprint
from negspace.models.load import load
from negspace.reference import model_path


def test_same_weights_same_hash_in_another_folder(tmp_path: Path) -> None:
    module = zoo.build("llama")
    hashes = {fingerprint(module)}
    for place in ("one", "two"):
        module.save_pretrained(tmp_path / place)
        zoo.tokenizer().save_pretrained(tmp_path / place)
        hashes.add(load(str(tmp_path / place), device="cpu").fingerprint)
    assert len(hashes) == 1
    assert len(hashes.pop()) == 64


def test_one_changed_weight_is_another_model() -> None:
    module: Any = zoo.build("llama")
    before = fingerprint(module)
    weight = module.model.layers[1].mlp.down_proj.weight
    with torch.no_grad():
        old = weight[3, 4].item()
        weight[3, 4] = torch.nextafter(weight[3, 4], torch.tensor(9.0))
    assert fingerprint(module) != before
    with torch.no_grad():
        weight[3, 4] = old
    assert fingerprint(module) == before


def test_swapped_tensors_are_another_model() -> None:
    module: Any = zoo.build("llama")
    before = fingerprint(module)
    one, two = (layer.mlp.up_proj.weight for layer in module.model.layers)
    one.data, two.data = two.data, one.data
    assert fingerprint(module) != before


@pytest.mark.parametrize("field", [{"rms_norm_eps": 1e-3}, {"hidden_act": "gelu"}, {"max_position_embeddings": 32}])
def test_configuration_that_matters(field: dict[str, Any]) -> None:
    assert fingerprint(zoo.build("llama", **field)) != fingerprint(zoo.build("llama"))


@pytest.mark.parametrize("field", [{"use_cache": False}, {"_name_or_path": "elsewhere"}, {"pad_token_id": 5}])
def test_configuration_that_does_not(field: dict[str, Any]) -> None:
    module = zoo.build("llama")
    before = fingerprint(module)
    for key, value in field.items():
        setattr(module.config, key, value)
    assert fingerprint(module) == before


@pytest.mark.parametrize("name", ["roberta", "camembert", "xlm-roberta", "xglm"])
def test_the_padding_token_where_positions_are_counted_from_it(name: str) -> None:
    """The same weights give other logits, so this is another model."""

    def build(padding: int) -> Any:
        if name == "xglm":
            return zoo.build(name, pad_token_id=padding)
        sizes = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 64}
        more = {"num_hidden_layers": 2, "num_attention_heads": 4, "is_decoder": True, "pad_token_id": padding}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **sizes, **more)).eval()

    one, two = build(1), build(5)
    two.load_state_dict(one.state_dict())
    with torch.no_grad():
        ids = zoo.ids().clamp(min=8)
        assert not torch.equal(one(ids).logits, two(ids).logits)
    assert fingerprint(one) != fingerprint(two)
    again = build(1)
    again.load_state_dict(one.state_dict())
    assert fingerprint(again) == fingerprint(one)


@pytest.mark.parametrize("name", sorted(set(zoo.ALL) - {"xglm"}))
def test_the_padding_token_counts_nowhere_else(name: str) -> None:
    """Records of scoring are kept under the fingerprint: one that changed would have them computed again."""
    module = zoo.build(name)
    assert list(_paddings(module)) == []


def test_another_implementation_than_the_default_is_another_model() -> None:
    plain = fingerprint(zoo.build("mixtral"))
    default = {"experts_implementation": "grouped_mm", "attn_implementation": "sdpa"}
    for name, value in default.items():
        assert fingerprint(zoo.build("mixtral", **{name: value})) == plain
        assert fingerprint(zoo.build("mixtral", **{name: "eager"})) != plain


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_another_dtype_is_another_model(dtype: torch.dtype) -> None:
    module = zoo.build("llama")
    assert fingerprint(zoo.build("llama").to(dtype)) != fingerprint(module)


def test_tied_weights_count_once() -> None:
    module = zoo.build("gpt2")
    tied = sum(p.numel() for p in module.parameters())
    assert tied < sum(p.numel() for p in module.state_dict().values())
    fingerprint(module)


@pytest.mark.parametrize("persistent", [True, False])
def test_a_buffer_more_is_another_model(persistent: bool) -> None:
    module = zoo.build("llama")
    before = fingerprint(module)
    module.register_buffer("more", torch.ones(2), persistent=persistent)
    assert fingerprint(module) != before


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("gelu", "0afa7713b6cef8289f1c7d3b9dd6dbbd0eff66ab2561fe91ed3cdd892ad5b190"),
        ("relu", "0c5a833d89b1dd64b18ed135f60fff59558c97ecfaf4bc2e143b45305f622ce8"),
        ("silu", "bc6f59dd46dca9049f172c179308c6157a0f9d345c8436e0381ab0041e693fa6"),
    ],
)
def test_a_plain_model_keeps_its_fingerprint(name: str, known: str) -> None:
    """Records of scoring are kept under it: another one would have all of them computed again."""
    assert load(model_path(name), device="cpu").fingerprint == known


def test_the_hash_is_what_its_description_says() -> None:
    module = torch.nn.Linear(2, 1)
    whole = hashlib.sha256(canonical_config(None).encode())
    for name, value in (("bias", module.bias), ("weight", module.weight)):
        inner = hashlib.sha256(value.detach().numpy().tobytes()).hexdigest()
        whole.update(f"{name}|torch.float32|{tuple(value.shape)}|{inner}\n".encode())
    assert fingerprint(module) == whole.hexdigest()


def test_weights_that_are_not_in_memory_are_refused() -> None:
    with torch.device("meta"):
        module = torch.nn.Linear(2, 2)
    with pytest.raises(ModelError, match="not in memory") as caught:
        fingerprint(module)
    assert "without offloading" in caught.value.todo
