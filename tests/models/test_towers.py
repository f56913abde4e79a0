"""Models with a tower for images or sounds: the language model is found for the right reason, and run on text alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

import by_hand
import tiny
import towers
import zoo
from negspace.errors import ModelError, SiteError
from negspace.intervention import intervene
from negspace.models import probe
from negspace.models.layers import decoder_layers
from negspace.models.load import load, wrap
from negspace.models.model import Model
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.score.pairs import minimal_pairs
from negspace.score.perplexity import perplexity
from negspace.text.pairs import Pair, PairSet
from negspace.text.source import read_text
from negspace.text.windows import make_windows

TEXT = {"idefics3": "model.text_model.layers", "smolvlm": "model.text_model.layers"}
TEXT["llama4"] = "language_model.model.layers"


@pytest.fixture(scope="module", params=list(towers.ALL))
def model(request: pytest.FixtureRequest) -> Model:
    return wrap(towers.build(request.param), zoo.tokenizer(), name=request.param)


def logits(model: Model) -> torch.Tensor:
    with torch.no_grad():
        return model.module(input_ids=zoo.ids(), use_cache=False).logits


def weight(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def test_the_text_part_is_taken_although_another_is_as_deep_and_heavier(model: Model) -> None:
    at = TEXT.get(model.source.name, "model.language_model.layers")
    layers = model.module.get_submodule(at)
    others = [
        part
        for path, part in model.module.named_modules()
        if isinstance(part, nn.ModuleList) and len(part) == len(layers) and part is not layers
    ]
    assert max(map(weight, others)) > 1.5 * weight(layers)
    assert [path for path, _ in decoder_layers(model.module)] == [f"{at}.{n}" for n in range(len(layers))]
    assert model.layers == len(layers)
    assert all(site.path.startswith(f"{at}.") for site in model.sites)
    without = {1} if model.source.name == "mllama" else set()  # a layer that only looks at images
    assert {site.layer for site in model.sites} == set(range(len(layers))) - without


def test_no_activation_of_another_tower_runs_on_text_or_is_listed(model: Model) -> None:
    at = TEXT.get(model.source.name, "model.language_model.layers")
    sites = {site.path for site in model.sites}
    fired: set[str] = set()
    handles = []
    for path, part in model.module.named_modules():
        if path.rsplit(".", 1)[-1] in ("act", "act_fn", "activation_fn", "activation"):
            handles.append(part.register_forward_pre_hook(lambda *_, path=path: fired.add(path)))
    logits(model)
    for handle in handles:
        handle.remove()
    assert fired == sites
    assert all(path.startswith(at) for path in fired)


def test_zeroing_negatives_of_chosen_neurons_equals_by_hand(model: Model) -> None:
    plain = logits(model)
    chosen, others = (by_hand.some_neurons(model, seed) for seed in (1, 2))
    layout = Layout.of(model.sites)
    neurons = NeuronSet({path: np.flatnonzero(mask.reshape(-1)) for path, mask in chosen.items()}, layout)
    with intervene(model, neurons, zero="negative"):
        changed = logits(model)
    with intervene(model, NeuronSet({}, layout), zero="negative"):
        assert torch.equal(logits(model), plain)
    assert torch.equal(logits(model), plain)
    with by_hand.clamped(model, chosen):
        torch.testing.assert_close(changed, logits(model), atol=2e-5, rtol=1e-4)
    with by_hand.clamped(model, others):
        assert (changed - logits(model)).abs().max() > 1e-3


def test_the_logits_are_those_of_the_language_model_alone(model: Model) -> None:
    decoder, head = model.module.get_decoder(), model.module.get_output_embeddings()
    with torch.no_grad():
        out = decoder(input_ids=zoo.ids(), use_cache=False)
        alone = out.logits if "logits" in out else head(out.last_hidden_state)
    torch.testing.assert_close(logits(model), alone, atol=1e-6, rtol=1e-5)


def test_the_probe_takes_no_placeholder_of_an_image_or_a_sound(model: Model) -> None:
    config = model.module.config.to_dict()
    placeholders = {v for k, v in config.items() if k.endswith(("_token_id", "_token_index")) and isinstance(v, int)}
    rows = model.module.get_input_embeddings().weight.shape[0]
    spread = set(torch.linspace(1, rows - 1, probe.TOKENS).long().tolist())
    assert bool(placeholders & spread) == (model.source.name not in ("mllama", "voxtral"))
    assert not placeholders & set(probe.sequence(model.module).flatten().tolist())


def test_a_folder_loads_as_the_live_model(model: Model, tmp_path: Path) -> None:
    model.module.save_pretrained(tmp_path)
    zoo.tokenizer().save_pretrained(tmp_path)
    again = load(tmp_path, device="cpu")
    assert type(again.module) is type(model.module)
    assert again.sites == model.sites
    assert again.fingerprint == model.fingerprint
    assert torch.equal(logits(again), logits(model))


def test_scores_are_those_of_sentences_run_one_by_one(model: Model) -> None:
    words = [" ".join(f"w{n}" for n in draw) for draw in np.random.default_rng(0).integers(3, 90, (6, 7))]
    pairs = PairSet(
        "some",
        "blimp",
        tuple(Pair(a, b, "one", "term", k) for k, (a, b) in enumerate(zip(words[::2], words[1::2], strict=True))),
    )
    found = minimal_pairs(model, pairs).items

    def alone(sentence: str) -> float:
        ids = torch.tensor([model.tokenizer(sentence)["input_ids"]])
        with torch.no_grad():
            logp = model.module(input_ids=ids, use_cache=False).logits.double().log_softmax(-1)
        return float(logp[0, :-1].gather(1, ids[0, 1:, None]).sum())

    expected = [alone(sentence) for sentence in words]
    np.testing.assert_allclose(found["good"], expected[::2], rtol=1e-5)
    np.testing.assert_allclose(found["bad"], expected[1::2], rtol=1e-5)
    windows = make_windows(read_text([" ".join(words)], role="perplexity"), model.tokenizer, window=14)
    nll = [-alone(" ".join(model.tokenizer.convert_ids_to_tokens(row))) / 13 for row in windows.tokens.tolist()]
    assert perplexity(model, windows).value == pytest.approx(np.exp(np.mean(nll)), rel=1e-5)


@pytest.mark.parametrize("name", ["qwen3_5", "gemma4"])
def test_a_text_part_of_its_own_class_is_loaded_where_there_is_one(name: str, tmp_path: Path) -> None:
    kind = transformers.models.auto.configuration_auto.CONFIG_MAPPING[name]
    module = transformers.AutoModelForImageTextToText.from_config(kind(**tiny.arguments(kind))).eval()
    module.save_pretrained(tmp_path)
    zoo.tokenizer().save_pretrained(tmp_path)
    loaded = load(tmp_path, device="cpu")
    assert ("visual" in str(loaded.module)) == (name != "qwen3_5" and "visual" in str(module))
    assert len(loaded.sites) == 2
    torch.testing.assert_close(
        logits(loaded), module(input_ids=zoo.ids(), use_cache=False).logits.detach(), atol=1e-5, rtol=1e-4
    )


def test_what_reads_no_text_alone_is_refused_with_the_reason() -> None:
    tokenizer = zoo.tokenizer()
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    seeing = transformers.ViTModel(transformers.ViTConfig(image_size=16, patch_size=8, **sizes)).eval()
    with pytest.raises(ModelError, match="a ViTModel, which has no embeddings of tokens"):
        wrap(seeing, tokenizer)
    t5 = transformers.T5Config(vocab_size=96, d_model=16, d_ff=16, num_layers=1, num_heads=2)
    with pytest.raises(ModelError, match=r"an encoder-decoder model \(type 't5'\)"):
        wrap(transformers.T5ForConditionalGeneration(t5).eval(), tokenizer)
    blip: Any = transformers.BlipConfig(
        text_config={"vocab_size": 96, "encoder_hidden_size": 16, "bos_token_id": 1, "sep_token_id": 2, **sizes},
        vision_config={"image_size": 16, "patch_size": 8, **sizes},
    )
    with pytest.raises(SiteError, match="pixel_values") as caught:
        wrap(transformers.BlipForConditionalGeneration(blip).eval(), tokenizer)
    assert "on text alone" in caught.value.todo


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (transformers.WhisperConfig(), r"an encoder-decoder model \(type 'whisper'\)"),
        (transformers.BartConfig(), r"an encoder-decoder model \(type 'bart'\)"),
        (transformers.Wav2Vec2Config(), "'wav2vec2', which transformers has no causal language model for"),
        (transformers.CLIPConfig(), "'clip', which transformers has no causal language model for"),
    ],
)
def test_checkpoints_of_other_kinds_are_refused_with_the_reason(config: Any, found: str, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    zoo.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=found):
        load(tmp_path, device="cpu")


def test_a_list_that_text_does_not_reach_is_refused() -> None:
    module: Any = towers.build("llava")
    module.config.text_config.num_hidden_layers = 4
    module.model.vision_tower.encoder.layers.extend([nn.Linear(4, 4), nn.Linear(4, 4)])
    with pytest.raises(SiteError, match="none of which runs on text"):
        wrap(module, zoo.tokenizer())
