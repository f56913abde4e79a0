"""Joint effects against sums of single ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from negspace.significance import Nesting
from negspace.significance.additivity import additivity

WINDOWS = Nesting.windows(50)


def test_the_excess_is_a_paired_t_test_of_joint_minus_sum() -> None:
    rng = np.random.default_rng(0)
    plain = rng.normal(3, 0.3, 50)
    singles = plain + rng.gamma(2, 0.02, (3, 50))
    joint = plain + rng.gamma(2, 0.1, 50)
    made = additivity(joint, singles, plain, WINDOWS, scale="log ratio")
    excess = (joint - plain) - (singles - plain).sum(axis=0)
    assert made.excess.estimate == pytest.approx(excess.mean())
    assert made.excess.p == pytest.approx(stats.ttest_1samp(excess, 0).pvalue)
    assert (made.joint, made.total) == pytest.approx(((joint - plain).mean(), (singles - plain).sum(axis=0).mean()))
    assert (made.excess.finding, made.groups) == ("harm", 3)
    exact = additivity(singles.sum(axis=0) - 2 * plain, singles, plain, WINDOWS, scale="log ratio")
    assert exact.excess.finding == "undecided"
    assert exact.excess.estimate == pytest.approx(0, abs=1e-12)


def test_what_cannot_be_judged_gives_no_number() -> None:
    made = additivity(np.ones(3), np.zeros((2, 3)), np.zeros(3), Nesting.windows(3), scale="log ratio")
    assert made.excess.finding == "cannot be judged"
    assert np.isnan([made.joint, made.total, made.excess.estimate]).all()
    with pytest.raises(ValueError, match="two groups"):
        additivity(np.ones(50), np.zeros((1, 50)), np.zeros(50), WINDOWS, scale="nats")
