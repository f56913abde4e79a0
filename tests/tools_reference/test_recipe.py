"""The recipe: its schedule, and the three model families that it builds."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError
from tools.reference.recipe import RECIPES, Recipe

SMALL = Recipe(vocab_size=300, width=32, layers=2, heads=2, mlp_width=64, context=16)


def test_the_schedule_rises_stays_and_falls_to_zero() -> None:
    recipe = Recipe(steps=1_000, warmup=100, decay=0.3, learning_rate=0.01)
    rates = [recipe.rate(step) for step in range(1_000)]
    assert rates[0] == pytest.approx(0.01 / 100)
    assert all(a < b for a, b in pairwise(rates[:100]))
    assert set(rates[99:701]) == {0.01}
    assert all(a > b for a, b in pairwise(rates[701:]))
    assert rates[-1] == pytest.approx(0.01 / 300)
    assert recipe.rate(1_000) == 0


def test_a_schedule_without_warm_up_or_decay_is_constant() -> None:
    recipe = Recipe(steps=50, warmup=0, decay=0, learning_rate=0.02)
    assert {recipe.rate(step) for step in range(50)} == {0.02}


@pytest.mark.parametrize(("family", "activation"), [("gpt_neox", "GELU"), ("llama", "SiLU"), ("opt", "ReLU")])
def test_each_family_has_its_activation_and_tied_embeddings(family: str, activation: str) -> None:
    with torch.random.fork_rng():
        model = SMALL.model_copy(update={"family": family}).build()
    assert any(activation.lower() in type(part).__name__.lower() for part in model.modules())
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    logits = model(input_ids=torch.arange(8)[None]).logits
    assert logits.shape == (1, 8, SMALL.vocab_size)


@pytest.mark.parametrize("wrong", [{"vocab_size": 100}, {"steps": 0}, {"decay": 1.5}, {"family": "gpt9"}, {"wdith": 3}])
def test_a_recipe_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        Recipe(**wrong)


@pytest.mark.parametrize(
    ("steps", "count", "kept"),
    [
        (8, 5, (0, 1, 2, 4, 8)),
        (8_192, 4, (0, 2_048, 4_096, 8_192)),
        (100, 3, (0, 50, 100)),
        (3, 9, (0, 1, 3)),
        (5, 0, ()),
        (5, 1, (0,)),
    ],
)
def test_each_snapshot_is_at_half_the_step_of_the_next(steps: int, count: int, kept: tuple[int, ...]) -> None:
    assert Recipe(steps=steps, snapshots=count).snapshot_steps() == kept


def test_the_named_recipes_differ_in_the_mlp_alone_and_are_of_one_size() -> None:
    gelu = RECIPES["gelu"].model_dump(exclude={"family", "mlp_width"})
    sizes = {}
    for name in ("gelu", "silu", "relu"):
        assert RECIPES[name].model_dump(exclude={"family", "mlp_width"}) == gelu
        with torch.random.fork_rng():
            sizes[name] = sum(part.numel() for part in RECIPES[name].build().parameters())
    assert {RECIPES[name].family for name in sizes} == {"gpt_neox", "llama", "opt"}
    assert max(sizes.values()) < 1.02 * min(sizes.values())
    assert all(3e6 <= size <= 6e6 for size in sizes.values())


def test_the_series_has_at_least_ten_checkpoints_of_a_smaller_gelu_model() -> None:
    series = RECIPES["series"]
    steps = series.snapshot_steps()
    assert series.family == "gpt_neox"
    assert len(steps) >= 10
    assert steps[0] == 0
    assert steps[-1] == series.steps
    with torch.random.fork_rng():
        assert 2 * sum(part.numel() for part in series.build().parameters()) <= 2e6
