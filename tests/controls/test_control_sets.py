"""Control sets by count: as many as another set has at every site, lowest first, none of its neurons; nested growth."""

from __future__ import annotations

import numpy as np
import pytest

from negspace.controls import bottom_like, growth
from negspace.controls.sets import TOGETHER, orders
from negspace.errors import SelectionError
from negspace.models.load import wrap
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan, scan
from negspace.neurons.select import starved
from zoo import build, tokenizer


def _scan(name: str, **changes) -> Scan:
    words = " ".join(f"w{number % 90 + 3}" for number in range(0, 7 * 200, 7))
    return scan(wrap(build(name, scale=3.0, **changes), tokenizer()), [words], window=32, windows=4, md_pairs=16)


@pytest.fixture(scope="module")
def made() -> Scan:
    return _scan("gpt_neox")


@pytest.fixture(scope="module")
def mixture() -> Scan:
    return _scan("qwen2_moe")


@pytest.mark.parametrize("by", ["wd", "skewness", "kurtosis"])
def test_the_lowest_as_many_as_the_top_set_has(made: Scan, by: str) -> None:
    top = made.top(0.2, by=by).restrict([0]) | made.top(0.05, by=by)  # unlike numbers in the two layers
    low = bottom_like(made, top, by=by)
    assert low.count() == top.count()
    assert len(set(low.count().values())) == 2
    assert len(low & top) == 0
    for layer, part in made.table.groupby("layer"):
        score = part[by].abs() if by == "skewness" else part[by]
        lowest = part["neuron"].to_numpy()[np.argsort(score.to_numpy(), kind="stable")[: low.count()[int(str(layer))]]]
        path = made.info.layout.sites[int(str(layer))].path
        assert sorted(lowest) == low.indices[path].tolist()


def test_with_equal_shares_it_is_the_bottom_set(made: Scan, mixture: Scan) -> None:
    for one in (made, mixture):
        assert bottom_like(one, one.top(0.1)) == one.bottom(0.1)


def test_too_few_are_left(made: Scan) -> None:
    with pytest.raises(SelectionError, match="low-scoring neurons"):
        bottom_like(made, made.top(0.7))
    other = NeuronSet({"elsewhere": np.array([1])}, Layout.from_rows([("elsewhere", 0, 0, 8)]), "other")
    with pytest.raises(SelectionError, match="that set is of"):
        bottom_like(made, other)
    with pytest.raises(SelectionError, match="no such score"):
        bottom_like(made, made.top(0.1), by="beauty")


def test_neurons_without_a_score_are_never_taken(made: Scan) -> None:
    table = made.table.copy()
    table.loc[:9, "wd"] = np.nan
    holed = Scan(table, made.info)
    path = made.info.layout.sites[0].path
    assert not set(orders(holed)[path]) & set(range(10))
    assert set(range(10)) <= set(orders(holed, by=None)[path])


def test_neurons_of_a_starved_expert_are_never_taken(mixture: Scan) -> None:
    table = mixture.table.copy()
    hungry = ((table["layer"] == 0) & (table["branch"] == "experts") & (table["expert"] == 0)).to_numpy()
    table["tokens"] = np.where(hungry, 8, 5000)
    table.loc[hungry, "wd"] = 1e-6
    one = Scan(table, mixture.info)
    assert starved(table, mixture.info.layout).tolist() == hungry.tolist()
    assert hungry.any()
    assert not hungry[bottom_like(one, one.top(0.1)).rows].any()
    grown, drawn = (growth(one, by) for by in ("wd", None))
    assert not hungry[grown.take(grown.sizes).rows].any()
    assert hungry[drawn.take(drawn.sizes).rows].sum() == hungry.sum()  # at random, all can be drawn


@pytest.mark.parametrize("which", ["made", "mixture"])
def test_growth_is_nested_and_even_over_the_sites_of_a_layer(which: str, request: pytest.FixtureRequest) -> None:
    one: Scan = request.getfixturevalue(which)
    top = one.top(0.1)
    grown = growth(one, exclude=top)
    layers = list(one.info.layout.layers)
    assert sorted(grown.sizes) == layers
    sizes = one.info.layout.sizes
    before = None
    for share in (0.1, 0.5, 1.0):
        counts = {layer: round(share * size) for layer, size in grown.sizes.items()}
        now = grown.take(counts)
        assert now.count() == counts
        assert len(now & top) == 0
        assert before is None or len(before - now) == 0
        for path, size in sizes.items():
            free = size - len(top.indices[path])
            assert len(now.indices[path]) == pytest.approx(share * free, abs=1)
            assert now.indices[path].tolist() == sorted(orders(one, exclude=top)[path][: len(now.indices[path])])
        before = now


def test_growth_of_all_layers_together(made: Scan) -> None:
    grown = growth(made, exclude=made.top(0.1), together=True)
    counts = grown.take({TOGETHER: 40}).count()
    assert sum(counts.values()) == 40
    assert max(counts.values()) - min(counts.values()) <= 1


def test_growth_in_random_order(made: Scan) -> None:
    sets = [growth(made, None, seed=seed, exclude=made.top(0.1)).take({0: 9, 1: 9}) for seed in (0, 0, 1)]
    assert sets[0] == sets[1] != sets[2]
    assert growth(made, layers=[1]).sizes.keys() == {1}
