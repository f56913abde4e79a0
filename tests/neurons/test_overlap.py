"""Overlaps against counting, and chance against drawing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from negspace.errors import SelectionError
from negspace.neurons.layout import Layout
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.overlap import overlap
from negspace.neurons.select import random

LAYOUT = Layout.from_rows((("a", 0, 0, 60), ("b", 1, 4, 10)))


def sets(first: dict[str, list[int]], second: dict[str, list[int]]) -> tuple[NeuronSet, NeuronSet]:
    return tuple(NeuronSet({k: np.array(v) for k, v in one.items()}, LAYOUT) for one in (first, second))  # type: ignore[return-value]


def test_common_neurons_are_counted_at_all_sites_or_some():
    one, two = sets({"a": [1, 2, 3], "b": [7]}, {"a": [2, 3, 4, 5], "b": [8]})
    found = overlap(one, two)
    assert (found.first, found.second, found.common) == (4, 5, 2)
    assert found.jaccard == pytest.approx(2 / 7)
    assert overlap(one, two, sites=["a"]).jaccard == pytest.approx(2 / 5)
    assert overlap(one, one).jaccard == 1
    assert np.isnan(overlap(*sets({}, {})).jaccard)


def test_chance_is_what_random_sets_do():
    drawn = [
        overlap(random(LAYOUT, 0.3, seed=seed), random(LAYOUT, 0.2, seed=10_000 + seed)).jaccard for seed in range(1500)
    ]
    found = overlap(random(LAYOUT, 0.3, seed=1), random(LAYOUT, 0.2, seed=10_001))
    assert np.mean(drawn) == pytest.approx(found.expected, abs=4 * np.std(drawn) / np.sqrt(1500))
    inside = np.mean([found.expected_low <= one <= found.expected_high for one in drawn])
    assert inside >= 0.95
    assert np.mean(np.array(drawn) < found.expected_low) <= 0.03
    assert np.mean(np.array(drawn) > found.expected_high) <= 0.03


def test_p_is_twice_the_smaller_tail():
    one, two = sets({"a": [0, 1]}, {"a": [0, 1]})
    assert overlap(one, two).p == pytest.approx(2 / (60 * 59 / 2))
    apart = overlap(*sets({"a": [0, 1]}, {"a": [2, 3]}))
    assert apart.p == 1  # two of sixty seldom meet by chance
    half = overlap(*sets({"a": list(range(30))}, {"a": list(range(30, 60))}))
    assert half.p < 1e-15


def test_large_sites_agree_with_small_ones():
    layout = Layout.from_rows((f"s{k}", k, 0, 4000) for k in range(3))
    one, two = (random(layout, 0.4, seed=seed) for seed in (1, 2))
    found = overlap(one, two)
    common = 3 * 1600 * 1600 / 4000
    assert found.expected == pytest.approx(common / (9600 - common), rel=1e-3)
    # By then the number in common is as good as normal, with the variance of three hypergeometric numbers.
    spread = 1.96 * np.sqrt(3 * stats.hypergeom.var(4000, 1600, 1600))
    for end, number in ((found.expected_low, common - spread), (found.expected_high, common + spread)):
        assert end == pytest.approx(number / (9600 - number), abs=3e-4)


def test_sets_of_other_models_and_unknown_sites_are_refused():
    one, _ = sets({"a": [1]}, {})
    with pytest.raises(SelectionError, match="compare sets of one model"):
        overlap(one, NeuronSet({}, Layout(LAYOUT.sites[:1])))
    with pytest.raises(SelectionError, match="the overlap at c"):
        overlap(one, one, sites=["c"])


def test_chance_draws_from_the_neurons_that_could_be_chosen():
    """Two independent rankings of 12 of a site's 60 neurons: chance shares a third of 4, and not a fifteenth."""
    one, two = sets({"a": [0, 1, 2, 3]}, {"a": [2, 3, 4, 5]})
    eligible = np.arange(100) < 12
    found = overlap(one, two, eligible=eligible)
    drawn = stats.hypergeom(12, 4, 4)
    assert found.p == pytest.approx(min(1, 2 * min(drawn.sf(1), drawn.cdf(2))))
    assert found.expected > 3 * overlap(one, two).expected
