"""TransformerLens: bridges that are wrapped, and hooks for them, against the real library."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import negspace as ns
import zoo
from negspace.errors import InterventionError, ModelError
from negspace.intervention import Intervention

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("transformer_lens")
    from transformer_lens.model_bridge import TransformerBridge

pytestmark = pytest.mark.filterwarnings("ignore")
TEXT = [" ".join(f"w{number % 90}" for number in range(600))]
ON_INPUT = [name for name in ns.INTERVENTIONS if not Intervention(name).on_output]
ON_OUTPUT = [name for name in ns.INTERVENTIONS if Intervention(name).on_output]


def arguments(name: str) -> dict[str, Any]:
    return dict(zip(("zero", "mode"), Intervention(name).arguments, strict=True))


def boot(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[ns.Model, Any]:
    """An architecture of the zoo, loaded by negspace with eager attention, and the bridge over the same checkpoint."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    zoo.build(name, **changes).save_pretrained(folder)
    zoo.tokenizer().save_pretrained(folder)
    return ns.load(folder, attn_implementation="eager"), TransformerBridge.boot_transformers(str(folder))


def some(model: ns.Model) -> ns.NeuronSet:
    return ns.NeuronSet.from_indices(model, {site.layer: range(0, site.width, 2) for site in model.sites})


def logits(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(input_ids=zoo.ids(), use_cache=False).logits


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "phi3", "qwen2", "gemma2"])
def test_a_bridge_is_wrapped_as_the_model_that_it_holds(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, bridge = boot(name, tmp_path, monkeypatch)
    before = bridge(zoo.ids(), return_type="logits")
    wrapped = ns.wrap(bridge)
    assert wrapped.fingerprint == model.fingerprint
    assert wrapped.sites == model.sites
    assert torch.equal(logits(wrapped.module), logits(model.module))
    shared = {p.data_ptr() for p in bridge.original_model.parameters()}
    assert all(p.data_ptr() in shared for p in wrapped.module.parameters())
    assert torch.equal(bridge(zoo.ids(), return_type="logits"), before)


@pytest.mark.parametrize("intervention", ON_INPUT)
@pytest.mark.parametrize("name", ["gpt2", "llama", "phi3"])
def test_hooks_do_what_intervene_does(
    name: str, intervention: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, bridge = boot(name, tmp_path, monkeypatch)
    check(model, bridge, intervention)


@pytest.mark.parametrize("intervention", ON_OUTPUT)
def test_hooks_on_the_output_of_a_plain_mlp(intervention: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, bridge = boot("gpt2", tmp_path, monkeypatch)
    check(model, bridge, intervention)


def check(model: ns.Model, bridge: Any, intervention: str) -> None:
    """Up to rounding: a bridge computes attention by itself."""
    neurons, ids = some(model), zoo.ids()
    scan = ns.scan(model, TEXT, window=32) if "mean" in intervention else None
    with ns.intervene(model, neurons, scan=scan, **arguments(intervention)):
        wanted = logits(model.module)
    plain = bridge(ids, return_type="logits")
    hooks = ns.transformer_lens_hooks(bridge, neurons, scan=scan, **arguments(intervention))
    with torch.no_grad():
        changed = bridge.run_with_hooks(ids, fwd_hooks=hooks, return_type="logits")
    torch.testing.assert_close(changed, wanted, atol=2e-5, rtol=1e-4)
    assert (changed - plain).abs().max() > 1e-3
    assert torch.equal(bridge(ids, return_type="logits"), plain)


def test_the_output_of_a_gated_activation_has_no_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, bridge = boot("llama", tmp_path, monkeypatch)
    with pytest.raises(InterventionError, match="only on its product"):
        ns.transformer_lens_hooks(bridge, some(model), mode="sign_flip")


def test_experts_have_no_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, bridge = boot("mixtral", tmp_path, monkeypatch)
    with pytest.raises(InterventionError, match="routed experts"):
        ns.transformer_lens_hooks(bridge, ns.NeuronSet.from_indices(model, {0: [(1, 3)]}), zero="negative")


def test_processed_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, bridge = boot("gpt2", tmp_path, monkeypatch)
    bridge.enable_compatibility_mode(no_processing=True)
    assert ns.wrap(bridge).fingerprint == model.fingerprint
    check(model, bridge, "zero_negative")
    bridge.enable_compatibility_mode()
    with pytest.raises(ModelError, match="layer norms folded in"):
        ns.wrap(bridge)


def test_hooks_of_others_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, bridge = boot("gpt2", tmp_path, monkeypatch)
    bridge.add_hook("blocks.0.mlp.hook_pre", lambda a, hook: a * 0)
    with pytest.raises(ModelError, match="it has hooks"):
        ns.wrap(bridge)
    bridge.reset_hooks()
    ns.wrap(bridge)


def test_weights_edited_in_place_are_those_of_the_wrapped_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, bridge = boot("gpt2", tmp_path, monkeypatch)
    with torch.no_grad():
        bridge.blocks[0].attn.q.weight.mul_(3)
    wrapped = ns.wrap(bridge)
    assert wrapped.fingerprint != model.fingerprint
    torch.testing.assert_close(logits(wrapped.module), bridge(zoo.ids(), return_type="logits"), atol=2e-5, rtol=1e-4)
    assert (logits(wrapped.module) - logits(model.module)).abs().max() > 1e-3


def test_weights_that_are_not_shared_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, bridge = boot("gpt2", tmp_path, monkeypatch)
    q = bridge.blocks[0].attn.q.original_component
    q.weight = torch.nn.Parameter(q.weight.detach() * 3)
    with pytest.raises(ModelError, match="does not share"):
        ns.wrap(bridge)


def test_values_that_are_not_finite_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, bridge = boot("gpt2", tmp_path, monkeypatch)
    bridge.add_hook("blocks.0.mlp.hook_pre", lambda a, hook: a * float("nan"))
    with pytest.raises(ModelError, match="it has hooks"):
        ns.wrap(bridge)


def test_an_error_of_the_bridge_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, bridge = boot("gpt2", tmp_path, monkeypatch)

    def fails(a: torch.Tensor, hook: Any) -> None:
        raise ZeroDivisionError("of this hook")

    bridge.add_hook("blocks.0.mlp.hook_pre", fails)
    with pytest.raises(ModelError, match="ZeroDivisionError: of this hook") as raised:
        ns.wrap(bridge)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_memory_that_runs_out_in_a_bridge_is_no_fault_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, bridge = boot("gpt2", tmp_path, monkeypatch)

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with monkeypatch.context() as patched:
        patched.setattr(bridge, "run_with_hooks", full)
        with pytest.raises(ModelError, match=r"found: not enough memory \(CUDA out of memory.*\nto do: use a smaller"):
            ns.transformer_lens_hooks(bridge, some(model), zero="negative")
    bridge.add_hook("blocks.0.mlp.hook_pre", full)
    with pytest.raises(ModelError, match=r"found: not enough memory \(CUDA out of memory.*\nto do: use a smaller"):
        ns.wrap(bridge)


def test_a_bridge_without_transformers_inside_is_refused() -> None:
    from transformer_lens.config import TransformerBridgeConfig

    config = TransformerBridgeConfig(
        d_model=32, d_head=8, n_layers=2, n_ctx=32, n_heads=4, d_mlp=48, d_vocab=96, act_fn="gelu"
    )
    with pytest.raises(ModelError, match="holds no transformers model"):
        ns.wrap(TransformerBridge.boot_native(config), zoo.tokenizer())
