"""Emergence, half rise and correlations over checkpoints, on series made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from negspace.analyses.training.tables import _training
from negspace.analyses.training.trends import EMERGED, FIRST, FLAT, LATE, Trend, emergence, half_rise, summarise
from negspace.experiment.book import Book
from negspace.experiment.condition import Condition
from negspace.runs.cell import Record

OPTIONS = {"alpha": 0.05, "level": 0.95, "draws": 500, "seed": 0}


def inside_of(*shares: float, neurons: int = 100) -> np.ndarray:
    return np.array([np.arange(neurons) < share * neurons for share in shares])


@pytest.mark.parametrize(
    ("shares", "found"),
    [
        ((0, 0.2, 0.6, 0.9, 1), 2),
        ((0.9, 0.2, 0.6, 0.9, 1), 2),  # from which on
        ((0.6, 0.7, 1), 0),
        ((0, 0.5, 1), None),  # half is not more than half; the last shows nothing by itself
        ((0.9, 0.9, 0.1, 1), None),
    ],
)
def test_emergence_is_the_first_checkpoint_from_which_on_most_of_the_cohort_is_in_the_top_set(
    shares: tuple[float, ...], found: int | None
) -> None:
    assert emergence(inside_of(*shares)) == found


def test_a_cohort_chosen_from_noise_does_not_emerge() -> None:
    rng = np.random.default_rng(0)
    wd = rng.normal(size=(8, 2000))
    own = wd >= np.quantile(wd, 0.95, axis=1, keepdims=True)
    assert emergence(own[:, own[-1]]) is None


def test_half_rise() -> None:
    wd = np.array([0.1, 0.15, 0.22, 0.19, 0.3, 0.3])[:, None] + np.array([-0.01, 0.0, 0.01, np.nan])
    assert half_rise(wd) == 4  # 0.22 is above 0.2, but 0.19 comes after it
    assert half_rise(wd[::-1]) is None


def trend_of(
    wd: np.ndarray,
    accuracy: np.ndarray,
    harm: np.ndarray,
    inside: np.ndarray | None = None,
    floors: Sequence[bool] | None = None,
) -> Trend:
    steps = list(range(0, 100 * len(wd), 100))
    rows = []
    for number, step in enumerate(steps):
        rows.append({"step": step, "condition": "baseline", "score": "blimp", "value": accuracy[number]})
        for condition, factor in (("fixed cohort", 1.0), ("moving cohort", 0.5), ("random", 0.0)):
            change = -factor * harm[number] if factor else 0.0
            rows.append({"step": step, "condition": condition, "score": "blimp", "value": 0.5, "change": change})
    trajectory = pd.DataFrame({"step": steps, "layer": pd.array([None] * len(steps), "Int64"), "cohort_median": wd})
    spread = wd[:, None] + np.linspace(-0.01, 0.01, 50)
    given = inside_of(*np.linspace(0, 1, len(wd)), neurons=50) if inside is None else inside
    at_floor = np.array(floors if floors is not None else [False] * len(wd))
    floors_of = {"blimp": at_floor, "perplexity": np.zeros(len(wd), bool)}
    return Trend(steps, given, spread, pd.DataFrame(rows), trajectory, floors_of)


def row_of(rows: list[dict], measure: str, kind: str, of: str = "") -> dict:
    (found,) = [r for r in rows if r["measure"] == measure and r["kind"] == kind and of in r["of"]]
    return found


def test_levels_that_share_a_trend_correlate_and_their_changes_need_not() -> None:
    rng = np.random.default_rng(3)
    n = 30
    wd = np.arange(n) * 0.1 + rng.normal(size=n) * 0.01
    accuracy = np.arange(n) * 0.1 + rng.normal(size=n) * 0.01
    rows = summarise(trend_of(wd, accuracy, np.arange(n) * 0.01), ["blimp"], **OPTIONS)
    levels, changes = (row_of(rows, "cohort WD and score", kind) for kind in ("levels", "changes"))
    assert levels["estimate"] > 0.99
    # Each checkpoint goes on from the one before it, so that levels bear no test.
    assert levels["finding"] == "not tested"
    assert np.isnan([levels[name] for name in ("low", "high", "p", "p_holm")]).all()
    assert changes["finding"] == "undecided"
    assert (levels["checkpoints"], changes["checkpoints"]) == (30, 29)


def test_checkpoints_that_can_lose_nothing_are_no_observations_of_no_harm() -> None:
    n = 12
    harm = np.where(np.arange(n) < 6, 0.0, 0.2 + 0.01 * (np.arange(n) % 2))  # none, then as much as ever
    wd = np.arange(n) * 0.1
    floors = [True] * 6 + [False] * 6
    whole = row_of(summarise(trend_of(wd, wd, harm), ["blimp"], **OPTIONS), "harm and step", "step", "fixed")
    assert (whole["finding"], whole["checkpoints"]) == ("not tested", n)
    assert whole["estimate"] > 0.8
    rows = summarise(trend_of(wd, wd, harm, floors=floors), ["blimp"], **OPTIONS)
    able = row_of(rows, "harm and step", "step", "fixed")
    assert able["checkpoints"] == 6
    assert abs(able["estimate"]) < 0.5
    assert row_of(rows, "harm and cohort WD", "changes", "fixed")["checkpoints"] == 5
    assert row_of(rows, "cohort WD and score", "levels")["checkpoints"] == n
    never = row_of(
        summarise(trend_of(wd, wd, harm, floors=[True] * n), ["blimp"], **OPTIONS), "harm and step", "step", "fixed"
    )
    assert never["checkpoints"] == 0
    assert np.isnan(never["estimate"])


def test_checkpoints_at_chance_are_left_out_of_the_mean_of_too_few_random_sets_too() -> None:
    """Its rows give the want of sets as the reason, and have a change all the same where there is one set."""
    rng, records, points = np.random.default_rng(1), {}, []
    for step, accuracy in enumerate((0.5, 0.9, 0.9)):
        conditions = []
        for role, seed in (("baseline", None), ("fixed cohort", None), *(("random", seed) for seed in range(3))):
            key = f"{step} {role} {seed}"
            own = accuracy if role == "baseline" else accuracy - 0.05
            good = np.where(np.arange(240) % 20 < 20 * own, 1.0, -1.0) + 0.1 * rng.random(240)
            outcome = np.where(good > 0, "right", "wrong")
            about = {"paradigm": np.repeat(np.arange(12), 20).astype(str), "good": good, "bad": 0.0, "outcome": outcome}
            items = pd.DataFrame(about)
            items["phenomenon"] = items["paradigm"].astype(int) % 6
            records[key] = Record(key, "pairs", {}, {}, items, {})
            conditions.append(Condition(name=key, role=role, seed=seed, cells={"blimp": key}).model_dump())
        points.append({"step": step, "name": f"step{step}", "conditions": conditions})
    book = Book({"alpha": 0.05}, {"scores": ["blimp"], "checkpoints": points}, {}, records.__getitem__)
    training, floors = _training(book)
    mean = training[training["condition"] == "random mean"]
    assert mean["reason"].str.startswith("cannot be judged with 3 random sets").all()
    assert mean["change"].notna().all()
    assert floors["blimp"].tolist() == [True, False, False]
    trajectory = pd.DataFrame({"layer": pd.array([None] * 3, "Int64"), "cohort_median": [0.1, 0.2, 0.3]})
    trend = Trend([0, 1, 2], inside_of(0, 0.6, 1), np.ones((3, 100)), training, trajectory, floors)
    rows = summarise(trend, ["blimp"], **OPTIONS)
    for of in ("fixed cohort: blimp", "random mean: blimp"):
        assert row_of(rows, "harm and step", "step", of)["checkpoints"] == 2


def test_changes_that_go_together_are_found() -> None:
    rng = np.random.default_rng(4)
    wd = rng.normal(size=40).cumsum()
    trend = trend_of(wd, wd + 0.01 * rng.normal(size=40), rng.random(40))
    rows = summarise(trend, ["blimp"], **OPTIONS)
    found = row_of(rows, "cohort WD and score", "changes")
    assert found["finding"] == "positive"
    # A p-value that is the level is enough.
    rows = summarise(trend, ["blimp"], **{**OPTIONS, "alpha": found["p_holm"]})
    assert row_of(rows, "cohort WD and score", "changes")["finding"] == "positive"


def test_harm_with_step_has_a_sign_and_what_never_varies_none() -> None:
    n = 10
    harm = np.linspace(0, 0.3, n)
    rows = summarise(trend_of(np.arange(n) * 0.1, np.arange(n) * 0.1, harm), ["blimp"], **OPTIONS)
    fixed, random = (row_of(rows, "harm and step", "step", of) for of in ("fixed", "random"))
    assert (fixed["estimate"], fixed["finding"]) == (pytest.approx(1), "not tested")
    assert np.isnan(random["estimate"])
    falling = summarise(trend_of(np.arange(n) * 0.1, np.arange(n) * 0.1, harm[::-1]), ["blimp"], **OPTIONS)
    assert row_of(falling, "harm and step", "step", "fixed")["estimate"] == pytest.approx(-1)


def test_harm_of_perplexity_is_its_log_ratio() -> None:
    trend = trend_of(np.arange(9) * 0.1, np.arange(9) * 0.1, np.zeros(9))
    trend.training["score"] = "perplexity"
    trend.training["change"] = 1.0
    trend.training.loc[trend.training["condition"] == "fixed cohort", "change"] = np.linspace(1, 3, 9)
    rows = summarise(trend, ["perplexity"], **OPTIONS)
    assert row_of(rows, "harm and step", "step", "fixed")["estimate"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("shares", "estimate", "finding"),
    [((0, 0.1, 0.7, 1), 200, EMERGED), ((0.9, 0.9, 0.9, 1), 0, FIRST), ((0, 0.1, 0.1, 1), None, LATE)],
)
def test_the_row_of_emergence(shares: tuple[float, ...], estimate: float | None, finding: str) -> None:
    n = len(shares)
    trend = trend_of(np.arange(n) * 0.1, np.arange(n) * 0.1, np.zeros(n), inside_of(*shares))
    row = row_of(summarise(trend, ["blimp"], **OPTIONS), "emergence", "step")
    assert (row["estimate"], row["finding"]) == (estimate, finding)
    assert row["low"] <= (300 if estimate is None else estimate) <= row["high"]


def test_an_emergence_that_hangs_on_few_neurons_has_a_wide_interval() -> None:
    shares = (0.0, 0.48, 0.52, 1.0, 1.0)
    trend = trend_of(np.arange(5) * 0.1, np.arange(5) * 0.1, np.zeros(5), inside_of(*shares, neurons=50))
    row = row_of(summarise(trend, ["blimp"], **OPTIONS), "emergence", "step")
    assert (row["low"], row["estimate"], row["high"]) == (100, 200, 300)


def test_the_row_of_a_cohort_that_does_not_rise() -> None:
    rows = summarise(trend_of(np.linspace(1, 0, 6), np.arange(6.0), np.zeros(6)), ["blimp"], **OPTIONS)
    row = row_of(rows, "half rise", "step")
    assert row["finding"] == FLAT
    assert "estimate" not in row
