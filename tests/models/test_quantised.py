"""Quantised weights: measured as they are, or refused for the true reason."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

import zoo
from negspace.errors import ModelError
from negspace.intervention import intervene
from negspace.models import probe
from negspace.models.fingerprint import fingerprint
from negspace.models.load import load, wrap
from negspace.models.model import Model
from negspace.models.quantised import crosstalk, is_quantised
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import scan
from negspace.reference import model_path
from negspace.score.logprobs import LogProbs

KINDS = ("8 bits", "4 bits", "quanto int8", "quanto int4")


def quantised(kind: str, **settings: Any) -> Any:
    if kind.startswith("quanto"):
        quanto = pytest.importorskip("optimum.quanto")
        module: Any = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32)
        quanto.quantize(module, weights=getattr(quanto, f"q{kind.split()[1]}"))
        quanto.freeze(module)
        return module.eval()
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    from transformers import BitsAndBytesConfig

    how = {"load_in_8bit": True, "llm_int8_threshold": 0.0} if kind == "8 bits" else {"load_in_4bit": True}
    config = BitsAndBytesConfig(**{**how, **settings})
    return AutoModelForCausalLM.from_pretrained(
        model_path(), quantization_config=config, device_map={"": "cpu"}, dtype=torch.float32
    ).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(model_path())


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tokenizer: Any) -> Iterator[Model]:
    return wrap(quantised(request.param), tokenizer, request.param)


def test_passes_leave_its_identity_alone(model: Model) -> None:
    fresh = fingerprint(quantised(model.source.name))  # before a pass, and before any state of passes
    first = model.identify()
    assert first.fingerprint == fresh != load(model_path(), device="cpu").fingerprint
    for shape in ((1, 40), (3, 7)):
        with torch.no_grad():
            model.module(torch.arange(shape[0] * shape[1]).view(shape))
        assert model.identify() == first
    assert "int8" in model.source.dtype


def test_scores_do_not_depend_on_the_batch_and_interventions_restore(model: Model) -> None:
    draw = np.random.default_rng(0)
    sequences = [draw.integers(5, 2000, int(n)).tolist() for n in draw.integers(4, 20, 30)]
    one = LogProbs(model.module, batch_tokens=24).score(sequences).total
    other = LogProbs(model.module, batch_tokens=1024).score(sequences).total
    np.testing.assert_allclose(one, other, atol=1e-3)
    ids = torch.tensor([sequences[0]])
    with torch.no_grad():
        plain = model.module(ids).logits
        with intervene(model, NeuronSet.from_indices(model, {0: range(100)}), zero="negative"):
            assert not torch.equal(model.module(ids).logits, plain)
        assert torch.equal(model.module(ids).logits, plain)


def test_a_scan_of_it_is_that_of_the_same_weights_dequantised(tokenizer: Any) -> None:
    quanto = pytest.importorskip("optimum.quanto")
    model = wrap(quantised("quanto int4"), tokenizer)
    plain: Any = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32).eval()
    for name, part in model.module.named_modules():
        if isinstance(part, quanto.nn.QLinear):
            # A parameter of its own: quanto leaves the embeddings that were tied to it as they are.
            plain.get_submodule(name).weight = torch.nn.Parameter(part.weight.dequantize())
    text = ["The dogs that the child saw bark at the moon. " * 60]
    one, other = (scan(each, text, window=64, windows=4) for each in (model, wrap(plain, tokenizer)))
    assert one.info.fingerprint != other.info.fingerprint
    np.testing.assert_allclose(one.table["wd"], other.table["wd"], rtol=1e-3)


def test_a_threshold_of_outliers_is_refused_as_what_it_is(tokenizer: Any) -> None:
    module = quantised("8 bits", llm_int8_threshold=6.0)
    assert crosstalk(quantised("8 bits")) == 0 < 1e-3 < crosstalk(module)
    with pytest.raises(ModelError, match="threshold of outliers, 6") as caught:
        wrap(module, tokenizer)
    assert "llm_int8_threshold=0.0" in caught.value.todo
    assert "left-to-right" not in caught.value.todo


@pytest.mark.parametrize("steps", [2, 8, 100])
def test_inputs_rounded_for_a_whole_batch_are_refused_as_what_they_are(steps: int) -> None:
    class Rounded(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            step = x.abs().max() / steps
            return super().forward((x / step).round() * step)

    Rounded.__module__ = "torchao.made_up"
    module: Any = zoo.build("llama")
    for layer in module.model.layers:
        layer.mlp.down_proj.__class__ = Rounded
    assert probe.is_causal(module)
    with pytest.raises(ModelError, match="round their inputs in steps that are chosen for a whole batch"):
        wrap(module, zoo.tokenizer())


@pytest.mark.parametrize("how", ["MXFP4", "FP8"])
def test_experts_that_are_codes_are_refused_with_what_helps(how: str) -> None:
    if how == "MXFP4":
        kind = pytest.importorskip("transformers.integrations.mxfp4").Mxfp4GptOssExperts
        module: Any = zoo.build("gpt_oss")
        module.model.layers[1].mlp.experts = kind(module.config)
        remedy, codes = "Mxfp4Config", "uint8"
    else:
        kind = pytest.importorskip("transformers.integrations.finegrained_fp8").FP8Experts
        module = zoo.build("mixtral")
        module.model.layers[1].mlp.experts = kind(module.config, block_size=(16, 16))
        remedy, codes = "FineGrainedFP8Config", "float8_e4m3fn"
    assert hasattr(transformers, remedy)
    with pytest.raises(ModelError, match=rf"codes \(torch\.{codes}\) at model\.layers\.1\.mlp\.experts") as caught:
        wrap(module.eval(), zoo.tokenizer())
    assert f"quantization_config={remedy}(dequantize=True)" in caught.value.todo


def test_a_threshold_that_is_changed_later_is_another_model() -> None:
    module = quantised("8 bits")
    before = fingerprint(module)
    module.gpt_neox.layers[0].mlp.dense_h_to_4h.state.threshold = 3.0
    assert fingerprint(module) != before


@pytest.mark.parametrize("kind", ["8 bits", "4 bits"])
def test_a_saved_checkpoint_is_the_model_that_was_saved(kind: str, tokenizer: Any, tmp_path: Path) -> None:
    module = quantised(kind)
    module.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load(tmp_path, device="cpu").fingerprint == wrap(module, tokenizer).fingerprint


def test_scales_that_are_not_finite_are_refused(tokenizer: Any) -> None:
    module = quantised("quanto int8")
    module.gpt_neox.layers[1].mlp.dense_h_to_4h.weight._scale[3] = float("nan")
    with pytest.raises(ModelError, match=r"NaN or infinite in gpt_neox.layers.1.mlp.dense_h_to_4h.weight \(1 of"):
        wrap(module, tokenizer)


def test_tensors_of_torchao(tokenizer: Any) -> None:
    quantization = pytest.importorskip("torchao.quantization")
    module: Any = AutoModelForCausalLM.from_pretrained(model_path(), dtype=torch.float32).eval()
    quantization.quantize_(module, quantization.Int8WeightOnlyConfig())
    model = wrap(module, tokenizer)
    assert model.source.dtype == "float32+int8"
    assert model.identify().fingerprint != load(model_path(), device="cpu").fingerprint
    assert model.identify() == model.identify()


@pytest.mark.parametrize(
    ("method", "package"), [("gptq", "gptqmodel"), ("awq", "gptqmodel"), ("aqlm", "aqlm"), ("vptq", "vptq")]
)
def test_a_missing_package_is_named(method: str, package: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    shutil.copytree(model_path(), tmp_path / "model")
    file = tmp_path / "model" / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": method, "bits": 4, "group_size": 32}
    file.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelError, match=f"quantised by '{method}'") as caught:
        load(tmp_path / "model", device="cpu")
    assert "transformers cannot read them here" in caught.value.found
    assert "pip install" in caught.value.todo
    assert package in caught.value.todo


@pytest.mark.parametrize(("dtype", "quantised"), [(torch.float8_e4m3fn, True), (torch.bfloat16, False)])
def test_weights_of_one_byte_are_quantised(dtype: torch.dtype, quantised: bool) -> None:
    layer = torch.nn.Linear(4, 4, bias=False).to(dtype)
    assert is_quantised(layer) == quantised
