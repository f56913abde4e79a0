"""Sweeps: each condition's scores are those of the condition alone bit for bit, from fewer layers; or from whole passes
where layers cannot be shared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import zoo
from negspace.errors import ScoreError
from negspace.intervention import intervene
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.models.resume import Layers
from negspace.neurons import select
from negspace.neurons.layout import Layout
from negspace.score.pairs import minimal_pairs, prepare
from negspace.score.perplexity import perplexity
from negspace.score.sweep import Condition, Run, Sweep, plan, sweep_pairs, sweep_perplexity
from negspace.text.pairs import Pair, PairSet
from negspace.text.source import read_text
from negspace.text.windows import Windows, make_windows

DEEP: dict[str, dict[str, Any]] = {
    "gpt_neox": {"num_hidden_layers": 4},
    "llama": {"num_hidden_layers": 4},
    "gpt2": {"n_layer": 4},
    "opt": {"num_hidden_layers": 4},
    "bloom": {"n_layer": 4},
    "qwen3_moe": {"num_hidden_layers": 4},
    "gemma3_text": {"num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2},
}
SHARED_KEYS = {
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "activation_sparsity_pattern": [0.0] * 4,
}


def make(name: str, **changes: Any) -> Model:
    return wrap(zoo.build(name, **{**DEEP.get(name, {}), **changes}), zoo.tokenizer())


def some_pairs() -> PairSet:
    draw = np.random.default_rng(0)

    def words(count: int) -> str:
        return " ".join(f"w{number}" for number in draw.integers(3, 90, count))

    made = []
    for paradigm in ("one", "two", "three"):
        stem = words(3)
        for index in range(5):
            start = f"{stem} {words(draw.integers(0, 4))}".strip()
            made.append(Pair(f"{start} {words(2)}", f"{start} {words(2)}", paradigm, "term", index))
    return PairSet("some", "blimp", tuple(made))


def some_windows(model: Model) -> Windows:
    draw = np.random.default_rng(1)
    text = " ".join(f"w{number}" for number in draw.integers(3, 96, 300))
    return make_windows(read_text([text], role="perplexity"), model.tokenizer, window=20)


def ablations(model: Model, groups: int = 4) -> list[Condition]:
    """The plain model; a set's part in each of consecutive groups of layers, alone and cumulatively."""
    chosen = select.random(Layout.of(model.sites), 0.5, seed=0)
    cut = np.array_split(np.arange(model.layers), groups)
    made = [Condition("plain", ("",) * model.layers, nullcontext)]
    for name, parts in (
        ("alone", [cut[k].tolist() for k in range(groups)]),
        ("cumulative", [np.concatenate(cut[: k + 1]).tolist() for k in range(groups)]),
    ):
        for number, layers in enumerate(parts):
            changes = tuple("x" if layer in layers else "" for layer in range(model.layers))
            neurons = chosen.restrict([layer for layer in layers if layer in chosen.layers])
            made.append(
                Condition(f"{name} {number}", changes, lambda neurons=neurons: intervene(model, neurons, zero="both"))
            )
    return made


def left_behind(module: Any) -> int:
    return sum(
        len(part._forward_hooks) + len(part._forward_pre_hooks) + ("forward" in part.__dict__)
        for part in module.modules()
    )


@pytest.mark.parametrize("name", DEEP)
def test_scores_are_those_of_each_condition_alone(name: str) -> None:
    model, pairs = make(name), some_pairs()
    windows, conditions = some_windows(model), ablations(model)
    by_text = sweep_perplexity(model, windows, conditions, batch=4)
    by_pair = sweep_pairs(model, prepare(model, pairs), conditions)
    values = set()
    for condition, text, pair in zip(conditions, by_text.scores, by_pair.scores, strict=True):
        with condition.open():
            alone = perplexity(model, windows, batch=4)
            paired = minimal_pairs(model, pairs)
        np.testing.assert_array_equal(text.nll, alone.nll)
        assert text.value == alone.value
        pd.testing.assert_frame_equal(pair.items, paired.items, check_exact=True)
        values.add(text.value)
    assert len(values) == 8, "nine conditions, two of them the same: the first group alone and cumulatively"
    # plain 4 layers; alone 1 + 2 + 3 + 4; cumulatively 3 + 2 + 1 more: of 9 times 4.
    assert by_text.share == by_pair.share == pytest.approx((4 + 10 + 6) / 36)
    assert by_text.notes == by_pair.notes == ()
    assert left_behind(model.module) == 0


def test_layers_below_a_change_do_not_run() -> None:
    model = make("llama")
    windows, conditions = some_windows(model), ablations(model)
    sweep_perplexity(model, windows, conditions, batch=len(windows))
    called: list[int] = []
    handles = [
        layer.mlp.register_forward_hook(lambda _, args, __: called.append(args[0].shape[0]))
        for layer in model.module.model.layers
    ]
    swept = sweep_perplexity(model, windows, conditions, batch=len(windows))
    for handle in handles:
        handle.remove()
    whole = [rows for rows in called if rows == len(windows)]
    assert len(whole) == round(swept.share * 9 * 4) == 20


def test_the_share_of_eight_groups_alone_and_cumulatively() -> None:
    changes = [tuple("x" if k == group else "" for k in range(8)) for group in range(8)]
    changes += [tuple("x" if k <= group else "" for k in range(8)) for group in range(8)]
    runs = plan(changes)
    layers = sum(8 - run.start for run in runs)
    # One whole pass for the last group alone, 2 + ... + 8 for the others, 7 + ... + 1 for the cumulative ones.
    assert layers == 8 + 35 + 28
    assert layers / (16 * 8) < 0.56
    assert sorted(index for run in runs for index in run.serves) == list(range(16))
    assert max(len(run.live) for run in runs) <= 7


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_starts_only_from_states_of_the_same_changes_below(seed: int) -> None:
    draw = np.random.default_rng(seed)
    depth = int(draw.integers(1, 7))
    changes = [tuple(draw.choice(["", "x", "y"], depth)) for _ in range(draw.integers(1, 12))]
    states: dict[int, tuple[str, ...]] = {}
    served: dict[int, tuple[str, ...]] = {}
    for run in plan(changes):
        own = changes[run.serves[0]]
        before = states[run.start] if run.start else ()
        made = before + own[run.start :]
        assert made == own, "what was kept at the boundary was made by the same changes"
        assert all(boundary > run.start for boundary in run.keep)
        states = {b: made[:b] if b in run.keep else states[b] for b in run.live}
        served |= dict.fromkeys(run.serves, own)
    assert [served[number] for number in range(len(changes))] == changes
    assert states == {}, "nothing is kept that nobody starts from"


def test_layers_that_share_keys_and_values_get_whole_passes() -> None:
    model, pairs = make("gemma3n_text", **SHARED_KEYS), some_pairs()
    windows, conditions = some_windows(model), ablations(model)
    swept = sweep_perplexity(model, windows, conditions, batch=4)
    paired = sweep_pairs(model, prepare(model, pairs), conditions)
    assert "fails (KeyError)" in swept.notes[0]
    assert "fails (KeyError)" in paired.notes[0]
    assert swept.share == pytest.approx(8 / 9), "the two equal conditions still share one pass"
    for condition, text, pair in zip(conditions, swept.scores, paired.scores, strict=True):
        with condition.open():
            np.testing.assert_array_equal(text.nll, perplexity(model, windows, batch=4).nll)
            pd.testing.assert_frame_equal(pair.items, minimal_pairs(model, pairs).items, check_exact=True)
    assert left_behind(model.module) == 0


def test_what_passes_layers_by_is_found_out() -> None:
    """A layer that reads what the first one left aside, which the last one overwrites: resumed passes are wrong."""
    model = make("llama")
    layers, aside = model.module.model.layers, {}
    handles = [
        layers[number].mlp.register_forward_hook(lambda _, __, out: aside.update(mean=out.mean())) for number in (0, 3)
    ]
    handles.append(layers[2].register_forward_hook(lambda _, __, out: out * (1 + aside["mean"])))
    windows, conditions = some_windows(model), ablations(model)
    swept = sweep_perplexity(model, windows, conditions, batch=4)
    assert "gives other logits than a whole one" in swept.notes[0]
    for condition, text in zip(conditions, swept.scores, strict=True):
        with condition.open():
            np.testing.assert_array_equal(text.nll, perplexity(model, windows, batch=4).nll)
    for handle in handles:
        handle.remove()


def test_noise_of_the_whole_pass_is_forgiven_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """On some devices no two passes agree to the last bit; then a resumed one need not either."""
    model = make("gpt_neox")
    windows, conditions = some_windows(model), ablations(model)
    draw = torch.Generator().manual_seed(0)
    noise = {"size": 1e-6}

    def blur(_: Any, __: Any, out: torch.Tensor) -> torch.Tensor:
        return out * (1 + noise["size"] * torch.rand(out.shape, generator=draw))

    handle = model.module.get_output_embeddings().register_forward_hook(blur)
    assert sweep_perplexity(model, windows, conditions).notes == ()
    noise["size"] = 1e-2
    assert "gives other logits" in sweep_perplexity(model, windows, conditions).notes[0]
    handle.remove()


def test_results_do_not_depend_on_batching() -> None:
    model = make("llama")
    windows, conditions = some_windows(model), ablations(model)
    one = sweep_perplexity(model, windows, conditions, batch=1)
    many = sweep_perplexity(model, windows, conditions, batch=7)
    for a, b in zip(one.scores, many.scores, strict=True):
        np.testing.assert_allclose(a.nll, b.nll, atol=1e-5, rtol=0)


def test_a_fault_of_the_model_itself_is_no_reason_to_fall_back() -> None:
    model = make("llama")
    conditions = ablations(model)

    @contextmanager
    def broken() -> Iterator[None]:
        def fail(*_: Any) -> None:
            raise RuntimeError("the condition's own")

        handle = model.module.model.layers[3].register_forward_hook(fail)
        try:
            yield
        finally:
            handle.remove()

    conditions.append(Condition("broken", ("", "", "", "z"), broken))
    with pytest.raises(RuntimeError, match="the condition's own"):
        sweep_perplexity(model, some_windows(model), conditions)
    assert left_behind(model.module) == 0


def test_a_score_that_is_not_finite_names_its_condition() -> None:
    model = make("gpt_neox")

    @contextmanager
    def poison() -> Iterator[None]:
        handle = model.module.gpt_neox.layers[2].register_forward_hook(lambda _, __, out: out * float("nan"))
        try:
            yield
        finally:
            handle.remove()

    plain = Condition("plain", ("",) * 4, nullcontext)
    poisoned = Condition("poisoned", ("", "", "z", ""), poison)
    with pytest.raises(ScoreError, match=r"poisoned: log-likelihoods of"):
        sweep_perplexity(model, some_windows(model), [plain, poisoned])
    with pytest.raises(ScoreError, match=r"poisoned: the score of the (good|bad) sentence of pair \d of \w+ in some"):
        sweep_pairs(model, prepare(model, some_pairs()), [plain, poisoned])


def test_progress_reaches_its_total() -> None:
    model = make("gpt_neox")
    windows, conditions = some_windows(model), ablations(model)
    for run in (
        lambda note: sweep_perplexity(model, windows, conditions, batch=4, progress=note),
        lambda note: sweep_pairs(model, prepare(model, some_pairs()), conditions, progress=note),
    ):
        calls: list[tuple[int, int, str]] = []
        run(lambda *call, calls=calls: calls.append(call))
        assert calls[-1][0] == calls[-1][1]
        assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)


def test_conditions_must_say_what_they_do_in_each_layer() -> None:
    model = make("gpt_neox")
    with pytest.raises(ScoreError, match="a sweep over 0 conditions of a model of 4 layers"):
        Sweep(model.module, [])
    with pytest.raises(ScoreError, match="does not say what it does in each layer"):
        Sweep(model.module, [Condition("short", ("",), nullcontext)])


def test_a_single_condition_is_one_whole_pass() -> None:
    assert plan([("", "x")]) == (Run((0,), 0, frozenset(), frozenset()),)
    assert len(Layers(make("llama").module)) == 4
