"""Adapters of PEFT: loaded by their own name or beside a base, live or merged, alone or several; or refused."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RemoteEntryNotFoundError, RepositoryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import zoo
from negspace.errors import ModelError, StudyError
from negspace.experiment.config import Study
from negspace.experiment.identity import identity
from negspace.experiment.workbench import Workbench
from negspace.models.adapters import Adapter, attach, find
from negspace.models.load import load, wrap
from negspace.neurons.scan import scan

peft = pytest.importorskip("peft")

TARGETS = ["q_proj", "gate_proj", "down_proj"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    zoo.build("llama").save_pretrained(folder)
    zoo.tokenizer().save_pretrained(folder)
    return folder


def adapted(base: Path, config: Any = None, seed: int = 0) -> Any:
    """A PeftModel whose adapter does something, in eval mode."""
    config = config or peft.LoraConfig(r=4, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM")
    draw = torch.Generator().manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers for a name that is going
        made = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    for name, parameter in made.named_parameters():
        if any(kind in name for kind in ("lora_", "ia3_", "hada_", "vera_")):
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=draw)
    return made.eval()


@pytest.fixture(scope="module")
def folders(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate("ab"):
        adapted(base, seed=seed).save_pretrained(root / name)
    return root / "a", root / "b"


def logits(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(torch.arange(3, 60)[None]).logits


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)


def on_hub(cache: Path, commit: str, monkeypatch: pytest.MonkeyPatch, **folders: Path) -> None:
    """Copies of folders as repositories "someone/KEY" of an earlier download, in an offline session."""
    for name, folder in folders.items():
        repository = cache / f"models--someone--{name}"
        shutil.copytree(folder, repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))


def test_a_folder_names_its_base(base: Path, folders: tuple[Path, Path]) -> None:
    model = load(folders[0], device="cpu")
    assert torch.equal(logits(model.module), logits(adapted(base)))
    assert not torch.allclose(logits(model.module), logits(load(base, device="cpu").module), atol=1e-2)
    assert model.source.name == f"{base} + {folders[0]}"
    assert [(one.name, one.kind) for one in model.source.adapters] == [(str(folders[0]), "LORA")]
    assert load(base, adapter=folders[0], device="cpu").fingerprint == model.fingerprint
    assert wrap(adapted(base), zoo.tokenizer()).fingerprint == model.fingerprint
    assert load(base, device="cpu").fingerprint != model.fingerprint


def test_several_act_together(base: Path, folders: tuple[Path, Path]) -> None:
    model = load(base, adapter=list(folders), device="cpu")
    plain: Any = zoo.build("llama")
    for seed in range(len(folders)):
        for name, part in adapted(base, seed=seed).base_model.model.named_modules():
            if hasattr(part, "get_delta_weight"):
                plain.get_submodule(name).weight.data += part.get_delta_weight("default")
    torch.testing.assert_close(logits(model.module), logits(plain), atol=1e-4, rtol=1e-4)
    assert len({load(base, adapter=one, device="cpu").fingerprint for one in (folders[0], list(folders))}) == 2
    assert model.source.name == f"{base} + {folders[0]} + {folders[1]}"


def test_merged_and_live_give_the_same_to_rounding(base: Path) -> None:
    live, merged = (wrap(one, zoo.tokenizer()) for one in (adapted(base), adapted(base).merge_and_unload()))
    text = ["w5 w7 w9 w11 w3 w20 w31 w8 " * 100]
    one, other = (scan(model, text, window=32, windows=8).table["wd"] for model in (live, merged))
    torch.testing.assert_close(torch.tensor(one), torch.tensor(other), atol=1e-3, rtol=1e-2)
    assert live.fingerprint != merged.fingerprint


@pytest.mark.parametrize(
    "config",
    [
        peft.IA3Config(target_modules=["down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"),
        peft.LoHaConfig(r=2, target_modules=["gate_proj"]),
        peft.LoraConfig(use_dora=True, target_modules=["gate_proj"]),
        peft.LoraConfig(modules_to_save=["embed_tokens"], target_modules=["gate_proj"]),
        peft.LoraConfig(target_modules="all-linear"),
    ],
    ids=["IA3", "LoHa", "DoRA", "embeddings", "everywhere"],
)
def test_kinds_of_weights(config: Any, base: Path, tmp_path: Path) -> None:
    model = wrap(adapted(base, config), zoo.tokenizer())
    adapted(base, config).save_pretrained(tmp_path)
    again = load(tmp_path, device="cpu")
    assert again.identify() == model.identify()
    assert len(model.sites) == zoo.LAYERS


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"), "virtual tokens before the text"),
        (peft.PrefixTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"), "virtual tokens before the text"),
        (peft.LoraConfig(target_modules=TARGETS, alora_invocation_tokens=[3], task_type="CAUSAL_LM"), "activated LoRA"),
    ],
    ids=["prompt", "prefix", "activated"],
)
def test_those_that_are_no_weights_are_refused(config: Any, reason: str, base: Path, tmp_path: Path) -> None:
    module = adapted(base, config)
    module.save_pretrained(tmp_path)
    for attempt in (lambda: wrap(module, zoo.tokenizer()), lambda: load(tmp_path, device="cpu")):
        with pytest.raises(ModelError, match=reason):
            attempt()


def test_dropout_in_training_mode_is_refused(base: Path) -> None:
    module = adapted(base, peft.LoraConfig(lora_dropout=0.1, target_modules=TARGETS))
    module.base_model.model.model.layers[0].mlp.gate_proj.lora_dropout.train()
    with pytest.raises(ModelError, match="parts in training mode that drop") as caught:
        wrap(module, zoo.tokenizer())
    assert "module.eval() once more" in caught.value.todo
    wrap(module.eval(), zoo.tokenizer())
    with pytest.raises(ModelError, match="in training mode"):
        wrap(module.train(), zoo.tokenizer())


@pytest.mark.parametrize(
    ("named", "found"),
    [("./gone/model", "not a folder here"), (None, "names no base"), ("nobody/nothing", "cannot be loaded")],
)
def test_a_base_that_is_not_there(
    named: str | None, found: str, base: Path, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    copy = shutil.copytree(folders[0], tmp_path / "copy")
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": named}))
    with pytest.raises(ModelError, match=found) as caught:
        load(copy, device="cpu")
    assert caught.value.asked == f"the adapter {copy}"
    assert f"--model BASE --adapter {copy}" in caught.value.todo
    assert load(base, adapter=copy, device="cpu").fingerprint == load(folders[0], device="cpu").fingerprint


def test_a_base_beside_the_adapter(base: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "model")
    copy = shutil.copytree(folders[0], tmp_path / "copy")
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "../model"}))
    assert load(copy, device="cpu").fingerprint == load(folders[0], device="cpu").fingerprint


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_folder_below_one_of_snapshots_is_of_no_commit(folders: tuple[Path, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders[0], tmp_path / "snapshots" / "best" / "adapter")
    assert find(str(copy)).source.commit is None


def test_an_adapter_of_the_hub(
    base: Path, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_hub(tmp_path, COMMIT, monkeypatch, base=base, lora=folders[0])
    file = tmp_path / "models--someone--lora" / "snapshots" / COMMIT / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": "someone/base"}))
    for model in (load("someone/lora", device="cpu"), load(base, adapter="someone/lora", device="cpu")):
        assert model.fingerprint == load(folders[0], device="cpu").fingerprint
        assert model.source.adapters[0].commit == COMMIT
    file.write_text("{}")
    for attempt in (lambda: load("someone/lora", device="cpu"), lambda: load(base, adapter="someone/lora")):
        with pytest.raises(ModelError, match=r"no adapter_config\.json with a peft_type"):
            attempt()


@pytest.mark.parametrize("kind", [RemoteEntryNotFoundError, RepositoryNotFoundError])
def test_an_adapter_that_is_not_on_the_hub(kind: type[HfHubHTTPError], monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, kind)
    with pytest.raises(ModelError, match="no such folder, nor an adapter") as caught:
        find("someone/lora")
    assert "hf auth login" in caught.value.todo


@pytest.mark.parametrize(
    ("kind", "todo"), [(GatedRepoError, "ask for access"), (HfHubHTTPError, "check the name and the network")]
)
def test_an_adapter_that_the_hub_does_not_give(
    kind: type[HfHubHTTPError], todo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, kind)
    with pytest.raises(ModelError, match=f"found: {kind.__name__}: as the hub says it") as caught:
        find("someone/lora")
    assert "adapter_config.json of someone/lora" in caught.value.asked
    assert todo in caught.value.todo


def answer(monkeypatch: pytest.MonkeyPatch, kind: type[HfHubHTTPError]) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise kind("as the hub says it", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr("negspace.models.adapters.hf_hub_download", fail)


def test_an_adapter_that_cannot_be_looked_up(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_hub(tmp_path, COMMIT, monkeypatch, base=base)
    with pytest.raises(ModelError, match="LocalEntryNotFoundError") as caught:
        load(base, adapter="someone/base", device="cpu")
    assert "check the name and the network" in caught.value.todo
    with pytest.raises(ModelError, match="no such folder, nor an adapter"):
        find("./no/such/folder")


def test_a_folder_has_no_revisions(folders: tuple[Path, Path]) -> None:
    with pytest.raises(ModelError, match="a local folder, which has no revisions") as caught:
        load(folders[0], revision="step1000", device="cpu")
    assert caught.value.asked == f"revision 'step1000' of {folders[0]}"
    assert "leave the revision out" in caught.value.todo


def without_first(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(sorted(weights.items())[1:])


DAMAGE: dict[str, tuple[Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], str]] = {
    "another prefix": (
        lambda held: {f"model.{key}": value for key, value in held.items()},
        "12 weights not in its file, so as they begin: base_model.model.model.layers.0.mlp.down_proj.lora_A.weight, "
        ".* and 8 more; 12 weights of its file without a place in the model: model.base_model.model.model.layers.0",
    ),
    "a part": (
        without_first,
        "1 weights not in its file, so as they begin: base_model.model.model.layers.0.mlp.down_proj.lora_A.weight$",
    ),
    "more layers": (
        lambda held: {**held, "base_model.model.model.layers.9.mlp.down_proj.lora_A.weight": torch.ones(4, 48)},
        r"found: 1 weights of its file without a place in the model: base_model.model.model.layers.9.mlp.down_proj",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_adapter_that_does_not_load_whole_is_refused(
    damage: str, base: Path, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(folders[1], tmp_path / "copy")
    change, found = DAMAGE[damage]
    edit_weights(copy, change)
    for attempt in (lambda: load(copy, device="cpu"), lambda: load(base, adapter=[folders[0], copy], device="cpu")):
        with pytest.raises(ModelError, match=f"(?m){found}") as caught:
            attempt()
        assert caught.value.asked == f"the weights of {copy} on LlamaForCausalLM"
        assert "get the whole adapter" in caught.value.todo


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"modules_to_save": ["embed_tokens"]}, "model.embed_tokens.weight"),
        ({"bias": "all"}, "model.layers.0.self_attn.q_proj.base_layer.bias"),
    ],
    ids=["embeddings", "biases"],
)
def test_what_was_trained_beside_the_adapter_must_be_there(more: Any, key: str, tmp_path: Path) -> None:
    zoo.build("llama", attention_bias=True).save_pretrained(tmp_path / "base")
    adapted(tmp_path / "base", peft.LoraConfig(target_modules=TARGETS, **more)).save_pretrained(tmp_path / "it")
    edit_weights(tmp_path / "it", lambda held: {name: held[name] for name in held if not name.endswith(key)})
    with pytest.raises(ModelError, match=f"not in .* file.*: base_model.model.{key}") as caught:
        attach(zoo.build("llama", attention_bias=True), [Adapter("it", tmp_path / "it")])
    assert "get the whole adapter" in caught.value.todo


KINDS: dict[str, Callable[[], Any]] = {
    "both embeddings": lambda: peft.LoraConfig(target_modules=TARGETS, modules_to_save=["embed_tokens", "lm_head"]),
    "embeddings that stay tied": lambda: peft.LoraConfig(
        target_modules=TARGETS, modules_to_save=["embed_tokens"], ensure_weight_tying=True
    ),
    "tokens": lambda: peft.LoraConfig(target_modules=TARGETS, trainable_token_indices=[3, 4]),
    "LoRA of embeddings": lambda: peft.LoraConfig(target_modules=["embed_tokens", "gate_proj"]),
    "biases": lambda: peft.LoraConfig(target_modules=TARGETS, bias="all"),
    "AdaLoRA": lambda: peft.AdaLoraConfig(target_modules=TARGETS, total_step=10, task_type="CAUSAL_LM"),
    "VeRA": lambda: peft.VeraConfig(target_modules=["q_proj"]),
    "VeRA from its seed": lambda: peft.VeraConfig(target_modules=["q_proj"], save_projection=False),
    "VB-LoRA": lambda: peft.VBLoRAConfig(
        target_modules=["q_proj"], vector_length=8, num_vectors=10, save_only_topk_weights=True
    ),
    "norms": lambda: peft.LNTuningConfig(target_modules=["norm"]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", [False, True], ids=["alone", "tied and with embeddings"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's, on tied weights and on seeds
def test_what_peft_makes_itself_or_saves_twice_is_no_fault(kind: str, more: bool, tmp_path: Path) -> None:
    zoo.build("llama", attention_bias=True, tie_word_embeddings=more).save_pretrained(tmp_path / "base")
    module = adapted(tmp_path / "base", KINDS[kind]())
    # PEFT saves the embeddings of a vocabulary that grew.
    module.save_pretrained(tmp_path / "it", save_embedding_layers=more)
    again = attach(zoo.build("llama", attention_bias=True, tie_word_embeddings=more), [Adapter("it", tmp_path / "it")])
    torch.testing.assert_close(logits(again), logits(module))


@pytest.mark.parametrize("target", [{"target_modules": "all-linear"}, {"target_parameters": ["experts.gate_up_proj"]}])
def test_adapters_of_experts_load_whole(target: dict[str, Any], tmp_path: Path) -> None:
    zoo.build("qwen3_moe").save_pretrained(tmp_path / "base")
    module = adapted(tmp_path / "base", peft.LoraConfig(**{"target_modules": [], **target}))
    module.save_pretrained(tmp_path / "it")
    again = attach(zoo.build("qwen3_moe"), [Adapter("it", tmp_path / "it")])
    torch.testing.assert_close(logits(again), logits(module))


def test_what_does_not_fit_is_refused(base: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    zoo.build("gpt2").save_pretrained(tmp_path / "other")
    zoo.tokenizer().save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match="Target modules") as caught:
        load(tmp_path / "other", adapter=folders[0], device="cpu")
    assert "trained on" in caught.value.todo
    with pytest.raises(ModelError, match="without an adapter"):
        load(base, adapter=tmp_path, device="cpu")
    both = shutil.copytree(base, tmp_path / "both")
    shutil.copy(folders[0] / "adapter_config.json", both)
    with pytest.raises(ModelError, match="a folder of two"):
        load(both, device="cpu")


def test_a_study_of_a_plain_model_is_written_as_before(base: Path) -> None:
    assert "adapter" not in Study(model="m").model_dump()
    assert Study(model="m", adapter="a").model_dump(mode="json")["adapter"] == ["a"]
    assert "adapters" not in load(base, device="cpu").source.model_dump()


def test_a_studys_adapter_is_in_its_identity(base: Path, folders: tuple[Path, Path]) -> None:
    plain, live = (
        Workbench(Study(model=str(base), adapter=adapter, device="cpu")).model for adapter in ((), (str(folders[0]),))
    )
    assert identity(plain)["fingerprint"] == load(base, device="cpu").fingerprint
    assert identity(live)["fingerprint"] == load(folders[0], device="cpu").fingerprint


def test_a_series_of_checkpoints_takes_none(base: Path, folders: tuple[Path, Path]) -> None:
    from negspace.analyses.training.analysis import Training, TrainingSettings

    bench = Workbench(Study(model=str(base), adapter=str(folders[0])))
    with pytest.raises(StudyError, match="trained on one checkpoint"):
        Training.read(TrainingSettings(revisions=("step0", "step1")), bench)
