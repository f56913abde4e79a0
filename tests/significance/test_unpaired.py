"""Two groups of different units."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from negspace.significance.unpaired import compare_groups


def test_equals_statsmodels() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(1, 1, 9), rng.normal(0, 3, 40)
    made = compare_groups(first, second, level=0.9)
    theirs = CompareMeans(DescrStatsW(first), DescrStatsW(second))
    assert (made.difference.low, made.difference.high) == pytest.approx(
        theirs.tconfint_diff(alpha=0.1, usevar="unequal")
    )
    assert made.p == pytest.approx(theirs.ttest_ind(usevar="unequal")[1])
    assert made.difference.estimate == pytest.approx(first.mean() - second.mean())


def test_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        made = compare_groups(rng.normal(0.5, 1, 6), rng.normal(0, 2, 30)).difference
        covered += made.low <= 0.5 <= made.high
    assert stats.binomtest(covered, 400, 0.95).pvalue > 0.01


@pytest.mark.parametrize(("first", "second"), [([1.0], [1.0, 2.0]), ([1.0, 1.0], [2.0, 2.0, 2.0])])
def test_no_interval_without_variation(first: list[float], second: list[float]) -> None:
    made = compare_groups(first, second)
    assert math.isnan(made.p)
    assert math.isnan(made.difference.low)
    assert made.difference.estimate == pytest.approx(np.mean(first) - np.mean(second))


def test_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="finite"):
        compare_groups([1.0, np.nan], [1.0, 2.0])
    with pytest.raises(ValueError, match="non-empty"):
        compare_groups([], [1.0, 2.0])
