"""Near pairs: as in all distances taken one by one; the neuron's pairs and their controls are of different tokens."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from negspace.stats import nearest
from negspace.stats.nearest import Matcher, NearPairs, furthest, near_pairs


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    rng = np.random.default_rng(0)
    made = (rng.normal(size=(300, 12)) * rng.uniform(0.1, 3, size=(300, 1)) + 50).astype(np.float32)
    made[200:250] = made[:50]  # tokens of equal inputs
    made[250] = made[0] + np.float32(1e-5)  # and one that differs by rounding
    return made


@pytest.mark.parametrize("block", [1 << 23, 300 * 7])
def test_equals_all_distances(points: np.ndarray, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "_BLOCK", block)
    made = near_pairs(points, 5)
    kept = [*range(200), *range(251, 300)]  # the first of each input
    distance = cdist(points[kept].astype(np.float64), points[kept].astype(np.float64))
    np.fill_diagonal(distance, np.inf)
    expected = {
        tuple(sorted((kept[row], kept[other]))) for row in range(249) for other in np.argsort(distance[row])[:5]
    }
    assert set(zip(made.first.tolist(), made.second.tolist(), strict=True)) == expected
    assert (made.first < made.second).all()
    assert (np.diff(made.distance) >= 0).all()
    assert made.points == 249
    difference = points[made.first].astype(np.float64) - points[made.second].astype(np.float64)
    assert np.allclose(made.distance * made.typical, np.linalg.norm(difference, axis=1))


def test_typical_is_the_rms_over_all_pairs() -> None:
    x = np.random.default_rng(1).normal(size=(40, 3))
    squares = cdist(x, x)[np.triu_indices(40, 1)] ** 2
    assert near_pairs(x, 3).typical == pytest.approx(np.sqrt(squares.mean()))


def test_the_nearest_share(points: np.ndarray) -> None:
    made = near_pairs(points, 5)
    half = made.nearest(0.5)
    assert len(half) == -(-len(made) // 2)
    assert half.distance.max() <= made.distance[len(half) :].min()


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_nothing_to_pair(rows: int) -> None:
    assert len(near_pairs(np.ones((rows, 4), np.float32), 3)) == 0


def test_furthest_uses_each_token_once(points: np.ndarray) -> None:
    pairs = near_pairs(points, 5)
    a = np.random.default_rng(2).normal(size=300)
    chosen = furthest(a, pairs, 20)
    apart = np.abs(a[pairs.first] - a[pairs.second])
    assert len(chosen) == 20
    assert chosen[0] == np.argmax(apart)
    assert (np.diff(apart[chosen]) <= 0).all()
    ends = np.concatenate([pairs.first[chosen], pairs.second[chosen]])
    assert len(np.unique(ends)) == 40
    # Whatever was passed over shares a token with a pair that is driven further apart.
    for pair in np.flatnonzero(apart > apart[chosen[-1]]):
        before = chosen[apart[chosen] >= apart[pair]]
        taken = {*pairs.first[before].tolist(), *pairs.second[before].tolist()}
        assert pair in chosen or {int(pairs.first[pair]), int(pairs.second[pair])} & taken


def test_a_pair_that_is_not_parted_is_not_chosen(points: np.ndarray) -> None:
    assert len(furthest(np.zeros(300), near_pairs(points, 5), 20)) == 0


def test_controls_are_of_the_stratum_and_of_other_tokens(points: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    pairs = near_pairs(points, 8)
    stratum = rng.integers(4, size=len(pairs))
    selected = furthest(rng.normal(size=300), pairs, 25)
    matched = Matcher(pairs, stratum).match(selected)
    found = matched >= 0
    assert found.sum() > 15
    assert (stratum[matched[found]] == stratum[selected[found]]).all()
    both = np.concatenate([selected, matched[found]])
    ends = np.concatenate([pairs.first[both], pairs.second[both]])
    assert len(np.unique(ends)) == len(ends)


def test_the_control_is_the_nearest_in_distance() -> None:
    first, second = np.arange(0, 12, 2), np.arange(1, 13, 2)
    pairs = NearPairs(first, second, np.array([0.1, 0.2, 0.4, 0.5, 0.8, 1.6]), 1.0, 12)
    stratum = np.array([0, 0, 0, 1, 0, 0])
    assert Matcher(pairs, stratum).match(np.array([2])).tolist() == [1]  # half as far; twice as far comes after it
    assert Matcher(pairs, stratum).match(np.array([2, 1])).tolist() == [4, 0]
    assert Matcher(pairs, stratum).match(np.array([3])).tolist() == [-1]
