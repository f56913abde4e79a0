"""From records to changes: the rule's own figures in the columns, sets behind a mean, and what is judged together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from negspace.experiment.book import Book
from negspace.experiment.changes import CHANGE, DIFFERENCE, GROUP
from negspace.experiment.condition import Condition
from negspace.experiment.effects import Effects, Entry, equivalence_margins
from negspace.experiment.floors import at_floor, floored
from negspace.experiment.scored import scored
from negspace.experiment.words import amount, claim, contrast, unit
from negspace.runs.cell import Record
from negspace.score.pairs import _SCORE
from negspace.significance import Nesting, compare, compare_sets, compare_with_sets
from negspace.text.suites import SUITES

STUDY: dict[str, Any] = {"alpha": 0.05, "draws": 300, "seed": 0}
PARADIGMS = 12
PER = 20


def record(items: pd.DataFrame) -> Record:
    return Record("key", "kind", {}, {}, items, {})


def pairs(margins: np.ndarray, phenomena: int = 6) -> pd.DataFrame:
    """Pairs of twelve paradigms with the given margins."""
    paradigm = np.repeat(np.arange(PARADIGMS), PER)
    good = np.full(margins.size, -50.0)
    outcome = np.where(margins > 0, "right", np.where(margins < 0, "wrong", "tie"))
    return pd.DataFrame(
        {
            "paradigm": [f"p{number:02d}" for number in paradigm],
            "phenomenon": [f"f{number % phenomena}" for number in paradigm],
            "good": good,
            "bad": good - margins,
            "outcome": outcome,
        }
    )


class Made:
    """Conditions with records of our making."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.effects = Effects(Book(STUDY, {}, {}, self.records.__getitem__), ["perplexity", "blimp"])

    def condition(
        self, name: str, margins: np.ndarray | None, nll: np.ndarray | None = None, **about: Any
    ) -> Condition:
        cells = {}
        if margins is not None:
            cells["blimp"] = f"{name} pairs"
            self.records[cells["blimp"]] = record(pairs(margins))
        if nll is not None:
            cells["perplexity"] = f"{name} text"
            self.records[cells["perplexity"]] = record(pd.DataFrame({"nll": nll}))
        return Condition(name=name, cells=cells, **about)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_change_of_pairs_is_the_rules_own_on_both_scales(rng: np.random.Generator) -> None:
    made = Made()
    before, after = rng.normal(1, 1, 240), rng.normal(0.5, 1, 240)
    plain, top = made.effects.read([made.condition("plain", before), made.condition("top", after)])
    row = made.effects.judged([{"share": 0.1, **made.effects.change(plain, top, "blimp")}], ())[0]
    frame = pairs(before)
    nesting = Nesting.pairs(frame["paradigm"], frame["phenomenon"])
    points = compare((after > 0) * 1.0, (before > 0) * 1.0, nesting, scale="points")
    nats = compare(after, before, nesting, scale="nats")
    assert (row["change"], row["change_low"], row["change_high"], row["p"]) == (
        points.estimate, points.low, points.high, points.p
    )  # fmt: skip
    assert (row["change_nats"], row["change_nats_low"]) == pytest.approx((nats.estimate, nats.low))
    assert row["units"] == "6 phenomena"
    smaller, larger = sorted([points.p, nats.p])
    assert row["p_holm"] == pytest.approx(min(1, 2 * points.p if points.p == smaller else max(2 * smaller, larger)))


def test_a_change_of_perplexity_is_a_ratio(rng: np.random.Generator) -> None:
    made = Made()
    nll = rng.normal(3, 0.2, 12)
    plain, top = made.effects.read([made.condition("plain", None, nll), made.condition("top", None, nll + 0.1)])
    row = made.effects.judged([made.effects.change(plain, top, "perplexity")], ())[0]
    assert row["change"] == pytest.approx(np.exp(0.1))
    assert (row["units"], row["finding"]) == ("12 windows", "harm")
    assert made.effects.level(plain, "perplexity") == pytest.approx(np.exp(nll.mean()))
    value = made.effects.value(plain, "perplexity")
    assert value["value_low"] < value["value"] < value["value_high"]


def test_few_units_give_the_difference_and_no_finding() -> None:
    made = Made()
    plain, top = made.effects.read(
        [made.condition("plain", None, np.array([3.0, 3.1])), made.condition("top", None, np.array([3.2, 3.3]))]
    )
    row = made.effects.judged([made.effects.change(plain, top, "perplexity")], ())[0]
    assert row["change"] == pytest.approx(np.exp(0.2))
    assert np.isnan([row["change_low"], row["change_high"], row["p"]]).all()
    assert row["finding"] == "cannot be judged"
    assert row["reason"] == "only 2 windows; add windows: 8 are needed"
    assert claim({**row, "score": "perplexity"}, "change", ("change_low", "change_high")).startswith("cannot be judged")


def test_a_mean_stands_for_the_distribution_of_its_sets(rng: np.random.Generator) -> None:
    made = Made()
    before, after = rng.normal(1, 1, 240), rng.normal(0, 1, 240)
    sets = [before + rng.normal(-0.05, 0.3, 240) for _ in range(6)]
    conditions = [made.condition(f"random {n}", values) for n, values in enumerate(sets)]
    plain, top, *drawn = made.effects.read([made.condition("plain", before), made.condition("top", after), *conditions])
    mean = made.effects.mean(drawn)
    assert mean.scores["blimp"].values == pytest.approx(np.mean([values > 0 for values in sets], axis=0))
    row = made.effects.change(mean, top, "blimp", DIFFERENCE)
    right = np.stack([(values > 0) * 1.0 for values in sets])
    nesting = plain.scores["blimp"].nesting
    expected = compare_with_sets((after > 0) * 1.0, right, nesting, scale="points")
    assert (row["difference"], row["low"], row["p"]) == (expected.estimate, expected.low, expected.p)
    assert (row["sets"], row["below"] + row["above"]) == (6, 6)
    own = made.effects.change(plain, mean, "blimp")
    assert own["change"] == compare_sets(right, (before > 0) * 1.0, nesting, scale="points").estimate
    few = made.effects.change(made.effects.mean(drawn[:2]), top, "blimp", DIFFERENCE)
    assert np.isnan(few["difference"])
    assert few["reason"] == "cannot be judged with 2 random sets; draw 5 or more"


def test_the_same_sets_under_two_interventions_are_contrasted_set_by_set(rng: np.random.Generator) -> None:
    made = Made()
    nll, first = rng.normal(3, 0.2, 12), rng.normal(0.5, 0.5, 6)
    second = first + rng.normal(0.05, 0.01, 6)
    drawn = made.effects.read(
        [
            made.condition(f"{name} {seed}", None, nll + shifts[seed], seed=seed)
            for name, shifts in (("first", first), ("second", second))
            for seed in range(6)
        ]
    )
    before, after = made.effects.mean(drawn[:6]), made.effects.mean(drawn[6:])
    row = made.effects.judged([made.effects.change(before, after, "perplexity", DIFFERENCE)], (), DIFFERENCE)[0]
    assert row["difference"] == pytest.approx(np.exp(np.mean(second - first)))
    assert (row["p"], row["finding"]) == (pytest.approx(stats.ttest_rel(second, first).pvalue), "harm")
    few = made.effects.change(made.effects.mean(drawn[:2]), made.effects.mean(drawn[6:8]), "perplexity", DIFFERENCE)
    assert few["reason"] == "cannot be judged with 2 random sets; draw 5 or more"


def test_sets_without_a_score_are_left_out_of_its_mean(rng: np.random.Generator) -> None:
    made = Made()
    nll = rng.normal(3, 0.2, 12)
    whole = [made.condition(f"whole {n}", rng.normal(1, 1, 240), nll + n / 10) for n in range(2)]
    short = [made.condition(f"short {n}", None, nll + 1 + n / 10) for n in range(3)]
    mean = made.effects.mean(made.effects.read([*whole, *short]))
    assert (len(mean.sets("perplexity")), len(mean.sets("blimp"))) == (5, 2)
    assert mean.scores["perplexity"].values == pytest.approx(nll + np.mean([0, 0.1, 1, 1.1, 1.2]))


def test_groups_are_judged_by_themselves(rng: np.random.Generator) -> None:
    made = Made()
    before = rng.normal(1, 1, 240)
    plain, top = made.effects.read([made.condition("plain", before), made.condition("top", before - 0.5)])
    rows = made.effects.judged(list(made.effects.by_group(plain, top, "blimp")), (), GROUP)
    assert [row["group"] for row in rows] == [f"f{n}" for n in range(6)]
    assert {row["paradigms"] for row in rows} == {2}
    assert {row["units"] for row in rows} == {"40 pairs, these 2 paradigms"}
    assert np.mean([row["accuracy"] for row in rows]) == pytest.approx(made.effects.level(top, "blimp"))
    assert {row["nats_finding"] for row in rows} == {"harm"}


def test_a_repeated_row_costs_no_test(rng: np.random.Generator) -> None:
    made = Made()
    before = rng.normal(1, 1, 240)
    plain, top = made.effects.read([made.condition("plain", before), made.condition("top", before - 0.3)])

    def row(share: float, first: float) -> dict[str, Any]:
        return {"share": share, "first_share": first, **made.effects.change(plain, top, "blimp")}

    rows = made.effects.judged([row(0.1, 0.1), row(0.2, 0.1), row(0.3, 0.3)], ())
    assert rows[0]["p_holm"] == pytest.approx(min(1, 4 * min(rows[0]["p"], 1)), rel=3)
    assert {key: rows[1][key] for key in ("p_holm", "finding")} == {key: rows[0][key] for key in ("p_holm", "finding")}


def test_equivalence_is_within_a_share_of_what_the_top_set_loses(rng: np.random.Generator) -> None:
    made = Made()
    before = rng.normal(1, 1, 240)
    same = before + rng.normal(0, 0.01, 240)
    plain, top, control = made.effects.read(
        [made.condition("plain", before), made.condition("top", before - 1.5), made.condition("control", same)]
    )
    margins = equivalence_margins(plain, top, "blimp", size=0.05, share=0.25)
    row = made.effects.judged([made.effects.change(plain, control, "blimp", margins=margins)], ())[0]
    assert (row["finding"], row["nats_finding"]) == ("equivalent", "equivalent")
    assert made.effects.judged([made.effects.change(plain, control, "blimp")], ())[0]["finding"] != "equivalent"


def split(accuracy: float) -> np.ndarray:
    """Margins of pairs of which a share is right, the same in each paradigm."""
    return np.tile(np.where(np.arange(PER) < accuracy * PER, 1.0, -1.0), PARADIGMS)


def sampled(rng: np.random.Generator, accuracy: float) -> np.ndarray:
    """The same of pairs that are right at random."""
    return np.where(rng.random(PARADIGMS * PER) < accuracy, 1.0, -1.0) * rng.uniform(0.5, 1.5, PARADIGMS * PER)


@pytest.mark.parametrize(("plain_level", "level"), [(0.5, 0.5), (0.5, 0.3), (0.5, 0.9), (0.2, 0.15), (0.4, 0.4)])
def test_a_plain_model_at_chance_has_no_accuracy_to_lose(plain_level: float, level: float) -> None:
    made = Made()
    plain, top = made.effects.read([made.condition("plain", split(plain_level)), made.condition("top", split(level))])
    margins = equivalence_margins(plain, top, "blimp", size=0.5, share=0.25)
    row = made.effects.judged([made.effects.change(plain, top, "blimp", margins=margins)], ())[0]
    assert row["finding"] == "cannot be judged"
    assert row["reason"] == (
        f"the plain model's accuracy of {plain_level:.1%} is not shown to be above chance, so its loss cannot be "
        "judged; use pairs or tasks that it can tell"
    )
    assert row["change"] == pytest.approx(level - plain_level)
    assert np.isnan([row["change_low"], row["p"], row["p_holm"]]).all()
    assert row["nats_finding"] != "cannot be judged"
    assert at_floor(plain.scores["blimp"], 0.05)


def test_a_floor_is_told_from_the_plain_model_and_from_no_reason(rng: np.random.Generator) -> None:
    made = Made()
    nll = rng.normal(3, 0.2, 12)
    plain, able, *drawn = made.effects.read(
        [
            made.condition("plain", split(0.5), nll),
            made.condition("able", split(0.9)),
            *(made.condition(f"set {n}", split(0.5)) for n in range(3)),
        ]
    )
    # Too few sets are the reason that is given; that nothing can be lost holds all the same.
    row = made.effects.change(plain, made.effects.mean(drawn), "blimp")
    assert row["reason"] == "cannot be judged with 3 random sets; draw 5 or more"
    assert at_floor(plain.scores["blimp"], 0.05)
    assert not at_floor(able.scores["blimp"], 0.05)
    assert not at_floor(plain.scores["perplexity"], 0.05)
    assert not at_floor(replace(plain.scores["blimp"], chance=np.nan), 0.05)


def test_accuracy_at_chance_under_both_sets_tells_them_not_apart(rng: np.random.Generator) -> None:
    made = Made()
    sets = [made.condition(f"set {n}", sampled(rng, 0.5)) for n in range(6)]
    plain, top, *drawn = made.effects.read(
        [made.condition("plain", sampled(rng, 0.9)), made.condition("top", sampled(rng, 0.5)), *sets]
    )
    against = made.effects.change(made.effects.mean(drawn), top, "blimp", DIFFERENCE)
    row = made.effects.judged([against], (), DIFFERENCE)[0]
    assert (row["finding"], row["nats_finding"]) == ("cannot be judged", "undecided")
    assert (
        row["reason"] == "the accuracy that is left is not shown to be above chance, so no further loss can be judged; "
        "ablate fewer neurons"
    )
    lost = made.effects.judged([made.effects.change(plain, top, "blimp")], ())[0]
    assert lost["finding"] == "harm"  # the plain model had something to lose


def test_one_set_at_chance_is_compared_with_one_above(rng: np.random.Generator) -> None:
    made = Made()
    _, top, control = made.effects.read(
        [made.condition(name, sampled(rng, level)) for name, level in (("plain", 0.9), ("top", 0.5), ("control", 0.85))]
    )
    row = made.effects.judged([made.effects.change(control, top, "blimp", DIFFERENCE)], (), DIFFERENCE)[0]
    assert row["finding"] == "harm"


def test_a_phenomenon_at_chance_is_not_judged_beside_one_above(rng: np.random.Generator) -> None:
    made = Made()
    able = np.repeat(np.arange(PARADIGMS) % 6 < 3, PER)
    before = np.where(able, sampled(rng, 0.9), sampled(rng, 0.5))
    plain, top = made.effects.read([made.condition("plain", before), made.condition("top", before - 3 * able)])
    rows = made.effects.judged(list(made.effects.by_group(plain, top, "blimp")), (), GROUP)
    assert [row["finding"] for row in rows] == ["harm"] * 3 + ["cannot be judged"] * 3


def test_groups_that_guess_alike_are_no_more_than_one_guess(rng: np.random.Generator) -> None:
    # A model that prefers the shorter sentence has a template all right or all wrong: 12 guesses, not 240.
    made = Made()
    before = np.repeat(np.arange(PARADIGMS) < 7, PER) * 2.0 - 1
    plain, top = made.effects.read([made.condition("plain", before), made.condition("top", before - 0.1)])
    assert plain.scores["blimp"].level == pytest.approx(7 / 12)
    assert made.effects.judged([made.effects.change(plain, top, "blimp")], ())[0]["finding"] == "cannot be judged"


def test_a_contrast_made_elsewhere_has_the_same_floors(rng: np.random.Generator) -> None:
    made = Made()
    plain, top = (
        entry.scores["blimp"]
        for entry in made.effects.read(
            [made.condition("plain", sampled(rng, 0.9)), made.condition("top", sampled(rng, 0.5))]
        )
    )
    points = compare(top.values, plain.values, plain.nesting, scale="points")
    assert floored(points, plain) is points
    # All groups of layers together are at chance: that they lose less than the sum of each is the floor's doing.
    assert floored(points, plain, top).finding == "cannot be judged"
    assert floored(points, top).finding == "cannot be judged"
    nats = compare(top.values, plain.values, plain.nesting, scale="nats")
    assert floored(nats, top) is nats


def test_where_chance_is_unknown_there_is_no_floor(rng: np.random.Generator) -> None:
    items, joined = pairs(split(0.3)), np.arange(PARADIGMS * PER) == 3  # a prediction that joins two comparisons
    levels = np.where(joined, np.nan, 0.5), 0.5
    one, known = (scored("pairs", record(items.assign(chance=chance))) for chance in levels)
    effects = Effects(Book(STUDY, {}, {}, dict[str, Record]().__getitem__), ["pairs"])
    entry = Entry(Condition(name="plain"), {"pairs": one}, {"pairs": one})
    assert not effects.change(entry, replace(entry), "pairs")["reason"]
    entry = Entry(Condition(name="plain"), {"pairs": known}, {"pairs": known})
    assert "not shown to be above chance" in effects.change(entry, replace(entry), "pairs")["reason"]


def test_margins_are_said_where_accuracy_is_at_a_floor() -> None:
    row = {"score": "blimp", "difference": -0.1, "low": np.nan, "high": np.nan, "finding": "cannot be judged"}
    row |= {"reason": "a floor", "difference_nats": -0.2, "difference_nats_low": -0.3, "difference_nats_high": -0.1}
    assert claim({**row, "nats_finding": "harm"}) == (
        "cannot be judged (a floor), margins -0.200 nats [-0.300, -0.100] (harm)"
    )
    assert claim({**row, "nats_finding": "cannot be judged"}) == "cannot be judged (a floor)"


TSE = {
    "score": "tse", "difference": -0.1, "low": -0.2, "high": -0.05, "finding": "harm", "reason": "", "margin": 0.01,
    "difference_nats": -0.2, "difference_nats_low": -0.3, "difference_nats_high": -0.1, "nats_finding": "gain",
    "units": "8 constructions, these 3 families",
}  # fmt: skip


def test_a_finding_says_for_what_it_holds_and_what_margins_are_in() -> None:
    margins = "margins -0.200 nats per token [-0.300, -0.100]"
    assert claim(TSE) == f"harm in these 3 families, -10.0 points [-20.0, -5.0], {margins} (gain)"
    said = claim({**TSE, "finding": "equivalent", "units": "12 phenomena"})
    assert said == f"equivalent within 1.00 points, -10.0 points [-20.0, -5.0], {margins} (gain)"
    floor = {**TSE, "finding": "cannot be judged", "reason": "a floor"}
    assert claim(floor) == f"cannot be judged (a floor), {margins} (gain in these 3 families)"


def test_of_two_ablations_one_does_more_harm_or_less() -> None:
    said = contrast(TSE)
    assert said.startswith("more harm in these 3 families, -10.0 points")
    assert said.endswith("(less harm)")
    assert contrast(pd.Series({**TSE, "finding": "undecided"})).startswith("undecided in these 3 families, ")


def test_the_unit_of_margins_is_that_of_scores() -> None:
    assert [unit(suite) for suite in SUITES] == [
        "nats per token" if _SCORE[suite] == "mean" else "nats" for suite in SUITES
    ]


def test_where_accuracy_is_at_a_floor_margins_have_units(rng: np.random.Generator) -> None:
    made = Made()
    margins = np.tile([1.0, -1.0], 120)
    plain, top = made.effects.read([made.condition("plain", margins), made.condition("top", margins - rng.random(240))])
    row = made.effects.change(plain, top, "blimp")
    assert row["reason"]
    assert row["units"] == "6 phenomena"


def test_identical_pairs_are_left_out(rng: np.random.Generator) -> None:
    items = pairs(rng.normal(1, 1, 240))
    items.loc[:9, "outcome"] = "identical"
    assert len(scored("blimp", record(items)).values) == 230


def test_columns_are_declared_once() -> None:
    names = [column.name for column in CHANGE.columns("meaning", sets=True)]
    assert names[:7] == ["change", "change_low", "change_high", "se", "p", "p_holm", "finding"]
    assert len(names) == len(set(names))


def test_words() -> None:
    assert amount("perplexity", 1.5, 1.2, 20.25) == "x 1.5000 [1.2000, 20.25]"
    assert amount("blimp", -0.031, float("nan"), float("nan")) == "-3.1 points [no interval]"


def test_rows_without_shares_keep_their_own_findings(rng: np.random.Generator) -> None:
    made = Made()
    margins, nll = rng.normal(1, 1, 240), rng.normal(3, 1, 40)
    plain, top = made.effects.read(
        [made.condition("plain", margins, nll), made.condition("top", margins - 1, nll + 0.5 + 0.1 * rng.random(40))]
    )
    rows = [{"score": score, **made.effects.change(plain, top, score)} for score in ("perplexity", "blimp")]
    text, pairs_ = made.effects.judged(rows, ())
    assert text["finding"] == "harm"
    assert pairs_["nats_finding"] == "harm"
    assert "nats_finding" not in text, "text has no margins"
