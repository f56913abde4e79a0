"""Layers that are run several times in one pass: each pass's values are values of the same neuron, everywhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

import zoo
from negspace.controls.residual import FINAL, residual_change
from negspace.errors import SiteError, StatisticsError
from negspace.intervention import intervene
from negspace.models.layers import decoder_layers
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.models.resume import Layers
from negspace.models.sites import resolve
from negspace.neurons import select
from negspace.neurons.layout import Layout
from negspace.score.perplexity import perplexity
from negspace.score.sweep import Condition, sweep_perplexity
from negspace.stats.difficulty import draw_pairs
from negspace.stats.measure import measure
from negspace.stats.pair_rows import PairSample
from negspace.stats.parts import bounds, gather_part, merge_parts, pilot
from negspace.stats.readings import batches_of, readings
from negspace.text.windows import Windows

PASSES = (6, 6, 2, 2)  # two layers of the low stack, three times in each of two cycles; two of the high one
WINDOW = 32


@pytest.fixture(scope="module")
def model() -> Model:
    return wrap(zoo.build("hrm_text"), zoo.tokenizer(), "hrm_text")


def windows_of(count: int) -> Windows:
    tokens = zoo.ids(count, WINDOW, 0).numpy()
    tokens[:, 0] = 1
    special = np.zeros(tokens.shape, bool)
    special[:, 0] = True
    return Windows(tokens, special, WINDOW, WINDOW, "always", "random", "none", count)


def by_hooks(model: Model, windows: Windows) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What enters and leaves each gate projection, [windows, passes, window, ...], by hooks on the projections."""
    kept: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = []
    handles = []
    for stack in (model.module.model.L_module, model.module.model.H_module):
        for layer in stack.layers:
            kept.append(([], []))

            def note(_: Any, args: Any, out: torch.Tensor, into: Any = kept[-1]) -> None:
                into[0].append(args[0])
                into[1].append(out)

            handles.append(layer.mlp.gate_proj.register_forward_hook(note))
    with torch.no_grad():
        model.module(torch.from_numpy(windows.tokens), use_cache=False)
    for handle in handles:
        handle.remove()
    return [(torch.stack(x, dim=1), torch.stack(a, dim=1)) for x, a in kept]


def test_layers_of_both_stacks_are_found_with_their_passes(model: Model) -> None:
    assert [path for path, _ in decoder_layers(model.module)] == [
        f"model.{stack}_module.layers.{n}" for stack in "LH" for n in (0, 1)
    ]
    assert tuple(site.passes for site in model.sites) == PASSES
    assert sum(PASSES) == model.module.config.num_hidden_layers


def test_an_activation_called_more_often_than_its_layer_is_refused() -> None:
    module: Any = zoo.build("hrm_text")

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.act_fn(self.up_proj(x)))

    for layer in module.model.L_module.layers:
        layer.mlp.forward = forward.__get__(layer.mlp)
    with pytest.raises(SiteError, match="called 12 times in one forward pass, where 6 was expected"):
        resolve(module)


@pytest.mark.parametrize("exactly", [True, False])
def test_a_scan_counts_the_values_of_all_passes(model: Model, exactly: bool) -> None:
    windows = windows_of(40)
    found = measure(model, windows, exactly=exactly, md_pairs=0)
    assert any("run up to 6 times" in warning for warning in found.warnings)
    for layer, (_, a) in enumerate(by_hooks(model, windows)):
        values = a[:, :, 1:].reshape(-1, zoo.WIDTH).double().numpy()
        table = found.table[found.table["layer"] == layer]
        assert (table["tokens"] == 40 * (WINDOW - 1) * PASSES[layer]).all()
        np.testing.assert_allclose(table["mean"], values.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(table["std"], values.std(axis=0), rtol=1e-5)
        np.testing.assert_allclose(table["skewness"], scipy_stats.skew(values), rtol=1e-3, atol=1e-4)
        if exactly:
            standard = (values - values.mean(axis=0)) / values.std(axis=0)
            normal = scipy_stats.norm.ppf((np.arange(len(values)) + 0.5) / len(values))
            near = np.abs(np.sort(standard, axis=0) - normal[:, None]).mean(axis=0)
            np.testing.assert_allclose(table["wd"], near, atol=2e-3)


def test_the_sketch_agrees_with_the_closed_form(model: Model) -> None:
    windows = windows_of(40)
    sketched, exact = (measure(model, windows, exactly=how, md_pairs=0).table for how in (False, True))
    assert ((sketched["wd"] - exact["wd"]).abs() <= sketched["wd_error"]).all()
    assert sketched["wd_error"].max() < 0.02
    first = replace(windows, tokens=windows.tokens[:20], special=windows.special[:20])
    alone = measure(model, first, exactly=True, md_pairs=0).table["wd"]
    np.testing.assert_allclose(exact["wd_first"], alone, rtol=1e-6)
    np.testing.assert_allclose(sketched["wd_first"], alone, atol=0.02)
    np.testing.assert_allclose(sketched["wd_second"], exact["wd_second"], atol=0.02)


def test_pairs_are_of_one_pass_and_all_passes_count(model: Model) -> None:
    windows, pairs = windows_of(20), 50
    table = measure(model, windows, md_pairs=pairs, batch=3).table
    counted = np.flatnonzero(~windows.special.reshape(-1))
    drawn = counted[draw_pairs(len(counted), pairs, 0)]
    for layer, (x, a) in enumerate(by_hooks(model, windows)):
        rows = [t.transpose(1, 2).reshape(-1, PASSES[layer], t.shape[-1]).numpy()[drawn] for t in (x, a)]
        dx, dy = (np.abs(r[:, 0] - r[:, 1]).reshape(pairs * PASSES[layer], -1) for r in rows)
        far = np.linalg.norm(dx, axis=1)
        md = ((dy / np.median(dy, axis=0)) / (far / far.max())[:, None]).mean(axis=0)
        np.testing.assert_allclose(table[table["layer"] == layer]["md"], md, rtol=2e-3)


def test_parts_merge_to_the_same_bits(model: Model) -> None:
    windows = windows_of(80)
    whole = measure(model, windows, md_pairs=50)
    sample = PairSample.draw(windows, 50, 0)
    grids = pilot(model, windows)
    parts = [gather_part(model, windows, part, grids, pairs=sample) for part in bounds(len(windows), WINDOW, 3)]
    again = measure(model, windows, md_pairs=50, merged=merge_parts(parts))
    assert again.table.equals(whole.table)


def test_token_by_token_readings_are_refused(model: Model) -> None:
    neurons = {model.sites[0].path: np.array([1])}
    with pytest.raises(StatisticsError, match="runs 6 times"):
        next(readings(model, batches_of(windows_of(2)), neurons))


def test_a_sweep_runs_whole_passes_and_says_why(model: Model) -> None:
    assert Layers(model.module).looped
    assert not Layers(zoo.build("llama")).looped
    windows = windows_of(3)
    chosen = select.random(Layout.of(model.sites), 0.5, seed=0)

    def only(layer: int) -> Condition:
        changes = tuple("x" * (other == layer) for other in range(4))
        return Condition(str(layer), changes, lambda: intervene(model, chosen.restrict([layer]), zero="negative"))

    conditions = [only(layer) for layer in range(4)]
    swept = sweep_perplexity(model, windows, conditions)
    assert swept.share == 1
    assert any("several times in a pass" in note for note in swept.notes)
    for layer, score in enumerate(swept.scores):
        with intervene(model, chosen.restrict([layer]), zero="negative"):
            assert score.nll.tobytes() == perplexity(model, windows).nll.tobytes()


def test_the_residual_change_is_of_all_passes_and_of_the_last_output(model: Model) -> None:
    windows = windows_of(2)
    chosen = select.random(Layout.of(model.sites), 0.5, seed=0)
    items = residual_change(model, chosen, windows).items
    assert len(items) == 4 * 2
    assert items["tokens"].tolist() == [passes * (WINDOW - 1) for passes in PASSES for _ in range(2)]
    streams: list[torch.Tensor] = []

    def last() -> torch.Tensor:
        handle = model.module.model.H_module.final_norm.register_forward_pre_hook(
            lambda _, args: streams.append(args[0])
        )
        with torch.no_grad():
            model.module(torch.from_numpy(windows.tokens), use_cache=False)
        handle.remove()
        return streams[-1][:, 1:].double()

    plain = last()
    with intervene(model, chosen, zero="negative"):
        changed = last()
    ratio = (changed - plain).norm(dim=-1) / plain.norm(dim=-1)
    end = residual_change(model, chosen, windows, where="end").by_layer
    assert end == {FINAL: pytest.approx(float(ratio.square().mean().sqrt()), rel=1e-5)}
