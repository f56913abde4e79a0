"""Loading: every choice recorded, nothing global changed, and one clear error for each thing that can be wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

import zoo
from negspace.errors import ModelError
from negspace.models.load import load, wrap


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "tiny"
    zoo.build("llama").save_pretrained(path)
    zoo.tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))


def test_a_folder_is_loaded_as_it_is(folder: Path) -> None:
    model = load(str(folder), device="cpu")
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        assert torch.equal(model.module(zoo.ids()).logits, plain(zoo.ids()).logits)
    assert not model.module.training
    assert model.tokenizer("w5 w7").input_ids == [5, 7]
    assert [site.layer for site in model.sites] == [0, 1]
    source = model.source
    assert source.name == str(folder)
    assert (source.dtype, source.device, source.device_map) == ("float32", "cpu", None)
    assert (source.revision, source.commit, source.trust_remote_code) == (None, None, False)
    assert source.transformers == transformers.__version__
    assert source.torch == torch.__version__


def test_a_folder_may_be_a_path(folder: Path) -> None:
    assert load(folder, device="cpu").source == load(str(folder), device="cpu").source


def test_float32_whatever_the_checkpoint_holds(folder: Path) -> None:
    zoo.build("llama").to(torch.bfloat16).save_pretrained(folder)
    assert load(str(folder), device="cpu").source.dtype == "float32"
    assert load(str(folder), device="cpu", dtype="bfloat16").source.dtype == "bfloat16"
    assert load(str(folder), device="cpu", dtype=torch.float64).source.dtype == "float64"


def test_loading_is_silent_and_leaves_no_global_changed(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = (
        transformers_logging.get_verbosity(),
        transformers_logging.is_progress_bar_enabled(),
        huggingface_hub.utils.are_progress_bars_disabled(),
        huggingface_hub.utils.logging.get_verbosity(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        list(warnings.filters),
    )
    state = torch.random.get_rng_state()
    load(str(folder), device="cpu")
    assert capfd.readouterr() == ("", "")
    after = (
        transformers_logging.get_verbosity(),
        transformers_logging.is_progress_bar_enabled(),
        huggingface_hub.utils.are_progress_bars_disabled(),
        huggingface_hub.utils.logging.get_verbosity(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        list(warnings.filters),
    )
    assert after == before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_implementations_are_passed_on(tmp_path: Path) -> None:
    zoo.build("mixtral").save_pretrained(tmp_path)
    zoo.tokenizer().save_pretrained(tmp_path)
    model = load(str(tmp_path), device="cpu", attn_implementation="eager", experts_implementation="batched_mm")
    assert model.module.config._attn_implementation == "eager"
    assert model.module.config._experts_implementation == "batched_mm"


def test_the_commit_of_a_revision_is_recorded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "step3").write_text(commit)
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    model = load("someone/tiny", revision="step3", device="cpu")
    assert (model.source.name, model.source.revision, model.source.commit) == ("someone/tiny", "step3", commit)
    assert model.fingerprint == load(str(folder), device="cpu").fingerprint
    with pytest.raises(ModelError, match="at revision step4"):
        load("someone/tiny", revision="step4", device="cpu")


def test_a_few_marker_tokens_without_an_embedding_are_allowed(folder: Path) -> None:
    words = zoo.tokenizer()
    module = zoo.build("llama", vocab_size=200)
    words.add_tokens([f"more{n}" for n in range(105)])
    assert len(words) == 201
    wrap(module, words)


def test_device_map_is_recorded(folder: Path) -> None:
    pytest.importorskip("accelerate")
    model = load(str(folder), device_map={"": "cpu"})
    assert model.source.device_map == {"": "cpu"}
    assert model.fingerprint == load(str(folder), device="cpu").fingerprint


@pytest.mark.gpu
def test_cuda_is_the_default_where_there_is_one(folder: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model = load(str(folder))
    assert model.device.type == "cuda"
    assert model.fingerprint == load(str(folder), device="cpu").fingerprint


# What can be wrong.


@pytest.mark.parametrize("name", ["./nothing/here", "/no/such/folder", "~/no-such-folder-of-models", "a/b/c"])
def test_a_missing_folder(name: str) -> None:
    with pytest.raises(ModelError, match="no such folder") as caught:
        load(name, device="cpu")
    assert "check the path" in caught.value.todo


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_not_the_folder_here(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(ModelError, match="a model without a name"):
        load(name, device="cpu")


def test_a_file_instead_of_a_folder(folder: Path) -> None:
    with pytest.raises(ModelError, match="found: a file"):
        load(str(folder / "model.safetensors"), device="cpu")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"without config\.json"):
        load(str(tmp_path), device="cpu")


@pytest.mark.usefixtures("offline")
def test_an_unknown_name_on_the_hub_offline() -> None:
    with pytest.raises(ModelError) as caught:
        load("nobody/no-such-model", device="cpu")
    assert "configuration of nobody/no-such-model" in caught.value.asked
    assert "check the name and the network" in caught.value.todo


@pytest.mark.usefixtures("offline")
def test_a_revision_is_named_in_the_error() -> None:
    with pytest.raises(ModelError, match="at revision step1000"):
        load("nobody/no-such-model", revision="step1000", device="cpu")


def test_what_the_hub_answers_decides_the_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    class RevisionNotFoundError(Exception): ...

    class GatedRepoError(Exception): ...

    for kind, advice in ((RevisionNotFoundError, "branches and tags"), (GatedRepoError, "log in")):

        def fail(*_: Any, kind: type[Exception] = kind, **__: Any) -> None:
            raise OSError("as transformers says it") from kind()

        monkeypatch.setattr("negspace.models.locate.cached_file", fail)
        with pytest.raises(ModelError, match="as transformers says it") as caught:
            load("some/model", device="cpu")
        assert advice in caught.value.todo


def test_a_revision_of_a_folder(folder: Path) -> None:
    with pytest.raises(ModelError, match="has no revisions"):
        load(str(folder), revision="main", device="cpu")


@pytest.fixture
def series(folder: Path, tmp_path: Path) -> Path:
    """A folder of three checkpoints, and of a folder that is none."""
    place = tmp_path / "series"
    for name in ("step0", "step128", "step16"):
        shutil.copytree(folder, place / name)
    (place / "notes").mkdir()
    edit_weights(place / "step16", lambda w: w.update({"model.norm.weight": torch.full((zoo.HIDDEN,), 2.0)}))
    return place


def test_a_checkpoint_of_a_folder_loads_as_a_revision(series: Path) -> None:
    model = load(series, revision="step16", device="cpu")
    assert model.source.name == str(series)
    assert model.source.revision == "step16"
    assert model.source.commit is None
    assert model.fingerprint == load(series / "step16", device="cpu").fingerprint
    assert model.fingerprint != load(series, revision="step0", device="cpu").fingerprint


@pytest.mark.parametrize("revision", ["step17", "notes", "step16/../step0", "", "."])
def test_an_unknown_checkpoint_of_a_folder(series: Path, revision: str) -> None:
    with pytest.raises(ModelError, match="of these revisions: step0, step16, step128") as caught:
        load(series, revision=revision, device="cpu")
    assert caught.value.todo == "name one of them"


def test_a_folder_of_checkpoints_without_a_revision(series: Path) -> None:
    with pytest.raises(ModelError, match="several checkpoints: step0, step16, step128") as caught:
        load(series, device="cpu")
    assert "'step128'" in caught.value.todo


def test_a_model_that_is_no_causal_language_model(tmp_path: Path) -> None:
    transformers.T5Config(vocab_size=96, d_model=16, d_ff=16, num_layers=1, num_heads=2).save_pretrained(tmp_path)
    zoo.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"an encoder-decoder model \(type 't5'\)"):
        load(str(tmp_path), device="cpu")


def test_a_bert_that_sees_the_future(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=96, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    module = transformers.BertLMHeadModel(config).eval()
    with pytest.raises(ModelError, match="depend on later tokens") as caught:
        wrap(module, zoo.tokenizer())
    assert "is_decoder=True" in caught.value.todo
    config.is_decoder = True
    assert len(wrap(transformers.BertLMHeadModel(config).eval(), zoo.tokenizer()).sites) == 2


def test_code_that_must_be_trusted(folder: Path) -> None:
    edit_config(folder, model_type="homemade", auto_map={"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.M"})
    (folder / "code.py").write_text("raise SystemExit('this code ran')")
    with pytest.raises(ModelError, match="configuration of") as caught:
        load(str(folder), device="cpu")
    assert "trust_remote_code=True" in caught.value.todo


def test_no_tokenizer(folder: Path) -> None:
    for file in folder.glob("*token*"):
        file.unlink()
    with pytest.raises(ModelError, match="the tokenizer of") as caught:
        load(str(folder), device="cpu")
    assert "tokenizer.save_pretrained" in caught.value.todo


def test_a_tokenizer_that_does_not_fit(folder: Path) -> None:
    edit_weights(folder, lambda w: w.update({k: w[k][:50].clone() for k in w if "embed" in k or "lm_head" in k}))
    edit_config(folder, vocab_size=50)
    with pytest.raises(ModelError, match="96 tokens for a model with 50 embeddings"):
        load(str(folder), device="cpu")


@pytest.mark.parametrize("dtype", ["float8", "auto", "int8", "torch.int64"])
def test_an_unknown_dtype(folder: Path, dtype: str) -> None:
    with pytest.raises(ModelError, match="no such type of weights") as caught:
        load(str(folder), dtype=dtype, device="cpu")
    assert "float32, float16, bfloat16, float64" in caught.value.todo


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x"])
def test_an_unknown_device(folder: Path, device: str) -> None:
    with pytest.raises(ModelError, match="no such device here") as caught:
        load(str(folder), device=device)
    assert "'cpu'" in caught.value.todo


def test_device_and_device_map_together(folder: Path) -> None:
    with pytest.raises(ModelError, match="two answers"):
        load(str(folder), device="cpu", device_map="auto")


def test_a_device_without_room_for_the_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After transformers has read them, they go to the device."""

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with monkeypatch.context() as patch:
        patch.setattr(transformers.PreTrainedModel, "to", full)
        with pytest.raises(ModelError, match=r"(?s)the weights of .* on cpu\nfound: not enough memory") as caught:
            load(folder, device="cpu")
    assert "smaller dtype" in caught.value.todo
    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(ModelError, match=r"(?s)asked: device='cpu'\nfound: not enough memory"):
        load(folder, device="cpu")


@pytest.mark.gpu
def test_a_gpu_without_room_for_the_weights(folder: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    zoo.build("llama", vocab_size=500_000).save_pretrained(folder)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(2**26 / torch.cuda.get_device_properties(0).total_memory)
    try:
        for place in ({"device": "cuda"}, {"device_map": {"": 0}}):
            with pytest.raises(ModelError, match=r"(?s)the weights of .*found: not enough memory \(CUDA out of memory"):
                load(folder, **place)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_what_runs_out_of_memory_is_no_damaged_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever part of the model it was, in a folder or not, itself or the cause of an error of transformers."""
    from negspace.models.locate import fetch

    def caused() -> None:
        raise OSError("as transformers says it") from MemoryError()

    def refused() -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), "model.safetensors")

    for get in (caused, refused):
        for name in (str(folder), "someone/tiny"):
            with pytest.raises(ModelError, match="found: not enough memory") as caught:
                fetch(get, name, None, "tokenizer")
            assert "device_map='auto'" in caught.value.todo


def test_an_unknown_device_map(folder: Path) -> None:
    pytest.importorskip("accelerate")
    with pytest.raises(ModelError, match="the weights of"):
        load(str(folder), device_map="everywhere")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(folder: Path, value: float) -> None:
    edit_weights(folder, lambda w: w["model.layers.1.mlp.up_proj.weight"][3].fill_(value))
    with pytest.raises(ModelError, match=rf"infinite in model\.layers\.1\.mlp\.up_proj\.weight \({zoo.HIDDEN} of"):
        load(str(folder), device="cpu")


def test_finite_weights_with_a_huge_sum_are_not_refused_as_nan() -> None:
    module: Any = zoo.build("llama")
    with torch.no_grad():
        module.model.embed_tokens.weight[3:6] = 1e38
    wrap(module, zoo.tokenizer())


def test_weights_without_values_are_named() -> None:
    with torch.device("meta"):
        empty = type(zoo.build("llama"))(zoo.build("llama").config).eval()
    with pytest.raises(ModelError, match=r"no values \(device 'meta'\) in model\.embed_tokens\.weight") as caught:
        wrap(empty, zoo.tokenizer())
    assert "from_pretrained" in caught.value.todo
    module: Any = zoo.build("llama")
    module.model.layers[1].mlp.up_proj.to("meta")
    with pytest.raises(ModelError, match=r"in model\.layers\.1\.mlp\.up_proj\.weight\n"):
        wrap(module, zoo.tokenizer())
    # A buffer that is not saved is not among the weights that are put in.
    empty.load_state_dict(zoo.build("llama").state_dict(), assign=True)
    with pytest.raises(ModelError, match=r"in model\.rotary_emb\.inv_freq"):
        wrap(empty, zoo.tokenizer())


def test_weights_on_other_processes_are_named() -> None:
    distributed = pytest.importorskip("torch.distributed")
    if not distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    from torch.distributed.fsdp import fully_shard
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        module = zoo.build("llama")
        fully_shard(module, mesh=distributed.init_device_mesh("cpu", (2,)))
        with pytest.raises(ModelError, match=r"shared out among processes .* model\.embed_tokens\.weight") as caught:
            wrap(module, zoo.tokenizer())
        assert "in one process" in caught.value.todo
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("auto", ["AutoModel", "AutoModelForTokenClassification", "AutoModelForSequenceClassification"])
def test_a_model_without_an_output_layer_over_its_vocabulary(auto: str) -> None:
    module = getattr(transformers, auto).from_config(zoo.build("llama").config).eval()
    with pytest.raises(ModelError, match=f"a {type(module).__name__}, which has no output layer") as caught:
        wrap(module, zoo.tokenizer())
    assert caught.value.todo == "load it with AutoModelForCausalLM"


def test_missing_weights_are_not_made_up(folder: Path) -> None:
    edit_weights(folder, lambda w: w.pop("model.layers.0.mlp.gate_proj.weight"))
    with pytest.raises(ModelError, match=r"not in the checkpoint, so random: model\.layers\.0\.mlp\.gate_proj"):
        load(str(folder), device="cpu")


def test_unexpected_weights_are_not_left_out(folder: Path) -> None:
    edit_weights(folder, lambda w: w.update({"model.layers.0.mlp.gate_proj.bias": torch.ones(zoo.WIDTH)}))
    with pytest.raises(ModelError, match=r"without a place in the model: model\.layers\.0\.mlp\.gate_proj") as caught:
        load(str(folder), device="cpu")
    assert "negspace.wrap" in caught.value.todo


def test_masks_and_tables_of_old_checkpoints_are_no_weights(folder: Path) -> None:
    edit_weights(folder, lambda w: w.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}))
    load(str(folder), device="cpu")


def test_weights_of_another_shape(folder: Path) -> None:
    edit_weights(folder, lambda w: w.update({"model.norm.weight": torch.ones(zoo.HIDDEN + 1)}))
    with pytest.raises(ModelError, match=r"of another shape, so random: model\.norm\.weight"):
        load(str(folder), device="cpu")


def test_a_damaged_weight_file(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="the weights of") as caught:
        load(str(folder), device="cpu")
    assert "safetensors" in caught.value.todo


def test_a_damaged_configuration(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match="the configuration of"):
        load(str(folder), device="cpu")


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="the weights of"):
        load(str(folder), device="cpu")


# Live modules.


def test_wrap_gives_both_back_untouched() -> None:
    module, words = zoo.build("gpt2"), zoo.tokenizer()
    config, attributes = module.config.to_dict(), [sorted(part.__dict__) for part in module.modules()]
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    model = wrap(module, words, name="mine")
    assert model.module is module
    assert model.tokenizer is words
    assert module.config.to_dict() == config
    assert [sorted(part.__dict__) for part in module.modules()] == attributes
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())
    assert model.source.name == "mine"
    assert wrap(module, words).source.name == "GPT2LMHeadModel"


def test_wrap_refuses_training_mode() -> None:
    module = zoo.build("gpt2").train()
    with pytest.raises(ModelError, match="training mode") as caught:
        wrap(module, zoo.tokenizer())
    assert ".eval()" in caught.value.todo
    assert module.training


def test_wrap_refuses_what_is_no_model() -> None:
    with pytest.raises(ModelError, match="class Linear, which is not a transformers model"):
        wrap(torch.nn.Linear(2, 2), zoo.tokenizer())  # type: ignore[arg-type]


def test_wrap_refuses_what_is_no_tokenizer() -> None:
    with pytest.raises(ModelError, match="an object of class NoneType"):
        wrap(zoo.build("gpt2"), None)


@pytest.mark.shared
def test_a_real_model(stories260k: Any, stories260k_path: Path, tmp_path: Path) -> None:
    assert [site.width for site in stories260k.sites] == [172] * 5
    assert stories260k.context == 512
    shutil.copytree(stories260k_path, tmp_path / "copy")
    assert load(str(tmp_path / "copy"), device="cpu").fingerprint == stories260k.fingerprint
