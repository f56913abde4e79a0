"""Effects pooled over models: the pooling's own figures, and what must not be pooled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from made_up_run import ablation_part, made_up
from negspace.errors import JudgementError
from negspace.experiment.run import Run
from negspace.report.pooled import COLUMNS, HEADINGS, notes, pooled, words
from negspace.significance import Contrast, ModelEffect, pool


def _run(label: str, blimp: float, *, pairs: str = "b", **changed: Any) -> Run:
    """A run whose top set changes BLiMP by so much against the plain model."""
    part = ablation_part()
    contrasts = part.tables["contrasts"].copy()
    here = (contrasts["against"] == "plain") & (contrasts["score"] == "blimp")
    contrasts.loc[here, "difference"] = blimp
    for column, value in changed.items():
        contrasts.loc[here, column] = value
    run = made_up(label, parts=(replace(part, tables={**part.tables, "contrasts": contrasts}),))
    data = {**run.manifest["data"], "blimp": ["blimp", pairs, 400]}
    return replace(run, manifest={**run.manifest, "identity": {"fingerprint": label * 64}, "data": data})


def test_a_row_is_what_the_pooling_gives() -> None:
    changes = {"a": -0.08, "b": -0.02, "c": -0.05}
    table = pooled([_run(label, change) for label, change in changes.items()])
    assert list(table.columns) == list(COLUMNS)
    row = table[(table["contrast"] == "top against plain") & (table["scale"] == "points")].iloc[0]
    effects = {
        label: ModelEffect(Contrast.told("points", change, 0.01, "harm", "", 0.05), "b")
        for label, change in changes.items()
    }
    expected = pool(effects)
    for name in ("models", "estimate", "low", "high", "i2", "negative", "sign_p"):
        assert row[name] == getattr(expected, name)
    text = table[(table["contrast"] == "top against plain") & (table["score"] == "perplexity")].iloc[0]
    assert text["estimate"] == pytest.approx(1.4)
    assert len(words(row)) == len(HEADINGS)
    assert words(row)[4].startswith(f"{row['estimate'] * 100:+.1f} points [")


def test_two_models_are_too_few_and_other_pairs_are_not_pooled() -> None:
    few = pooled([_run("a", -0.08), _run("b", -0.02)]).iloc[0]
    assert "add models" in few["reason"]
    assert np.isnan(few["estimate"])
    assert "cannot be judged" in words(few)[4]
    apart = pooled([_run("a", -0.08), _run("b", -0.02, pairs="other"), _run("c", 0.0)])
    row = apart[apart["score"] == "blimp"].iloc[0]
    assert "pool runs on the same pairs" in row["reason"]
    # Counts beside rows without any are whole numbers still.
    text = apart[(apart["score"] == "perplexity") & (apart["reason"] == "")].iloc[0]
    assert words(text)[-1] == "0 below, 3 above"


def test_what_could_not_be_judged_in_a_model_is_left_out() -> None:
    runs = [_run(label, -0.05) for label in "abc"]
    runs.append(_run("d", 0.5, finding="cannot be judged", nats_finding="cannot be judged", reason="too few"))
    table = pooled(runs)
    row = table[(table["contrast"] == "top against plain") & (table["scale"] == "points")].iloc[0]
    assert (row["models"], row["estimate"]) == (3, pytest.approx(-0.05))
    assert row["left_out"] == "d (too few)"
    said = notes(table)
    assert "corrected for the number of rows" in said[0]
    assert said[1] == (
        "Not pooled in top against plain, BLiMP, 1%, in points, since it could not be judged there: d (too few)."
    )
    assert len(notes(pooled(runs[:3]))) == 1
    assert not notes(pooled(runs[:2]))  # two models are too few: no row has an interval


def test_one_model_twice_is_refused() -> None:
    with pytest.raises(JudgementError, match="give each model once"):
        pooled([_run("a", -0.08), _run("a", -0.02)])


def test_a_checkpoint_and_the_newest_of_the_same_model_are_one_run() -> None:
    runs = [_run(label, -0.05) for label in "abc"]
    early = {**runs[0].manifest["model"], "name": runs[1].manifest["model"]["name"], "revision": "step1000"}
    runs[0] = replace(runs[0], manifest={**runs[0].manifest, "model": early})
    table = pooled(runs)
    assert len(table)
    assert table["reason"].str.contains("versions of one model").all()


def _named(label: str, name: str) -> Run:
    """A run of the model in a folder."""
    run = _run(label, {"a": -0.08, "b": -0.02, "c": -0.05}[label])
    return replace(run, manifest={**run.manifest, "model": {**run.manifest["model"], "name": name}})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ckpt/step1000", "./ckpt/step2000"),
        ("out/checkpoint-500", "out"),  # where the last one of a Trainer lies
        ("runs/pythia-70m-step10k", "runs/pythia-70m-step143k"),
        ("ckpt/stage1-step150-tokens1B", "ckpt/stage1-step300-tokens2B"),
        ("ckpt/global_step10/hf", "ckpt/global_step20/hf"),
        ("org/model", "org/model + lora"),
        ("org/model + one", "org/model + other/two"),
    ],
)
def test_folders_that_differ_in_a_step_are_checkpoints_of_one_run(first: str, second: str) -> None:
    table = pooled([_named("a", first), _named("b", second), _named("c", "other")])
    assert len(table)
    assert table["reason"].str.contains("versions of one model").all()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("m.Q4_K_M.gguf", "m.Q8_0.gguf"),
        ("m-q4_k_m.gguf", "m.BF16.gguf"),
        ("m-UD-IQ2_XXS.gguf", "m.gguf"),
        ("org/m.Q4_1.gguf", "org/m-f16.GGUF + lora"),
    ],
)
def test_quantisations_of_one_model_are_not_several(first: str, second: str) -> None:
    def run(label: str, name: str) -> Run:
        made = _named(label, name)
        return replace(made, manifest={**made.manifest, "model": {**made.manifest["model"], "gguf": {"file": name}}})

    table = pooled([run("a", first), run("b", second), run("c", "n.Q4_K_M.gguf")])
    assert len(table)
    assert table["reason"].str.contains("versions of one model").all()
    assert (pooled([run("a", first), run("b", "other-1B.Q4_1.gguf"), run("c", "n.gguf")])["reason"] == "").all()


@pytest.mark.parametrize(
    "names",
    [
        ("EleutherAI/pythia-70m", "EleutherAI/pythia-160m", "EleutherAI/pythia-410m"),
        ("pythia-70m/step1000", "pythia-160m/step1000", "footsteps2/model"),
        ("runs/seed0/step1000", "runs/seed1/step1000", "gpt-neo-125M"),
    ],
)
def test_sizes_and_seeds_are_no_steps(names: tuple[str, str, str]) -> None:
    assert (pooled([_named(label, name) for label, name in zip("abc", names, strict=True)])["reason"] == "").all()


@pytest.mark.parametrize(
    "other",
    [
        {"zero": "positive"},
        {"by": "md"},
        {"protocol": "lm-eval"},
        {"layers": [0]},
        {"windows": 16},
        {"bos": "always"},
    ],
)
def test_runs_of_different_settings_are_not_pooled(other: dict[str, Any]) -> None:
    runs = [_run(label, -0.05) for label in "abc"]
    runs[1] = replace(runs[1], manifest={**runs[1].manifest, "study": {**runs[1].study, **other}})
    table = pooled(runs)
    assert len(table)
    assert table["reason"].str.contains("other items or settings in").all()


def test_top_sets_from_different_texts_are_not_pooled() -> None:
    runs = [_run(label, -0.05) for label in "abc"]
    data = {**runs[1].manifest["data"], "statistics": ["some text", "another"]}  # a name may stand for two texts
    runs[1] = replace(runs[1], manifest={**runs[1].manifest, "data": data})
    table = pooled(runs)
    assert len(table)
    assert table["reason"].str.contains("other items or settings in").all()


def test_perplexity_is_pooled_over_as_many_windows_alone() -> None:
    runs = [_run(label, {"a": -0.08, "b": -0.02, "c": -0.05}[label]) for label in "abc"]
    fewer = {**runs[1].study, "perplexity_windows": 16}
    runs[1] = replace(runs[1], manifest={**runs[1].manifest, "study": fewer})
    table = pooled(runs)
    refused = table["reason"].str.contains("other items or settings in")
    assert refused.tolist() == (table["score"] == "perplexity").tolist()


def _with_text(run: Run, *read: Any) -> Run:
    data = {**run.manifest["data"], "perplexity": ["some text", "p", *read]}
    return replace(run, manifest={**run.manifest, "data": data})


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (("another", 64), "other items or settings in"),  # of the same name
        (("q", 32), "other items or settings in"),  # since one model's context is shorter
        ((), "whether b read the same text for perplexity is not known: .* no score is computed again"),
    ],
)
def test_perplexity_is_pooled_over_one_text_alone(read: tuple[Any, ...], reason: str) -> None:
    runs = [_run(label, {"a": -0.08, "b": -0.02, "c": -0.05}[label]) for label in "abc"]
    table = pooled([runs[0], _with_text(runs[1], *read), runs[2]])
    refused = table["reason"].str.contains(reason)
    assert refused.tolist() == (table["score"] == "perplexity").tolist()


@pytest.mark.parametrize("what", ["window", "stride"])
def test_windows_of_the_scan_are_as_large_as_they_were(what: str) -> None:
    runs = [_run(label, -0.05) for label in "abc"]
    scan = runs[1].scan
    assert scan is not None
    shorter = replace(scan, info=scan.info.model_copy(update={what: getattr(scan.info, what) // 2}))
    table = pooled([runs[0], replace(runs[1], scan=shorter), runs[2]])
    assert table["reason"].str.contains("other items or settings in").all()


@pytest.mark.parametrize(
    ("other", "by", "against"),
    [({"tolerance": 0.5}, "wd", ["matched"]), ({"evaluations": 2}, "wd", ["matched"]), ({"md_pairs": 64}, "md", None)],
)
def test_settings_count_where_something_depends_on_them(
    other: dict[str, Any], by: str, against: list[str] | None
) -> None:
    def run(label: str, **changed: Any) -> Run:
        made = _run(label, {"a": -0.08, "b": -0.02, "c": -0.05}[label])
        return replace(made, manifest={**made.manifest, "study": {**made.study, "by": by, **changed}})

    table = pooled([run("a"), run("b", **other), run("c")])
    refused = table["reason"].str.contains("other items or settings in")
    touched = table["contrast"].str.contains("matched") if against else table["contrast"].notna()
    assert touched.any()
    assert refused.tolist() == touched.tolist()


def test_the_level_is_that_of_the_runs() -> None:
    def at(alpha: float, label: str) -> Run:
        run = _run(label, {"a": -0.08, "b": -0.02, "c": -0.05}[label])
        return replace(run, manifest={**run.manifest, "study": {**run.study, "alpha": alpha}})

    wide, narrow = (pooled([at(alpha, label) for label in "abc"]).iloc[0] for alpha in (0.01, 0.2))
    assert wide["high"] - wide["low"] > narrow["high"] - narrow["low"]
    with pytest.raises(JudgementError, match=r"different levels: .*alpha=0.01.*alpha=0.2"):
        pooled([at(0.01, "a"), at(0.2, "b")])
