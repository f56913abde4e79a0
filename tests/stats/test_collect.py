"""The one pass gathers what plain hooks and hand-made products see, whatever the batch; special tokens stay out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import zoo
from negspace.errors import StatisticsError
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.stats.collect import base_forward, experts_per_token, gather, pilot_windows
from negspace.stats.difficulty import difference, difficulty, distance
from negspace.stats.moments import moments_of, moments_of_sketch
from negspace.stats.pair_rows import PairSample
from negspace.stats.wasserstein import exact, from_sketch
from negspace.text.windows import Windows


def windows_of(count: int = 12, window: int = 32, bos: bool = False, seed: int = 0) -> Windows:
    tokens = zoo.ids(count, window, seed).numpy()
    special = np.zeros(tokens.shape, bool)
    if bos:
        tokens[:, 0], special[:, 0] = 1, True
    return Windows(tokens, special, window, window, "always" if bos else "auto", "random", "none", count)


def model_of(name: str, **changes) -> Model:
    return wrap(zoo.build(name, **changes), zoo.tokenizer(), name)


def seen_by_a_hook(model: Model, windows: Windows, path: str) -> np.ndarray:
    """Inputs of a module over all windows, in one plain forward, special tokens left out."""
    seen = []
    handle = model.module.get_submodule(path).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        model.module(input_ids=torch.from_numpy(windows.tokens), use_cache=False)
    handle.remove()
    flat = seen[0].reshape(-1, seen[0].shape[-1]).numpy()
    return flat[~windows.special.reshape(-1)]


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "opt", "gpt2", "phi3"])
def test_dense_sites_count_what_a_plain_hook_sees(name):
    model, windows = model_of(name), windows_of(bos=True)
    pairs = PairSample.draw(windows, 40, seed=1)
    found = gather(model, windows, batch=5, pairs=pairs)
    assert found.rows is not None
    for site, sketch in zip(found.sites, found.sketches, strict=True):
        md = found.rows.difficulty(site)
        a = seen_by_a_hook(model, windows, site.path)
        assert sketch is not None
        assert (sketch.tally("tokens") == len(a)).all()
        moments, expected = moments_of_sketch(sketch), moments_of(a)
        np.testing.assert_allclose(moments.mean, expected.mean, atol=1e-5)
        np.testing.assert_allclose(moments.std, expected.std, rtol=1e-4)
        # F of so few tokens (372) is a staircase, which the bins smooth; at 131,072 tokens the two differ by 1e-5.
        np.testing.assert_allclose(from_sketch(sketch).wd, exact(a).wd, atol=2e-3)
        assert md is not None
        x = seen_by_a_hook(model, windows, site.projection)
        counted = np.cumsum(~windows.special.reshape(-1)) - 1
        by_slot = np.empty(len(pairs.positions), np.int64)
        by_slot[pairs.slots] = counted[pairs.positions]
        first, second = by_slot.reshape(-1, 2).T
        expected_md = difficulty(distance(x[first], x[second])[:, 0], difference(a[first], a[second])).md
        np.testing.assert_allclose(md.md, expected_md, rtol=1e-3)


@pytest.mark.parametrize("how", ["grouped_mm", "batched_mm", "eager"])
def test_experts_count_their_own_tokens_and_no_special_ones(how):
    model, windows = model_of("mixtral", experts_implementation=how), windows_of(bos=True)
    calls = []
    site = model.sites[1]
    experts = model.module.get_submodule(site.path.rsplit(".", 1)[0])
    handle = experts.register_forward_pre_hook(lambda _, args: calls.append(args[:2]))
    with torch.no_grad():
        model.module(input_ids=torch.from_numpy(windows.tokens), use_cache=False)
    handle.remove()
    hidden, routed = calls[0]
    hidden, text = hidden.reshape(-1, zoo.HIDDEN), torch.from_numpy(~windows.special.reshape(-1))
    found = gather(model, windows, batch=5)
    sketch = found.sketches[found.sites.index(site)]
    samples = gather(model, windows, batch=5, exact=True).samples[1]
    assert sketch is not None
    assert samples is not None
    counted = sketch.tally("tokens").reshape(zoo.EXPERTS, -1)
    for expert in range(zoo.EXPERTS):
        mine = (routed == expert).any(dim=1) & text
        a = (hidden[mine] @ experts.gate_up_proj[expert].T)[:, : site.width].detach().numpy()
        assert (counted[expert] == len(a)).all()
        part = moments_of_sketch(sketch.take(np.arange(site.width) + expert * site.width))
        np.testing.assert_allclose(part.mean, a.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(part.std, a.std(axis=0), rtol=1e-4)
        np.testing.assert_allclose(np.sort(samples[expert], axis=0), np.sort(a, axis=0), atol=1e-5)
    assert counted[:, 0].sum() == 2 * int(text.sum())
    assert found.rows is None


@pytest.mark.parametrize("name", ["gpt_neox", "mixtral"])
def test_the_batch_does_not_matter(name):
    model, windows = model_of(name), windows_of(count=80, bos=True)
    assert pilot_windows(windows.window) < len(windows)
    first, second = (gather(model, windows, batch=batch) for batch in (1, 7))
    for one, other in zip(first.sketches, second.sketches, strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_array_equal(one.tally("tokens"), other.tally("tokens"))
        np.testing.assert_allclose(from_sketch(one).wd, from_sketch(other).wd, atol=1e-4)
        np.testing.assert_allclose(moments_of_sketch(one).mean, moments_of_sketch(other).mean, atol=1e-6)


def test_parts_on_one_grid_merge_to_the_whole():
    model, windows = model_of("gpt_neox"), windows_of(count=16)
    whole = gather(model, windows, batch=4)
    assert all(sketch is not None for sketch in whole.sketches)
    grids = [sketch.grid for sketch in whole.sketches if sketch is not None]
    halves = [
        Windows(windows.tokens[part], windows.special[part], 32, 32, "auto", "part", "none", 8)
        for part in (slice(0, 8), slice(8, 16))
    ]
    again = gather(model, windows, batch=4, grids=grids)
    parts = [gather(model, half, batch=4, grids=grids) for half in halves]
    for once, left, right in zip(again.sketches, *(part.sketches for part in parts), strict=True):
        assert once is not None
        assert left is not None
        assert right is not None
        assert left.merge(right).same(right.merge(left))
        np.testing.assert_array_equal(left.merge(right).bins, once.bins)
        np.testing.assert_array_equal(left.merge(right).tallies, once.tallies)


def test_the_output_layer_is_left_out_and_all_sites_still_fire():
    model = model_of("llama")
    fired = []
    handle = model.module.lm_head.register_forward_hook(lambda *_: fired.append(1))
    base_forward(model)(zoo.ids())
    gather(model, windows_of())
    handle.remove()
    assert fired == []


def test_nothing_is_left_on_the_model():
    model = model_of("gpt_neox")
    gather(model, windows_of())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.module.modules())


def test_weights_that_overflow_are_named_by_layer_and_neuron():
    model = model_of("gpt_neox")
    site = model.sites[1]
    with torch.no_grad():
        model.module.get_submodule(site.projection).bias[7] = float("inf")
    with pytest.raises(StatisticsError, match=r"(?s)layer 1.*neuron 7"):
        gather(model, windows_of())
    assert not any(m._forward_pre_hooks for m in model.module.modules())


def test_progress_is_told():
    told = []
    gather(model_of("llama"), windows_of(count=70), batch=20, progress=lambda *args: told.append(args))
    assert told[-1] == (70, 70, "scan")
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


@pytest.mark.parametrize(
    ("name", "three"),
    [
        ("mixtral", {"num_experts_per_tok": 3}),
        ("ernie4_5_moe", {"num_experts_per_tok": 3}),
        ("hunyuan_v1_moe", {"moe_topk": 3}),
        ("hunyuan_v1_moe", {"moe_topk": [3, 3]}),
        ("longcat_flash", {"moe_topk": 3, "zero_expert_num": 0}),
        ("dbrx", {"ffn_config": {**zoo.MIXTURES["dbrx"]["ffn_config"], "moe_top_k": 3}}),
    ],
)
def test_a_token_reaches_as_many_experts_as_the_configuration_says(name, three):
    model, windows = model_of(name, **three), windows_of(count=2)
    found = gather(model, windows)
    for site, sketch in zip(found.sites, found.sketches, strict=True):
        assert sketch is not None
        reached = sketch.tally("tokens").reshape(max(1, site.experts), -1)[:, 0].sum() / windows.tokens.size
        assert reached == experts_per_token(model, site) == (3 if site.experts else 1)


def test_a_configuration_that_does_not_say_is_taken_to_mean_two():
    model = model_of("mixtral")
    said = vars(model.module.config)
    said["num_experts_per_tok"] = None
    assert {experts_per_token(model, site) for site in model.sites} == {2}
    said["num_experts_per_tok"] = 99
    assert {experts_per_token(model, site) for site in model.sites} == {zoo.EXPERTS}
