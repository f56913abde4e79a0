"""Corrections against hand-computed values, and the place of a value among random sets."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from negspace.significance import correct
from negspace.significance.correction import Method

RAW = np.array([0.01, 0.04, 0.03, 0.005])


def test_holm_by_hand() -> None:
    corrected = correct(RAW)
    assert corrected.method == "holm"
    assert corrected.p == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert corrected.rejected.tolist() == [True, False, False, True]


@pytest.mark.parametrize(("method", "theirs"), [("holm", "holm"), ("benjamini-hochberg", "fdr_bh")])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_statsmodels(method: Method, theirs: str, seed: int) -> None:
    p = np.round(np.random.default_rng(seed).beta(0.3, 2, size=15), 2)  # rounded, so that ties occur
    rejected, adjusted, *_ = multipletests(p, alpha=0.05, method=theirs)
    corrected = correct(p, method)
    assert corrected.p == pytest.approx(adjusted)
    assert corrected.rejected.tolist() == rejected.tolist()


def test_missing_tests_stay_out_of_the_family() -> None:
    corrected = correct([0.01, np.nan, 0.04])
    assert corrected.tests == 2
    assert corrected.p[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(corrected.p[1])
    assert not corrected.rejected[1]
    assert correct([np.nan]).tests == 0


def test_wrong_method_or_p_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown correction"):
        correct(RAW, "sidak")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        correct([1.2])


def test_holm_bounds_the_family_wise_error() -> None:
    rng = np.random.default_rng(0)
    wrong = sum(correct(rng.random(12)).rejected.any() for _ in range(600))
    assert wrong / 600 <= 0.075
