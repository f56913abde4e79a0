"""Many models: one effect for all, as a random effect over models, and how much they differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from negspace.errors import JudgementError
from negspace.significance.contrast import Contrast, Scale
from negspace.wording import counted

FEWEST = 3
"""Models that a pooled effect needs."""


@dataclass(frozen=True)
class ModelEffect:
    """One model's contrast, for pooling."""

    contrast: Contrast
    """The contrast, made from the same comparison in every model."""
    items: str
    """Hash of the items that it rests on: only effects on the same items can be pooled."""
    lineage: str = ""
    """The model that several are versions of: checkpoints of one training run, quantisations of one set of weights and
    adapters on one base are not several models. Empty: the model's own."""


@dataclass(frozen=True)
class Pooled:
    """A pooled effect; where it cannot be judged, every number but the counts is NaN and `reason` says why."""

    scale: Scale | None
    """Scale of the contrasts; None without any."""
    estimate: float
    """Mean effect over models like these."""
    low: float
    """Lower end of its interval (Hartung and Knapp, t with models - 1 degrees of freedom)."""
    high: float
    """Upper end."""
    p: float
    """Two-sided p-value against no mean effect."""
    predicted_low: float
    """Lower end of the interval in which a further model's true effect lies."""
    predicted_high: float
    """Upper end."""
    tau2: float
    """Variance of true effects over models (Paule and Mandel)."""
    i2: float
    """Share of the effects' variation that is not sampling error, (Q - (k - 1)) / Q, at least 0."""
    q: float
    """Cochran's Q."""
    q_p: float
    """p-value of Q against equal effects."""
    models: int
    """Models pooled."""
    negative: int
    """Models with an effect below zero."""
    positive: int
    """Models with an effect above zero."""
    sign_p: float
    """Two-sided p-value of the sign test; with k models it is at least 2^(1 - k)."""
    weights: Mapping[str, float]
    """Model -> weight, summing to 1."""
    left_out: Mapping[str, str]
    """Model -> why its contrast could not be judged and is left out."""
    reason: str
    """Why nothing can be pooled, and what to add; else empty."""


def pool(effects: Mapping[str, ModelEffect], *, alpha: float = 0.05) -> Pooled:
    """Pool one contrast over models.

    Random effects: model k's estimate has variance se_k^2 + tau^2, tau^2 by Paule and Mandel (1982), the root of
    Q(tau^2) = k - 1. The mean's interval is Hartung and Knapp's, with the scale held at 1 or above (Roever, Knapp and
    Friede 2015), so that models that agree by luck do not narrow it; the prediction interval is
    mean +- t(k - 1) sqrt(tau^2 + se^2) (as in metafor; Higgins, Thompson and Spiegelhalter 2009 take k - 2). Without
    the hold the numbers are statsmodels' `combine_effects(method_re="iterated", use_t=True)`.

    Args:
        effects: model's name -> its contrast and what it rests on.

    Raises:
        JudgementError: contrasts on other items or another scale, or two versions of one model.
    """
    _check(effects)
    judged = {
        name: effect.contrast for name, effect in effects.items() if effect.contrast.finding != "cannot be judged"
    }
    left_out = {name: effect.contrast.reason for name, effect in effects.items() if name not in judged}
    scale = next(iter(judged.values())).scale if judged else None
    y = np.array([contrast.estimate for contrast in judged.values()])
    v = np.array([contrast.se**2 for contrast in judged.values()])
    k = y.size
    negative, positive = int((y < 0).sum()), int((y > 0).sum())
    signs = negative + positive
    sign_p = float(stats.binomtest(min(negative, positive), signs, 0.5).pvalue) if signs else float("nan")
    reason = ""
    if k < FEWEST:
        reason = f"only {counted(k, 'model')} to pool; add models: {FEWEST} are needed, 6 for a useful interval"
    elif (v <= 0).any():
        reason = "a model's contrast has no error; pool models on which the ablation does something"
    if reason:
        none = float("nan")
        return Pooled(
            scale, none, none, none, none, none, none, none, none, none, none, k, negative, positive, sign_p, {},
            left_out, reason,
        )  # fmt: skip
    tau2 = _paule_mandel(y, v)
    w = 1 / (v + tau2)
    mean = float(w @ y / w.sum())
    inflation = max(1.0, float(w @ (y - mean) ** 2 / (k - 1)))
    se = float(np.sqrt(inflation / w.sum()))
    t = float(stats.t.ppf(1 - alpha / 2, k - 1))
    q = _cochran(0.0, y, v)
    spread = t * float(np.sqrt(tau2 + se**2))
    return Pooled(
        scale=scale,
        estimate=mean,
        low=mean - t * se,
        high=mean + t * se,
        p=float(2 * stats.t.sf(abs(mean) / se, k - 1)),
        predicted_low=mean - spread,
        predicted_high=mean + spread,
        tau2=tau2,
        i2=max(0.0, 1 - (k - 1) / q) if q > 0 else 0.0,
        q=q,
        q_p=float(stats.chi2.sf(q, k - 1)),
        models=k,
        negative=negative,
        positive=positive,
        sign_p=sign_p,
        weights=dict(zip(judged, (w / w.sum()).tolist(), strict=True)),
        left_out=left_out,
        reason="",
    )


def _check(effects: Mapping[str, ModelEffect]) -> None:
    for what, values in (
        ("items or settings", {name: effect.items for name, effect in effects.items()}),
        ("scales", {name: effect.contrast.scale for name, effect in effects.items()}),
    ):
        if len(set(values.values())) > 1:
            first = next(iter(values))
            other = next(name for name in values if values[name] != values[first])
            raise JudgementError(
                f"one effect pooled over {len(effects)} models",
                f"other {what} in {other} than in {first}",
                "pool runs on the same pairs, texts and tasks, with the same limit, windows, intervention, ranking, "
                "layers and protocol; run again those that differ",
            )
    seen: dict[str, str] = {}
    for name, one in effects.items():
        if one.lineage and one.lineage in seen:
            raise JudgementError(
                f"one effect pooled over {len(effects)} models",
                f"{name} and {seen[one.lineage]} are versions of one model ({one.lineage}): checkpoints, quantisations "
                "or adapters",
                "keep one of them: versions of one model are not independent",
            )
        seen[one.lineage] = name


def _cochran(tau2: float, y: np.ndarray, v: np.ndarray) -> float:
    w = 1 / (v + tau2)
    return float(w @ (y - w @ y / w.sum()) ** 2)


def _paule_mandel(y: np.ndarray, v: np.ndarray) -> float:
    if _cochran(0.0, y, v) <= y.size - 1:
        return 0.0
    top = float(np.var(y)) * y.size + 1e-300
    return float(optimize.brentq(lambda tau2: _cochran(tau2, y, v) - (y.size - 1), 0.0, top, xtol=1e-15, rtol=1e-12))
