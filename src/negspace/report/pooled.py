"""The main study's contrasts pooled over models: mean effect, heterogeneity, signs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

import numpy as np
import pandas as pd

from negspace.errors import JudgementError
from negspace.experiment.run import Run
from negspace.experiment.words import nats, percent, points, ratio, unjudgeable
from negspace.significance import Contrast, ModelEffect, Pooled, Scale, pool
from negspace.text.suites import TITLES

COLUMNS: Mapping[str, str] = {
    "contrast": "what is compared with what",
    "score": "perplexity, or a suite of minimal pairs",
    "share": "share p of the top set",
    "scale": "points of accuracy, nats of the margin, or log ratio of perplexities",
    "models": "models pooled",
    "estimate": "mean effect over models like these; perplexity: the ratio",
    "low": "lower end of its interval (Hartung and Knapp)",
    "high": "upper end of its interval",
    "p": "two-sided p-value against no mean effect, uncorrected",
    "predicted_low": "lower end of the interval in which a further model's true effect lies",
    "predicted_high": "upper end",
    "i2": "share of the effects' variation that is not sampling error",
    "q_p": "p-value of Cochran's Q against equal effects",
    "negative": "models with an effect below zero",
    "positive": "models with an effect above zero",
    "sign_p": "p-value of the sign test",
    "reason": "why nothing is pooled, and what to add",
}
"""Column -> meaning."""
_HOW = ("mode", "zero", "by", "layers", "protocol", "window", "stride", "windows", "bos")
"""Fields of a study on which its effects depend beside model and items: intervention, top set and its scan, scoring."""
_TEXT = ("perplexity_window", "perplexity_windows")
"""Further ones on which effects on perplexity depend."""
_STEP = re.compile(
    r"(?i)(?:[-_]|(?<![a-z]))(?:steps?|iter(?:ation)?s?|checkpoints?|ckpt|updates?|epochs?|tokens?)[-_=]?\d+[a-z]?"
    r"(?![a-z0-9])"
)
"""A training step, or the tokens seen by then, in the name of a checkpoint's folder."""
_SCALED = {"log ratio": np.exp}


def pooled(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for every contrast that two runs or more have, with the columns of COLUMNS, at the level of the runs.

    Raises:
        JudgementError: two runs of one model, or of checkpoints of one; runs at different levels.
    """
    levels = {run.label: run.study["alpha"] for run in runs}
    if len(set(levels.values())) > 1:
        raise JudgementError(
            "to pool effects over models",
            f"runs at different levels: {', '.join(f'{label} at alpha={level:g}' for label, level in levels.items())}",
            "repeat some of the runs' commands with the same alpha and --out: no score is computed again",
        )
    alpha = runs[0].study["alpha"]
    prints = [run.manifest["identity"].get("fingerprint", run.label) for run in runs]
    if len(set(prints)) < len(prints):
        raise JudgementError(
            "to pool effects over models",
            "two runs of one model",
            "give each model once: several runs of it do not make several models",
        )
    effects: dict[tuple[str, str, float, Scale], dict[str, ModelEffect]] = {}
    for run in runs:
        table = run.table("contrasts")
        for _, row in table.iterrows() if table is not None else ():
            for scale, contrast in _contrasts(row, alpha):
                key = (f"{row['set']} against {row['against']}", str(row["score"]), float(row["share"]), scale)
                effects.setdefault(key, {})[run.label] = ModelEffect(contrast, _items(run, row), _lineage(run))
    rows = []
    for (what, score, share, scale), models in effects.items():
        if len(models) < 2:
            continue
        about = {"contrast": what, "score": score, "share": share, "scale": scale}
        try:
            rows.append({**about, **_row(pool(models, alpha=alpha))})
        except JudgementError as error:
            rows.append({**about, "models": 0, "reason": f"{error.found}; {error.todo}"})
    counts = dict.fromkeys(("models", "negative", "positive"), "Int64")
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(counts)


def words(row: Mapping[str, object] | pd.Series) -> list[str]:
    """A row in cells of text: contrast, score, share, models, effect, prediction, heterogeneity, signs."""
    score, scale = str(row["score"]), str(row["scale"])
    form = {"points": points, "nats": nats}.get(scale, ratio)
    unit = {"points": " points", "nats": " nats"}.get(scale, "")
    name = TITLES.get(score, score)
    where = percent(row["share"])
    if row["reason"]:
        return [
            str(row["contrast"]),
            name,
            where,
            str(row["models"]),
            unjudgeable(str(row["reason"])),
            "",
            "",
            "",
        ]
    ends = f"[{form(row['low'])}, {form(row['high'])}]"  # type: ignore[arg-type]
    further = f"[{form(row['predicted_low'])}, {form(row['predicted_high'])}]"  # type: ignore[arg-type]
    i2, q = f"{row['i2']:.0%}", f"p = {row['q_p']:.3f}"
    signs = f"{row['negative']} below, {row['positive']} above"
    effect = f"{form(row['estimate'])}{unit} {ends}"  # type: ignore[arg-type]
    return [str(row["contrast"]), name, where, str(row["models"]), effect, further, f"{i2}, {q}", signs]


HEADINGS = ("contrast", "score", "share", "models", "pooled effect", "a further model", "I², Q", "signs")
"""Headings of `words`."""


def _contrasts(row: pd.Series, alpha: float) -> list[tuple[Scale, Contrast]]:
    main: Scale = "log ratio" if row["score"] == "perplexity" else "points"
    value = float(np.log(row["difference"])) if main == "log ratio" else float(row["difference"])
    reason = str(row["reason"]) if row["finding"] == "cannot be judged" else ""
    found: list[tuple[Scale, Contrast]] = [
        (main, Contrast.told(main, value, float(row["se"]), row["finding"], reason, alpha))
    ]
    if isinstance(row["nats_finding"], str) and row["nats_finding"]:
        numbers = float(row["difference_nats"]), float(row["nats_se"])
        reason = str(row["nats_reason"]) if row["nats_finding"] == "cannot be judged" else ""
        found.append(("nats", Contrast.told("nats", *numbers, row["nats_finding"], reason, alpha)))
    return found


def _items(run: Run, row: pd.Series) -> str:
    """What the effect was measured on, and how: pairs by their hash; text by its name, since every tokenizer cuts it
    otherwise; the text that chose the top set by its hash, which is that of the text itself."""
    data, text = run.manifest["data"], row["score"] == "perplexity"
    how = [f"{name}={run.study.get(name)}" for name in (*_HOW, *(_TEXT if text else ()))]
    return ", ".join([str(data[row["score"]][0 if text else 1]), f"statistics={data['statistics'][1]}", *how])


def _lineage(run: Run) -> str:
    """Return the part of the name that checkpoints of one training run share.

    On the hub that is the name without the revision; one that names none is its newest. Of folders it is the path
    without the training step: runs/a for runs/a/step1000 and runs/a/checkpoint-500, and for runs/a itself, where the
    last one often lies.
    """
    parts = (_STEP.sub("", part) for part in PurePath(str(run.manifest["model"]["name"])).parts)
    return str(PurePath(*filter(None, parts)))


def _row(found: Pooled) -> dict[str, object]:
    form = _SCALED.get(str(found.scale), float)
    numbers = {
        name: float(form(getattr(found, name)))
        for name in ("estimate", "low", "high", "predicted_low", "predicted_high")
    }
    same = {
        name: getattr(found, name) for name in ("models", "p", "i2", "q_p", "negative", "positive", "sign_p", "reason")
    }
    return {**numbers, **same}
