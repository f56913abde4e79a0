"""One effect over many models, against statsmodels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from negspace.errors import JudgementError
from negspace.significance import Nesting, compare
from negspace.significance.pooling import ModelEffect, pool

TASKS = Nesting.tasks(np.arange(8))
PLAIN = compare(np.arange(8.0), np.zeros(8), TASKS, scale="nats")


def _models(estimates: list[float], ses: list[float]) -> dict[str, ModelEffect]:
    return {
        f"model {k}": ModelEffect(replace(PLAIN, estimate=y, se=s, finding="undecided"), "same")
        for k, (y, s) in enumerate(zip(estimates, ses, strict=True))
    }


EFFECTS, ERRORS = [-0.09, -0.02, -0.05, 0.01, -0.12], [0.01, 0.02, 0.01, 0.015, 0.02]


def test_pooling_is_statsmodels_paule_mandel_with_hartung_and_knapp() -> None:
    made = pool(_models(EFFECTS, ERRORS))
    expected = combine_effects(np.array(EFFECTS), np.array(ERRORS) ** 2, method_re="iterated", use_t=True)
    assert made.tau2 == pytest.approx(expected.tau2, rel=1e-4)
    assert made.estimate == pytest.approx(expected.mean_effect_re, rel=1e-4)
    low, high = expected.conf_int()[3]
    assert (made.low, made.high) == (pytest.approx(low, rel=1e-3), pytest.approx(high, rel=1e-3))
    assert (made.q, made.i2) == (pytest.approx(expected.q), pytest.approx(expected.i2))
    assert made.q_p == pytest.approx(stats.chi2.sf(expected.q, 4))
    assert list(made.weights.values()) == pytest.approx(expected.weights_rel_re.tolist(), rel=1e-4)
    half = stats.t.ppf(0.975, 4) * np.sqrt(made.tau2 + ((high - low) / 2 / stats.t.ppf(0.975, 4)) ** 2)
    assert made.predicted_high == pytest.approx(made.estimate + half, rel=1e-3)
    assert (made.models, made.negative, made.positive) == (5, 4, 1)
    assert made.sign_p == pytest.approx(stats.binomtest(1, 5).pvalue)


def test_models_that_agree_by_luck_do_not_narrow_the_interval() -> None:
    made = pool(_models([0.05, 0.0501, 0.0499], [0.02, 0.02, 0.02]))
    assert (made.tau2, made.i2) == (0, 0)
    assert (made.high - made.low) / 2 == pytest.approx(stats.t.ppf(0.975, 2) * 0.02 / np.sqrt(3))


def test_heterogeneous_null_models_are_seldom_significant() -> None:
    rng, false = np.random.default_rng(0), 0
    for _ in range(400):
        ses = rng.uniform(0.01, 0.03, 6)
        effects = 0.05 * rng.standard_normal(6) + ses * rng.standard_normal(6)
        false += pool(_models(effects.tolist(), ses.tolist())).p < 0.05
    assert stats.binomtest(false, 400, 0.05, alternative="greater").pvalue > 0.01, false


def test_what_cannot_be_pooled_is_refused_or_said() -> None:
    models = _models(EFFECTS, ERRORS)
    with pytest.raises(JudgementError, match="other items or settings in model 4 than in model 0"):
        pool({**models, "model 4": ModelEffect(models["model 4"].contrast, "other")})
    points = replace(models["model 4"].contrast, scale="points")
    with pytest.raises(JudgementError, match="other scales in model 4"):
        pool({**models, "model 4": ModelEffect(points, "same")})
    with pytest.raises(JudgementError, match=r"model 1 and model 0 are versions of one model \(pythia\)"):
        pool({name: replace(one, lineage="pythia") for name, one in models.items()})
    two = pool({name: models[name] for name in ("model 0", "model 1")})
    assert np.isnan([two.estimate, two.low, two.p, two.predicted_low, two.tau2]).all()
    assert "only 2 models to pool; add models: 3 are needed" in two.reason
    mute = compare(np.zeros(1), np.zeros(1), Nesting.tasks([0]), scale="nats")
    some = pool({**models, "mute": ModelEffect(mute, "same")})
    assert some.models == 5
    assert some.left_out == {"mute": "only 1 task; add tasks: 3 are needed"}
    assert pool({}).models == 0
