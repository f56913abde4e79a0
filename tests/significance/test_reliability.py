"""Split-half reliability against simulated scores of known reliability."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from negspace.significance.reliability import reliability


def _half(truth: np.ndarray, tokens: int, rng: np.random.Generator) -> np.ndarray:
    """Scores whose error variance is 1,000 / tokens."""
    return truth + np.sqrt(1000 / tokens) * rng.standard_normal(truth.size)


def test_spearman_and_brown_project_to_more_tokens() -> None:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(20_000)
    made = reliability(_half(truth, 1000, rng), _half(truth, 1000, rng), 2000)
    assert made.halves == pytest.approx(stats.spearmanr(_half(truth, 1000, rng), _half(truth, 1000, rng))[0], abs=0.02)
    whole = stats.spearmanr(_half(truth, 2000, rng), _half(truth, 2000, rng))[0]
    assert made.reliability == pytest.approx(whole, abs=0.02)
    needed = round(made.tokens_needed)
    assert stats.spearmanr(_half(truth, needed, rng), _half(truth, needed, rng))[0] == pytest.approx(0.9, abs=0.015)
    easier = reliability(_half(truth, 1000, rng), _half(truth, 1000, rng), 2000, target=0.6)
    assert easier.tokens_needed < made.tokens_needed
    assert (made.neurons, made.tokens, made.target) == (20_000, 2000, 0.9)


def test_neurons_without_a_score_are_left_out_and_no_ranking_is_no_number() -> None:
    scores = np.arange(10.0)
    made = reliability([*scores, np.nan], [*scores[::-1], 1.0], 100)
    assert (made.neurons, made.halves, made.tokens_needed) == (10, pytest.approx(-1), np.inf)
    assert made.reliability == 0
    flat = reliability(np.ones(10), scores, 100)
    assert np.isnan([flat.halves, flat.reliability, flat.tokens_needed]).all()
    assert reliability(scores, scores, 100).tokens_needed == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("second", "tokens", "target"), [(9, 100, 0.9), (10, 1, 0.9), (10, 100, 1.0)])
def test_halves_that_do_not_fit_are_refused(second: int, tokens: int, target: float) -> None:
    with pytest.raises(ValueError, match="need"):
        reliability(np.arange(10.0), np.arange(float(second)), tokens, target=target)
