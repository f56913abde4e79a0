"""Interventions are exact, touch nothing else, and leave no trace."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from torch.nn.functional import gelu, relu, silu

from negspace.errors import InterventionError, SelectionError
from negspace.intervention import INTERVENTIONS, intervene, make_ablation
from negspace.models import identity
from negspace.models.behaviour import behaviour
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.models.taps import tap
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan, scan
from zoo import build, tokenizer

IDS = torch.tensor([[5, 9, 3, 17, 20, 8, 44, 31], [7, 7, 61, 2, 90, 11, 12, 13]])

ACTIVATION: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"gpt_neox": gelu, "llama": silu, "opt": relu}


def _model(name: str) -> Model:
    return wrap(build(name), tokenizer())


def _chosen(model: Model, layers: tuple[int, ...] = (0, 1)) -> NeuronSet:
    return NeuronSet.from_indices(model, {layer: [1, 5, 6, 30] for layer in layers})


def _logits(model: Model) -> torch.Tensor:
    with torch.no_grad():
        return model.module(input_ids=IDS).logits


def _seen(model: Model, layer: int, run: Callable[[], object]) -> tuple[torch.Tensor, torch.Tensor]:
    """The activation's input and output [tokens, width] as the layer has them while `run` goes on."""
    got: list[tuple[torch.Tensor, torch.Tensor]] = []
    site = model.sites[layer]
    with tap(
        model,
        after=lambda _, a, out, __: got.append((a.clone().flatten(0, -2), out.clone().flatten(0, -2))),
        sites=[site],
    ):
        run()
    return got[0]


def _means(model: Model, mean: float = 0.3, negative: float = -0.2) -> Scan:
    """A scan's table with one mean for all neurons, which is all that an intervention reads of a scan."""
    rows = [
        {
            "layer": s.layer,
            "branch": s.branch,
            "expert": e if s.experts else -1,
            "neuron": i,
            "mean": mean,
            "mean_negative": negative,
        }
        for s in model.sites
        for e in range(max(1, s.experts))
        for i in range(s.width)
    ]
    info = SimpleNamespace(fingerprint=model.fingerprint, behaviour=(), model=model.source)
    return Scan(pd.DataFrame(rows), info)  # type: ignore[arg-type]


def _expected(name: str, a: torch.Tensor, act: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The activation's output on chosen neurons, by the definitions and nothing else."""
    y = act(a)
    return {
        "zero_negative": lambda: act(a * (a > 0)),
        "zero_positive": lambda: act(a * (a < 0)),
        "zero_both": lambda: act(a * 0),
        "relu_on_positives": lambda: torch.where(a > 0, a, y),
        "sign_flip": lambda: torch.where(y < 0, -y, y),
        "mean": lambda: act(torch.full_like(a, 0.3)),
        "negative_mean": lambda: act(torch.where(a < 0, torch.full_like(a, -0.2), a)),
    }[name]()


def _arguments(name: str) -> dict[str, str]:
    return {"zero": name.removeprefix("zero_")} if name.startswith("zero_") else {"mode": name}


@pytest.mark.parametrize("intervention", INTERVENTIONS)
@pytest.mark.parametrize("name", ["gpt_neox", "llama", "opt"])
def test_changes_the_chosen_neurons_as_defined_and_no_other(name: str, intervention: str) -> None:
    model = _model(name)
    neurons, plain = _chosen(model, (0,)), _logits(model)
    a, out = _seen(model, 0, lambda: _logits(model))
    scan = _means(model)

    def run() -> torch.Tensor:
        with intervene(model, neurons, **_arguments(intervention), scan=scan):  # type: ignore[arg-type]
            return _logits(model)

    after: list[torch.Tensor] = []
    site = model.sites[0]
    projection = model.module.get_submodule("model.decoder.layers.0.fc2" if name == "opt" else _down(name))
    handle = projection.register_forward_pre_hook(lambda _, args: after.append(args[0].clone().flatten(0, -2)))
    run()
    handle.remove()
    seen = after[-1]
    if name == "llama":  # a gated MLP multiplies by the up projection before the down projection
        up = model.module.get_submodule("model.layers.0.mlp.up_proj")
        inputs: list[torch.Tensor] = []
        handle = up.register_forward_hook(lambda _, __, value: inputs.append(value.flatten(0, -2)))
        _logits(model)
        handle.remove()
        expected_all = out * inputs[0]
        scale = inputs[0]
    else:
        expected_all, scale = out, torch.ones_like(out)
    columns = torch.from_numpy(neurons.indices[site.path].copy())
    others = torch.ones(site.width, dtype=torch.bool)
    others[columns] = False
    assert torch.equal(seen[:, others], expected_all[:, others])
    wanted = _expected(intervention, a[:, columns], ACTIVATION[name]) * scale[:, columns]
    torch.testing.assert_close(seen[:, columns], wanted, atol=1e-6, rtol=1e-5)
    assert torch.equal(_logits(model), plain)


def _down(name: str) -> str:
    return {"gpt_neox": "gpt_neox.layers.0.mlp.dense_4h_to_h", "llama": "model.layers.0.mlp.down_proj"}[name]


@pytest.mark.parametrize("intervention", [i for i in INTERVENTIONS if i != "sign_flip"])
def test_it_changes_logits_where_it_should(intervention: str) -> None:
    model = _model("gpt_neox")
    plain = _logits(model)
    with intervene(model, _chosen(model), **_arguments(intervention), scan=_means(model)):  # type: ignore[arg-type]
        assert not torch.equal(_logits(model), plain)
    assert torch.equal(_logits(model), plain)


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "opt", "mixtral", "gpt2"])
def test_an_empty_set_is_bitwise_the_plain_model_and_sets_no_hook(name: str) -> None:
    model = _model(name)
    plain = _logits(model)
    with intervene(model, NeuronSet.from_indices(model, {}), zero="negative"):
        assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.module.modules())
        assert torch.equal(_logits(model), plain)


def test_zero_negative_is_bitwise_a_no_op_on_relu() -> None:
    model = _model("opt")
    plain = _logits(model)
    everything = NeuronSet.from_indices(model, {s.layer: range(s.width) for s in model.sites})
    with intervene(model, everything, zero="negative"):
        assert torch.equal(_logits(model), plain)
    with intervene(model, everything, zero="positive"):
        assert not torch.equal(_logits(model), plain)


@pytest.mark.parametrize("implementation", ["eager", "batched_mm", "grouped_mm"])
def test_an_experts_neuron_is_changed_in_that_expert_alone(implementation: str) -> None:
    model = _model("mixtral")
    model.module.set_experts_implementation(implementation)
    plain = _logits(model)
    neurons = NeuronSet.from_indices(model, {0: [(2, 7), (3, 0)]})
    got: list[tuple[torch.Tensor, torch.Tensor]] = []
    with intervene(model, neurons, zero="both"):

        def keep(_: object, a: torch.Tensor, __: torch.Tensor, experts: torch.Tensor) -> None:
            got.append((a.clone(), experts.clone()))

        with tap(model, after=keep, sites=[model.sites[0]]):
            changed = _logits(model)
    a, experts = torch.cat([g[0] for g in got]), torch.cat([g[1] for g in got])
    zero = a == 0
    assert bool(zero[experts == 2][:, 7].all())
    assert bool(zero[experts == 3][:, 0].all())
    assert int(zero.sum()) == int((experts == 2).sum() + (experts == 3).sum()) > 0
    assert not torch.equal(changed, plain)
    assert torch.equal(_logits(model), plain)


def test_an_exception_inside_restores_the_model() -> None:
    model = _model("llama")
    plain = _logits(model)
    with pytest.raises(RuntimeError, match="inside"), intervene(model, _chosen(model), zero="both"):
        raise RuntimeError("inside")
    assert torch.equal(_logits(model), plain)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.module.modules())


def test_contexts_nest_and_weights_are_never_written() -> None:
    model = _model("gpt_neox")
    weights = {name: value.clone() for name, value in model.module.state_dict().items()}
    plain = _logits(model)
    both = _chosen(model)
    with intervene(model, both, zero="both"):
        at_once = _logits(model)
    with intervene(model, both, zero="negative"), intervene(model, both, zero="positive"):
        assert torch.equal(_logits(model), at_once)
    assert torch.equal(_logits(model), plain)
    assert all(torch.equal(value, weights[name]) for name, value in model.module.state_dict().items())


def test_gradients_pass_through() -> None:
    model = _model("gpt_neox")
    with intervene(model, _chosen(model), zero="negative"):
        loss = model.module(input_ids=IDS, labels=IDS).loss
        loss.backward()
    gradient = model.module.get_input_embeddings().weight.grad
    assert gradient is not None
    assert bool(torch.isfinite(gradient).all())
    assert float(gradient.abs().sum()) > 0
    with torch.no_grad(), intervene(model, _chosen(model), zero="negative"):
        torch.testing.assert_close(model.module(input_ids=IDS, labels=IDS).loss, loss.detach())


@pytest.mark.parametrize("part", ["negative", "positive"])
def test_gradients_pass_through_after_a_score_in_the_same_context(part: str) -> None:
    model = wrap(build("llama").to(torch.bfloat16), tokenizer())
    with intervene(model, _chosen(model), zero=part):  # type: ignore[arg-type]
        with torch.inference_mode():
            model.module(input_ids=IDS)
        model.module(input_ids=IDS).logits.float().sum().backward()
    assert all(parameter.grad is not None for parameter in model.module.model.layers.parameters())


def test_wrong_names_and_missing_means_are_explained() -> None:
    model = _model("gpt_neox")
    neurons = _chosen(model)
    for arguments, words in [
        ({}, "neither of the two"),
        ({"zero": "negative", "mode": "mean"}, "both of the two"),
        ({"zero": "sideways"}, "unknown name 'sideways'"),
        ({"mode": "median"}, "unknown name 'median'"),
        ({"mode": "mean"}, "pass scan="),
    ]:
        with pytest.raises(InterventionError, match=words), intervene(model, neurons, **arguments):  # type: ignore[arg-type]
            pass


def test_neurons_and_scans_of_another_model_are_refused() -> None:
    model, other = _model("gpt_neox"), _model("mixtral")
    with pytest.raises(SelectionError), intervene(model, NeuronSet.from_indices(other, {0: [(0, 1)]}), zero="negative"):
        pass
    with (
        pytest.raises(InterventionError, match="scan this model"),
        intervene(model, _chosen(model), mode="mean", scan=_means(other)),
    ):
        pass
    with (
        pytest.raises(InterventionError, match="not finite"),
        intervene(model, _chosen(model), mode="mean", scan=_means(model, mean=float("nan"))),
    ):
        pass


@pytest.mark.parametrize("intervention", INTERVENTIONS)
def test_one_that_is_prepared_does_the_same_in_all_layers_or_some(intervention: str) -> None:
    model = _model("llama")
    neurons, means, plain = _chosen(model), _means(model), _logits(model)
    arguments: dict[str, Any] = _arguments(intervention)
    ablation = make_ablation(model, neurons, **arguments, scan=means)
    for layers in ([0, 1], [1], [0], [1]):
        with intervene(model, neurons.restrict(layers), **arguments, scan=means):
            wanted = _logits(model)
        with ablation.open(layers):
            assert torch.equal(_logits(model), wanted)
        assert torch.equal(_logits(model), plain)
    with ablation.open(), intervene(model, neurons, **arguments, scan=means):
        both = _logits(model)
    with ablation.open(), ablation.open():
        assert torch.equal(_logits(model), both)


def test_a_scan_is_proved_once_for_all_sites_and_openings(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model("llama")
    means = scan(model, [" ".join(f"w{number % 90 + 3}" for number in range(300))], window=16)
    passes: list[object] = []
    monkeypatch.setattr(identity, "behaviour", lambda module: passes.append(module) or behaviour(module))
    ablation = make_ablation(model, _chosen(model), mode="mean", scan=means)
    for _ in range(3):
        with ablation.open():
            _logits(model)
    assert len(passes) == 1


def test_no_neurons_need_no_means_of_this_model() -> None:
    model = _model("gpt_neox")
    with intervene(model, NeuronSet.from_indices(model, {}), mode="mean", scan=_means(_model("mixtral"))):
        pass
