"""The main study's contrasts pooled over models: mean effect, heterogeneity, signs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

import numpy as np
import pandas as pd

from negspace.errors import JudgementError
from negspace.experiment.run import Run
from negspace.experiment.words import nats, percent, points, ratio, title, unit, unjudgeable
from negspace.significance import Contrast, ModelEffect, Pooled, Scale, pool

COLUMNS: Mapping[str, str] = {
    "contrast": "what is compared with what",
    "score": "perplexity, or a suite of minimal pairs",
    "share": "share p of the top set",
    "scale": "points of accuracy, nats of the margin (TSE: per token), or log ratio of perplexities",
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
    "left_out": "models whose contrast could not be judged, which are not pooled, each with the reason",
    "reason": "why nothing is pooled, and what to add",
}
"""Column -> meaning."""
_HOW = ("mode", "zero", "by", "layers", "protocol", "window", "stride", "windows", "bos")
"""Fields of a study on which its effects depend beside model and items: intervention, top set and its scan, scoring.
Window and stride are those of the scan itself, where there is one."""
_MATCHED = ("tolerance", "evaluations")
"""Further ones on which the matched set depends."""
_DIFFICULTY = ("md_pairs", "seed")
"""Further ones on which a ranking by mapping difficulty depends."""
_STEP = re.compile(
    r"(?i)(?:[-_]|(?<![a-z]))(?:steps?|iter(?:ation)?s?|checkpoints?|ckpt|updates?|epochs?|tokens?)[-_=]?\d+[a-z]?"
    r"(?![a-z0-9])"
)
"""A training step, or the tokens seen by then, in the name of a checkpoint's folder."""
_GGUF = re.compile(r"(?i)(?:[-_.](?:(?:ud[-_])?i?q\d+(?:_[0-9a-z]+)*|mxfp4(?:_moe)?|b?f16|f32|fp16|fp32))?\.gguf$")
"""The ending of a GGUF file, and before it, where there is one, how its weights are quantised."""
_UNCORRECTED = "Neither the intervals nor the p-values of pooled effects are corrected for the number of rows."
_SCALED = {"log ratio": np.exp}


def pooled(runs: Sequence[Run]) -> pd.DataFrame:
    """A row for every contrast that two runs or more have, with the columns of COLUMNS, at the level of the runs.

    Raises:
        JudgementError: two runs of one model; runs at different levels.
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
    unread = [run.label for run in runs if len(run.manifest["data"]["perplexity"]) < 4]
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
        if score == "perplexity" and (old := [label for label in models if label in unread]):
            rows.append({**about, "models": 0, "reason": _unread(old)})
            continue
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
    scaled = {"points": " points", "nats": f" {unit(score)}"}.get(scale, "")
    name = title(score)
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
    effect = f"{form(row['estimate'])}{scaled} {ends}"  # type: ignore[arg-type]
    return [str(row["contrast"]), name, where, str(row["models"]), effect, further, f"{i2}, {q}", signs]


def notes(table: pd.DataFrame) -> list[str]:
    """Return sentences under the table: that several rows are not corrected, and what is left out of each.

    A model at its floor is left out: its score has nothing left to lose, so that it says nothing of an effect.
    """
    said = [_UNCORRECTED] if table["estimate"].notna().sum() > 1 else []
    rows = table[table["left_out"].fillna("").astype(bool)]
    return said + [
        f"Not pooled in {row['contrast']}, {title(row['score'])}, {percent(row['share'])}, in "
        f"{row['scale']}, since it could not be judged there: {row['left_out']}."
        for _, row in rows.iterrows()
    ]


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
    """What the effect was measured on, and how.

    Texts and pairs by the hash of their characters, since every tokenizer cuts them otherwise. Windows are as large as
    they were, where the study left that to the model.
    """
    data, study = run.manifest["data"], run.study
    how = {name: study.get(name) for name in _HOW}
    if run.scan is not None:
        how |= {"window": run.scan.info.window, "stride": run.scan.info.stride}
    if study.get("by") == "md":
        how |= {name: study.get(name) for name in _DIFFICULTY}
    if "matched" in (row["set"], row["against"]):
        how |= {name: study.get(name) for name in _MATCHED}
    if row["score"] == "perplexity":
        items = data["perplexity"][2:]
        how["perplexity_windows"] = study.get("perplexity_windows")
    else:
        items = data[row["score"]][1:2]
    return f"{items}, statistics={data['statistics'][1]}, {how}"


def _unread(labels: Sequence[str]) -> str:
    return (
        f"whether {' and '.join(labels)} read the same text for perplexity is not known: an earlier version recorded "
        "only its name; repeat the command of that run with the same --out: no score is computed again"
    )


def _lineage(run: Run) -> str:
    """Return the part of the name that versions of one model share: checkpoints of one training run, quantisations of
    its weights, adapters on it.

    On the hub that is the name without the revision; one that names none is its newest. Of folders it is the path
    without the training step: runs/a for runs/a/step1000 and runs/a/checkpoint-500, and for runs/a itself, where the
    last one often lies. Of GGUF files it is the name without the quantisation, of adapters that of their base.
    """
    model = run.manifest["model"]
    name = str(model["name"]).split(" + ")[0]
    if model.get("gguf"):
        name = _GGUF.sub("", name)
    parts = (_STEP.sub("", part) for part in PurePath(name).parts)
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
    return {**numbers, **same, "left_out": "; ".join(f"{name} ({why})" for name, why in found.left_out.items())}
